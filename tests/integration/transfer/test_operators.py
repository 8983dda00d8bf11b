"""Operators who err or meet: another target, another space, one backup twice at once, other routes; and people who were forgotten."""

import asyncio
import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.transfer.homes import QUIET, Homes, everything

from thermocline import ConfigurationError, Conflict
from thermocline.model import Authority, Key
from thermocline.transfer import Backup, DualMemory, FolderPlace, Migration, Phase, Restore, Space, verify_backup

SECOND = timedelta(seconds=1)


async def test_a_migration_keeps_its_target_and_its_space(homes: Homes) -> None:
    source, target, other = await homes.folder("a"), await homes.folder("b"), await homes.folder("c")
    for tenant in ("t", "u"):
        await source.set(Key(tenant, "s", "n"), tenant)
    right = Migration(source, target, space=Space("t"), quiet=QUIET)
    await right.copy()
    elsewhere = Migration(source, other, space=Space("t"), quiet=QUIET)
    wider = Migration(source, target, quiet=QUIET)
    for wrong, words in ((elsewhere, "another target"), (wider, "the space")):
        for step in (wrong.copy, wrong.dual_write, wrong.verify, wrong.cut_over):
            with pytest.raises(ConfigurationError, match=words):
                await step()
        with pytest.raises(ConfigurationError, match=words):
            await wrong.copy(dry_run=True)
    for memory in (DualMemory(source, other, space=Space("t")), DualMemory(source, target)):
        with pytest.raises(ConfigurationError):
            await memory.set(Key("t", "s", "n"), "not written")
    assert await everything(other) == {}
    assert await source.get(Key("t", "s", "n")) == "t"
    await right.cut_over()
    assert await DualMemory(source, target, space=Space("t")).phase() is Phase.TARGET
    with pytest.raises(ConfigurationError, match="another target"):
        await elsewhere.rollback()
    with pytest.raises(ConfigurationError, match="another target"):
        await elsewhere.finish()
    assert await everything(target) == {Key("t", "s", "n"): "t"}


async def test_two_processes_at_one_backup(homes: Homes, tmp_path: Path) -> None:
    memory = await homes.folder()
    rng = random.Random(1)
    for n in range(250):
        await memory.set(Key("t", f"s/{n % 7}", f"n{n}"), rng.randbytes(20_000))
    place = FolderPlace(tmp_path / "backup")
    ended = await asyncio.gather(*(Backup(memory, place).run() for _ in range(2)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in ended) == ["Conflict", "Manifest"], ended
    assert (await verify_backup(place)).records == 250


async def test_a_backup_taken_up_before_its_manifest_has_nothing_twice(homes: Homes, tmp_path: Path) -> None:
    class Full(FolderPlace):
        async def put(self, name: str, data: bytes) -> None:
            if name == "manifest.json":
                raise Conflict("it ends here")
            await super().put(name, data)

    memory = await homes.folder()
    for n in range(5):
        await memory.set(f"n{n}", n)
    with pytest.raises(Conflict, match="ends here"):
        await Backup(memory, Full(tmp_path / "backup")).run()
    left = tmp_path / "backup" / ".chunk-000001.jsonl.killed"
    left.write_bytes(b"a secret")
    (tmp_path / "backup" / "chunk-000002.jsonl").write_bytes(b"a secret")
    manifest = await Backup(memory, FolderPlace(tmp_path / "backup")).run()
    assert (manifest.records, len(manifest.chunks)) == (5, 1)
    files = {path.name: path.read_bytes() for path in (tmp_path / "backup").iterdir()}
    assert not any(b"a secret" in data for data in files.values()), files.keys()


async def test_what_a_clients_routes_do_not_reach_is_counted(homes: Homes, tmp_path: Path) -> None:
    program, settings = await homes.folder(authority=Authority.COLD), await homes.folder()
    await program.set("by its route", 1)
    await settings.set("by default", 2)
    manifest = await Backup(settings, FolderPlace(tmp_path / "backup")).run()
    assert (manifest.records, manifest.elsewhere) == (1, 1)
    assert (await verify_backup(FolderPlace(tmp_path / "backup"))).elsewhere == 1
    plan = await Migration(settings, await homes.folder("b"), quiet=QUIET).plan()
    assert (plan.records, plan.elsewhere, plan.possible) == (1, 1, True)


async def test_a_forgotten_scope_does_not_come_back_under_another_name(homes: Homes, tmp_path: Path) -> None:
    memory = await homes.folder()
    await memory.set(Key("t", "user/1", "secret"), "personal")
    place = FolderPlace(tmp_path / "backup")
    await Backup(memory, place).run()
    await memory.forget(tenant="t", scope="user/1", by="the person", longest_write=SECOND)
    report = await Restore(memory, place, space=Space("t", "user/1", to_scope="user/9")).run(overwrite=True)
    assert (report.forgotten, report.written) == (1, 0)
    assert await everything(memory) == {}


@pytest.mark.parametrize("merge", [False, True])
async def test_what_the_source_forgot_goes_from_the_target_too(homes: Homes, tmp_path: Path, merge: bool) -> None:
    source, target = await homes.folder("a"), await homes.folder("b")
    secret, own = Key("t", "user/1", "secret"), Key("t", "user/2", "own")
    await source.set(secret, "personal")
    if merge:
        await target.set(own, "the target's")
    migration = Migration(source, target, space=Space("t"), quiet=QUIET)
    await migration.copy(merge=merge)
    assert await target.get(secret) == "personal"
    await source.forget(tenant="t", scope="user/1", by="the person", longest_write=SECOND)
    # its tombstones are gone a day later; the fence stays
    with closing(sqlite3.connect(tmp_path / "a.sqlite3")) as file, file:
        file.execute("DELETE FROM records")
    # a client that has no floor of them, as every one's has run out by then
    migration = Migration(await homes.folder("a"), target, space=Space("t"), quiet=QUIET)
    report = await migration.copy()
    assert report.deleted == 1
    assert await everything(target) == ({own: "the target's"} if merge else {})
    assert (await migration.verify()).none
