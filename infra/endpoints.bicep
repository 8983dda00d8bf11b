targetScope = 'resourceGroup'

@description('End of every name: environment and token.')
param suffix string

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Resource id of the subnet for endpoints.')
param subnetId string

@description('Resource ids of the private DNS zones, by service, as the network module gives them.')
param zoneIds object

@description('Resource id of Redis.')
param redisId string

@description('Resource id of Cosmos DB.')
param cosmosId string

@description('Resource id of cold memory\'s storage account.')
param coldId string

@description('Resource id of the vault.')
param vaultId string

@description('Resource id of Azure OpenAI; empty: there is none.')
param openaiId string

@description('The apps: name, resource id of the app and of its host\'s storage, and whether it listens to a queue there.')
param apps { name: string, siteId: string, hostId: string, queue: bool }[]

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

@description('Resource id of Application Insights.')
param insightsId string

// One address for each part of a service that somebody speaks to. Nobody reads tables of the hosts' accounts, or queues of those without a trigger.
var doors = concat(
  [
    { name: 'redis', service: 'redis', group: 'redisEnterprise', id: redisId }
    { name: 'cosmos', service: 'cosmos', group: 'Sql', id: cosmosId }
    { name: 'cold-blob', service: 'blob', group: 'blob', id: coldId }
    { name: 'cold-table', service: 'table', group: 'table', id: coldId }
    { name: 'vault', service: 'vault', group: 'vault', id: vaultId }
  ],
  empty(openaiId) ? [] : [{ name: 'openai', service: 'openai', group: 'account', id: openaiId }],
  map(apps, app => { name: '${app.name}-site', service: 'sites', group: 'sites', id: app.siteId }),
  map(apps, app => { name: '${app.name}-blob', service: 'blob', group: 'blob', id: app.hostId }),
  map(filter(apps, app => app.queue), app => { name: '${app.name}-queue', service: 'queue', group: 'queue', id: app.hostId })
)

// One after another: an account takes one connection at a time, and some have two.
@batchSize(1)
module endpoints '../bicep/private-endpoint/main.bicep' = [
  for door in doors: {
    params: {
      name: 'pe-${door.name}-${suffix}'
      location: location
      tags: tags
      subnetId: subnetId
      serviceId: door.id
      groupId: door.group
      zoneIds: zoneIds[door.service]
    }
  }
]

module monitorLink '../bicep/monitor-link/main.bicep' = {
  params: {
    name: 'ampls-${suffix}'
    tags: tags
    workspaceId: workspaceId
    insightsId: insightsId
  }
}

module monitorEndpoint '../bicep/private-endpoint/main.bicep' = {
  dependsOn: [endpoints] // Azure Monitor's records go into the zone of blobs as well
  params: {
    name: 'pe-monitor-${suffix}'
    location: location
    tags: tags
    subnetId: subnetId
    serviceId: monitorLink.outputs.id
    groupId: 'azuremonitor'
    zoneIds: zoneIds.monitor
  }
}
