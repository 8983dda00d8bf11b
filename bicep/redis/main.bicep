targetScope = 'resourceGroup'

metadata name = 'Redis'
metadata description = 'Hot memory: Azure Managed Redis, reached with Entra ID alone.'

import { customerManagedKey as customerKey } from '../types.bicep'

@export()
@description('Principal that may use the data of hot memory.')
type redisPrincipal = {
  @description('Name that shows whose assignment it is, for example the app\'s.')
  @minLength(1)
  @maxLength(40)
  name: string

  @description('Object id of the principal.')
  @minLength(1)
  objectId: string
}

@description('Name of the Redis instance, unique in its region.')
@minLength(1)
@maxLength(60)
param name string

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('Size: Balanced_B0 is 0.5 GB and the smallest, Balanced_B1 1 GB, Balanced_B3 3 GB, Balanced_B5 6 GB. Growing is done in place, shrinking is refused if the data do not fit.')
@minLength(1)
param skuName string = 'Balanced_B0'

@description('Whether a replica takes over when a node fails. It doubles the price, can be turned on later, and not off again.')
param highAvailability bool = true

@description('Whether snapshots go to disk (rdb: every hour). Hot loses nothing without them but the records that live in hot alone.')
param persistence 'none' | 'rdb' = 'none'

@description('Principals that may use the data, each with the access policy "default" (all commands, all keys).')
param principals redisPrincipal[] = []

@description('Key of your own for the disks. Redis wants the URI with its version, and takes a new version with the next deployment.')
param customerManagedKey customerKey?

@description('Whether the public endpoint answers; false: private endpoints alone.')
param publicAccess bool = true

@description('Whether a lock keeps the instance from being deleted.')
param locked bool = false

@description('Resource id of the Log Analytics workspace for logs and metrics; empty: none.')
param workspaceId string = ''

resource cluster 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: skuName
  }
  identity: customerManagedKey == null
    ? { type: 'None' }
    : { type: 'UserAssigned', userAssignedIdentities: { '${customerManagedKey!.identityId}': {} } }
  properties: {
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    highAvailability: highAvailability ? 'Enabled' : 'Disabled'
    ...(customerManagedKey == null
      ? {}
      : {
          encryption: {
            customerManagedKeyEncryption: {
              keyEncryptionKeyUrl: customerManagedKey!.keyUri
              keyEncryptionKeyIdentity: {
                identityType: 'userAssignedIdentity'
                userAssignedIdentityResourceId: customerManagedKey!.identityId
              }
            }
          }
        })
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: cluster
  name: 'default'
  properties: {
    accessKeysAuthentication: 'Disabled'
    clientProtocol: 'Encrypted'
    port: 10000
    // Immutable, and the same in every profile. The client speaks to a cluster in any case, and each shard serves its own keys without a proxy between.
    clusteringPolicy: 'OSSCluster'
    // The same in every profile. A full hot memory gives up what was used least of that which ends anyway. Fences and records that live in hot
    // alone without an end have no expiry, so they stay; an announcement under way was used a moment ago. VolatileTTL would take those first, AllKeysLRU
    // the fences too, and NoEviction would refuse every new copy until old ones end.
    evictionPolicy: 'VolatileLRU'
    persistence: persistence == 'rdb' ? { aofEnabled: false, rdbEnabled: true, rdbFrequency: '1h' } : { aofEnabled: false, rdbEnabled: false }
  }
}

// Redis refuses assignments that are written at the same time.
@batchSize(1)
resource assignments 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = [
  for principal in principals: {
    parent: database
    name: '${replace(principal.name, '-', '')}${uniqueString(principal.objectId)}'
    properties: {
      accessPolicyName: 'default'
      user: {
        objectId: principal.objectId
      }
    }
  }
]

resource clusterDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: cluster
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource databaseDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: database
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  scope: cluster
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'Hot memory. Remove this lock first, then delete.'
  }
}

@description('Resource id of the instance.')
output id string = cluster.id

@description('Name of the instance.')
output name string = cluster.name

@description('Host name that clients connect to (REDIS_HOST).')
output hostName string = cluster.properties.hostName

@description('Port that clients connect to (REDIS_PORT).')
output port int = 10000
