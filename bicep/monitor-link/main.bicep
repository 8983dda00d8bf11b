metadata name = 'monitor-link'
metadata description = 'Azure Monitor Private Link Scope: telemetry goes to our workspace through a private endpoint, and to no other workspace.'

targetScope = 'resourceGroup'

@description('Name of the scope.')
@minLength(1)
@maxLength(255)
param name string

@description('Tags of the scope.')
param tags object = {}

@description('Resource ID of the Log Analytics workspace.')
param workspaceId string

@description('Resource ID of Application Insights.')
param insightsId string

// 2021-09-01 is the newest version that is no preview.
resource link 'Microsoft.Insights/privateLinkScopes@2021-09-01' = {
  name: name
  location: 'global'
  tags: tags
  properties: {
    accessModeSettings: {
      ingestionAccessMode: 'PrivateOnly' // from our network to our workspace alone: nothing leaves to somebody else's
      queryAccessMode: 'PrivateOnly'
    }
  }
}

resource workspace 'Microsoft.Insights/privateLinkScopes/scopedResources@2021-09-01' = {
  parent: link
  name: 'workspace'
  properties: {
    linkedResourceId: workspaceId
  }
}

resource insights 'Microsoft.Insights/privateLinkScopes/scopedResources@2021-09-01' = {
  parent: link
  name: 'insights'
  properties: {
    linkedResourceId: insightsId
  }
  dependsOn: [workspace] // the scope takes one change at a time
}

@description('Resource ID of the scope: what the private endpoint (group `azuremonitor`) leads to.')
output id string = link.id

@description('Name of the scope.')
output name string = link.name
