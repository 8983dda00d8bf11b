targetScope = 'resourceGroup'

@description('End of every name: environment and token.')
param suffix string

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Whether alert rules are made.')
param alerts bool

@description('Budget of a month; 0: none.')
param monthlyBudget int

@description('First day of the budget\'s first month; empty: no budget.')
param budgetStart string

@description('Who is told of the budget, besides the action group.')
param emails string[]

@description('Resource id of the action group.')
param actionGroupId string

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

@description('Resource id of Application Insights.')
param insightsId string

@description('Resource id of Redis.')
param redisId string

@description('Resource id of Cosmos DB.')
param cosmosId string

@description('Resource id of cold memory\'s storage account.')
param coldId string

@description('Resource id of the vault.')
param vaultId string

module alertRules '../bicep/alerts/main.bicep' = if (alerts) {
  params: {
    name: 'alert-${suffix}'
    location: location
    tags: tags
    workspaceId: workspaceId
    actionGroupId: actionGroupId
    redisId: redisId
    cosmosId: cosmosId
    storageId: coldId
    vaultId: vaultId
  }
}

module workbook '../bicep/workbook/main.bicep' = {
  params: {
    name: 'workbook-${suffix}'
    displayName: 'thermocline ${suffix}'
    location: location
    tags: tags
    workspaceId: workspaceId
    insightsId: insightsId
    redisId: redisId
    cosmosId: cosmosId
    storageId: coldId
  }
}

module budget '../bicep/budget/main.bicep' = if (monthlyBudget > 0 && !empty(budgetStart)) {
  params: {
    name: 'budget-${suffix}'
    amount: monthlyBudget
    startDate: budgetStart
    contactEmails: emails
    actionGroupId: actionGroupId
  }
}
