targetScope = 'resourceGroup'

import { Profile } from 'types.bicep'

@description('End of every name: environment and token.')
param suffix string

@description('What makes names unique in Azure; main.bicep computes it.')
@minLength(8)
@maxLength(8)
param token string

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('The profile\'s values.')
param profile Profile

@description('Region of the second copy of Cosmos DB, where the profile has one.')
param secondLocation string

@description('Object id of the developer who gets data roles; empty: nobody.')
param principalId string

@description('What principalId is.')
@allowed(['User', 'ServicePrincipal', 'Group'])
param principalType string

@description('Who is told of alerts and of the budget.')
param alertEmails string[]

@description('Budget of a month; 0: none.')
param monthlyBudget int

@description('First day of the budget\'s first month; empty: no budget.')
param budgetStart string

@description('Audience of the tokens that the APIs take.')
param apiAudience string

@description('Tenants whose tokens they take, separated by commas.')
param apiTenants string

@description('Subjects of GitHub\'s tokens that may act as the deployment identity.')
param githubSubjects string[]

@description('Whether Cosmos DB uses the free tier.')
param freeTier bool

@description('Whether an embedding deployment is built.')
param embeddings bool

var contract = loadJsonContent('contract.json')
var apps = map(items(contract.apps), app => app.key) // in alphabetical order: an app's place is its identity's place too
var publicAccess = !profile.private
var names = {
  redis: 'redis-${suffix}'
  cosmos: 'cosmos-${suffix}'
  cold: 'stcold${token}'
  vault: 'kv-${suffix}'
  openai: 'oai-${suffix}'
  identities: map(apps, app => 'id-${app}-${suffix}')
  encryption: 'id-encryption-${suffix}'
  deployment: 'id-deployment-${suffix}'
  hosts: map(apps, app => 'st${replace(app, '-', '')}${token}')
  sites: map(apps, app => 'func-${app}-${suffix}')
}

// Who may do what: the contract's lines, each with its role's id and the place of its identity; -1 is the developer.
var granted = concat(
  flatten(map(range(0, length(apps)), place => map(contract.apps[apps[place]].access, line => {
    name: apps[place]
    place: place
    on: line.on
    role: contract.roles[line.role].id
  }))),
  empty(principalId) ? [] : map(contract.developer.access, line => {
    name: 'developer'
    place: -1
    on: line.on
    role: contract.roles[line.role].id
  }),
  embeddings ? map(contract.embeddings['agent-sample'], line => {
    name: 'agent-sample'
    place: indexOf(apps, 'agent-sample')
    on: line.on
    role: contract.roles[line.role].id
  }) : []
)
var everyone = map(granted, line => {
  name: line.name
  on: line.on
  role: line.role
  principalId: line.place < 0 ? principalId : identities.outputs.identities[line.place].principalId
  principalType: line.place < 0 ? principalType : 'ServicePrincipal'
})
var azureRoles = map(everyone, line => {
  on: line.on
  name: line.name
  assignment: { principalId: line.principalId, principalType: line.principalType, roleDefinitionId: line.role }
})

module identities '../bicep/identities/main.bicep' = {
  params: {
    names: concat(
      names.identities,
      profile.customerManagedKeys ? [names.encryption] : [],
      empty(githubSubjects) ? [] : [names.deployment]
    )
    location: location
    tags: tags
    github: empty(githubSubjects) ? [] : [{ identity: names.deployment, subjects: githubSubjects }]
  }
}

module monitoring '../bicep/monitoring/main.bicep' = {
  params: {
    name: 'log-${suffix}'
    insightsName: 'appi-${suffix}'
    actionGroupName: 'ag-${suffix}'
    location: location
    tags: tags
    retentionDays: profile.logs.retentionDays
    dailyQuotaGb: profile.logs.dailyQuotaGb
    emails: alertEmails
    publicAccess: publicAccess
    locked: profile.locked
    roleAssignments: map(filter(azureRoles, line => line.on == 'insights'), line => line.assignment)
  }
}

// Identity, vault, role and key come before what the key encrypts: Azure checks that the key can be used when it builds the service.
module vault '../bicep/key-vault/main.bicep' = {
  params: {
    name: names.vault
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    publicAccess: publicAccess
    locked: profile.locked
    purgeProtection: profile.vault.purgeProtection
    keys: profile.customerManagedKeys
      ? map(['redis', 'cosmos', 'cold', 'hosts'], name => { name: name, rotateAfter: 'P90D', expireAfter: 'P180D' })
      : []
    roleAssignments: concat(
      map(filter(azureRoles, line => line.on == 'vault'), line => line.assignment),
      profile.customerManagedKeys
        ? map(contract.encryption.access, line => {
            principalId: identities.outputs.identities[length(apps)].principalId
            principalType: 'ServicePrincipal'
            roleDefinitionId: contract.roles[line.role].id
          })
        : []
    )
  }
}

// Empty without keys of one's own. Cosmos DB and Storage follow a key's rotation; Redis takes the newest version with each deployment.
var keys = toObject(vault.outputs.keyUris, key => key.name, key => {
  keyUri: key.name == 'redis' ? key.uriWithVersion : key.uri
  identityId: identities.outputs.identities[length(apps)].id
})

module redis '../bicep/redis/main.bicep' = {
  params: {
    name: names.redis
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    publicAccess: publicAccess
    locked: profile.locked
    skuName: profile.redis.sku
    highAvailability: profile.redis.highAvailability
    persistence: profile.redis.persistence
    principals: map(filter(everyone, line => line.on == 'redis'), line => { name: line.name, objectId: line.principalId })
    customerManagedKey: keys.?redis
  }
}

module cosmos '../bicep/cosmos/main.bicep' = {
  params: {
    name: names.cosmos
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    publicAccess: publicAccess
    locked: profile.locked
    logRequests: profile.logs.requests
    mode: profile.cosmos.mode
    maxThroughput: profile.cosmos.maxThroughput
    freeTier: freeTier
    database: contract.cosmos.database
    containers: contract.cosmos.containers
    readRegions: profile.cosmos.secondRegion ? [secondLocation] : []
    zoneRedundant: profile.cosmos.zoneRedundant
    backup: profile.cosmos.backup
    roleAssignments: map(filter(everyone, line => startsWith(line.on, 'cosmos/')), line => {
      principalId: line.principalId
      roleDefinitionId: line.role
      container: split(line.on, '/')[1]
    })
    customerManagedKey: keys.?cosmos
  }
}

module cold '../bicep/storage/main.bicep' = {
  params: {
    name: names.cold
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    publicAccess: publicAccess
    locked: profile.locked
    logRequests: profile.logs.requests
    sku: profile.storage.sku
    containers: contract.cold.containers
    tables: contract.cold.tables
    softDeleteDays: profile.storage.softDeleteDays
    lifecycle: { coolAfterDays: profile.storage.coolAfterDays, coldAfterDays: profile.storage.coldAfterDays }
    roleAssignments: concat(
      map(filter(azureRoles, line => startsWith(line.on, 'cold/')), line => union(line.assignment, { container: split(line.on, '/')[1] })),
      map(filter(azureRoles, line => startsWith(line.on, 'table/')), line => union(line.assignment, { container: '' }))
    )
    customerManagedKey: keys.?cold
  }
}

var hostRoles = filter(azureRoles, line => line.on == 'host')

module hosts '../bicep/host-storage/main.bicep' = [
  for (app, place) in apps: {
    params: {
      name: names.hosts[place]
      location: location
      tags: tags
      workspaceId: monitoring.outputs.workspaceId
      publicAccess: publicAccess
      sku: profile.apps.hostSku
      deploymentContainer: 'app-package'
      queues: app == 'memory-worker' ? [contract.queues.vaultEvents, contract.queues.vaultEventsPoison] : []
      roleAssignments: map(filter(hostRoles, line => line.name == app), line => line.assignment)
      customerManagedKey: keys.?hosts
    }
  }
]

module events '../bicep/events/main.bicep' = {
  params: {
    name: 'evgt-${suffix}'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    vaultId: vault.outputs.id
    storageAccountName: hosts[indexOf(apps, 'memory-worker')].outputs.name
    queueName: contract.queues.vaultEvents
  }
}

module openai '../bicep/openai/main.bicep' = if (embeddings) {
  params: {
    name: names.openai
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    publicAccess: publicAccess
    locked: profile.locked
    roleAssignments: map(filter(azureRoles, line => line.on == 'openai'), line => line.assignment)
  }
}

module network '../bicep/network/main.bicep' = if (profile.private) {
  params: {
    name: 'vnet-${suffix}'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    apps: apps
    services: concat(
      ['blob', 'cosmos', 'monitor', 'queue', 'redis', 'sites', 'table', 'vault'],
      embeddings ? ['openai'] : []
    )
  }
}

var memory = {
  REDIS_HOST: redis.outputs.hostName
  REDIS_PORT: string(redis.outputs.port)
  REDIS_AUTH: 'entra'
  COSMOS_ACCOUNT_URI: cosmos.outputs.endpoint
  COSMOS_DATABASE: contract.cosmos.database
  COSMOS_CONTAINER: 'state'
  BLOB_ACCOUNT_URL: cold.outputs.blobEndpoint
  BLOB_CONTAINER: contract.cold.containers[0]
  KEY_VAULT_URI: vault.outputs.uri
}
var signIn = environment().authentication.loginEndpoint
var api = {
  THERMOCLINE_API_AUDIENCE: apiAudience
  THERMOCLINE_API_TENANTS: apiTenants
  THERMOCLINE_API_AUTHORITY: endsWith(signIn, '/') ? take(signIn, length(signIn) - 1) : signIn
}
var own = {
  'agent-sample': api
  'memory-api': union(api, { THERMOCLINE_JOBS_SCHEDULE: '30 * * * * *' })
  'memory-worker': {
    THERMOCLINE_LEASES_CONTAINER: 'leases'
    THERMOCLINE_DEAD_LETTERS_CONTAINER: 'dead-letters'
    THERMOCLINE_FEED_ATTEMPTS: '5'
    THERMOCLINE_SWEEP_SCHEDULE: '0 */10 * * * *'
    THERMOCLINE_SWEEP_SECONDS: '240'
    THERMOCLINE_SWEEP_REQUEST_UNITS: '20000'
    THERMOCLINE_REPLAY_SCHEDULE: '0 */5 * * * *'
    THERMOCLINE_VAULT_EVENTS_QUEUE: contract.queues.vaultEvents
    COSMOS__accountEndpoint: cosmos.outputs.endpoint
    COSMOS__credential: 'managedidentity'
    COSMOS__clientId: identities.outputs.identities[indexOf(apps, 'memory-worker')].clientId
    EVENTS__queueServiceUri: hosts[indexOf(apps, 'memory-worker')].outputs.queueEndpoint
    EVENTS__credential: 'managedidentity'
    EVENTS__clientId: identities.outputs.identities[indexOf(apps, 'memory-worker')].clientId
  }
}

module functions '../bicep/functions/main.bicep' = [
  for (app, place) in apps: {
    params: {
      name: names.sites[place]
      location: location
      tags: tags
      workspaceId: monitoring.outputs.workspaceId
      publicAccess: publicAccess
      serviceName: app
      identityId: identities.outputs.identities[place].id
      identityClientId: identities.outputs.identities[place].clientId
      hostStorageName: hosts[place].outputs.name
      deploymentContainerUrl: '${hosts[place].outputs.blobEndpoint}app-package'
      settings: union(memory, own[app], { AZURE_CLIENT_ID: identities.outputs.identities[place].clientId })
      insightsConnectionString: monitoring.outputs.insightsConnectionString
      memoryMB: profile.apps.memoryMB
      maximumInstances: profile.apps.maximumInstances
      alwaysReady: profile.apps.alwaysReady == 0
        ? []
        : [{ name: app == 'memory-worker' ? 'function:settle_changes' : 'http', instanceCount: profile.apps.alwaysReady }]
      zoneRedundant: profile.apps.zoneRedundant
      subnetId: profile.private ? network!.outputs.subnetIds[app] : ''
    }
  }
]

module endpoints 'endpoints.bicep' = if (profile.private) {
  params: {
    suffix: suffix
    location: location
    tags: tags
    subnetId: network!.outputs.endpointsSubnetId
    zoneIds: network!.outputs.zoneIds
    redisId: redis.outputs.id
    cosmosId: cosmos.outputs.id
    coldId: cold.outputs.id
    vaultId: vault.outputs.id
    openaiId: embeddings ? openai!.outputs.id : ''
    apps: [
      for (app, place) in apps: {
        name: app
        siteId: functions[place].outputs.id
        hostId: hosts[place].outputs.id
        queue: app == 'memory-worker'
      }
    ]
    workspaceId: monitoring.outputs.workspaceId
    insightsId: monitoring.outputs.insightsId
  }
}

module watching 'watching.bicep' = {
  params: {
    suffix: suffix
    location: location
    tags: tags
    alerts: profile.alerts
    monthlyBudget: monthlyBudget
    budgetStart: budgetStart
    emails: alertEmails
    actionGroupId: monitoring.outputs.actionGroupId
    workspaceId: monitoring.outputs.workspaceId
    insightsId: monitoring.outputs.insightsId
    redisId: redis.outputs.id
    cosmosId: cosmos.outputs.id
    coldId: cold.outputs.id
    vaultId: vault.outputs.id
  }
}

@description('What MemorySettings reads, as the apps have it.')
output memory object = memory

@description('The table of the optional fourth tier.')
output table object = {
  TABLE_ACCOUNT_URL: cold.outputs.tableEndpoint
  TABLE_NAME: contract.cold.tables[0]
}

@description('The container of what the change feed set aside.')
output deadLetters string = own['memory-worker'].THERMOCLINE_DEAD_LETTERS_CONTAINER

@description('Where each app answers, by its name.')
output urls object = {
  'agent-sample': functions[indexOf(apps, 'agent-sample')].outputs.url
  'memory-api': functions[indexOf(apps, 'memory-api')].outputs.url
  'memory-worker': functions[indexOf(apps, 'memory-worker')].outputs.url
}

@description('Endpoint of Azure OpenAI; empty: there is none.')
output openaiEndpoint string = embeddings ? openai!.outputs.endpoint : ''

@description('The embedding deployment; empty: there is none.')
output openaiDeployment string = embeddings ? openai!.outputs.deployment : ''
