"""Writes of one partition that travel as one batch: each answers for itself, and takes effect once, whatever becomes of the batch."""

import asyncio
import secrets
from collections.abc import Sequence

import pytest
from azure.cosmos.aio import ContainerProxy
from tests.integration.warm.items import OpenWarm, keys_of

from thermocline.clock import Deadline
from thermocline.errors import AccessDenied, TooLarge, UnknownOutcome, UnreadableRecord
from thermocline.keys import cosmos_id, cosmos_partition
from thermocline.model import Key
from thermocline.protocols import Effect, Write, Written
from thermocline.resilience import RetryBudget
from thermocline.testing.conformance.samples import delete, put, soon, value_of
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory


async def took(warm: WarmMemory, writes: Sequence[Write]) -> list[int]:
    versions = []
    for answer in await warm.write_many(writes, deadline=soon()):
        assert isinstance(answer, Written), answer
        assert answer.effect is Effect.TOOK
        assert answer.envelope is not None
        assert answer.envelope.version == answer.version
        versions.append(answer.version)
    return versions


async def versions_of(items: ContainerProxy, keys: Sequence[Key]) -> list[int]:
    return [(await items.read_item(cosmos_id(key), cosmos_partition(key)))["v"] for key in keys]


def asked(control: CosmosControl) -> dict[str, int]:
    """Requests for items; the SDK asks for the account when it likes."""
    return {kind: count for kind, count in control.stats().kinds.items() if kind != "account"}


def raised(before: Sequence[int]) -> list[int]:
    return [version + 1 for version in before]


async def values_of(warm: WarmMemory, keys: Sequence[Key]) -> list[object]:
    return [value_of(await warm.read(key, deadline=soon())) for key in keys]


# --- what it costs ---------------------------------------------------------------------------------------------------


async def test_new_and_known_keys_cost_one_request(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    keys = keys_of(50)
    control.reset("counters")
    first = await took(warm, [put(key, "new") for key in keys])
    assert asked(control) == {"batch": 1}

    control.reset("counters")
    second = await took(warm, [put(key, "known", known=known) for key, known in zip(keys, first, strict=True)])
    assert asked(control) == {"batch": 1}
    assert second == raised(first) == await versions_of(items, keys)

    control.reset("counters")
    third = await took(warm, [delete(key, known=known) for key, known in zip(keys, second, strict=True)])
    assert asked(control) == {"batch": 1}
    assert third == raised(second) == await versions_of(items, keys)


async def test_existing_keys_of_which_nothing_is_known_cost_three(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    keys = keys_of(50)
    first = await took(warm, [put(key) for key in keys[::2]])
    control.reset("counters")
    second = await took(warm, [put(key, "again") for key in keys])
    assert asked(control) == {"batch": 2, "query": 1}
    assert second[::2] == raised(first)
    assert second == await versions_of(items, keys)
    assert await values_of(warm, keys) == ["again"] * 50


async def test_deletes_of_which_nothing_is_known_are_read_first(warm: WarmMemory, control: CosmosControl) -> None:
    keys = keys_of(10)
    first = await took(warm, [put(key) for key in keys[:8]])
    control.reset("counters")
    answers = await warm.write_many([delete(key) for key in keys], deadline=soon())
    assert asked(control) == {"query": 1, "batch": 1, "patch": 2}  # a patch for each that is not there
    assert [answer.version for answer in answers[:8] if isinstance(answer, Written)] == raised(first)
    assert [answer.effect for answer in answers[8:] if isinstance(answer, Written)] == [Effect.NOTHING] * 2


async def test_more_than_a_hundred_and_large_ones_travel_in_several(warm: WarmMemory, control: CosmosControl) -> None:
    many, large = keys_of(130), keys_of(20)
    control.reset("counters")
    await took(warm, [put(key) for key in many])
    assert asked(control) == {"batch": 2}
    control.reset("counters")
    values = [secrets.token_bytes(60_000) for _ in large]
    await took(warm, [put(key, value) for key, value in zip(large, values, strict=True)])
    assert asked(control) == {"batch": 2}
    assert await values_of(warm, large) == values


# --- lost, refused, throttled ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("how", ["create", "known", "delete"])
async def test_batch_without_an_answer_takes_effect_once(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, how: str, after: bool
) -> None:
    keys = keys_of(6)
    before = [] if how == "create" else await took(warm, [put(key) for key in keys])
    make = delete if how == "delete" else put
    writes = (
        [put(key) for key in keys] if how == "create" else [make(k, known=v) for k, v in zip(keys, before, strict=True)]
    )
    control.drop(kinds=["batch"], count=1, after=after)

    versions = await took(warm, writes)

    assert versions == await versions_of(items, keys)
    if before:
        assert versions == raised(before)
    assert await took(warm, writes) == versions  # the same writes again find their own work


async def test_unanswered_until_the_deadline_each_is_unknown_for_itself(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    keys = keys_of(4)
    before = await took(warm, [put(key) for key in keys])
    writes = [put(key, known=version) for key, version in zip(keys, before, strict=True)]
    control.drop(kinds=["writes"], after=True)
    control.fail(503, kinds=["reads"])
    answers = await warm.write_many(writes, deadline=Deadline.after(0.5))
    assert [type(answer) for answer in answers] == [UnknownOutcome] * 4
    assert [answer.write_id for answer in answers if isinstance(answer, UnknownOutcome)] == [one.id for one in writes]
    control.clear()
    assert await took(warm, writes) == raised(before)
    assert await versions_of(items, keys) == raised(before)


async def test_refused_behind_a_lost_answer_is_in_doubt(warm: WarmMemory, control: CosmosControl) -> None:
    """Not a refusal: the batch took effect."""
    keys = keys_of(3)
    before = await took(warm, [put(key) for key in keys])
    writes = [put(key, known=version) for key, version in zip(keys, before, strict=True)]
    control.drop(kinds=["batch"], after=True, count=1)
    control.fail(403, 5302, kinds=["patch"])
    answers = await warm.write_many(writes, deadline=soon())
    assert [type(answer) for answer in answers] == [UnknownOutcome] * 3
    control.clear()
    assert await took(warm, writes) == raised(before)


@pytest.mark.parametrize(("status", "times"), [(429, 1), (449, 2), (429, 5), (410, 3)])
async def test_what_was_not_carried_out_is_sent_again(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, status: int, times: int
) -> None:
    """The fourth time each goes by itself."""
    keys = keys_of(5)
    before = await took(warm, [put(key) for key in keys])
    control.fail(status, 3200 if status == 429 else 0, kinds=["batch"], count=times, retry_after_ms=5)
    versions = await took(warm, [put(key, known=known) for key, known in zip(keys, before, strict=True)])
    assert versions == raised(before) == await versions_of(items, keys)


async def test_service_that_takes_no_batches_costs_nobody_a_write(warm: WarmMemory, control: CosmosControl) -> None:
    keys = keys_of(5)
    control.fail(403, 5302, kinds=["batch"])
    await took(warm, [put(key, key.name) for key in keys])
    assert await values_of(warm, keys) == [key.name for key in keys]


@pytest.mark.parametrize("known", [False, True])
async def test_one_sick_item_costs_the_others_nothing(warm: WarmMemory, control: CosmosControl, known: bool) -> None:
    """P8."""
    keys = keys_of(6)
    before = await took(warm, [put(key) for key in keys])
    control.fail(403, 5302, item=cosmos_id(keys[2]), kinds=["writes"])
    answers = await warm.write_many(
        [put(key, "new", known=version if known else None) for key, version in zip(keys, before, strict=True)],
        deadline=soon(),
    )
    assert isinstance(answers[2], AccessDenied)
    well = [answer for answer in answers if isinstance(answer, Written)]
    assert [answer.version for answer in well] == raised(before[:2] + before[3:])
    control.clear()
    assert await values_of(warm, keys) == ["new", "new", value_of(put(keys[2]).envelope), "new", "new", "new"]


async def test_a_newer_format_and_what_is_too_large_cost_only_themselves(
    open_warm: OpenWarm, items: ContainerProxy
) -> None:
    warm = await open_warm(max_item_bytes=20_000)
    keys = keys_of(6)
    await took(warm, [put(key) for key in keys[:4]])
    await items.patch_item(cosmos_id(keys[1]), cosmos_partition(keys[1]), [{"op": "set", "path": "/r/z", "value": 2}])
    writes = [put(key, secrets.token_bytes(30_000) if key == keys[4] else "new") for key in keys]
    answers = await warm.write_many(writes, deadline=soon())
    assert isinstance(answers[1], UnreadableRecord)
    assert isinstance(answers[4], TooLarge)
    well = [keys[number] for number in (0, 2, 3, 5)]
    assert [answers[number].effect for number in (0, 2, 3, 5)] == [Effect.TOOK] * 4  # type: ignore[union-attr]
    assert await values_of(warm, well) == ["new"] * 4


async def test_record_of_old_code_gets_its_ring(warm: WarmMemory, items: ContainerProxy) -> None:
    keys = keys_of(4)
    before = await took(warm, [put(key) for key in keys])
    for path in ("/w", "/b"):
        await items.patch_item(cosmos_id(keys[1]), cosmos_partition(keys[1]), [{"op": "remove", "path": path}])
    writes = [put(key, "new") for key in keys]
    assert await took(warm, writes) == raised(before)
    assert await took(warm, writes) == raised(before)


async def test_items_that_ended_and_tombstones_are_written_over(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    keys = keys_of(4)
    first = await took(warm, [put(key) for key in keys])
    gone = await took(warm, [delete(key, known=version) for key, version in zip(keys[:2], first, strict=False)])
    await items.delete_item(cosmos_id(keys[3]), cosmos_partition(keys[3]))  # as at the end of its grace
    known = [*gone, first[2], first[3]]
    versions = await took(warm, [put(key, "back", known=one) for key, one in zip(keys, known, strict=True)])
    assert versions[:3] == raised(known[:3])
    assert versions[3] > known[3]
    assert await values_of(warm, keys) == ["back"] * 4


# --- others ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_batches_and_single_writers_on_a_bad_network_each_take_effect_once(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, seed: int
) -> None:
    """Whatever raises a version by one is a write that took effect: versions are told to one writer each, and add up."""
    keys = keys_of(5)
    before = await took(warm, [put(key, "first") for key in keys])
    warm.retries = RetryBudget(burst=1000)  # its end is tested elsewhere
    control.drop(kinds=["batch"], probability=0.3, seed=seed, after=True)
    control.drop(kinds=["batch", "patch"], probability=0.15, seed=seed + 10)
    control.drop(kinds=["patch"], probability=0.15, seed=seed + 20, after=True)
    control.fail(449, kinds=["writes"], probability=0.1, seed=seed + 30)
    told: dict[Key, list[int]] = {key: [] for key in keys}
    unknown = dict.fromkeys(keys, 0)

    def note(key: Key, answer: object) -> None:
        if isinstance(answer, UnknownOutcome):
            unknown[key] += 1
            return
        assert isinstance(answer, Written), answer
        assert answer.effect is Effect.TOOK
        told[key].append(answer.version)

    async def many(number: int) -> None:
        for turn in range(3):
            known = [before[place] if (number + turn) % 2 else None for place in range(5)]
            writes = [put(key, number, known=one) for key, one in zip(keys, known, strict=True)]
            for key, answer in zip(keys, await warm.write_many(writes, deadline=soon()), strict=True):
                note(key, answer)

    async def single(key: Key) -> None:
        for number in range(4):
            try:
                note(key, await warm.write(put(key, number), deadline=soon()))
            except UnknownOutcome as error:
                note(key, error)

    await asyncio.gather(*(many(number) for number in range(4)), *(single(key) for key in keys))
    control.clear()

    for key, first, now in zip(keys, before, await versions_of(items, keys), strict=True):
        assert len(set(told[key])) == len(told[key])
        assert all(first < version <= now for version in told[key])
        assert len(told[key]) <= now - first <= len(told[key]) + unknown[key]


async def test_own_batch_is_read_from_no_replica_that_lags(warm: WarmMemory, control: CosmosControl) -> None:
    """P6."""
    keys = keys_of(3)
    before = await took(warm, [put(key, "old") for key in keys])
    await took(warm, [put(key, "new", known=known) for key, known in zip(keys, before, strict=True)])
    for key in keys:
        control.lag(lsns=1, kinds=["reads"], count=1)
        assert value_of(await warm.read(key, deadline=soon())) == "new"


async def test_query_that_lags_behind_what_is_there_misleads_nobody(
    open_warm: OpenWarm, control: CosmosControl, items: ContainerProxy
) -> None:
    """The look after a refused batch sees the keys' past, before they were there."""
    keys = keys_of(4)
    first, second = await open_warm(), await open_warm()
    before = await took(first, [put(key) for key in keys])
    control.lag(lsns=1, kinds=["query"], count=1)
    versions = await took(second, [put(key, "new") for key in keys])
    assert versions == raised(before) == await versions_of(items, keys)


async def test_cancelled_each_key_is_in_its_old_state_or_its_new(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    """P10."""
    keys = keys_of(4)
    before = await took(warm, [put(key, "old") for key in keys])
    rule = control.delay(60_000, kinds=["batch"], count=1)
    writes = [put(key, "new", known=known) for key, known in zip(keys, before, strict=True)]
    call = asyncio.create_task(warm.write_many(writes, deadline=soon()))
    async with asyncio.timeout(20):
        while not any(one["number"] == rule and one["hits"] for one in control.faults()):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.002)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert control.release(rule)
    assert await took(warm, writes) == raised(before) == await versions_of(items, keys)
