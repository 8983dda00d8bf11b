"""One side of a move: a client's tiers, asked for records as their authority has them, past the cascade's copies."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from thermocline.client import MemoryClient
from thermocline.client.batch_writes import Outcomes
from thermocline.client.fences import FENCES, fence_name
from thermocline.client.legacy import unknown
from thermocline.client.moving.walk import live, page_of
from thermocline.client.reads import Notebook, notebook
from thermocline.client.together import together
from thermocline.client.writer import Intent
from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError, Conflict, InvalidArgument, ThermoclineError, TierUnavailable
from thermocline.model import Authority, Envelope, Key, MemoryTier, Pointer
from thermocline.policy import Plan
from thermocline.protocols import Census, Inventory, Notes

PAGE: Final = 200  # records of one page of a census
TOGETHER: Final = 100  # records that are read and written together
TOGETHER_BYTES: Final = 16 * 2**20  # ... and no more stored bytes than these
WHOLE: Final = 4 * 2**20  # bytes: larger payloads in cold are streamed
_SHARES: Final = 8.0  # of a tier's share of a call: a batch is no read of one key
_CALL: Final = 60.0  # seconds for one request of many records
_STREAM: Final = 3600.0  # seconds for one payload
_FENCES_AT_ONCE: Final = 8

Prepare = Callable[[Key, Plan, Deadline], Awaitable[Intent]]
"""Makes the write of one key, as of `client.batch_writes`."""

Copies = dict[Key, Envelope | ThermoclineError | None]


class Changed(Conflict):
    """The record was written or deleted while it was being copied: it is looked at anew."""


class End:
    """``client`` is connected on first use, and stays its owner's to close."""

    def __init__(self, client: MemoryClient) -> None:
        given: Any = client
        if not isinstance(given, MemoryClient):
            raise InvalidArgument(f"data is moved between MemoryClients, and this is a {type(given).__name__}")
        self.client = client
        # The one place where this room reaches into a client: what it needs is asked of the client's own parts.
        self.engine = client._engine  # noqa: SLF001
        self.cascade = client._cascade  # noqa: SLF001
        self.writer = client._writer  # noqa: SLF001
        self._batches = client._batch_writes  # noqa: SLF001

    def call(self, seconds: float = _CALL) -> Deadline:
        """The deadline of one request."""
        return self.engine.budget.call(seconds)

    def plan(self, key: Key) -> Plan:
        return self.engine.routes.route(key)

    def book(self) -> Notebook:
        """Where its tiers keep notes. Raises `ConfigurationError` if none can."""
        found = notebook(self.engine)
        if found is None:
            raise ConfigurationError("none of these tiers keeps notes (protocols.Notes), where a move writes its state")
        return found

    def authorities(self) -> list[Authority]:
        """The routes' authorities, all of which must be able to count. Raises `ConfigurationError`."""
        stamps = list(dict.fromkeys(plan.authority for plan in self.engine.routes.reached()))
        blind = [stamp.name for stamp in stamps if not isinstance(self.engine.authorities[stamp], Census)]
        if blind:
            names = ", ".join(sorted(blind))
            raise ConfigurationError(f"{names} cannot count what it holds (protocols.Census), so nothing can be moved")
        return stamps

    async def page(self, stamp: Authority, tenant: str | None, scope: str | None, cursor: str | None) -> Inventory:
        """One page of an authority's census."""
        return await page_of(self.engine, stamp, tenant=tenant, scope=scope, cursor=cursor, limit=PAGE)

    async def unreached(self, tenant: str | None, scope: str | None) -> int:
        """How many live records lie in tiers that have the word for no key by these routes, but had it for another program's. Not in Redis, which would be
        scanned whole."""
        found = 0
        reached = self.authorities()
        for stamp, tier in self.engine.authorities.items():
            if stamp is Authority.HOT or stamp in reached or not isinstance(tier, Census):
                continue
            cursor: str | None = None
            while True:
                page = await self.page(stamp, tenant, scope, cursor)
                now_ms = self.engine.now_ms()
                found += len({item.key for item in page.items if live(item, now_ms)})
                cursor = page.cursor
                if cursor is None:
                    break
        return found

    # --- reading --------------------------------------------------------------------------------------------------------

    async def read(self, keys: Sequence[Key]) -> Copies:
        """The newest copies, dead ones too; pointers are not followed. An old copy of a legacy route counts where nothing else is known."""
        engine = self.engine
        found: Copies = {}
        by_plan: dict[int, tuple[Plan, list[Key]]] = {}
        for key in keys:
            plan = self.plan(key)
            by_plan.setdefault(id(plan), (plan, []))[1].append(key)
        for plan, group in by_plan.values():
            authority, guard = engine.authority(plan.authority), engine.guards[plan.tier]
            copies = await guard.call(
                "read_many", authority.read_many, group, deadline=self.call(), times=_SHARES, again=True
            )
            for key, copy in zip(group, copies, strict=True):
                found[key] = await self._plain(await self._newest(key, plan, copy))
        return found

    async def _plain(self, copy: Envelope | ThermoclineError | None) -> Envelope | ThermoclineError | None:
        """Between stores a record travels without its dictionary, which the other side may not have; a pointer's, when its payload is fetched."""
        if not isinstance(copy, Envelope) or not copy.header.dictionary or self.engine.shelves is None:
            return copy
        try:
            return await self.engine.shelves.plain(copy, self.call())
        except TierUnavailable:
            raise
        except ThermoclineError as error:
            return error

    async def _newest(
        self, key: Key, plan: Plan, copy: Envelope | ThermoclineError | None
    ) -> Envelope | ThermoclineError | None:
        if isinstance(copy, ThermoclineError):
            return copy
        floor = self.engine.floors.get(key)
        try:
            if (0 if copy is None else copy.version) < floor:  # a replica that lags behind this client's own writes
                copy = await self.cascade.ask(key, plan, floor, self.call())
            if plan.legacy is not None and unknown(copy):
                old = await self.cascade.legacy.read(key, plan.legacy, self.call(), lasting=True)
                # it has no times of its own; the same ones at every reading, so that it can be compared
                copy = None if old is None else replace(old, header=replace(old.header, created_ms=0, modified_ms=0))
        except ThermoclineError as error:
            return error
        return copy

    async def whole(self, copy: Envelope) -> Envelope:
        """The record with its payload. Raises `Changed` if it is gone meanwhile, `CorruptRecord`."""
        if not copy.pointer:
            return copy
        resolved = await self.cascade.resolve(copy, self.plan(copy.key), self.call())
        if resolved is None or resolved.version != copy.version:
            raise Changed(f"{copy.key.name!r:.80} was written meanwhile")
        return resolved if self.engine.shelves is None else await self.engine.shelves.plain(resolved, self.call())

    async def stream(self, key: Key, pointer: Pointer) -> AsyncGenerator[bytes, None]:
        """A payload in cold, in chunks."""
        cold = self.engine.cold
        if cold is None:
            raise ConfigurationError("a payload lies in cold, and no cold tier is configured on this side")
        chunks = cold.stream_payload(key, pointer, deadline=self.call(_STREAM))
        async with aclosing(chunks) as source:  # type: ignore[type-var]
            async for chunk in source:
                yield chunk

    # --- writing --------------------------------------------------------------------------------------------------------

    async def write(self, keys: Sequence[Key], prepare: Prepare, begun_ms: int) -> Outcomes:
        """Each key for itself; a scope that was forgotten after ``begun_ms`` refuses with `Forgotten`."""

        async def made(key: Key, plan: Plan, deadline: Deadline, *_: str) -> Intent:
            return await prepare(key, plan, deadline)

        return await self._batches.write(keys, made, self.call(_STREAM), begun_ms=begun_ms)

    async def upload(self, key: Key, copy: Envelope, chunks: AsyncGenerator[bytes, None]) -> Envelope:
        """The record ``copy``, whose payload is ``chunks``, with the payload streamed to cold."""
        cold = self.engine.cold
        if cold is None:
            raise ConfigurationError("a payload is to go to cold, and no cold tier is configured on this side")
        guard = self.engine.guards[MemoryTier.COLD]
        async with aclosing(chunks):
            await self.engine.signed(self.plan(key).authority, self.call())
            pointer = await guard.call(
                "put_payload", cold.put_payload, key, chunks, deadline=self.call(_STREAM), times=1000, aside=True
            )
        return self.engine.codec.point(replace(copy, payload=b"", raw=None), pointer)

    # --- fences ---------------------------------------------------------------------------------------------------------

    async def forgotten(self, keys: Sequence[Key]) -> dict[tuple[str, str], int]:
        """When the scopes of these keys were last forgotten here, in ms; scopes that never were are not named. One request where nothing was."""
        keepers = {self.plan(key).authority for key in keys}
        known: dict[Authority, set[str]] = {}
        for stamp in keepers:
            tier: object = self.engine.authorities.get(stamp)
            known[stamp] = await _fences_of(tier, self) if isinstance(tier, Notes) else set()
        found: dict[tuple[str, str], int] = {}
        asked = {
            (self.plan(key).authority, key.tenant, key.scope)
            for key in keys
            if {fence_name(key.tenant, key.scope), fence_name(key.tenant, None)} & known[self.plan(key).authority]
        }

        async def one(part: tuple[Authority, str, str]) -> None:
            stamp, tenant, scope = part
            at = await self.writer.fences.of(stamp, tenant, scope, self.call())
            found[tenant, scope] = max(at, found.get((tenant, scope), 0))

        await together(sorted(asked), one, at_once=_FENCES_AT_ONCE)
        return found


async def _fences_of(notes: Notes, end: End) -> set[str]:
    names: set[str] = set()
    cursor: str | None = None
    while True:
        page, cursor = await notes.list_notes(FENCES, limit=1000, cursor=cursor, deadline=end.call())
        names.update(page)
        if cursor is None:
            return names


async def share_hot(source: End, target: End) -> bool:
    """Whether both sides' hot tiers are one: then the one's entries and floors would be taken for the other's. Raises `TierUnavailable`."""
    mine: object = source.engine.hot
    other: object = target.engine.hot
    if mine is None or other is None or mine is other:
        return mine is not None and mine is other
    if not isinstance(mine, Notes) or not isinstance(other, Notes):
        return False
    name = f"transfer/probe-{secrets.token_hex(8)}"
    await mine.write_note(name, b"1", lasting=timedelta(minutes=1), deadline=source.call(10))
    seen = await other.read_note(name, deadline=target.call(10))
    await mine.delete_note(name, deadline=source.call(10))
    return seen is not None


SHARED: Final = (
    "source and target share a hot tier, in which their records of one key would be taken for each other: leave hot out on one side, or give the target"
    " another Redis or database of it"
)


async def settle_down(attempt: int) -> None:
    """Between two attempts: twice as long each time, up to a second."""
    await asyncio.sleep(min(1.0, 0.01 * 2**attempt))
