// Shapes that several modules share.

metadata name = 'Shared types'
metadata description = 'Shapes that several modules share: roles, keys of the customer\'s own.'

@export()
@description('Kind of principal that a role is given to.')
type principalKind = 'ServicePrincipal' | 'User' | 'Group'

@export()
@description('One Azure role, given to one principal on the resource of the module.')
type roleAssignment = {
  @description('Object id of the principal.')
  @minLength(1)
  principalId: string

  @description('Kind of the principal. Naming it spares Azure a look-up that fails while a new identity is still spreading.')
  principalType: principalKind

  @description('GUID of the role definition.')
  @minLength(36)
  @maxLength(36)
  roleDefinitionId: string
}

@export()
@description('One Azure role, given to one principal on the account or on one of its containers.')
type containerRoleAssignment = {
  @description('Object id of the principal.')
  @minLength(1)
  principalId: string

  @description('Kind of the principal. Naming it spares Azure a look-up that fails while a new identity is still spreading.')
  principalType: principalKind

  @description('GUID of the role definition.')
  @minLength(36)
  @maxLength(36)
  roleDefinitionId: string

  @description('Container that the role is for; empty: the whole account.')
  container: string
}

@export()
@description('Key of your own that encrypts the data at rest.')
type customerManagedKey = {
  @description('URI of the key in Key Vault. Which service wants it with a version and which without stands in the module.')
  @minLength(1)
  keyUri: string

  @description('Resource id of the user-assigned identity that may use the key (role Key Vault Crypto Service Encryption User).')
  @minLength(1)
  identityId: string
}
