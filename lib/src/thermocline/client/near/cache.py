"""The near cache of one client.

An entry is a copy of what hot answered, and goes as soon as hot says that it changed. An answer may be under way while its key changes, and be overtaken by
the word of it: so whoever wants an answer remembered leaves a *ticket* before the question is sent, and a change that is heard meanwhile voids it. What is
served is at most ``stale_at_most`` old: the servers are asked all the time whether they are heard, and words and answers come in order over each connection.

Entries are never below the client's floor (P6): whatever raises a floor drops what is older.
"""

import asyncio
import logging
import math
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from thermocline import telemetry
from thermocline.client.engine import OFFLOAD_BYTES, Engine
from thermocline.client.near.options import NearCache
from thermocline.client.near.sharing import size_if_immutable
from thermocline.client.result import Answer, Batch
from thermocline.codec import UNCOMPRESSED
from thermocline.errors import CorruptRecord, ThermoclineError, UnreadableRecord
from thermocline.model import DEFAULT_TENANT, MAX_VERSION, Authority, Envelope, Header, Key, MemoryTier
from thermocline.policy import Plan
from thermocline.protocols import Invalidates, Listening
from thermocline.sketch import Frequency

log = logging.getLogger("thermocline.near")

LIFE: Final = 60.0  # seconds: then hot is asked again, whatever was heard
OVERHEAD_BYTES: Final = 1000  # of an entry beside its payload, its key's text and its tags, about; measured in tests
SHARE: Final = 4  # one entry may take up to the fourth part of the bytes
CHANCES: Final = 4  # entries in use that a newcomer passes over, at most, before it is judged
NEAR: Final = "near"  # in the place of a tier's name

MISSING: Final[Any] = object()
"""What `Near.take` answers where it has nothing: no value, and not None, which is one."""

_UNKNOWN: Final[Any] = object()  # no type was asked for yet


class Ticket:
    """A question that is under way, of one reader or several, whose answer may be remembered unless its key changes before."""

    __slots__ = ("name", "plan", "readers", "void")

    def __init__(self, name: bytes, plan: Plan) -> None:
        self.name = name
        self.plan = plan
        self.readers = 1
        self.void = False


class _Entry:
    """``kind`` is the type as which ``value`` may be given to all who ask; ``anew`` one as which it must be decoded for each."""

    __slots__ = ("alias", "anew", "envelope", "expires_ms", "kind", "name", "plan", "until", "used", "value", "weight")

    def __init__(self, ticket: Ticket, envelope: Envelope, until: float) -> None:
        key = envelope.key
        self.name = ticket.name
        self.plan = ticket.plan
        self.envelope = envelope
        self.expires_ms = envelope.header.expires_ms
        self.until = until
        self.used = 0
        self.kind = self.anew = _UNKNOWN
        self.value: Any = None
        self.alias = (
            key.name if key.tenant == DEFAULT_TENANT and key.scope[0] == "~" and Key.of(key.name) == key else None
        )
        self.weight = _weight(envelope)


class Near:
    """Not thread-safe: of one event loop, that of `begin`. Asked from another loop it has nothing. ``blind``: whether the client must not believe hot, of
    a key or (None) at all;
    ``renew``: what is done for each read, where records slide."""

    def __init__(self, engine: Engine, options: NearCache, blind: Callable[[Key | None], bool]) -> None:
        self._engine = engine
        self._options = options
        self._bound = options.stale_at_most.total_seconds()
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
        self._given: dict[Key | str, _Entry] = {}  # by what callers give: the key, and its name if that is enough
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()  # by the name in hot, the first in line to go first
        self._pending: dict[bytes, Ticket] = {}
        self._bytes = 0
        most = min(options.max_entries, options.max_bytes // OVERHEAD_BYTES)  # as many as there can be
        self._frequency = Frequency(max(64, 2 * most))
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
        self._listening = self._hot.listen(self, clock=self._engine.clock, within=self._options.stale_at_most)

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

    def find(self, given: Any) -> "_Entry | None":
        """The entry that may be served for a key or a plain string now; a hit, if there is one."""
        try:
            entry = self._given.get(given)
        except TypeError:  # what cannot be hashed is no key; the cascade says so
            return None
        if entry is None or self._loop is not asyncio.get_running_loop():
            return None
        now = self._monotonic()
        if now >= self._fresh_until or now >= entry.until or self._blind(None):
            self._seen(entry)
            return None
        if entry.expires_ms and self._engine.now_ms() >= entry.expires_ms:
            self._remove(entry)
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

    def _decoded(self, entry: _Entry, kind: Any) -> Any:
        """The value, decoded now; kept for the next who asks if nobody can change it."""
        codec = self._engine.codec
        try:
            if entry.envelope.header.compressor != UNCOMPRESSED:
                entry.envelope = _opened(entry.envelope, codec.raw(entry.envelope))
                self._reweigh(entry, _weight(entry.envelope))
            value = codec.decode(entry.envelope, kind)
        except (CorruptRecord, UnreadableRecord):
            self._remove(entry)
            return MISSING  # the cascade says, or repairs, what is wrong
        if entry.anew is not kind:
            size = size_if_immutable(value)
            if size is None:
                entry.anew = kind
            else:
                entry.kind, entry.value = kind, value
                self._reweigh(entry, _weight(entry.envelope) + size)
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
        before = self._given.get(
            envelope.key
        )  # also one under another name, where a shared hot tier has entered an epoch
        entry = _Entry(ticket, envelope.bare(), self._monotonic() + LIFE)
        if before is not None:
            entry.used = before.used
            self._remove(before)
        if entry.weight * SHARE > self._options.max_bytes or not self._admits(entry):
            return
        self._entries[ticket.name] = self._given[envelope.key] = entry
        if entry.alias is not None:
            self._given[entry.alias] = entry
        self._bytes += entry.weight

    def _admits(self, newcomer: _Entry) -> bool:
        """Make room. Whoever was asked for again since it came stays; of the others one goes, unless it was asked for at least as often as the newcomer."""
        entries, frequency, options = self._entries, self._frequency, self._options
        frequency.note(newcomer.name)
        chances, now = CHANCES, self._monotonic()
        while len(entries) >= options.max_entries or self._bytes + newcomer.weight > options.max_bytes:
            first = next(iter(entries.values()))
            if first.until > now:
                if first.used and chances:
                    chances -= 1
                    self._use(first)
                    continue
                often = frequency.estimate(first.name)
                if often > 0 and frequency.estimate(newcomer.name) <= often:
                    return False
            self._remove(first)
        return True

    def _use(self, entry: _Entry) -> None:
        """Its hits are counted now, and it goes to the end of the line."""
        for _ in range(min(entry.used, 4)):
            self._frequency.note(entry.name)
        self._seen(entry)
        entry.used = 0
        self._entries.move_to_end(entry.name)

    # --- forgetting --------------------------------------------------------------------------------------------------

    def changed(self, names: Collection[bytes] | None) -> None:
        """See `Ear`."""
        if names is None:
            self._heard, self._fresh_until = False, -math.inf
            self.clear()
            return
        pending, entries = self._pending, self._entries
        for name in names:
            ticket = pending.pop(name, None)
            if ticket is not None:
                ticket.void = True
            entry = entries.get(name)
            if entry is not None:
                self.dropped += 1
                self._remove(entry)

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
            self._remove(entry)

    def clear(self) -> None:
        """Void all of it, and every answer that is under way."""
        for ticket in self._pending.values():
            ticket.void = True
        self._pending.clear()
        for entry in self._entries.values():
            self._seen(entry)
        if self._entries:
            self.emptied += 1
            self._entries.clear()
            self._given.clear()
            self._bytes = 0

    def _seen(self, entry: _Entry) -> None:
        """Hits do not count as the last use of the key's floor, which may have gone meanwhile: before hot is asked again it must be there (P6)."""
        if entry.used:
            self._engine.floors.note(entry.envelope.key, entry.envelope.header.version)

    def _remove(self, entry: _Entry) -> None:
        if self._entries.pop(entry.name, None) is not None:
            self._seen(entry)
            self._bytes -= entry.weight
            del self._given[entry.envelope.key]
            if entry.alias is not None:
                del self._given[entry.alias]

    def _reweigh(self, entry: _Entry, weight: int) -> None:
        """It holds more than it did: others may have to go, or it itself."""
        if self._entries.get(entry.name) is not entry:
            return
        self._bytes += weight - entry.weight
        entry.weight = weight
        if weight * SHARE > self._options.max_bytes:
            self._remove(entry)
        while self._bytes > self._options.max_bytes:
            self._remove(next(iter(self._entries.values())))

    # --- figures -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held_bytes(self) -> int:
        """What is held now, as estimated: at most ``max_bytes``."""
        return self._bytes

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


def _weight(envelope: Envelope) -> int:
    tags = sum(sys.getsizeof(name) + sys.getsizeof(tag) for name, tag in envelope.tags.items()) if envelope.tags else 0
    name = envelope.key.name
    return OVERHEAD_BYTES + len(envelope.payload) + 2 * sys.getsizeof(name) + tags
