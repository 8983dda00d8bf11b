metadata name = 'private-endpoint'
metadata description = 'One private endpoint: an address in our network for one part of one service, and the DNS records that lead to it.'

targetScope = 'resourceGroup'

@description('Name of the endpoint.')
@minLength(2)
@maxLength(60)
param name string

@description('Azure region: that of the subnet.')
param location string

@description('Tags of the endpoint.')
param tags object = {}

@description('Subnet that the address is taken from.')
param subnetId string

@description('Resource ID of the service.')
param serviceId string

@description('The part of the service.')
@allowed(['account', 'azuremonitor', 'blob', 'queue', 'redisEnterprise', 'sites', 'Sql', 'table', 'vault'])
param groupId string

@description('Private DNS zones that get the address.')
@minLength(1)
param zoneIds string[]

resource endpoint 'Microsoft.Network/privateEndpoints@2025-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    customNetworkInterfaceName: '${name}-nic' // else Azure makes up a name
    privateLinkServiceConnections: [
      {
        name: groupId
        properties: {
          privateLinkServiceId: serviceId
          groupIds: [groupId]
        }
      }
    ]
  }
}

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-07-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      for zoneId in zoneIds: {
        name: replace(last(split(zoneId, '/')), '.', '-')
        properties: {
          privateDnsZoneId: zoneId
        }
      }
    ]
  }
}

@description('Resource ID of the endpoint.')
output id string = endpoint.id

@description('Name of the endpoint.')
output name string = endpoint.name
