metadata name = 'network'
metadata description = 'The private network: a delegated subnet for each app, one for private endpoints, least rules, one way out, and the private DNS zones.'

targetScope = 'resourceGroup'

@description('Parts of services that get a private DNS zone.')
@export()
type Service = 'blob' | 'cosmos' | 'monitor' | 'openai' | 'queue' | 'redis' | 'sites' | 'table' | 'vault'

@description('Name of the virtual network.')
@minLength(2)
@maxLength(64)
param name string

@description('Azure region.')
param location string

@description('Tags of all resources here.')
param tags object = {}

@description('Log Analytics workspace that gets the diagnostics; empty: none.')
param workspaceId string = ''

@description('Addresses of the network: a /22 or larger block. It is cut into blocks of 64: the first is for endpoints, each further one for an app.')
param addressSpace string = '10.71.0.0/22'

@description('Names of the apps; each gets a subnet of its own. Add at the end only: an app\'s place in the list is its block of addresses.')
@minLength(1)
@maxLength(15)
param apps string[]

@description('Which private DNS zones are made. Without `monitor`, telemetry may leave by the public network.')
param services Service[] = ['blob', 'cosmos', 'monitor', 'queue', 'redis', 'sites', 'table', 'vault']

@description('Service tags, beside Entra ID, that the apps may call over HTTPS on the public network, e.g. CognitiveServicesManagement.')
@maxLength(10)
param egressTags string[] = []

// Redis clients begin at 10000 and then talk to each shard at a port of the 8500s that the cluster tells them. All else is HTTPS.
var servicePorts = ['443', '10000', '8500-8599']

// Who may come to the endpoints: private addresses, and those of RFC 6598 that platforms use for translation. What they may do there is the services'
// own business: Entra ID and data-plane roles.
var privateAddresses = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10']

var endpointsPrefix = cidrSubnet(addressSpace, 26, 0)
var endpointsSubnet = 'endpoints'
var httpsTags = concat(['AzureActiveDirectory'], contains(services, 'monitor') ? [] : ['AzureMonitor'], egressTags)

var storageSuffix = environment().suffixes.storage
var zonesOf = {
  blob: ['privatelink.blob.${storageSuffix}']
  cosmos: ['privatelink.documents.azure.com']
  monitor: [
    'privatelink.monitor.azure.com'
    'privatelink.oms.opinsights.azure.com'
    'privatelink.ods.opinsights.azure.com'
    'privatelink.agentsvc.azure-automation.net'
  ]
  openai: ['privatelink.openai.azure.com']
  queue: ['privatelink.queue.${storageSuffix}']
  redis: ['privatelink.redis.azure.net']
  sites: ['privatelink.azurewebsites.net'] // the deployment site's name (scm) is in it too
  table: ['privatelink.table.${storageSuffix}']
  vault: ['privatelink.vaultcore.azure.net']
}
var blobZones = contains(services, 'blob') ? zonesOf.blob : [] // Azure Monitor keeps files in Blob Storage
var zonesId = '${resourceGroup().id}/providers/Microsoft.Network/privateDnsZones'
var zoneNames = flatten(map(services, service => zonesOf[service]))

resource appsRules 'Microsoft.Network/networkSecurityGroups@2025-07-01' = {
  name: 'nsg-${name}-apps'
  location: location
  tags: tags
  properties: {
    securityRules: concat(
      [
        {
          name: 'no-internet-in'
          properties: {
            description: 'Callers come through the app\'s private endpoint, never to this subnet.'
            priority: 100
            direction: 'Inbound'
            access: 'Deny'
            protocol: '*'
            sourceAddressPrefix: 'Internet'
            sourcePortRange: '*'
            destinationAddressPrefix: '*'
            destinationPortRange: '*'
          }
        }
        {
          name: 'endpoints-out'
          properties: {
            description: 'Redis, Cosmos DB, Storage, Key Vault and the like, by their private endpoints.'
            priority: 100
            direction: 'Outbound'
            access: 'Allow'
            protocol: 'Tcp'
            sourceAddressPrefix: '*'
            sourcePortRange: '*'
            destinationAddressPrefix: endpointsPrefix
            destinationPortRanges: servicePorts
          }
        }
      ],
      map(range(0, length(httpsTags)), i => {
        name: '${toLower(replace(httpsTags[i], '.', '-'))}-out'
        properties: {
          description: 'Services that have no private endpoint here: tokens and their signing keys, telemetry, and what egressTags names.'
          priority: 110 + i
          direction: 'Outbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: httpsTags[i]
          destinationPortRange: '443'
        }
      }),
      [
        {
          name: 'nothing-else-out'
          properties: {
            description: 'Neither the internet nor other networks.'
            priority: 4096
            direction: 'Outbound'
            access: 'Deny'
            protocol: '*'
            sourceAddressPrefix: '*'
            sourcePortRange: '*'
            destinationAddressPrefix: '*'
            destinationPortRange: '*'
          }
        }
      ]
    )
  }
}

resource endpointsRules 'Microsoft.Network/networkSecurityGroups@2025-07-01' = {
  name: 'nsg-${name}-endpoints'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'services-in'
        properties: {
          description: 'The apps and connected networks, at the ports of the services.'
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefixes: privateAddresses
          sourcePortRange: '*'
          destinationAddressPrefix: endpointsPrefix
          destinationPortRanges: servicePorts
        }
      }
      {
        name: 'nothing-else-in'
        properties: {
          description: 'Not the internet, and no other port.'
          priority: 4096
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
      {
        name: 'nothing-out'
        properties: {
          description: 'Endpoints answer; they call nobody.'
          priority: 4096
          direction: 'Outbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

// The way out for tokens and telemetry. Azure's implicit outbound address is being retired and belongs to nobody; this one is ours and can be put on a list.
resource egressAddress 'Microsoft.Network/publicIPAddresses@2025-07-01' = {
  name: 'pip-${name}-egress'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
    publicIPAddressVersion: 'IPv4'
  }
}

resource egress 'Microsoft.Network/natGateways@2025-07-01' = {
  name: 'ng-${name}'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    idleTimeoutInMinutes: 4
    publicIpAddresses: [
      {
        id: egressAddress.id
      }
    ]
  }
}

// Subnets stand inside: as resources of their own they would be written one by one, and a second run would first ask for a network without them.
// The address space and the cut of it cannot change while something lives in a subnet.
resource network 'Microsoft.Network/virtualNetworks@2025-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [addressSpace]
    }
    subnets: concat(
      [
        {
          name: endpointsSubnet
          properties: {
            addressPrefix: endpointsPrefix
            defaultOutboundAccess: false
            networkSecurityGroup: {
              id: endpointsRules.id
            }
            privateEndpointNetworkPolicies: 'NetworkSecurityGroupEnabled' // else the rules above do not hold for endpoints
          }
        }
      ],
      map(range(0, length(apps)), i => {
        name: apps[i]
        properties: {
          addressPrefix: cidrSubnet(addressSpace, 26, i + 1)
          defaultOutboundAccess: false
          natGateway: {
            id: egress.id
          }
          networkSecurityGroup: {
            id: appsRules.id
          }
          delegations: [
            {
              name: 'flex-consumption'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      })
    )
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zoneNames: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, i) in zoneNames: {
    parent: zones[i]
    name: name
    location: 'global'
    tags: tags
    properties: {
      virtualNetwork: {
        id: network.id
      }
      registrationEnabled: false
    }
  }
]

resource networkDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: network
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

resource appsRulesDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: appsRules
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

resource endpointsRulesDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: endpointsRules
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

resource egressDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: egressAddress
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

@description('Resource ID of the virtual network.')
output id string = network.id

@description('Name of the virtual network.')
output name string = network.name

@description('Resource ID of each app\'s subnet, by the app\'s name.')
output subnetIds object = toObject(apps, app => app, app => '${network.id}/subnets/${app}')

@description('Resource ID of the subnet for private endpoints.')
output endpointsSubnetId string = '${network.id}/subnets/${endpointsSubnet}'

@description('Resource IDs of the private DNS zones, by service: a list for each, as the private-endpoint module takes it.')
output zoneIds object = toObject(
  services,
  service => service,
  service => map(concat(zonesOf[service], service == 'monitor' ? blobZones : []), zone => '${zonesId}/${zone}')
)

@description('The public address that the apps\' outgoing calls come from.')
output egressAddress string = egressAddress.properties.ipAddress
