"""Signing in without secrets: one Azure credential for all services, Entra tokens for Redis, and what must be a secret from Key Vault.

docs/identity.md says who signs in with what. Nothing here is imported from an SDK before it is needed.
"""

from thermocline.identity.credentials import Credential, check_credential, default_credential
from thermocline.identity.held import Held, Value
from thermocline.identity.logins import EntraLogins, PasswordLogins
from thermocline.identity.vault import Vault, VaultSecret

__all__ = [
    "Credential",
    "EntraLogins",
    "Held",
    "PasswordLogins",
    "Value",
    "Vault",
    "VaultSecret",
    "check_credential",
    "default_credential",
]
