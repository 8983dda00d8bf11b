"""Writes that take effect as one, in Cosmos DB: once, whatever becomes of their requests and answers."""

import asyncio
import secrets
from collections import Counter
from dataclasses import replace

import pytest
from azure.cosmos.aio import ContainerProxy
from tests.integration.warm.items import OpenWarm, keys_of, until_hit

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import (
    AccessDenied,
    PointerTooOld,
    Throttled,
    TierTimeout,
    TooLarge,
    UnknownOutcome,
    UnreadableRecord,
)
from thermocline.keys import cosmos_id, cosmos_partition, payload_path
from thermocline.model import Key, Pointer
from thermocline.protocols import Effect, Write
from thermocline.resilience import RetryBudget
from thermocline.testing.conformance.samples import delete, put, soon, touch, value_of
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory
from thermocline.tiers.warm.change import LATE_MS


async def took(warm: WarmMemory, writes: list[Write], deadline: Deadline | None = None) -> list[int]:
    answers = await warm.write_atomic(writes, deadline=soon() if deadline is None else deadline)
    assert [answer.effect for answer in answers] == [Effect.TOOK] * len(writes)
    return [answer.version for answer in answers]


async def states(items: ContainerProxy, keys: list[Key]) -> list[tuple[int, str]]:
    """Version and newest write of each."""
    found = [dict(await items.read_item(cosmos_id(key), cosmos_partition(key))) for key in keys]
    return [(item["v"], item["w"][0]) for item in found]


async def test_costs_a_query_and_a_batch(warm: WarmMemory, control: CosmosControl) -> None:
    keys = keys_of(10)
    for _ in range(2):  # new, and known
        control.reset("counters")
        await took(warm, [put(key) for key in keys])
        assert dict(control.stats().kinds) == {"query": 1, "batch": 1}


async def test_delete_that_finds_nothing_costs_one_batch_more(warm: WarmMemory, control: CosmosControl) -> None:
    one, two, three = keys_of(3)
    control.reset("counters")
    answers = await warm.write_atomic([put(one), delete(two), put(three)], deadline=soon())

    assert [answer.effect for answer in answers] == [Effect.TOOK, Effect.NOTHING, Effect.TOOK]
    assert dict(control.stats().kinds) == {"query": 2, "batch": 2}


# --- answers and requests that are lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [True, False], ids=["answer", "request"])
@pytest.mark.parametrize("times", [1, 3])
async def test_lost_on_the_way_it_takes_effect_once(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, after: bool, times: int
) -> None:
    new, old, gone, kept = keys_of(4)
    before = await took(warm, [put(key) for key in (old, gone, kept)])
    control.drop(kinds=["batch"], count=times, after=after)
    writes = [put(new), put(old, if_version=before[0]), delete(gone), touch(kept, 0)]

    versions = await took(warm, writes)

    assert versions[1:] == [version + 1 for version in before]
    assert await states(items, [new, old, gone, kept]) == [
        (version, write.id) for version, write in zip(versions, writes, strict=True)
    ]


@pytest.mark.parametrize("status", [408, 500, 503])
async def test_service_that_does_not_know_is_asked_again(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, status: int
) -> None:
    keys = keys_of(3)
    before = await took(warm, [put(key) for key in keys])
    control.fail(status, kinds=["batch"], count=1, after=True)

    assert await took(warm, [put(key) for key in keys]) == [version + 1 for version in before]


@pytest.mark.parametrize(("status", "substatus"), [(429, 3200), (449, 0), (410, 1002)])
async def test_what_was_not_carried_out_is_sent_again(
    warm: WarmMemory, control: CosmosControl, status: int, substatus: int
) -> None:
    keys = keys_of(2)
    before = await took(warm, [put(key) for key in keys])
    control.fail(status, substatus, kinds=["batch", "query"], count=3, retry_after_ms=5)

    assert await took(warm, [put(key) for key in keys]) == [version + 1 for version in before]


async def test_no_answer_until_the_deadline_is_an_unknown_outcome(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    keys = keys_of(2)
    before = await took(warm, [put(key) for key in keys])
    control.drop(kinds=["batch"], after=True)
    control.drop(kinds=["query", "read"], skip=1)  # but for the first look: a later one would find its own work
    writes = [put(key) for key in keys]
    with pytest.raises(UnknownOutcome) as caught:
        await warm.write_atomic(writes, deadline=Deadline.after(0.3))
    assert caught.value.write_id == writes[0].id
    control.clear()

    # The same writes again find their own work.
    assert await took(warm, writes) == [version + 1 for version in before]
    assert [version for version, _ in await states(items, keys)] == [version + 1 for version in before]


@pytest.mark.parametrize("lost", [False, True])
async def test_final_refusal_is_told_and_behind_a_lost_answer_in_doubt(
    warm: WarmMemory, control: CosmosControl, lost: bool
) -> None:
    keys = keys_of(2)
    if lost:
        control.drop(kinds=["batch"], count=1, after=True)
    control.fail(403, 5302, kinds=["batch"], skip=int(lost))
    with pytest.raises(UnknownOutcome if lost else AccessDenied, match="Contributor"):
        await warm.write_atomic([put(key) for key in keys], deadline=soon())
    control.clear()

    found = await warm.read_many(keys, deadline=soon())
    assert [envelope is not None for envelope in found] == [lost, lost]


async def test_throttled_until_the_deadline_nothing_was_done(warm: WarmMemory, control: CosmosControl) -> None:
    keys = keys_of(2)
    control.throttle(kinds=["batch"], retry_after_ms=3_000_000)
    with pytest.raises(Throttled):
        await warm.write_atomic([put(key) for key in keys], deadline=soon())
    control.clear()

    assert await warm.read_many(keys, deadline=soon()) == [None, None]


# --- copies that arrive late -----------------------------------------------------------------------------------------


async def test_copy_that_arrives_after_others_wrote_is_not_let_in(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    keys = keys_of(3)
    await took(warm, [put(key) for key in keys])
    rule = control.delay(60_000, kinds=["batch"], count=1)
    first = asyncio.create_task(warm.write_atomic([put(key, "late") for key in keys], deadline=soon()))
    await until_hit(control, rule)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await warm.write(put(keys[1], "newer"), deadline=soon())
    before = await states(items, keys)
    assert control.release(rule)
    async with asyncio.timeout(20):
        while control.stats().kinds.get("batch", 0) < 2:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.01)

    assert await states(items, keys) == before
    assert value_of(await warm.read(keys[1], deadline=soon())) == "newer"


async def test_a_minute_late_no_copy_is_let_in(warm: WarmMemory, control: CosmosControl, items: ContainerProxy) -> None:
    """Who erases a scope waits that out (COHERENCE section 7)."""
    keys = keys_of(2)
    await took(warm, [put(key) for key in keys])
    before = await states(items, keys)
    rule = control.delay(60_000, kinds=["batch"], count=1)
    task = asyncio.create_task(warm.write_atomic([put(key, "late") for key in keys], deadline=Deadline.after(2)))
    await until_hit(control, rule)
    control.advance(2 + LATE_MS / 1000 + 1)
    assert control.release(rule)
    with pytest.raises(TierTimeout):
        await task

    assert await states(items, keys) == before


# --- others ----------------------------------------------------------------------------------------------------------


async def test_each_of_many_takes_effect_exactly_once_among_faults(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    """Whatever raises a version by one is a write that took effect: the sums must agree."""
    keys = keys_of(5)
    before = await took(warm, [put(key, 0) for key in keys])
    warm.retries = RetryBudget(burst=1000)  # its end is tested elsewhere
    control.drop(kinds=["batch"], probability=0.2, seed=1, after=True)
    control.drop(kinds=["batch"], probability=0.2, seed=2)
    control.fail(503, kinds=["batch"], probability=0.1, seed=3, after=True)
    control.fail(449, kinds=["batch"], probability=0.1, seed=4)
    written: Counter[Key] = Counter()

    async def one(number: int) -> None:
        chosen = [keys[(number + step) % 5] for step in range(1 + number % 3)]
        for _ in range(5):
            answers = await warm.write_atomic([put(key, number) for key in chosen], deadline=soon())
            assert all(answer.effect is Effect.TOOK for answer in answers)
            written.update(chosen)

    await asyncio.gather(*(one(number) for number in range(5)))
    control.clear()

    after = await states(items, keys)
    assert [now - then for (now, _), then in zip(after, before, strict=True)] == [written[key] for key in keys]


async def test_taken_long_ago_is_still_known_by_one_of_its_items(warm: WarmMemory, control: CosmosControl) -> None:
    """Eight writes later an item has forgotten, but another remembers; as which version it took effect here nobody knows."""
    busy, quiet = keys_of(2)
    await took(warm, [put(busy), put(quiet)])
    writes = [put(busy, "mine"), put(quiet, "mine")]
    await took(warm, writes)
    for number in range(9):
        await warm.write(put(busy, number), deadline=soon())

    with pytest.raises(UnknownOutcome, match="took effect"):
        await warm.write_atomic(writes, deadline=soon())
    assert value_of(await warm.read(busy, deadline=soon())) == 8


async def test_own_writes_are_read_from_no_replica_that_lags(warm: WarmMemory, control: CosmosControl) -> None:
    """P6: the session knows of a transaction as of any write."""
    keys = keys_of(2)
    await took(warm, [put(key, "old") for key in keys])
    await took(warm, [put(key, "new") for key in keys])
    for key in keys:
        control.lag(lsns=1, kinds=["reads"], count=1)
        assert value_of(await warm.read(key, deadline=soon())) == "new"


@pytest.mark.parametrize("verb", ["delete", "touch", "put", "if_version", "if_absent"])
async def test_replica_that_lags_misleads_nobody(
    open_warm: OpenWarm, control: CosmosControl, items: ContainerProxy, verb: str
) -> None:
    """The first read sees the key's past: not yet there, or (touch) still deleted."""
    one, two = keys_of(2)
    first, second = await open_warm(), await open_warm()
    await took(first, [put(one)])
    if verb == "touch":
        await took(first, [delete(one)])
    [version] = await took(first, [put(one, "there")])
    control.lag(lsns=2 if verb != "touch" else 1, kinds=["query"], count=1)
    write = {
        "delete": delete(one),
        "touch": touch(one, 0),
        "put": put(one),
        "if_version": put(one, if_version=version),
        "if_absent": put(one, if_absent=True),
    }[verb]
    answers = await second.write_atomic([write, put(two)], deadline=soon())

    if verb == "if_absent":
        assert [answer.effect for answer in answers] == [Effect.REFUSED, Effect.NOTHING]
    else:
        assert [(answer.effect, answer.version) for answer in answers[:1]] == [(Effect.TOOK, version + 1)]
        assert answers[1].effect is Effect.TOOK


async def test_too_much_for_one_request_is_refused_before_anything_is_sent(
    warm: WarmMemory, control: CosmosControl
) -> None:
    keys = keys_of(12)
    with pytest.raises(TooLarge, match="fewer"):
        await warm.write_atomic([put(key, secrets.token_bytes(130_000)) for key in keys], deadline=soon())

    assert "batch" not in control.stats().kinds
    await took(warm, [put(key, secrets.token_bytes(130_000)) for key in keys[:10]])


async def test_record_of_old_code_gets_its_ring(warm: WarmMemory, items: ContainerProxy) -> None:
    old, other = keys_of(2)
    [version] = await took(warm, [put(old, "old")])
    for path in ("/w", "/b"):
        await items.patch_item(cosmos_id(old), cosmos_partition(old), [{"op": "remove", "path": path}])
    writes = [put(old, "new", if_version=version), put(other)]
    versions = await took(warm, writes)

    assert versions[0] == version + 1
    assert await took(warm, writes) == versions
    assert (await warm.write(put(old, if_version=version + 1), deadline=soon())).effect is Effect.TOOK


async def test_record_of_a_newer_format_is_left_alone(warm: WarmMemory, items: ContainerProxy) -> None:
    newer, other = keys_of(2)
    await took(warm, [put(newer)])
    await items.patch_item(cosmos_id(newer), cosmos_partition(newer), [{"op": "set", "path": "/r/z", "value": 2}])
    with pytest.raises(UnreadableRecord):
        await warm.write_atomic([put(newer), put(other)], deadline=soon())

    assert await warm.read(other, deadline=soon()) is None


async def test_pointer_whose_payload_is_old_keeps_all_out(warm: WarmMemory) -> None:
    one, two = keys_of(2)
    digest = "ab" * 32
    write = put(one, "x" * 500)
    pointer = Codec().point(write.envelope, Pointer(payload_path(one, digest), digest, 500, 1_000_000))
    with pytest.raises(PointerTooOld):
        await warm.write_atomic([replace(write, envelope=pointer), put(two)], deadline=soon())

    assert await warm.read(two, deadline=soon()) is None
