"""A request as the service sees it, and an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from thermocline.testing.cosmos import limits
from thermocline.testing.cosmos.failures import ServiceError, bad_request
from thermocline.testing.cosmos.ranges import Range
from thermocline.testing.cosmos.store import Container, Lag

_UNREAD: Final = object()


@dataclass(slots=True)
class Call:
    """One request. `parts` are the decoded path segments; `kind` is the operation; `lag` comes from a fault."""

    method: str
    parts: list[str]
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    kind: str = ""
    lag: Lag | None = None
    container: Container | None = None
    range: Range | None = None
    era: int = 0  # of the counters, when it came
    reached: dict[str, int] | None = None  # of a lagging replica: the LSN of each range
    _json: Any = field(default=_UNREAD, repr=False)

    @property
    def json(self) -> Any:
        """The body, decoded once; 400 if it is no JSON."""
        if self._json is _UNREAD:
            self._json = limits.decode(self.body)
        return self._json

    @property
    def query(self) -> tuple[str, dict[str, Any]]:
        """The text and the parameters of a query; 400 if the body is none."""
        body = self.json
        if not isinstance(body, dict) or not isinstance(body.get("query"), str) or set(body) - {"query", "parameters"}:
            raise bad_request('The body of a query must be {"query": "...", "parameters": [...]}.')
        given = body.get("parameters")
        if given is not None and not isinstance(given, list):
            raise bad_request("The parameters of a query are an array.")
        parameters: dict[str, Any] = {}
        for p in given or []:
            if not isinstance(p, dict) or not isinstance(p.get("name"), str) or "value" not in p:
                raise bad_request('A query parameter is {"name": "@x", "value": ...}.')
            parameters[p["name"]] = p["value"]
        return body["query"], parameters

    def flag(self, name: str) -> bool:
        """A header that says true."""
        return self.headers.get(name, "").lower() == "true"

    @property
    def container_name(self) -> str | None:
        """The container that the path names."""
        return self.parts[3] if len(self.parts) > 3 else None

    @property
    def item_ids(self) -> frozenset[str]:
        """The items that the request names, in its path or its body."""
        if len(self.parts) > 5:
            return frozenset({self.parts[5]})
        try:
            body = self.json if self.kind in ("create", "upsert", "batch") else None
        except ServiceError:
            return frozenset()
        if isinstance(body, dict):
            return frozenset({str(body.get("id"))})
        if isinstance(body, list):
            named: set[str] = set()
            for operation in body:
                resource = operation.get("resourceBody") if isinstance(operation, dict) else None
                named.update(str(o["id"]) for o in (operation, resource) if isinstance(o, dict) and "id" in o)
            return frozenset(named)
        return frozenset()


@dataclass(slots=True)
class Reply:
    """An answer: status, JSON bytes (or none), headers, and the charge in RU."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    charge: float = 1.0
    substatus: int = 0


def json_reply(status: int, value: Any, *, charge: float = 1.0, headers: dict[str, str] | None = None) -> Reply:
    """An answer with a value as its body."""
    return Reply(status, msgspec.json.encode(value), headers or {}, charge)


def error_reply(error: ServiceError, charge: float = 1.0) -> Reply:
    """A refusal."""
    headers = dict(error.headers)
    if error.substatus:
        headers["x-ms-substatus"] = str(error.substatus)
    body = msgspec.json.encode({"code": error.code, "message": error.message})
    return Reply(error.status, body, headers, charge, error.substatus)
