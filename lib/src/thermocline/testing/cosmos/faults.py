"""Faults on request: which requests they hit, how often, and what happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from thermocline.testing.cosmos.failures import bad_request
from thermocline.testing.cosmos.store import Lag

WRITES: Final = frozenset({"create", "replace", "upsert", "patch", "delete", "batch", "delete_partition"})
READS: Final = frozenset({"read", "query", "feed"})
DATA: Final = WRITES | READS
KINDS: Final = DATA | {"plan", "pkranges", "metadata", "account"}
ACTIONS: Final = frozenset({"status", "drop", "delay", "lag"})


@dataclass(slots=True)
class Fault:
    """One rule.

    `action` is `status` (answer with `status`/`substatus`), `drop` (close the connection), `delay` (wait `delay_ms`) or `lag`
    (reads see a replica that is `lag_lsns` or `lag_ms` behind). With `after` the request takes effect first. It hits requests of
    `kinds`, of one `container` and one item `id` if these are given, after `skip` of them, `count` times (None: until cleared), each
    with `probability` drawn from `seed`.
    """

    action: str
    kinds: frozenset[str] = DATA
    container: str | None = None
    item: str | None = None
    after: bool = False
    status: int = 503
    substatus: int = 0
    message: str = "Injected by the test."
    retry_after_ms: int | None = None
    delay_ms: float = 0.0
    lag_lsns: int = 0
    lag_ms: float = 0.0
    skip: int = 0
    count: int | None = None
    probability: float = 1.0
    seed: int = 0
    number: int = 0
    hits: int = 0
    seen: int = 0
    chance: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def strikes(self, kind: str, container: str | None, items: frozenset[str]) -> bool:
        """Whether it hits this request; counts it."""
        if kind not in self.kinds or (self.container is not None and self.container != container):
            return False
        if self.item is not None and self.item not in items:
            return False
        if self.count is not None and self.hits >= self.count:
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.probability < 1 and self.chance.random() >= self.probability):
            return False
        self.hits += 1
        return True

    @property
    def lag(self) -> Lag:
        """For `lag`: how far behind."""
        return Lag(self.lag_lsns, self.lag_ms / 1000)

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        raw = asdict(self)
        del raw["chance"]
        return {**raw, "kinds": sorted(self.kinds)}


_OWN: Final = frozenset({"number", "hits", "seen", "chance"})


def parse_fault(raw: Mapping[str, Any]) -> Fault:
    """A rule of the control API. 400 for what is not known."""
    known = set(Fault.__dataclass_fields__) - _OWN
    unknown = raw.keys() - known
    if unknown:
        raise bad_request(f"A fault has no field {min(unknown)!r}.")
    if raw.get("action") not in ACTIONS:
        raise bad_request(f"The action must be one of {sorted(ACTIONS)}.")
    values = dict(raw)
    if "kinds" in values:
        values["kinds"] = expand_kinds(values["kinds"])
    return Fault(**values)


def expand_kinds(kinds: Iterable[str]) -> frozenset[str]:
    """Names of operations, and `reads`, `writes`, `data`, `all`."""
    groups = {"reads": READS, "writes": WRITES, "data": DATA, "all": KINDS}
    found: set[str] = set()
    for kind in kinds:
        if kind not in groups and kind not in KINDS:
            raise bad_request(f"There is no operation {kind!r}; there are {sorted(KINDS)}.")
        found |= groups.get(kind, frozenset({kind}))
    return frozenset(found)


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._next = 1
        self._held: dict[int, asyncio.Event] = {}  # by rule: set when the requests that its delay holds may go on

    def add(self, fault: Fault) -> int:
        """Put a rule in force; returns its number."""
        fault.number = self._next
        self._next += 1
        self.rules.append(fault)
        return fault.number

    def clear(self, number: int | None = None) -> int:
        """Take one or all rules away; returns how many there were."""
        before = len(self.rules)
        self.rules = [] if number is None else [r for r in self.rules if r.number != number]
        return before - len(self.rules)

    def release(self, number: int) -> int:
        """Take a delay away and let the requests go on that it holds; returns how many rules there were."""
        held = self._held.pop(number, None)
        if held is not None:
            held.set()
        return self.clear(number)

    async def wait(self, struck: Iterable[Fault]) -> None:
        """As long as the delays among these say, one after the other, or until they are released."""
        for fault in struck:
            if fault.action == "delay" and fault.delay_ms > 0:
                held = self._held.setdefault(fault.number, asyncio.Event())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(fault.delay_ms / 1000):
                        await held.wait()

    def striking(self, kind: str, container: str | None, items: frozenset[str]) -> list[Fault]:
        """The rules that hit this request."""
        return [r for r in self.rules if r.strikes(kind, container, items)]
