"""Backups and restores are killed at random points and taken up by other processes: nothing is lost, nothing doubled, nothing newer overwritten."""

import random
from pathlib import Path
from typing import Any

from tests.promises.backup_child import home
from tests.promises.nursery import Nursery

from thermocline.clock import Deadline
from thermocline.model import Authority, Key
from thermocline.transfer import FolderPlace, verify_backup
from thermocline.transfer.chunks import MANIFEST

KILLS = 20
KEYS = [Key("t", f"s/{n % 3}", f"n-{n}") for n in range(40)]


async def fill(folder: str) -> dict[str, bytes]:
    rng = random.Random(3)
    values = {key.name: key.name.encode() + rng.randbytes(rng.choice([30, 2_000, 4_500, 12_000])) for key in KEYS}
    async with home(folder, "source") as memory:
        (await memory.set_many({key: values[key.name] for key in KEYS})).raise_errors()
    return values


async def everything(folder: str, part: str) -> list[tuple[str, Any]]:
    """Each live record of the census, as often as it is there."""
    async with home(folder, part) as memory:
        tier: Any = memory._engine.authorities[Authority.WARM]
        page = await tier.census(limit=1000, cursor=None, deadline=Deadline.after(20))
        assert page.cursor is None
        return sorted([(item.key.name, await memory.get(item.key)) for item in page.items])


async def test_a_backup_killed_twenty_times(nursery: Nursery, tmp_path: Path) -> None:
    values = await fill(str(tmp_path))
    rng, kills, places, round_ = random.Random(1), 0, set(), 0
    while kills < KILLS:
        round_ += 1
        where, ended = f"backup-{round_}", None
        while ended is None or ended.killed:
            die_at = rng.randint(1, 90) if rng.random() < 0.9 else None
            ended = await nursery.run(job="backup", folder=str(tmp_path), verb="backup", place=where, die_at=die_at)
            kills += ended.killed
            if ended.killed:
                places.add(ended.steps[-1])
                assert not (tmp_path / where / MANIFEST).exists() or ended.steps[-1] == "after put"
                if (tmp_path / where / MANIFEST).exists():
                    break
        manifest = await verify_backup(FolderPlace(tmp_path / where))
        assert (manifest.records, manifest.damaged_count) == (len(values), 0)
        names = {path.name for path in (tmp_path / where).iterdir() if path.stat().st_size}
        assert names == {chunk["name"] for chunk in manifest.chunks} | {MANIFEST, "progress.json"}, (
            "nothing else lies there"
        )
        restored = await nursery.run(job="backup", folder=str(tmp_path), verb="restore", place=where, overwrite=True)
        assert restored.acknowledged == (len(values) if round_ == 1 else 0)
        assert await everything(str(tmp_path), "target") == sorted(values.items())
    assert len(places) > 4, places


async def test_a_restore_killed_twenty_times(nursery: Nursery, tmp_path: Path) -> None:
    values = await fill(str(tmp_path))
    made = await nursery.run(job="backup", folder=str(tmp_path), verb="backup", place="kept")
    assert made.acknowledged == len(values)
    rng, kills, places, written = random.Random(2), 0, set(), 0
    expected: dict[str, Any] = dict(values)
    while kills < KILLS:
        die_at = rng.randint(1, 60)
        ended = await nursery.run(job="backup", folder=str(tmp_path), verb="restore", place="kept", die_at=die_at)
        kills += ended.killed
        if not ended.killed:
            continue
        places.add(ended.steps[-1])
        async with home(str(tmp_path), "target") as memory:  # an application is at work between the attempts
            key = rng.choice(KEYS)
            await memory.set(key, expected[key.name] if (even := kills % 2) else f"newer {kills}".encode())
            expected[key.name] = expected[key.name] if even else f"newer {kills}".encode()
            written += 1
    done = await nursery.run(job="backup", folder=str(tmp_path), verb="restore", place="kept")
    assert done.acknowledged is not None
    assert await everything(str(tmp_path), "target") == sorted(expected.items())
    again = await nursery.run(job="backup", folder=str(tmp_path), verb="restore", place="kept")
    assert again.acknowledged == 0
    assert len(places) > 4, places
