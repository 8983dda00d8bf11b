"""A write to Cosmos DB takes effect once, whatever is lost, refused or late on the way (COHERENCE section 4)."""

import asyncio

import pytest
from azure.cosmos.aio import ContainerProxy
from tests.integration.warm.items import HOUR_MS, item_of, now_ms, took, until_hit

from thermocline.clock import Deadline
from thermocline.errors import TierTimeout, TierUnavailable, UnknownOutcome
from thermocline.model import Key
from thermocline.protocols import Effect, Write, Written
from thermocline.resilience import RetryBudget
from thermocline.testing.conformance.samples import delete, new_key, put, soon, touch, value_of
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory
from thermocline.tiers.warm.change import LATE_MS

# --- what a write costs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["put", "delete", "touch", "if_version"])
async def test_write_of_a_known_key_is_one_request(warm: WarmMemory, control: CosmosControl, verb: str) -> None:
    key = new_key()
    version = await took(warm, put(key, {"n": 1}))
    control.reset("counters")
    writes = {
        "put": put(key, 2, known=version),
        "delete": delete(key, known=version),
        "touch": touch(key, now_ms() + HOUR_MS, known=version),
        "if_version": put(key, 2, if_version=version),
    }

    assert await took(warm, writes[verb]) == version + 1
    assert control.stats().kinds == {"patch": 1}


async def test_put_of_a_new_key_is_one_request(warm: WarmMemory, control: CosmosControl) -> None:
    await took(warm, put(new_key(), "v"))
    await took(warm, put(new_key(), "v", if_absent=True))

    assert control.stats().kinds == {"create": 2}


async def test_put_of_a_key_that_was_known_and_is_gone_is_two_requests(
    warm: WarmMemory, control: CosmosControl
) -> None:
    floor = now_ms() * 1000 + 10**12
    version = await took(warm, put(new_key(), "v", known=floor))

    assert version == floor + 1
    assert control.stats().kinds == {"patch": 1, "create": 1}


@pytest.mark.parametrize(("verb", "kinds"), [
    ("put", {"create": 1, "read": 1, "patch": 1}),
    ("delete", {"read": 1, "patch": 1}),
    ("touch", {"read": 1, "patch": 1}),
])  # fmt: skip
async def test_write_of_a_key_of_which_nothing_is_known(
    warm: WarmMemory, control: CosmosControl, verb: str, kinds: dict[str, int]
) -> None:
    key = new_key()
    await took(warm, put(key, "v"))
    control.reset("counters")
    writes = {"put": put(key, "w"), "delete": delete(key), "touch": touch(key, now_ms() + HOUR_MS)}
    await took(warm, writes[verb])

    assert control.stats().kinds == kinds


async def test_refused_condition_is_at_most_two_requests(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    version = await took(warm, put(key, "v"))
    control.reset("counters")
    written = await warm.write(put(key, "w", if_version=version - 1), deadline=soon())

    assert written == Written(Effect.REFUSED, version)
    assert control.stats().kinds == {"patch": 1, "read": 1}


async def test_charges_and_requests_are_counted(warm: WarmMemory, control: CosmosControl) -> None:
    before = warm.stats.snapshot()["warm"]
    control.throttle(count=1, retry_after_ms=1)
    await took(warm, put(new_key(), "v"))

    seen, after = control.stats(), warm.stats.snapshot()["warm"]
    assert after["requests"] - before["requests"] == seen.requests == 2
    assert after["request_units"] - before["request_units"] == pytest.approx(seen.charge)
    assert after["throttled"] == 1


# --- lost requests and lost answers ----------------------------------------------------------------------------------

VERBS = ["create", "put", "delete", "touch", "if_version", "if_absent", "if_absent onto a tombstone"]


async def prepared(warm: WarmMemory, verb: str) -> tuple[Key, int, Write]:
    """A key in its state, its version, and the write."""
    key = new_key()
    if verb in ("create", "if_absent"):
        return key, 0, put(key, "new", if_absent=verb == "if_absent")
    version = await took(warm, put(key, "old"))
    if verb == "if_absent onto a tombstone":
        return key, await took(warm, delete(key, known=version)), put(key, "new", if_absent=True)
    writes = {
        "put": put(key, "new", known=version),
        "delete": delete(key, known=version),
        "touch": touch(key, now_ms() + HOUR_MS, known=version),
        "if_version": put(key, "new", if_version=version),
    }
    return key, version, writes[verb]


@pytest.mark.parametrize("after", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("status", [0, 408, 500, 503], ids=["dropped", "408", "500", "503"])
@pytest.mark.parametrize("verb", VERBS)
async def test_write_takes_effect_once_when_something_is_lost(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, verb: str, status: int, after: bool
) -> None:
    key, before, write = await prepared(warm, verb)
    if status:
        control.fail(status, kinds=["writes"], count=1, after=after)
    else:
        control.drop(kinds=["writes"], count=1, after=after)

    version = await took(warm, write)

    item = await item_of(items, key)
    assert item["v"] == version
    assert item["w"].count(write.id) == 1
    assert version == before + 1 if before else item["b"] == write.id
    envelope = await warm.read(key, deadline=soon())
    assert envelope is not None
    assert envelope.tombstone if verb == "delete" else value_of(envelope) == ("old" if verb == "touch" else "new")


@pytest.mark.parametrize("others", [7, 8])
async def test_writes_while_an_answer_is_lost(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, others: int
) -> None:
    """With seven other writes the ring still tells, and as which version; with eight nobody can tell any more."""
    key = new_key()
    first = await took(warm, put(key, 0))
    lost = put(key, "mine", known=first)
    control.drop(kinds=["patch"], count=1, after=True)
    second = control.delay(60_000, kinds=["patch"], skip=1, count=1)
    task = asyncio.create_task(warm.write(lost, deadline=soon()))
    await until_hit(control, second)
    for number in range(others):
        await took(warm, put(key, number, known=first + 1 + number))
    assert (lost.id in (await item_of(items, key))["w"]) == (others == 7)
    # The resent copy hangs: its connection is cut, and the next copy is refused at once.
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    control.clear()

    if others == 7:
        assert await took(warm, lost) == first + 1
        return
    control.drop(kinds=["patch"], count=1)
    with pytest.raises(UnknownOutcome) as caught:
        await warm.write(lost, deadline=soon())
    assert caught.value.write_id == lost.id
    assert (await item_of(items, key))["v"] == first + 1 + others


async def test_copy_that_arrives_after_nine_other_writes_is_not_let_in(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    key = new_key()
    first = await took(warm, put(key, 0))
    late = put(key, "late", known=first)
    slow = await held_up(warm, control, late)
    for number in range(9):
        await took(warm, put(key, number, known=first + number))
    assert control.release(slow)
    await answered(control, 10)

    item = await item_of(items, key)
    assert item["v"] == first + 9
    assert late.id not in item["w"]


async def test_copy_that_arrives_late_takes_effect_once(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    key = new_key()
    first = await took(warm, put(key, 0))
    late = put(key, "late", known=first)
    slow = await held_up(warm, control, late)
    version = await took(warm, late)
    assert control.release(slow)
    await answered(control, 2)

    assert version == first + 1
    assert (await item_of(items, key))["v"] == version


async def test_copy_that_arrives_long_after_its_deadline_is_let_in_no_more(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy
) -> None:
    """Who erases a scope waits out the longest write; a copy that is under way for longer than that must not bring anything back (COHERENCE section 7)."""
    key = new_key()
    first = await took(warm, put(key, 0))
    late = put(key, "late", known=first)
    slow = await held_up(warm, control, late)
    control.advance(LATE_MS / 1000 + 1)
    assert control.release(slow)
    await answered(control, 1)

    assert (await item_of(items, key))["v"] == first


async def held_up(warm: WarmMemory, control: CosmosControl, late: Write) -> int:
    """A copy of it is under way beyond its caller's deadline. Returns the fault's number, by which that is let go on."""
    slow = control.delay(60_000, kinds=["patch"], count=1)
    task = asyncio.create_task(warm.write(late, deadline=Deadline.after(0.5)))
    await until_hit(control, slow)
    with pytest.raises(UnknownOutcome):
        await task
    return slow


async def answered(control: CosmosControl, patches: int) -> None:
    """Wait until the server has looked at so many patches."""
    async with asyncio.timeout(20):
        while sum(1 for one in control.stats(last=200).last if one["kind"] == "patch") < patches:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("after", [False, True], ids=["never served", "served, never answered"])
async def test_unknown_outcome_is_neither_success_nor_failure(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, after: bool
) -> None:
    key = new_key()
    first = await took(warm, put(key, "old"))
    write = put(key, "new", known=first)
    control.drop(kinds=["data"], after=after)
    with pytest.raises(UnknownOutcome) as caught:
        await warm.write(write, deadline=Deadline.after(0.3))
    control.clear()

    assert caught.value.write_id == write.id
    assert (await item_of(items, key))["v"] == first + after
    assert await took(warm, write) == first + 1


async def test_request_that_never_left_leaves_no_doubt(warm: WarmMemory) -> None:
    with pytest.raises(TierTimeout) as caught:
        await warm.write(put(new_key(), "v"), deadline=Deadline.after(-1))

    assert not caught.value.sent


async def test_silent_connection_ends_with_the_deadline(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    version = await took(warm, put(key, "v"))
    control.delay(60_000, kinds=["data"])

    with pytest.raises(UnknownOutcome):
        await warm.write(put(key, "w", known=version), deadline=Deadline.after(0.1))
    with pytest.raises(TierTimeout):
        await warm.read(key, deadline=Deadline.after(0.1))
    control.clear()
    assert value_of(await warm.read(key, deadline=soon())) == "v"


# --- many writers ----------------------------------------------------------------------------------------------------


async def test_racing_writers_get_versions_of_their_own(warm: WarmMemory, items: ContainerProxy) -> None:
    key = new_key()
    first = await took(warm, put(key, "first"))
    versions = await asyncio.gather(*(took(warm, put(key, n, known=first)) for n in range(24)))

    assert sorted(versions) == list(range(first + 1, first + 25))
    envelope = await warm.read(key, deadline=soon())
    assert value_of(envelope) == versions.index(max(versions))


@pytest.mark.parametrize("seed", range(4))
async def test_many_writers_on_a_bad_network_each_take_effect_at_most_once(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, seed: int
) -> None:
    key = new_key()
    first = await took(warm, put(key, "first"))
    warm.retries = RetryBudget(burst=1000)  # its end is tested elsewhere
    control.drop(kinds=["writes"], after=True, probability=0.3, seed=seed)
    control.drop(kinds=["data"], probability=0.2, seed=seed + 100)
    control.fail(503, kinds=["reads"], probability=0.2, seed=seed + 200)

    async def one(number: int) -> int | None:
        try:
            written = await warm.write(put(key, number, known=first), deadline=soon())
        except UnknownOutcome:
            return None
        except TierUnavailable:  # the budget for repeating is spent, and certainly nothing was written
            return 0
        assert written.effect is Effect.TOOK
        return written.version

    versions = await asyncio.gather(*(one(number) for number in range(24)))
    control.clear()

    known = [version for version in versions if version]
    assert len(set(known)) == len(known)
    effects = (await item_of(items, key))["v"] - first
    assert len(known) <= effects <= len(versions) - versions.count(0)
    assert len(known) > len(versions) / 3
