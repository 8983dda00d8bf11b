"""What a sick tier costs the others: nothing of hot is slower because cold holds a thousand calls, and a Redis that comes back is mended before it is read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.client.grounds import Services, noise

from thermocline.client import MemoryClient
from thermocline.errors import TierUnavailable
from thermocline.policy import MemoryRules
from thermocline.resilience import Budget, Hedging, Limits, Resilience
from thermocline.testing import ChaosProxy
from thermocline.testing.chaos import ChaosTier

MakeProxy = Callable[..., Awaitable[ChaosProxy]]
CALLERS = 1000


@pytest.fixture
async def ground(services: Services) -> AsyncIterator[Services]:
    await services.prepare(["hot", "warm", "cold"])
    yield services
    await services.close()


async def test_blackholed_cold_starves_nobody(ground: Services, chaos_proxy: MakeProxy) -> None:
    """A thousand calls are held by cold; all reads of hot and warm end meanwhile."""
    proxy = await chaos_proxy(ground.azurite.blob_url)
    rules = MemoryRules(cold_threshold_bytes=2_000, promote_on_read=False)
    memory = await ground.open(cold=ground.cold(proxy.url), rules=rules)
    large = [ground.key(f"large {number}") for number in range(4)]
    small = [ground.key(f"small {number}") for number in range(50)]
    for key in large:
        await memory.set(key, noise(10_000))
    await memory.set_many({key: key.name for key in small})
    await ground.evict(*large)
    asked = proxy.traffic.request_bytes
    proxy.blackhole(answers=True)
    held = [asyncio.create_task(memory.get(large[number % 4], timeout=60)) for number in range(CALLERS)]
    try:
        await proxy.until(lambda traffic: traffic.request_bytes > asked)
        for _ in range(4):
            assert await asyncio.gather(*(memory.get(key) for key in small)) == [key.name for key in small]
        await ground.evict(*small)
        assert dict(await memory.get_many(small)) == {key: key.name for key in small}
        big = noise(150_000)  # is compressed and decoded in threads, which cold's callers do not have
        warm = await ground.open(cold=None)
        await warm.set(ground.key("thread"), big)
        assert await warm.get(ground.key("thread")) == big
        assert not any(task.done() for task in held)
        assert memory.stats()["warm"]["breaker"] == memory.stats()["hot"]["breaker"] == "closed"
    finally:
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        proxy.restore()


async def test_blackholed_hot_costs_one_share_a_call_and_after_five_none(
    ground: Services, chaos_proxy: MakeProxy
) -> None:
    proxy = await chaos_proxy(ground.redis_url)
    hot: Any = ChaosTier(ground.hot(proxy.url))
    budget = Budget(hot=timedelta(milliseconds=50), warm=timedelta(seconds=20), call=timedelta(seconds=60))
    memory = await ground.open(hot=hot, budget=budget)
    key = ground.key()
    await memory.set(key, "v")
    before = hot.calls["peek"]
    looks = memory.stats()["hot"]["latency"].get("look", {"count": 0})["count"]
    proxy.blackhole(answers=True)
    for _ in range(30):
        assert await memory.get(key) == "v"
    assert 1 <= hot.calls["peek"] - before <= 5  # the recovery queue's own tries count as well
    figures = memory.stats()["hot"]
    assert (figures["breaker"], figures["breaker_errors"]) != ("closed", 0)
    assert figures["latency"].get("look", {"count": 0})["count"] == looks  # no second question after a time-out
    proxy.restore()


@pytest.fixture
async def two(ground: Services, chaos_proxy: MakeProxy) -> tuple[MemoryClient, MemoryClient, ChaosProxy]:
    """A writer who reaches Redis over a proxy, and a reader who reaches it always."""
    proxy = await chaos_proxy(ground.redis_url)
    writer = await ground.open(hot=ground.hot(proxy.url))
    reader = await ground.open(hot=ground.hot(ground.redis_url))
    return writer, reader, proxy


async def test_redis_that_comes_back_with_its_data_is_mended_before_it_is_read(
    two: tuple[MemoryClient, MemoryClient, ChaosProxy], ground: Services
) -> None:
    writer, reader, proxy = two
    keys = [ground.key(f"{number}") for number in range(250)]
    await writer.set_many(dict.fromkeys(keys, "old"))
    assert set((await reader.get_many(keys)).values()) == {"old"}
    proxy.refuse()
    proxy.cut()
    for key in keys[:20]:
        assert not (await writer.set(key, "new")).hot
    await writer.set_many(dict.fromkeys(keys[20:], "new"))
    assert writer.stats()["hot"]["breaker"] == "open"
    assert writer.stats()["client"]["recovery_queue"] == len(keys)

    proxy.restore()
    due, seen = len(keys), set[str]()
    async with asyncio.timeout(60):
        while due:  # other clients read all the time
            await reader.get_many(keys[:10])
            assert await writer.get(keys[-1]) == "new"
            figures = writer.stats()
            due = figures["client"]["recovery_queue"]
            seen.add(figures["hot"]["breaker"])
            if figures["hot"]["breaker"] == "closed":
                assert due <= 1  # it is read again only when it was told everything, but what was read below meanwhile
            await asyncio.sleep(0.001)
        while writer.stats()["hot"]["breaker"] != "closed":
            await asyncio.sleep(0.001)
            await writer.get(keys[0])
    found = await reader.get_many(keys)
    assert set(found.values()) == {"new"}
    assert "open" in seen


async def test_key_of_unknown_outcome_is_asked_below(ground: Services, chaos_proxy: MakeProxy) -> None:
    """Hot has the old value, the write took effect and nobody heard: this client does not read hot for the key until it knows."""
    proxy = await chaos_proxy(ground.cosmos.url)
    budget = Budget(warm=timedelta(milliseconds=100), hot=timedelta(seconds=10), call=timedelta(seconds=60))
    redis = await chaos_proxy(ground.redis_url)
    memory = await ground.open(warm=ground.warm(proxy.url), hot=ground.hot(redis.url), budget=budget)
    key, other = ground.key(), ground.key("other")
    await memory.set(key, "old")
    await memory.set(other, "other")
    assert await memory.get(key) == "old"
    proxy.blackhole(answers=True)
    with pytest.raises(Exception, match="not known"):
        await memory.set(key, "new", timeout=0.5)
    # the announcement ran out, or was lost: hot holds the old value again
    await ground.evict(key)
    second = await ground.open()
    with pytest.raises(TierUnavailable):
        await memory.get(key, timeout=0.5)
    assert await memory.get(other) == "other"
    batch = await memory.get_many([key, other], timeout=1.0)
    assert (dict(batch), list(batch.errors)) == ({other: "other"}, [key])
    proxy.restore()
    assert await memory.settled(timeout=60)
    assert await memory.get(key) == "new"
    assert await second.get(key) == "new"


async def test_hedged_reads_cut_off_the_tail_at_five_in_a_hundred(ground: Services) -> None:
    """Some answers of Cosmos DB take a second. Counted at the server: the requests; at the client: the late answers."""
    if ground.cosmos.kind != "strict":
        pytest.skip("delays are the strict emulator's")
    control = ground.cosmos.control
    budget = Budget(warm=timedelta(seconds=20), call=timedelta(seconds=60))
    memory = await ground.open(hot=None, budget=budget, resilience=Resilience(hedge=Hedging(share=0.05)))
    key = ground.key()
    await memory.set(key, "v")
    for _ in range(120):
        await memory.get(key)
    clock, reads = asyncio.get_running_loop().time, 300

    async def struck_and_late(seed: int) -> tuple[int, int]:
        won = memory.stats()["warm"].get("hedges_won", 0)
        number = await control.beside(control.delay, 1000, kinds=("read",), probability=0.02, seed=seed)
        before, late = (await control.beside(control.stats)).kinds["read"], 0
        for _ in range(reads):
            began = clock()
            assert await memory.get(key) == "v"
            late += clock() - began > 0.9
        sent = (await control.beside(control.stats)).kinds["read"] - before
        struck = next(rule["hits"] for rule in await control.beside(control.faults) if rule["number"] == number)
        await control.beside(control.clear, number)
        assert sent <= reads * 1.05 + 10  # the share of the reads before them, at most ten, may be used now
        assert memory.stats()["warm"]["hedges_won"] - won >= struck - late - 1
        return int(struck), late

    struck, late = await struck_and_late(3)
    for seed in range(4, 7):
        if late >= struck / 2:  # a machine that was busy with something else for a moment has spent the share on that
            struck, late = await struck_and_late(seed)
    assert struck >= 3
    assert late < struck / 2


async def test_limits_of_a_client_are_its_own(ground: Services) -> None:
    few = Resilience(hot=Limits(at_once=1, waiting=0), warm=Limits(at_once=1, waiting=0))
    memory = await ground.open(resilience=few, cold=None)
    keys = [ground.key(f"{number}") for number in range(30)]
    results = await asyncio.gather(*(memory.set(key, 1) for key in keys), return_exceptions=True)
    refused = [error for error in results if isinstance(error, Exception)]
    assert refused
    assert {type(error).__name__ for error in refused} == {"Overloaded"}
    assert memory.stats()["warm"]["refused"] >= len(refused)
    assert (await memory.health()).verdict.value in ("ok", "degraded")


async def test_hot_that_is_left_alone_for_slowness_is_still_told_of_writes(
    ground: Services, chaos_proxy: MakeProxy
) -> None:
    """Readers pass it by, since the authority is faster; but others may be reading it, and see every write at once."""
    proxy = await chaos_proxy(ground.redis_url)
    rules = Resilience(hot=Limits(slow_after=0.000001, slow_calls=5))  # every answer of a real server is a slow one
    budget = Budget(hot=timedelta(seconds=10), warm=timedelta(seconds=20), call=timedelta(seconds=60))
    slow = await ground.open(hot=ground.hot(proxy.url), resilience=rules, budget=budget)
    other = await ground.open(budget=budget)
    key = ground.key()
    await slow.set(key, 0)
    await ground.evict(key)
    assert await slow.get(key) == 0  # now it is known how long the authority takes
    proxy.delay(answers=timedelta(milliseconds=200))
    for _ in range(40):
        await slow.get(key)
        if slow.stats()["hot"]["breaker"] != "closed":
            break
    assert slow.stats()["hot"]["breaker_slowness"] == 1
    proxy.delay(answers=timedelta(0))
    asked = slow.stats()["hot"]["latency"]["get"]["count"]
    assert await other.get(key) == 0
    for number in range(1, 4):
        assert (await slow.set(key, number)).hot
        assert await other.get(key) == number
        assert await slow.get(key) == number
    health = await slow.health()
    assert any("answered slowly repeatedly" in reason for reason in health.reasons)
    assert slow.stats()["hot"]["latency"]["get"]["count"] == asked
