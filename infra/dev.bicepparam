using 'main.bicep'

// What the profile means stands in profiles.json. This file deploys it without azd, and is what the snapshot beside it is of; azd reads main.parameters.json.
param profile = 'dev'
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'memory')
param location = readEnvironmentVariable('AZURE_LOCATION', 'swedencentral')
param budgetStart = readEnvironmentVariable('AZURE_BUDGET_START', '2026-11-01')
param alertEmails = readEnvironmentVariable('AZURE_ALERT_EMAILS', 'memory-operators@example.com')
param apiAudience = readEnvironmentVariable('AZURE_API_AUDIENCE', '')
param apiTenants = readEnvironmentVariable('AZURE_API_TENANTS', '')
