"""Where the tiers of a scenario are, and the memory that is made of them: in this process, or as JSON in another one."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.model import Authority, Key

if TYPE_CHECKING:
    from thermocline.client import MemoryClient
    from thermocline.protocols import Entries, Payloads, Versions

TENANT = "chaos"
DATABASE = "chaos"
SCOPES = 3
NEAR = timedelta(milliseconds=500)  # how old an answer of a near cache may be
ONLY = "only-"  # keys of which Redis has the word
TO_COLD = 32_768  # stored bytes, above which a value goes to cold


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Without ``redis`` hot is process memory, without ``cosmos`` warm is a SQLite file in ``folder``, without ``blob`` cold is a folder there.
    Times are in seconds."""

    folder: str
    redis: str = ""
    cosmos: str = ""
    cosmos_key: str = ""
    container: str = ""
    blob: str = ""  # a connection string
    hot_ttl: float = 300.0
    hot_share: float = 0.1
    warm_share: float = 2.0
    cold_share: float = 5.0
    features: tuple[str, ...] = ()  # of `FEATURES`

    def hot(self, clock: Clock = SYSTEM_CLOCK) -> "Entries":
        if not self.redis:
            from thermocline.tiers.local.process import ProcessMemory

            return ProcessMemory(clock=clock)
        from thermocline.tiers.hot import HotMemory

        return HotMemory(self.redis, clock=clock)

    def warm(self, clock: Clock = SYSTEM_CLOCK) -> "Versions":
        if not self.cosmos:
            from thermocline.tiers.local.sqlite import SqliteMemory

            return SqliteMemory(f"{self.folder}/authority.db", clock=clock)
        from thermocline.tiers.warm import WarmMemory

        return WarmMemory(self.cosmos, DATABASE, self.container, key=self.cosmos_key, create=True, clock=clock)

    def cold(self, clock: Clock = SYSTEM_CLOCK) -> "Payloads":
        if not self.blob:
            from thermocline.tiers.local.folder import FolderMemory

            return FolderMemory(f"{self.folder}/payloads", fsync=False, clock=clock)
        from thermocline.tiers.cold import ColdMemory

        return ColdMemory.from_connection_string(self.blob, self.container, create=True, clock=clock)

    def client(self, *, clock: Clock = SYSTEM_CLOCK, with_hot: bool = True) -> "MemoryClient":
        """A client of these tiers, not connected. ``clock`` is its machine's."""
        from thermocline import MemoryClient

        return MemoryClient(**self.given(clock=clock, with_hot=with_hot))

    def given(self, *, clock: Clock = SYSTEM_CLOCK, with_hot: bool = True) -> dict[str, Any]:
        """What it is made of."""
        from thermocline import MemoryRules, Route
        from thermocline.resilience import Budget

        rules = MemoryRules(hot_ttl_seconds=self.hot_ttl, cold_threshold_bytes=TO_COLD)
        shares = {"hot": self.hot_share, "warm": self.warm_share, "cold": self.cold_share}
        return {
            "hot": self.hot(clock) if with_hot else None,
            "warm": self.warm(clock),
            "cold": self.cold(clock),
            "rules": rules,
            "routes": [Route(ONLY, authority=Authority.HOT)] if with_hot else [],
            "budget": Budget(clock, **{name: timedelta(seconds=share) for name, share in shares.items()}),
            "clock": clock,
            **switched_on(self.features if with_hot else tuple(name for name in self.features if name != "near")),
        }

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "Places":
        words = json.loads(text)
        return replace(cls(**words), features=tuple(words["features"]))


def switched_on(features: tuple[str, ...]) -> dict[str, Any]:
    """What `MemoryClient` is given for these features. Raises ValueError for one that is not known."""
    unknown = set(features) - set(FEATURES)
    if unknown:
        raise ValueError(f"there is no feature {min(unknown)!r}; there are {', '.join(FEATURES)}")
    return {name: value for feature in features for name, value in FEATURES[feature]().items()}


def _hedge() -> dict[str, Any]:
    from thermocline.resilience import Hedging, Resilience

    return {"resilience": Resilience(hedge=Hedging(share=0.2, samples=20))}


def _near() -> dict[str, Any]:
    from thermocline import NearCache

    return {"near": NearCache(stale_at_most=NEAR)}


FEATURES: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {"hedge": _hedge, "near": _near}
"""What is off by default, and can be switched on for a run: what `MemoryClient` is given for it."""


def key_of(name: str) -> Key:
    """The key of a name that ends with a number."""
    return Key(TENANT, f"scope{int(name.rpartition('-')[2]) % SCOPES}", name)
