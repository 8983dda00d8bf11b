"""Rules, routes and arguments: which tiers a key uses."""

import pytest
from tests.integration.client.grounds import Grounds, Services

from thermocline import telemetry
from thermocline.client import MemoryClient
from thermocline.errors import TierUnavailable
from thermocline.model import Authority, Hit, MemoryTier, Miss, NotAsked, Unavailable
from thermocline.policy import MemoryRules, Route
from thermocline.protocols import Announce
from thermocline.testing import ChaosTier


def figure(memory: MemoryClient, tier: str, name: str) -> int:
    return int(memory.stats().get(tier, {}).get(name, 0))


async def test_write_around_leaves_hot_without_the_new_value(above: Grounds) -> None:
    memory = await above.open(rules=MemoryRules(write_around=True))
    key = above.key()
    for value in (1, 2):
        await memory.set(key, value)
        reads = figure(memory, above.authority, telemetry.READS)
        assert await memory.get(key) == value
        assert figure(memory, above.authority, telemetry.READS) == reads + 1  # hot did not have it
    await memory.delete(key)
    assert not await memory.exists(key)


async def test_writes_go_through_hot_and_reads_are_answered_there(above: Grounds) -> None:
    one, two = await above.open(), await above.open()
    key = above.key()
    await one.set(key, 1)
    for memory in (one, two):
        for _ in range(3):
            assert await memory.get(key) == 1
        assert figure(memory, "hot", telemetry.HITS) == 3
        assert figure(memory, above.authority, telemetry.READS) == 0


async def test_what_the_authority_answered_is_promoted(above: Grounds) -> None:
    memory = await above.open()
    key = above.key()
    await memory.set(key, 1)
    await above.evict(key)
    assert [await memory.get(key) for _ in range(3)] == [1, 1, 1]
    assert figure(memory, above.authority, telemetry.READS) == 1
    assert figure(memory, "hot", telemetry.PROMOTIONS) == 1


async def test_an_absence_is_not_kept_in_hot(above: Grounds) -> None:
    """Somebody without hot could create the key unseen; a tombstone is kept, as it has a version."""
    memory = await above.open()
    assert [await memory.get(above.key()) for _ in range(3)] == [None, None, None]
    assert figure(memory, above.authority, telemetry.READS) == 3
    await memory.set(above.key("deleted"), 1)
    await memory.delete(above.key("deleted"))
    assert isinstance(await memory.lookup(above.key("deleted")), Miss)
    assert figure(memory, above.authority, telemetry.READS) == 3


async def test_without_promotion_hot_stays_empty(above: Grounds) -> None:
    memory = await above.open(rules=MemoryRules(promote_on_read=False))
    keys = [above.key(f"{number}") for number in range(3)]
    await memory.set_many(dict.fromkeys(keys, 1))
    await above.evict(*keys)
    for reads in (1, 2):
        assert await memory.get(keys[0]) == 1
        assert figure(memory, above.authority, telemetry.READS) == reads
    assert await memory.get_many(keys) == dict.fromkeys(keys, 1)
    assert await memory.get_many(keys) == dict.fromkeys(keys, 1)
    assert figure(memory, above.authority, telemetry.READS) == 2 + 6
    assert figure(memory, "hot", telemetry.PROMOTIONS) == 0


async def test_without_fallback_an_unknown_key_is_not_asked_for(above: Grounds) -> None:
    writer = await above.open()
    memory = await above.open(rules=MemoryRules(read_fallback=False))
    key, absent = above.key(), above.key("absent")
    await writer.set(key, 1)
    assert await memory.get(key) == 1
    assert isinstance(await memory.lookup(absent), NotAsked)
    await above.evict(key)
    looked = await memory.lookup(key)
    assert looked == NotAsked(key)
    assert await memory.get(key, default="default") == "default"
    assert figure(memory, above.authority, telemetry.READS) == 0


async def test_without_write_through_records_live_in_hot_alone(above: Grounds) -> None:
    rules = MemoryRules(write_through=False, hot_ttl_seconds=60)
    memory = await above.open(rules=rules)
    below = await above.open(hot=None)
    key = above.key()
    written = await memory.set(key, 1)
    assert (written.authority, written.durable) == (Authority.HOT, False)
    assert await memory.get(key) == 1
    assert await memory.increment(key) == 2
    assert not await below.exists(key)
    assert [item.tier for item in await memory.list(tenant=above.tenant, scope="scope")] == [MemoryTier.HOT]
    assert (await below.list(tenant=above.tenant, scope="scope")).items == []
    await memory.delete(key)
    assert not await memory.exists(key)


async def test_routes_by_prefix_scope_and_tenant(whole: Grounds) -> None:
    routes = [
        Route("turn/", rules=MemoryRules(write_through=False)),
        Route("turn/kept/", authority=Authority.COLD),
        Route("", scope_prefix="archive", authority=Authority.COLD, hot=False),
        Route("mine/", tenant=whole.tenant, rules=MemoryRules(warm_ttl_seconds=60)),
    ]
    memory = await whole.open(routes=routes)
    wanted = {
        whole.key("other"): Authority.WARM,
        whole.key("turn/1"): Authority.HOT,
        whole.key("turn/kept/1"): Authority.COLD,
        whole.key("doc", scope="archive/2026"): Authority.COLD,
        whole.key("mine/1"): Authority.WARM,
    }
    written = await memory.set_many({key: key.name for key in wanted})
    assert {key: result.authority for key, result in written.items()} == wanted
    assert await memory.get_many(wanted) == {key: key.name for key in wanted}
    assert {key: await memory.get(key) for key in wanted} == {key: key.name for key in wanted}
    assert await memory.ttl(whole.key("mine/1")) is not None
    assert await memory.ttl(whole.key("other")) is None
    hits = figure(memory, "hot", telemetry.HITS)
    await memory.get(whole.key("doc", scope="archive/2026"))
    assert figure(memory, "hot", telemetry.HITS) == hits  # that route uses no hot
    gone = await memory.delete_many(wanted)
    assert (set(gone), gone.errors) == (set(wanted), {})
    assert (await memory.get_many(wanted)).missing == list(wanted)


async def test_copies_of_another_authority_are_not_served_and_counted(whole: Grounds) -> None:
    """Two clients with different rules do not feed each other wrong copies."""
    by_warm = await whole.open()
    by_cold = await whole.open(routes=[Route("", authority=Authority.COLD)])
    key = whole.key()
    await by_warm.set(key, "warm's")
    assert await by_cold.get(key) is None
    assert figure(by_cold, "hot", telemetry.ROUTE_CONFLICTS) == 1
    await by_cold.set(key, "cold's")
    assert await by_cold.get(key) == "cold's"
    assert await by_warm.get(key) == "warm's"
    many = await by_warm.get_many([key]), await by_cold.get_many([key])
    assert many == ({key: "warm's"}, {key: "cold's"})
    assert figure(by_warm, "hot", telemetry.ROUTE_CONFLICTS) + figure(by_cold, "hot", telemetry.ROUTE_CONFLICTS) >= 2


async def test_stale_answers_on_request_while_the_authority_is_down(services: Services) -> None:
    await services.prepare(["hot", "warm"])
    warm = ChaosTier(services.tier("warm"))
    memory = await services.open(warm=warm, rules=MemoryRules(stale_while_down=True, warm_ttl_seconds=3600))
    also = ChaosTier(services.tier("warm"))
    strict = await services.open(warm=also)
    writer = await services.open()
    key = services.key()
    written = await writer.set(key, "old")
    # A writer that died between announcing and publishing: hot knows the last value, and does not vouch for it.
    hot = writer._engine.hot
    assert hot is not None
    await hot.operate(Announce(key, "dead", 60_000), deadline=writer._engine.hot_deadline())
    warm.down = also.down = True
    looked = await memory.lookup(key)
    assert isinstance(looked, Hit)
    assert (looked.value, looked.stale, looked.version) == ("old", True, written.version)
    assert "down" in looked.bound
    assert await memory.get(key) == "old"
    assert figure(memory, "hot", telemetry.STALE_SERVED) == 2
    assert isinstance(await strict.lookup(key), Unavailable)  # nobody asked for stale answers here
    with pytest.raises(TierUnavailable):
        await memory.get(services.key("absent"), default="no")
    warm.down = False
    looked = await memory.lookup(key)
    assert isinstance(looked, Hit)
    assert not looked.stale
    await services.close()


async def test_writes_that_hot_cannot_be_told_of_are_refused_on_request(whole: Grounds) -> None:
    hot = ChaosTier(whole.tier("hot"))
    memory = await whole.open(hot=hot, rules=MemoryRules(refuse_without_hot=True))
    key = whole.key()
    await memory.set(key, 1)
    hot.down = True
    for write in (memory.set(key, 2), memory.delete(key), memory.increment(key)):
        with pytest.raises(TierUnavailable, match="refuse_without_hot"):
            await write
    batch = await memory.set_many({key: 3})
    assert isinstance(batch.errors[key], TierUnavailable)
    assert await memory.get(key) == 1  # nothing was written
    again = await whole.open(rules=MemoryRules(refuse_without_hot=True))  # this one's breaker is open by now
    assert (await again.set(key, 2)).hot


async def test_a_write_without_hot_says_until_when_others_may_see_the_old_value(whole: Grounds) -> None:
    hot = ChaosTier(whole.tier("hot"))
    memory, other = await whole.open(hot=hot), await whole.open()
    key = whole.key()
    await other.set(key, "old")
    assert await other.get(key) == "old"
    hot.down = True
    written = await memory.set(key, "new")
    assert not written.hot
    assert written.hot_until is not None
    assert await memory.get(key) == "new"  # P6
    looked = await memory.lookup(key)
    assert isinstance(looked, Hit)
    assert looked.bound
    assert memory.stats()["client"]["recovery_queue"] == 1
    assert not await memory.settled(timeout=0.05)
    hot.down = False
    assert await memory.settled(timeout=30)
    assert await other.get(key) == "new"
    assert figure(memory, "hot", telemetry.RECOVERED) == 1
    looked = await memory.lookup(key)
    assert isinstance(looked, Hit)
    assert not looked.bound
