targetScope = 'resourceGroup'

metadata name = 'Workbook'
metadata description = 'The page where one sees how the memory is: a workbook of Azure Monitor, from workbook.json.'

@description('What the workbook\'s own name, a GUID, is made of.')
@minLength(1)
param name string

@description('Name that the portal shows.')
@minLength(1)
param displayName string = 'thermocline'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('Resource id of the Log Analytics workspace that has the library\'s metrics.')
param workspaceId string

@description('Resource id of Application Insights, where the portal lists the workbook.')
param insightsId string

@description('Resource id of hot memory (Redis).')
param redisId string

@description('Resource id of warm memory (Cosmos DB account).')
param cosmosId string

@description('Resource id of cold memory\'s storage account.')
param storageId string

var places = {
  __WORKSPACE_ID__: workspaceId
  __INSIGHTS_ID__: insightsId
  __REDIS_ID__: redisId
  __COSMOS_ID__: cosmosId
  __STORAGE_ID__: storageId
  __RESOURCE_GROUP_ID__: resourceGroup().id
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, name)
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: displayName
    category: 'workbook'
    version: '1.0'
    sourceId: insightsId
    serializedData: reduce(items(places), loadTextContent('workbook.json'), (text, place) => replace(string(text), place.key, place.value))
  }
}

@description('Resource id of the workbook.')
output id string = workbook.id
