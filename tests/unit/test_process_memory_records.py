"""Process memory alone: the authority over its own records, bounded."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, TierFull, TooLarge
from thermocline.model import Authority, Envelope, Flags, Header, Key
from thermocline.protocols import Effect, Look, Verb, Versions, Write, Written
from thermocline.testing import ManualClock
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.process_records import GRACE_MS, RING

NEVER = Deadline.never()
KEY = Key("tenant", "scope", "name")


def put(id_: str, payload: bytes = b"value", *, key: Key = KEY, expires_ms: int = 0, known: int | None = None) -> Write:
    return Write(Verb.PUT, id_, Envelope(key, Header(expires_ms=expires_ms), payload, raw=b"raw"), known)


def delete(id_: str, now_ms: int, *, key: Key = KEY) -> Write:
    return Write(Verb.DELETE, id_, Envelope(key, Header(flags=Flags.TOMBSTONE, modified_ms=now_ms)))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def memory(clock: ManualClock) -> AsyncIterator[ProcessMemory]:
    tier = ProcessMemory(400_000, clock=clock)
    await tier.connect()
    yield tier
    await tier.close()


def test_it_is_an_authority() -> None:
    assert isinstance(ProcessMemory(), Versions)


async def test_versions_grow_by_the_clock_and_never_go_back(memory: ProcessMemory, clock: ManualClock) -> None:
    first = await memory.write(put("a"), deadline=NEVER)
    assert first.version == clock.wall_ms() * 1000
    clock.set_wall(clock.wall_ms() - 5_000)
    second = await memory.write(put("b"), deadline=NEVER)
    assert second.version == first.version + 1
    third = await memory.write(put("c", known=second.version + 10), deadline=NEVER)
    assert third.version == second.version + 11


async def test_the_answer_is_the_record_as_it_is_stored(memory: ProcessMemory) -> None:
    written = await memory.write(put("a"), deadline=NEVER)
    assert written.envelope == await memory.read(KEY, deadline=NEVER)
    assert written.envelope is not None
    assert written.envelope.header.authority is Authority.HOT
    assert written.envelope.raw is None


@pytest.mark.parametrize("others", [0, RING - 1])
async def test_a_write_takes_effect_once(memory: ProcessMemory, others: int) -> None:
    first = await memory.write(put("a"), deadline=NEVER)
    for i in range(others):
        await memory.write(put(f"other-{i}"), deadline=NEVER)
    again = await memory.write(put("a"), deadline=NEVER)
    assert (again.effect, again.version) == (Effect.TOOK, first.version)
    assert again.envelope is not None
    assert again.envelope.version == first.version


async def test_a_tombstone_and_an_expired_record_stay_for_the_grace(memory: ProcessMemory, clock: ManualClock) -> None:
    other = Key("tenant", "scope", "other")
    await memory.write(put("a"), deadline=NEVER)
    await memory.write(delete("b", clock.wall_ms()), deadline=NEVER)
    await memory.write(put("c", key=other, expires_ms=clock.wall_ms()), deadline=NEVER)
    clock.advance((GRACE_MS - 1) / 1000)
    deleted, expired = await memory.read_many([KEY, other], deadline=NEVER)
    assert isinstance(deleted, Envelope)
    assert deleted.tombstone
    assert isinstance(expired, Envelope)
    clock.advance(0.001)
    assert await memory.read_many([KEY, other], deadline=NEVER) == [None, None]
    assert memory.held_bytes == 0


async def test_what_is_created_anew_after_its_grace_goes_on_from_its_version(
    memory: ProcessMemory, clock: ManualClock
) -> None:
    last = await memory.write(put("a", expires_ms=clock.wall_ms(), known=2**52), deadline=NEVER)
    clock.advance(GRACE_MS / 1000)
    assert await memory.read(KEY, deadline=NEVER) is None
    anew = await memory.write(put("b"), deadline=NEVER)
    assert anew.version == last.version + 1


async def test_records_keep_to_the_bound_and_the_oldest_go(memory: ProcessMemory) -> None:
    keys = [Key("tenant", "scope", f"name-{i:04}") for i in range(2_000)]
    for key in keys:
        await memory.write(put(key.name, bytes(100), key=key), deadline=NEVER)
        await memory.read(keys[0], deadline=NEVER)
        assert memory.held_bytes <= 400_000
    held = [found is not None for found in await memory.read_many(keys, deadline=NEVER)]
    assert held[0]
    assert not held[1]
    assert held[-1]
    page = await memory.scan("tenant", "scope", "", limit=2_000, cursor=None, deadline=NEVER)
    assert [item.key for item in page.items] == [key for key, there in zip(keys, held, strict=True) if there]


async def test_a_record_over_a_quarter_of_the_bound_is_too_large(memory: ProcessMemory) -> None:
    written = await memory.write_many([put("a", bytes(200_000)), put("b")], deadline=NEVER)
    assert isinstance(written[0], TooLarge)
    assert isinstance(written[1], Written)


async def test_a_page_has_room_and_a_cursor_is_of_its_own_listing(memory: ProcessMemory) -> None:
    for i in range(3):
        await memory.write(put(f"id-{i}", key=Key("tenant", "scope", f"name-{i}")), deadline=NEVER)
    page = await memory.scan("tenant", "scope", "name", limit=2, cursor=None, deadline=NEVER)
    assert [item.key.name for item in page.items] == ["name-0", "name-1"]
    rest = await memory.scan("tenant", "scope", "name", limit=2, cursor=page.cursor, deadline=NEVER)
    assert [item.key.name for item in rest.items] == ["name-2"]
    assert rest.cursor is None
    for tenant, prefix, cursor in (
        ("other", "name", page.cursor),
        ("tenant", "n", page.cursor),
        ("tenant", "name", "x"),
    ):
        with pytest.raises(InvalidArgument, match="cursor"):
            await memory.scan(tenant, "scope", prefix, limit=2, cursor=cursor, deadline=NEVER)
    with pytest.raises(InvalidArgument, match="page"):
        await memory.scan("tenant", "scope", "name", limit=0, cursor=None, deadline=NEVER)


async def test_notes_have_a_bound_of_their_own_and_make_room(clock: ManualClock) -> None:
    tier = ProcessMemory(200_000, clock=clock)
    await tier.connect()
    for number in range(40):
        await tier.write(put(f"w{number}", b"x" * 5_000, key=Key("t", "s", f"n{number}")), deadline=NEVER)
    assert await tier.write_note("kept", b"x" * 30_000, deadline=NEVER) is not None
    assert tier.held_bytes <= 200_000

    with pytest.raises(TierFull, match="max_bytes"):
        await tier.write_note("more", b"x" * 30_000, deadline=NEVER)
    assert await tier.write_note("kept", b"y" * 30_000, deadline=NEVER) is not None
    await tier.write_note("short", b"x", lasting=timedelta(seconds=1), deadline=NEVER)
    clock.advance(2)
    await tier.write_note("other", b"", deadline=NEVER)

    assert await tier.list_notes("", limit=9, cursor=None, deadline=NEVER) == (["kept", "other"], None)
    assert await tier.delete_note("kept", deadline=NEVER)
    held = tier.held_bytes
    assert await tier.delete_note("other", deadline=NEVER)
    assert tier.held_bytes < held
    await tier.close()


async def test_notes_of_nothing_but_notes_do_not_hang(clock: ManualClock) -> None:
    tier = ProcessMemory(4_000, clock=clock)
    await tier.connect()
    assert await tier.write_note("n", b"x", deadline=NEVER) is not None
    await tier.operate(Look(Key("t", "s", "n"), "r", 1_000), deadline=NEVER)

    assert await tier.read_note("n", deadline=NEVER) is not None
    await tier.close()


async def test_census_is_of_records_that_are_held(clock: ManualClock) -> None:
    """A scope whose last record is forgotten is no longer looked at."""
    tier = ProcessMemory(clock=clock)
    await tier.connect()
    keys = [Key("t", scope, name) for scope in ("a", "b", "a/b") for name in ("x", "y")]
    for key in keys:
        await tier.write(put(f"w{key}", key=key, expires_ms=clock.wall_ms() + 1), deadline=NEVER)
    clock.advance(2 * 86_400)
    for key in keys[:2]:
        assert await tier.read(key, deadline=NEVER) is None  # its grace is over, and it is dropped

    found = await tier.census(limit=10, cursor=None, deadline=NEVER)

    assert [stored.key for stored in found.items] == sorted(keys[2:])
    await tier.close()
