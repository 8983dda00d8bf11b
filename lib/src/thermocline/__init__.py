"""One memory over three temperatures: hot (Redis), warm (Cosmos DB), cold (Blob Storage).

Everything public is here; each name is loaded when it is first asked for, so that importing this costs little and needs no extra.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermocline.agents import Agent, AgentBuilder, Caller, MemoryApi, build_service_app
    from thermocline.client import (
        NOT_GIVEN,
        Batch,
        Health,
        Listing,
        MemoryClient,
        Moved,
        Prefetched,
        ScopedMemory,
        SweepReport,
        TierHealth,
        Verdict,
        WriteResult,
    )
    from thermocline.client.dictionaries import DictionaryInfo
    from thermocline.client.near.options import NearCache
    from thermocline.client.receipt import Receipt, ServiceRetention
    from thermocline.client.training import Dictionaries, Training
    from thermocline.codec import Codec
    from thermocline.errors import (
        ConfigurationError,
        Conflict,
        CorruptRecord,
        InvalidArgument,
        ThermoclineError,
        TierUnavailable,
        TypeMismatch,
        UnknownOutcome,
    )
    from thermocline.identity.bearer import EntraTokens
    from thermocline.lifetimes import AS_ROUTED, PRESETS, Ceiling, Lifetime, LifetimeRule, Lifetimes
    from thermocline.model import Corrupt, Hit, Key, MemoryTier, Miss, NotAsked, Outcome, Record, Unavailable
    from thermocline.policy import LegacySource, MemoryConfig, MemoryRules, Route
    from thermocline.resilience import Budget, Hedging, Limits, Resilience
    from thermocline.settings import MemorySettings
    from thermocline.tiers.cold import ColdMemory
    from thermocline.tiers.hot import HotMemory
    from thermocline.tiers.local.folder import FolderMemory
    from thermocline.tiers.local.process import ProcessMemory
    from thermocline.tiers.local.sqlite import SqliteMemory
    from thermocline.tiers.table import TableMemory
    from thermocline.tiers.warm import LegacyDocuments, WarmMemory
    from thermocline.wiring import MemoryBuilder, connect

try:
    __version__ = version("thermocline")
except PackageNotFoundError:  # run from a tree that is not installed
    __version__ = "0"

_HOMES = {
    "agents": ("Agent", "AgentBuilder", "Caller", "MemoryApi", "build_service_app"),
    "client": (
        "NOT_GIVEN",
        "Batch",
        "Health",
        "Listing",
        "MemoryClient",
        "Moved",
        "Prefetched",
        "ScopedMemory",
        "SweepReport",
        "TierHealth",
        "Verdict",
        "WriteResult",
    ),
    "client.dictionaries": ("DictionaryInfo",),
    "client.near.options": ("NearCache",),
    "client.receipt": ("Receipt", "ServiceRetention"),
    "client.training": ("Dictionaries", "Training"),
    "codec": ("Codec",),
    "wiring": ("MemoryBuilder", "connect"),
    "errors": (
        "ConfigurationError",
        "Conflict",
        "CorruptRecord",
        "InvalidArgument",
        "ThermoclineError",
        "TierUnavailable",
        "TypeMismatch",
        "UnknownOutcome",
    ),
    "identity.bearer": ("EntraTokens",),
    "lifetimes": ("AS_ROUTED", "PRESETS", "Ceiling", "Lifetime", "LifetimeRule", "Lifetimes"),
    "model": ("Corrupt", "Hit", "Key", "MemoryTier", "Miss", "NotAsked", "Outcome", "Record", "Unavailable"),
    "policy": ("LegacySource", "MemoryConfig", "MemoryRules", "Route"),
    "resilience": ("Budget", "Hedging", "Limits", "Resilience"),
    "settings": ("MemorySettings",),
    "tiers.cold": ("ColdMemory",),
    "tiers.hot": ("HotMemory",),
    "tiers.local.folder": ("FolderMemory",),
    "tiers.local.process": ("ProcessMemory",),
    "tiers.local.sqlite": ("SqliteMemory",),
    "tiers.table": ("TableMemory",),
    "tiers.warm": ("LegacyDocuments", "WarmMemory"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AS_ROUTED",
    "NOT_GIVEN",
    "PRESETS",
    "Agent",
    "AgentBuilder",
    "Batch",
    "Budget",
    "Caller",
    "Ceiling",
    "Codec",
    "ColdMemory",
    "ConfigurationError",
    "Conflict",
    "Corrupt",
    "CorruptRecord",
    "Dictionaries",
    "DictionaryInfo",
    "EntraTokens",
    "FolderMemory",
    "Health",
    "Hedging",
    "Hit",
    "HotMemory",
    "InvalidArgument",
    "Key",
    "LegacyDocuments",
    "LegacySource",
    "Lifetime",
    "LifetimeRule",
    "Lifetimes",
    "Limits",
    "Listing",
    "MemoryApi",
    "MemoryBuilder",
    "MemoryClient",
    "MemoryConfig",
    "MemoryRules",
    "MemorySettings",
    "MemoryTier",
    "Miss",
    "Moved",
    "NearCache",
    "NotAsked",
    "Outcome",
    "Prefetched",
    "ProcessMemory",
    "Receipt",
    "Record",
    "Resilience",
    "Route",
    "ScopedMemory",
    "ServiceRetention",
    "SqliteMemory",
    "SweepReport",
    "TableMemory",
    "ThermoclineError",
    "TierHealth",
    "TierUnavailable",
    "Training",
    "TypeMismatch",
    "Unavailable",
    "UnknownOutcome",
    "Verdict",
    "WarmMemory",
    "WriteResult",
    "__version__",
    "build_service_app",
    "connect",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'thermocline' has no attribute {name!r}")
    found = getattr(import_module(f"thermocline.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
