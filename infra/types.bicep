@export()
@description('What the profiles of profiles.json differ in, with the range that each value may have. Azure checks it before it builds anything.')
@sealed()
type Profile = {
  @description('No public access to any service or app: private endpoints, and apps in a virtual network.')
  private: bool

  @description('Data encrypted with keys of the vault, which rotate.')
  customerManagedKeys: bool

  @description('A lock against deletion on what holds data.')
  locked: bool

  @description('Alert rules on the metrics of the library and the services.')
  alerts: bool

  @description('Whether the principal that is given at deployment gets data roles.')
  developer: bool

  @description('The budget of a month in the currency of the subscription; 0: none.')
  @minValue(0)
  @maxValue(1000000)
  monthlyBudget: int

  logs: {
    @description('Days that logs, metrics and diagnostics are kept.')
    @minValue(30)
    @maxValue(730)
    retentionDays: int

    @description('Gigabytes that the workspace takes in a day, and drops the rest; -1: no limit, where logs are evidence.')
    @minValue(-1)
    @maxValue(1000)
    dailyQuotaGb: int

    @description('Whether each request to the data is logged: who read or wrote, never what.')
    requests: bool
  }

  redis: {
    sku: 'Balanced_B0' | 'Balanced_B1' | 'Balanced_B3' | 'Balanced_B5' | 'Balanced_B10' | 'Balanced_B20' | 'Balanced_B50' | 'Balanced_B100'
    highAvailability: bool
    persistence: 'none' | 'rdb'
  }

  cosmos: {
    mode: 'autoscale' | 'serverless'

    @description('Request units a second that the database may scale to; it falls to a tenth of it.')
    @minValue(1000)
    @maxValue(1000000)
    maxThroughput: int

    backup: 'Continuous7Days' | 'Continuous30Days'
    zoneRedundant: bool

    @description('A second region, for reads and failover; never for writes.')
    secondRegion: bool
  }

  storage: {
    sku: 'Standard_LRS' | 'Standard_ZRS' | 'Standard_GRS' | 'Standard_GZRS'

    @description('Days that deleted blobs, older versions and containers can be brought back.')
    @minValue(1)
    @maxValue(365)
    softDeleteDays: int

    @minValue(1)
    @maxValue(3650)
    coolAfterDays: int

    @minValue(1)
    @maxValue(3650)
    coldAfterDays: int
  }

  vault: {
    purgeProtection: bool
  }

  apps: {
    memoryMB: 512 | 2048 | 4096

    @minValue(1)
    @maxValue(1000)
    maximumInstances: int

    @description('Instances of each app that are always warm.')
    @minValue(0)
    @maxValue(20)
    alwaysReady: int

    zoneRedundant: bool
    hostSku: 'Standard_LRS' | 'Standard_ZRS'
  }
}
