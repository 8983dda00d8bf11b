"""What a pass did, and how far it came."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from thermocline.model import Key

NAMED: Final = 100  # keys and errors that a report names; all are counted


@dataclass(slots=True)
class CopyReport:
    """One pass, by whichever processes (the records of a page that was cut short count twice).

    Of ``records`` that were looked at in the source, ``same`` stand in the target already, ``written`` and ``deleted`` were brought there (``bytes`` of
    stored payload), ``kept`` are newer in the target and were left, ``forgotten`` belong to scopes that were erased in the target, ``dead`` were deleted or
    expired on both sides, ``failed`` could not be read or written. ``damaged`` records could not be counted. ``checked``: records of the target that were
    looked for in the source. ``finished``: everything was seen. ``resumed``: how often the pass was taken up again. ``newer``, ``errors``: the first hundred.
    """

    dry_run: bool = False
    finished: bool = False
    resumed: int = 0
    records: int = 0
    checked: int = 0
    same: int = 0
    written: int = 0
    deleted: int = 0
    kept: int = 0
    forgotten: int = 0
    dead: int = 0
    failed: int = 0
    damaged: int = 0
    bytes: int = 0
    newer: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether it came to its end and left nothing undone."""
        return self.finished and not self.failed and not self.damaged and not self.kept

    def keep(self, key: Key) -> None:
        self.kept += 1
        if len(self.newer) < NAMED:
            self.newer.append(str(key))

    def fail(self, what: object, error: Exception) -> None:
        self.failed += 1
        self.tell(f"{what}: {error}")

    def tell(self, words: str) -> None:
        if len(self.errors) < NAMED:
            self.errors.append(words[:300])

    def counts(self) -> dict[str, int]:
        """All numbers, for a checkpoint or a machine."""
        return {f.name: value for f in fields(self) if type(value := getattr(self, f.name)) is int}

    def add(self, counts: Mapping[str, Any]) -> None:
        """Take up the figures of a checkpoint; what is none of them is left."""
        mine = self.counts()
        for name, number in counts.items():
            if name in mine and type(number) is int:
                setattr(self, name, number)


@dataclass(slots=True)
class Differences:
    """What a verification found. ``equal`` records have the same decoded value and metadata on both sides. ``missing`` are in the source alone, ``extra`` in
    the target alone, ``different`` in both; the first hundred of each by name, all counted. ``forgotten``: not in the target because their scope was erased
    there. ``damaged`` could not be compared."""

    equal: int = 0
    forgotten: int = 0
    missing_count: int = 0
    extra_count: int = 0
    different_count: int = 0
    damaged_count: int = 0
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def none(self) -> bool:
        """Whether both sides have the same."""
        return not (self.missing_count or self.extra_count or self.different_count or self.damaged_count)

    def note(self, kind: str, words: str) -> None:
        """``kind``: missing, extra, different or damaged."""
        setattr(self, f"{kind}_count", getattr(self, f"{kind}_count") + 1)
        named: list[str] = getattr(self, kind)
        if len(named) < NAMED:
            named.append(words[:300])

    def told(self) -> str:
        """In words."""
        return (
            f"{self.equal} equal, {self.missing_count} missing, {self.extra_count} extra, {self.different_count} different,"
            f" {self.damaged_count} damaged, {self.forgotten} forgotten"
        )
