"""Process memory: the embedded hot tier. Entries over the functions of `thermocline.coherence`; alone, it is the authority itself."""

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Self

from thermocline import coherence, configured
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.coherence import Announced, Lease, Offer, Times, Value
from thermocline.cursors import pack_cursor, unpack_cursor
from thermocline.errors import ClientClosed, InvalidArgument, ThermoclineError, TooLarge
from thermocline.model import Authority, Envelope, Key, MemoryTier
from thermocline.protocols import (
    Announce,
    Busy,
    Effect,
    EntryOperation,
    Found,
    Leased,
    Look,
    Page,
    Publish,
    Renew,
    Verb,
    Withdraw,
    Write,
    Written,
)
from thermocline.sketch import Frequency
from thermocline.telemetry import Stats
from thermocline.tiers.local.process_holds import ProcessHolds
from thermocline.tiers.local.process_records import Records, made
from thermocline.writes import check_pointer

Entry = coherence.Entry[Envelope]

MAX_BYTES: Final = 64 * 2**20
SHARE: Final = 4  # one value may take up to the fourth part of the bound
MARKER_BYTES: Final = 600  # what a marker takes beside its key's text, about
WRITER_BYTES: Final = 250  # and each writer that it names
OVERHEAD_BYTES: Final = 900  # what a value takes beside its payload and its key's text, about
MARKERS_SHARE: Final = 32  # the part of the bound that values leave to markers
SWEPT: Final = (
    2  # so many of the oldest markers are looked at in an operation, to see whether they are over; in one of many: one
)


@dataclass(slots=True)
class _Slot:
    entry: Entry
    epoch: int  # of the fence, when the entry became what it is
    weight: int


class ProcessMemory(ProcessHolds):
    """The embedded hot tier, in the memory of this process and one event loop. Each operation is atomic, because none awaits anything.

    ``max_bytes`` (64 MiB) bounds all that it holds, as estimated from the payloads and measured overheads. Above it the value goes that was not
    used for the longest time, unless it was read at least as often lately as the newcomer, which then goes itself (`thermocline.sketch`); then records
    (where this tier is the authority), and only when nothing else is left, markers. One value may take a quarter of the bound. ``ceiling``: the longest
    life of a value; ``rest``: how long a floor is kept after everyone left.

    ``fence`` (also ``data_version``) is asked before a value is given or a lease or an announcement is left: when its token is another
    than the last one, somebody beyond this process wrote the authority, and every value is void, every lease is revoked, and what is announced
    will not become a value. SQLite's ``data_version`` is such a token.

    Hot alone: versions are the larger of the last one + 1 and the clock in microseconds; tombstones and expired records stay for a day, within
    the bound; nothing survives the process.
    """

    tier = MemoryTier.HOT
    authority = Authority.HOT

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        *,
        ceiling: timedelta | float = timedelta(milliseconds=coherence.CEILING_MS),
        rest: timedelta | float = timedelta(milliseconds=coherence.REST_MS),
        data_version: Callable[[], object] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        configured.whole(max_bytes, "ProcessMemory: max_bytes", least=0, unit="bytes", raises=InvalidArgument)
        life = configured.duration(ceiling, "ProcessMemory: ceiling", raises=InvalidArgument)
        kept = configured.duration(rest, "ProcessMemory: rest", least=timedelta(), raises=InvalidArgument)
        configured.clock(clock, "ProcessMemory: clock", raises=InvalidArgument)
        configured.function(data_version, "ProcessMemory: data_version", raises=InvalidArgument)
        self.stats = Stats()
        self.fence = data_version
        self._max_bytes = max_bytes
        self._times = Times(kept // timedelta(milliseconds=1), life // timedelta(milliseconds=1))
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._values: OrderedDict[Key, _Slot] = OrderedDict()
        self._markers: OrderedDict[Key, _Slot] = OrderedDict()
        self._records = Records()
        self._notes = {}
        self._holds = {}
        self._bytes = 0
        self._frequency: Frequency | None = None  # from half of the bound on; before, nobody has to go
        self._token: object = None
        self._epoch = 0  # counts the changes of the fence
        self._of_epoch = 0  # the authority's, of which the entries are

    @property
    def held_bytes(self) -> int:
        """What is held now, as estimated; at most ``max_bytes``."""
        return self._bytes

    def __len__(self) -> int:
        """Entries (values and markers) and records."""
        return len(self._values) + len(self._markers) + len(self._records)

    @property
    def connected(self) -> bool:
        """Whether it is open: a client neither connects nor closes a tier that was opened before."""
        return self._loop is not None

    async def connect(self) -> None:
        """Bind to the running loop. Raises `ClientClosed` if it is bound to another."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise ClientClosed("process memory belongs to another event loop: close it there, or make one per loop")
        self._loop = loop

    async def close(self) -> None:
        """Forget everything. `connect` makes it usable again."""
        self._loop = None
        self._values.clear()
        self._markers.clear()
        self._records = Records()
        self._notes.clear()
        self._holds.clear()
        self._bytes = 0

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def enter_epoch(self, epoch: int) -> None:
        """From now on only entries of this epoch count: all of another one are dropped. Records, whose authority this tier is, stay. Raises
        `InvalidArgument` for what is no epoch."""
        if epoch < 0:
            raise InvalidArgument(f"an epoch is a whole number, at least 0, not {epoch}")
        if epoch != self._of_epoch:
            self._of_epoch = epoch
            for key in [*self._values, *self._markers]:
                self._put(key, None)

    async def ping(self, *, deadline: Deadline) -> None:
        self._enter(deadline)

    # --- entries -----------------------------------------------------------------------------------------------------

    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        return self._peek(key, self._enter(deadline))

    async def peek_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        now = self._enter(deadline)
        return [self._peek(key, now) for key in keys]

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        now = self._enter(deadline)
        found = self._operate(operation, now)
        self._tidy(now, SWEPT)
        return found

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        now = self._enter(deadline)
        found: list[Found | ThermoclineError | None] = [self._operate(operation, now) for operation in operations]
        self._tidy(now, len(operations))
        return found

    async def drop(self, keys: Sequence[Key], *, deadline: Deadline) -> None:
        self._enter(deadline)
        for key in keys:
            self._put(key, None)

    def _peek(self, key: Key, now: int) -> Envelope | None:
        if self._frequency is not None:
            self._frequency.note(key)
        slot = self._values.get(key)
        if slot is None:
            return None
        self._ask_fence()
        entry = slot.entry
        if not isinstance(entry, Value) or entry.deadline <= now or slot.epoch != self._epoch:
            self._put(key, None)
            return None
        self._values.move_to_end(key)
        return entry.envelope

    def _operate(self, operation: EntryOperation, now: int) -> Found | None:
        times = self._times
        key = operation.key
        if isinstance(operation, (Look, Announce)):
            self._ask_fence()
        entry = self._entry(key, now)
        found: Found | None = None
        if isinstance(operation, Look):
            after, leased = coherence.look(entry, operation.reader, operation.lasting_ms, now, times)
            found = _found(after, leased)
        elif isinstance(operation, Renew):
            after, held = coherence.renew(entry, operation.reader, operation.lasting_ms, now, times)
            found = Leased(coherence.floor_of(after)) if held else None
        elif isinstance(operation, Announce):
            after = coherence.announce(entry, operation.writer, operation.lasting_ms, now, times)
            found = Busy(coherence.floor_of(after))
        elif isinstance(operation, Withdraw):
            after = coherence.withdraw(entry, operation.writer, now, times)
        elif isinstance(operation, Publish):
            offer = self._offer(operation.envelope, operation.lasting_ms, now)
            after = coherence.publish(entry, operation.writer, operation.version, offer, now, times)
        else:
            offer = self._offer(operation.envelope, operation.lasting_ms, now)
            after = coherence.settle(entry, operation.reader, operation.version, offer, now, times)
        self._put(key, after)
        if self._bytes > self._room(key):
            self._make_room(now, key)
        return found

    def _entry(self, key: Key, now: int) -> Entry:
        slot = self._values.get(key) or self._markers.get(key)
        if slot is None:
            return None
        if slot.epoch == self._epoch:
            return slot.entry
        entry = coherence.current(slot.entry, now, self._times)
        if isinstance(entry, Announced):
            return replace(entry, marked=True)
        if isinstance(entry, Lease):
            return entry if entry.owner is None else coherence.run_out(entry, entry.owner, now, self._times)
        return None

    def _ask_fence(self) -> None:
        if self.fence is not None:
            token = self.fence()
            if token != self._token:
                self._token = token
                self._epoch += 1

    def _offer(self, envelope: Envelope | None, lasting_ms: int | None, now: int) -> Offer[Envelope] | None:
        if envelope is None or _weight(envelope) * SHARE > self._max_bytes:
            return None
        envelope = envelope.bare()
        ends = envelope.header.expires_ms
        if lasting_ms is not None and (not ends or now + lasting_ms < ends):
            ends = now + lasting_ms
        return Offer(envelope, ends)

    def _put(self, key: Key, entry: Entry) -> None:
        before = self._values.pop(key, None) or self._markers.pop(key, None)
        if before is not None:
            self._bytes -= before.weight
        if entry is None:
            return
        if isinstance(entry, Value):
            weight = _weight(entry.envelope)
            self._values[key] = _Slot(entry, self._epoch, weight)
        else:
            weight = MARKER_BYTES + sys.getsizeof(key.name)
            if isinstance(entry, Announced):
                weight += WRITER_BYTES * len(entry.writers)
                weight += 0 if entry.last is None else _weight(entry.last.envelope)
            self._markers[key] = _Slot(entry, self._epoch, weight)
        self._bytes += weight
        if self._frequency is None and self._bytes * 2 > self._max_bytes:
            self._frequency = Frequency(max(64, 2 * len(self._values)))

    def _tidy(self, now: int, looks: int) -> None:
        """Look at some of the oldest markers, and drop those that are over."""
        markers = self._markers
        for _ in range(min(looks, len(markers))):
            key, slot = next(iter(markers.items()))
            if coherence.current(slot.entry, now, self._times) is None:
                self._put(key, None)
            else:
                markers.move_to_end(key)

    def _room(self, newcomer: Key | None) -> int:
        """Up to how many bytes may be held. Values leave some to markers: else the lease of a newcomer, for which there is no room, would push out what is in
        use before the newcomer is judged."""
        most = self._max_bytes
        return most - most // MARKERS_SHARE if newcomer in self._values else most

    def _make_room(self, now: int, newcomer: Key | None = None) -> None:
        self._tidy(now, SWEPT)
        most = self._room(newcomer)
        while self._bytes > most:
            record = self._records.oldest()
            if self._values:
                self._put(self._victim(newcomer), None)
            elif record is not None:
                self._bytes -= self._records.drop(record)
            elif self._markers:
                self._put(next(iter(self._markers)), None)
            else:
                return  # only notes are left, which have a bound of their own

    def _victim(self, newcomer: Key | None) -> Key:
        """Which value goes: the one that was not used for the longest time, or the newcomer, if that was asked for no more often."""
        oldest = next(iter(self._values))
        frequency = self._frequency
        if frequency is None or newcomer is None or newcomer not in self._values:
            return oldest
        often = frequency.estimate(oldest)
        return newcomer if often > 0 and frequency.estimate(newcomer) <= often else oldest

    # --- the authority, where hot is alone ---------------------------------------------------------------------------

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        return self._read(key, self._enter(deadline))

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        now = self._enter(deadline)
        return [self._read(key, now) for key in keys]

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        return self._write(write, self._enter(deadline))

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        now = self._enter(deadline)
        answers: list[Written | ThermoclineError] = []
        for write in writes:
            try:
                answers.append(self._write(write, now))
            except ThermoclineError as error:
                answers.append(error)
        return answers

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        now = self._enter(deadline)
        if type(limit) is not int or limit < 1:
            raise InvalidArgument(f"a page holds at least one key, not {limit!r}")
        after = None if cursor is None else unpack_cursor(tenant, scope, prefix, cursor)
        items = self._records.scan(tenant, scope, prefix, after, limit, now)
        more = len(items) == limit
        return Page(items, pack_cursor(tenant, scope, prefix, items[-1].key.name) if more else None)

    def _read(self, key: Key, now: int) -> Envelope | None:
        if self._records.ended(key, now):
            self._bytes -= self._records.drop(key)
        return self._records.get(key)

    def _write(self, write: Write, now: int) -> Written:
        if write.verb is Verb.PUT:
            check_pointer(write.envelope, now, tier=self.tier)
        weight = _weight(write.envelope)
        if weight * SHARE > self._max_bytes:
            raise TooLarge(
                f"a record of {len(write.envelope.payload)} bytes does not fit: process memory holds values of up to"
                f" {self._max_bytes // SHARE} bytes (a quarter of max_bytes)"
            )
        there = self._read(write.key, now)
        written = self._records.judge(write, now)
        if written.effect is not Effect.TOOK:
            return written
        if written.envelope is None:  # an earlier copy of this write made it
            if there is not None and there.version == written.version:
                return replace(written, envelope=there)
            if write.verb is Verb.PUT:
                return replace(written, envelope=made(write, None, written.version))
            return written
        self._bytes += self._records.put(write, written.envelope, _weight(written.envelope))
        self._make_room(now)
        return written


def _found(entry: Entry, leased: bool) -> Found:
    if isinstance(entry, Value):
        return entry.envelope
    floor = coherence.floor_of(entry)
    if leased:
        return Leased(floor)
    if isinstance(entry, Lease):
        return Busy(floor, leased=True, holder=entry.owner)
    last = entry.last if isinstance(entry, Announced) else None
    return Busy(floor, None if last is None else last.envelope)


def _weight(envelope: Envelope) -> int:
    tags = sum(sys.getsizeof(name) + sys.getsizeof(tag) for name, tag in envelope.tags.items()) if envelope.tags else 0
    return OVERHEAD_BYTES + len(envelope.payload) + sys.getsizeof(envelope.key.name) + tags
