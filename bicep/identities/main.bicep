targetScope = 'resourceGroup'

metadata name = 'Identities'
metadata description = 'User-assigned identities, one for each app, and which GitHub workflows may act as which.'

@export()
@description('GitHub workflows that may act as an identity, without a secret.')
type githubTrust = {
  @description('Name of the identity: one of names.')
  @minLength(3)
  identity: string

  @description('Subjects of GitHub\'s tokens, as they are: repo:OWNER/NAME:environment:NAME and the like. Forms vary, so they are not built here.')
  @maxLength(20)
  subjects: string[]
}

@export()
@description('An identity that was made.')
type identityPlace = {
  @description('Name of the identity.')
  name: string

  @description('Resource id of the identity.')
  id: string

  @description('Object id: what roles are given to.')
  principalId: string

  @description('Client id: what an app names when it asks for a token (AZURE_CLIENT_ID).')
  clientId: string
}

@description('Names of the identities.')
@minLength(1)
param names string[]

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('GitHub workflows that may act as an identity.')
param github githubTrust[] = []

var trusts = flatten(map(github, trust => map(trust.subjects, subject => { identity: trust.identity, subject: subject })))

resource identities 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = [
  for name in names: {
    name: name
    location: location
    tags: tags
  }
]

resource owners 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = [
  for trust in trusts: {
    name: trust.identity
  }
]

// Azure refuses credentials of one identity that are written at the same time. The name follows from the subject, so a second run changes nothing.
@batchSize(1)
resource credentials 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = [
  for (trust, index) in trusts: {
    parent: owners[index]
    name: 'github-${uniqueString(trust.subject)}'
    dependsOn: [identities]
    properties: {
      issuer: 'https://token.actions.githubusercontent.com'
      subject: trust.subject
      audiences: ['api://AzureADTokenExchange']
    }
  }
]

@description('The identities, in the order of names.')
output identities identityPlace[] = [
  for (name, index) in names: {
    name: name
    id: identities[index].id
    principalId: identities[index].properties.principalId
    clientId: identities[index].properties.clientId
  }
]
