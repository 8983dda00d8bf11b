"""The account: databases and the containers in them."""

from __future__ import annotations

import random
from itertools import count
from typing import Any

from thermocline.testing.cosmos.clock import ServerClock
from thermocline.testing.cosmos.failures import owner_not_found
from thermocline.testing.cosmos.store import Container, rid


class Database:
    """A database and its containers by name."""

    def __init__(self, account: Account, name: str, number: int) -> None:
        self.clock = account.clock
        self.account = account
        self.name = name
        self.number = number
        self.rid = rid(number)
        self.containers: dict[str, Container] = {}
        self.properties: dict[str, Any] = {
            "id": name,
            "_rid": self.rid,
            "_self": f"dbs/{self.rid}/",
            "_etag": self.next_etag(),
            "_colls": "colls/",
            "_users": "users/",
            "_ts": int(self.clock.now()),
        }

    def next_etag(self) -> str:
        """A new quoted ETag."""
        return self.account.next_etag()

    def container(self, name: str) -> Container:
        """By name or rid, else 404/1003."""
        found = self.containers.get(name)
        if found is None:
            found = next((c for c in self.containers.values() if c.rid == name), None)
        if found is None:
            raise owner_not_found()
        return found


class Account:
    """All databases."""

    def __init__(self, clock: ServerClock, ranges: int = 1) -> None:
        self.clock = clock
        self.ranges = ranges
        self.databases: dict[str, Database] = {}
        # from anywhere, so that what a client remembers of an earlier server is not taken for this one's
        self._etags = count(random.randrange(1, 2**31))
        self._numbers = count(random.randrange(1, 2**30))

    def next_etag(self) -> str:
        """A new quoted ETag; they are only good for comparing."""
        return f'"{next(self._etags):08x}-0000-0700-0000-{int(self.clock.now()):08x}0000"'

    def number(self) -> int:
        """A number for a new database or container."""
        return next(self._numbers)

    def database(self, name: str) -> Database:
        """By name or rid, else 404/1003."""
        found = self.databases.get(name)
        if found is None:
            found = next((d for d in self.databases.values() if d.rid == name), None)
        if found is None:
            raise owner_not_found()
        return found
