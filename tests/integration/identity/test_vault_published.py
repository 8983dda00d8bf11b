"""What holds for any Key Vault: our strict one, or (THERMOCLINE_TEST_KEY_VAULT_URL) a published emulator, which the GitHub workflow starts."""

import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient

from thermocline.errors import AccessDenied, ConfigurationError
from thermocline.identity import Vault
from thermocline.testing.rig import KeyVaultServer
from thermocline.testing.rig.entra import LocalCredential
from thermocline.testing.vault.service import OFFICER

URL = os.environ.get("THERMOCLINE_TEST_KEY_VAULT_URL")


class Kind:
    """A vault, a credential for it, and a client that may set secrets."""

    def __init__(self, url: str, credential: Any, ca_file: str) -> None:
        self.url, self.credential = url, credential
        self.setter = SecretClient(url, credential, verify_challenge_resource=False, connection_verify=ca_file)


@pytest.fixture
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    if URL is not None:
        made = Kind(URL, LocalCredential(), os.environ["SSL_CERT_FILE"])
    else:
        server: KeyVaultServer = request.getfixturevalue("vault")
        server.roles(OFFICER)
        ca_file = str(server.ca_file)
        made = Kind(server.url, ManagedIdentityCredential(connection_verify=ca_file), ca_file)
    async with made.credential, made.setter:
        yield made


async def test_newest_version_is_read(kind: Kind, unique_name: Callable[[str], str]) -> None:
    name = unique_name("published")
    await kind.setter.set_secret(name, "one")
    async with Vault(kind.url, kind.credential) as vault:
        secret = vault.secret(name)
        assert await secret.current() == "one"
        await kind.setter.set_secret(name, "two")
        assert await secret.renew(secret.generation)
        assert await secret.current() == "two"


async def test_expired_and_missing_secrets_are_told(kind: Kind, unique_name: Callable[[str], str]) -> None:
    name = unique_name("published")
    await kind.setter.set_secret(name, "old", expires_on=datetime.now(UTC) - timedelta(hours=1))
    async with Vault(kind.url, kind.credential) as vault:
        with pytest.raises(AccessDenied, match="has expired"):
            await vault.secret(name).current()
        with pytest.raises(ConfigurationError, match="none of that name"):
            await vault.secret(unique_name("missing")).current()
