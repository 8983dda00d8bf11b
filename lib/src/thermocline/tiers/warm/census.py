"""Counting what a container holds: an order that no write changes, and a cursor that says how far the count has come.

The order is by physical partition (a range of the hashes of partition keys), in it by tenant, then by scope, then by id. None of these changes as long
as an item exists, so what is there throughout is behind the cursor or before it, whatever is written meanwhile. (The change feed would bring what is
overwritten again and again, and whole values with it, at the price of point reads.) Cosmos DB orders by one property without a composite index, so a page
is ordered by the tenant, and its last tenant, which it may have cut, is counted anew by scopes; likewise the last scope, by ids, which cannot tie. A
tenant or scope that outgrows a page is looked at in vain once.

A physical partition may be split or merged between two pages. The cursor therefore says up to which hash its place holds, and begins anew behind it: a split
brings some records twice, and none never. A query is asked within one physical partition only; where the SDK finds out while asking that there
are two now, whose order it would mix up, the answer is dropped.

10,000 records in two physical partitions, by pages of 1,000 (and of 100): 26 queries (202) where they lie in 100 scopes of two tenants, 15 (105) in one
scope, 20 (220) in 1,000 tenants; 780 to 950 request units (2,400 to 3,200) on the emulator's model, which is an estimate, as no price of a query is
published. The change feed would cost some 10,000.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from thermocline.blobs.upkeep import pack_census, unpack_census
from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidArgument, InvalidKey, ThermoclineError, TierUnavailable
from thermocline.keys import COSMOS_PREFIX, from_cosmos_id
from thermocline.protocols import Inventory, Stored
from thermocline.tiers.warm.calls import persistently, told
from thermocline.tiers.warm.item import stored_of
from thermocline.tiers.warm.sdk import Service
from thermocline.tiers.warm.trouble import TIER, Kind, Trouble

RECORD: Final = (  # the record without its value, but for a pointer
    '{"z": c.r.z, "f": c.r.f, "a": c.r.a, "s": c.r.s, "c": c.r.c, "d": c.r.d, "t": c.r.t, "l": c.r.l, "u": c.r.u, "y": c.r.y, "g": c.r.g, '
    '"h": c.r.h, "k": c.r.k, "e": c.r.e, "p": (c.r.f = 4 ? c.r.p : undefined)} AS r'
)
_SELECT: Final = (
    f"SELECT c.id, c.tenant, c.scope, c.n, c.v, c.c, c._etag, {RECORD} FROM c WHERE STARTSWITH(c.id, @own) AND "  # noqa: S608
)
_LEVELS: Final = (
    ("tenant", _SELECT + "c.tenant > @last ORDER BY c.tenant"),
    ("scope", _SELECT + "c.tenant = @tenant AND c.scope > @last ORDER BY c.scope"),
    ("id", _SELECT + "c.id > @last ORDER BY c.id"),
)
_QUERIES: Final = 8  # of one page, at most

Place = list[str]
"""How far a count has come. [t]: the tenants up to t are done ("": none); [t, s]: the tenants before t, and t's scopes up to s; [t, s, i]: the scopes
before s, and the ids of s up to i."""


class Count:
    """One page of a census. ``low`` and ``high`` are the hashes between which ``place`` holds; of a scope, which has one hash, both are ""."""

    def __init__(self, service: Service, tenant: str | None, scope: str | None, cursor: str | None) -> None:
        """Raises `InvalidArgument` for a cursor that is not of this census."""
        self._service, self._tenant, self._scope = service, tenant, scope
        given = [] if tenant is None else [tenant] if scope is None else [tenant, scope]
        self._given, self._start = given, [*given, ""]
        self.low, self.high, self.place = "", "", list(self._start)
        if cursor is not None:
            self._resume(unpack_census(tenant, scope, cursor))

    def _resume(self, place: str) -> None:
        try:
            self.low, self.high, *self.place = json.loads(place)
        except (ValueError, TypeError) as error:
            raise InvalidArgument("not a cursor of a census: begin without one") from error
        said, given = [self.low, self.high, *self.place], self._given
        ours = all(isinstance(one, str) for one in said) and self.place[: len(given)] == given
        if not ours or not len(self._start) <= len(self.place) <= len(_LEVELS):
            raise InvalidArgument("the cursor is of another census, or of none: begin without one")

    def _cursor(self) -> str:
        return pack_census(self._tenant, self._scope, json.dumps([self.low, self.high, *self.place]))

    async def page(self, limit: int, deadline: Deadline) -> Inventory:
        """At most ``limit`` records, in at most eight queries. Raises `TierUnavailable`."""
        rows: list[dict[str, Any]] = []
        over = False
        with told():
            for _ in range(_QUERIES):
                wanted = limit - len(rows)
                found, over = await persistently(partial(self._step, wanted), deadline)
                rows += found
                if over or 2 * len(rows) >= limit:
                    break
        inventory = Inventory([], None if over else self._cursor())
        for row in rows:
            _enter(row, inventory)
        return inventory

    async def _step(self, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """Ask once, and go on to where the answer ends. The rows that count, and whether the census is over."""
        if self._scope is not None:
            rows, more = await self._ask(self.place[:2], limit)
            return self._went(rows, more, "")
        low, end = ("", "FF") if self._tenant is None else _bounds(await self._service.range_of(self._tenant))
        low = max(low, self.low)
        if low >= end:
            raise InvalidArgument("the cursor is of no census: begin without one")
        high = await self._whole(low, end)
        rows, more = await self._ask(self.place[:2] if len(self.place) == 3 else _range(low, high), limit)
        if await self._whole(low, end) != high:
            raise Trouble(Kind.AGAIN, TierUnavailable("a physical partition was split or merged", tier=TIER))
        self.low, self.high = low, high
        return self._went(rows, more, end)

    async def _ask(self, where: Sequence[str] | dict[str, Any], limit: int) -> tuple[list[dict[str, Any]], bool]:
        parameters = {"@own": COSMOS_PREFIX, "@last": self.place[-1]}
        if len(self.place) == 2:
            parameters["@tenant"] = self.place[0]
        return await self._service.page(_LEVELS[len(self.place) - 1][1], parameters, where, limit=limit)

    def _went(self, rows: list[dict[str, Any]], more: bool, end: str) -> tuple[list[dict[str, Any]], bool]:
        if not more or not rows:
            return rows, self._up(end)
        order = _LEVELS[len(self.place) - 1][0]
        last = rows[-1][order]
        self.place = [*self.place[:-1], last]
        if order != "id":  # the page may have cut this one
            rows = [row for row in rows if row[order] != last]
            self.place.append("")
        return rows, False

    def _up(self, end: str) -> bool:
        """This level is done: on to the next one above, or the next physical partition. Whether there is none."""
        self.place = self.place[:-1]
        if len(self.place) >= len(self._start):
            return False
        self.place, self.low, self.high = list(self._start), self.high, ""
        return self._scope is not None or self.low >= end

    async def _whole(self, low: str, end: str) -> str:
        """Up to which hash, from ``low`` on, all lie in one physical partition, and the place holds."""
        for one in await self._service.ranges():
            start, high = _bounds(one)
            if start <= low < high:
                return min(bound for bound in (high, end, self.high) if bound)
        raise Trouble(Kind.AGAIN, TierUnavailable("the physical partitions are not all known", tier=TIER))


def _bounds(feed_range: Mapping[str, Any]) -> tuple[str, str]:
    found = feed_range["Range"]
    return str(found["min"]), str(found["max"])


def _range(low: str, high: str) -> dict[str, Any]:
    return {"Range": {"min": low, "max": high, "isMinInclusive": True, "isMaxInclusive": False}}


def _enter(row: Mapping[str, Any], inventory: Inventory) -> None:
    try:
        inventory.items.append(stored(row))
    except ThermoclineError as error:
        inventory.damaged.append(str(error))


def stored(row: Mapping[str, Any]) -> Stored:
    """What a row of `RECORD` says. Raises `CorruptRecord`, `UnreadableRecord`."""
    try:
        key = from_cosmos_id(row["tenant"], row["scope"], row["id"], row["n"])
    except (InvalidKey, KeyError) as error:
        where = "/".join(str(row.get(name))[:200] for name in ("tenant", "scope", "id"))
        raise CorruptRecord(f"the item {where} in Cosmos DB is damaged: its id and its full name differ") from error
    return stored_of(row, key)
