"""Getting into a table: what is missing, who is let in, and whose rows lie beside ours."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.data.tables import ResourceTypes, TableSasPermissions, generate_account_sas, generate_table_sas
from azure.data.tables.aio import TableClient

from thermocline.clock import SYSTEM_CLOCK
from thermocline.errors import AccessDenied, ClientClosed, ConfigurationError
from thermocline.keys import table_partition
from thermocline.model import Authority, Key
from thermocline.testing.conformance.samples import put, soon, stamp_by, value_of
from thermocline.testing.rig import Azurite
from thermocline.tiers.table import TableMemory

KEY = Key("t", "s", "name")


@pytest.fixture(autouse=True)
def stamp_samples() -> None:
    stamp_by(SYSTEM_CLOCK)


@pytest.fixture
def table(unique_name: Callable[[str], str]) -> str:
    return unique_name("t").replace("-", "")


@pytest.fixture
async def direct(azurite: Azurite, table: str) -> AsyncIterator[TableMemory]:
    async with TableMemory(azurite.table_url, table, credential=azurite.key, create=True) as tier:
        yield tier


async def test_missing_table_is_named(azurite: Azurite, table: str) -> None:
    tier = TableMemory(azurite.table_url, table, credential=azurite.key)
    with pytest.raises(ConfigurationError, match=f"no table '{table}'"):
        await tier.connect()
    with pytest.raises(ClientClosed):
        await tier.write(put(KEY), deadline=soon())


async def test_wrong_key_is_denied_in_words(azurite: Azurite, table: str) -> None:
    with pytest.raises(AccessDenied, match="the key or SAS"):
        await TableMemory(azurite.table_url, table, credential="Zm9ybnVsbA==").connect()


@pytest.mark.parametrize("how", ["in the URL", "text", "credential"])
async def test_sas_is_enough(azurite: Azurite, direct: TableMemory, table: str, how: str) -> None:
    """For transactions too, where the SDK leaves out a SAS that stands in the URL."""
    sas = generate_account_sas(
        AzureNamedKeyCredential(azurite.account, azurite.key),
        resource_types=ResourceTypes(object=True, service=True, container=True),
        permission="raud",
        expiry=_in_an_hour(),
    )
    url = f"{azurite.table_url}?{sas}" if how == "in the URL" else azurite.table_url
    credential = {"in the URL": None, "text": f"?{sas}", "credential": AzureSasCredential(sas)}[how]
    async with TableMemory(url, table, credential=credential) as tier:
        await tier.write(put(KEY), deadline=soon())
        await tier.write_atomic([put(KEY, 2), put(Key("t", "s", "m"))], deadline=soon())
        assert value_of(await tier.read(KEY, deadline=soon())) == 2
        assert "sig" not in repr(tier._account)


async def test_sas_that_may_only_read_is_denied_before_anything_is_done(
    azurite: Azurite, direct: TableMemory, table: str
) -> None:
    sas = generate_table_sas(
        AzureNamedKeyCredential(azurite.account, azurite.key),
        table,
        permission=TableSasPermissions(read=True),
        expiry=_in_an_hour(),
    )
    async with TableMemory(azurite.table_url, table, credential=sas) as tier:
        with pytest.raises(AccessDenied) as caught:
            await tier.write(put(KEY), deadline=soon())
    assert not caught.value.sent
    assert sas.split("sig=")[1][:20] not in str(caught.value)
    assert await direct.read(KEY, deadline=soon()) is None


async def test_rows_of_others_are_left_alone(azurite: Azurite, direct: TableMemory, table: str) -> None:
    await direct.write(put(KEY, "mine"), deadline=soon())
    credential = AzureNamedKeyCredential(azurite.account, azurite.key)
    async with TableClient(azurite.table_url, table, credential=credential) as client:
        await client.create_entity({"PartitionKey": table_partition(KEY), "RowKey": "a b", "p00": "text"})
        await client.create_entity({"PartitionKey": "theirs", "RowKey": "x"})

    page = await direct.scan("t", "s", "", limit=10, cursor=None, deadline=soon())
    assert [item.key for item in page.items] == [KEY]
    inventory = await direct.census(limit=10, cursor=None, deadline=soon())
    assert ([item.key for item in inventory.items], inventory.damaged) == ([KEY], [])
    stored = await direct.read(KEY, deadline=soon())
    assert stored is not None
    assert stored.header.authority is Authority.WARM_PLUS


def _in_an_hour() -> datetime:
    return datetime.fromtimestamp(SYSTEM_CLOCK.wall_ms() / 1000 + 3600, UTC)
