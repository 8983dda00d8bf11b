targetScope = 'resourceGroup'

metadata name = 'Cosmos DB'
metadata description = 'Warm memory: Cosmos DB for NoSQL, reached with Entra ID alone, with continuous backup.'

import { customerManagedKey as customerKey } from '../types.bicep'

@export()
@description('One container, as infra/contract.json describes it.')
type containerShape = {
  @description('Partition key: kind, version and paths. Immutable.')
  partitionKey: {
    kind: 'Hash' | 'MultiHash'
    version: int
    paths: string[]
  }

  @description('Seconds that a document lives; -1: as its own ttl says; null: for ever.')
  defaultTtl: int?

  @description('Indexing policy, as Cosmos DB writes it.')
  indexingPolicy: object

  @description('Vectors: path, data type, dimensions, distance. Immutable; such a container needs throughput of its own.')
  vectorEmbeddingPolicy: object?

  @description('Full-text policy.')
  fullTextPolicy: object?

  @description('Autoscale throughput of its own, in RU/s at most; left out: a share of the database\'s.')
  maxThroughput: int?
}

@export()
@description('One data role, given to one principal on the account or on one container.')
type dataRoleAssignment = {
  @description('Object id of the principal.')
  @minLength(1)
  principalId: string

  @description('GUID of the data role: …0001 reader, …0002 contributor.')
  @minLength(36)
  @maxLength(36)
  roleDefinitionId: string

  @description('Container that the role is for; empty: the whole account.')
  container: string
}

@description('Name of the account, unique in Azure.')
@minLength(3)
@maxLength(44)
param name string

@description('Azure region that writes go to.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('How throughput is paid: autoscale (a share of the maximum, from a tenth of it) or serverless (each request). An account cannot change from one to the other in place.')
param mode 'autoscale' | 'serverless' = 'autoscale'

@description('RU/s at most that the containers share, in steps of 1000. It scales down to a tenth by itself.')
@minValue(1000)
@maxValue(1000000)
param maxThroughput int = 1000

@description('Whether the account takes the subscription\'s one free tier (1000 RU/s, 25 GB). Immutable.')
param freeTier bool = false

@description('Name of the database.')
@minLength(1)
@maxLength(255)
param database string

@description('Containers by name.')
param containers { *: containerShape }

@description('Further regions, in the order of fail-over. They serve reads of routes that accept the lag; writes go to one region alone.')
param readRegions string[] = []

@description('Whether the copies of each region lie in several zones. Immutable for a region that the account has.')
param zoneRedundant bool = false

@description('How far back a point-in-time restore goes. To change it, deploy nothing else in the same step: Azure refuses other changes beside it.')
param backup 'Continuous7Days' | 'Continuous30Days' = 'Continuous7Days'

@description('Data roles.')
param roleAssignments dataRoleAssignment[] = []

@description('Key of your own for the data. Cosmos DB wants the URI without a version, and follows the rotation by itself. The identity must hold its role on the vault before.')
param customerManagedKey customerKey?

@description('Whether each request is logged: who read or wrote, not what. A line is about 1 KB and costs more than the read of an item.')
param logRequests bool = false

@description('Whether the public endpoint answers; false: private endpoints alone.')
param publicAccess bool = true

@description('Whether a lock keeps the account from being deleted.')
param locked bool = false

@description('Resource id of the Log Analytics workspace for logs and metrics; empty: none.')
param workspaceId string = ''

var regions = concat([location], readRegions)
var logCategories = concat(
  ['ControlPlaneRequests', 'PartitionKeyRUConsumption', 'PartitionKeyStatistics'],
  logRequests ? ['DataPlaneRequests'] : []
)
var ownThroughput = map(filter(items(containers), one => one.value.?maxThroughput != null), one => one.value.maxThroughput)
var throughputOfAll = reduce(ownThroughput, maxThroughput, (sum, one) => sum + one)

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-10-15' = {
  name: name
  location: location
  tags: tags
  kind: 'GlobalDocumentDB'
  identity: customerManagedKey == null
    ? { type: 'None' }
    : { type: 'UserAssigned', userAssignedIdentities: { '${customerManagedKey!.identityId}': {} } }
  properties: {
    databaseAccountOfferType: 'Standard'
    disableLocalAuth: true
    disableKeyBasedMetadataWriteAccess: true
    minimalTlsVersion: 'Tls12'
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAclBypass: 'None'
    // Sessions are what the library's reads of its own writes rest on; less is refused when it connects.
    consistencyPolicy: {
      defaultConsistencyLevel: 'Session'
    }
    // One region has the word (a version is an order of writes). A fail-over may lose the last acknowledged writes, and the epoch has to be raised before
    // writers are let in again, so a person begins it with the runbook; Azure does not by itself.
    enableMultipleWriteLocations: false
    enableAutomaticFailover: false
    locations: [
      for (region, index) in regions: {
        locationName: region
        failoverPriority: index
        isZoneRedundant: zoneRedundant
      }
    ]
    backupPolicy: {
      type: 'Continuous'
      continuousModeProperties: {
        tier: backup
      }
    }
    enableFreeTier: freeTier
    // Nobody raises the bill by hand: what is provisioned here is the limit. It counts each region.
    capacity: {
      totalThroughputLimit: mode == 'autoscale' ? throughputOfAll * length(regions) : -1
    }
    capabilities: mode == 'serverless' ? [{ name: 'EnableServerless' }] : []
    // Once it is set, it stays.
    ...(customerManagedKey == null
      ? {}
      : {
          keyVaultKeyUri: customerManagedKey!.keyUri
          defaultIdentity: 'UserAssignedIdentity=${customerManagedKey!.identityId}'
        })
  }
}

resource store 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2025-10-15' = {
  parent: account
  name: database
  tags: tags
  properties: {
    resource: {
      id: database
    }
    options: mode == 'autoscale' ? { autoscaleSettings: { maxThroughput: maxThroughput } } : {}
  }
}

// One after another: Cosmos DB refuses changes of one database at the same time now and then.
@batchSize(1)
resource shapes 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2025-10-15' = [
  for container in items(containers): {
    parent: store
    name: container.key
    tags: tags
    properties: {
      resource: {
        id: container.key
        // Immutable: other paths are another container, and a migration.
        partitionKey: container.value.partitionKey
        indexingPolicy: container.value.indexingPolicy
        ...(container.value.?defaultTtl == null ? {} : { defaultTtl: container.value.defaultTtl })
        ...(container.value.?vectorEmbeddingPolicy == null ? {} : { vectorEmbeddingPolicy: container.value.vectorEmbeddingPolicy })
        ...(container.value.?fullTextPolicy == null ? {} : { fullTextPolicy: container.value.fullTextPolicy })
      }
      options: mode == 'autoscale' && container.value.?maxThroughput != null
        ? { autoscaleSettings: { maxThroughput: container.value.maxThroughput } }
        : {}
    }
  }
]

@batchSize(1)
resource roles 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-10-15' = [
  for assignment in roleAssignments: {
    parent: account
    name: guid(account.id, assignment.container, assignment.principalId, assignment.roleDefinitionId)
    properties: {
      principalId: assignment.principalId
      roleDefinitionId: '${account.id}/sqlRoleDefinitions/${assignment.roleDefinitionId}'
      scope: empty(assignment.container) ? account.id : '${account.id}/dbs/${database}/colls/${assignment.container}'
    }
    dependsOn: [shapes]
  }
]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: account
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [for category in logCategories: { category: category, enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  scope: account
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'Warm memory. Remove this lock first, then delete.'
  }
}

@description('Resource id of the account.')
output id string = account.id

@description('Name of the account.')
output name string = account.name

@description('Endpoint that clients connect to (COSMOS_ACCOUNT_URI).')
output endpoint string = account.properties.documentEndpoint
