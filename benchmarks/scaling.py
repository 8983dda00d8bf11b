"""How cost grows: with 1 to 256 callers, with a thousand to a million keys in Redis, with values of 100 bytes to 10 MB."""

import contextlib
import random
import tempfile
from pathlib import Path
from typing import Any

from azure.storage.blob.aio import ContainerClient

from benchmarks.drawing import IN_USE, at_random
from benchmarks.hot import RAW, RAW_SET, names, plain_redis
from benchmarks.measuring import say
from benchmarks.payload import packed, patient, turn
from benchmarks.report import ABOVE, ALONE, SET
from benchmarks.results import Grid, Result, Series, rounded
from benchmarks.rounds import Arm, Group
from benchmarks.scale import Scale
from benchmarks.seeding import raw_name, seed, small_key
from benchmarks.services import DOWNLOAD
from benchmarks.streams import Shared
from thermocline.client import MemoryClient
from thermocline.model import Key
from thermocline.policy import MemoryRules
from thermocline.testing.rig import Azurite, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.hot import HotMemory
from thermocline.tiers.local.sqlite import SqliteMemory

CALLERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
KEYS = (1_000, 10_000, 100_000, 1_000_000)
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_FLOOR = "bare streams, one connection (floor)"
_LARGE = MemoryRules(hot_max_bytes=100_000_000, cold_threshold_bytes=100_000_000)


class Growing:
    """Series that grow by one point with each group that is measured; their last table."""

    def __init__(self, chart: str, head: str) -> None:
        self._chart = chart
        self._points: dict[str, list[tuple[float, float]]] = {}
        self._head = head
        self._rows: dict[float, list[str | int | float]] = {}

    async def add(self, at: float, group: Group, *, cpu: bool = False, unit: float = 1.0) -> None:
        """Measure it; ``cpu``: of the CPU's time and not the wall's; in microseconds over ``unit``."""
        say(group.title)
        await group.measure()
        row: list[str | int | float] = [f"{at:,.0f}"]
        for number, arm in enumerate(group.arms):
            ratios = group.ratios(number)
            value = rounded((ratios.cpu_us if cpu else ratios.wall_us) / unit)
            self._points.setdefault(arm.name, []).append((at, value))
            row.append(value)
        self._rows[at] = row

    def put(self, into: Result, title: str) -> None:
        into.series += [Series(self._chart, name, points) for name, points in self._points.items()]
        into.grids.append(Grid(title, [self._head, *self._points], list(self._rows.values())))


async def scaling(scale: Scale) -> Result:
    result = Result("scaling")
    rounds = min(scale.rounds, 7)
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        raw = await stack.enter_async_context(plain_redis(server.url))
        above = await stack.enter_async_context(
            MemoryClient(hot=HotMemory(server.url), warm=SqliteMemory(folder / "warm.sqlite3"), budget=patient())
        )
        alone = await stack.enter_async_context(
            MemoryClient(
                hot=HotMemory(server.url, max_value_bytes=_LARGE.hot_max_bytes), budget=patient(), rules=_LARGE
            )
        )
        shared = await Shared.open(server.port)
        stack.push_async_callback(shared.close)
        await _callers(raw, above, shared, result, scale, rounds)
        await _values(raw, alone, result, scale, rounds)
        await raw.flushall()
        await _keys(server.port, raw, above, result, scale, rounds)
    await _cold(result, scale, rounds)
    return result


async def _callers(raw: Any, above: MemoryClient, shared: Shared, result: Result, scale: Scale, rounds: int) -> None:
    used = names(IN_USE)
    for at, name in enumerate(used):
        await raw.set(f"raw/{name}", packed(at))
        await above.set(name, turn(at))
    growing = Growing("callers", "callers")
    for at_once in scale.of(CALLERS, (1, 8)):
        first, second, third = at_random(used), at_random(used), at_random(used)
        arms = [
            Arm(RAW, lambda draw=first: raw.get(f"raw/{draw()}"), at_once),  # type: ignore[misc]
            Arm(_FLOOR, lambda draw=second: shared.get(f"raw/{draw()}".encode()), at_once),  # type: ignore[misc]
            Arm(ABOVE, lambda draw=third: above.get(draw()), at_once),  # type: ignore[misc]
        ]
        operations = scale.operations(max(400, min(2560, 40 * at_once)), at_once)
        await growing.add(at_once, Group(f"GET by {at_once} callers", arms, operations, rounds))
    growing.put(result, "µs for a GET (wall), by callers at once")


async def _keys(port: int, raw: Any, above: MemoryClient, result: Result, scale: Scale, rounds: int) -> None:
    """Redis holds them twice: bare and as records. Reads are drawn from all of them."""
    held = 0
    growing = Growing("keys", "keys")
    for many in scale.of(KEYS, (100, 1_000)):
        await seed(port, [small_key(number) for number in range(held, many)], first=held, plain=True)
        held = many
        keys = [small_key(number) for number in random.Random(many).sample(range(many), min(many, 20_000))]
        bare, mine = at_random([raw_name(key) for key in keys]), at_random(keys)
        arms = [
            Arm(RAW, lambda draw=bare: raw.get(draw()), 32),  # type: ignore[misc]
            Arm(ABOVE, lambda draw=mine: above.get(draw()), 32),  # type: ignore[misc]
        ]
        group = Group(f"GET of {many:,} keys", arms, scale.operations(1920, 32), rounds)
        await growing.add(many, group, cpu=True)
    growing.put(result, "µs for a GET (CPU), by keys in Redis")


async def _values(raw: Any, alone: MemoryClient, result: Result, scale: Scale, rounds: int) -> None:
    growing = Growing("values", "bytes")
    for size in scale.of(SIZES, SIZES[:2]):
        value, key, name = random.Random(size).randbytes(size), Key("bench", "sizes", f"of/{size}"), f"raw/of/{size}"
        await raw.set(name, value)
        await alone.set(key, value)
        arms = [
            Arm(RAW, lambda name=name: raw.get(name)),  # type: ignore[misc]
            Arm(ALONE, lambda key=key: alone.get(key)),  # type: ignore[misc]
            Arm(RAW_SET, lambda name=name, value=value: raw.set(name, value)),  # type: ignore[misc]
            Arm(SET, lambda key=key, value=value: alone.set(key, value)),  # type: ignore[misc]
        ]
        operations = scale.operations(max(2, min(300, 3_000_000 // size)))
        await growing.add(size, Group(f"values of {size:,} bytes", arms, operations, rounds))
    growing.put(result, "µs for a GET and a SET (wall), by bytes of the value")


async def _cold(result: Result, scale: Scale, rounds: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(Azurite())
        tier = ColdMemory.from_connection_string(server.connection_string, "bench", create=True)
        client = await stack.enter_async_context(MemoryClient(cold=tier, budget=patient()))
        await client.set("first", 1)
        container = await stack.enter_async_context(
            ContainerClient.from_connection_string(server.connection_string, "bench")
        )
        growing = Growing("cold-values", "bytes")
        for size in scale.of(SIZES[1:], SIZES[1:2]):
            value, key = random.Random(size).randbytes(size), Key("bench", "sizes", f"of/{size}")
            await client.set(key, value)
            blob = await container.upload_blob(f"of-{size}", value)

            async def download(blob: Any = blob) -> bytes:
                data: bytes = await (await blob.download_blob()).readall()
                return data

            arms = [
                Arm(DOWNLOAD, download),
                Arm("client.get, cold alone", lambda key=key: client.get(key)),  # type: ignore[misc]
            ]
            operations = scale.operations(max(2, min(25, 4_000_000 // size)))
            await growing.add(size, Group(f"cold, {size:,} bytes", arms, operations, rounds), cpu=True, unit=1000.0)
        growing.put(result, "ms for a cold read (CPU), by bytes of the value")
