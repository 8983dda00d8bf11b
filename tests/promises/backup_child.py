"""What a process of the nursery does that makes a backup or restores one, dying at a step of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.promises.child import Steps
from tests.promises.sweeping_child import roomy, stepping

from thermocline.client import MemoryClient
from thermocline.policy import MemoryRules
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.transfer import Backup, FolderPlace, Restore, backup, chunks, ends

RULES = MemoryRules(cold_threshold_bytes=4_000)


def home(folder: str, part: str, steps: Steps | None = None) -> MemoryClient:
    """SQLite and a folder."""

    def made(kind: type[Any]) -> Any:
        return kind if steps is None else stepping(kind, steps, ("census", "read_many", "write_many", "put_payload"))

    warm = made(SqliteMemory)(Path(folder) / f"{part}.sqlite3")
    cold = made(FolderMemory)(Path(folder) / part, fsync=False)
    return MemoryClient(warm=warm, cold=cold, rules=RULES, budget=roomy())


def small() -> None:
    """Chunks, pages and parts so small that there are many of them."""
    sizes: list[tuple[Any, str, int]] = [
        (ends, "PAGE", 8),
        (chunks, "CHUNK", 20_000),
        (backup, "INLINE", 5_000),
        (backup, "PART", 3_000),
    ]
    for module, name, size in sizes:
        setattr(module, name, size)


async def live(
    say: Callable[[str], None],
    *,
    folder: str,
    verb: str,
    place: str,
    die_at: int | None = None,
    overwrite: bool = False,
) -> None:
    """``verb``: backup or restore. ACK the number of records in it, or that were written."""
    small()
    steps = Steps(say, die_at)
    files = stepping(FolderPlace, steps, ("put", "get"))(Path(folder) / place)
    async with home(folder, "source" if verb == "backup" else "target", steps) as memory:
        steps.counting = True
        if verb == "backup":
            say(f"ACK {(await Backup(memory, files).run()).records}")
        else:
            say(f"ACK {(await Restore(memory, files).run(overwrite=overwrite)).written}")
