"""What `forget` answers with, and the record that is kept of it. Data only."""

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from thermocline.configured import duration
from thermocline.errors import InvalidArgument

AUDIT: Final = "audit/"  # the notes that say who erased what
LONGEST_BACKUP: Final = timedelta(days=30)  # Cosmos DB keeps no backup for longer, periodic or continuous
LONGEST_SOFT_DELETE: Final = timedelta(
    days=365
)  # nor Blob Storage a deleted blob or an old version that soft delete holds


@dataclass(frozen=True, slots=True)
class ServiceRetention:
    """For how long the services themselves keep what was erased; None: not said, so the longest that Azure allows is assumed, and called so.

    ``cosmos_backup``: the backup policy of the account; ``blob_soft_delete``: of the storage account, the longer one of blobs and versions;
    ``redis_persistence``: how old a snapshot of Redis may get (zero: it writes none).
    """

    cosmos_backup: timedelta | float | None = None
    blob_soft_delete: timedelta | float | None = None
    redis_persistence: timedelta | float | None = None

    def __post_init__(self) -> None:
        for name in ("cosmos_backup", "blob_soft_delete", "redis_persistence"):
            given: Any = getattr(self, name)
            if given is not None:
                span = duration(given, f"ServiceRetention: {name}", least=timedelta(), raises=InvalidArgument)
                object.__setattr__(self, name, span)


@dataclass(frozen=True, slots=True)
class Remainder:
    """Something of the erased data that a service keeps for a while, out of reach of every read. ``assumed``: the date is the latest possible one,
    as nobody said how the service is set up."""

    tier: str
    what: str
    until: datetime
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased. ``id`` names the audit record. Counts are of both passes: ``records`` live or expired ones, by tier; ``payloads`` of cold,
    and their ``bytes``. ``tombstones`` found there already. ``damaged`` names what could not be read, so nobody can say whose it is: remove it by
    hand. ``unsearched`` names places that know no scopes and may hold more: old copies that a route reads until their first write. ``untold``: keys of
    which hot could not be told yet. ``dictionaries`` names those that may hold fragments of what was erased (docs/dictionaries.md). ``complete`` is False for
    a dry run, and where any of these four is not empty."""

    id: str
    tenant: str
    scope: str | None
    by: str
    reason: str
    started: datetime
    finished: datetime
    dry_run: bool
    records: dict[str, int] = field(default_factory=dict)
    tombstones: int = 0
    payloads: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    unsearched: list[str] = field(default_factory=list)
    untold: int = 0
    remains: list[Remainder] = field(default_factory=list)
    dictionaries: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.dry_run and not (self.damaged or self.unsearched or self.untold or self.dictionaries)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: times in ISO 8601."""
        found: dict[str, Any] = msgspec.to_builtins(asdict(self))
        return found | {"complete": self.complete}
