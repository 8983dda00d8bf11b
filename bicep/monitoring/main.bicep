targetScope = 'resourceGroup'

metadata name = 'Monitoring'
metadata description = 'Where figures, logs and alarms go: Log Analytics workspace, Application Insights that takes Entra ID alone, action group.'

import { roleAssignment } from '../types.bicep'

@description('Name of the Log Analytics workspace.')
@minLength(4)
@maxLength(63)
param name string

@description('Name of the Application Insights resource.')
@minLength(1)
@maxLength(260)
param insightsName string

@description('Name of the action group that alerts and budget notify.')
@minLength(1)
@maxLength(260)
param actionGroupName string

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('Days that logs and metrics are kept.')
@minValue(30)
@maxValue(730)
param retentionDays int = 30

@description('Gigabytes that the workspace takes a day; what comes later that day is lost. -1: no limit.')
@minValue(-1)
param dailyQuotaGb int = 1

@description('E-mail addresses that are notified of alerts.')
param emails string[] = []

@description('Azure roles on Application Insights: Monitoring Metrics Publisher for each app, since without a token nothing is taken.')
param roleAssignments roleAssignment[] = []

@description('Whether telemetry is taken, and may be asked for, over public endpoints; false: through a private link scope (module monitor-link) alone, the portal\'s queries too.')
param publicAccess bool = true

@description('Whether locks keep the workspace and Application Insights from being deleted.')
param locked bool = false

var access = publicAccess ? 'Enabled' : 'Disabled'

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    workspaceCapping: {
      dailyQuotaGb: dailyQuotaGb
    }
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
    publicNetworkAccessForIngestion: access
    publicNetworkAccessForQuery: access
  }
}

// No diagnostic setting of its own: its categories are the telemetry itself, which would be stored, and paid, twice.
resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: insightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    IngestionMode: 'LogAnalytics'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
    publicNetworkAccessForIngestion: access
    publicNetworkAccessForQuery: access
  }
}

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: actionGroupName
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'thermocline'
    enabled: true
    emailReceivers: [
      for email in emails: {
        name: email
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource publishers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for assignment in roleAssignments: {
    scope: insights
    name: guid(insights.id, assignment.principalId, assignment.roleDefinitionId)
    properties: {
      principalId: assignment.principalId
      principalType: assignment.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', assignment.roleDefinitionId)
    }
  }
]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: workspace
  name: 'to-workspace'
  properties: {
    workspaceId: workspace.id
    logs: [{ categoryGroup: 'audit', enabled: true }] // who asked what; the other categories tell of the service's own work
  }
}

resource workspaceLock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  scope: workspace
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'Logs and metrics. Remove this lock first, then delete.'
  }
}

resource insightsLock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  scope: insights
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'Telemetry. Remove this lock first, then delete.'
  }
}

@description('Resource id of the workspace.')
output workspaceId string = workspace.id

@description('Name of the workspace.')
output workspaceName string = workspace.name

@description('Resource id of Application Insights.')
output insightsId string = insights.id

@description('Name of Application Insights.')
output insightsName string = insights.name

@description('Connection string of Application Insights (APPLICATIONINSIGHTS_CONNECTION_STRING). It says where to send, and lets nobody in.')
output insightsConnectionString string = insights.properties.ConnectionString

@description('Resource id of the action group.')
output actionGroupId string = actionGroup.id
