"""`sweep` over SQLite and a folder: orphans, dead records, temporary files, and tenants that it must not mix."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.integration.moving.home import DAY, SIZE, Home, noise

from thermocline.client.moving.sweep import Sweep
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import ThermoclineError, TierUnavailable
from thermocline.model import Envelope, Key
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.sqlite import SqliteMemory

HOUR = 3600


async def test_orphan_is_removed_after_the_grace_and_not_before(home: Home) -> None:
    memory = await home.open()
    kept, key = home.key("kept"), home.key()
    for name in (kept, key):
        await memory.set(name, noise(1))
    await memory.demote([kept, key])
    await memory.set(key, "newer")
    home.clock.advance(DAY - 1)
    early = await memory.sweep()
    assert (early.payloads, early.young, early.orphans) == (2, 2, 0)
    home.clock.advance(2)
    would = await memory.sweep(dry_run=True)
    assert (would.orphans, would.orphan_bytes) == (1, SIZE)
    assert len(home.payloads()) == 2
    report = await memory.sweep()
    assert (report.orphans, report.pointed, report.orphan_bytes) == (1, 1, SIZE)
    assert len(home.payloads()) == 1
    other = await home.open(hot=None)
    assert await other.get(kept) == noise(1)
    assert await other.get(key) == "newer"


async def test_payload_that_is_renewed_between_look_and_removal_stays(home: Home) -> None:
    memory = await home.open()
    key = home.key()
    await memory.set(key, noise(1))
    await memory.demote([key])
    await memory.promote([key])
    home.clock.advance(2 * DAY)

    class Racing(FolderMemory):
        async def sweep_payload(self, path: str, *, etag: str, unmodified_since_ms: int, deadline: Deadline) -> bool:
            assert (await memory.demote([key])).moved == 1
            return await super().sweep_payload(
                path, etag=etag, unmodified_since_ms=unmodified_since_ms, deadline=deadline
            )

    sweeper = await home.open(cold=Racing(home.folder / "cold", clock=home.clock, fsync=False))
    report = await sweeper.sweep()
    assert (report.orphans, report.young) == (0, 1)
    assert await (await home.open(hot=None)).get(key) == noise(1)


async def test_long_names_are_looked_for_in_their_scope(home: Home) -> None:
    memory = await home.open()
    used, unused = (home.key(letter * 2000) for letter in "ab")
    for key in (used, unused):
        await memory.set(key, noise(1))
    await memory.demote([used, unused])
    await memory.promote([unused])
    home.clock.advance(2 * DAY)
    report = await memory.sweep()
    assert (report.pointed, report.orphans, report.unresolved) == (1, 1, 0)
    assert await (await home.open(hot=None)).get(used) == noise(1)


async def test_scope_is_counted_anew_where_a_sweep_takes_long(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pointer that was set after the first count belongs to a payload that may be old enough when it is listed."""
    monkeypatch.setattr(Sweep, "page", 1)
    memory, cold, warm, codec = await home.open(), home.cold(), home.warm(), Codec()
    soon = Deadline.never()
    await cold.connect()
    await warm.connect()
    pointers = {}
    for key in (home.key("a" * 2000), home.key("b" * 2000)):
        await memory.set(key, noise(1))
        await memory.demote([key])
        found = await warm.read(key, deadline=soon)
        assert found is not None
        pointers[codec.pointer_of(found).path] = (key, codec.pointer_of(found))
    keys = [key for key, _ in pointers.values()]
    await memory.promote(keys)
    home.clock.advance(1.6 * DAY)
    late, pointer = pointers[max(pointers)]  # whose payload is on the second page
    renewed = await cold.renew_payload(late, pointer, deadline=soon)
    assert renewed is not None
    young = renewed
    home.clock.advance(0.4 * DAY)

    class Slow(FolderMemory):
        turns = 0

        async def list_payloads(self, *given: Any, **named: Any) -> Any:
            self.turns += 1
            if self.turns == 2:
                inline = await warm.read(late, deadline=soon)
                assert inline is not None
                assert await warm.relocate(inline, codec.point(inline, young), deadline=soon)
                home.clock.advance(0.7 * DAY)
            return await super().list_payloads(*given, **(named | {"deadline": soon}))

    sweeper = await home.open(cold=Slow(home.folder / "cold", clock=home.clock, fsync=False))
    report = await sweeper.sweep()
    assert (report.orphans, report.pointed) == (1, 1)
    assert [await (await home.open(hot=None)).get(key) for key in keys] == [noise(1)] * 2
    await cold.close()
    await warm.close()


async def test_payload_whose_scope_cannot_be_told_stays(home: Home) -> None:
    memory = await home.open()
    key = home.key(scope="s" * 900)
    await memory.set(key, noise(1))
    await memory.demote([key])
    await memory.promote([key])
    home.clock.advance(2 * DAY)
    report = await memory.sweep()
    assert (report.unresolved, report.orphans) == (1, 0)
    assert len(home.payloads()) == 1


async def test_authority_that_cannot_be_asked_costs_no_payload(home: Home) -> None:
    memory = await home.open()
    items = await home.fill(memory, 3)
    await memory.demote(items)
    home.clock.advance(2 * DAY)

    class Down(SqliteMemory):
        async def read_many(self, keys: Any, *, deadline: Deadline) -> Any:
            raise TierUnavailable("down", tier="warm")

    sweeper = await home.open(warm=Down(home.folder / "warm.sqlite3", clock=home.clock))
    report = await sweeper.sweep()
    assert (report.orphans, report.failures) == (0, 3)
    assert await (await home.open(hot=None)).get_many(items) == items


async def test_empty_authority_is_taken_for_the_wrong_one(home: Home) -> None:
    memory = await home.open()
    items = await home.fill(memory, 2)
    await memory.demote(items)
    home.clock.advance(2 * DAY)
    elsewhere = SqliteMemory(home.folder / "other.sqlite3", clock=home.clock)
    wrong = await home.open(warm=elsewhere)
    report = await wrong.sweep()
    assert (report.finished, report.orphans) == (True, 0)
    assert "right container" in report.errors[0]
    assert await (await home.open(hot=None)).get_many(items) == items
    still = await wrong.sweep(even_if_empty=True)
    assert still.orphans == 0
    owner = still.errors[0].partition("(warm ")[2].partition(")")[0]
    sure = await wrong.sweep(even_if_empty=True, disown=[owner])
    assert sure.orphans == 2


async def test_dead_records_are_purged_after_their_grace(home: Home) -> None:
    memory = await home.open()
    await memory.set(home.key("gone"), 1)
    await memory.set(home.key("ends"), 1, ttl=60)
    await memory.set(home.key("kept"), 1)
    await memory.delete(home.key("gone"))
    home.clock.advance(HOUR)
    early = await memory.sweep()
    assert (early.dead, early.purged) == (2, 0)
    home.clock.advance(2 * DAY)
    assert (await memory.sweep()).purged == 2
    assert await home.stored(home.key("gone")) is None
    assert await home.stored(home.key("ends")) is None
    assert await memory.get(home.key("kept")) == 1


async def test_temporary_files_of_dead_writers_go_and_those_of_living_ones_stay(home: Home) -> None:
    memory = await home.open()
    left = home.folder / "cold" / "new" / "left-behind"
    left.write_bytes(b"half a payload")
    cold: Any = memory._engine.cold
    with cold._files.temporary() as living:
        living.add(b"half a payload")
        report = await memory.sweep()
        assert report.temporary == 1
        assert not left.exists()
        assert len(list((home.folder / "cold" / "new").iterdir())) == 1


# --- P9: nobody's but the named tenant's ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", ["a", "a/b", "A", "a%", "~61", "a\x00"])
async def test_moves_of_one_tenant_touch_no_other(home: Home, tenant: str) -> None:
    tenants = ["a", "a/b", "A", "a%", "~61", "a\x00", "b", "ab"]
    memory = await home.open()
    keys = {name: home.key("name", "scope", name) for name in tenants}
    for name, key in keys.items():
        await memory.set(key, noise(len(name)))
    await memory.demote(tenant=tenant)
    down = [name for name, key in keys.items() if await home.pointer(key) is not None]
    assert down == [tenant]
    await memory.demote(list(keys.values()))
    await memory.promote(tenant=tenant, scope="scope")
    assert [name for name, key in keys.items() if await home.pointer(key) is None] == [tenant]
    home.clock.advance(2 * DAY)
    report = await memory.sweep()
    assert (report.orphans, report.pointed) == (1, 7)
    fresh = await home.open(hot=None)
    assert [await fresh.get(key) for key in keys.values()] == [noise(len(name)) for name in tenants]


async def test_records_are_read_a_hundred_at_a_time(home: Home) -> None:
    """In cold each may be a megabyte with its value: a page of 500 took half a gigabyte."""

    class Counting(SqliteMemory):
        most = 0

        async def read_many(
            self, keys: Sequence[Key], *, deadline: Deadline
        ) -> list[Envelope | ThermoclineError | None]:
            self.most = max(self.most, len(keys))
            return await super().read_many(keys, deadline=deadline)

    warm = Counting(home.folder / "warm.sqlite3", clock=home.clock)
    memory = await home.open(hot=None, warm=warm)
    items = await home.fill(memory, 210)
    assert (await memory.demote(items)).moved == 210
    assert 0 < warm.most <= 100
    assert (await memory.promote(items)).moved == 210
    home.clock.advance(2 * DAY)
    warm.most = 0
    report = await memory.sweep()
    assert (report.orphans, report.unresolved, report.failures) == (210, 0, 0)
    assert 0 < warm.most <= 100
    assert home.payloads() == []
