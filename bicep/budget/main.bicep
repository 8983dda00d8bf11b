targetScope = 'resourceGroup'

metadata name = 'Budget'
metadata description = 'Monthly budget of the resource group: notices at 50, 80 and 100 %, and when the forecast passes it. It stops nothing.'

@description('Name of the budget.')
@minLength(1)
@maxLength(63)
param name string

@description('Amount a month, in the currency of the bill.')
@minValue(1)
param amount int

@description('First day of the month that it begins with (2026-11-01). It cannot change, so it is kept in the azd environment and never taken from the clock.')
@minLength(10)
@maxLength(10)
param startDate string

@description('Addresses that get the notices.')
param contactEmails string[] = []

@description('Resource id of the action group that gets them too; empty: none. One of the two has to be given.')
param actionGroupId string = ''

var notices = [
  { name: 'actual50', threshold: 50, thresholdType: 'Actual' }
  { name: 'actual80', threshold: 80, thresholdType: 'Actual' }
  { name: 'actual100', threshold: 100, thresholdType: 'Actual' }
  { name: 'forecast100', threshold: 100, thresholdType: 'Forecasted' }
]

resource budget 'Microsoft.Consumption/budgets@2026-06-01' = {
  name: name
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    // Immutable. Without an end it goes on for ten years.
    timePeriod: {
      startDate: startDate
    }
    notifications: toObject(
      notices,
      notice => notice.name,
      notice => {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: notice.threshold
        thresholdType: notice.thresholdType
        contactEmails: contactEmails
        contactGroups: empty(actionGroupId) ? [] : [actionGroupId]
      }
    )
  }
}

@description('Resource id of the budget.')
output id string = budget.id

@description('Name of the budget.')
output name string = budget.name
