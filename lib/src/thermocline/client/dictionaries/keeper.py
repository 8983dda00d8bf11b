"""What one client needs of dictionaries: fetched when a record or a write first needs one, and remembered."""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Any, Final

from thermocline.client.cascade import Cascade
from thermocline.client.dictionaries.shelf import Shelf
from thermocline.client.engine import OFFLOAD_BYTES, Engine
from thermocline.client.reads import Notebook
from thermocline.clock import Deadline
from thermocline.codec import LATEST, LEAST, MOST, Dictionary, id_of
from thermocline.errors import ThermoclineError, TierUnavailable, UnknownDictionary
from thermocline.model import Authority, Envelope, Key
from thermocline.policy import Plan
from thermocline.protocols import Notes

log = logging.getLogger("thermocline.client")

_CHOSEN_SECONDS: Final = 600.0  # for which a choice stands
_FLEETING_SECONDS: Final = 10.0  # ... where Redis alone has the records, and may lose its data at any time
_NONE_SECONDS: Final = 60.0  # for which it stands that a tenant has none, or that nobody could be asked
_CHOOSING: Final = 2.0  # that a write may wait for it
_CHOICES: Final = 1000  # tenants
_PAUSES: Final = (0.05, 0.2, 0.75)  # seconds: a replica may lag behind the dictionary of a record that is just written
_MISSED_SECONDS: Final = 5.0  # for which it stands that a dictionary is not there: a batch of its records asks once
_PLACES: Final = 1000  # locks, and dictionaries that were missed


@dataclass(slots=True)
class _Choice:
    number: int | None
    until: float  # monotonic seconds


class DictionaryKeeper:
    """What one client needs of dictionaries: those that its records were written with, and the one that it writes with."""

    def __init__(self, engine: Engine, cascade: Cascade) -> None:
        self._engine, self._cascade = engine, cascade
        self._choices: dict[tuple[Authority, str], _Choice] = {}
        self._locks: dict[object, asyncio.Lock] = {}
        self._missed: dict[tuple[str, int], float] = {}  # until when, monotonic seconds

    def shelf(self, stamp: Authority) -> Shelf | None:
        """None: this tier is not there, or keeps no notes."""
        tier: object = self._engine.authorities.get(stamp)
        if not isinstance(tier, Notes):
            return None
        return Shelf(Notebook(tier, self._engine.guards[self._engine.authorities[stamp].tier]))

    # --- writing --------------------------------------------------------------------------------------------------------

    async def chosen(self, key: Key, plan: Plan, size: int, deadline: Deadline | None = None) -> Dictionary | None:
        """The dictionary for a value of ``size`` bytes; None: none. Never raises an error: a value that is stored without one is only larger. Waits for two
        seconds at most, and for half of what the deadline leaves, once in ten minutes."""
        wanted = self._engine.codec.dictionaries
        if wanted is None or not LEAST <= size <= MOST:
            return None
        place = (plan.authority, key.tenant)
        choice = self._choices.get(place)
        if choice is None or self._engine.clock.monotonic() >= choice.until:
            seconds = _CHOOSING if deadline is None else max(0.0, min(_CHOOSING, deadline.remaining() / 2))
            try:
                async with asyncio.timeout(seconds):
                    choice = await self._chosen_anew(place, wanted)
            except TimeoutError:
                return None
        # one that so many others were used since that it is forgotten is not fetched again before its time: values are larger meanwhile
        return None if choice.number is None else self._engine.codec.known.peek(key.tenant, choice.number)

    async def _chosen_anew(self, place: tuple[Authority, str], wanted: str) -> _Choice:
        """By the first who comes, for all who wait."""
        clock = self._engine.clock
        async with self._lock(place):
            found = self._choices.get(place)
            if found is None or clock.monotonic() >= found.until:
                before, found = found, None
                try:
                    found = await self._choose(place, wanted, before, Deadline.after(_CHOOSING, clock))
                finally:
                    if found is None:  # no time for the answer: the next ones do not wait for it at once
                        found = _Choice(None if before is None else before.number, clock.monotonic() + _MISSED_SECONDS)
                    self._choices.pop(place, None)
                    while len(self._choices) >= _CHOICES:
                        del self._choices[next(iter(self._choices))]
                    self._choices[place] = found
            return found

    async def _choose(
        self, place: tuple[Authority, str], wanted: str, before: _Choice | None, deadline: Deadline
    ) -> _Choice:
        stamp, tenant = place
        shelf, known = self.shelf(stamp), self._engine.codec.known
        found: int | None = None
        try:
            number = (
                None if shelf is None else await shelf.latest(tenant, deadline) if wanted == LATEST else id_of(wanted)
            )
            if shelf is not None and number is not None:
                if before is not None and before.number == number and known.knows(tenant, number):
                    # read from this very shelf before; but it may have been removed since, or lost with Redis
                    found = number if await shelf.info(tenant, number, deadline) is not None else None
                elif (read := await shelf.read(tenant, number, deadline)) is not None:
                    known.learn(tenant, read)
                    found = number
        except TierUnavailable:
            # what was there still is: none is removed while it is in use
            found = None if before is None else before.number
        except ThermoclineError as error:  # damaged: not to be used, and whoever reads is told
            log.warning("values of the tenant %.80r are written without a dictionary: %s", tenant, error)
        seconds = _FLEETING_SECONDS if stamp is Authority.HOT else _CHOSEN_SECONDS
        seconds = _NONE_SECONDS if found is None else seconds
        return _Choice(found, self._engine.clock.monotonic() + seconds)

    # --- reading --------------------------------------------------------------------------------------------------------

    async def fetch(self, envelope: Envelope, deadline: Deadline | None = None) -> None:
        """Teach the codec the dictionary that this record needs. Raises `UnknownDictionary` where its store does not have it, `TierUnavailable`."""
        engine, key, number = self._engine, envelope.key, envelope.header.dictionary
        known = engine.codec.known
        if not number or known.knows(key.tenant, number):
            return
        deadline = engine.budget.call() if deadline is None else deadline
        place = (key.tenant, number)
        async with self._lock(place):
            for pause in (*_PAUSES, 0.0):
                if known.knows(*place) or engine.clock.monotonic() < self._missed.get(place, 0.0):
                    break
                found = await self._find(envelope, deadline)
                if found is not None:
                    known.learn(key.tenant, found)
                    self._missed.pop(place, None)
                    return
                if not pause or deadline.remaining() < pause:
                    if len(self._missed) >= _PLACES:
                        self._missed.clear()
                    self._missed[place] = engine.clock.monotonic() + _MISSED_SECONDS
                    break
                await asyncio.sleep(pause)
        known.get(*place)  # raises, unless somebody else has taught it

    async def _find(self, envelope: Envelope, deadline: Deadline) -> Dictionary | None:
        """In the record's authority first, then wherever notes are kept."""
        engine, key = self._engine, envelope.key
        stamps = dict.fromkeys((engine.routes.route(key).authority, envelope.header.authority, *engine.authorities))
        trouble: ThermoclineError | None = None
        for stamp in stamps:
            shelf = self.shelf(stamp)
            if shelf is None:
                continue
            try:
                found = await shelf.read(key.tenant, envelope.header.dictionary, deadline)
            except (TierUnavailable, UnknownDictionary) as error:
                trouble = error if trouble is None or isinstance(error, TierUnavailable) else trouble
            else:
                if found is not None:
                    return found
        if trouble is not None:
            raise trouble
        return None

    async def decode(self, envelope: Envelope, kind: Any, deadline: Deadline | None = None) -> Any:
        """The value of a record that has a dictionary. Where that cannot be had, the authority's own copy counts: hot may hold a copy whose dictionary was
        removed, while Cosmos DB keeps JSON as JSON. Raises as `Codec.decode` does, and `TierUnavailable`."""
        engine = self._engine
        deadline = engine.budget.call() if deadline is None else deadline
        try:
            await self.fetch(envelope, deadline)
        except UnknownDictionary:
            found = await self._from_authority(envelope, deadline)
            if found is None:
                raise
            envelope = found
        return await self._decoded(envelope, kind)

    async def _from_authority(self, envelope: Envelope, deadline: Deadline) -> Envelope | None:
        """The authority's live record, if it does not need this dictionary too."""
        engine, key = self._engine, envelope.key
        plan = engine.routes.route(key)
        if plan.authority is not Authority.HOT:
            found = await self._cascade.ask(key, plan, envelope.version, deadline)
            if found is not None and found.live(engine.now_ms()):
                found = await self._cascade.resolve(found, plan, deadline)
            if (
                found is not None
                and found.live(engine.now_ms())
                and found.header.dictionary != envelope.header.dictionary
            ):
                await self.fetch(found, deadline)
                return found
        return None

    async def _decoded(self, envelope: Envelope, kind: Any) -> Any:
        decode = self._engine.codec.decode
        if envelope.header.raw_length < OFFLOAD_BYTES:
            return decode(envelope, kind)
        return await asyncio.get_running_loop().run_in_executor(self._engine.executor, decode, envelope, kind)

    async def plain(self, envelope: Envelope, deadline: Deadline | None = None) -> Envelope:
        """The record as it is stored where its dictionary is not; a pointer must have been followed. Raises as `decode`, and `CorruptRecord`."""
        if not envelope.header.dictionary or envelope.header.flags:
            return envelope
        await self.fetch(envelope, deadline)
        return self._engine.codec.without_dictionary(envelope)

    async def opened(self, envelope: Envelope, deadline: Deadline | None = None) -> Envelope:
        """The record with its serialised bytes beside the payload, for an authority that stores JSON as JSON."""
        if not envelope.header.dictionary or envelope.header.flags or envelope.raw is not None:
            return envelope
        await self.fetch(envelope, deadline)
        return replace(envelope, raw=self._engine.codec.raw(envelope))

    async def left(self, tenant: str, scope: str | None, deadline: Deadline) -> list[str]:
        """In words, the dictionaries that may hold something of a scope, or of the whole tenant, that was erased; and which tiers could not say."""
        engine, found = self._engine, dict[str, None]()
        stamps = (*(plan.authority for plan in engine.routes.reached()), *(tier.authority for tier in engine.durable()))
        for stamp in dict.fromkeys(stamps):
            shelf = self.shelf(stamp)
            try:
                for number in [] if shelf is None else await shelf.ids(tenant, deadline):
                    assert shelf is not None
                    words = await shelf.holds(tenant, scope, number, deadline)
                    if words:
                        found[words] = None
            except TierUnavailable as error:
                found[f"the dictionaries with {stamp.name} could not be listed ({error}): call forget again"] = None
        return [*found]

    def _lock(self, place: object) -> asyncio.Lock:
        """One caller fetches, the others wait for it."""
        lock = self._locks.get(place)
        if lock is None:
            if len(self._locks) >= _PLACES:
                self._locks = {name: lock for name, lock in self._locks.items() if lock.locked()}
            lock = self._locks[place] = asyncio.Lock()
        return lock
