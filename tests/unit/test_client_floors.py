"""The floors of a client end before its authority forgets what was deleted."""

from datetime import timedelta
from pathlib import Path

from thermocline import Key, MemoryClient
from thermocline.client.floors import Floors
from thermocline.testing import ManualClock
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory


async def test_key_whose_tombstone_is_gone_is_a_miss_and_no_outage(tmp_path: Path) -> None:
    """COHERENCE section 2: a 404 beats a floor that is older than T, however short T was chosen."""
    clock = ManualClock()
    warm = SqliteMemory(tmp_path / "memory.db", clock=clock, grace=timedelta(minutes=2))
    async with MemoryClient(hot=ProcessMemory(clock=clock), warm=warm, clock=clock) as client:
        await client.set("key", 1)
        await client.delete("key")
        clock.advance(3600)
        await client.set("other", 1)  # each write removes what is past its grace

        assert await client.get("key") is None
        assert not await client.exists("key")
        assert (await client.set("key", 2)).found


def test_pinned_floors_cost_nothing_to_pass_over() -> None:
    """Half of the floors pinned: a note looks at few of them, however many notes there are."""
    floors = Floors(ManualClock(), capacity=2000)
    keys = [Key("t", "s", str(n)) for n in range(1000)]
    for key in keys:
        floors.note(key, 1)
        floors.pin(key)
    for n in range(3000):
        floors.note(Key("t", "s", f"more{n}"), 2)

    assert len(floors) == 2000
    assert all(floors.get(key) == 1 for key in keys)


def test_seen_in_hot_is_served_from_the_floor_up_and_noted() -> None:
    floors = Floors(ManualClock())
    key = Key("t", "s", "n")
    assert floors.seen(key, 5)
    assert floors.get(key) == 5
    assert not floors.seen(key, 4)
    assert floors.seen(key, 5)
    assert floors.seen(key, 6)
    assert not floors.seen(key, 5)
