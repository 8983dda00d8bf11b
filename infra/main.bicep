targetScope = 'subscription'

@description('The environment\'s name, part of every resource\'s name: small letters, digits and single hyphens, a letter first.')
@minLength(2)
@maxLength(12)
param environmentName string

@description('The region of everything but the second copy of Cosmos DB.')
param location string

@description('What is built: dev (the cheapest that works), team (alerts and a budget), private (no public access), regulated (own keys, zones, a second region, locks).')
@allowed(['dev', 'team', 'private', 'regulated'])
param profile string

@description('The region that Cosmos DB may fail over to, for profiles with a second region (regulated).')
param secondLocation string = ''

@description('The object id of the developer who gets data roles in profiles that allow it (dev, team); empty, or that of a pipeline: nobody.')
param principalId string = ''

@description('What principalId is.')
@allowed(['User', 'ServicePrincipal', 'Group'])
param principalType string = 'User'

@description('Who is told of alerts and of the budget: e-mail addresses, separated by commas.')
param alertEmails string = ''

@description('The budget of a month in the subscription\'s currency; 0: none; -1: the profile\'s own.')
@minValue(-1)
@maxValue(1000000)
param monthlyBudget int = -1

@description('The first day of the budget\'s first month, yyyy-MM-01. It cannot change later, so the check before pins it in the azd environment (AZURE_BUDGET_START). Empty: no budget.')
@maxLength(10)
param budgetStart string = '' // azd asks the operator for what has no default, before the check runs

@description('The audience (application id or its URI) of the tokens that memory-api and agent-sample take; empty: they answer no call and their health page says why.')
param apiAudience string = ''

@description('The tenants whose tokens they take, separated by commas; empty: this one.')
param apiTenants string = ''

@description('Subjects of GitHub\'s tokens that may act as the deployment identity, such as repo:owner/name:environment:production; empty: there is no such identity.')
@maxLength(20)
param githubSubjects string[] = []

@description('Whether Cosmos DB uses the subscription\'s one free tier. It cannot change later.')
param freeTier bool = false

@description('Whether an Azure OpenAI deployment for embeddings is built, and the apps may use it.')
param embeddings bool = false

var settings = loadJsonContent('profiles.json')[profile]
var shortName = toLower(environmentName)
var token = take(uniqueString(subscription().id, shortName, location), 8) // the only place where names are made unique
var tags = {
  application: 'thermocline'
  'azd-env-name': environmentName
  profile: profile
}

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${shortName}-${token}'
  location: location
  tags: tags
}

module resources 'resources.bicep' = {
  name: 'thermocline-resources'
  scope: group
  params: {
    suffix: '${shortName}-${token}'
    token: token
    location: location
    tags: tags
    profile: settings
    secondLocation: secondLocation
    // azd hands in whoever deploys: a pipeline is no developer, and reads no data.
    principalId: settings.developer && principalType != 'ServicePrincipal' ? principalId : ''
    principalType: principalType
    alertEmails: filter(map(split(alertEmails, ','), email => trim(email)), email => !empty(email))
    monthlyBudget: monthlyBudget < 0 ? settings.monthlyBudget : monthlyBudget
    budgetStart: budgetStart
    apiAudience: apiAudience
    apiTenants: empty(apiTenants) ? tenant().tenantId : apiTenants
    githubSubjects: githubSubjects
    freeTier: freeTier
    embeddings: embeddings
  }
}

@description('The region, as azd keeps it.')
output AZURE_LOCATION string = location

@description('The resource group of everything.')
output AZURE_RESOURCE_GROUP string = group.name

@description('The Entra tenant.')
output AZURE_TENANT_ID string = tenant().tenantId

@description('The profile that was built; the check before the next provisioning compares with it.')
output AZURE_THERMOCLINE_BUILT string = profile

@description('Redis\' host.')
output REDIS_HOST string = resources.outputs.memory.REDIS_HOST

@description('Redis\' port.')
output REDIS_PORT string = resources.outputs.memory.REDIS_PORT

@description('How to sign in to Redis: with Entra tokens.')
output REDIS_AUTH string = resources.outputs.memory.REDIS_AUTH

@description('Cosmos DB\'s endpoint.')
output COSMOS_ACCOUNT_URI string = resources.outputs.memory.COSMOS_ACCOUNT_URI

@description('The database in Cosmos DB.')
output COSMOS_DATABASE string = resources.outputs.memory.COSMOS_DATABASE

@description('The container of the records.')
output COSMOS_CONTAINER string = resources.outputs.memory.COSMOS_CONTAINER

@description('The blob endpoint of cold memory.')
output BLOB_ACCOUNT_URL string = resources.outputs.memory.BLOB_ACCOUNT_URL

@description('The blob container of cold memory.')
output BLOB_CONTAINER string = resources.outputs.memory.BLOB_CONTAINER

@description('The vault of secrets.')
output KEY_VAULT_URI string = resources.outputs.memory.KEY_VAULT_URI

@description('The table endpoint of the optional fourth tier.')
output TABLE_ACCOUNT_URL string = resources.outputs.table.TABLE_ACCOUNT_URL

@description('The table of the optional fourth tier.')
output TABLE_NAME string = resources.outputs.table.TABLE_NAME

@description('The container of documents that the change feed set aside, for `thermocline letters`.')
output THERMOCLINE_DEAD_LETTERS_CONTAINER string = resources.outputs.deadLetters

@description('Where memory-api answers.')
output MEMORY_API_URL string = resources.outputs.urls['memory-api']

@description('Where memory-worker\'s health page is.')
output MEMORY_WORKER_URL string = resources.outputs.urls['memory-worker']

@description('Where the sample agent answers.')
output AGENT_SAMPLE_URL string = resources.outputs.urls['agent-sample']

@description('Endpoint of Azure OpenAI, where AZURE_EMBEDDINGS asks for it.')
output AZURE_OPENAI_ENDPOINT string = resources.outputs.openaiEndpoint

@description('The embedding deployment there.')
output AZURE_OPENAI_EMBEDDING_DEPLOYMENT string = resources.outputs.openaiDeployment
