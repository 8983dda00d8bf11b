"""The hot tier on bad networks: cancelled calls (P10), full pools, lost requests and answers, dead nodes (P8), restarts."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from tests.integration.answering import answering

from thermocline.clock import Deadline
from thermocline.errors import TierTimeout, TierUnavailable, UnknownOutcome
from thermocline.keys import redis_key
from thermocline.model import Envelope, Header, Key
from thermocline.protocols import Announce, Busy, Effect, Leased, Look, Publish, Settle, Verb, Write
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import RedisCluster, RedisServer
from thermocline.tiers.hot import HotMemory

KEY = Key("tenant", "scope", "faults")


def soon(seconds: float = 10) -> Deadline:
    return Deadline.after(seconds)


def record(key: Key, payload: bytes = b"value", *, version: int = 0) -> Envelope:
    header = Header(version=version, serialiser=1, raw_length=len(payload))
    return Envelope(key, header, payload, "application/octet-stream")


def keys(count: int) -> list[Key]:
    return [Key("tenant", "scope", f"name-{i}") for i in range(count)]


async def fill(tier: HotMemory, some: list[Key]) -> None:
    """Each key's value names the key."""
    for found in await tier.operate_many([Look(key, "filler", 60_000) for key in some], deadline=soon()):
        assert isinstance(found, Leased)
    fills = [Settle(key, "filler", 1, record(key, key.name.encode(), version=1)) for key in some]
    assert not any(await tier.operate_many(fills, deadline=soon()))


Connect = Callable[[str], Awaitable[HotMemory]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[HotMemory] = []

    async def make(url: str) -> HotMemory:
        tier = HotMemory(url, max_calls=64)
        made.append(tier)
        await tier.connect()
        return tier

    yield make
    for tier in made:
        await tier.close()


# --- cancelled calls -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["redis_server", "redis_cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    for node in server.nodes if isinstance(server, RedisCluster) else [server]:
        with node.connection() as connection:
            connection.call("FLUSHALL")
    return server.url


async def ask(tier: HotMemory, i: int, some: list[Key]) -> None:
    """One call, of one kind or another, whose answer can be told from every other's."""
    key = some[i % len(some)]
    kind = i % 4
    if kind == 0:
        found = await tier.peek(key, deadline=soon())
        assert found is not None
        assert found.payload == key.name.encode()
    elif kind == 1:
        found = await tier.operate(Look(key, f"r{i}", 1000), deadline=soon())  # type: ignore[assignment]
        assert isinstance(found, Envelope)
        assert found.payload == key.name.encode()
    elif kind == 2:
        five = [some[(i + j) % len(some)] for j in range(5)]
        answers = await tier.peek_many(five, deadline=soon())
        assert [a.payload for a in answers if isinstance(a, Envelope)] == [k.name.encode() for k in five]
    else:
        announced = Key("tenant", "announced", key.name)
        assert await tier.operate(Announce(announced, f"w{i}", 60_000), deadline=soon()) == Busy(0)


async def cancelled_somewhere(call: asyncio.Task[None], rng: random.Random) -> None:
    for _ in range(rng.randrange(25)):
        await asyncio.sleep(0)
    if rng.random() < 0.5:
        await asyncio.sleep(rng.random() * 0.004)
    call.cancel()


@pytest.mark.parametrize("seed", range(4))
async def test_cancelled_calls_hand_no_answer_to_another(connect: Connect, url: str, seed: int) -> None:
    rng = random.Random(seed)
    tier = await connect(url)
    some = keys(20)
    await fill(tier, some)
    answered = 0
    for _ in range(12):
        calls = [asyncio.create_task(ask(tier, rng.randrange(1000), some)) for _ in range(16)]
        doomed = [call for call in calls if rng.random() < 0.5]
        await asyncio.gather(*(cancelled_somewhere(call, rng) for call in doomed))
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), repr(outcome)
            answered += outcome is None
    assert answered > 50
    await asyncio.gather(*(ask(tier, i, some) for i in range(64)))  # no connection is lost to the pool


@pytest.mark.parametrize("seed", range(3))
async def test_cancelled_on_a_slow_network(connect: Connect, redis_server: RedisServer, seed: int) -> None:
    rng = random.Random(seed)
    async with ChaosProxy(redis_server.url) as proxy:
        tier = await connect(proxy.url)
        some = [Key("tenant", f"slow-{seed}", f"name-{i}") for i in range(20)]
        await fill(tier, some)
        proxy.delay(answers=timedelta(milliseconds=3))
        for _ in range(8):
            calls = [asyncio.create_task(tier.peek(key, deadline=soon())) for key in some]
            for call in calls:
                if rng.random() < 0.4:
                    asyncio.get_running_loop().call_later(rng.random() * 0.02, call.cancel)
            for key, found in zip(some, await asyncio.gather(*calls, return_exceptions=True), strict=True):
                if not isinstance(found, asyncio.CancelledError):
                    assert isinstance(found, Envelope)
                    assert found.payload == key.name.encode()
        proxy.restore()
        await proxy.until(lambda traffic: traffic.open <= 4)  # those that were given up are closed


async def test_many_callers_at_once_get_their_own_answers(connect: Connect, url: str) -> None:
    tier = await connect(url)
    some = keys(20)
    await fill(tier, some)
    found = await asyncio.gather(*(tier.peek(some[i % 20], deadline=soon()) for i in range(300)))
    assert [f.payload for f in found if f] == [some[i % 20].name.encode() for i in range(300)]


async def test_who_waits_for_a_place_keeps_the_deadline(redis_server: RedisServer) -> None:
    async with ChaosProxy(redis_server.url) as proxy, HotMemory(proxy.url, max_calls=4) as tier:
        await tier.ping(deadline=soon())
        proxy.hold(answers=True)
        holders = [asyncio.create_task(tier.ping(deadline=soon())) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(TierTimeout) as caught:
            await tier.ping(deadline=soon(0.05))
        assert not caught.value.sent
        assert tier.pool() == (4, 4)
        proxy.restore()
        await asyncio.gather(*holders)
        await tier.ping(deadline=soon())
        assert tier.pool() == (0, 4)


# --- lost requests and answers ---------------------------------------------------------------------------------------


async def test_a_blackhole_ends_with_the_deadline_and_is_left_behind(
    connect: Connect, redis_server: RedisServer
) -> None:
    async with ChaosProxy(redis_server.url) as proxy:
        tier = await connect(proxy.url)
        proxy.blackhole(answers=True)
        with pytest.raises(TierTimeout) as caught:
            await tier.peek(KEY, deadline=soon(0.05))
        assert caught.value.sent or proxy.traffic.opened > 1  # (a new connection is greeted first)
        with pytest.raises(TierTimeout):
            await tier.operate(Look(KEY, "r", 1), deadline=soon(0.05))
        many = await tier.peek_many([KEY, KEY], deadline=soon(0.05))
        assert [type(error) for error in many] == [TierTimeout, TierTimeout]
        proxy.restore()
        assert await tier.peek(KEY, deadline=soon()) is None


async def test_a_cut_connection_is_an_outage_and_the_next_call_connects(
    connect: Connect, redis_server: RedisServer
) -> None:
    async with ChaosProxy(redis_server.url) as proxy:
        tier = await connect(proxy.url)
        lost = proxy.lose_next_answer()
        with pytest.raises(TierUnavailable) as caught:
            await tier.operate(Publish(KEY, "w", 5, None), deadline=soon())
        assert lost.is_set()
        assert caught.value.sent
        assert await tier.operate(Look(KEY, "r", 1), deadline=soon()) == Leased(5)  # it had arrived
        proxy.refuse()
        proxy.cut()
        for _ in range(4):  # what was cut may be noticed only when the answer is awaited
            with pytest.raises(TierUnavailable) as caught:
                await tier.peek(KEY, deadline=soon())
        assert not caught.value.sent
        proxy.restore()
        await tier.ping(deadline=soon())


async def test_a_write_whose_answer_is_lost_is_sent_again_and_took_effect_once(
    connect: Connect, redis_server: RedisServer
) -> None:
    key = Key("tenant", "scope", "lost-answer")
    async with ChaosProxy(redis_server.url) as proxy:
        tier = await connect(proxy.url)
        first = await tier.write(Write(Verb.PUT, "first", record(key)), deadline=soon())
        lost = proxy.lose_next_answer()
        second = await tier.write(Write(Verb.TOUCH, "second", record(key)), deadline=soon())
        assert lost.is_set()
        again = await tier.write(Write(Verb.TOUCH, "second", record(key)), deadline=soon())
        assert (second.effect, second.version) == (again.effect, again.version)
        there = await tier.read(key, deadline=soon())
        assert there is not None
        assert there.version == second.version > first.version


async def test_a_write_that_is_never_answered_has_an_unknown_outcome(
    connect: Connect, redis_server: RedisServer
) -> None:
    key = Key("tenant", "scope", "never-answered")
    async with ChaosProxy(redis_server.url) as proxy:
        tier = await connect(proxy.url)
        await tier.write(Write(Verb.PUT, "first", record(key)), deadline=soon())
        proxy.blackhole(answers=True)
        with pytest.raises(UnknownOutcome) as caught:
            await tier.write(Write(Verb.DELETE, "second", record(key)), deadline=soon(0.1))
        assert caught.value.write_id == "second"
        proxy.restore()
        resolved = await tier.write(Write(Verb.DELETE, "second", record(key)), deadline=soon())
        assert resolved.effect is Effect.TOOK


async def test_a_write_that_could_not_be_sent_is_an_outage(connect: Connect, redis_server: RedisServer) -> None:
    async with ChaosProxy(redis_server.url) as proxy:
        tier = await connect(proxy.url)
        proxy.refuse()
        proxy.cut()
        for _ in range(4):
            with pytest.raises(TierUnavailable):
                await tier.ping(deadline=soon())
        for verb in (Verb.PUT, Verb.DELETE):
            with pytest.raises(TierUnavailable) as caught:
                await tier.write(Write(verb, "id", record(KEY)), deadline=soon())
            assert not caught.value.sent
        proxy.restore()
        assert await tier.read(KEY, deadline=soon()) is None


async def test_a_restarted_server_knows_the_scripts_no_more_and_is_told(connect: Connect) -> None:
    with RedisServer() as server:
        tier = await connect(server.url)
        await tier.operate(Announce(KEY, "w", 60_000), deadline=soon())
        server.restart(keep_data=False)
        for _ in range(8):  # the connections of before are found dead, one after the other
            try:
                await tier.ping(deadline=soon())
            except TierUnavailable:
                continue
        assert await tier.operate(Look(KEY, "r", 1000), deadline=soon()) == Leased(0)
        looks = [Look(key, "r", 1000) for key in keys(3)]
        with server.connection() as connection:
            connection.call("SCRIPT", "FLUSH")
        assert await tier.operate_many(looks, deadline=soon()) == [Leased(0)] * 3
        assert await tier.operate_many([], deadline=soon()) == []


async def test_a_server_is_told_a_script_once_however_many_need_it(connect: Connect) -> None:
    with RedisServer() as server:
        tier = await connect(server.url)
        answers = await tier.operate_many([Look(key, "r", 60_000) for key in keys(50)], deadline=soon())
        assert answers == [Leased(0)] * 50
        with server.connection() as connection:
            assert "cmdstat_eval:calls=1," in str(connection.call("INFO", "commandstats"))


async def test_each_node_of_a_cluster_is_told_a_script_once_however_many_need_it(
    connect: Connect, redis_cluster: RedisCluster
) -> None:
    tier = await connect(redis_cluster.url)

    async def told() -> int:
        texts = [await tier._link.call_node(name, ("INFO", "commandstats"), soon()) for name in nodes]
        return sum(int(text.partition(b"cmdstat_eval:calls=")[2].partition(b",")[0] or 0) for text in texts)

    nodes = await tier._link.nodes(soon())
    for name in nodes:
        await tier._link.call_node(name, ("SCRIPT", "FLUSH"), soon())
    before = await told()
    some = [Key("tenant", "each node is told", str(i)) for i in range(2_000)]
    answers = await tier.operate_many([Look(key, "r", 60_000) for key in some], deadline=soon())
    assert answers == [Leased(0)] * 2_000
    assert await told() - before == len(nodes)


async def test_servers_behind_one_address_are_each_told_a_script() -> None:
    """What one of them has heard the others do not know: an EVALSHA behind an EVAL is answered with NOSCRIPT."""
    heard: list[str] = []

    def behaves(_: int, command: str) -> str:
        verb = command.partition(" ")[0]
        if verb.startswith("EVAL"):
            heard.append(verb)
        known = {"EVALSHA": "-NOSCRIPT No matching script.\r\n", "EVAL": "*2\r\n:1\r\n:0\r\n", "PING": "+PONG\r\n"}
        return known.get(verb, "+OK\r\n" if verb != "HELLO" else "-ERR unknown command 'HELLO'\r\n")

    async with answering(behaves) as url, HotMemory(url + "?protocol=2", cluster=False) as tier:
        looks = [Look(key, "r", 60_000) for key in keys(3)]
        assert await tier.operate_many(looks, deadline=soon()) == [Leased(0)] * 3
    assert heard == ["EVALSHA"] * 3 + ["EVAL", "EVALSHA", "EVALSHA"] + ["EVAL"] * 2


# --- a cluster -------------------------------------------------------------------------------------------------------


async def test_a_dead_node_costs_its_own_keys_only(connect: Connect) -> None:
    with RedisCluster() as cluster:
        tier = await connect(cluster.url)
        some = keys(60)
        await fill(tier, some)
        dead = cluster.nodes[1]
        lost = {key for key in some if cluster.node_of(tier.client.keyslot(redis_key(key))) is dead}
        assert 5 < len(lost) < 40
        dead.kill()
        for _ in range(3):
            found = await tier.peek_many(some, deadline=soon())
            announced = await tier.operate_many([Look(key, "r", 1000) for key in some], deadline=soon())
            for key, peeked, looked in zip(some, found, announced, strict=True):
                if key in lost:
                    assert isinstance(peeked, TierUnavailable)
                    assert isinstance(looked, TierUnavailable)
                else:
                    assert isinstance(peeked, Envelope)
                    assert peeked == looked
        dead.start()
        cluster.wait_until_whole()
        while any(isinstance(found, TierUnavailable) for found in await tier.peek_many(some, deadline=soon())):
            pass  # each call asks who has which slots
        assert await tier.operate(Look(next(iter(lost)), "r", 1000), deadline=soon()) == Leased(0)


async def test_a_node_that_hangs_costs_its_own_keys_only(connect: Connect) -> None:
    """It refuses nothing: who asks it for the shape of the cluster waits."""
    with RedisCluster() as cluster:
        tier = await connect(cluster.url)
        some = keys(60)
        await fill(tier, some)
        hung = cluster.nodes[0]  # whom the client asks first
        lost = {key for key in some if cluster.node_of(tier.client.keyslot(redis_key(key))) is hung}
        assert 5 < len(lost) < 40
        hung.pause()
        try:
            for _ in range(3):
                found = await tier.peek_many(some, deadline=Deadline.after(2))
                assert {key for key, one in zip(some, found, strict=True) if isinstance(one, TierUnavailable)} == lost
        finally:
            hung.resume()
        cluster.wait_until_whole()
        while any(isinstance(found, TierUnavailable) for found in await tier.peek_many(some, deadline=soon())):
            pass


async def test_keys_that_move_to_another_node_are_followed(connect: Connect) -> None:
    with RedisCluster() as cluster:
        tier = await connect(cluster.url)
        some = keys(30)
        await fill(tier, some)
        slot = tier.client.keyslot(redis_key(some[0]))
        source = cluster.node_of(slot)
        target = next(node for node in cluster.nodes if node is not source)
        with source.connection() as here, target.connection() as there:
            ids = {node: connection.call("CLUSTER", "MYID") for node, connection in ((source, here), (target, there))}
            name = {node: i.decode() for node, i in ids.items() if isinstance(i, bytes)}
            there.call("CLUSTER", "SETSLOT", slot, "IMPORTING", name[source])
            here.call("CLUSTER", "SETSLOT", slot, "MIGRATING", name[target])
            moving = redis_key(some[0]).decode()
            here.call("MIGRATE", "127.0.0.1", target.port, moving, 0, 5000)
            for _ in range(5):  # ASK: the slot is under way
                asked = await tier.peek_many(some, deadline=soon())
                assert all(isinstance(found, Envelope) for found in asked)
                assert await tier.peek(some[0], deadline=soon()) is not None
                found = await tier.operate(Look(some[0], "r", 1000), deadline=soon())
                assert isinstance(found, Envelope)
            for node in cluster.nodes:
                with node.connection() as connection:
                    connection.call("CLUSTER", "SETSLOT", slot, "NODE", name[target])
        for _ in range(2):
            moved = await tier.peek_many(some, deadline=soon())
            assert [found.payload for found in moved if isinstance(found, Envelope)] == [k.name.encode() for k in some]
        assert await tier.peek(some[0], deadline=soon()) is not None
