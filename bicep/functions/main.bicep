metadata name = 'functions'
metadata description = 'One Azure Functions app on a Flex Consumption plan of its own: one user-assigned identity, no key in any setting.'

targetScope = 'resourceGroup'

@description('Instances that are kept warm.')
@export()
type AlwaysReady = {
  @description('What they are kept for: `http` (all HTTP functions together) or `function:NAME`.')
  name: string

  @description('How many. With zone redundancy the module makes it 2 at least, as Azure asks.')
  @minValue(0)
  instanceCount: int
}

@description('Name of the app. Its host name is made of it, so it must be free in all of Azure.')
@minLength(2)
@maxLength(60)
param name string

@description('Name of the plan. One plan holds one app: Flex Consumption allows no more.')
@minLength(1)
@maxLength(60)
param planName string = 'plan-${name}'

@description('Azure region.')
param location string

@description('Tags of the plan and the app.')
param tags object = {}

@description('Log Analytics workspace that gets the diagnostics; empty: none.')
param workspaceId string = ''

@description('Whether the app and its deployment site answer on the public network. If false, a private endpoint (group `sites`) is the only way in.')
param publicAccess bool = true

@description('The service of azure.yaml whose code azd puts here.')
param serviceName string

@description('Resource ID of the user-assigned identity that the app runs as.')
param identityId string

@description('Client ID of the same identity.')
param identityClientId string

@description('Name of the storage account of the Functions host, which no other app uses.')
param hostStorageName string

@description('URL of the blob container for the app\'s package: the blob endpoint of the host\'s storage, a slash and the container.')
param deploymentContainerUrl string

@description('App settings: all but the host\'s own (AzureWebJobsStorage__*, APPLICATIONINSIGHTS_*, FUNCTIONS_*), which the module adds. What is set by hand in Azure is removed.')
param settings object

@description('Connection string of Application Insights. It holds no secret: without the identity\'s token nothing is taken.')
// bicepcheck: ignore secure-name (it says which component and where; with local authentication off that opens nothing)
param insightsConnectionString string

@description('Version of Python.')
@allowed(['3.11', '3.12', '3.13'])
param runtimeVersion string = '3.13'

@description('Memory of an instance in MB.')
@allowed([512, 2048, 4096])
param memoryMB int = 2048

@description('The most instances that the app may scale out to.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('Instances that are kept warm (billed all the time); with zone redundancy at least two of a kind.')
param alwaysReady AlwaysReady[] = []

@description('Whether instances are spread over availability zones.')
param zoneRedundant bool = false

@description('Subnet for outgoing traffic, delegated to Microsoft.App/environments; empty: no network.')
param subnetId string = ''

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true // Linux, the only system of this plan
    zoneRedundant: zoneRedundant
  }
}

// No ftpsState, vnetRouteAllEnabled, FUNCTIONS_EXTENSION_VERSION, FUNCTIONS_WORKER_RUNTIME or WEBSITE_RUN_FROM_PACKAGE: Flex Consumption has no FTP,
// sends all outgoing traffic through the subnet, and takes the rest from functionAppConfig. No healthCheckPath either: instances come and go
// with the load, so no probe of the platform watches them; the app's health page is for people, tests and monitors.
resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': serviceName })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      // bicepcheck: ignore simplify-interpolation (the language takes a computed key in this form only)
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      remoteDebuggingEnabled: false
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: deploymentContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: runtimeVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: memoryMB
        maximumInstanceCount: maximumInstances
        alwaysReady: map(alwaysReady, group => {
          name: group.name
          instanceCount: zoneRedundant ? max(2, group.instanceCount) : group.instanceCount
        })
      }
    }
  }
}

// User and password for deployments are off: azd deploys with the caller's Entra token.
resource publishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = [
  for door in ['ftp', 'scm']: {
    parent: site
    name: door
    properties: {
      allow: false
    }
  }
]

// One resource holds all settings, so that a setting that is no longer wanted goes away, also a key that somebody or the platform put there.
resource appSettings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: site
  name: 'appsettings'
  properties: union(settings, {
    AzureWebJobsStorage__accountName: hostStorageName
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: identityClientId
    APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${identityClientId}'
    // The host reads a body whole before the app can look at its token, and would take 100 MB of anybody's: 8 MiB are what the app takes at most.
    FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '8388608'
  })
}

resource planDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: plan
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

resource siteDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  scope: site
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

@description('Resource ID of the app.')
output id string = site.id

@description('Name of the app.')
output name string = site.name

@description('Host name of the app, without scheme.')
output hostName string = site.properties.defaultHostName

@description('URL of the app.')
output url string = 'https://${site.properties.defaultHostName}'
