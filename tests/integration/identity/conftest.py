"""A vault of these tests alone, for they change its roles and take it down; and real Redis servers whose ACL the tests hold."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from azure.identity.aio import ManagedIdentityCredential

from thermocline.identity import Vault
from thermocline.testing.rig import KeyVaultServer, RedisServer
from thermocline.testing.vault.service import USER
from thermocline.testing.vault.tokens import PRINCIPAL


@pytest.fixture(scope="session")
def own_vault(no_server_left_behind: None) -> Iterator[KeyVaultServer]:
    with KeyVaultServer() as server:
        yield server


@pytest.fixture
def vault(own_vault: KeyVaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyVaultServer]:
    """The server, with nothing wrong; this process trusts it, and finds the managed identity in it."""
    for name, value in own_vault.environment.items():
        monkeypatch.setenv(name, value)
    own_vault.stats(reset=True)
    yield own_vault
    own_vault.down()
    own_vault.throttle(0)
    own_vault.fail(0)
    own_vault.roles(USER)
    own_vault.tokens(lifetime=3600, principal=PRINCIPAL)


@pytest.fixture
async def credential(vault: KeyVaultServer) -> AsyncIterator[ManagedIdentityCredential]:
    """azure-identity's own, which asks the endpoint over TLS."""
    async with ManagedIdentityCredential(connection_verify=str(vault.ca_file)) as made:
        yield made


@pytest.fixture
def name(unique_name: Callable[[str], str]) -> str:
    """Of a secret in the vault, which is shared."""
    return unique_name("secret")


@pytest.fixture
async def opened(vault: KeyVaultServer, credential: ManagedIdentityCredential) -> AsyncIterator[Vault]:
    async with Vault(vault.url, credential) as made:
        yield made


@pytest.fixture(scope="session")
def locked_redis(no_server_left_behind: None) -> Iterator[RedisServer]:
    """A Redis that lets nobody in without a password."""
    with RedisServer(password="the rig's own") as server:
        yield server
