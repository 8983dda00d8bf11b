"""`Dictionaries`: a tenant's dictionaries, trained from its own values, stored beside them, listed and removed."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from thermocline.client.dictionaries import DictionaryInfo, DictionaryKeeper, Shelf
from thermocline.client.moving.walk import live, page_of
from thermocline.clock import Deadline
from thermocline.codec import LEAST, LEAST_SAMPLES, MOST, Codec, Dictionary, Sample, id_of, id_text, measure, train
from thermocline.errors import (
    ConfigurationError,
    Conflict,
    CorruptRecord,
    InvalidArgument,
    NotFound,
    ThermoclineError,
    TierUnavailable,
    UnknownDictionary,
)
from thermocline.model import DEFAULT_TENANT, Authority, Envelope, Key
from thermocline.protocols import Census, Stored

if TYPE_CHECKING:
    from thermocline.client.client import MemoryClient

SAMPLES: Final = 2000
SIZE: Final = 32 * 1024  # bytes
SHARED_BY: Final = 10
LEAST_GAIN: Final = 0.10
_LOOKED_AT: Final = 50  # records that are looked at for each sample
_BYTES: Final = 32 * 2**20  # of all samples together
_HELD_OUT: Final = 5  # one sample in so many is not trained with, but measured
_TOGETHER: Final = 100
_PAGE: Final = 500
_CALL: Final = 60.0  # seconds of one request of many records
_PLAIN_SCOPE: Final = "~"  # plain strings lie in 256 scopes that tell nothing of whose they are: they count as one
_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Training:
    """What came of it. ``stored``: whether the dictionary is stored now; ``new``: and was not before. ``why``: in words, why it is not."""

    info: DictionaryInfo
    stored: bool
    new: bool = False
    why: str = ""


class Dictionaries:
    """Of ``memory``, which is connected on first use and stays its owner's to close."""

    def __init__(self, memory: "MemoryClient") -> None:
        given: Any = memory
        if not hasattr(given, "_engine") or not hasattr(given, "_cascade"):
            raise ConfigurationError(f"Dictionaries: memory is a MemoryClient, not {given!r:.80}")
        self._memory = memory
        # as `transfer.ends.End` does: what this needs is asked of the client's own parts
        self._engine = memory._engine  # noqa: SLF001
        self._cascade = memory._cascade  # noqa: SLF001

    async def train(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        scope: str | None = None,
        prefix: str = "",
        samples: int = SAMPLES,
        size: int = SIZE,
        shared_by: int = SHARED_BY,
        force: bool = False,
        dry_run: bool = False,
    ) -> Training:
        """Read at most ``samples`` values of a tenant (of one ``scope``, of names that begin with ``prefix``) from their authority, make a dictionary of at
        most ``size`` bytes of four fifths of them, measure it on the rest, and store it if it saves a tenth of the bytes there (``force``: in any case).

        Only fragments that stand in values of ``shared_by`` scopes go into it, so that erasing one of them leaves nothing behind that was its alone; with
        ``shared_by=1`` it may hold anything that a value holds, which stays when the value is erased (docs/dictionaries.md). It is used once
        a client is told to (`Codec`'s ``dictionaries``). ``dry_run``: nothing is stored. Looks at fifty records for each sample at most, and 32 MB.

        Raises `InvalidArgument` for too few or too different samples, `ConfigurationError` where an authority cannot count or keeps no notes,
        `TierUnavailable`.
        """
        _check("samples", samples, 25, 100_000)
        _check("shared_by", shared_by, 1, 1_000_000)
        _ = Key(tenant, "x" if scope is None else scope, prefix or "x")  # raises for what no key can have
        await self._memory.connect()
        shelves = self._shelves()
        codec = self._engine.codec
        if codec.compression != "zstd":
            raise ConfigurationError(
                f"dictionaries are zstd's, and this client's codec writes with {codec.compression!r}"
            )
        found = await self._samples(tenant, scope, prefix, samples)
        if len(found) < LEAST_SAMPLES:
            raise InvalidArgument(_too_few(len(found), tenant, scope, prefix))
        loop = asyncio.get_running_loop()
        dictionary, info = await loop.run_in_executor(
            self._engine.executor, lambda: _made(found, codec, size=size, shared_by=shared_by)
        )
        info = replace(info, tenant=tenant, scope=scope, prefix=prefix[:200], trained_ms=self._engine.now_ms())
        if info.gain < LEAST_GAIN and not force:
            return Training(
                info,
                False,
                why=f"it saves {info.gain:.0%} of the bytes, and less than {LEAST_GAIN:.0%} is not worth a dictionary",
            )
        if dry_run:
            return Training(info, False, why="a dry run")
        new = [await shelf.write(dictionary, info, self._call()) for shelf in shelves]
        return Training(info, True, any(new))

    async def stored(self, *, tenant: str = DEFAULT_TENANT) -> list[DictionaryInfo]:
        """A tenant's dictionaries, the newest first. Raises `UnknownDictionary` for one whose description is damaged."""
        await self._memory.connect()
        found: dict[str, DictionaryInfo] = {}
        for shelf in self._shelves():
            for number in await shelf.ids(tenant, self._call()):
                info = await shelf.info(tenant, number, self._call())
                if info is not None:
                    found.setdefault(info.id, info)
        return sorted(found.values(), key=lambda info: (-info.trained_ms, info.id))

    async def latest(self, *, tenant: str = DEFAULT_TENANT) -> str | None:
        """The id of the one that ``dictionaries="latest"`` means; None: the tenant has none."""
        await self._memory.connect()
        for shelf in self._shelves():
            number = await shelf.latest(tenant, self._call())
            if number is not None:
                return id_text(number)
        return None

    async def show(self, id: str, *, tenant: str = DEFAULT_TENANT) -> tuple[DictionaryInfo, bytes]:
        """What is known of it, and its bytes, in the format of zstd's own tools. Raises `NotFound`, `UnknownDictionary` if it is not whole."""
        number = id_of(id)
        await self._memory.connect()
        for shelf in self._shelves():
            info = await shelf.info(tenant, number, self._call())
            made = await shelf.read(tenant, number, self._call())
            if info is not None and made is not None:
                return info, made.content
        raise NotFound(f"the tenant {tenant!r:.80} has no dictionary {id}")

    async def users(self, id: str, *, tenant: str = DEFAULT_TENANT) -> int:
        """How many of the tenant's records need it, by a census of the authorities; dead records that are still held count, copies in hot do not."""
        number = id_of(id)
        await self._memory.connect()
        count = 0
        # not Redis unless a route gives it the word: it would be scanned whole
        for stamp in dict.fromkeys((*self._stamps(), *(tier.authority for tier in self._engine.durable()))):
            if not isinstance(self._engine.authorities[stamp], Census):
                raise ConfigurationError(
                    f"{stamp.name} cannot count what it holds, so nobody knows whether the dictionary is needed"
                )
            cursor: str | None = None
            while True:
                page = await page_of(self._engine, stamp, tenant=tenant, scope=None, cursor=cursor, limit=_PAGE)
                if page.damaged:
                    raise CorruptRecord(
                        f"a record cannot be read, so nobody knows whether it needs the dictionary: {page.damaged[0]}"
                    )
                count += sum(item.header.dictionary == number for item in page.items)
                cursor = page.cursor
                if cursor is None:
                    break
        return count

    async def remove(self, id: str, *, tenant: str = DEFAULT_TENANT) -> DictionaryInfo:
        """Remove one that no record needs. A client that still writes with it would write what nobody can read: first see to it that none does (their setting
        names another, and they were started anew more than the longest write ago). One that is damaged, or of which only parts are there, as a training or a
        removal that was killed leaves them, has a ``size`` of 0. Raises `Conflict` while records need it, `NotFound`."""
        number = id_of(id)
        await self._memory.connect()
        info = await self._described(number, tenant)
        users = await self.users(id, tenant=tenant)
        if users:
            need = "1 record" if users == 1 else f"{users} records"
            raise Conflict(
                f"{need} of the tenant {tenant!r:.80} still written with the dictionary {id}: write anew without it, or leave it"
            )
        for shelf in self._shelves():
            await shelf.remove(tenant, number, self._call())
        return info

    async def _described(self, number: int, tenant: str) -> DictionaryInfo:
        """What is known of it, if only that there are parts, or a description that cannot be read."""
        shelves = self._shelves()
        for shelf in shelves:
            with contextlib.suppress(UnknownDictionary):
                info = await shelf.info(tenant, number, self._call())
                if info is not None:
                    return info
        for shelf in shelves:
            if number in await shelf.ids(tenant, self._call()):
                return DictionaryInfo(id_text(number), tenant, 0, "", 0, 0, 0, 0, 0, 0)
        raise NotFound(f"the tenant {tenant!r:.80} has no dictionary {id_text(number)}")

    # --- where -----------------------------------------------------------------------------------------------------------

    def _stamps(self) -> list[Authority]:
        return list(dict.fromkeys(plan.authority for plan in self._engine.routes.reached()))

    def _shelves(self) -> list[Shelf]:
        """With every authority that these routes give. Raises `ConfigurationError` where one keeps no notes."""
        keeper = DictionaryKeeper(self._engine, self._cascade)
        found = []
        for stamp in self._stamps():
            shelf = keeper.shelf(stamp)
            if shelf is None:
                raise ConfigurationError(f"{stamp.name} keeps no notes (protocols.Notes), and so no dictionaries")
            found.append(shelf)
        return found

    def _call(self) -> Deadline:
        return self._engine.budget.call(_CALL)

    # --- samples ---------------------------------------------------------------------------------------------------------

    async def _samples(self, tenant: str, scope: str | None, prefix: str, most: int) -> list[Sample]:
        """A fair draw from the first records of the census: each that fits is as likely to be in it as any other."""
        drawn: list[Stored] = []
        draw = random.Random(_SEED)  # noqa: S311 - no secret: the same records give the same dictionary
        looked = fitting = 0
        for stamp in self._stamps():
            if not isinstance(self._engine.authorities[stamp], Census):
                raise ConfigurationError(
                    f"{stamp.name} cannot count what it holds (protocols.Census), so no samples can be drawn"
                )
            cursor: str | None = None
            while looked < most * _LOOKED_AT:
                page = await page_of(self._engine, stamp, tenant=tenant, scope=scope, cursor=cursor, limit=_PAGE)
                looked += len(page.items)
                for item in page.items:
                    if not self._fits(item, stamp, prefix):
                        continue
                    fitting += 1
                    if len(drawn) < most:
                        drawn.append(item)
                    elif (place := draw.randrange(fitting)) < most:
                        drawn[place] = item
                cursor = page.cursor
                if cursor is None:
                    break
        draw.shuffle(drawn)
        return await self._read(drawn)

    def _fits(self, item: Stored, stamp: Authority, prefix: str) -> bool:
        engine = self._engine
        return (
            LEAST <= item.header.raw_length <= MOST
            and item.key.name.startswith(prefix)
            and live(item, engine.now_ms())
            and engine.routes.route(item.key).authority is stamp
        )

    async def _read(self, items: Sequence[Stored]) -> list[Sample]:
        """Their serialised values; what is gone or cannot be read meanwhile is left out."""
        found: list[Sample] = []
        left = _BYTES
        for at in range(0, len(items), _TOGETHER):
            by_stamp: dict[Authority, list[Key]] = {}
            for item in items[at : at + _TOGETHER]:
                by_stamp.setdefault(self._engine.routes.route(item.key).authority, []).append(item.key)
            for stamp, keys in by_stamp.items():
                tier = self._engine.authorities[stamp]
                guard = self._engine.guards[tier.tier]
                copies = await guard.call("read_many", tier.read_many, keys, deadline=self._call(), times=8.0)
                for copy in copies:
                    raw = await self._raw(copy)
                    if raw is not None and LEAST <= len(raw) <= MOST and left >= len(raw):
                        left -= len(raw)
                        found.append(Sample(_scope(copy), raw))
        return found

    async def _raw(self, copy: Envelope | ThermoclineError | None) -> bytes | None:
        engine = self._engine
        if isinstance(copy, TierUnavailable):
            raise copy
        if not isinstance(copy, Envelope) or not copy.live(engine.now_ms()):
            return None
        try:
            whole = await self._cascade.resolve(copy, engine.routes.route(copy.key), self._call())
            if whole is None:
                return None
            if engine.shelves is not None:
                await engine.shelves.fetch(whole, self._call())
            return engine.codec.raw(whole)
        except TierUnavailable:
            raise
        except ThermoclineError:
            return None


def _too_few(found: int, tenant: str, scope: str | None, prefix: str) -> str:
    where = f"the tenant {tenant!r:.80}, {'all scopes' if scope is None else f'the scope {scope!r:.80}'}, names {prefix[:80]}*"
    return (
        f"{found or 'no'} value{'' if found == 1 else 's'} to learn from in {where}: too few, at least {LEAST_SAMPLES} are needed (of {LEAST} bytes to"
        f" {MOST // 1024} KiB each, before compression)"
    )


def _scope(copy: Envelope | ThermoclineError | None) -> str:
    assert isinstance(copy, Envelope)
    key = copy.key
    return _PLAIN_SCOPE if key.tenant == DEFAULT_TENANT and key.scope.startswith(_PLAIN_SCOPE) else key.scope


def _made(samples: Sequence[Sample], codec: Codec, *, size: int, shared_by: int) -> tuple[Dictionary, DictionaryInfo]:
    """In a thread."""
    held_out = [sample.raw for sample in samples[::_HELD_OUT]]
    trained = [sample for place, sample in enumerate(samples) if place % _HELD_OUT]
    dictionary = train(trained, size=size, shared_by=shared_by, level=codec.level)
    found = measure(dictionary, held_out, level=codec.level, threshold=codec.threshold)
    info = DictionaryInfo(
        id=str(dictionary),
        tenant="",
        size=len(dictionary.content),
        sha256=dictionary.sha256,
        trained_ms=0,
        samples=len(trained),
        shared_by=shared_by,
        raw=found.raw,
        without=found.without,
        packed=found.packed,
        level=codec.level,
    )
    return dictionary, info


def _check(what: str, given: Any, least: int, most: int) -> None:
    if type(given) is not int or not least <= given <= most:
        raise InvalidArgument(f"{what} is a whole number from {least} to {most}, not {given!r:.80}")
