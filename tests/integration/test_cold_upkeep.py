"""Head blobs kept in order: what is no head or a damaged one, and who reaches what (P9). What they share with rows of a table: tests/integration/storage."""

import uuid
from collections.abc import AsyncIterator

import pytest

from thermocline.clock import SYSTEM_CLOCK
from thermocline.keys import HEAD_ROOT, head_path
from thermocline.model import Envelope, Key
from thermocline.telemetry import CORRUPT
from thermocline.testing.conformance.samples import near, put, soon, stamp_by
from thermocline.testing.rig import Azurite
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.cold.notes import NOTE_ROOT


@pytest.fixture(autouse=True)
def stamp_samples() -> None:
    """By this machine's clock, whatever suite ran before."""
    stamp_by(SYSTEM_CLOCK)


@pytest.fixture
def container() -> str:
    return f"upkeep-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def cold(azurite: Azurite, container: str) -> AsyncIterator[ColdMemory]:
    async with ColdMemory.from_connection_string(azurite.connection_string, container, create=True) as tier:
        yield tier


async def stored(tier: ColdMemory, key: Key, value: object = "v") -> Envelope:
    await tier.write(put(key, value), deadline=soon())
    envelope = await tier.read(key, deadline=soon())
    assert envelope is not None
    return envelope


# --- census ----------------------------------------------------------------------------------------------------------


async def test_what_is_no_head_is_passed_over_and_a_damaged_one_named(cold: ColdMemory) -> None:
    key, moved = Key("t", "s", "n"), Key("t", "s", "elsewhere")
    await stored(cold, key)
    blob = await cold._service.get(head_path(key), soon())
    assert blob is not None
    await cold._service.put(HEAD_ROOT + "UPPER", b"stranger", overwrite=True, deadline=soon())
    folder = HEAD_ROOT + "t/s/folder"
    await cold._service.put(folder, b"", overwrite=True, deadline=soon(), metadata={"hdi_isfolder": "true"})
    await cold._service.put(head_path(moved), blob.data, overwrite=True, deadline=soon())

    inventory = await cold.census(tenant="t", limit=10, cursor=None, deadline=soon())

    assert [item.key for item in inventory.items] == [key]
    assert len(inventory.damaged) == 1
    assert "elsewhere" in inventory.damaged[0]
    page = await cold.scan("t", "s", "", limit=10, cursor=None, deadline=soon())
    assert [item.key for item in page.items] == [key]


async def test_damaged_head_does_not_end_a_listing(cold: ColdMemory) -> None:
    keys = [Key("t", "s", f"n{number}") for number in range(3)]
    for key in keys:
        await stored(cold, key)
    await cold._service.put(head_path(keys[1]), b"not a head", overwrite=True, deadline=soon())

    page = await cold.scan("t", "s", "", limit=10, cursor=None, deadline=soon())

    assert [item.key for item in page.items] == [keys[0], keys[2]]
    assert cold.stats.get(CORRUPT, "cold") == 1


# --- notes -----------------------------------------------------------------------------------------------------------


async def test_notes_lie_where_no_key_and_no_direct_name_reaches(cold: ColdMemory) -> None:
    """P9."""
    await cold.write_note("a/b", b"note", deadline=soon())
    [entry], _ = await cold._service.page(NOTE_ROOT, limit=10, token=None, deadline=soon())
    assert not entry.name.startswith((HEAD_ROOT, "tc1/p/"))
    with pytest.raises(ValueError, match="cascade's own"):
        await cold.download_bytes(entry.name)
    for key in (Key("..", "n", "612f62"), Key("n", "612f62", "x"), near(Key("t", "s", "n"), "/../../n/612f62")):
        assert await cold.read(key, deadline=soon()) is None
        await stored(cold, key)
    note = await cold.read_note("a/b", deadline=soon())
    assert note is not None
    assert note.data == b"note"
