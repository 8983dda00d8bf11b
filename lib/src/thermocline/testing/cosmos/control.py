"""A client of the server's control API: faults, clock, counters, ranges, principals.

Its methods block for about a millisecond on loopback. In async code where that matters, run them beside the loop:
`await control.beside(control.fail, status=429)`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlencode

P = ParamSpec("P")
T = TypeVar("T")


class ControlError(RuntimeError):
    """The server refused a control request; the message says why."""


@dataclass(frozen=True, slots=True)
class CosmosStats:
    """Requests that came since the last reset: in all, by kind, by `status/substatus` ("dropped" for none), RU, and the last ones."""

    requests: int
    kinds: Mapping[str, int]
    statuses: Mapping[str, int]
    charge: float
    last: list[Mapping[str, Any]] = field(default_factory=list)


class CosmosControl:
    """Controls one server. Raises ControlError for what the server refuses, OSError if it is gone."""

    def __init__(self, base_url: str, *, ca_file: str | Path | None = None, timeout: float = 10.0) -> None:
        self._base = base_url.rstrip("/") + "/_control/"
        self._timeout = timeout
        self._context = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))

    async def beside(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one of the methods in a thread."""
        return await asyncio.to_thread(method, *args, **kwargs)

    def _send(self, method: str, name: str, body: Any = None, **query: Any) -> Any:
        url = self._base + name + ("?" + urlencode(query) if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout, context=self._context) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as e:
            with e:
                text = e.read().decode(errors="replace")
            raise ControlError(f"{method} {name}: {e.code} {text}") from e

    # ---- faults

    def inject(self, action: str, *, kinds: Iterable[str] = ("data",), **fields: Any) -> int:
        """Put a fault in force and return its number; `faults.Fault` has the fields."""
        rule = {"action": action, "kinds": list(kinds), **{k: v for k, v in fields.items() if v is not None}}
        number: int = self._send("POST", "faults", rule)["number"]
        return number

    def fail(
        self,
        status: int,
        substatus: int = 0,
        *,
        kinds: Iterable[str] = ("data",),
        count: int | None = None,
        after: bool = False,
        retry_after_ms: int | None = None,
        container: str | None = None,
        item: str | None = None,
        probability: float = 1.0,
        seed: int = 0,
        skip: int = 0,
        message: str | None = None,
    ) -> int:
        """Answer with a status, before or (`after`) after the request took effect; `count` times, None until cleared."""
        return self.inject(
            "status",
            kinds=kinds,
            status=status,
            substatus=substatus,
            count=count,
            after=after,
            retry_after_ms=retry_after_ms,
            container=container,
            item=item,
            probability=probability,
            seed=seed,
            skip=skip,
            message=message,
        )

    def throttle(self, *, retry_after_ms: int = 10, kinds: Iterable[str] = ("data",), **fields: Any) -> int:
        """429/3200 with `x-ms-retry-after-ms`."""
        return self.fail(429, 3200, kinds=kinds, retry_after_ms=retry_after_ms, **fields)

    def drop(self, *, after: bool = False, kinds: Iterable[str] = ("data",), **fields: Any) -> int:
        """Close the connection without an answer, before or after the request took effect."""
        return self.inject("drop", kinds=kinds, after=after, **fields)

    def delay(
        self, milliseconds: float, *, after: bool = False, kinds: Iterable[str] = ("data",), **fields: Any
    ) -> int:
        """Wait before the request is looked at, or (`after`) between its effect and the answer."""
        return self.inject("delay", kinds=kinds, delay_ms=milliseconds, after=after, **fields)

    def lag(self, *, lsns: int = 0, milliseconds: float = 0.0, kinds: Iterable[str] = ("reads",), **fields: Any) -> int:
        """Reads see a replica that is behind: 404/1002 for who has seen more, else an older state."""
        return self.inject("lag", kinds=kinds, lag_lsns=lsns, lag_ms=milliseconds, **fields)

    def lose_region(self, how: str = "unavailable") -> int:
        """The region is gone until cleared: `unavailable` (503 for all), `silent` (all dropped), `read_only` (403/3 on writes)."""
        if how == "read_only":
            return self.fail(403, 3, kinds=("writes",))
        if how == "silent":
            return self.drop(kinds=("all",))
        if how != "unavailable":
            raise ValueError(f"a region is lost as unavailable, silent or read_only, not {how!r}")
        return self.fail(503, kinds=("all",))

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force, with how often each has hit."""
        rules: list[dict[str, Any]] = self._send("GET", "faults")
        return rules

    def clear(self, number: int | None = None) -> int:
        """Take one fault or all away; returns how many there were."""
        query = {} if number is None else {"number": number}
        cleared: int = self._send("DELETE", "faults", **query)["cleared"]
        return cleared

    def release(self, number: int) -> bool:
        """Take a delay away, and let the requests go on that it holds; whether there was one."""
        released: int = self._send("POST", "release", {"number": number})["released"]
        return released == 1

    # ---- clock

    def now(self) -> float:
        """The server's time, seconds since 1970."""
        return float(self._send("GET", "clock")["now"])

    def advance(self, seconds: float) -> float:
        """Move the server's clock; returns its new time."""
        return float(self._send("POST", "clock", {"advance": seconds})["now"])

    def freeze(self) -> float:
        """Stop the server's clock; returns its time."""
        return float(self._send("POST", "clock", {"freeze": True})["now"])

    def resume(self) -> float:
        """Let a frozen clock run on."""
        return float(self._send("POST", "clock", {"resume": True})["now"])

    # ---- counters, data, account

    def stats(self, last: int = 50) -> CosmosStats:
        """Counters and the last requests, oldest first."""
        return CosmosStats(**self._send("GET", "stats", last=last))

    def reset(self, *what: str) -> None:
        """Reset `counters` (the default), `faults`, `clock`, `principals` or `data`."""
        self._send("POST", "reset", {"what": list(what) or ["counters"]})

    def split(self, database: str, container: str, range_id: str = "0") -> list[str]:
        """Split a physical range; returns the ids of its children. Its own id answers 410/1002 from now on."""
        ids: list[str] = self._send("POST", "split", {"database": database, "container": container, "range": range_id})[
            "ranges"
        ]
        return ids

    def grant(self, principal: str, *grants: str | Mapping[str, Any]) -> None:
        """Give a principal (the token's `oid`) exactly these roles: `reader`, `contributor`, `metadata`, or `{"role" | "actions", "scope"}`."""
        self._send("POST", "principals", {principal: list(grants)})

    def account(self, **settings: Any) -> None:
        """Set `consistency`, `multi_write`, `keys_disabled`, `key` (from now on the only one), `aad` (`off`, `any`, `roles`) or `regions` (names and the
        endpoints that are advertised for them, such as proxies before this server; the first one takes the writes; {}: one, by the URL that was asked)."""
        self._send("POST", "account", settings)
