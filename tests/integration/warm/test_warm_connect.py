"""Connecting to Cosmos DB: what cannot work is refused in plain words, and nothing stays open."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient
from tests.integration.warm.items import DATABASE

from thermocline.errors import (
    AccessDenied,
    ClientClosed,
    ConfigurationError,
    CorruptRecord,
    TierTimeout,
    TierUnavailable,
)
from thermocline.model import Authority, MemoryTier
from thermocline.protocols import Versions
from thermocline.testing.conformance.samples import new_key, put, soon
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import CosmosServer
from thermocline.testing.rig.ports import free_port
from thermocline.tiers.warm import WarmMemory, connection

HIERARCHY: dict[str, Any] = {"path": ["/tenant", "/scope"], "kind": "MultiHash"}


async def make_container(server: CosmosServer, name: str, key: dict[str, Any], **options: Any) -> None:
    async with CosmosClient(server.url, server.key) as client:
        database = await client.create_database_if_not_exists(DATABASE)
        await database.create_container(name, partition_key=PartitionKey(**key), **options)


async def refusal(server: CosmosServer, container: str, database: str = DATABASE, **options: Any) -> str:
    """The words with which connecting is refused."""
    tier = WarmMemory(server.url, database, container, **({"key": server.key} | options))
    with pytest.raises(ConfigurationError) as caught:
        await tier.connect()
    with pytest.raises(ClientClosed):
        await tier.ping(deadline=soon())
    return str(caught.value)


@pytest.mark.parametrize("key", [
    {"path": "/pk"},
    {"path": "/service"},
    {"path": ["/tenant"], "kind": "MultiHash"},
    {"path": ["/scope", "/tenant"], "kind": "MultiHash"},
    {"path": ["/tenant", "/scope", "/name"], "kind": "MultiHash"},
], ids=str)  # fmt: skip
async def test_container_with_another_partition_key_is_refused(
    own_cosmos: CosmosServer, control: CosmosControl, container_name: str, key: dict[str, Any]
) -> None:
    await make_container(own_cosmos, container_name, key, default_ttl=-1)

    words = await refusal(own_cosmos, container_name)

    assert "/tenant, /scope" in words
    assert container_name in words
    assert "new container" in words


@pytest.mark.parametrize(("ttl", "effect"), [(None, "ignored"), (60, "vanish after 60 s")])
async def test_container_in_which_lifetimes_do_not_work_is_refused(
    own_cosmos: CosmosServer, control: CosmosControl, container_name: str, ttl: int | None, effect: str
) -> None:
    options = {} if ttl is None else {"default_ttl": ttl}
    await make_container(own_cosmos, container_name, HIERARCHY, **options)

    words = await refusal(own_cosmos, container_name)

    assert effect in words
    assert "Set it to -1" in words


async def test_missing_container_and_missing_database_are_named(
    own_cosmos: CosmosServer, control: CosmosControl, container_name: str
) -> None:
    await make_container(own_cosmos, container_name, HIERARCHY, default_ttl=-1)

    assert f"{DATABASE}/nowhere" in await refusal(own_cosmos, "nowhere")
    words = await refusal(own_cosmos, container_name, database="nowhere")
    assert "COSMOS_DATABASE" in words
    assert f"nowhere/{container_name}" in words


async def test_account_with_several_write_regions_is_refused(
    own_cosmos: CosmosServer, control: CosmosControl, container_name: str
) -> None:
    control.account(multi_write=True)

    assert "enable-multiple-write-locations false" in await refusal(own_cosmos, container_name)


@pytest.mark.parametrize("level", ["Eventual", "ConsistentPrefix"])
async def test_consistency_below_session_is_refused(
    own_cosmos: CosmosServer, control: CosmosControl, container_name: str, level: str
) -> None:
    control.account(consistency=level)

    assert "Session" in await refusal(own_cosmos, container_name)


@pytest.mark.parametrize("level", ["Session", "BoundedStaleness", "Strong"])
async def test_session_and_stronger_will_do(
    own_cosmos: CosmosServer, control: CosmosControl, container_name: str, level: str
) -> None:
    control.account(consistency=level)
    async with WarmMemory(own_cosmos.url, DATABASE, container_name, key=own_cosmos.key, create=True) as tier:
        await tier.write(put(new_key(), "v"), deadline=soon())


async def test_many_clients_may_create_at_the_same_time(
    own_cosmos: CosmosServer, unique_name: Callable[[str], str]
) -> None:
    """Found by the histories: the SDK's "create if it does not exist" reads, and then creates what another one has created meanwhile."""
    database, container = unique_name("db"), unique_name("c")
    tiers = [WarmMemory(own_cosmos.url, database, container, key=own_cosmos.key, create=True) for _ in range(8)]
    try:
        await asyncio.gather(*(tier.connect() for tier in tiers))
        key = new_key()
        await tiers[0].write(put(key, "v"), deadline=soon())
        assert await tiers[-1].read(key, deadline=soon()) is not None
    finally:
        await asyncio.gather(*(tier.close() for tier in tiers))


async def test_consistency_cannot_be_relaxed_by_an_option(
    own_cosmos: CosmosServer, control: CosmosControl, container_name: str
) -> None:
    words = await refusal(own_cosmos, container_name, client_kwargs={"consistency_level": "Eventual"})

    assert "Eventual" in words


@pytest.mark.parametrize("name", ["retry_total", "retry_write", "transport", "no_response_on_write"])
async def test_options_that_would_make_the_sdk_resend_are_refused(
    own_cosmos: CosmosServer, control: CosmosControl, container_name: str, name: str
) -> None:
    assert name in await refusal(own_cosmos, container_name, client_kwargs={name: 3})


async def test_wrong_key_is_access_denied(own_cosmos: CosmosServer, control: CosmosControl) -> None:
    tier = WarmMemory(own_cosmos.url, DATABASE, "any", key="d3Jvbmc=")
    with pytest.raises(AccessDenied, match="key"):
        await tier.connect()


@pytest.mark.parametrize(("substatus", "message", "words"), [
    (5302, "Request blocked by Auth", "Cosmos DB Built-in Data Contributor"),
    (0, "Request originated from client IP 1.2.3.4 through public internet.", "firewall"),
    (0, "blocked: principal does not have required RBAC permissions to perform action [readMetadata]", "role"),
])  # fmt: skip
async def test_forbidden_account_says_what_is_missing(
    own_cosmos: CosmosServer, control: CosmosControl, substatus: int, message: str, words: str
) -> None:
    control.inject("status", kinds=["account"], status=403, substatus=substatus, message=message)
    tier = WarmMemory(own_cosmos.url, DATABASE, "any", key=own_cosmos.key)
    with pytest.raises(AccessDenied, match=words) as caught:
        await tier.connect()

    assert "403" in str(caught.value)


async def test_role_that_may_not_create_says_so(own_cosmos: CosmosServer, control: CosmosControl) -> None:
    control.fail(403, 5300, kinds=["metadata"])
    tier = WarmMemory(own_cosmos.url, DATABASE, "any", key=own_cosmos.key, create=True)
    with pytest.raises(AccessDenied, match="may not create"):
        await tier.connect()


async def test_unreachable_account_is_unavailable(control: CosmosControl) -> None:
    tier = WarmMemory(f"http://127.0.0.1:{free_port()}", DATABASE, "any", key="d3Jvbmc=")
    with pytest.raises(TierUnavailable, match="COSMOS_ACCOUNT_URI") as caught:
        await tier.connect()

    assert not caught.value.sent


@pytest.mark.parametrize("kinds", [["account"], ["metadata"]])
async def test_silent_account_ends_in_a_timeout(
    own_cosmos: CosmosServer, control: CosmosControl, kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.3)
    control.delay(60_000, kinds=kinds)
    tier = WarmMemory(own_cosmos.url, DATABASE, "any", key=own_cosmos.key)
    with pytest.raises((TierTimeout, TierUnavailable)):
        await tier.connect()


async def test_connecting_can_be_cancelled_at_any_moment_and_done_again(
    own_cosmos: CosmosServer, control: CosmosControl, container_name: str
) -> None:
    tier = WarmMemory(own_cosmos.url, DATABASE, container_name, key=own_cosmos.key, create=True)
    for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55):
        task = asyncio.create_task(tier.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await tier.connect()
    await tier.ping(deadline=soon())
    await tier.close()


async def test_closed_tier_can_be_connected_again(own_cosmos: CosmosServer, container_name: str) -> None:
    tier = WarmMemory(own_cosmos.url, DATABASE, container_name, key=own_cosmos.key, create=True)
    key = new_key()
    async with tier:
        await tier.write(put(key, "v"), deadline=soon())
    async with tier:
        assert await tier.read(key, deadline=soon()) is not None


async def test_tier_belongs_to_one_event_loop(warm: WarmMemory) -> None:
    def elsewhere() -> None:
        with pytest.raises(ClientClosed, match="event loop"):
            asyncio.run(warm.ping(deadline=soon()))

    await asyncio.to_thread(elsewhere)
    await warm.ping(deadline=soon())


async def test_it_plays_the_authority(warm: WarmMemory) -> None:
    assert isinstance(warm, Versions)
    assert (warm.tier, warm.authority) == (MemoryTier.WARM, Authority.WARM)
    assert warm.skew_ms == 0


@pytest.mark.parametrize("options", [
    {"account_uri": ""},
    {"account_uri": "localhost:8081"},
    {"database": ""},
    {"container": ""},
    {"grace": timedelta(seconds=10)},
    {"key": "k", "credential": object()},
    {"account_uri": 5},
    {"container": None},
    {"grace": 119},
    {"connection_limit": -1},
], ids=" ".join)  # fmt: skip
def test_impossible_settings_are_refused_at_once(options: dict[str, Any]) -> None:
    given = {"account_uri": "https://a.documents.azure.com", "database": "d", "container": "c"} | options
    with pytest.raises(ConfigurationError):
        WarmMemory(**given)


class SynchronousCredential:
    def get_token(self, *scopes: str, **options: Any) -> None:
        raise AssertionError("nobody asks it")


def test_synchronous_credential_is_refused() -> None:
    """It would block the event loop for as long as it asks for its token."""
    with pytest.raises(ConfigurationError, match=r"azure\.identity\.aio"):
        WarmMemory("https://a.documents.azure.com", "d", "c", credential=SynchronousCredential())


async def test_without_any_identity_it_says_where_one_comes_from() -> None:
    tier = WarmMemory("https://a.documents.azure.com", "d", "c")
    with pytest.raises(ConfigurationError, match="credential"):
        await tier.connect()


async def test_epoch_is_read_at_connect_and_only_grows(
    warm: WarmMemory, own_cosmos: CosmosServer, container_name: str, control: CosmosControl
) -> None:
    assert (warm.epoch_at_connect, await warm.epoch()) == (0, 0)
    control.throttle(count=2, retry_after_ms=1)
    assert await warm.raise_epoch() == 1
    assert await warm.raise_epoch() == 2
    async with WarmMemory(own_cosmos.url, DATABASE, container_name, key=own_cosmos.key) as other:
        assert other.epoch_at_connect == 2


async def test_concurrent_first_raises_of_the_epoch_both_count(warm: WarmMemory) -> None:
    assert sorted(await asyncio.gather(warm.raise_epoch(), warm.raise_epoch(), warm.raise_epoch())) == [1, 2, 3]


@pytest.mark.parametrize("number", ["many", None, -1, [1]], ids=repr)
async def test_epoch_item_that_holds_no_number_is_said_so(
    warm: WarmMemory, items: ContainerProxy, number: object
) -> None:
    await items.upsert_item({"id": "epoch", "tenant": "", "scope": "~thermocline", "epoch": number})

    with pytest.raises(CorruptRecord, match="epoch item"):
        await warm.epoch()
    with pytest.raises(CorruptRecord, match="epoch item"):
        await warm.ping(deadline=soon())
