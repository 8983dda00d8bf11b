"""What a client process is told: which tiers, how much work, which seed. Goes to it as JSON."""

import json
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from tests.histories.values import TO_COLD

from thermocline import MemoryClient, MemoryRules, NearCache, Route
from thermocline.codec import Codec
from thermocline.model import Authority, Key
from thermocline.protocols import Entries, Payloads, Versions
from thermocline.resilience import Budget, Hedging, Resilience
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

DATABASE = "histories"
TENANT = "histories"
SCOPES = 3
KEYS = 8  # at a time
ROUND = 150  # operations of one process on the same keys


@dataclass(frozen=True, slots=True)
class Tiers:
    """Where the tiers are. Without ``redis`` hot is process memory, without ``cosmos`` warm is the SQLite file, without ``blob`` cold is the folder."""

    folder: str
    redis: str = ""
    cosmos: str = ""
    cosmos_key: str = ""
    container: str = ""
    blob: str = ""  # a connection string
    table: str = ""  # a URL: then Table Storage has the word, by `table_key`
    table_key: str = ""
    hot_ttl: float = 300.0  # seconds
    hot_share: float = 2.0  # seconds: long, so that a busy machine does not look like a broken Redis
    warm_share: float = 1.0  # seconds
    hedge: float = 0.0  # share of further reads
    near: float = 0.0  # seconds: how old an answer of the near cache may be; 0: there is none
    dictionaries: str = ""  # as of `Codec`

    def hot(self) -> Entries:
        if not self.redis:
            return ProcessMemory()
        from thermocline.tiers.hot import (
            HotMemory,  # the SDKs where they are needed: a process that was killed is soon back
        )

        return HotMemory(self.redis, max_connections=16)

    def warm(self) -> Versions:
        if not self.cosmos:
            return SqliteMemory(f"{self.folder}/authority.db")
        from thermocline.tiers.warm import WarmMemory

        return WarmMemory(self.cosmos, DATABASE, self.container, key=self.cosmos_key, create=True)

    def cold(self) -> Payloads:
        if not self.blob:
            return FolderMemory(f"{self.folder}/payloads", fsync=False)
        from thermocline.tiers.cold import ColdMemory

        return ColdMemory.from_connection_string(self.blob, self.container, create=True)

    def client(self, *, with_hot: bool = True) -> MemoryClient:
        rules = MemoryRules(hot_ttl_seconds=self.hot_ttl, cold_threshold_bytes=TO_COLD)
        budget = Budget(hot=timedelta(seconds=self.hot_share), warm=timedelta(seconds=self.warm_share))
        codec = Codec(dictionaries=self.dictionaries or None)
        tiers: dict[str, Any] = {"hot": self.hot() if with_hot else None, "cold": self.cold(), "codec": codec}
        if self.near and with_hot:
            tiers["near"] = NearCache(stale_at_most=timedelta(seconds=self.near))
        if self.hedge:
            tiers["resilience"] = Resilience(hedge=Hedging(share=self.hedge, samples=20))
        if not self.table:
            return MemoryClient(**tiers, warm=self.warm(), rules=rules, budget=budget)
        from thermocline.tiers.table import TableMemory

        route = Route("", rules=rules, authority=Authority.WARM_PLUS)
        table = TableMemory(self.table, self.container, credential=self.table_key, create=True)
        return MemoryClient(**tiers, warm_plus=table, rules=rules, routes=[route], budget=budget)


@dataclass(frozen=True, slots=True)
class Spec:
    """One client process. ``name`` is of one life of it: ``2.0``, and after it was killed ``2.1``."""

    name: str
    seed: int
    tiers: Tiers
    operations: int
    done: int = 0  # operations that its earlier lives have made
    ahead: int = 0  # how far the others were ahead when it was killed: it joins them at their keys
    tasks: int = 4
    naive: bool = False
    unfenced: bool = False  # process memory does not ask whether another process has written: broken on purpose
    reads: float = 0.7
    watched: bool = False  # whether to write down when the recovery queue is empty
    keys: list[str] = field(default_factory=list)  # of a final reader: what to read

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "Spec":
        words = json.loads(text)
        return cls(**words | {"tiers": Tiers(**words["tiers"])})


def key_of(name: str) -> Key:
    """The key of a name such as ``12-3``."""
    return Key(TENANT, f"scope{int(name.rpartition('-')[2]) % SCOPES}", name)
