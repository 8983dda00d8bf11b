"""Recovery, breakers, deadlines, and a hot tier that comes late, on real services behind a proxy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.integration.client.grounds import Services, roomy

from thermocline import telemetry
from thermocline.client import MemoryClient
from thermocline.errors import ConfigurationError, TierTimeout, TierUnavailable, UnknownOutcome
from thermocline.resilience import Budget
from thermocline.testing import ChaosTier, Fault, ManualClock
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import RedisServer

MakeProxy = Callable[[str | int], Awaitable[ChaosProxy]]


@pytest.fixture
async def ground(services: Services) -> AsyncIterator[Services]:
    await services.prepare(["hot", "warm"])
    yield services
    await services.close()


async def until_settled(memory: MemoryClient) -> None:
    assert await memory.settled(timeout=60)


async def test_what_hot_missed_while_it_was_cut_off_it_is_told_afterwards(
    ground: Services, chaos_proxy: MakeProxy
) -> None:
    proxy = await chaos_proxy(ground.redis_url)
    cut = await ground.open(hot=ground.hot(proxy.url), budget=roomy(hot=0.2))
    other = await ground.open()
    keys = [ground.key(f"{number}") for number in range(5)]
    await other.set_many(dict.fromkeys(keys, "old"))
    assert await other.get_many(keys) == dict.fromkeys(keys, "old")
    proxy.refuse()
    proxy.cut()
    written = await cut.set_many(dict.fromkeys(keys[:2], "new"))
    written[keys[2]] = await cut.set(keys[2], "new")
    written[keys[3]] = await cut.delete(keys[3])
    assert [result.hot for result in written.values()] == [False] * 4
    assert await cut.get_many(keys[:3]) == dict.fromkeys(keys[:3], "new")  # P6
    assert await cut.get(keys[3]) is None
    assert await other.get(keys[0]) == "old"  # bounded: until hot is told
    assert cut.stats()["client"]["recovery_queue"] >= 4
    proxy.restore()
    await until_settled(cut)
    assert await other.get_many(keys) == {**dict.fromkeys(keys[:3], "new"), keys[4]: "old"}
    assert await other.get(keys[3]) is None
    assert cut.stats()["hot"][telemetry.RECOVERED] >= 4


async def test_a_client_that_closes_tells_hot_first(ground: Services, chaos_proxy: MakeProxy) -> None:
    proxy = await chaos_proxy(ground.redis_url)
    cut = await ground.open(hot=ground.hot(proxy.url), budget=roomy(hot=0.2))
    other = await ground.open()
    key = ground.key()
    await other.set(key, "old")
    assert await other.get(key) == "old"
    proxy.refuse()
    proxy.cut()
    await cut.set(key, "new")
    proxy.restore()
    await cut.close()
    assert await other.get(key) == "new"


async def test_a_write_whose_end_hot_did_not_hear_is_told_later(ground: Services) -> None:
    """The announcement arrived, the publish did not."""
    hot = ChaosTier(ground.hot(), script=[None, Fault.REFUSE], verbs={"operate"})
    memory = await ground.open(hot=hot)
    written = await memory.set(ground.key(), "new")
    assert not written.hot
    await until_settled(memory)
    other = await ground.open()
    assert await other.get(ground.key()) == "new"


async def test_a_write_of_unknown_outcome_is_asked_for(ground: Services) -> None:
    warm = ChaosTier(ground.warm(), script=[Fault.LOSE], verbs={"write"})
    memory, other = await ground.open(warm=warm), await ground.open()
    key = ground.key()
    await other.set(key, "old")
    with pytest.raises(UnknownOutcome) as unknown:
        await memory.set(key, "new")
    assert unknown.value.write_id
    await until_settled(memory)
    assert await other.get(key) == await memory.get(key) == "new"  # it did take effect


async def test_hot_that_is_down_at_the_start_is_used_when_it_is_up(ground: Services) -> None:
    with RedisServer() as server:
        await asyncio.to_thread(server.kill)
        memory = await ground.open(hot=ground.hot(server.url), budget=roomy(hot=1))
        key = ground.key()
        written = await memory.set(key, 1)
        assert not written.hot
        assert await memory.get(key) == 1
        await asyncio.to_thread(server.start)
        await until_settled(memory)
        while not memory.stats()["hot"].get(telemetry.HITS):
            assert await memory.get(key) == 1
            await asyncio.sleep(0.01)
        await memory.close()


@pytest.mark.parametrize("missing", ["warm", "cold"])
async def test_an_authority_that_cannot_be_reached_fails_the_connect_and_leaves_nothing_open(
    ground: Services, chaos_proxy: MakeProxy, missing: str
) -> None:
    await ground.prepare(["hot", missing])
    upstream = ground.cosmos.url if missing == "warm" else ground.azurite.blob_url
    proxy = await chaos_proxy(upstream)
    proxy.refuse()
    hot = ground.hot()
    make = ground.warm if missing == "warm" else ground.cold
    memory = ground.client(hot=hot, **{missing: make(proxy.url)})
    for _ in range(2):
        with pytest.raises(TierUnavailable) as refused:
            await memory.get(ground.key())
        assert refused.value.tier == missing
        assert not hot.connected
    proxy.restore()
    assert await memory.get(ground.key()) is None  # the same client connects when it can


async def test_connecting_has_a_deadline_of_its_own(ground: Services, chaos_proxy: MakeProxy) -> None:
    proxy = await chaos_proxy(ground.cosmos.url)
    proxy.blackhole(requests=True, answers=True)
    memory = ground.client(warm=ground.warm(proxy.url), budget=roomy(connect=0.3))
    with pytest.raises(TierTimeout, match=r"0\.3 s"):
        await memory.connect()


async def test_callers_who_connect_together_connect_once(ground: Services) -> None:
    memory = ground.client()
    assert await asyncio.gather(*(memory.get(ground.key(f"{number}")) for number in range(10))) == [None] * 10
    cancelled = ground.client()
    first = asyncio.create_task(cancelled.get(ground.key()))
    second = asyncio.create_task(cancelled.get(ground.key()))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is None  # cancelling who came first cancels nobody else
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_call_ends_by_its_deadline(ground: Services, chaos_proxy: MakeProxy) -> None:
    proxy = await chaos_proxy(ground.cosmos.url)
    memory = await ground.open(warm=ground.warm(proxy.url))
    key = ground.key()
    await memory.set(ground.key("known"), 1)
    proxy.blackhole(answers=True)
    clock = asyncio.get_running_loop().time
    for call in (
        lambda: memory.get(key, timeout=0.2),
        lambda: memory.exists(key, timeout=0.2),
        lambda: memory.list(tenant=ground.tenant, scope="scope", timeout=0.2),
    ):
        began = clock()
        with pytest.raises(TierTimeout):
            await call()
        assert clock() - began < 30  # not the minute that the budget has
    with pytest.raises((TierUnavailable, UnknownOutcome)):
        await memory.set(key, 1, timeout=0.2)
    batch = await memory.get_many([key, ground.key("known")], timeout=0.2)
    assert (batch, list(batch.errors)) == ({ground.key("known"): 1}, [key])
    proxy.restore()
    assert await memory.get(ground.key("known")) == 1


async def test_a_breaker_opens_leaves_hot_alone_and_closes(ground: Services) -> None:
    clock = ManualClock()
    hot = ChaosTier(ground.hot())
    memory = await ground.open(hot=hot, clock=clock, budget=Budget(clock))
    key = ground.key()
    await memory.set(key, 1)
    hot.down = True
    for _ in range(20):
        assert await memory.get(key) == 1
    asked = hot.calls["peek"]  # the recovery queue tries by itself, with another verb
    assert memory.stats()["hot"]["breaker"] == "open"
    for _ in range(5):
        assert await memory.get(key) == 1
    assert hot.calls["peek"] == asked
    hot.down = False
    clock.advance(31)  # the longest that it may stay open
    assert memory.stats()["hot"]["breaker"] != "open"
    assert await memory.get(key) == 1  # of the authority: whether hot is back is looked at behind its back
    async with asyncio.timeout(30):
        while memory.stats()["hot"]["breaker"] != "closed":  # noqa: ASYNC110 - seen as an operator sees it
            await asyncio.sleep(0.001)
    assert hot.calls["peek"] == asked
    assert await memory.get(key) == 1
    assert hot.calls["peek"] > asked


async def test_a_throttled_authority_is_not_sick(ground: Services) -> None:
    warm = ChaosTier(ground.warm(), script=[Fault.THROTTLE] * 20, verbs={"read"})
    memory = await ground.open(warm=warm)
    for _ in range(20):
        with pytest.raises(TierUnavailable):
            await memory.get(ground.key())
    assert memory.stats()["warm"]["breaker"] == "closed"
    assert await memory.get(ground.key()) is None


async def test_a_tier_that_cannot_play_its_part_is_refused(ground: Services) -> None:
    with pytest.raises(ConfigurationError, match="Entries"):
        MemoryClient(hot=ground.warm())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="Versions"):
        MemoryClient(warm=object())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="Payloads"):
        MemoryClient(warm=ground.warm(), cold=ground.hot())
