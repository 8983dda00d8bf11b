"""Head blobs on Azurite: a write takes effect once, whatever the network does; listings, sweeping, and what is damaged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from thermocline.blobs import wire
from thermocline.blobs.heads import Head
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import (
    ClientClosed,
    CorruptRecord,
    TierTimeout,
    TierUnavailable,
    TooLarge,
    UnknownOutcome,
    UnreadableRecord,
)
from thermocline.keys import HEAD_ROOT, head_path
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Effect, Verb, Write, Written
from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory

CODEC = Codec()
NOW = 1_800_000_000_000

MakeProxy = Callable[[str | int], Awaitable[ChaosProxy]]


@pytest.fixture
async def proxy(azurite: Azurite, chaos_proxy: MakeProxy) -> ChaosProxy:
    return await chaos_proxy(azurite.blob_url)


@pytest.fixture(params=["sdk", "obstore"])
async def cold(
    azurite: Azurite, proxy: ChaosProxy, unique_name: Callable[[str], str], request: pytest.FixtureRequest
) -> AsyncIterator[ColdMemory]:
    """Through the proxy."""
    async with ColdMemory(
        proxy.url, unique_name("c"), credential=azurite.key, create=True, transfer=request.param
    ) as tier:
        yield tier


@pytest.fixture
async def direct(azurite: Azurite, cold: ColdMemory) -> AsyncIterator[ColdMemory]:
    """The same container, past the proxy."""
    async with ColdMemory(azurite.blob_url, cold._account.container, credential=azurite.key) as tier:
        yield tier


KEY = Key("t", "s", "name")


def soon(seconds: float = 20) -> Deadline:
    return Deadline.after(seconds)


def put(value: object, number: int, **options: object) -> Write:
    return Write(Verb.PUT, f"{number:026d}", CODEC.encode(KEY, value, now_ms=NOW), **options)  # type: ignore[arg-type] # as of Write


def deletion(number: int, **options: object) -> Write:
    return Write(Verb.DELETE, f"{number:026d}", CODEC.tombstone(KEY, now_ms=NOW), **options)  # type: ignore[arg-type] # as of Write


async def requests(tier: ColdMemory, call: Awaitable[object]) -> int:
    before = tier.stats.get("requests", "cold")
    await call
    return int(tier.stats.get("requests", "cold") - before)


def value(envelope: Envelope | None) -> object:
    assert envelope is not None
    return CODEC.decode(envelope)


async def test_requests_per_verb(cold: ColdMemory) -> None:
    assert await requests(cold, cold.write(put(1, 1), deadline=soon())) == 1
    assert await requests(cold, cold.read(KEY, deadline=soon())) == 1
    assert await requests(cold, cold.write(put(2, 2, known=1), deadline=soon())) == 2
    assert await requests(cold, cold.write(put(3, 3), deadline=soon())) == 3
    assert await requests(cold, cold.write(put(4, 4, if_absent=True), deadline=soon())) == 2
    assert await requests(cold, cold.write(deletion(5, known=1), deadline=soon())) == 2


async def head_of(tier: ColdMemory) -> Head:
    found = await tier._service.get(head_path(KEY), soon())
    assert found is not None
    return wire.unpack_head(found.data, KEY)


async def write_and_lose_answer(cold: ColdMemory, proxy: ChaosProxy, write: Write, *, reads_first: bool) -> Written:
    """The answer to the request that stores the head is lost; the store has acted, and nobody heard."""
    await cold.ping(deadline=soon())  # a connection is open
    before = proxy.traffic.request_bytes
    lost = None if reads_first else proxy.lose_next_answer()
    task = asyncio.create_task(cold.write(write, deadline=soon()))
    if lost is None:
        await proxy.until(lambda traffic: traffic.request_bytes > before)
        lost = proxy.lose_next_answer()
    written = await task
    assert lost.is_set()
    return written


@pytest.mark.parametrize("verb", ["create", "replace", "if_version", "delete"])
async def test_lost_answer_took_effect_once(cold: ColdMemory, direct: ColdMemory, proxy: ChaosProxy, verb: str) -> None:
    """The same request goes out again, is refused, and the ring tells why."""
    base = 0 if verb == "create" else (await direct.write(put("before", 1), deadline=soon())).version
    write = {
        "create": put("new", 2),
        "replace": put("new", 2, known=base),
        "if_version": put("new", 2, if_version=base),
        "delete": deletion(2, known=base),
    }[verb]

    written = await write_and_lose_answer(cold, proxy, write, reads_first=verb != "create")

    assert written.effect is Effect.TOOK
    head = await head_of(direct)
    assert head.version == written.version > base
    assert written.envelope == head.envelope
    assert [stamp.id for stamp in head.ring].count(write.id) == 1
    assert len(head.ring) == (1 if verb == "create" else 2)


async def test_lost_answer_and_others_wrote_meanwhile(cold: ColdMemory, direct: ColdMemory, proxy: ChaosProxy) -> None:
    """The version that is reported is the write's own, and not the newest one."""
    await cold.ping(deadline=soon())
    lost = proxy.lose_next_answer()
    proxy.delay(requests=timedelta(milliseconds=150))  # the second copy comes after the others
    task = asyncio.create_task(cold.write(put("mine", 1), deadline=soon()))
    await lost.wait()
    others = [await direct.write(put(f"other {n}", n), deadline=soon()) for n in range(2, 6)]
    written = await task

    head = await head_of(direct)
    assert written.effect is Effect.TOOK
    assert written.version == head.birth.version < others[0].version
    assert head.version == others[-1].version
    assert [stamp.id for stamp in head.ring] == [f"{n:026d}" for n in (5, 4, 3, 2, 1)]


async def test_lost_request_is_sent_again(cold: ColdMemory, direct: ColdMemory, proxy: ChaosProxy) -> None:
    await cold.ping(deadline=soon())
    lost = proxy.lose_next_request()

    written = await cold.write(put("new", 1), deadline=soon())

    assert lost.is_set()
    assert written.effect is Effect.TOOK
    assert len((await head_of(direct)).ring) == 1


async def test_silence_is_an_unknown_outcome_and_the_same_write_again_tells(
    cold: ColdMemory, direct: ColdMemory, proxy: ChaosProxy
) -> None:
    await cold.ping(deadline=soon())
    proxy.blackhole(answers=True)
    write = put("new", 1)
    with pytest.raises(UnknownOutcome) as caught:
        await cold.write(write, deadline=soon(0.5))
    proxy.restore()

    assert caught.value.write_id == write.id
    assert value(await direct.read(KEY, deadline=soon())) == "new"
    again = await cold.write(write, deadline=soon())
    assert (again.effect, again.version) == (Effect.TOOK, (await head_of(direct)).version)
    assert len((await head_of(direct)).ring) == 1


async def test_silence_to_a_read_is_certainly_no_effect(
    cold: ColdMemory, direct: ColdMemory, proxy: ChaosProxy
) -> None:
    await direct.write(put("old", 1), deadline=soon())
    proxy.blackhole(answers=True)
    with pytest.raises(TierTimeout) as caught:
        await cold.write(put("new", 2, known=1), deadline=soon(0.3))
    proxy.restore()

    assert not caught.value.sent
    assert len((await head_of(direct)).ring) == 1


async def test_nobody_there_is_certainly_no_effect(cold: ColdMemory, proxy: ChaosProxy) -> None:
    proxy.refuse()
    proxy.cut()
    with pytest.raises(TierUnavailable):
        await cold.ping(
            deadline=soon()
        )  # uses up the kept connection, of which it cannot be told whether a request reached anybody

    with pytest.raises(TierUnavailable) as caught:
        await cold.write(put("new", 1), deadline=soon())

    assert not isinstance(caught.value, TierTimeout)
    assert not caught.value.sent


async def test_request_that_arrives_late_takes_no_effect_again(
    cold: ColdMemory, direct: ColdMemory, proxy: ChaosProxy
) -> None:
    """A copy is held up while its sender gives up; it is delivered after others have written."""
    await direct.write(put("old", 1), deadline=soon())
    before = proxy.traffic.request_bytes
    task = asyncio.create_task(cold.write(put("late", 2, known=1), deadline=soon(1)))
    await proxy.until(lambda traffic: traffic.request_bytes > before)
    proxy.hold(requests=True)
    with pytest.raises((UnknownOutcome, TierTimeout)):
        await task
    await direct.write(put("newer", 3), deadline=soon())
    proxy.restore()
    await cold.ping(deadline=soon())
    await proxy.until(lambda traffic: traffic.open <= 1)

    head = await head_of(direct)
    assert value(head.envelope) == "newer"
    assert [stamp.id for stamp in head.ring] == [f"{n:026d}" for n in (3, 1)]


async def test_writers_at_once_all_take_effect(direct: ColdMemory) -> None:
    written = await direct.write_many([put(n, n) for n in range(12)], deadline=soon())

    assert {w.effect for w in written if isinstance(w, Written)} == {Effect.TOOK}
    versions = [w.version for w in written if isinstance(w, Written)]
    assert len(set(versions)) == 12
    assert (await head_of(direct)).version == max(versions)


async def test_one_of_many_conditional_writers_wins(direct: ColdMemory) -> None:
    base = (await direct.write(put("base", 0), deadline=soon())).version

    written = await direct.write_many([put(n, n, if_version=base) for n in range(1, 9)], deadline=soon())

    effects = [w.effect for w in written if isinstance(w, Written)]
    assert sorted(effect.value for effect in effects) == ["refused"] * 7 + ["took"]
    winner = effects.index(Effect.TOOK) + 1
    assert value(await direct.read(KEY, deadline=soon())) == winner


async def test_cancelled_write_is_whole_or_absent_and_the_tier_goes_on(direct: ColdMemory) -> None:
    for turns in range(0, 60, 4):
        task = asyncio.create_task(direct.write(put(turns, turns), deadline=soon()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    written = await direct.write(put("last", 1000), deadline=soon())

    head = await head_of(direct)
    ids = [stamp.id for stamp in head.ring]
    assert head.version == written.version
    assert len(set(ids)) == len(ids)
    assert value(head.envelope) == "last"


async def test_head_that_was_damaged_is_neither_returned_nor_overwritten(direct: ColdMemory) -> None:
    await direct.write(put("value", 1), deadline=soon())
    data = wire.pack_head(await head_of(direct))
    for damaged, kind in (
        (data[:-1], CorruptRecord),
        (b"", CorruptRecord),
        (data[:3] + b"\x02" + data[4:], UnreadableRecord),
    ):
        await direct._service.put(head_path(KEY), damaged, overwrite=True, deadline=soon())
        with pytest.raises(kind):
            await direct.read(KEY, deadline=soon())
        with pytest.raises(kind):
            await direct.write(put("new", 2), deadline=soon())


async def test_payload_too_large_for_a_head(direct: ColdMemory) -> None:
    envelope = Codec(compression=None).encode(KEY, b"x" * 5_000_000, now_ms=NOW)

    with pytest.raises(TooLarge, match="put_payload"):
        await direct.write(Write(Verb.PUT, "1" * 26, envelope), deadline=soon())
    assert await direct.read(KEY, deadline=soon()) is None


async def test_large_payload_in_a_head(direct: ColdMemory) -> None:
    envelope = Codec(compression=None).encode(KEY, b"x" * 4_000_000, now_ms=NOW)
    await direct.write(Write(Verb.PUT, "1" * 26, envelope), deadline=soon())

    assert value(await direct.read(KEY, deadline=soon())) == b"x" * 4_000_000


async def test_write_after_closing(azurite: Azurite, unique_name: Callable[[str], str]) -> None:
    tier = ColdMemory(azurite.blob_url, unique_name("c"), credential=azurite.key)

    with pytest.raises(ClientClosed):
        await tier.write(put(1, 1), deadline=soon())


# --- listing and sweeping --------------------------------------------------------------------------------------------


async def fill(tier: ColdMemory, names: list[str], **options: object) -> None:
    now = tier._service.now_ms()
    writes = []
    for number, name in enumerate(names):
        envelope = CODEC.encode(Key("t", "s", name), name, now_ms=now, **options)  # type: ignore[arg-type] # as of encode
        writes.append(Write(Verb.PUT, f"{number:026d}", envelope))
    for written in await tier.write_many(writes, deadline=soon()):
        assert isinstance(written, Written)


async def test_listing_reads_no_heads(direct: ColdMemory) -> None:
    names = [f"n{number}" for number in range(20)] + ["é" * 900]
    await fill(direct, names, tags={"colour": "grün"})

    page = None

    async def scan() -> None:
        nonlocal page
        page = await direct.scan("t", "s", "", limit=100, cursor=None, deadline=soon())

    assert await requests(direct, scan()) == 1
    assert page is not None
    assert sorted(line.key.name for line in page.items) == sorted(names)
    assert all(line.tags == {"colour": "grün"} for line in page.items)


async def test_listing_has_no_tombstones_even_of_a_writer_whose_clock_is_ahead(direct: ColdMemory) -> None:
    await direct.write(put("value", 1), deadline=soon())
    ahead = CODEC.tombstone(KEY, now_ms=direct._service.now_ms() + 10**9)
    await direct.write(Write(Verb.DELETE, "2" * 26, ahead, known=1), deadline=soon())

    page = await direct.scan("t", "s", "", limit=10, cursor=None, deadline=soon())

    assert (page.items, page.cursor) == ([], None)


async def test_listing_reads_what_metadata_cannot_hold(direct: ColdMemory) -> None:
    names = ["n" * 15_000, "n" * 14_999 + "m"]
    await fill(direct, names)
    await direct._service.put(
        HEAD_ROOT + "t/s/stranger", b"not a head", deadline=soon(), metadata={"hdi_isfolder": "true"}
    )

    page = await direct.scan("t", "s", "n", limit=100, cursor=None, deadline=soon())

    assert sorted(line.key.name for line in page.items) == sorted(names)


async def test_sweeping_takes_old_tombstones_only(direct: ColdMemory) -> None:
    now = direct._service.now_ms()
    await fill(direct, ["live", "brief"])
    await fill(direct, ["expired"], expires_ms=now + 1)
    gone = CODEC.tombstone(Key("t", "s", "live"), now_ms=now)
    await direct.write(Write(Verb.DELETE, "9" * 26, gone, known=1), deadline=soon())

    assert await direct.sweep_heads(dead_before_ms=now - 1000, limit=100, cursor=None, deadline=soon()) == (0, None)
    removed, cursor = await direct.sweep_heads(dead_before_ms=now + 60_000, limit=100, cursor=None, deadline=soon())

    assert (removed, cursor) == (2, None)
    assert await direct.read(Key("t", "s", "live"), deadline=soon()) is None
    assert value(await direct.read(Key("t", "s", "brief"), deadline=soon())) == "brief"


async def test_version_grows_over_sweeping_and_creation(direct: ColdMemory) -> None:
    await direct.write(put("first", 1), deadline=soon())
    deleted = await direct.write(deletion(2, known=1), deadline=soon())
    await direct.sweep_heads(dead_before_ms=NOW + 10**13, limit=100, cursor=None, deadline=soon())
    assert await direct.read(KEY, deadline=soon()) is None

    created = await direct.write(put("second", 3), deadline=soon())

    assert created.version > deleted.version
    assert created.envelope is not None
    assert created.envelope.header.authority is Authority.COLD
