targetScope = 'resourceGroup'

metadata name = 'Key Vault'
metadata description = 'Secrets of settings and keys of your own, behind Azure roles.'

import { roleAssignment } from '../types.bicep'

@export()
@description('Key that encrypts the data of other services, and how it rotates.')
type vaultKey = {
  @description('Name of the key.')
  @minLength(1)
  @maxLength(127)
  name: string

  @description('Age at which Key Vault makes a new version, as an ISO duration (P90D).')
  @minLength(3)
  rotateAfter: string

  @description('Age at which a version ends, as an ISO duration: P28D at least, and well after rotateAfter. 30 days before it Key Vault sends KeyNearExpiry.')
  @minLength(3)
  expireAfter: string
}

@export()
@description('Where a key is.')
type keyPlace = {
  @description('Name of the key.')
  name: string

  @description('URI without a version: Storage and Cosmos DB follow the rotation.')
  uri: string

  @description('URI of the newest version: Redis takes it with each deployment.')
  uriWithVersion: string
}

@description('Name of the vault, unique in Azure.')
@minLength(3)
@maxLength(24)
param name string

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('Whether nobody can purge the vault or its keys before 90 days are over. Needed for keys of your own; it cannot be turned off again.')
param purgeProtection bool = false

@description('Keys. One that is there already is left as it is, with its rotation policy.')
param keys vaultKey[] = []

@description('Roles on the vault.')
param roleAssignments roleAssignment[] = []

@description('Whether the public endpoint answers; false: private endpoints, and Azure\'s own services with their identity (Storage and Cosmos DB, for their key).')
param publicAccess bool = true

@description('Whether a lock keeps the vault from being deleted.')
param locked bool = false

@description('Resource id of the Log Analytics workspace for logs and metrics; empty: none.')
param workspaceId string = ''

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90 // immutable
    // Azure refuses false, even where it was never on.
    enablePurgeProtection: purgeProtection ? true : null
    enabledForDeployment: false
    enabledForDiskEncryption: false
    enabledForTemplateDeployment: false
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicAccess ? 'Allow' : 'Deny'
    }
  }
}

resource held 'Microsoft.KeyVault/vaults/keys@2025-05-01' = [
  for key in keys: {
    parent: vault
    name: key.name
    properties: {
      kty: 'RSA'
      keySize: 3072
      keyOps: ['wrapKey', 'unwrapKey']
      rotationPolicy: {
        attributes: {
          expiryTime: key.expireAfter
        }
        lifetimeActions: [
          {
            action: { type: 'rotate' }
            trigger: { timeAfterCreate: key.rotateAfter }
          }
          {
            action: { type: 'notify' }
            trigger: { timeBeforeExpiry: 'P30D' }
          }
        ]
      }
    }
  }
]

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for assignment in roleAssignments: {
    scope: vault
    name: guid(vault.id, assignment.principalId, assignment.roleDefinitionId)
    properties: {
      principalId: assignment.principalId
      principalType: assignment.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', assignment.roleDefinitionId)
    }
  }
]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: vault
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  scope: vault
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'Without its keys the data of other services cannot be read. Remove this lock first, then delete.'
  }
}

@description('Resource id of the vault.')
output id string = vault.id

@description('Name of the vault.')
output name string = vault.name

@description('URI of the vault, with a slash at its end (KEY_VAULT_URI).')
output uri string = vault.properties.vaultUri

@description('Where the keys are, in the order of the parameter.')
output keyUris keyPlace[] = [
  for (key, index) in keys: {
    name: key.name
    uri: held[index].properties.keyUri
    uriWithVersion: held[index].properties.keyUriWithVersion
  }
]
