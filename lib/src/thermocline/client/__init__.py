"""The client: verbs, cascade, single flight, batches, recovery. Sees Protocols only, never an SDK."""

from thermocline.client.client import MemoryClient
from thermocline.client.health import Health, TierHealth, Verdict
from thermocline.client.moving.report import SweepReport
from thermocline.client.moving.result import Moved, Prefetched, Savings
from thermocline.client.result import NOT_GIVEN, Batch, ListedKey, Listing, WriteResult
from thermocline.client.scoped import ScopedMemory

__all__ = [
    "NOT_GIVEN",
    "Batch",
    "Health",
    "ListedKey",
    "Listing",
    "MemoryClient",
    "Moved",
    "Prefetched",
    "Savings",
    "ScopedMemory",
    "SweepReport",
    "TierHealth",
    "Verdict",
    "WriteResult",
]
