targetScope = 'resourceGroup'

metadata name = 'Storage'
metadata description = 'Cold memory: Blob Storage for payloads, reached with Entra ID alone; nothing but the library\'s sweep deletes a payload.'

import { containerRoleAssignment, customerManagedKey as customerKey } from '../types.bicep'

@export()
@description('When payloads move to cheaper storage. Both stay readable at once; nothing goes to Archive, which is offline.')
type lifecycleDays = {
  @description('Days after the last change until a payload moves to Cool.')
  @minValue(1)
  coolAfterDays: int

  @description('Days after the last change until a payload moves to Cold. Cold charges 90 days at least.')
  @minValue(2)
  coldAfterDays: int
}

@description('Name of the account, unique in Azure: small letters and digits.')
@minLength(3)
@maxLength(24)
param name string

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('Copies: in one place (LRS), in several zones (ZRS), and in the paired region besides (GRS, GZRS). A change between zone-redundant and not is a migration that no template starts.')
param sku 'Standard_LRS' | 'Standard_ZRS' | 'Standard_GRS' | 'Standard_GZRS' = 'Standard_LRS'

@description('Blob containers.')
param containers string[]

@description('Tables.')
param tables string[] = []

@description('Days for which what was deleted can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int = 7

@description('When payloads move to cheaper storage.')
param lifecycle lifecycleDays = { coolAfterDays: 30, coldAfterDays: 90 }

@description('Roles on the account or on one container.')
param roleAssignments containerRoleAssignment[] = []

@description('Key of your own for the data. Storage wants the URI without a version, and follows the rotation by itself. The identity must hold its role on the vault before.')
param customerManagedKey customerKey?

@description('Whether each read is logged, beside what is written and deleted. A line is about 1 KB and costs more than the read.')
param logRequests bool = false

@description('Whether the public endpoints answer; false: private endpoints alone.')
param publicAccess bool = true

@description('Whether a lock keeps the account from being deleted.')
param locked bool = false

@description('Resource id of the Log Analytics workspace for logs and metrics; empty: none.')
param workspaceId string = ''

var onAccount = filter(roleAssignments, one => empty(one.container))
var onContainers = filter(roleAssignments, one => !empty(one.container))
// Days after its writing from which an old version is deleted. Deleted versions can be brought back for softDeleteDays, so one day is enough.
var versionDays = 1
// The policy runs once a day, and takes up to a day to begin and to end.
var policyDays = 2
var logCategories = concat(['StorageWrite', 'StorageDelete'], logRequests ? ['StorageRead'] : [])

resource account 'Microsoft.Storage/storageAccounts@2025-08-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  // Immutable but for GRS on or off: zone redundancy is changed by a conversion that one requests.
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
    // Immutable. A hierarchical namespace knows no versions of blobs.
    isHnsEnabled: false
    isLocalUserEnabled: false
    isNfsV3Enabled: false
    isSftpEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices' // lifecycle rules run from outside of any network: without this they may be refused
      defaultAction: publicAccess ? 'Allow' : 'Deny'
    }
    encryption: {
      keySource: customerManagedKey == null ? 'Microsoft.Storage' : 'Microsoft.Keyvault'
      // Immutable: without Account a key of your own, given later, would not reach tables and queues.
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
            // In lower case, as Azure spells them; without a version, so that Storage follows the rotation.
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
    // With versions a delete leaves the blob as an old version, which the policy below deletes after a day, and soft delete keeps for softDeleteDays more. So a
    // payload that the sweep or `forget` removed can be brought back for softDeleteDays at least, and is gone after the days of the output retentionDays.
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
      allowPermanentDelete: false
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
  }
}

resource stores 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-08-01' = [
  for container in containers: {
    parent: blobs
    name: container
    properties: {
      publicAccess: 'None'
    }
  }
]

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-08-01' = if (!empty(tables)) {
  parent: account
  name: 'default'
}

resource rows 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-08-01' = [
  for table in tables: {
    parent: tableService
    name: table
  }
]

resource policy 'Microsoft.Storage/storageAccounts/managementPolicies@2025-08-01' = {
  parent: account
  name: 'default'
  dependsOn: [blobs]
  properties: {
    policy: {
      rules: [
        {
          name: 'move-payloads'
          enabled: true
          type: 'Lifecycle'
          definition: {
            // Payloads alone (thermocline.keys.PAYLOAD_ROOT). Heads and notes are small, and written again and again: moving them would cost more than it saves.
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: map(containers, container => '${container}/tc1/p/')
            }
            actions: {
              baseBlob: {
                tierToCool: { daysAfterModificationGreaterThan: lifecycle.coolAfterDays }
                tierToCold: { daysAfterModificationGreaterThan: lifecycle.coldAfterDays }
              }
            }
          }
        }
        {
          name: 'end-old-versions'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: ['blockBlob']
            }
            actions: {
              version: {
                delete: { daysAfterCreationGreaterThan: versionDays }
              }
            }
          }
        }
      ]
    }
  }
}

resource accountRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for assignment in onAccount: {
    scope: account
    name: guid(account.id, assignment.principalId, assignment.roleDefinitionId)
    properties: {
      principalId: assignment.principalId
      principalType: assignment.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', assignment.roleDefinitionId)
    }
  }
]

resource scoped 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-08-01' existing = [
  for assignment in onContainers: {
    parent: blobs
    name: assignment.container
  }
]

resource containerRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (assignment, index) in onContainers: {
    scope: scoped[index]
    name: guid(account.id, assignment.container, assignment.principalId, assignment.roleDefinitionId)
    properties: {
      principalId: assignment.principalId
      principalType: assignment.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', assignment.roleDefinitionId)
    }
    dependsOn: [stores]
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
    logs: [for category in logCategories: { category: category, enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource tableDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId) && !empty(tables)) {
  scope: tableService
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [for category in logCategories: { category: category, enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  scope: account
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'Cold memory. Remove this lock first, then delete.'
  }
}

@description('Resource id of the account.')
output id string = account.id

@description('Name of the account.')
output name string = account.name

@description('Endpoint of the blobs, with a slash at its end (BLOB_ACCOUNT_URL).')
output blobEndpoint string = account.properties.primaryEndpoints.blob

@description('Endpoint of the tables, with a slash at its end (TABLE_ACCOUNT_URL).')
output tableEndpoint string = account.properties.primaryEndpoints.table

@description('Days after which a deleted payload is gone for good, at the latest: what ServiceRetention(blob_soft_delete=...) should be told.')
output retentionDays int = softDeleteDays + versionDays + policyDays
