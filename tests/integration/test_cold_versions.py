"""Head blobs on Azurite: sizes, listings, sweeping. What they share with rows of a table: tests/integration/storage."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import (
    ClientClosed,
    TooLarge,
)
from thermocline.keys import HEAD_ROOT
from thermocline.model import Authority, Envelope, Key
from thermocline.protocols import Verb, Write, Written
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory

CODEC = Codec()
NOW = 1_800_000_000_000


KEY = Key("t", "s", "name")


@pytest.fixture
async def direct(azurite: Azurite, unique_name: Callable[[str], str]) -> AsyncIterator[ColdMemory]:
    async with ColdMemory(azurite.blob_url, unique_name("c"), credential=azurite.key, create=True) as tier:
        yield tier


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
