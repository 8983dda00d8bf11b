targetScope = 'resourceGroup'

metadata name = 'Azure OpenAI'
metadata description = 'One embedding deployment for semantic memory, reached with Entra ID alone. Optional.'

import { roleAssignment } from '../types.bicep'

@description('Name of the account and of its endpoint, unique in Azure. One that was deleted keeps its name for 48 hours.')
@minLength(2)
@maxLength(64)
param name string

@description('Azure region that offers the model.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('Embedding model.')
@minLength(1)
param model string = 'text-embedding-3-small'

@description('Version of the model. It stays: vectors of two models do not compare.')
@minLength(1)
param modelVersion string = '1'

@description('Where requests are served: in the region (Standard), in the data zone, or anywhere (GlobalStandard).')
param skuName 'Standard' | 'DataZoneStandard' | 'GlobalStandard' = 'Standard'

@description('Capacity in thousands of tokens a minute. It counts against the quota of the subscription and region.')
@minValue(1)
param capacity int = 50

@description('Roles on the account.')
param roleAssignments roleAssignment[] = []

@description('Whether the public endpoint answers; false: private endpoints alone.')
param publicAccess bool = true

@description('Whether a lock keeps the account from being deleted. It holds no data.')
param locked bool = false

@description('Resource id of the Log Analytics workspace for logs and metrics; empty: none.')
param workspaceId string = ''

resource account 'Microsoft.CognitiveServices/accounts@2026-07-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: {
    name: 'S0'
  }
  properties: {
    customSubDomainName: name // immutable; Entra ID and private endpoints need it
    disableLocalAuth: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: publicAccess ? 'Allow' : 'Deny'
    }
  }
}

resource deployed 'Microsoft.CognitiveServices/accounts/deployments@2026-07-01' = {
  parent: account
  name: model
  sku: {
    name: skuName
    capacity: capacity
  }
  properties: {
    model: {
      format: 'OpenAI'
      name: model
      version: modelVersion
    }
    versionUpgradeOption: 'NoAutoUpgrade'
  }
}

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for assignment in roleAssignments: {
    scope: account
    name: guid(account.id, assignment.principalId, assignment.roleDefinitionId)
    properties: {
      principalId: assignment.principalId
      principalType: assignment.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', assignment.roleDefinitionId)
    }
  }
]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: account
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  scope: account
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'Azure OpenAI. Remove this lock first, then delete.'
  }
}

@description('Resource id of the account.')
output id string = account.id

@description('Name of the account.')
output name string = account.name

@description('Endpoint that clients connect to.')
output endpoint string = account.properties.endpoint

@description('Name of the deployment, the model\'s.')
output deployment string = deployed.name
