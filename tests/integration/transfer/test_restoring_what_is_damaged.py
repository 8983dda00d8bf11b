"""A record that is damaged in the authority: named by a restore, and written over by one that may overwrite."""

from pathlib import Path

import pytest
from azure.cosmos.aio import CosmosClient
from tests.integration.transfer.homes import Homes, everything

from thermocline import CorruptRecord
from thermocline.model import Key
from thermocline.testing.rig import CosmosServer
from thermocline.transfer import Backup, FolderPlace, Restore

SOUND, BAD = Key("t", "s", "sound"), Key("t", "s", "bad")


async def test_a_damaged_record_is_restored_by_overwriting(
    homes: Homes, cosmos_server: CosmosServer, tmp_path: Path
) -> None:
    memory = await homes.services()
    await memory.set(SOUND, 1)
    await memory.set(BAD, {"n": 1})
    place = FolderPlace(tmp_path / "backup")
    await Backup(memory, place).run()
    async with CosmosClient(cosmos_server.url, cosmos_server.key) as client:
        container = client.get_database_client("transfer").get_container_client(f"{homes.name}b")
        item = await container.read_item("tc1.bad", ["t", "s"])
        item["r"]["j"] = {"n": 99}
        await container.replace_item("tc1.bad", item)
    other = await homes.services()  # one that remembers nothing of it
    with pytest.raises(CorruptRecord):
        await other.get(BAD)

    report = await Restore(other, place).run()
    assert (report.written, report.same, report.failed) == (0, 1, 1)

    counted = await Restore(other, place).run(overwrite=True, dry_run=True)
    assert (counted.written, counted.same, counted.failed) == (1, 1, 0)

    report = await Restore(other, place).run(overwrite=True)
    assert (report.written, report.same, report.failed) == (1, 1, 0)
    assert await everything(other) == {SOUND: 1, BAD: {"n": 1}}


async def test_one_without_a_version_is_named_all_the_same(
    homes: Homes, cosmos_server: CosmosServer, tmp_path: Path
) -> None:
    """Nothing can be written over it, as no version comes after it; it has to be deleted by hand."""
    memory = await homes.services()
    await memory.set(BAD, {"n": 1})
    place = FolderPlace(tmp_path / "backup")
    await Backup(memory, place).run()
    async with CosmosClient(cosmos_server.url, cosmos_server.key) as client:
        container = client.get_database_client("transfer").get_container_client(f"{homes.name}b")
        await container.upsert_item(
            {"id": "tc1.bad", "tenant": "t", "scope": "s", "n": "bad", "v": "seven", "r": {"z": 1}}
        )
        other = await homes.services()
        report = await Restore(other, place).run(overwrite=True)
        assert (report.written, report.failed) == (0, 1)

        await container.delete_item("tc1.bad", ["t", "s"])

    report = await Restore(other, place).run()
    assert (report.written, report.failed) == (1, 0)
    assert await everything(other) == {BAD: {"n": 1}}
