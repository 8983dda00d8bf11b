"""Several processes over one folder, some of them killed: notes that count, payloads that are moved."""

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Key
from thermocline.tiers.local.folder import FolderMemory

CODEC = Codec()
KEY = Key("t", "s", "moved")

PRELUDE = """
import asyncio, json, sys
from dataclasses import replace
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Key
from thermocline.protocols import Verb, Write
from thermocline.tiers.local.folder import FolderMemory

folder, word = sys.argv[1], sys.argv[2]
codec = Codec()
key = Key("t", "s", "moved")

def soon():
    return Deadline.after(60)
"""

COUNTING = """
async def main():
    async with FolderMemory(folder, fsync=False) as tier:
        done = 0
        while done < 40:
            note = await tier.read_note("counter", deadline=soon())
            new = b"%d" % (1 if note is None else int(note.data) + 1)
            condition = {"if_absent": True} if note is None else {"if_etag": note.etag}
            done += await tier.write_note("counter", new, deadline=soon(), **condition) is not None

asyncio.run(main())
"""

MOVING = """
async def main():
    async with FolderMemory(folder, fsync=False) as tier:
        number = 0
        while True:
            number += 1
            envelope = codec.encode(key, word * 3000, now_ms=1_800_000_000_000)
            written = await tier.write(Write(Verb.PUT, f"{word}{number:025d}", envelope), deadline=soon())
            old = await tier.read(key, deadline=soon())
            pointer = await tier.put_payload(key, old.payload, deadline=soon())
            assert await tier.relocate(old, codec.point(old, pointer), deadline=soon())
            below = await tier.read(key, deadline=soon())
            assert await tier.relocate(below, codec.with_payload(below, old.payload), deadline=soon())
            await tier.write_note("last", json.dumps([word, number]).encode(), deadline=soon())
            print(written.version, flush=True)

asyncio.run(main())
"""


def soon() -> Deadline:
    return Deadline.after(60)


async def child(code: str, folder: Path, word: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", PRELUDE + code, str(folder), word, stdout=PIPE)


async def test_processes_count_together_by_a_note(tmp_path: Path) -> None:
    for process in [await child(COUNTING, tmp_path / "cold", word) for word in "abc"]:
        await process.communicate()
        assert process.returncode == 0

    async with FolderMemory(tmp_path / "cold", fsync=False) as tier:
        note = await tier.read_note("counter", deadline=soon())

    assert note is not None
    assert note.data == b"120"


async def test_killed_while_it_moves_a_payload_the_record_is_whole(tmp_path: Path) -> None:
    """P7: the head holds the payload, or a pointer to one that exists."""
    dice = random.Random(11)
    folder = tmp_path / "cold"
    newest = 0
    for word in "abcde":
        process = await child(MOVING, folder, word)
        assert process.stdout is not None
        for _ in range(dice.randint(1, 12)):
            newest = int(await process.stdout.readline())
        process.kill()
        for line in (await process.stdout.read()).splitlines():
            newest = int(line)
        await process.wait()

        async with FolderMemory(folder, fsync=False) as tier:
            found = await tier.read(KEY, deadline=soon())
            assert found is not None
            assert found.version >= newest
            if found.pointer:
                payload = await tier.get_payload(KEY, CODEC.pointer_of(found), deadline=soon())
                assert payload is not None
                found = CODEC.with_payload(found, payload)
            assert CODEC.decode(found) == word * 3000
            note = await tier.read_note("last", deadline=soon())
            assert note is not None
            assert json.loads(note.data)[0] in "abcde"
            counted = await tier.census(limit=10, cursor=None, deadline=soon())
            assert [stored.key for stored in counted.items] == [KEY]
            assert counted.damaged == []
