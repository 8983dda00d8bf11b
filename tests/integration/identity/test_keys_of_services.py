"""An account key of Cosmos DB and a SAS of Blob and of Table Storage in Key Vault: rotated under load, and no call fails."""

import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import ResourceTypes, TableAccessPolicy, generate_account_sas, generate_table_sas
from azure.data.tables.aio import TableClient
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.blob import AccessPolicy, ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import ContainerClient
from tests.integration.identity.load import Load

from thermocline import ColdMemory, MemoryBuilder, MemoryClient, MemorySettings, WarmMemory
from thermocline.clock import Deadline
from thermocline.errors import AccessDenied, ConfigurationError
from thermocline.identity import Vault
from thermocline.model import Key
from thermocline.resilience import Budget
from thermocline.testing.conformance.samples import put, value_of
from thermocline.testing.rig import Azurite, CosmosServer, KeyVaultServer
from thermocline.tiers.table import TableMemory
from thermocline.wiring import builder, connect

PATIENT = Budget(warm=timedelta(seconds=10), cold=timedelta(seconds=10))  # a slow machine is no outage
ROTATIONS = 4


async def under_load(memory: MemoryClient, rotate: Callable[[int], object], *, counted: bool) -> None:
    """Eight workers write and read, while a key is rotated; where versions are ``counted``, each write took effect once, for they have no gap."""
    versions: dict[int, list[int]] = {}

    async def work(worker: int, turn: int) -> None:
        written = await memory.set(f"key-{worker}", turn)
        versions.setdefault(worker, []).append(written.version)
        assert await memory.get(f"key-{worker}") == turn

    async def script(load: Load) -> None:
        for rotation in range(1, ROTATIONS + 1):
            await load.reach(24)
            done = rotate(rotation)
            if hasattr(done, "__await__"):
                await done
        await load.reach(24)

    load = Load(work)
    await load.during(script)
    assert load.failed == []
    assert all(len(set(seen)) == len(seen) for seen in versions.values())
    if counted:  # each write raises a key's version by one
        assert [seen[-1] - seen[0] for seen in versions.values()] == [len(seen) - 1 for seen in versions.values()]


class Policies(Protocol):
    """Stored access policies: a SAS counts as long as its policy is there."""

    async def only(self, *policies: str) -> None: ...

    def sas(self, policy: str) -> str: ...


def rotating(vault: KeyVaultServer, name: str, access: Policies) -> Callable[[int], Awaitable[None]]:
    async def rotate(rotation: int) -> None:
        vault.set(name, access.sas(f"policy-{rotation}"))
        await access.only(f"policy-{rotation}")

    return rotate


# --- Cosmos DB ---------------------------------------------------------------------------------------------------------


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()


@pytest.fixture
def cosmos(no_server_left_behind: None) -> Iterator[CosmosServer]:
    with CosmosServer(kind="strict") as server:
        yield server


async def test_cosmos_key_is_rotated_under_load(
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    cosmos: CosmosServer,
    name: str,
) -> None:
    vault.set(name, cosmos.key)
    settings = MemorySettings(
        env_file=None,
        cosmos_account_uri=cosmos.url,
        cosmos_key_secret_name=name,
        key_vault_uri=vault.url,
        warm_deadline_ms=10_000,
    )

    def rotate(_: int) -> None:
        key = new_key()
        vault.set(name, key)
        cosmos.control.account(key=key)

    async with builder(settings, credential=credential, create=True).build() as memory:
        await under_load(memory, rotate, counted=True)
    assert cosmos.control.stats().statuses.get("401/0", 0) >= ROTATIONS


async def test_cosmos_key_that_is_refused_without_a_newer_one(
    vault: KeyVaultServer,
    opened: Vault,
    cosmos: CosmosServer,
    name: str,
) -> None:
    vault.set(name, cosmos.key)
    warm = WarmMemory(cosmos.url, "d", "c", key=opened.secret(name), create=True)
    async with MemoryBuilder().with_warm(warm).with_options(budget=PATIENT).build() as memory:
        await memory.set("key", 1)
        vault.stats(reset=True)
        cosmos.control.account(key=new_key())
        with pytest.raises(AccessDenied, match="refused the signature"):
            await memory.get("key")
        assert vault.stats()["asked"] == {"vault 200": 1}, "read again once"
        vault.enable(name, False)
        vault.set(name, "no base64!", enabled=True)
        await opened.secret(name).fetch()
        with pytest.raises(ConfigurationError, match="no account key"):
            await memory.get("key")


# --- Blob Storage ------------------------------------------------------------------------------------------------------


class Access(Policies):
    """Of a container."""

    def __init__(self, server: Azurite, container: str) -> None:
        self._server, self.container = server, container
        self.client = ContainerClient(server.blob_url, container, server.key)

    async def only(self, *policies: str) -> None:
        until = datetime.now(UTC) + timedelta(hours=1)
        permission = ContainerSasPermissions(read=True, write=True, delete=True, list=True, create=True)
        found = {policy: AccessPolicy(permission=permission, expiry=until, start=None) for policy in policies}
        await self.client.set_container_access_policy(found)

    def sas(self, policy: str) -> str:
        return generate_container_sas(
            self._server.account, self.container, account_key=self._server.key, policy_id=policy
        )


@pytest.fixture
async def access(azurite: Azurite, unique_name: Callable[[str], str]) -> AsyncIterator[Access]:
    made = Access(azurite, unique_name("sas"))
    async with made.client:
        await made.client.create_container()
        await made.only("policy-0")
        yield made


@pytest.mark.parametrize("transfer", ["sdk", "obstore"])
async def test_sas_is_rotated_under_load(
    transfer: Literal["sdk", "obstore"],
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    azurite: Azurite,
    access: Access,
    name: str,
) -> None:
    vault.set(name, access.sas("policy-0"))
    settings = MemorySettings(
        env_file=None,
        blob_account_url=azurite.blob_url,
        blob_container=access.container,
        blob_sas_secret_name=name,
        blob_transfer=transfer,
        key_vault_uri=vault.url,
        cold_deadline_ms=10_000,
    )

    rotate = rotating(vault, name, access)
    async with await connect(settings, credential=credential) as memory:
        await memory.set("large", "x" * 3_000_000)
        await under_load(memory, rotate, counted=False)
        assert await memory.get("large") == "x" * 3_000_000
        await rotate(9)
        await memory.set("large", "y" * 3_000_000)
        assert await memory.get("large") == "y" * 3_000_000


async def test_sas_that_is_none(
    vault: KeyVaultServer,
    opened: Vault,
    azurite: Azurite,
    access: Access,
    name: str,
) -> None:
    for value in (azurite.key, f"{azurite.blob_url}?{access.sas('policy-0')}"):
        vault.set(name, value)
        await opened.secret(name).fetch()
        cold = ColdMemory(azurite.blob_url, access.container, credential=opened.secret(name))
        with pytest.raises(ConfigurationError, match="holds no SAS") as caught:
            await cold.connect()
        assert value not in str(caught.value)


@pytest.mark.parametrize("transfer", ["sdk", "obstore"])
async def test_sas_that_is_refused_without_a_newer_one(
    transfer: Literal["sdk", "obstore"],
    vault: KeyVaultServer,
    opened: Vault,
    azurite: Azurite,
    access: Access,
    name: str,
) -> None:
    vault.set(name, "?" + access.sas("policy-0"))
    cold = ColdMemory(azurite.blob_url, access.container, credential=opened.secret(name), transfer=transfer)
    async with cold:
        await cold.upload_text("name", "text")
        pointer = await cold.put_payload(Key("t", "s", "n"), b"content", deadline=Deadline.after(10))
        await access.only("another")
        vault.stats(reset=True)
        with pytest.raises(AccessDenied) as caught:
            await cold.get_payload(Key("t", "s", "n"), pointer, deadline=Deadline.after(10))
        assert "sig=" not in str(caught.value)
        assert vault.stats()["asked"] == {"vault 200": 1}, "read again once"


# --- Table Storage -----------------------------------------------------------------------------------------------------

KEY = Key("t", "s", "name")


class TableAccess(Policies):
    """Of a table."""

    def __init__(self, server: Azurite, table: str) -> None:
        self._key, self.table = AzureNamedKeyCredential(server.account, server.key), table
        self.client = TableClient(server.table_url, table, credential=self._key)

    async def only(self, *policies: str) -> None:
        hour, now = timedelta(hours=1), datetime.now(UTC)
        policy = TableAccessPolicy(permission="raud", start=now - hour, expiry=now + hour)  # Azurite asks for a start
        await self.client.set_table_access_policy(dict.fromkeys(policies, policy))

    def sas(self, policy: str) -> str:
        return generate_table_sas(self._key, self.table, policy_id=policy)


@pytest.fixture
async def table_access(azurite: Azurite, unique_name: Callable[[str], str]) -> AsyncIterator[TableAccess]:
    made = TableAccess(azurite, unique_name("sas").replace("-", ""))
    async with made.client:
        await made.client.create_table()
        await made.only("policy-0")
        yield made


async def test_sas_of_a_table_is_rotated_under_load(
    vault: KeyVaultServer,
    credential: ManagedIdentityCredential,
    azurite: Azurite,
    table_access: TableAccess,
    name: str,
) -> None:
    vault.set(name, table_access.sas("policy-0"))
    settings = MemorySettings(
        env_file=None,
        table_account_url=azurite.table_url,
        table_name=table_access.table,
        table_sas_secret_name=name,
        key_vault_uri=vault.url,
        warm_deadline_ms=10_000,
    )

    rotate = rotating(vault, name, table_access)
    async with await connect(settings, credential=credential) as memory:
        vault.stats(reset=True)
        await under_load(memory, rotate, counted=False)
        assert vault.stats()["asked"]["vault 200"] >= ROTATIONS, "each rotation was noticed by a refusal"


async def test_sas_of_a_table_is_renewed_for_each_kind_of_request(
    vault: KeyVaultServer,
    opened: Vault,
    azurite: Azurite,
    table_access: TableAccess,
    name: str,
) -> None:
    """A body of more than a megabyte and a transaction (whose answer the SDK streams) go a second time whole.

    Azurite takes no SAS of a table for a transaction, whose URL names none; so that is let in with one of the account.
    """
    vault.set(name, "?" + table_access.sas("policy-0"))
    tier = TableMemory(azurite.table_url, table_access.table, credential=opened.secret(name))
    async with tier:
        account = generate_account_sas(
            AzureNamedKeyCredential(azurite.account, azurite.key),
            resource_types=ResourceTypes(object=True, service=True, container=True),
            permission="raud",
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        large = "x" * 900_000  # in Base64, as the service takes it, above 1 MiB

        async def rotated(policy: str, sas: str | None = None) -> Deadline:
            vault.set(name, table_access.sas(policy) if sas is None else sas)
            await table_access.only(policy)
            return Deadline.after(20.0)

        await tier.write(put(KEY, large), deadline=await rotated("put"))
        assert value_of(await tier.read(KEY, deadline=await rotated("read"))) == large
        both = [put(KEY, 2), put(Key("t", "s", "m"), 3)]
        await tier.write_atomic(both, deadline=await rotated("nobody's", account))
        vault.set(name, f"{account[:-6]}AAA%3D")  # refused again
        await opened.secret(name).fetch()
        page = await tier.scan("t", "s", "", limit=10, cursor=None, deadline=await rotated("list"))
        assert [item.key.name for item in page.items] == ["m", "name"]
        assert opened.secret(name).generation == 6


async def test_sas_of_a_table_that_is_none(
    vault: KeyVaultServer,
    opened: Vault,
    azurite: Azurite,
    table_access: TableAccess,
    name: str,
) -> None:
    for value in (azurite.key, f"{azurite.table_url}?{table_access.sas('policy-0')}"):
        vault.set(name, value)
        await opened.secret(name).fetch()
        tier = TableMemory(azurite.table_url, table_access.table, credential=opened.secret(name))
        with pytest.raises(ConfigurationError, match="TABLE_SAS_SECRET_NAME names holds no SAS") as caught:
            await tier.connect()
        assert value not in str(caught.value)


async def test_sas_of_a_table_that_is_refused_without_a_newer_one(
    vault: KeyVaultServer,
    opened: Vault,
    azurite: Azurite,
    table_access: TableAccess,
    name: str,
) -> None:
    vault.set(name, table_access.sas("policy-0"))
    async with TableMemory(azurite.table_url, table_access.table, credential=opened.secret(name)) as tier:
        await tier.write(put(KEY), deadline=Deadline.after(20.0))
        await table_access.only("another")
        vault.stats(reset=True)
        with pytest.raises(AccessDenied) as caught:
            await tier.write(put(KEY, 2), deadline=Deadline.after(20.0))
        assert not caught.value.sent
        assert "sig=" not in str(caught.value)
        assert vault.stats()["asked"] == {"vault 200": 1}, "read again once"
        assert "sig=" not in repr(tier._account)
