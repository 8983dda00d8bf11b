"""`FolderMemory` and what happens to processes and disks: killed with SIGKILL anywhere, no space left, no right to write, several at once."""

import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from thermocline.blobs import wire
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.keys import head_path
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Write
from thermocline.tiers.local.folder import FolderMemory

CODEC = Codec()
NOW = 1_800_000_000_000

PRELUDE = """
import asyncio, json, os, sys
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import AccessDenied, TierFull
from thermocline.model import Key
from thermocline.protocols import Effect, Verb, Write
from thermocline.tiers.local.folder import FolderMemory

folder, word = sys.argv[1], sys.argv[2]
codec = Codec(compression=None)

def soon():
    return Deadline.after(60)

def put(name, number, value, **options):
    envelope = codec.encode(Key("t", "s", name), value, now_ms=1_800_000_000_000)
    return Write(Verb.PUT, f"{word}{number:025d}", envelope, **options)

def tell(*what):
    print(json.dumps(what), flush=True)
"""


def child(code: str, folder: Path, word: str = "a", *, before: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*before, sys.executable, "-c", PRELUDE + code, str(folder), word], stdout=subprocess.PIPE, text=True
    )


def run(code: str, folder: Path, word: str = "a", *, before: tuple[str, ...] = ()) -> list[Any]:
    """Run a child to its end; what it told."""
    with child(code, folder, word, before=before) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def soon() -> Deadline:
    return Deadline.after(30)


WRITING = """
async def main():
    async with FolderMemory(folder, fsync=False) as tier:
        number = 0
        while True:
            for name in ("one", "two", "three"):
                number += 1
                write = put(name, number, {"number": number, "filler": "x" * (number % 7 * 3000)})
                written = await tier.write(write, deadline=soon())
                tell(name, number, written.version)
            key = Key("t", "s", "payload")
            pointer = await tier.put_payload(key, bytes([number % 256]) * 300_000, deadline=soon())
            tell("payload", pointer.path, pointer.sha256, pointer.size)

asyncio.run(main())
"""


def note(told: list[Any], acknowledged: dict[str, int], payloads: list[tuple[str, int]]) -> None:
    if told[0] == "payload":
        payloads.append((told[1], told[3]))
    else:
        acknowledged[told[0]] = told[2]


async def test_killed_anywhere_nothing_is_torn_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    dice = random.Random(4)
    folder = tmp_path / "cold"
    acknowledged: dict[str, int] = {}
    payloads: list[tuple[str, int]] = []
    for run_number in range(8):
        process = child(WRITING, folder, "abcdefgh"[run_number])
        assert process.stdout is not None
        with process:
            try:
                for _ in range(dice.randint(1, 60)):
                    note(json.loads(await asyncio.to_thread(process.stdout.readline)), acknowledged, payloads)
            finally:
                process.send_signal(signal.SIGKILL)
            for line in process.stdout.read().splitlines():  # told before it died
                if line.endswith("]"):
                    note(json.loads(line), acknowledged, payloads)
        assert process.returncode == -signal.SIGKILL

        async with FolderMemory(folder, fsync=False) as tier:
            assert list((folder / "new").iterdir()) == []
            for name, version in acknowledged.items():
                head = wire.unpack_head((folder / head_path(Key("t", "s", name))).read_bytes(), Key("t", "s", name))
                assert head.version >= version
                assert version in [stamp.version for stamp in head.ring]
                assert CODEC.decode(head.envelope)["filler"].strip("x") == ""
            page, _ = await tier.list_payloads(limit=1000, cursor=None, deadline=soon())
            stored = {payload.path: payload.size for payload in page}
            assert all(stored[path] == size for path, size in payloads)
            assert set(stored.values()) <= {300_000}
            await tier.write(_put("one", f"z{run_number:025d}"), deadline=soon())  # no lock is left
    assert len(acknowledged) == 3


def _put(name: str, write_id: str, **options: Any) -> Write:
    return Write(Verb.PUT, write_id, CODEC.encode(Key("t", "s", name), {"filler": ""}, now_ms=NOW), **options)


COUNTING = """
async def main():
    async with FolderMemory(folder, fsync=False) as tier:
        key = Key("t", "s", "counter")
        done = number = 0
        while done < 40:
            number += 1
            found = await tier.read(key, deadline=soon())
            options = {"if_absent": True} if found is None else {"if_version": found.version}
            value = 1 if found is None else codec.decode(found) + 1
            written = await tier.write(put("counter", number, value, **options), deadline=soon())
            done += written.effect is Effect.TOOK
        tell(number)

asyncio.run(main())
"""


async def test_processes_count_together_without_losing_one(tmp_path: Path) -> None:
    folder = tmp_path / "cold"
    children = [child(COUNTING, folder, word) for word in "abc"]
    for process in children:
        with process:
            await asyncio.to_thread(process.communicate)
        assert process.returncode == 0

    async with FolderMemory(folder, fsync=False) as tier:
        found = await tier.read(Key("t", "s", "counter"), deadline=soon())

    assert found is not None
    assert CODEC.decode(found) == 120


FILLING = """
async def main():
    async with FolderMemory(folder) as tier:
        await tier.write(put("kept", 0, b"before"), deadline=soon())
        number = 0
        try:
            while True:
                number += 1
                await tier.write(put("kept", number, b"x" * number * 2000), deadline=soon())
        except TierFull as error:
            tell("head", number, error.sent, str(error))
        try:
            await tier.put_payload(Key("t", "s", "p"), b"x" * 5_000_000, deadline=soon())
        except TierFull as error:
            tell("payload", error.sent)
        found = await tier.read(Key("t", "s", "kept"), deadline=soon())
        tell("kept", len(codec.decode(found)))
        tell("left", os.listdir(os.path.join(folder, "new")), await tier.list_payloads(limit=9, cursor=None, deadline=soon()))
        tell("after", (await tier.write(put("kept", 100_000, b"small"), deadline=soon())).effect.value)

asyncio.run(main())
"""


def check_full(told: list[Any]) -> None:
    head, payload, kept, left, after = told
    assert head[0] == "head"
    assert head[2] is False
    assert "make room" in head[3]
    assert payload == ["payload", False]
    assert kept == ["kept", (head[1] - 1) * 2000]
    assert left == ["left", [], [[], None]]
    assert after == ["after", Effect.TOOK.value]


def test_full_disk_is_said_so_and_nothing_is_half_written(tmp_path: Path) -> None:
    """A real one of 1 MB, in a mount namespace of its own."""
    may_mount = shutil.which("unshare") is not None and (
        subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True, check=False
        ).returncode
        == 0
    )
    if not may_mount:
        pytest.skip("needs a user namespace that may mount a tmpfs")
    mount = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'

    check_full(run(FILLING, tmp_path / "cold", before=("unshare", "-rm", "sh", "-c", mount, str(tmp_path))))


def test_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"

    check_full(run(limit + FILLING, tmp_path / "cold"))


FORBIDDEN = """
import concurrent.futures.thread  # while this user may still read it
if os.getuid() == 0:
    os.setuid(65534)

async def main():
    try:
        async with FolderMemory(folder) as tier:
            await tier.write(put("name", 1, b"x"), deadline=soon())
    except AccessDenied as error:
        tell(error.sent, str(error))

asyncio.run(main())
"""


@pytest.mark.parametrize("mode", [0o000, 0o555], ids=["closed", "read-only"])
def test_folder_that_may_not_be_used_is_said_so(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "cold"
    asyncio.run(_make(folder))
    for above in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        above.chmod(0o755)
    (folder / "new").chmod(0o555)
    folder.chmod(mode)
    try:
        [[sent, said]] = run(FORBIDDEN, folder)
    finally:
        folder.chmod(0o700)
        (folder / "new").chmod(0o700)

    assert sent is False
    assert "readable and writable" in said
    assert str(folder) in said


async def _make(folder: Path) -> None:
    async with FolderMemory(folder, fsync=False):
        assert (folder / "new").is_dir()
