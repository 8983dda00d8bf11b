targetScope = 'resourceGroup'

metadata name = 'Host storage'
metadata description = 'Storage of one Functions app: its package, its timers\' locks, its queues. No memory lies here.'

import { roleAssignment, customerManagedKey as customerKey } from '../types.bicep'

@description('Name of the account, unique in Azure: small letters and digits.')
@minLength(3)
@maxLength(24)
param name string

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('Copies: in one place (LRS) or in several zones (ZRS). A change is a migration that no template starts.')
param sku 'Standard_LRS' | 'Standard_ZRS' = 'Standard_LRS'

@description('Blob container of the app\'s package.')
@minLength(3)
@maxLength(63)
param deploymentContainer string

@description('Queues.')
param queues string[] = []

@description('Roles on the account.')
param roleAssignments roleAssignment[] = []

@description('Key of your own for the data. Storage wants the URI without a version, and follows the rotation by itself. The identity must hold its role on the vault before.')
param customerManagedKey customerKey?

@description('Whether the public endpoints answer; false: private endpoints, and Azure\'s own services (Event Grid) with their identity.')
param publicAccess bool = true

@description('Whether a lock keeps the account from being deleted. Nothing here is missed: a deployment builds it anew.')
param locked bool = false

@description('Resource id of the Log Analytics workspace for logs and metrics; empty: none.')
param workspaceId string = ''

// The host reads its queues and leases all day: what it reads is not logged.
var changes = [
  { category: 'StorageWrite', enabled: true }
  { category: 'StorageDelete', enabled: true }
]

resource account 'Microsoft.Storage/storageAccounts@2025-08-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  // Immutable: zone redundancy is changed by a conversion that one requests.
  sku: {
    name: sku
  }
  identity: customerManagedKey == null
    ? { type: 'None' }
    : { type: 'UserAssigned', userAssignedIdentities: { '${customerManagedKey!.identityId}': {} } }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    allowedCopyScope: 'AAD'
    defaultToOAuthAuthentication: true
    dnsEndpointType: 'Standard'
    isHnsEnabled: false // immutable
    isLocalUserEnabled: false
    isNfsV3Enabled: false
    isSftpEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      // Event Grid delivers to a queue from outside of any network: as a trusted service, with its identity.
      bypass: 'AzureServices'
      defaultAction: publicAccess ? 'Allow' : 'Deny'
    }
    encryption: {
      keySource: customerManagedKey == null ? 'Microsoft.Storage' : 'Microsoft.Keyvault'
      // Immutable: without Account a key of your own, given later, would not reach queues and the host's tables.
      services: {
        blob: { enabled: true, keyType: 'Account' }
        file: { enabled: true, keyType: 'Account' }
        queue: { enabled: true, keyType: 'Account' }
        table: { enabled: true, keyType: 'Account' }
      }
      ...(customerManagedKey == null
        ? {}
        : {
            identity: { userAssignedIdentity: customerManagedKey!.identityId }
            keyvaultproperties: {
              keyvaulturi: split(customerManagedKey!.keyUri, '/keys/')[0]
              keyname: split(split(customerManagedKey!.keyUri, '/keys/')[1], '/')[0]
            }
          })
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 7
      allowPermanentDelete: false
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 7
    }
  }
}

resource package 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-08-01' = {
  parent: blobs
  name: deploymentContainer
  properties: {
    publicAccess: 'None'
  }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-08-01' = {
  parent: account
  name: 'default'
}

resource messages 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-08-01' = [
  for queue in queues: {
    parent: queueService
    name: queue
  }
]

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

resource accountDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: account
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource blobDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: blobs
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: changes
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource queueDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: queueService
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: changes
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  scope: account
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'Storage of a Functions app. Remove this lock first, then delete.'
  }
}

@description('Resource id of the account.')
output id string = account.id

@description('Name of the account (AzureWebJobsStorage__accountName).')
output name string = account.name

@description('Endpoint of the blobs, with a slash at its end.')
output blobEndpoint string = account.properties.primaryEndpoints.blob

@description('Endpoint of the queues, with a slash at its end (EVENTS__queueServiceUri).')
output queueEndpoint string = account.properties.primaryEndpoints.queue
