"""The whole service without HTTP: a `Call` in, a `Reply` out, in one go (no await, so every request is atomic)."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Final

from thermocline.testing.cosmos import items, queries, resources
from thermocline.testing.cosmos.account import Account
from thermocline.testing.cosmos.auth import Guard
from thermocline.testing.cosmos.clock import ServerClock
from thermocline.testing.cosmos.failures import ServiceError, bad_request, not_found
from thermocline.testing.cosmos.faults import Faults
from thermocline.testing.cosmos.resources import AccountSettings
from thermocline.testing.cosmos.store import Container
from thermocline.testing.cosmos.wire import Call, Reply, error_reply

LOG: Final = 1000
_ON_ITEM: Final = {"GET": "read", "PUT": "replace", "PATCH": "patch", "DELETE": "delete"}


def kind_of(call: Call) -> str:
    """The operation that a request asks for; "" if there is none."""
    parts, h = call.parts, call.headers
    n = len(parts)
    if n == 0:
        return "account" if call.method == "GET" else ""
    if n <= 4:
        shape = ("dbs", None, "colls", None)
        return "metadata" if all(s is None or s == p for s, p in zip(shape, parts, strict=False)) else ""
    if parts[0] != "dbs" or parts[2] != "colls":
        return ""
    if parts[4] == "pkranges" and n == 5 and call.method == "GET":
        return "pkranges"
    if parts[4] == "operations" and parts[5:] == ["partitionkeydelete"] and call.method == "POST":
        return "delete_partition"
    if parts[4] != "docs" or n > 6:
        return ""
    if n == 6:
        return _ON_ITEM.get(call.method, "")
    if call.method == "GET":
        return "feed" if "a-im" in h else "query"
    if call.method != "POST":
        return ""
    if call.flag("x-ms-cosmos-is-query-plan-request"):
        return "plan"
    if call.flag("x-ms-documentdb-isquery") or "query+json" in h.get("content-type", ""):
        return "query"
    if call.flag("x-ms-cosmos-is-batch-request"):
        return "batch"
    return "upsert" if call.flag("x-ms-documentdb-is-upsert") else "create"


class Service:
    """An account with its clock, faults, guard and counters."""

    def __init__(self, guard: Guard, ranges: int = 1) -> None:
        self.clock = ServerClock()
        self.account = Account(self.clock, ranges)
        self.settings = AccountSettings()
        self.guard = guard
        self.faults = Faults()
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.charge = 0.0
        self.era = 0  # how often the counters were reset
        self.log: deque[dict[str, Any]] = deque(maxlen=LOG)

    def handle(self, call: Call) -> Reply:
        """Check, do and answer; a refusal becomes an answer too."""
        try:
            self._authorize(call)
            return self._route(call)
        except RecursionError:
            return error_reply(bad_request("The request is nested too deeply."))
        except ServiceError as e:
            reply = error_reply(e)
            if call.container is not None:
                ranges = call.container.ranges if call.range is None else [call.range]
                reply.headers.update(items.routing_headers(call.container, ranges, call.reached))
            return reply

    def _authorize(self, call: Call) -> None:
        self.guard.check(
            kind=call.kind,
            verb=call.method,
            authorization=call.headers.get("authorization", ""),
            date=call.headers.get("x-ms-date", ""),
            sign=self.signable(call),
            path="/" + "/".join(call.parts),
        )

    def signable(self, call: Call) -> list[tuple[str, str]]:
        """The (type, link) pairs that may be signed: by names, and by rids (lower-cased) where the path has them."""
        parts = call.parts
        if not parts:
            return [("", "")]
        if parts[4:] == ["operations", "partitionkeydelete"]:
            parts = parts[:4]
        if len(parts) % 2:
            found = [(parts[-1], "/".join(parts[:-1]))]
            last = parts[-2] if len(parts) > 1 else ""
        else:
            found = [(parts[-2], "/".join(parts))]
            last = parts[-1]
        if len(parts) > 1 and parts[1] not in self.account.databases:
            found.append((found[0][0], last.lower()))
        return found

    def _route(self, call: Call) -> Reply:
        parts = call.parts
        if call.kind == "":
            raise not_found(f"{call.method} /{'/'.join(parts)} is not supported by this server.")
        if call.kind == "account":
            return resources.account(self.settings, call.base_url)
        if len(parts) == 1:
            return resources.databases(self.account, call)
        if len(parts) == 2:
            return resources.database(self.account, call)
        database = self.account.database(parts[1])
        if len(parts) == 3:
            return resources.containers(database, call)
        container = database.container(parts[3])
        if len(parts) == 4:
            return resources.container(database, container, call)
        return self._on_items(call, container)

    @staticmethod
    def _on_items(call: Call, container: Container) -> Reply:
        call.container = container
        for hook in ("x-ms-documentdb-pre-trigger-include", "x-ms-documentdb-post-trigger-include"):
            if hook in call.headers:
                raise bad_request("Triggers are not supported by this server.")
        intended = call.headers.get("x-ms-cosmos-intended-collection-rid")
        if intended is not None and intended != container.rid:
            raise bad_request("Collection has been re-created: the rid of the request is stale.", 1024)
        if call.kind == "pkranges":
            call.container = None
            return resources.ranges(container, call)
        if call.kind == "read":
            return items.read(call, container)
        if call.kind == "query":
            return queries.query(call, container) if call.method == "POST" else queries.read_feed(call, container)
        if call.kind == "feed":
            return queries.read_feed(call, container)
        if call.kind == "plan":
            return queries.query_plan(call, container)
        if call.kind == "batch":
            return items.run_batch(call, container)
        if call.kind == "delete_partition":
            return items.delete_partition(call, container)
        return items.write(call, container)

    def count(self, call: Call, reply: Reply, faults: list[int], *, answered: bool) -> None:
        """Keep a request for `stats`; one that came before the last reset is in nobody's."""
        if call.era != self.era:
            return
        kind = call.kind or "unknown"
        self.counts[kind] += 1
        self.statuses[f"{reply.status}/{reply.substatus}" if answered else "dropped"] += 1
        self.charge += reply.charge
        self.log.append(
            {
                "kind": kind,
                "method": call.method,
                "path": "/" + "/".join(call.parts),
                "status": reply.status if answered else 0,
                "substatus": reply.substatus,
                "charge": round(reply.charge, 2),
                "at": self.clock.now(),
                "faults": faults,
                "activity_id": call.headers.get("x-ms-activity-id", ""),
                "priority": call.headers.get("x-ms-cosmos-priority-level", ""),
                "client_request_id": call.headers.get("x-ms-client-request-id", ""),
            }
        )

    def reset_counters(self) -> None:
        """Start `stats` anew."""
        self.era += 1
        self.counts.clear()
        self.statuses.clear()
        self.charge = 0.0
        self.log.clear()
