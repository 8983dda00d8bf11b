"""Containers and their items in memory.

Each operation runs without an await, so that it is atomic. Writes go into a `Draft` of one logical partition and are
committed together under one LSN of the partition's physical range; a draft that is dropped leaves nothing behind.
"""

from __future__ import annotations

import base64
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Protocol

import msgspec

from thermocline.testing.cosmos.clock import ServerClock
from thermocline.testing.cosmos.failures import bad_request, conflict, not_found
from thermocline.testing.cosmos.indexing import IndexPolicy
from thermocline.testing.cosmos.limits import check_item_size, check_ttl
from thermocline.testing.cosmos.partitions import UNDEFINED_KEY, PartitionValue, make_value
from thermocline.testing.cosmos.ranges import Item, Range, first_ranges, middle

HISTORY: Final = 4096  # writes that a lagging replica can be behind
HISTORY_BYTES: Final = 64 * 1024 * 1024
PURGE_EVERY: Final = 4096  # writes between two removals of what has expired


def rid(*parts: int) -> str:
    """A resource id: 4 bytes for a database, 4 more for a container, 8 more for an item; base64 with - for /."""
    raw = b"".join(p.to_bytes(8 if i == 2 else 4, "big") for i, p in enumerate(parts))
    return base64.b64encode(raw).decode().replace("/", "-")


@dataclass(slots=True)
class Partition:
    """A logical partition: its items by id, in order of `_rid`."""

    key: PartitionValue
    range: Range
    items: dict[str, Item] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Undo:
    """What a write replaced, so that a lagging replica can be shown."""

    lsn: int
    at: float
    range_id: str
    item: tuple[str, str]
    before: Item | None


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a replica is behind: by LSNs, by seconds, or by what is larger of both."""

    lsns: int = 0
    seconds: float = 0.0


class Owner(Protocol):
    """What a container asks of its database."""

    name: str
    rid: str
    number: int
    clock: ServerClock

    def next_etag(self) -> str:
        """A new quoted ETag."""


class Container:
    """A container: its properties, physical ranges and items."""

    def __init__(self, database: Owner, properties: dict[str, Any], number: int, ranges: int) -> None:
        self.database = database
        self.clock = database.clock
        self.rid = rid(database.number, number)
        self._numbers = (database.number, number)
        self.ranges = first_ranges(ranges)
        self.generation = 1
        self._next_range = ranges
        self.partitions: dict[str, Partition] = {}
        self._order: list[tuple[str, str]] = []
        self._next_item = count(1)
        self._undo: deque[Undo] = deque()
        self._undo_bytes = 0
        self._writes = 0
        definition = properties["partitionKey"]
        self.kind: str = definition["kind"]
        self.paths = [tuple(split_path(p)) for p in definition["paths"]]
        self.name: str = properties["id"]
        self.properties: dict[str, Any] = {}
        self.default_ttl: int | None = None
        self.index = IndexPolicy({})
        self.unique: list[list[tuple[str, ...]]] = []
        self.apply(properties)

    # ---- properties

    def apply(self, properties: dict[str, Any]) -> None:
        """Set the container's properties; what has expired under the old ones is gone for good."""
        self.purge()
        policy = properties["indexingPolicy"]
        self.index = IndexPolicy(policy)
        self.default_ttl = properties.get("defaultTtl")
        keys = properties.get("uniqueKeyPolicy", {}).get("uniqueKeys", [])
        self.unique = [[tuple(split_path(p)) for p in k["paths"]] for k in keys]
        link = f"dbs/{self.database.rid}/colls/{self.rid}/"
        self.properties = {
            **properties,
            "_rid": self.rid,
            "_ts": int(self.clock.now()),
            "_self": link,
            "_etag": self.database.next_etag(),
            "_docs": "docs/",
            "_sprocs": "sprocs/",
            "_triggers": "triggers/",
            "_udfs": "udfs/",
            "_conflicts": "conflicts/",
        }

    # ---- partitions and ranges

    def key_of(self, doc: dict[str, Any]) -> PartitionValue:
        """The partition key that an item's own properties give."""
        parts = []
        for path in self.paths:
            value: Any = doc
            for name in path:
                if not isinstance(value, dict) or name not in value:
                    value = UNDEFINED_KEY
                    break
                value = value[name]
            parts.append(value)
        return make_value(parts, self.kind)

    def range_of(self, epk: str) -> Range:
        """The physical range in which an EPK lies."""
        return next(r for r in self.ranges if r.holds(epk))

    def range_by_id(self, range_id: str) -> Range | None:
        """The live range of that id."""
        return next((r for r in self.ranges if r.id == range_id), None)

    def partition(self, key: PartitionValue) -> Partition:
        """The logical partition, made on first use."""
        found = self.partitions.get(key.text)
        if found is None:
            found = self.partitions[key.text] = Partition(key, self.range_of(key.epk))
            insort(self._order, (key.epk, key.text))
        return found

    def partitions_between(self, low: str, high: str) -> Iterator[Partition]:
        """Logical partitions with low <= EPK < high, in order of EPK."""
        start = bisect_left(self._order, (low, ""))
        for epk, text in self._order[start:]:
            if epk >= high:
                return
            yield self.partitions[text]

    def split(self, range_id: str) -> tuple[Range, Range]:
        """Split a physical range in two; its id is gone (410/1002) and its LSN goes on in both children."""
        parent = self.range_by_id(range_id)
        if parent is None:
            raise bad_request(f"There is no range {range_id}.")
        bound = middle(parent.low, parent.high)
        self.generation += 1
        pair = []
        for low, high in ((parent.low, bound), (bound, parent.high)):
            child = Range(str(self._next_range), low, high, self.generation, (*parent.parents, parent.id), parent.lsn)
            self._next_range += 1
            pair.append(child)
        at = self.ranges.index(parent)
        self.ranges[at : at + 1] = pair
        for where, item in parent.latest.items():
            (pair[0] if pair[0].holds(item.key.epk) else pair[1]).latest[where] = item
        for p in self.partitions.values():
            if p.range is parent:
                p.range = pair[0] if pair[0].holds(p.key.epk) else pair[1]
        self._undo.clear()
        self._undo_bytes = 0
        return pair[0], pair[1]

    # ---- items

    def expired(self, item: Item, now: float) -> bool:
        """Whether the item's time is over: `ttl`, or else `defaultTtl`, whole seconds after `_ts`."""
        default = self.default_ttl
        if default is None:
            return False
        ttl = default if item.ttl is None else item.ttl
        return ttl != -1 and now >= item.ts + ttl

    def find(self, key: PartitionValue, item_id: str) -> Item | None:
        """The live item, or None."""
        partition = self.partitions.get(key.text)
        item = None if partition is None else partition.items.get(item_id)
        return None if item is None or self.expired(item, self.clock.now()) else item

    def new_number(self) -> int:
        """The number of a new item, from which its `_rid` is made."""
        return next(self._next_item)

    def item_rid(self, number: int) -> str:
        """The `_rid` of an item."""
        return rid(*self._numbers, number)

    def purge(self) -> None:
        """Remove what has expired."""
        now = self.clock.now()
        for p in self.partitions.values():
            for item_id in [i for i, item in p.items.items() if self.expired(item, now)]:
                del p.items[item_id]
                p.range.latest.pop((p.key.text, item_id), None)

    def drop_partition(self, key: PartitionValue) -> None:
        """Remove a whole logical partition at once."""
        partition = self.partitions.get(key.text)
        if partition is None:
            return
        draft = Draft(self, key)
        for item_id in partition.items:
            draft.changes[item_id] = None
        draft.commit()

    def record(self, entry: Undo) -> None:
        """Remember what a write replaced, as far as the history's bounds allow."""
        self._undo.append(entry)
        self._undo_bytes += 0 if entry.before is None else len(entry.before.body)
        while len(self._undo) > HISTORY or self._undo_bytes > HISTORY_BYTES:
            oldest = self._undo.popleft().before
            self._undo_bytes -= 0 if oldest is None else len(oldest.body)

    def forget(self) -> None:
        """Now and then remove what has expired, so that memory does not grow with it."""
        self._writes += 1
        if self._writes % PURGE_EVERY == 0:
            self.purge()

    def behind(self, lag: Lag) -> tuple[dict[str, int], dict[tuple[str, str], Item | None]]:
        """A lagging replica: the LSN each range has reached, and the items that are different there."""
        reached = {r.id: max(0, r.lsn - lag.lsns) if lag.lsns else r.lsn for r in self.ranges}
        since = self.clock.now() - lag.seconds if lag.seconds else float("inf")
        differs: dict[tuple[str, str], Item | None] = {}
        for u in reversed(self._undo):
            if u.range_id in reached and (u.lsn > reached[u.range_id] or u.at > since):
                differs[u.item] = u.before
                reached[u.range_id] = min(reached[u.range_id], u.lsn - 1)
        return reached, differs


class Draft:
    """Changes to one logical partition, seen by later reads of the draft and by nobody else until `commit`."""

    def __init__(self, container: Container, key: PartitionValue) -> None:
        self.container = container
        self.key = key
        self.now = container.clock.now()
        self.changes: dict[str, Item | None] = {}

    def find(self, item_id: str) -> Item | None:
        """The live item as this draft sees it."""
        if item_id in self.changes:
            return self.changes[item_id]
        return self.container.find(self.key, item_id)

    def get(self, item_id: str) -> Item:
        """As `find`, or 404/0."""
        item = self.find(item_id)
        if item is None:
            raise not_found()
        return item

    def put(self, doc: dict[str, Any], before: Item | None) -> Item:
        """Add or replace an item; checks `ttl`, size and unique keys. `before` gives its `_rid` on."""
        c = self.container
        ttl = check_ttl(doc)
        etag = c.database.next_etag()
        number = before.number if before is not None else c.new_number()
        item_rid = before.rid if before is not None else c.item_rid(number)
        stamped = {k: v for k, v in doc.items() if k not in _STAMPS} if not _STAMPS.isdisjoint(doc) else dict(doc)
        stamped["_rid"] = item_rid
        stamped["_self"] = f"dbs/{c.database.rid}/colls/{c.rid}/docs/{item_rid}/"
        stamped["_etag"] = etag
        stamped["_attachments"] = "attachments/"
        stamped["_ts"] = int(self.now)
        body = msgspec.json.encode(stamped)
        check_item_size(body)
        item = Item(doc["id"], self.key, stamped, body, etag, int(self.now), ttl, item_rid, number)
        if c.unique:
            self._check_unique(item, before)
        if before is not None and before.id != item.id:
            self.changes[before.id] = None
        self.changes[item.id] = item
        return item

    def remove(self, item_id: str) -> None:
        """Take an item away."""
        self.changes[item_id] = None

    def _check_unique(self, item: Item, before: Item | None) -> None:
        others = dict(self.container.partition(self.key).items)
        for item_id, change in self.changes.items():
            if change is None:
                others.pop(item_id, None)
            else:
                others[item_id] = change
        others.pop(item.id, None)
        if before is not None:
            others.pop(before.id, None)
        for paths in self.container.unique:
            mine = [_at(item.doc, p) for p in paths]
            for other in others.values():
                if not self.container.expired(other, self.now) and [_at(other.doc, p) for p in paths] == mine:
                    raise conflict()

    def commit(self) -> Range:
        """Apply all changes under one new LSN; returns the range."""
        c = self.container
        p = c.partition(self.key)
        if not self.changes:
            return p.range
        r = p.range
        r.lsn += 1
        for item_id, item in self.changes.items():
            where = (self.key.text, item_id)
            old = p.items.get(item_id)
            c.record(Undo(r.lsn, self.now, r.id, where, None if old is None or c.expired(old, self.now) else old))
            r.latest.pop(where, None)
            if item is None:
                p.items.pop(item_id, None)
                continue
            item.lsn = r.lsn
            r.latest[where] = item
            if old is not None and old.rid != item.rid:
                del p.items[item_id]  # an expired one: the new item comes last in order of _rid
            unsorted = old is None and bool(p.items) and item.number < next(reversed(p.items.values())).number
            p.items[item_id] = item
            if unsorted:
                p.items = dict(sorted(p.items.items(), key=lambda pair: pair[1].number))
        c.forget()
        return r


_STAMPS = frozenset({"_rid", "_self", "_etag", "_attachments", "_ts", "_lsn"})
_MISSING = object()


def _at(doc: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(doc, dict) or name not in doc:
            return _MISSING
        doc = doc[name]
    return doc


def split_path(path: str) -> list[str]:
    """The names in `/a/"b c"/d`."""
    if not path.startswith("/") or len(path) < 2:
        raise bad_request(f"The path {path!r} is not valid: it must start with / and name a property.")
    return [p[1:-1] if len(p) > 1 and p[0] == p[-1] == '"' else p for p in path[1:].rstrip("/").split("/")]
