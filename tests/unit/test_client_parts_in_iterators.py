"""What a client is given may be gone through once only: looking whether it fits must not use it up."""

from pathlib import Path

from thermocline import Hit, MemoryClient, MemoryRules, MemoryTier, Route
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory


class Part:
    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_what_is_to_be_closed_is_closed_and_routes_count_though_they_come_from_iterators(
    tmp_path: Path,
) -> None:
    part = Part()
    routes = iter([Route("slow/", rules=MemoryRules(), hot=False)])
    memory = MemoryClient(
        hot=ProcessMemory(),
        warm=SqliteMemory(tmp_path / "warm.db"),
        routes=routes,  # type: ignore[arg-type]
        closes=iter([part]),  # type: ignore[arg-type]
    )
    async with memory:
        await memory.set("slow/key", 1)
        await memory.set("key", 1)
        found = [await memory.lookup("slow/key"), await memory.lookup("key")]
        assert [one.tier for one in found if isinstance(one, Hit)] == [MemoryTier.WARM, MemoryTier.HOT]
    assert part.closed
