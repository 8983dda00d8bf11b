"""Process memory, full: a newcomer takes a place only if it was read more often lately than the value that would go."""

import itertools
import random
from bisect import bisect

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Leased, Look, Settle
from thermocline.tiers.local.process import ProcessMemory

NEVER = Deadline.never()
CODEC = Codec()
SIZE = 4_000
HELD = 100  # values that it holds


def envelope(key: Key) -> Envelope:
    sealed = CODEC.seal(key, CODEC.prepare(bytes(random.Random(key.name).randbytes(SIZE))), now_ms=1_800_000_000_000)
    return sealed.stamped(version=1, authority=Authority.WARM)


def key_of(number: int) -> Key:
    return Key("tenant", "scope", f"name/{number}")


def counts(memory: ProcessMemory) -> bool:
    return memory._frequency is not None


async def full(more: int = 0) -> ProcessMemory:
    memory = ProcessMemory(HELD * (SIZE + 1000) + more)
    await memory.connect()
    return memory


async def read(memory: ProcessMemory, number: int) -> bool:
    """As a client reads: whether hot answered; else it is filled."""
    key = key_of(number)
    if await memory.peek(key, deadline=NEVER) is not None:
        return True
    found = await memory.operate(Look(key, "reader", 10_000), deadline=NEVER)
    assert isinstance(found, Leased)
    await memory.operate(Settle(key, "reader", 1, envelope(key)), deadline=NEVER)
    return False


@pytest.mark.parametrize("more", range(0, SIZE + 1000, 800))
async def test_a_scan_does_not_push_out_what_is_in_use(more: int) -> None:
    """However much is left beside the values that fit: it may be too little for a newcomer's lease."""
    memory = await full(more)
    for _ in range(4):
        for number in range(80):
            await read(memory, number)
    for number in range(1000, 1400):  # each once
        await read(memory, number)
    hits = sum([await memory.peek(key_of(number), deadline=NEVER) is not None for number in range(80)])
    assert hits >= 70  # LRU: none. The sketch is one of chance: names may share their counters
    assert memory.held_bytes <= HELD * (SIZE + 1000) + more
    await memory.close()


async def test_what_becomes_popular_gets_in() -> None:
    memory = await full()
    for number in range(300):
        await read(memory, number)
    for _ in range(5):
        await read(memory, 9_999)
    assert await memory.peek(key_of(9_999), deadline=NEVER) is not None
    await memory.close()


async def test_more_hits_than_lru_where_few_keys_are_popular() -> None:
    heights = list(itertools.accumulate((rank + 1) ** -0.9 for rank in range(2_000)))
    rng = random.Random(7)
    trace = [bisect(heights, rng.random() * heights[-1]) for _ in range(12_000)]
    memory = await full()
    hits = sum([await read(memory, number) for number in trace])
    held: dict[int, None] = {}
    lru = 0
    most = len(memory._values)
    for number in trace:
        if number in held:
            lru += 1
            del held[number]
        elif len(held) >= most:
            del held[next(iter(held))]
        held[number] = None
    assert hits > lru * 1.05
    await memory.close()


async def test_nothing_is_counted_before_it_is_half_full() -> None:
    memory = await full()
    for number in range(HELD // 3):
        await read(memory, number)
    assert not counts(memory)
    for number in range(HELD):
        await read(memory, number)
    assert counts(memory)
    await memory.close()
