"""What a sweeping process of the nursery does: its part of a pass, dying at a step of it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.promises.child import Steps

from thermocline.client import MemoryClient
from thermocline.client.moving.sweep import Sweep
from thermocline.clock import SystemClock
from thermocline.lifetimes import Lifetime, LifetimeRule, Lifetimes
from thermocline.resilience import Budget
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.tiers.warm import WarmMemory

PAGE = 6  # records of a page: a pass over a few dozen of them has many places to be taken up at
STEPS = (
    "census",
    "read",
    "read_many",
    "relocate",
    "purge",
    "write_note",
    "renew_payload",
    "put_payload",
    "list_payloads",
    "sweep_payload",
)
RULES = Lifetimes([LifetimeRule(prefix="", lifetime=Lifetime(demote_above=2000))])


class Shifted(SystemClock):
    """The machine's clock, so many seconds ahead; a negative number: behind."""

    def __init__(self, seconds: float) -> None:
        self._ms = int(seconds * 1000)

    def wall_ms(self) -> int:
        return super().wall_ms() + self._ms


def stepping(kind: type[Any], steps: Steps, names: Sequence[str] = STEPS) -> type[Any]:
    """The tier, saying what it does before and after, and dying there."""

    def one(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def step(*given: Any, **named: Any) -> Any:
            steps(f"before {name}")
            answer = await method(*given, **named)
            steps(f"after {name}")
            return answer

        return step

    own = {name: one(name, getattr(kind, name)) for name in names if hasattr(kind, name)}
    return type(f"Stepping{kind.__name__}", (kind,), own)


def roomy() -> Budget:
    spans: dict[str, Any] = dict.fromkeys(("call", "connect", "hot", "warm", "cold"), timedelta(seconds=60))
    return Budget(**spans)


async def live(
    say: Callable[[str], None],
    *,
    folder: str | None = None,
    cosmos: str = "",
    cosmos_key: str = "",
    blob: str = "",
    blob_key: str = "",
    name: str = "",
    ahead: float = 0.0,
    die_at: int | str | None = None,
) -> None:
    """Sweep over SQLite and a ``folder``, or over Cosmos DB and Blob Storage; say ACK 1 if the pass was finished."""
    Sweep.page = PAGE
    clock = Shifted(ahead)
    steps = Steps(say, die_at)
    warm: Any
    cold: Any
    if folder is not None:
        warm = stepping(SqliteMemory, steps)(Path(folder) / "warm.sqlite3", clock=clock)
        cold = stepping(FolderMemory, steps)(Path(folder) / "cold", clock=clock, fsync=False)
    else:
        warm = stepping(WarmMemory, steps)(cosmos, "promises", name, key=cosmos_key, create=True)
        cold = stepping(ColdMemory, steps)(blob, name, credential=blob_key, create=True)
    async with MemoryClient(warm=warm, cold=cold, clock=clock, budget=roomy(), lifetimes=RULES) as memory:
        steps.counting = True
        report = await memory.sweep(lease=timedelta(seconds=1))
        if report.failures or report.demotions.failed:
            raise AssertionError(f"{report.errors} {report.demotions.errors}")
        if report.finished:
            say("ACK 1")
