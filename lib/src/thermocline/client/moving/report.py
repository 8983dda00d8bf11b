"""What a sweep did and how far it came."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from thermocline.client.moving.result import ERRORS_KEPT, Moved, Savings

_MOVED = ("moved", "bytes_moved", "reused", "clean", "changed", "unfit", "failed")


@dataclass(slots=True)
class SweepReport:
    """One pass, or how far it came; the figures are of the whole pass, by whichever processes.

    ``finished``: everything was seen. Else ``stopped`` says why not and ``where`` how far it came; the next sweep goes on there (and counts the records of a
    page that was cut short twice). ``busy_until``: another process has the pass until then, and nothing was done here. ``resumed``: how often the pass was
    taken up again.

    ``records`` were looked at; ``dead`` of them are tombstones or expired, ``strangers`` belong to another authority by the routes, ``damaged`` could not be
    read. ``shortened`` and ``deleted``: by retention ceilings. ``demotions``: by the lifetimes' rules. ``purged``: dead records that their tier does not
    remove by itself.

    ``payloads`` lie in cold; ``pointed`` to are in use, ``young`` ones in their grace, ``orphans`` were removed, with ``orphan_bytes``; ``unresolved`` lie
    where the key cannot be told from the path, or whose scope could not be counted, and stay. ``temporary`` files of dead writers and ``notes`` of the
    library that were merged or too old.

    ``failures``: what could not be done now; the next pass finds it again. ``errors``: the first hundred, in words.
    """

    dry_run: bool = False
    finished: bool = False
    stopped: str = ""
    where: str = ""
    busy_until: datetime | None = None
    resumed: int = 0
    records: int = 0
    dead: int = 0
    strangers: int = 0
    damaged: int = 0
    shortened: int = 0
    deleted: int = 0
    purged: int = 0
    payloads: int = 0
    pointed: int = 0
    young: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    unresolved: int = 0
    temporary: int = 0
    notes: int = 0
    failures: int = 0
    request_units: float = 0.0
    demotions: Moved = field(default_factory=Moved)
    errors: list[str] = field(default_factory=list)

    @property
    def saves(self) -> Savings:
        """What its demotions save, by list prices."""
        return self.demotions.saves

    def fail(self, what: str, error: Exception) -> None:
        self.failures += 1
        if len(self.errors) < ERRORS_KEPT:
            self.errors.append(f"{what}: {error}"[:300])

    def changes(self) -> int:
        """Records that are, or with ``dry_run`` would be, other than before."""
        return self.demotions.moved + self.shortened + self.deleted

    def failed(self) -> int:
        """All that could not be done now."""
        return self.failures + self.demotions.failed

    def counts(self) -> dict[str, int]:
        """All numbers, for a checkpoint or a machine."""
        own = {name: value for f in fields(self) if type(value := getattr(self, name := f.name)) is int}
        return own | {f"demotions_{name}": getattr(self.demotions, name) for name in _MOVED}

    def add(self, counts: Mapping[str, Any]) -> None:
        """Take up the figures of a checkpoint; what is none of them is left."""
        mine = self.counts()
        for name, number in counts.items():
            if name not in mine or type(number) is not int:
                continue
            if name.startswith("demotions_"):
                setattr(self.demotions, name.removeprefix("demotions_"), number)
            else:
                setattr(self, name, number)
