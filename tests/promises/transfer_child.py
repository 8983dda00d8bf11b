"""What a migrating process of the nursery does: a step of a migration, dying at a step of it; with writers through both worlds beside it."""

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.promises.child import Steps
from tests.promises.sweeping_child import Shifted, roomy, stepping

from thermocline.client import MemoryClient
from thermocline.errors import ThermoclineError
from thermocline.model import Key
from thermocline.policy import MemoryRules
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.warm import WarmMemory
from thermocline.transfer import DualMemory, Migration, Space, ends

RULES = MemoryRules(cold_threshold_bytes=6_000)
QUIET = timedelta(seconds=1)
LEASE = timedelta(seconds=1)
STEPS = ("census", "read_many", "write_many", "write_note", "put_payload", "get_payload")


def sides(
    folder: str, ahead: float, steps: Steps | None, services: dict[str, str] | None
) -> tuple[MemoryClient, MemoryClient]:
    """SQLite and a folder; and Cosmos DB and Blob Storage, or a second pair of the first kind. Only the migration's own calls count as steps."""
    clock = Shifted(ahead)

    def made(kind: type[Any]) -> Any:
        return kind if steps is None else stepping(kind, steps, STEPS)

    def embedded(part: str) -> MemoryClient:
        warm = made(SqliteMemory)(Path(folder) / f"{part}.sqlite3", clock=clock)
        cold = made(FolderMemory)(Path(folder) / part, clock=clock, fsync=False)
        return MemoryClient(warm=warm, cold=cold, rules=RULES, budget=roomy(), clock=clock)

    if services is None:
        return embedded("source"), embedded("target")
    name = services["name"]
    warm = made(WarmMemory)(services["cosmos"], "promises", name, key=services["cosmos_key"], create=True)
    cold = made(ColdMemory)(services["blob"], name, credential=services["blob_key"], create=True)
    return embedded("source"), MemoryClient(warm=warm, cold=cold, rules=RULES, budget=roomy(), clock=clock)


def value(rng: random.Random, key: Key, turn: int) -> bytes:
    """Small, or large enough to go to cold; every one another."""
    return f"{key.name} {turn} ".encode() + rng.randbytes(rng.choice([50, 3_000, 8_000]))


async def live(
    say: Callable[[str], None],
    *,
    folder: str,
    verb: str,
    ahead: float = 0.0,
    die_at: int | None = None,
    writes: int = 0,
    seed: int = 0,
    keys: list[list[str]] | None = None,
    services: dict[str, str] | None = None,
) -> None:
    """One ``verb`` of the migration, and before it ``writes`` through the writer in both worlds, each of which is told as STEP wrote once acknowledged.
    ACK 1 if the verb came to its end."""
    ends.PAGE = 8  # type: ignore[misc]
    ends.TOGETHER = 4  # type: ignore[misc]
    steps = Steps(say, die_at)
    source, target = sides(folder, ahead, steps, services)
    async with source, target:
        space = Space("t")
        steps.counting = True
        rng = random.Random(seed)
        memory = DualMemory(source, target, space=space)
        mine = [Key(*key) for key in keys or []]
        for turn in range(writes):
            key = rng.choice(mine)
            deletes = rng.random() < 0.2
            new = value(rng, key, seed * 1000 + turn)
            say(f"STEP trying {key.name} {'-' if deletes else new.hex()}")
            await (memory.delete(key) if deletes else memory.set(key, new))
            say(f"STEP wrote {key.name}")
        migration = Migration(source, target, space=space, quiet=QUIET, lease=LEASE)
        try:
            await getattr(migration, verb)()
        except ThermoclineError as error:
            say(f"STEP refused {error}"[:200].replace("\n", " "))
            return
        say("ACK 1")
