"""A hit and a write in hot, through the client and beside it: redis.asyncio, the floor, and others who do the same."""

import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import redis.asyncio as redis

from benchmarks.drawing import DISTINCT, IN_USE, at_random, in_turn
from benchmarks.measuring import measure
from benchmarks.payload import packed, patient, turn
from benchmarks.report import ABOVE, ALONE, HIT, SET, callers, distinct
from benchmarks.results import Result
from benchmarks.rivals import CONNECTIONS, Get, opened
from benchmarks.rounds import Arm, Group
from benchmarks.scale import Scale
from benchmarks.streams import Each, Merged, Shared
from thermocline.client import MemoryClient
from thermocline.codec import Codec
from thermocline.keys import redis_key
from thermocline.model import Authority, Key
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.sqlite import SqliteMemory

RAW = "redis.asyncio GET"
RAW_SET = "redis.asyncio SET"
_CALLERS = ((1, 500), (4, 1000), (32, 1280), (128, 2560))  # at once, operations of a turn


def plain_redis(url: str, connections: int = CONNECTIONS) -> "redis.Redis":
    """As one would use it: hiredis, and a pool whose callers wait."""
    return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(url, max_connections=connections))


def names(many: int) -> list[str]:
    return [f"session/9f/turn/{number}" for number in range(many)]


async def nothing(name: str) -> object:
    """What an arm that does no work costs."""
    return None


async def hot(scale: Scale) -> Result:
    """Hits by 1, 4, 32 and 128 callers of 100 keys in use, by 32 of keys that are all distinct, and writes by 32."""
    result = Result("hot")
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        used, other = names(IN_USE), names(scale.of(DISTINCT, 160))
        raw = await stack.enter_async_context(plain_redis(server.url))
        above, alone = await _clients(stack, server, folder / "warm.sqlite3", other)
        for at, name in enumerate(other):
            await raw.set(f"raw/{name}", packed(at))
        shared = await Shared.open(server.port)
        each = await Each.open(server.port, max(at_once for at_once, _ in _CALLERS))
        stack.push_async_callback(shared.close)
        stack.push_async_callback(each.close)
        merged = await Merged.open(server.port)
        stack.push_async_callback(merged.close)
        raw_get: Get = lambda name: raw.get(f"raw/{name}")  # noqa: E731
        gets: dict[str, Get] = {
            RAW: raw_get,
            f"{RAW}, again (control)": raw_get,
            "nothing (no-op)": nothing,
            "bare streams, one connection (floor)": lambda name: shared.get(f"raw/{name}".encode()),
            "bare streams, a connection each (floor)": lambda name: each.get(f"raw/{name}".encode()),
            "one MGET a tick, bytes (floor)": lambda name: merged.get(f"raw/{name}".encode()),
            "one MGET a tick, and decoding (floor)": _decoding(merged, other),
            ABOVE: above.get,
            ALONE: lambda name: alone.get(_alone(name)),
        }
        rivals = await opened(stack, server, used, result.left_out)
        for rival in rivals:
            if rival.most < _CALLERS[-1][0]:
                result.left_out.append(
                    f"{rival.name} with {_CALLERS[-1][0]} callers: its pool of {rival.most} connections raises"
                )
        groups = []
        for at_once, operations in _CALLERS:
            arms = gets | {rival.name: rival.get for rival in rivals if at_once <= rival.most}
            drawn = [_arm(name, get, at_random(used), at_once) for name, get in arms.items()]
            groups.append(
                Group(f"{HIT}, {callers(at_once)}", drawn, scale.operations(operations, at_once), scale.rounds)
            )
        turns = [_arm(name, get, in_turn(other), 32) for name, get in gets.items()]
        groups.append(Group(distinct(), turns, scale.operations(1280, 32), scale.rounds))
        groups.append(_sets(raw, shared, alone, other, scale))
        await measure(groups, result)
    return result


def _decoding(merged: Merged, some: Sequence[str]) -> Get:
    """The records of the client above an authority, with the checks and the decoding that every hit takes, and nothing else: no route, deadline or floor."""
    codec = Codec()
    keys = {name: Key.of(name) for name in some}
    stored = {name: redis_key(key) for name, key in keys.items()}

    async def get(name: str) -> object:
        data = await merged.get(stored[name])
        assert data is not None
        return codec.decode(codec.unpack(data, keys[name]))

    return get


def _alone(name: str) -> str:
    return f"alone/{name}"


async def _clients(
    stack: contextlib.AsyncExitStack, server: RedisServer, below: Path, some: Sequence[str]
) -> tuple[MemoryClient, MemoryClient]:
    """One whose hot tier stands above an authority, one whose hot tier is the authority, both holding ``some``."""
    above = await stack.enter_async_context(
        MemoryClient(hot=HotMemory(server.url, max_connections=CONNECTIONS), warm=SqliteMemory(below), budget=patient())
    )
    alone = await stack.enter_async_context(
        MemoryClient(hot=HotMemory(server.url, max_connections=CONNECTIONS), budget=patient())
    )
    values = {name: turn(at) for at, name in enumerate(some)}
    for client, batch in ((above, values), (alone, {_alone(name): value for name, value in values.items()})):
        done = await client.set_many(batch)
        assert not done.errors, next(iter(done.errors.values()))
    return above, alone


def _arm(name: str, get: Get, draw: Callable[[], str], at_once: int) -> Arm:
    return Arm(name, lambda: get(draw()), at_once)


def _sets(raw: "redis.Redis", shared: Shared, alone: MemoryClient, some: Sequence[str], scale: Scale) -> Group:
    """The raw arm is handed bytes and knows no version; the client serialises, and asks Redis to compare versions."""
    data, value, codec = packed(0), turn(0), Codec()
    keys = [Key.of(_alone(name)) for name in some]
    drawn, floor, sealed = in_turn(keys), in_turn([f"raw/{name}".encode() for name in some]), in_turn(keys)

    def raw_arm(name: str) -> Arm:
        draw = in_turn(some)
        return Arm(name, lambda: raw.set(f"raw/{draw()}", data), 32)

    def envelope() -> Awaitable[None]:
        key = sealed()
        made = codec.encode(key, value, now_ms=1).stamped(version=1, authority=Authority.HOT)
        return shared.set(b"floor/" + redis_key(key), codec.pack(made))

    arms = [
        raw_arm(RAW_SET),
        raw_arm(f"{RAW_SET}, again (control)"),
        Arm("bare streams, one connection (floor)", lambda: shared.set(floor(), data), 32),
        Arm("bare streams, and encoding (floor)", envelope, 32),
        Arm(SET, lambda: alone.set(drawn(), value), 32),
    ]
    return Group("hot set, 32 callers", arms, scale.operations(1280, 32), scale.rounds)
