"""Counting the records whose authority is Redis: of a scope by its index, of a tenant by the index of its scopes, of the whole store by SCAN.

The indexes are in the order of their members' bytes, which no write changes, so what is there throughout is behind the cursor or before it. An index that
Redis loses (by eviction) comes back as its scopes are written: of a tenant within an hour, as each writer enters a scope anew so often.

SCAN gives each key that stays at least once, as long as a server keeps its tables and a cluster its slots: the cursor names both, and a census in which one
of them changed begins anew. While slots are being moved a key may be on either side, so that a census of the whole store says that it cannot be
held now.
"""

import hashlib
import json
from typing import Any, Final

from thermocline.blobs.batch import each
from thermocline.blobs.upkeep import check_census, pack_census, stored_of, unpack_census
from thermocline.clock import Deadline
from thermocline.errors import (
    CorruptRecord,
    InvalidArgument,
    InvalidKey,
    ThermoclineError,
    TierUnavailable,
    UnreadableRecord,
)
from thermocline.keys import REDIS_PREFIX, from_redis
from thermocline.model import Key
from thermocline.protocols import Inventory
from thermocline.telemetry import REQUESTS
from thermocline.tiers.hot.records import HotRecords, index_keys, scope_index_keys
from thermocline.tiers.hot.scripts import FORGET
from thermocline.tiers.hot.wire import Command

SCOPES: Final = 32  # of a tenant's census that are looked into at a time
SCANS: Final = 50  # of one page, at most
_RECORDS: Final = REDIS_PREFIX + b"*}r"  # as `record_key` makes them; a key's own braces are escaped

Place = tuple[str, str | None]
"""Scopes before this one are done, and its names up to that one (None: all)."""


class HotUpkeep(HotRecords):
    """The part `Census`."""

    async def census(
        self, *, tenant: str | None = None, scope: str | None = None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Inventory:
        """A page of a scope is two round trips, of a tenant three for 32 scopes, of the whole store two or three to look at the servers, one for each
        1,000 keys of a node, and one for the records; these come with their values, whole."""
        self._enter()
        check_census(tenant, scope, limit)
        place = None if cursor is None else _place(unpack_census(tenant, scope, cursor))
        following: object
        if tenant is None:
            inventory, following = await self._whole(limit, place, deadline)
        else:
            inventory, following = await self._of_tenant(tenant, scope, limit, place, deadline)
        return (
            inventory if following is None else _going_on(inventory, pack_census(tenant, scope, json.dumps(following)))
        )

    # --- by the indexes -----------------------------------------------------------------------------------------------

    async def _of_tenant(
        self, tenant: str, scope: str | None, limit: int, place: list[Any] | None, deadline: Deadline
    ) -> tuple[Inventory, Place | None]:
        last: Place | None = None
        if place is not None:
            last = _checked(place)
            if scope is not None and last[0] != scope:
                raise InvalidArgument("the cursor is of another census: begin without one")
        todo: list[Place] = []
        more = False
        if last is not None and last[1] is not None:
            todo.append(last)
        elif scope is not None:
            todo.append((scope, ""))
        if scope is None:
            scopes = await self._scopes(tenant, None if last is None else last[0], deadline)
            todo += [(one, "") for one in scopes]
            more = len(scopes) == SCOPES
        keys, reached, empty = await self._keys(tenant, todo, limit, deadline)
        inventory = await self._told(keys, deadline)
        await self._forget_scopes(tenant, empty, deadline)
        if reached is None and more:
            reached = (todo[-1][0], None)
        return inventory, reached

    async def _keys(
        self, tenant: str, todo: list[Place], limit: int, deadline: Deadline
    ) -> tuple[list[Key], Place | None, list[str]]:
        """At most ``limit`` keys of these scopes; how far they go (None: to the end); and the scopes that have no names."""
        commands: list[tuple[bytes, Command]] = []
        for scope, after in todo:
            names, _ = index_keys(tenant, scope)
            start = b"(" + after.encode() if after else b"-"
            commands.append((names, ("ZRANGEBYLEX", names, start, b"+", b"LIMIT", 0, limit)))
        keys: list[Key] = []
        empty: list[str] = []
        for (scope, after), found in zip(todo, await self._call_many(commands, deadline), strict=True):
            if isinstance(found, ThermoclineError):
                raise found
            if not found and not after:
                empty.append(scope)
            for name in found:
                if len(keys) == limit:
                    return keys, (keys[-1].scope, keys[-1].name), empty
                keys.append(Key(tenant, scope, name.decode()))
            if len(found) == limit:  # there may be more of it
                return keys, (scope, keys[-1].name), empty
        return keys, None, empty

    async def _scopes(self, tenant: str, after: str | None, deadline: Deadline) -> list[str]:
        scopes, _ = scope_index_keys(tenant)
        start = b"-" if after is None else b"(" + after.encode()
        found = await self._call(("ZRANGEBYLEX", scopes, start, b"+", b"LIMIT", 0, SCOPES), deadline)
        return [scope.decode() for scope in found]

    async def _forget_scopes(self, tenant: str, empty: list[str], deadline: Deadline) -> None:
        """Scopes without names leave the tenant's index, if nothing was put there for a day."""
        if empty:
            words: Command = (*scope_index_keys(tenant), self._forgettable(), *[scope.encode() for scope in empty])
            await self._run(FORGET, 2, words, deadline)

    async def _told(self, keys: list[Key], deadline: Deadline) -> Inventory:
        inventory = Inventory([], None)
        gone: dict[tuple[str, str], list[str]] = {}
        for key, found in zip(keys, await self.read_many(keys, deadline=deadline), strict=True):
            if found is None:
                gone.setdefault((key.tenant, key.scope), []).append(key.name)
                continue
            try:
                if isinstance(found, ThermoclineError):
                    raise found
                inventory.items.append(stored_of(found))
            except (CorruptRecord, UnreadableRecord) as error:
                inventory.damaged.append(f"the record of {key}: {error}")
        for (tenant, scope), names in gone.items():
            await self._forget(tenant, scope, names, deadline)
        return inventory

    # --- by SCAN ------------------------------------------------------------------------------------------------------

    async def _whole(
        self, limit: int, place: list[Any] | None, deadline: Deadline
    ) -> tuple[Inventory, list[Any] | None]:
        nodes, state = await self._nodes(deadline)
        number, at = 0, 0
        left: list[str] = []
        if place is not None and place[:1] == [state]:
            number, at, left = _scanning(place)
        names = [bytes.fromhex(one) for one in left]
        for _ in range(SCANS):
            if 2 * len(names) >= limit or number >= len(nodes):
                break
            words: Command = ("SCAN", at, "MATCH", _RECORDS, "COUNT", max(10, min(limit, 1000)), "TYPE", "string")
            following, found = await self._call_node(nodes[number], words, deadline)
            names += found
            at = int(following)
            number += at == 0
        inventory = await self._scanned(names[:limit], deadline)
        rest = [name.hex() for name in names[limit:]]
        return inventory, None if number >= len(nodes) and not rest else [state, number, at, rest]

    async def plain_list(self, prefix: str, *, deadline: Deadline) -> list[str]:
        """See `PlainListing`. By SCAN of every node, 1,000 keys at a time: plain keys are in no index, as the code that this library replaces left none."""
        await self._open(deadline)
        found: set[bytes] = set()
        nodes, state = await self._nodes(deadline)
        for node in nodes:
            at = 0
            while True:
                words: Command = ("SCAN", at, "MATCH", prefix.encode() + b"*", "COUNT", 1000, "TYPE", "string")
                following, names = await self._call_node(node, words, deadline)
                found.update(names)
                at = int(following)
                if at == 0:
                    break
        if (await self._nodes(deadline))[1] != state:
            raise TierUnavailable(
                "the Redis servers changed while their keys were looked through: try again", tier=self.tier, sent=False
            )
        return [name.decode(errors="replace") for name in found]

    async def _call_node(self, node: str, command: Command, deadline: Deadline) -> Any:
        self.stats.count(REQUESTS, self.tier)
        return await self._link.call_node(node, command, deadline)

    async def _scanned(self, names: list[bytes], deadline: Deadline) -> Inventory:
        keys: list[Key] = []
        strange: list[str] = []
        for name in names:
            try:
                keys.append(from_redis(name[:-1]))
            except InvalidKey as error:
                strange.append(f"the key {name[:200]!r} in Redis: {error}")
        inventory = await self._told(keys, deadline)
        inventory.damaged.extend(strange)
        return inventory

    async def _nodes(self, deadline: Deadline) -> tuple[list[str], str]:
        """The nodes, and a digest of what must stay for a SCAN to be whole: which servers run, and which slots they have."""
        nodes = await self._link.nodes(deadline)
        asked = await each(nodes, lambda node: self._state(node, deadline))
        said: list[list[bytes]] = []
        for one in asked:
            if isinstance(one, ThermoclineError):
                raise one
            said.append(one)
        text = repr([nodes, said]).encode()
        return nodes, hashlib.blake2b(text, digest_size=12).hexdigest()

    async def _state(self, node: str, deadline: Deadline) -> list[bytes]:
        run = _line(await self._call_node(node, ("INFO", "server"), deadline), b"run_id:")
        if not self._link.spread:
            return [run]
        slots = _line(await self._call_node(node, ("CLUSTER", "NODES"), deadline), b"myself").split(b" ")[8:]
        if any(slot.startswith(b"[") for slot in slots):
            raise TierUnavailable(
                "slots of the Redis cluster are being moved, so a census could miss records: try again later",
                tier=self.tier,
                sent=False,
            )
        return [run, *slots]


def _line(text: bytes | str, part: bytes) -> bytes:
    """The first line that holds ``part``."""
    data = text.encode() if isinstance(text, str) else text
    return next((line.strip() for line in data.splitlines() if part in line), b"")


def _place(text: str) -> list[Any]:
    try:
        place = json.loads(text)
    except ValueError as error:
        raise InvalidArgument("not a cursor of a census: begin without one") from error
    if not isinstance(place, list):
        raise InvalidArgument("not a cursor of a census: begin without one")
    return place


def _checked(place: list[Any]) -> Place:
    if len(place) == 2 and isinstance(place[0], str) and isinstance(place[1], str | None):
        Key("t", place[0], place[1] or "n")
        return place[0], place[1]
    raise InvalidArgument("not a cursor of a census: begin without one")


def _scanning(place: list[Any]) -> tuple[int, int, list[str]]:
    try:
        _, number, at, rest = place
        for name in rest:
            bytes.fromhex(name)
    except (ValueError, TypeError) as error:
        raise InvalidArgument("not a cursor of a census: begin without one") from error
    if not all(type(one) is int and one >= 0 for one in (number, at)):
        raise InvalidArgument("not a cursor of a census: begin without one")
    return number, at, rest


def _going_on(inventory: Inventory, cursor: str) -> Inventory:
    return Inventory(inventory.items, cursor, inventory.damaged)
