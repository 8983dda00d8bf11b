"""``tier=``: that tier alone; its record where it has the word for the key, else a plain name that shares nothing with the cascade's key."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.dropin.world import Old, roomy

from thermocline import (
    ConfigurationError,
    FolderMemory,
    InvalidArgument,
    Key,
    MemoryBuilder,
    MemoryClient,
    MemoryRules,
    MemoryTier,
    ProcessMemory,
    Route,
    SqliteMemory,
    TierUnavailable,
    TypeMismatch,
)
from thermocline.errors import InvalidKey, TierTimeout
from thermocline.testing import ChaosTier
from thermocline.testing.rig import RedisCluster
from thermocline.tiers.hot import HotMemory

VALUES: list[Any] = ["text", "", "{}", b"\x00\xff", b"text", {"a": [1, None]}, None, 7, 2**70, True, []]


@pytest.fixture(params=["embedded", "services"])
async def memory(request: pytest.FixtureRequest, old: Old, tmp_path: Path) -> AsyncIterator[MemoryClient]:
    if request.param == "services":
        yield await old.client()
        return
    tiers: dict[str, Any] = {
        "hot": ProcessMemory(),
        "warm": SqliteMemory(tmp_path / "warm.sqlite3"),
        "cold": FolderMemory(tmp_path / "cold"),
    }
    async with MemoryClient(**tiers, budget=roomy()) as client:
        yield client


@pytest.fixture
def key(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{tmp_path.name}-{id(request)}"


@pytest.mark.parametrize("tier", [MemoryTier.HOT, "cold"])
async def test_every_value_comes_back_from_the_tier_alone(memory: MemoryClient, key: str, tier: str) -> None:
    for value in VALUES:
        result = await memory.set(key, value, tier=tier)
        assert result.version == 0
        missing = object()
        found = await memory.get(key, default=missing, tier=tier)
        assert (type(found), found) == (type(value), value)
        assert await memory.exists(key, tier=tier)
        assert await memory.get(key) is None, "the cascade's key has no value"
        assert not await memory.exists(key)
    assert (await memory.delete(key, tier=tier)).found
    assert not (await memory.delete(key, tier=tier)).found
    assert not await memory.exists(key, tier=tier)


async def test_the_authoritys_tier_is_the_cascades_record(memory: MemoryClient, key: str) -> None:
    written = await memory.set(key, 1, tier=MemoryTier.WARM)
    assert written.version > 0
    assert await memory.get(key) == 1
    await memory.set(key, 2)
    assert await memory.get(key, tier="WARM") == 2
    assert await memory.get(key, tier="hot") is None, "hot's copy of the record is none of hot's plain names"
    assert (await memory.delete(key, tier="warm")).found
    assert await memory.get(key) is None
    assert not await memory.exists(key, tier="warm")


async def test_plain_names_leave_the_cascades_key_alone(memory: MemoryClient, key: str) -> None:
    await memory.set(key, "record")
    for tier in ("hot", "cold"):
        await memory.set(key, f"plain in {tier}", tier=tier)
    assert await memory.get(key) == "record"
    await memory.delete(key)
    assert [await memory.get(key, tier=tier) for tier in ("hot", "cold")] == ["plain in hot", "plain in cold"]
    await memory.set(key, "again")
    for tier in ("hot", "cold"):
        await memory.delete(key, tier=tier)
    assert await memory.get(key) == "again"


async def test_lifetimes_are_seconds_or_a_timedelta(memory: MemoryClient, key: str) -> None:
    for tier in ("hot", "cold"):
        await memory.set(key, 1, tier=tier, ttl=0.001)
        while await memory.exists(key, tier=tier):  # it ends by itself
            pass
        assert await memory.get(key, tier=tier) is None
        result = await memory.set(key, 1, tier=tier, ttl=timedelta(hours=1))
        assert result.expires is not None
        assert (await memory.set(key, 2, tier=tier, ttl=None)).expires is None
        assert await memory.get(key, tier=tier) == 2
    with pytest.raises(InvalidArgument, match="longer than zero"):
        await memory.set(key, 1, tier="hot", ttl=0)
    default = await memory.set(key, 1, tier="hot")
    assert default.expires is not None, "hot_ttl_seconds of the rules"


async def test_many_keys_of_one_tier(memory: MemoryClient, key: str) -> None:
    items = {f"{key}-{number}": number for number in range(5)}
    for tier in ("hot", "warm", "cold"):
        assert set(await memory.mset(items, tier=tier, ttl=60)) == set(items)
        found = await memory.mget([*items, f"{key}-none"], tier=tier)
        assert dict(found) == items
        assert found.missing == [f"{key}-none"]
    await memory.mset({key: "all"})
    assert dict(await memory.mget([key])) == {key: "all"}


async def test_each_key_of_one_tier_answers_for_itself(memory: MemoryClient, key: str) -> None:
    """P8, as in `get_many`: what is no key costs the others nothing, nor does a deadline that came too early say that the caller made a mistake."""
    bad: Any = 7
    names = [f"{key}-{number}" for number in range(40)]
    for tier in ("hot", "cold"):
        written = await memory.mset({name: name for name in names} | {"": 0, bad: 0}, tier=tier)
        assert list(written) == names, "in the order in which they were given"
        assert {type(error) for error in written.errors.values()} == {InvalidKey}
        assert set(written.errors) == {"", bad}
        found = await memory.mget([*names, "", bad, key], tier=tier)
        assert list(found) == names
        assert set(found.errors) == {"", bad}
        assert found.missing == [key]
        late = await memory.mget(names, tier=tier, timeout=timedelta(microseconds=1))
        assert set(late) | set(late.errors) == set(names)
        assert {type(error) for error in late.errors.values()} <= {TierTimeout}
        assert late.errors
    twice = await memory.mset({key: 1, Key.of(key): 2}, tier="hot")
    assert list(twice) == [key, Key.of(key)]
    assert await memory.get(key, tier="hot") == 2


async def test_a_key_with_a_tenant_has_a_plain_name_of_its_own(memory: MemoryClient, key: str) -> None:
    """P9: no plain string, and no other tenant's key, names it."""
    mine, theirs = Key("acme", "user/42", key), Key("acme/user", "42", key)
    for tier in ("hot", "cold"):
        await memory.set(mine, "mine", tier=tier)
        assert await memory.get(mine, tier=tier) == "mine"
        for other in (theirs, key, str(mine), Key("evil", "user/42", key), Key("acme", "user", f"42/{key}")):
            assert await memory.get(other, tier=tier) is None


async def test_bad_arguments_are_told(memory: MemoryClient, key: str) -> None:
    bad: Any = 7
    for tier in ("lukewarm", bad):
        with pytest.raises(InvalidArgument, match="a MemoryTier or its name"):
            await memory.get(key, tier=tier)
        with pytest.raises(InvalidArgument, match="a MemoryTier or its name"):
            await memory.mset({key: 1}, tier=tier)
    for arguments in ({"if_version": 3}, {"if_absent": True}, {"tags": {"a": "b"}}, {"media_type": "text/x"}):
        with pytest.raises(InvalidArgument, match=next(iter(arguments))):
            await memory.set(key, 1, tier="hot", **arguments)
    with pytest.raises(ConfigurationError, match="has no warm_plus tier"):
        await memory.get(key, tier=MemoryTier.WARM_PLUS)
    with pytest.raises(InvalidArgument, match="mapping"):
        await memory.mset([key], tier="hot")  # type: ignore[arg-type]


async def test_the_plain_names_of_keys_with_a_tenant_are_no_plain_strings(old: Old) -> None:
    memory = await old.client()

    for tier in ("hot", "cold"):
        with pytest.raises(InvalidKey, match="stand for keys with a tenant"):
            await memory.get("tcp.acme.user.x", tier=tier)
        with pytest.raises(InvalidKey, match="at most 1000 characters"):
            await memory.set("x" * 1001, 1, tier=tier)


@dataclass
class Profile:
    name: str


async def test_text_of_json_is_read_as_a_type(old: Old) -> None:
    memory = await old.client()
    await memory.set(old.name(), '{"name": "Ada"}', tier="cold")

    assert await memory.get(old.name(), tier="cold") == '{"name": "Ada"}'
    assert await memory.get(old.name(), tier="cold", type=Profile) == Profile("Ada")
    with pytest.raises(TypeMismatch):
        await memory.get(old.name(), tier="cold", type=int)


async def test_the_plain_layout_is_the_old_codes(old: Old) -> None:
    """Plain keys in Redis, documents {id, pk, value}, text blobs: what either code writes the other reads."""
    name = old.name()
    memory = await old.client(rules=MemoryRules(hot_ttl_seconds=60), routes=[Route("", hot=True)])
    cold_word = await old.client(warm=None)  # cold has the word here, so hot alone is plain

    await memory.set(name, "in redis", tier="hot")
    await memory.set(name, "in a blob", tier="cold")
    assert await old.redis.get(name) == b"in redis"
    assert 0 < await old.redis.ttl(name) <= 300
    assert await (await old.blobs.download_blob(name)).readall() == b"in a blob"
    await old.redis.set(name, "by the old code")
    assert await memory.get(name, tier="hot") == "by the old code"
    assert await cold_word.get(name, tier="hot") == "by the old code"
    assert await memory.hot.get(name) == "by the old code"  # type: ignore[union-attr]

    hot_word = await old.client(routes=[Route("", rules=MemoryRules(write_through=False))])
    await hot_word.set(name, {"in": "cosmos"}, tier="warm", ttl=60)
    document = await old.warm_document(name)
    assert (document["pk"], document["value"], document["ttl"]) == (name, {"in": "cosmos"}, 60)
    await hot_word.set(name, 2**70, tier="warm")
    assert await hot_word.get(name, tier="warm") == 2**70
    assert (await hot_word.delete(name, tier="warm")).found
    assert await hot_word.get(name, tier="warm") is None
    await hot_word.set(name, "hot is the authority", tier="hot")
    assert await hot_word.get(name) == "hot is the authority"


async def test_an_outage_of_the_tier_is_one(tmp_path: Path, key: str) -> None:
    chaos: Any = ChaosTier(FolderMemory(tmp_path / "cold"))
    async with MemoryClient(warm=SqliteMemory(tmp_path / "w.sqlite3"), cold=chaos) as memory:
        await memory.set(key, 1, tier="cold")
        chaos.down = True
        with pytest.raises(TierUnavailable):
            await memory.get(key, tier="cold")
        batch = await memory.mget([key], tier="cold")
        assert isinstance(batch.errors[key], TierUnavailable)
        chaos.down = False


async def test_the_builder_takes_a_tier_or_none_of_it(old: Old) -> None:
    host, _, port = old.redis_url.removeprefix("redis://").partition(":")
    builder = (
        MemoryBuilder()
        .with_hot(host=host, port=int(port.partition("/")[0]))
        .with_warm(
            cosmos_endpoint=old.cosmos.url, database="dropin", container="state", key=old.cosmos.key, create=True
        )
        .with_cold(
            blob_account_url=old.azurite.blob_url, container=old.blobs.container_name, credential=old.azurite.key
        )
    )
    assert sorted(builder.tiers()) == ["cold", "hot", "warm"]
    async with builder.build() as memory:
        await memory.set(old.name(), 1)
        assert await memory.get(old.name()) == 1
    assert sorted(builder.with_hot(None).with_cold(None).tiers()) == ["warm"]
    with pytest.raises(ConfigurationError, match="a tier, a url or a host"):
        MemoryBuilder().with_hot()
    with pytest.raises(ValueError, match="at least one tier"):
        MemoryBuilder().with_hot(None).build()


def test_rules_are_gathered_over_several_calls() -> None:
    builder = MemoryBuilder().with_hot(ProcessMemory()).with_rules(hot_ttl_seconds=60)
    client = builder.with_rules(promote_on_read=False, read_fallback=None).build()

    assert client.rules == MemoryRules(hot_ttl_seconds=60, promote_on_read=False)
    assert client.warm is None
    assert isinstance(client.hot, ProcessMemory)


async def test_plain_names_on_a_cluster(redis_cluster: RedisCluster, key: str) -> None:
    async with MemoryClient(hot=HotMemory(redis_cluster.url), warm=ProcessMemory(), budget=roomy()) as memory:
        items = {f"{key}-{number}": {"n": number} for number in range(20)}
        await memory.mset(items, tier="hot", ttl=60)
        assert await memory.mget(items, tier="hot") == items
        assert (await memory.delete(f"{key}-0", tier="hot")).found
        assert not await memory.exists(f"{key}-0", tier="hot")
