"""Several tiers of one process on one file, beside another process: nobody's log is removed under anybody."""

import subprocess
import sys
from pathlib import Path

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Write
from thermocline.tiers.local.sqlite import SqliteMemory

COME_AND_GO = """
import asyncio, sys
from pathlib import Path
from thermocline.tiers.local.sqlite import SqliteMemory

async def main():
    tier = SqliteMemory(Path(sys.argv[1]))
    await tier.connect()
    await tier.close()

asyncio.run(main())
"""


def come_and_go(path: Path) -> None:
    """Another process opens the file and closes it; as the last one it would remove the log."""
    subprocess.run([sys.executable, "-c", COME_AND_GO, str(path)], check=True, timeout=60)


def log_of(path: Path) -> int:
    """Which file the log is."""
    return Path(f"{path}-wal").stat().st_ino


def beside(path: Path) -> list[str]:
    return [found.name for found in path.parent.iterdir()]


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def write_of(number: int) -> Write:
    codec = Codec()
    key = Key("tenant", "scope", f"name/{number}")
    sealed = codec.seal(key, codec.prepare({"n": number}), now_ms=1_800_000_000_000)
    return Write(Verb.PUT, f"write-{number}", sealed)


async def test_second_tier_of_a_process_gives_up_no_lock_of_the_first(tmp_path: Path) -> None:
    """POSIX takes away all locks that a process has on a file as soon as it closes any descriptor of it."""
    path = tmp_path / "warm.sqlite3"
    first, second = SqliteMemory(path), SqliteMemory(path)
    await first.connect()
    assert (await first.write(write_of(1), deadline=Deadline.after(10))).effect is Effect.TOOK
    await second.connect()
    log = log_of(path)
    come_and_go(path)
    assert log_of(path) == log, "the log that the first tier writes was removed under it"
    assert (await first.write(write_of(2), deadline=Deadline.after(10))).effect is Effect.TOOK
    third = SqliteMemory(path)
    await third.connect()
    for tier in (first, second, third):
        for number in (1, 2):
            found = await tier.read(write_of(number).key, deadline=Deadline.after(10))
            assert found is not None
            assert Codec().decode(found) == {"n": number}
        await tier.close()


async def test_new_file_is_private_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "warm.sqlite3"
    tier = SqliteMemory(path)
    await tier.connect()
    assert mode_of(path) == 0o600
    await tier.close()
    assert beside(path) == [path.name]
