targetScope = 'resourceGroup'

metadata name = 'Alerts'
metadata description = 'Alarms on the library\'s metrics (log-alerts.json), on the services\' own (metric-alerts.json) and on incidents of Azure. Each names its runbook.'

@description('First part of each alert\'s name.')
@minLength(1)
@maxLength(80)
param name string

@description('Azure region of the workspace.')
param location string

@description('Tags of every resource.')
param tags object = {}

@description('Resource id of the Log Analytics workspace that has the library\'s metrics.')
param workspaceId string

@description('Resource id of the action group that is notified.')
param actionGroupId string

@description('Resource id of hot memory (Redis); empty: no alerts on it.')
param redisId string = ''

@description('Resource id of warm memory (Cosmos DB account); empty: no alerts on it.')
param cosmosId string = ''

@description('Resource id of cold memory\'s storage account; empty: no alerts on it.')
param storageId string = ''

@description('Resource id of the key vault; empty: no alerts on it.')
param vaultId string = ''

@description('Where the runbooks are, in front of docs/runbooks/: the repository\'s address, for example. Empty: the path alone.')
param runbookBase string = ''

var logRules = loadJsonContent('log-alerts.json').alerts
var scopes = {
  redis: redisId
  cosmos: cosmosId
  blob: empty(storageId) ? '' : '${storageId}/blobServices/default'
  vault: vaultId
}
var metricRules = filter(loadJsonContent('metric-alerts.json').alerts, rule => !empty(scopes[rule.on]))

resource logAlerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in logRules: {
    name: '${name}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${name}: ${rule.title}'
      description: '${rule.description} runbook: ${runbookBase}docs/runbooks/${rule.runbook}.md'
      enabled: true
      severity: rule.severity
      evaluationFrequency: rule.every
      windowSize: rule.window
      scopes: [workspaceId]
      autoMitigate: true
      // A workspace that has had no such record yet would refuse a query that is right.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            query: join(rule.query, '\n')
            metricMeasureColumn: rule.measure
            timeAggregation: rule.aggregation
            operator: rule.operator
            threshold: rule.threshold
            dimensions: map(rule.dimensions, column => { name: column, operator: 'Include', values: ['*'] })
            failingPeriods: {
              numberOfEvaluationPeriods: rule.periods
              minFailingPeriodsToAlert: rule.periods
            }
          }
        ]
      }
      actions: {
        actionGroups: [actionGroupId]
      }
    }
  }
]

resource metricAlerts 'Microsoft.Insights/metricAlerts@2026-01-01' = [
  for rule in metricRules: {
    name: '${name}-${rule.name}'
    location: 'global'
    tags: tags
    properties: {
      description: '${rule.title}. ${rule.description} runbook: ${runbookBase}docs/runbooks/${rule.runbook}.md'
      enabled: true
      severity: rule.severity
      evaluationFrequency: rule.every
      windowSize: rule.window
      scopes: [scopes[rule.on]]
      autoMitigate: true
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            name: rule.name
            criterionType: 'StaticThresholdCriterion'
            metricNamespace: rule.namespace
            metricName: rule.metric
            timeAggregation: rule.aggregation
            operator: rule.operator
            threshold: rule.threshold
            dimensions: map(items(rule.dimensions), one => { name: one.key, operator: 'Include', values: one.value })
          }
        ]
      }
      actions: [{ actionGroupId: actionGroupId }]
    }
  }
]

resource serviceHealth 'Microsoft.Insights/activityLogAlerts@2026-01-01' = {
  name: '${name}-service-health'
  location: 'global'
  tags: tags
  properties: {
    description: 'Azure tells of an incident that touches this subscription. runbook: ${runbookBase}docs/runbooks/region-down.md'
    enabled: true
    scopes: [subscription().id]
    condition: {
      allOf: [
        { field: 'category', equals: 'ServiceHealth' }
        { field: 'properties.incidentType', equals: 'Incident' }
      ]
    }
    actions: {
      actionGroups: [{ actionGroupId: actionGroupId }]
    }
  }
}

@description('Names of all alerts.')
output names string[] = concat(
  map(logRules, rule => '${name}-${rule.name}'),
  map(metricRules, rule => '${name}-${rule.name}'),
  ['${name}-service-health']
)
