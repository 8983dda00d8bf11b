"""The near cache of one client.

An entry is a copy of what hot answered, and goes as soon as hot says that it changed. An answer may be under way while its key changes, and be overtaken by
the word of it: so whoever wants an answer remembered leaves a *ticket* before the question is sent, and a change that is heard meanwhile voids it. What is
served is at most ``stale_at_most`` old: the servers are asked all the time whether they are heard, and words and answers come in order over each connection.

Entries are never below the client's floor (P6): whatever raises a floor drops what is older.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.engine import OFFLOAD_BYTES, Engine
from thermocline.client.near.options import NearCache
from thermocline.client.near.sharing import size_if_immutable
from thermocline.client.near.shelf import Entry, Shelf, weight_of
from thermocline.client.result import Answer, Batch
from thermocline.codec import UNCOMPRESSED
from thermocline.configured import seconds_of
from thermocline.errors import CorruptRecord, ThermoclineError, UnreadableRecord
from thermocline.model import MAX_VERSION, Authority, Envelope, Header, Key, MemoryTier
from thermocline.policy import Plan
from thermocline.protocols import Invalidates, Listening

log = logging.getLogger("thermocline.near")

LIFE: Final = 60.0  # seconds: then hot is asked again, whatever was heard
NEAR: Final = "near"  # in the place of a tier's name

MISSING: Final[Any] = object()
"""What `Near.take` answers where it has nothing: no value, and not None, which is one."""


class Ticket:
    """A question that is under way, of one reader or several, whose answer may be remembered unless its key changes before."""

    __slots__ = ("name", "plan", "readers", "void")

    def __init__(self, name: bytes, plan: Plan) -> None:
        self.name = name
        self.plan = plan
        self.readers = 1
        self.void = False


class Near:
    """Not thread-safe: of one event loop, that of `begin`. Asked from another loop it has nothing. ``blind``: whether the client must not believe hot, of
    a key or (None) at all;
    ``renew``: what is done for each read, where records slide."""

    def __init__(self, engine: Engine, options: NearCache, blind: Callable[[Key | None], bool]) -> None:
        self._engine = engine
        self._options = options
        self._bound = seconds_of(options.stale_at_most)
        self._words = (
            f"the near cache of this process answered: the record may have been changed up to {self._bound:g} s ago"
        )
        self._blind = blind
        self.renew: Callable[[Envelope, Plan], None] | None = None
        hot: object = engine.hot
        self._hot: Invalidates | None = hot if isinstance(hot, Invalidates) else None
        self._monotonic = engine.clock.monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: Listening | None = None
        self._fresh_until = -math.inf  # the monotonic time from which on nothing is served
        self._heard = False  # whether every change is heard, if perhaps late
        self._shelf = Shelf(engine, options)
        self._given = self._shelf.given  # asked for each read
        self._pending: dict[bytes, Ticket] = {}
        self.hits = self.misses = self.dropped = self.emptied = 0
        engine.floors.raised = self.drop

    # --- life --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Listen, if hot can tell of changes. Idempotent."""
        if self._listening is not None:
            return
        if self._hot is None:
            log.info(
                "the near cache stays empty: this client's hot tier lies in the process itself, or tells of no changes"
            )
            return
        self._loop = asyncio.get_running_loop()
        self._listening = self._hot.listen(self, clock=self._engine.clock, within=timedelta(seconds=self._bound))

    async def close(self) -> None:
        """Forget everything, and hear no more. Idempotent."""
        listening, self._listening, self._loop = self._listening, None, None
        if listening is not None:
            await listening.close()
        self.changed(None)
        self.tell()

    # --- reading -----------------------------------------------------------------------------------------------------

    def take(self, given: Any, kind: Any = None) -> Any:
        """The value of a key (or of a plain string) as it is here, decoded as ``kind``; `MISSING`: ask hot. Raises `TypeMismatch`."""
        entry = self.find(given)
        if entry is None:
            return MISSING
        if entry.kind is kind:
            return entry.value
        return self._decoded(entry, kind)

    def find(self, given: Any) -> "Entry | None":
        """The entry that may be served for a key or a plain string now; a hit, if there is one."""
        try:
            entry = self._given.get(given)
        except TypeError:  # what cannot be hashed is no key; the cascade says so
            return None
        if entry is None or self._loop is not asyncio.get_running_loop():
            return None
        now = self._monotonic()
        if now >= self._fresh_until or now >= entry.until or self._blind(None):
            self._shelf.seen(entry)
            return None
        if entry.expires_ms and self._engine.now_ms() >= entry.expires_ms:
            self._shelf.remove(entry)
            return None
        self.hits += 1
        entry.used += 1
        if self.renew is not None:
            self.renew(entry.envelope, entry.plan)
        trail = telemetry.trail()
        if trail is not None:
            trail.near(entry.envelope)
        return entry

    def take_many(
        self, given: Mapping[Any, Key], kind: Any, batch: Batch[Any]
    ) -> tuple[dict[Any, Key], dict[Any, int]]:
        """Put into the batch what is here. Returns the others, by what was given for them, and when what was put there ends (ms), if it does: the batch
        is not over yet."""
        others: dict[Any, Key] = {}
        ends: dict[Any, int] = {}
        for name, key in given.items():
            entry = self.find(key)
            found = MISSING
            if entry is not None:
                try:
                    found = entry.value if entry.kind is kind else self._decoded(entry, kind)
                except ThermoclineError as error:
                    batch.errors[name] = error
                    continue
            if entry is None or found is MISSING:
                others[name] = key
                continue
            batch[name] = found
            if entry.expires_ms:
                ends[name] = entry.expires_ms
        return others, ends

    def answer(self, key: Key) -> Answer | None:
        """What `take` would decode, and why it may be older than the newest."""
        entry = self.find(key)
        if entry is None:
            return None
        return Answer(entry.envelope, MemoryTier.HOT, entry.envelope.header.version, bound=self._words)

    def _decoded(self, entry: Entry, kind: Any) -> Any:
        """The value, decoded now; kept for the next who asks if nobody can change it."""
        codec = self._engine.codec
        try:
            if entry.envelope.header.compressor != UNCOMPRESSED:
                entry.envelope = _opened(entry.envelope, codec.raw(entry.envelope))
                self._shelf.reweigh(entry, weight_of(entry.envelope))
            value = codec.decode(entry.envelope, kind)
        except (CorruptRecord, UnreadableRecord):
            self._shelf.remove(entry)
            return MISSING  # the cascade says, or repairs, what is wrong
        if entry.anew is not kind:
            size = size_if_immutable(value)
            if size is None:
                entry.anew = kind
            else:
                entry.kind, entry.value = kind, value
                self._shelf.reweigh(entry, weight_of(entry.envelope) + size)
        return value

    # --- remembering -------------------------------------------------------------------------------------------------

    async def through(self, key: Key, plan: Plan, asking: Awaitable[Envelope | None]) -> Envelope | None:
        """Ask hot of a key; its answer is remembered if it may be. ``asking`` sends nothing before it is awaited."""
        ticket = self.expect(key, plan)
        try:
            found = await asking
            self.keep(ticket, found)
            return found
        finally:
            self.done(ticket)

    async def through_many(
        self,
        keys: Sequence[Key],
        plans: Iterable[Plan],
        asking: Awaitable[Sequence[Envelope | ThermoclineError | None]],
    ) -> Sequence[Envelope | ThermoclineError | None]:
        """The same of many keys, each by its plan."""
        tickets = [self.expect(key, plan) for key, plan in zip(keys, plans, strict=False)]
        try:
            answers = await asking
            for ticket, found in zip(tickets, answers, strict=True):
                if isinstance(found, Envelope):
                    self.keep(ticket, found)
            return answers
        finally:
            for ticket in tickets:
                self.done(ticket)

    def expect(self, key: Key, plan: Plan) -> Ticket | None:
        """A question to hot is about to be sent: if its answer may be remembered, its ticket. Give it back to `done`, whatever happens."""
        record = plan.authority is Authority.HOT
        if not (record or plan.uses_hot) or plan.legacy is not None:
            return None
        self.misses += 1
        listening, hot = self._listening, self._hot
        if listening is None or hot is None or not self._heard or self._blind(key):
            return None
        name = hot.name_of(key, record=record)
        if not listening.hears(name):
            return None
        ticket = self._pending.get(name)
        if ticket is None:
            ticket = self._pending[name] = Ticket(name, plan)
        else:
            ticket.readers += 1
        return ticket

    def done(self, ticket: Ticket | None) -> None:
        """A reader has its answer, or none."""
        if ticket is not None:
            ticket.readers -= 1
            if not ticket.readers and self._pending.get(ticket.name) is ticket:
                del self._pending[ticket.name]

    def keep(self, ticket: Ticket | None, envelope: Envelope | None) -> None:
        """Hot's own answer to the question of the ticket. Remembered if it is a value, small enough, and nothing was heard of its key since."""
        if ticket is None or ticket.void or envelope is None or envelope.header.flags:
            return
        header, listening = envelope.header, self._listening
        if header.authority != ticket.plan.authority or header.dictionary or header.raw_length >= OFFLOAD_BYTES:
            return
        if listening is None or not listening.hears(ticket.name):
            return
        if header.version < self._engine.floors.get(envelope.key) or self._blind(envelope.key):
            return
        self._shelf.put(Entry(ticket.name, ticket.plan, envelope.bare(), self._monotonic() + LIFE))

    # --- forgetting --------------------------------------------------------------------------------------------------

    def changed(self, names: Collection[bytes] | None) -> None:
        """See `Ear`."""
        if names is None:
            self._heard, self._fresh_until = False, -math.inf
            self.clear()
            return
        pending, entries = self._pending, self._shelf.entries
        for name in names:
            ticket = pending.pop(name, None)
            if ticket is not None:
                ticket.void = True
            entry = entries.get(name)
            if entry is not None:
                self.dropped += 1
                self._shelf.remove(entry)

    def told(self, until: float) -> None:
        """See `Ear`."""
        if self._listening is not None:
            self._heard = True
            self._fresh_until = until + self._bound
            self.tell()

    def drop(self, key: Key, below: int = MAX_VERSION) -> None:
        """This client writes the key, or knows now that it had the version ``below``: nothing older is kept."""
        entry = self._given.get(key)
        if entry is not None and entry.envelope.header.version < below:
            self._shelf.remove(entry)

    def clear(self) -> None:
        """Void all of it, and every answer that is under way."""
        for ticket in self._pending.values():
            ticket.void = True
        self._pending.clear()
        self.emptied += self._shelf.clear()

    # --- figures -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._shelf.entries)

    @property
    def held_bytes(self) -> int:
        """What is held now, as estimated: at most ``max_bytes``."""
        return self._shelf.held_bytes

    @property
    def how(self) -> str:
        """By what changes are heard; "" while they are not."""
        return self._listening.how if self._listening is not None else ""

    @property
    def why(self) -> str:
        """What keeps it from hearing of changes, in plain words; "": nothing that lasts."""
        return self._listening.why if self._listening is not None else ""

    def tell(self) -> None:
        """Put the counts down. They are kept as plain numbers, for a hit is cheaper than to count it elsewhere."""
        counters = self._engine.stats.counters
        counters[telemetry.HITS, NEAR] = self.hits
        counters[telemetry.MISSES, NEAR] = self.misses
        counters[telemetry.NEAR_INVALIDATED, NEAR] = self.dropped
        counters[telemetry.NEAR_EMPTIED, NEAR] = self.emptied


def _opened(envelope: Envelope, raw: bytes) -> Envelope:
    """The same record with its payload as it was before it was compressed."""
    old = envelope.header
    header = Header(
        old.flags,
        old.authority,
        old.serialiser,
        UNCOMPRESSED,
        0,
        old.version,
        old.expires_ms,
        old.created_ms,
        old.modified_ms,
        len(raw),
    )
    return Envelope(envelope.key, header, raw, envelope.media_type, envelope.tags)
