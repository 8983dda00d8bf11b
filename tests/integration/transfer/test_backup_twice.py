"""A record that a census gives twice, because it was moved meanwhile, is in a backup twice: the later line counts."""

import hashlib
import json
from pathlib import Path

from tests.integration.transfer.homes import Homes, everything

from thermocline.codec import Codec
from thermocline.model import Key
from thermocline.transfer import FolderPlace, Restore, verify_backup
from thermocline.transfer.chunks import ChunkWriter, head_line, manifest_digest, walk

NOW = 1_700_000_000_000


async def test_the_later_line_counts_and_a_void_one_does_not(homes: Homes, tmp_path: Path) -> None:
    codec, key, void = Codec(), Key("t", "s", "twice"), Key("t", "s", "void")
    place = FolderPlace(tmp_path / "made")
    writer = ChunkWriter(place, "id")
    for turn in range(2):
        copy = codec.encode(key, f"turn {turn}", now_ms=NOW + turn)
        sha = hashlib.sha256(copy.payload).hexdigest()
        await writer.line(head_line(copy, sha, len(copy.payload), payload=copy.payload))
    given_up = codec.encode(void, b"x" * 10, now_ms=NOW)
    await writer.line(head_line(given_up, "0" * 64, 2_000_000, payload=None))
    await writer.part(b"the first part")
    await writer.line({"void": "it could not be read"})
    await writer.close()
    found = await walk(place, "id", writer.chunks, writer.last)
    told = {
        "id": "id",
        "tenant": None,
        "scope": None,
        "began_ms": NOW,
        "ended_ms": NOW,
        "records": found.records,
        "bytes": found.bytes,
        "damaged_count": 1,
        "damaged": ["t/s/void"],
        "chunks": found.chunks,
    }
    manifest = {"thermocline_backup": 1, "sha256": manifest_digest(told)} | told
    await place.put("manifest.json", json.dumps(manifest).encode())
    assert ((await verify_backup(place)).records, found.voids) == (2, {3})
    memory = await homes.folder()
    dry = await Restore(memory, place).run(dry_run=True)
    assert dry.records == 2
    report = await Restore(memory, place).run()
    assert (report.records, report.written, report.failed) == (2, 2, 0)
    assert await everything(memory) == {key: "turn 1"}
    again = await Restore(memory, place).run()
    assert (again.written, again.newer, again.same) == (0, 1, 1)
