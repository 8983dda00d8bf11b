"""Backups: written, taken up, verified, restored; damaged ones refused."""

import asyncio
import json
import random
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.transfer.homes import Homes, authority_of, everything, soon
from tests.integration.transfer.test_migrating import VALUES, fill

from thermocline import Conflict, CorruptRecord, InvalidArgument, MemoryClient
from thermocline.errors import TierUnavailable, UnreadableRecord
from thermocline.model import Hit, Key
from thermocline.transfer import Backup, BlobPlace, FolderPlace, Restore, Space, verify_backup

MB = 2**20


@pytest.mark.parametrize("way", ["embedded", "services"])
async def test_everything_comes_back_as_it_was(homes: Homes, tmp_path: Path, way: str) -> None:
    source = await homes.folder() if way == "embedded" else await homes.services()
    wanted = await fill(source)
    place = FolderPlace(tmp_path / "backup") if way == "embedded" else BlobPlace(homes.blobs(), "backups/1")
    manifest = await Backup(source, place).run()
    assert (manifest.records, manifest.damaged_count) == (len(wanted), 0)
    assert (await verify_backup(place)).chunks == manifest.chunks
    target = await homes.services("restored") if way == "embedded" else await homes.folder("restored")
    dry = await Restore(target, place).run(dry_run=True)
    assert (dry.written, await everything(target)) == (len(wanted), {})
    report = await Restore(target, place).run()
    assert (report.written, report.failed, report.records) == (len(wanted), 0, len(wanted))
    assert bool(report.epoch) == (way == "embedded")
    assert await everything(target) == wanted
    for key in wanted:
        mine, other = await source.lookup(key), await target.lookup(key)
        assert isinstance(mine, Hit)
        assert isinstance(other, Hit)
        a, b = mine.record, other.record
        assert (a.expires, a.created, a.modified, a.media_type, a.tags) == (
            b.expires,
            b.created,
            b.modified,
            b.media_type,
            b.tags,
        )
    again = await Restore(target, place).run()
    assert (again.written, again.same) == (0, len(wanted))


async def chunks_of(size: int, seed: int) -> AsyncIterator[bytes]:
    rng = random.Random(seed)
    for _ in range(size // MB):
        yield rng.randbytes(MB)


async def test_large_streams_go_and_come_in_bounded_memory(homes: Homes, tmp_path: Path) -> None:
    source, target = await homes.folder(), await homes.folder("b")
    keys = [Key("t", "s", f"film/{n}") for n in range(2)]
    for n, key in enumerate(keys):
        await source.set_stream(key, chunks_of(40 * MB, n), media_type="video/mp4", tags={"n": str(n)})
    place = FolderPlace(tmp_path / "backup")
    tracemalloc.start()
    try:
        manifest = await Backup(source, place).run()
        report = await Restore(target, place).run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (manifest.records, manifest.bytes, report.written) == (2, 80 * MB, 2)
    assert peak < 36 * MB, "a chunk and a few parts, whatever a value's size"
    for n, key in enumerate(keys):
        rng = random.Random(n)
        waiting = b""
        async for chunk in target.stream(key):
            waiting += chunk
            while len(waiting) >= MB:
                assert waiting[:MB] == rng.randbytes(MB)
                waiting = waiting[MB:]
        found = await target.lookup(key)
        assert isinstance(found, Hit)
        assert (found.record.media_type, found.record.tags) == ("video/mp4", {"n": str(n)})


@dataclass
class Breaking:
    """A place that breaks down after so many files."""

    inner: FolderPlace
    after: int
    written: list[str] = field(default_factory=list)

    async def put(self, name: str, data: bytes) -> None:
        if len(self.written) >= self.after:
            raise TierUnavailable("the place broke down", tier="backup")
        self.written.append(name)
        await self.inner.put(name, data)

    async def get(self, name: str) -> bytes | None:
        return await self.inner.get(name)


async def test_a_backup_that_was_cut_short_goes_on(homes: Homes, tmp_path: Path) -> None:
    source = await homes.folder(cold_threshold_bytes=100_000)
    noise = random.Random(3)
    wanted = {Key("t", f"s/{n % 7}", f"n/{n}"): noise.randbytes(40_000) for n in range(700)}
    (await source.set_many(wanted, timeout=60)).raise_errors()
    folder = FolderPlace(tmp_path / "backup")
    files: list[str] = []
    for after in range(3, 30, 3):
        breaking = Breaking(folder, after)
        try:
            manifest = await Backup(source, breaking).run()
        except TierUnavailable:
            with pytest.raises(InvalidArgument, match="not complete"):
                await verify_backup(folder)
            files += breaking.written
            continue
        assert manifest.records >= len(wanted)
        assert "chunk-000001.jsonl" not in breaking.written, "it did not begin anew"
        break
    assert files.count("chunk-000001.jsonl") >= 1
    with pytest.raises(Conflict, match="complete backup"):
        await Backup(source, folder).run()
    target = await homes.folder("b")
    await Restore(target, folder).run()
    assert await everything(target) == wanted


@pytest.mark.parametrize("damage", ["bit", "cut", "lost", "swapped", "manifest", "format"])
async def test_a_damaged_backup_is_refused_before_anything_is_written(
    homes: Homes, tmp_path: Path, damage: str
) -> None:
    source, target = await homes.folder(), await homes.folder("b")
    noise = random.Random(3)
    for n in range(12):
        await source.set(Key("t", "s", f"n/{n}"), noise.randbytes(900_000))
    place = FolderPlace(tmp_path / "backup")
    manifest = await Backup(source, place).run()
    first, second = (place.path / chunk["name"] for chunk in manifest.chunks[:2])
    there = second.read_bytes()
    if damage == "bit":
        at = len(there) // 2
        second.write_bytes(there[:at] + bytes([there[at] ^ 1]) + there[at + 1 :])
    elif damage == "cut":
        second.write_bytes(there[: there.rindex(b"\n", 0, -1) + 1])
    elif damage == "lost":
        second.unlink()
    elif damage == "swapped":
        second.write_bytes(first.read_bytes())
    else:
        path = place.path / "manifest.json"
        told = json.loads(path.read_bytes())
        told |= {"records": told["records"] - 1} if damage == "manifest" else {"thermocline_backup": 2}
        path.write_text(json.dumps(told))
    error = UnreadableRecord if damage == "format" else CorruptRecord
    with pytest.raises(error):
        await verify_backup(place)
    with pytest.raises(error):
        await Restore(target, place).run()
    assert await everything(target) == {}


async def test_what_came_after_the_backup_stays(homes: Homes, tmp_path: Path) -> None:
    memory = await homes.folder()
    changed, deleted, gone, same = (Key("t", "s", name) for name in ("changed", "deleted", "gone", "same"))
    for key in (changed, deleted, same):
        await memory.set(key, "old")
    await memory.set(gone, "old", ttl=0.05)
    place = FolderPlace(tmp_path / "backup")
    await Backup(memory, place).run()
    await asyncio.sleep(0.06)
    before = await memory.set(changed, "new")
    await memory.delete(deleted)
    report = await Restore(memory, place).run()
    assert (report.newer, report.deleted, report.same, report.expired, report.written) == (1, 1, 1, 1, 0)
    assert await everything(memory) == {changed: "new", same: "old"}
    told = await Restore(memory, place).run(overwrite=True)
    assert (told.written, told.same, told.expired) == (2, 1, 1)
    assert await everything(memory) == {changed: "old", deleted: "old", same: "old"}
    after = await (await authority_of(memory, changed)).read(changed, deadline=soon())
    assert after is not None
    assert after.version > before.version, "a new version"


async def test_what_was_forgotten_stays_forgotten(homes: Homes, tmp_path: Path) -> None:
    memory = await homes.folder()
    await fill(memory)
    kept = Key("t", "user/2", "kept")
    await memory.set(kept, 1)
    place = FolderPlace(tmp_path / "backup")
    await Backup(memory, place, space=Space("t")).run()
    await memory.forget(tenant="t", scope="user/1", by="the person", longest_write=timedelta(seconds=1))
    await memory.delete(kept)
    report = await Restore(memory, place).run(overwrite=True)
    assert (report.forgotten, report.written) == (len(VALUES), 1)
    assert set(await everything(memory)) == {kept, Key.of("a plain name")}
    await memory.set(Key("t", "user/1", "new"), "a new beginning")
    assert await memory.get(Key("t", "user/1", "new")) == "a new beginning"


async def test_one_scope_is_restored_under_another_name(homes: Homes, tmp_path: Path) -> None:
    memory = await homes.folder()
    await fill(memory)
    place = FolderPlace(tmp_path / "backup")
    await Backup(memory, place).run()
    report = await Restore(memory, place, space=Space("t", "user/1", "t", "user/9")).run()
    assert (report.written, report.outside) == (len(VALUES), 1)
    assert {name: await memory.get(Key("t", "user/9", name)) for name in VALUES} == VALUES


async def test_a_damaged_record_is_named_and_does_not_end_a_backup(homes: Homes, tmp_path: Path) -> None:
    memory = await homes.folder()
    sound, small, large = Key("t", "s", "sound"), Key("t", "s", "small"), Key("t", "s", "large")
    await memory.set(sound, 1)
    await memory.set(small, random.Random(1).randbytes(300_000))
    await memory.set(large, random.Random(2).randbytes(6 * MB))
    damaged = [path for path in (tmp_path / "a").rglob("*") if path.is_file() and len(path.name) == 64]
    assert len(damaged) == 2
    for path in damaged:
        path.chmod(0o600)
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    place = FolderPlace(tmp_path / "backup")
    manifest = await Backup(memory, place).run()
    assert (manifest.records, manifest.damaged_count) == (1, 2)
    assert sorted(words.split(":")[0] for words in manifest.damaged) == [str(large), str(small)]
    target = await homes.folder("b")
    report = await Restore(target, place).run()
    assert (report.records, report.written, report.failed) == (1, 1, 0)
    assert await everything(target) == {sound: 1}


async def test_there_must_be_a_backup(homes: Homes, tmp_path: Path) -> None:
    memory: MemoryClient = await homes.folder()
    nothing: Any = FolderPlace(tmp_path / "nothing")
    with pytest.raises(InvalidArgument, match="there is no backup"):
        await verify_backup(nothing)
    with pytest.raises(InvalidArgument, match="there is no backup"):
        await Restore(memory, nothing).run()
    await memory.set("n", 1)
    place = FolderPlace(tmp_path / "backup")
    with pytest.raises(TierUnavailable):
        await Backup(memory, Breaking(place, 1)).run()
    with pytest.raises(Conflict, match="another tenant or scope"):
        await Backup(memory, place, space=Space("t")).run()
