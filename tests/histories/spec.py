"""What a client process is told: which tiers, how much work, which seed. Goes to it as JSON."""

import json
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from thermocline import MemoryClient, NearCache, Route
from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.codec import Codec
from thermocline.model import Authority
from thermocline.testing.scenarios.places import Places

KEYS = 8  # at a time
ROUND = 150  # operations of one process on the same keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers(Places):
    """Where the tiers are, and what else its clients are given."""

    table: str = ""  # a URL: then Table Storage has the word, by `table_key`
    table_key: str = ""
    near: float = 0.0  # seconds: how old an answer of the near cache may be; 0: there is none
    dictionaries: str = ""  # as of `Codec`

    def client(self, *, clock: Clock = SYSTEM_CLOCK, with_hot: bool = True) -> MemoryClient:
        given = self.given(clock=clock, with_hot=with_hot) | {
            "codec": Codec(dictionaries=self.dictionaries or None),
            "routes": [],
        }
        if self.near and with_hot:
            given["near"] = NearCache(stale_at_most=timedelta(seconds=self.near))
        if self.table:
            from thermocline.tiers.table import TableMemory

            del given["warm"]
            given["warm_plus"] = TableMemory(self.table, self.container, credential=self.table_key, create=True)
            given["routes"] = [Route("", rules=given["rules"], authority=Authority.WARM_PLUS)]
        return MemoryClient(**given)


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
        return cls(**words | {"tiers": Tiers.load(json.dumps(words["tiers"]))})
