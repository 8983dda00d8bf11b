"""Leases of a change feed's ranges, one document each in the lease container, as the official trigger keeps them (not in its format).

A document holds the owner, until when it counts, and how far the range has been handed over. Every change is conditional on the document's
ETag, so of two hosts one wins. A host takes what nobody owns or what ran out; one that has less than its share takes from who has the most.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from thermocline.testing.extra import needed_by
from thermocline.testing.functions.errors import BadApp

with needed_by(__name__, "functions,service,testing"):
    from azure.core import MatchConditions
    from azure.cosmos.aio import ContainerProxy
    from azure.cosmos.exceptions import (
        CosmosAccessConditionFailedError,
        CosmosResourceExistsError,
        CosmosResourceNotFoundError,
    )


class LeaseLost(Exception):
    """Another host has taken the range: what was under way is that one's now."""


@dataclass
class Lease:
    """A range that this host owns."""

    document: dict[str, Any]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def continuation(self) -> str | None:
        """Where to go on; None: from the beginning."""
        found: str | None = self.document["continuation"]
        return found

    @property
    def range(self) -> dict[str, Any]:
        """The feed range, as the SDK takes it."""
        found: dict[str, Any] = self.document["range"]
        return found


class Leases:
    """The leases of one container's feed, as one host sees them. Times are the wall clock's."""

    def __init__(self, container: ContainerProxy, *, prefix: str, owner: str, lasts: timedelta) -> None:
        self._container = container
        self._prefix = prefix
        self._owner = owner
        self._lasts = lasts

    async def ensure(self, ranges: Iterable[dict[str, Any]]) -> None:
        """Make a document for each range that has none. Raises BadApp if there is no lease container."""
        for one in ranges:
            bounds = one["Range"]
            document = {
                "id": f"{self._prefix}{bounds['min']}-{bounds['max']}",
                "owner": None,
                "expires": 0.0,
                "continuation": None,
                "range": one,
            }
            try:
                await self._container.create_item(document)
            except CosmosResourceExistsError:
                continue
            except CosmosResourceNotFoundError as error:
                raise BadApp(
                    f"there is no lease container {self._container.id}; make it, partitioned by /id"
                ) from error

    async def acquire(self) -> list[Lease]:
        """Take what this host may take now; returns all that it owns."""
        now = time.time()
        every = [item async for item in self._container.read_all_items() if str(item["id"]).startswith(self._prefix)]
        owned: Counter[str] = Counter({self._owner: 0})
        owned.update(item["owner"] for item in every if item["owner"] is not None and item["expires"] > now)
        share = math.ceil(len(every) / len(owned))
        mine = [Lease(item) for item in every if item["owner"] == self._owner and item["expires"] > now]
        free = [item for item in every if item["owner"] is None or item["expires"] <= now]
        richest, most = owned.most_common(1)[0]
        if not free and len(mine) < share and most > len(mine) + 1:
            free = [item for item in every if item["owner"] == richest][:1]
        for item in free[: max(0, share - len(mine))]:
            lease = Lease(item)
            try:
                await self._put(lease, owner=self._owner)
            except LeaseLost:
                continue
            mine.append(lease)
        return mine

    async def renew(self, lease: Lease) -> None:
        """Keep it for another while. Raises LeaseLost."""
        await self._put(lease)

    async def checkpoint(self, lease: Lease, continuation: str) -> None:
        """Note how far the range has been handed over. Raises LeaseLost: then the batch comes to its new owner once more."""
        await self._put(lease, continuation=continuation)

    async def release(self, lease: Lease) -> None:
        """Give it back, so that the next host need not wait until it runs out. Raises LeaseLost."""
        await self._put(lease, owner=None)

    async def _put(self, lease: Lease, **changes: Any) -> None:
        async with lease.lock:  # renewing and noting must not take each other for another host
            document = {**lease.document, **changes, "expires": time.time() + self._lasts.total_seconds()}
            try:
                lease.document = dict(
                    await self._container.replace_item(
                        document["id"],
                        {name: value for name, value in document.items() if not name.startswith("_")},
                        etag=lease.document["_etag"],
                        match_condition=MatchConditions.IfNotModified,
                    )
                )
            except (CosmosAccessConditionFailedError, CosmosResourceNotFoundError) as error:
                raise LeaseLost(lease.document["id"]) from error
