"""Heads on Azure Storage, as blobs and as rows: a write takes effect once, whatever the network does; what it costs, and what is damaged."""

import asyncio
from datetime import timedelta

import pytest
from tests.integration.storage.stores import Store, Tier, soon

from thermocline.blobs import wire
from thermocline.codec import Codec
from thermocline.errors import CorruptRecord, TierTimeout, TierUnavailable, UnknownOutcome, UnreadableRecord
from thermocline.model import Envelope, Key
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.testing.proxy import ChaosProxy

CODEC = Codec()
NOW = 1_800_000_000_000
KEY = Key("t", "s", "name")

pytestmark = pytest.mark.parametrize("store", ["blobs", "blobs over obstore", "rows"], indirect=True)


def put(value: object, number: int, **options: object) -> Write:
    return Write(Verb.PUT, f"{number:026d}", CODEC.encode(KEY, value, now_ms=NOW), **options)  # type: ignore[arg-type] # as of Write


def deletion(number: int, **options: object) -> Write:
    return Write(Verb.DELETE, f"{number:026d}", CODEC.tombstone(KEY, now_ms=NOW), **options)  # type: ignore[arg-type] # as of Write


def value(envelope: Envelope | None) -> object:
    assert envelope is not None
    return CODEC.decode(envelope)


async def test_requests_per_verb(store: Store, behind: Tier) -> None:
    assert await store.requests(behind, behind.write(put(1, 1), deadline=soon())) == 1
    assert await store.requests(behind, behind.read(KEY, deadline=soon())) == 1
    assert await store.requests(behind, behind.write(put(2, 2, known=1), deadline=soon())) == 2
    assert await store.requests(behind, behind.write(put(3, 3), deadline=soon())) == 3
    assert await store.requests(behind, behind.write(put(4, 4, if_absent=True), deadline=soon())) == 2
    assert await store.requests(behind, behind.write(deletion(5, known=1), deadline=soon())) == 2
    assert await store.requests(behind, behind.scan("t", "s", "", limit=10, cursor=None, deadline=soon())) == 1


async def write_and_lose_answer(behind: Tier, proxy: ChaosProxy, write: Write, *, reads_first: bool) -> Written:
    """The answer to the request that stores the head is lost; the service has acted, and nobody heard."""
    await behind.ping(deadline=soon())  # a connection is open
    before = proxy.traffic.request_bytes
    lost = None if reads_first else proxy.lose_next_answer()
    task = asyncio.create_task(behind.write(write, deadline=soon()))
    if lost is None:
        await proxy.until(lambda traffic: traffic.request_bytes > before)
        lost = proxy.lose_next_answer()
    written = await task
    assert lost.is_set()
    return written


@pytest.mark.parametrize("verb", ["create", "replace", "if_version", "delete"])
async def test_lost_answer_took_effect_once(
    store: Store, behind: Tier, direct: Tier, proxy: ChaosProxy, verb: str
) -> None:
    """The same request goes out again, is refused, and the ring tells why."""
    base = 0 if verb == "create" else (await direct.write(put("before", 1), deadline=soon())).version
    write = {
        "create": put("new", 2),
        "replace": put("new", 2, known=base),
        "if_version": put("new", 2, if_version=base),
        "delete": deletion(2, known=base),
    }[verb]

    written = await write_and_lose_answer(behind, proxy, write, reads_first=verb != "create")

    assert written.effect is Effect.TOOK
    head = await store.head(direct, KEY)
    assert head.version == written.version > base
    assert written.envelope == head.envelope
    assert [stamp.id for stamp in head.ring].count(write.id) == 1
    assert len(head.ring) == (1 if verb == "create" else 2)


async def test_lost_answer_and_others_wrote_meanwhile(
    store: Store, behind: Tier, direct: Tier, proxy: ChaosProxy
) -> None:
    """The version that is reported is the write's own, and not the newest one."""
    await behind.ping(deadline=soon())
    lost = proxy.lose_next_answer()
    proxy.delay(requests=timedelta(milliseconds=150))  # the second copy comes after the others
    task = asyncio.create_task(behind.write(put("mine", 1), deadline=soon()))
    await lost.wait()
    others = [await direct.write(put(f"other {n}", n), deadline=soon()) for n in range(2, 6)]
    written = await task

    head = await store.head(direct, KEY)
    assert written.effect is Effect.TOOK
    assert written.version == head.birth.version < others[0].version
    assert head.version == others[-1].version
    assert [stamp.id for stamp in head.ring] == [f"{n:026d}" for n in (5, 4, 3, 2, 1)]


async def test_lost_request_is_sent_again(store: Store, behind: Tier, direct: Tier, proxy: ChaosProxy) -> None:
    await behind.ping(deadline=soon())
    lost = proxy.lose_next_request()

    written = await behind.write(put("new", 1), deadline=soon())

    assert lost.is_set()
    assert written.effect is Effect.TOOK
    assert len((await store.head(direct, KEY)).ring) == 1


async def test_silence_is_an_unknown_outcome_and_the_same_write_again_tells(
    store: Store, behind: Tier, direct: Tier, proxy: ChaosProxy
) -> None:
    await behind.ping(deadline=soon())
    proxy.blackhole(answers=True)
    write = put("new", 1)
    with pytest.raises(UnknownOutcome) as caught:
        await behind.write(write, deadline=soon(0.5))
    proxy.restore()

    assert caught.value.write_id == write.id
    assert value(await direct.read(KEY, deadline=soon())) == "new"
    again = await behind.write(write, deadline=soon())
    assert (again.effect, again.version) == (Effect.TOOK, (await store.head(direct, KEY)).version)
    assert len((await store.head(direct, KEY)).ring) == 1


async def test_silence_to_a_read_is_certainly_no_effect(
    store: Store, behind: Tier, direct: Tier, proxy: ChaosProxy
) -> None:
    await direct.write(put("old", 1), deadline=soon())
    proxy.blackhole(answers=True)
    with pytest.raises(TierTimeout) as caught:
        await behind.write(put("new", 2, known=1), deadline=soon(0.3))
    proxy.restore()

    assert not caught.value.sent
    assert len((await store.head(direct, KEY)).ring) == 1


async def test_outage_is_never_an_absence(behind: Tier, proxy: ChaosProxy) -> None:
    """P1."""
    proxy.refuse()
    proxy.cut()
    for call in (
        behind.read(KEY, deadline=soon()),
        behind.scan("t", "s", "", limit=1, cursor=None, deadline=soon()),
        behind.census(limit=1, cursor=None, deadline=soon()),
        behind.read_note("n", deadline=soon()),
        behind.list_notes("", limit=1, cursor=None, deadline=soon()),
    ):
        with pytest.raises(TierUnavailable):
            await call
    [answer] = await behind.read_many([KEY], deadline=soon())
    assert isinstance(answer, TierUnavailable)


async def test_nobody_there_is_certainly_no_effect(behind: Tier, proxy: ChaosProxy) -> None:
    proxy.refuse()
    proxy.cut()
    with pytest.raises(TierUnavailable):
        await behind.ping(
            deadline=soon()
        )  # uses up the kept connection, of which it cannot be told whether a request reached anybody

    with pytest.raises(TierUnavailable) as caught:
        await behind.write(put("new", 1), deadline=soon())

    assert not isinstance(caught.value, TierTimeout)
    assert not caught.value.sent


async def test_request_that_arrives_late_takes_no_effect_again(
    store: Store, behind: Tier, direct: Tier, proxy: ChaosProxy
) -> None:
    """A copy is held up while its sender gives up; it is delivered after others have written."""
    await direct.write(put("old", 1), deadline=soon())
    before = proxy.traffic.request_bytes
    task = asyncio.create_task(behind.write(put("late", 2, known=1), deadline=soon(1)))
    await proxy.until(lambda traffic: traffic.request_bytes > before)
    proxy.hold(requests=True)
    with pytest.raises((UnknownOutcome, TierTimeout)):
        await task
    await direct.write(put("newer", 3), deadline=soon())
    proxy.restore()
    await behind.ping(deadline=soon())
    await proxy.until(lambda traffic: traffic.open <= 1)

    head = await store.head(direct, KEY)
    assert value(head.envelope) == "newer"
    assert [stamp.id for stamp in head.ring] == [f"{n:026d}" for n in (3, 1)]


async def test_writers_at_once_all_take_effect(store: Store, direct: Tier) -> None:
    written = await direct.write_many([put(n, n) for n in range(12)], deadline=soon())

    assert {w.effect for w in written if isinstance(w, Written)} == {Effect.TOOK}
    versions = [w.version for w in written if isinstance(w, Written)]
    assert len(set(versions)) == 12
    assert (await store.head(direct, KEY)).version == max(versions)


async def test_one_of_many_conditional_writers_wins(direct: Tier) -> None:
    base = (await direct.write(put("base", 0), deadline=soon())).version

    written = await direct.write_many([put(n, n, if_version=base) for n in range(1, 9)], deadline=soon())

    effects = [w.effect for w in written if isinstance(w, Written)]
    assert sorted(effect.value for effect in effects) == ["refused"] * 7 + ["took"]
    winner = effects.index(Effect.TOOK) + 1
    assert value(await direct.read(KEY, deadline=soon())) == winner


async def test_cancelled_write_is_whole_or_absent_and_the_tier_goes_on(store: Store, direct: Tier) -> None:
    """P10."""
    for turns in range(0, 60, 4):
        task = asyncio.create_task(direct.write(put(turns, turns), deadline=soon()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    written = await direct.write(put("last", 1000), deadline=soon())

    head = await store.head(direct, KEY)
    ids = [stamp.id for stamp in head.ring]
    assert head.version == written.version
    assert len(set(ids)) == len(ids)
    assert value(head.envelope) == "last"


async def test_head_that_was_damaged_is_neither_returned_nor_overwritten(store: Store, direct: Tier) -> None:
    await direct.write(put("value", 1), deadline=soon())
    data = wire.pack_head(await store.head(direct, KEY))
    for damaged, kind in (
        (data[:-1], CorruptRecord),
        (b"", CorruptRecord),
        (data[:3] + b"\x02" + data[4:], UnreadableRecord),
    ):
        await store.overwrite(direct, KEY, damaged)
        with pytest.raises(kind):
            await direct.read(KEY, deadline=soon())
        with pytest.raises(kind):
            await direct.write(put("new", 2), deadline=soon())
