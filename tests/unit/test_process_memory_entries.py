"""Process memory as the hot tier: its entries are those of `thermocline.coherence`, bounded, and void when the fence moves."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline import coherence
from thermocline.clock import Deadline
from thermocline.coherence import Offer
from thermocline.errors import ClientClosed, InvalidArgument, TierTimeout
from thermocline.model import Authority, Envelope, Flags, Header, Key
from thermocline.protocols import (
    Announce,
    Busy,
    Entries,
    EntryOperation,
    Leased,
    Look,
    Publish,
    Renew,
    Settle,
    Withdraw,
)
from thermocline.testing import ManualClock
from thermocline.tiers.local.process import ProcessMemory

NEVER = Deadline.never()
KEY = Key("tenant", "scope", "name")


def envelope(version: int, payload: bytes = b"value", *, key: Key = KEY, expires_ms: int = 0) -> Envelope:
    return Envelope(key, Header(authority=Authority.WARM, version=version, expires_ms=expires_ms), payload)


async def fill(memory: ProcessMemory, held: Envelope) -> None:
    """Put a value the way a reader does."""
    assert isinstance(await memory.operate(Look(held.key, "filler", 1000), deadline=NEVER), Leased)
    await memory.operate(Settle(held.key, "filler", held.version, held), deadline=NEVER)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def memory(clock: ManualClock) -> AsyncIterator[ProcessMemory]:
    tier = ProcessMemory(clock=clock)
    await tier.connect()
    yield tier
    await tier.close()


def test_it_is_a_tier_with_entries() -> None:
    assert isinstance(ProcessMemory(), Entries)


async def test_a_reader_takes_the_lease_and_fills(memory: ProcessMemory) -> None:
    assert await memory.peek(KEY, deadline=NEVER) is None
    assert await memory.operate(Look(KEY, "r", 1000), deadline=NEVER) == Leased(0)
    assert await memory.operate(Look(KEY, "s", 1000), deadline=NEVER) == Busy(0, None, True, "r")
    assert await memory.operate(Settle(KEY, "r", 5, envelope(5)), deadline=NEVER) is None
    assert await memory.peek(KEY, deadline=NEVER) == envelope(5)
    assert await memory.operate(Look(KEY, "s", 1000), deadline=NEVER) == envelope(5)


async def test_a_writer_announces_and_publishes(memory: ProcessMemory) -> None:
    await fill(memory, envelope(5))
    assert await memory.operate(Announce(KEY, "w", 1000), deadline=NEVER) == Busy(5)
    assert await memory.peek(KEY, deadline=NEVER) is None
    assert await memory.operate(Look(KEY, "r", 1000), deadline=NEVER) == Busy(5, envelope(5))
    await memory.operate(Publish(KEY, "w", 6, envelope(6)), deadline=NEVER)
    assert await memory.peek(KEY, deadline=NEVER) == envelope(6)


async def test_a_refused_writer_withdraws_and_the_floor_rests(memory: ProcessMemory, clock: ManualClock) -> None:
    await fill(memory, envelope(5))
    await memory.operate(Announce(KEY, "w", 1000), deadline=NEVER)
    await memory.operate(Withdraw(KEY, "w"), deadline=NEVER)
    assert await memory.peek(KEY, deadline=NEVER) is None
    assert await memory.operate(Look(KEY, "r", 1000), deadline=NEVER) == Leased(5)
    clock.advance(1 + coherence.REST_MS / 1000)
    assert await memory.operate(Look(KEY, "s", 1000), deadline=NEVER) == Leased(0)


async def test_a_value_ends_at_the_ceiling(memory: ProcessMemory, clock: ManualClock) -> None:
    await fill(memory, envelope(5))
    clock.advance(coherence.CEILING_MS / 1000 - 0.001)
    assert await memory.peek(KEY, deadline=NEVER) == envelope(5)
    clock.advance(0.001)
    assert await memory.peek(KEY, deadline=NEVER) is None
    assert len(memory) == 0


async def test_a_tombstone_is_a_value(memory: ProcessMemory) -> None:
    tombstone = Envelope(KEY, Header(flags=Flags.TOMBSTONE, version=5))
    await fill(memory, tombstone)
    assert await memory.peek(KEY, deadline=NEVER) == tombstone


async def test_what_is_dropped_is_absent(memory: ProcessMemory) -> None:
    other = Key("tenant", "scope", "other")
    await fill(memory, envelope(5))
    await memory.operate(Announce(other, "w", 1000), deadline=NEVER)
    await memory.drop([KEY, other, Key("tenant", "scope", "third")], deadline=NEVER)
    assert await memory.peek(KEY, deadline=NEVER) is None
    assert await memory.operate(Look(other, "r", 1000), deadline=NEVER) == Leased(0)
    assert memory.held_bytes > 0
    await memory.drop([other], deadline=NEVER)
    assert memory.held_bytes == 0


async def test_many_answer_in_their_order(memory: ProcessMemory) -> None:
    keys = [Key("tenant", "scope", f"name-{i}") for i in range(3)]
    found = await memory.operate_many([Look(key, "r", 1000) for key in keys], deadline=NEVER)
    assert found == [Leased(0)] * 3
    await memory.operate(Settle(keys[1], "r", 2, envelope(2, key=keys[1])), deadline=NEVER)
    assert await memory.peek_many(keys, deadline=NEVER) == [None, envelope(2, key=keys[1]), None]


async def test_the_writers_own_copies_are_not_kept(memory: ProcessMemory) -> None:
    kept = Envelope(KEY, Header(version=5), b"packed", raw=b"serialised", etag="mark")
    await fill(memory, kept)
    found = await memory.peek(KEY, deadline=NEVER)
    assert found is not None
    assert (found.payload, found.raw, found.etag) == (b"packed", None, None)


# --- the same as the functions ---------------------------------------------------------------------------------------

owners = st.sampled_from(["a", "b", "c"])
versions = st.integers(0, 4)
lasting = st.integers(1, 8)
START = 1_800_000_000_000
envelopes = st.none() | st.builds(
    lambda v, e: envelope(v, expires_ms=e), st.integers(1, 4), st.sampled_from([0, START + 15, START + 40])
)


def settled(reader: str | None, version: int, given: Envelope | None) -> Settle:
    return Settle(KEY, reader, version if given is None else given.version, given)


def published(writer: str, version: int, given: Envelope | None) -> Publish:
    return Publish(KEY, writer, version if given is None else given.version, given)


operations: st.SearchStrategy[EntryOperation] = st.one_of(
    st.builds(Look, st.just(KEY), owners, lasting),
    st.builds(Announce, st.just(KEY), owners, lasting),
    st.builds(published, owners, versions, envelopes),
    st.builds(Withdraw, st.just(KEY), owners),
    st.builds(Renew, st.just(KEY), owners, lasting),
    st.builds(settled, st.none() | owners, versions, envelopes),
)
steps = st.lists(st.tuples(operations, st.integers(0, 12)), max_size=25)


def purely(entry: coherence.Entry[Envelope], operation: EntryOperation, now: int) -> coherence.Entry[Envelope]:
    match operation:
        case Look():
            return coherence.look(entry, operation.reader, operation.lasting_ms, now).entry
        case Renew():
            return coherence.renew(entry, operation.reader, operation.lasting_ms, now).entry
        case Announce():
            return coherence.announce(entry, operation.writer, operation.lasting_ms, now)
        case Withdraw():
            return coherence.withdraw(entry, operation.writer, now)
        case Publish() | Settle():
            given = operation.envelope
            offer = None if given is None else Offer(given, given.header.expires_ms)
            if isinstance(operation, Publish):
                return coherence.publish(entry, operation.writer, operation.version, offer, now)
            return coherence.settle(entry, operation.reader, operation.version, offer, now)


@given(steps)
async def test_any_sequence_leaves_what_the_functions_say(sequence: list[tuple[EntryOperation, int]]) -> None:
    clock = ManualClock(wall_ms=START)
    memory = ProcessMemory(clock=clock)
    await memory.connect()
    entry: coherence.Entry[Envelope] = None
    for operation, pause in sequence:
        entry = purely(entry, operation, clock.wall_ms())
        await memory.operate(operation, deadline=NEVER)
        clock.advance(pause / 1000)
        shown = coherence.current(entry, clock.wall_ms())
        expected = shown.envelope if isinstance(shown, coherence.Value) else None
        assert await memory.peek(KEY, deadline=NEVER) == expected
        assert memory._entry(KEY, clock.wall_ms()) in (entry, shown)


# --- the bound -------------------------------------------------------------------------------------------------------


async def test_the_value_that_was_not_used_for_longest_goes_first() -> None:
    memory = ProcessMemory(40_000)
    await memory.connect()
    keys = [Key("tenant", "scope", f"name-{i}") for i in range(5)]
    for key in keys[:4]:
        await fill(memory, envelope(1, bytes(8_000), key=key))
    assert await memory.peek(keys[0], deadline=NEVER) is not None
    await fill(memory, envelope(1, bytes(8_000), key=keys[4]))
    held = [found is not None for found in await memory.peek_many(keys, deadline=NEVER)]
    assert held == [True, False, True, True, True]
    assert memory.held_bytes <= 40_000


async def test_markers_stay_while_there_are_values_to_go() -> None:
    memory = ProcessMemory(40_000)
    await memory.connect()
    await memory.operate(Announce(KEY, "w", 60_000), deadline=NEVER)
    for i in range(100):
        await fill(memory, envelope(1, bytes(4_000), key=Key("tenant", "scope", f"name-{i}")))
        assert memory.held_bytes <= 40_000
    assert await memory.operate(Look(KEY, "r", 1000), deadline=NEVER) == Busy(0)


async def test_markers_alone_keep_to_the_bound_too() -> None:
    memory = ProcessMemory(40_000)
    await memory.connect()
    for i in range(1000):
        await memory.operate(Announce(Key("tenant", "scope", f"name-{i}"), "w", 60_000), deadline=NEVER)
        assert memory.held_bytes <= 40_000
    newest = Key("tenant", "scope", "name-999")
    assert await memory.operate(Look(newest, "r", 1000), deadline=NEVER) == Busy(0)


async def test_markers_that_are_over_are_swept(memory: ProcessMemory, clock: ManualClock) -> None:
    for i in range(100):
        await memory.operate(Look(Key("tenant", "scope", f"name-{i}"), "r", 1000), deadline=NEVER)
    clock.advance(60)
    for _ in range(100):
        await memory.operate(Withdraw(KEY, "w"), deadline=NEVER)
    assert len(memory) == 0
    assert memory.held_bytes == 0


async def test_a_value_over_a_quarter_of_the_bound_is_acted_on_without_it() -> None:
    memory = ProcessMemory(40_000)
    await memory.connect()
    await fill(memory, envelope(5, bytes(10_000)))
    assert await memory.peek(KEY, deadline=NEVER) is None
    assert await memory.operate(Look(KEY, "r", 1000), deadline=NEVER) == Leased(5)


def test_a_bound_below_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="max_bytes"):
        ProcessMemory(-1)


# --- the fence -------------------------------------------------------------------------------------------------------


class Fence:
    """An authority's `data_version`: moves when somebody else wrote."""

    def __init__(self) -> None:
        self.version = 1
        self.asked = 0

    def __call__(self) -> object:
        self.asked += 1
        return self.version


@pytest.fixture
def fence() -> Fence:
    return Fence()


@pytest.fixture
async def fenced(fence: Fence) -> ProcessMemory:
    memory = ProcessMemory(data_version=fence)
    await memory.connect()
    return memory


async def test_while_the_fence_stands_values_are_given(fenced: ProcessMemory, fence: Fence) -> None:
    await fill(fenced, envelope(5))
    asked = fence.asked
    assert await fenced.peek(KEY, deadline=NEVER) == envelope(5)
    assert fence.asked == asked + 1


async def test_when_the_fence_moves_all_values_are_void(fenced: ProcessMemory, fence: Fence) -> None:
    other = Key("tenant", "scope", "other")
    await fill(fenced, envelope(5))
    await fill(fenced, envelope(6, key=other))
    fence.version += 1
    assert await fenced.peek(KEY, deadline=NEVER) is None
    assert isinstance(await fenced.operate(Look(other, "r", 1000), deadline=NEVER), Leased)


async def test_a_reader_that_read_before_the_fence_moved_fills_nothing_that_is_given(
    fenced: ProcessMemory, fence: Fence
) -> None:
    await fenced.operate(Look(KEY, "r", 1000), deadline=NEVER)
    fence.version += 1
    await fenced.operate(Settle(KEY, "r", 5, envelope(5)), deadline=NEVER)
    assert await fenced.peek(KEY, deadline=NEVER) is None


async def test_a_lease_is_revoked_although_the_fence_was_seen_to_move_by_another_key(
    fenced: ProcessMemory, fence: Fence
) -> None:
    other = Key("tenant", "scope", "other")
    await fill(fenced, envelope(6, key=other))
    await fenced.operate(Look(KEY, "r", 1000), deadline=NEVER)
    fence.version += 1
    assert await fenced.peek(other, deadline=NEVER) is None
    await fenced.operate(Settle(KEY, "r", 5, envelope(5)), deadline=NEVER)
    assert await fenced.peek(KEY, deadline=NEVER) is None
    assert await fenced.operate(Look(KEY, "s", 1000), deadline=NEVER) == Leased(5)


async def test_what_is_announced_keeps_its_floor_and_becomes_no_value(fenced: ProcessMemory, fence: Fence) -> None:
    await fill(fenced, envelope(5))
    await fenced.operate(Announce(KEY, "w", 1000), deadline=NEVER)
    fence.version += 1
    assert await fenced.operate(Announce(KEY, "x", 1000), deadline=NEVER) == Busy(5)
    await fenced.operate(Publish(KEY, "w", 6, envelope(6)), deadline=NEVER)
    await fenced.operate(Publish(KEY, "x", 7, envelope(7)), deadline=NEVER)
    assert await fenced.peek(KEY, deadline=NEVER) is None
    assert await fenced.operate(Look(KEY, "r", 1000), deadline=NEVER) == Leased(7)


# --- the door --------------------------------------------------------------------------------------------------------


async def test_it_is_used_only_while_connected() -> None:
    memory = ProcessMemory()
    with pytest.raises(ClientClosed, match="connect"):
        await memory.peek(KEY, deadline=NEVER)
    await memory.connect()
    await memory.connect()
    await memory.ping(deadline=NEVER)
    await memory.close()
    with pytest.raises(ClientClosed):
        await memory.operate(Look(KEY, "r", 1000), deadline=NEVER)


async def test_it_belongs_to_one_loop() -> None:
    memory = ProcessMemory()
    await memory.connect()

    def elsewhere() -> None:
        with pytest.raises(ClientClosed):
            asyncio.run(memory.connect())
        with pytest.raises(ClientClosed):
            asyncio.run(memory.ping(deadline=NEVER))

    await asyncio.to_thread(elsewhere)
    await memory.ping(deadline=NEVER)


async def test_a_deadline_that_has_passed_is_a_timeout(memory: ProcessMemory, clock: ManualClock) -> None:
    with pytest.raises(TierTimeout) as caught:
        await memory.peek(KEY, deadline=Deadline.after(-1, clock))
    assert not caught.value.sent
