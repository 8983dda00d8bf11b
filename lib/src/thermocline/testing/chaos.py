"""A tier that fails on purpose: before its effect, after it, slowly, or by cancelling its caller. By a script, or by a seed and rates."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from thermocline.clock import Deadline
from thermocline.errors import (
    InvalidArgument,
    ThermoclineError,
    Throttled,
    TierTimeout,
    TierUnavailable,
    UnknownOutcome,
)
from thermocline.model import Authority, Envelope, Key, MemoryTier, Pointer
from thermocline.protocols import Entries, EntryOperation, Found, Holds, Page, Payloads, Versions, Write, Written

Answer = TypeVar("Answer")
Item = TypeVar("Item")


class Fault(StrEnum):
    """What is done to a call. A write that may have had its effect fails with `UnknownOutcome`, any other call with a `TierUnavailable`."""

    REFUSE = "refuse"  # the tier is not asked; the error says that nothing was sent
    THROTTLE = "throttle"  # the tier is not asked; the error is `Throttled`
    HANG = "hang"  # the tier is not asked; `TierTimeout` when the deadline has passed (never, if there is none), of unknown outcome
    LOSE = "lose"  # the tier is asked, and its answer is lost
    SLOW = "slow"  # the tier is asked after ``latency``
    CANCEL_BEFORE = "cancel_before"  # the calling task is cancelled; the tier is not asked
    CANCEL_AFTER = "cancel_after"  # the tier is asked, and then the calling task is cancelled


class _Injector:
    """Decides and counts."""

    def __init__(
        self,
        script: Iterable[Fault | None],
        rates: Mapping[Fault, float],
        verbs: Collection[str] | None,
        latency: timedelta,
        seed: int,
    ) -> None:
        if any(rate < 0 for rate in rates.values()) or sum(rates.values()) > 1:
            raise InvalidArgument("rates are probabilities: none is negative, and together they are at most 1")
        if latency < timedelta():
            raise InvalidArgument("latency is not negative")
        self.script: Iterator[Fault | None] = iter(script)
        self.rates = dict(rates)
        self.verbs = verbs
        self.latency = latency.total_seconds()
        self.random = random.Random(seed)
        self.calls: Counter[str] = Counter()
        self.injected: Counter[tuple[str, Fault]] = Counter()

    def draw(self, verb: str, down: bool) -> Fault | None:
        self.calls[verb] += 1
        fault = Fault.REFUSE if down else self._draw(verb)
        if fault is not None:
            self.injected[verb, fault] += 1
        return fault

    def _draw(self, verb: str) -> Fault | None:
        if self.verbs is not None and verb not in self.verbs:
            return None
        for fault in self.script:
            return fault
        at = self.random.random() if self.rates else 1.0
        for fault, rate in self.rates.items():
            at -= rate
            if at < 0:
                return fault
        return None


class _Base:
    """What wraps every call. The parts below say only which calls there are."""

    inner: Any
    down: bool
    _faults: _Injector

    async def _around(
        self, verb: str, call: Callable[[], Awaitable[Answer]], deadline: Deadline, write_id: str | None = None
    ) -> Answer:
        fault = self._faults.draw(verb, self.down)
        await self._before(fault, verb, deadline, write_id)
        answer = await call()
        if fault is Fault.LOSE:
            raise self._error(fault, verb, write_id)
        if fault is Fault.CANCEL_AFTER:
            await _cancel_caller()
        return answer

    async def _batch(
        self,
        verb: str,
        items: Sequence[Item],
        call: Callable[[Sequence[Item]], Awaitable[list[Any]]],
        deadline: Deadline,
    ) -> list[Any]:
        """A batch answers for each item by itself (P8): a failure hits some of them, at least one, chosen by the seed."""
        fault = self._faults.draw(verb, self.down)
        if fault not in (Fault.REFUSE, Fault.THROTTLE, Fault.LOSE):
            await self._before(fault, verb, deadline, None)
            answers = await call(items)
            if fault is Fault.CANCEL_AFTER:
                await _cancel_caller()
            return answers
        hit = {at for at in range(len(items)) if self.down or self._faults.random.random() < 0.5}
        hit |= {self._faults.random.randrange(len(items))} if items else set()
        asked = [at for at in range(len(items)) if fault is Fault.LOSE or at not in hit]
        answered = dict(zip(asked, await call([items[at] for at in asked]), strict=True)) if asked else {}
        return [self._error(fault, verb, _id_of(item)) if at in hit else answered[at] for at, item in enumerate(items)]

    async def _before(self, fault: Fault | None, verb: str, deadline: Deadline, write_id: str | None) -> None:
        if fault is Fault.SLOW:
            await asyncio.sleep(self._faults.latency)
        elif fault is Fault.CANCEL_BEFORE:
            await _cancel_caller()
        elif fault is Fault.HANG:
            await _until(deadline)
            raise self._error(fault, verb, write_id)
        elif fault in (Fault.REFUSE, Fault.THROTTLE):
            raise self._error(fault, verb, write_id)

    def _error(self, fault: Fault, verb: str, write_id: str | None) -> ThermoclineError:
        tier, text = self.inner.tier, f"chaos: {fault} at {verb}"
        if fault is Fault.REFUSE:
            return TierUnavailable(text, tier=tier, sent=False)
        if fault is Fault.THROTTLE:
            return Throttled(text, tier=tier, sent=False)
        if write_id is not None:
            return UnknownOutcome(text, write_id=write_id)
        return TierTimeout(text, tier=tier) if fault is Fault.HANG else TierUnavailable(text, tier=tier)


class _Entries(_Base):
    async def peek(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        return await self._around("peek", lambda: self.inner.peek(key, deadline=deadline), deadline)

    async def peek_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        return await self._batch(
            "peek_many", keys, lambda some: self.inner.peek_many(some, deadline=deadline), deadline
        )

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        return await self._around("operate", lambda: self.inner.operate(operation, deadline=deadline), deadline)

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        return await self._batch(
            "operate_many", operations, lambda some: self.inner.operate_many(some, deadline=deadline), deadline
        )

    async def drop(self, keys: Sequence[Key], *, deadline: Deadline) -> None:
        await self._around("drop", lambda: self.inner.drop(keys, deadline=deadline), deadline)


class _Holds(_Base):
    async def take_hold(self, key: Key, token: str, lasting_ms: int, *, deadline: Deadline) -> bool:
        return await self._around(
            "take_hold", lambda: self.inner.take_hold(key, token, lasting_ms, deadline=deadline), deadline
        )

    async def release_hold(self, key: Key, token: str, *, deadline: Deadline) -> None:
        await self._around("release_hold", lambda: self.inner.release_hold(key, token, deadline=deadline), deadline)


class _Versions(_Base):
    @property
    def authority(self) -> Authority:
        authority: Authority = self.inner.authority
        return authority

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        return await self._around("read", lambda: self.inner.read(key, deadline=deadline), deadline)

    async def read_many(self, keys: Sequence[Key], *, deadline: Deadline) -> list[Envelope | ThermoclineError | None]:
        return await self._batch(
            "read_many", keys, lambda some: self.inner.read_many(some, deadline=deadline), deadline
        )

    async def write(self, write: Write, *, deadline: Deadline) -> Written:
        return await self._around("write", lambda: self.inner.write(write, deadline=deadline), deadline, write.id)

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        return await self._batch(
            "write_many", writes, lambda some: self.inner.write_many(some, deadline=deadline), deadline
        )

    async def scan(
        self, tenant: str, scope: str, prefix: str, *, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        def call() -> Awaitable[Page]:
            page: Awaitable[Page] = self.inner.scan(
                tenant, scope, prefix, limit=limit, cursor=cursor, deadline=deadline
            )
            return page

        return await self._around("scan", call, deadline)


class _Payloads(_Base):
    async def put_payload(self, key: Key, data: bytes | AsyncIterator[bytes], *, deadline: Deadline) -> Pointer:
        return await self._around("put_payload", lambda: self.inner.put_payload(key, data, deadline=deadline), deadline)

    async def get_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> bytes | None:
        return await self._around(
            "get_payload", lambda: self.inner.get_payload(key, pointer, deadline=deadline), deadline
        )

    async def stream_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> AsyncIterator[bytes]:
        """A lost answer is a stream that breaks off after its first chunk."""
        fault = self._faults.draw("stream_payload", self.down)
        await self._before(fault, "stream_payload", deadline, None)
        async with aclosing(self.inner.stream_payload(key, pointer, deadline=deadline)) as chunks:
            async for chunk in chunks:
                yield chunk
                if fault is Fault.LOSE:
                    raise self._error(fault, "stream_payload", None)
                if fault is Fault.CANCEL_AFTER:
                    await _cancel_caller()

    async def renew_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> Pointer | None:
        return await self._around(
            "renew_payload", lambda: self.inner.renew_payload(key, pointer, deadline=deadline), deadline
        )


_PARTS: tuple[tuple[type, type], ...] = (
    (Entries, _Entries),
    (Holds, _Holds),
    (Versions, _Versions),
    (Payloads, _Payloads),
)

if TYPE_CHECKING:

    class _EveryPart(_Entries, _Holds, _Versions, _Payloads):
        pass
else:
    _EveryPart = _Base


class ChaosTier(_EveryPart):
    """``tier`` with faults. Plays the parts that ``tier`` plays (`Entries`, `Holds`, `Versions`, `Payloads`), and no others.

    ``script``: the fault of each call in its order, None for none; when it is through, ``rates`` decide: the probability of each fault, drawn
    by ``seed``. ``verbs``: only calls of these names (``"peek"``, ``"write"``, …) meet faults and use up the script. ``latency``: of `Fault.SLOW`.
    While ``down`` is set, no call reaches the tier. Connecting and closing meet no faults, nor do the tier's direct methods.

        chaos = ChaosTier(tier, script=[None, Fault.LOSE], verbs={"write"})   # the second write's answer is lost
        chaos = ChaosTier(tier, rates={Fault.REFUSE: 0.1, Fault.SLOW: 0.2}, latency=timedelta(milliseconds=5), seed=7)

    ``calls`` counts the calls by verb, ``injected`` the faults by (verb, fault). The same seed and the same order of calls give the same faults.
    Raises `InvalidArgument` for rates that are no probabilities.
    """

    def __new__(cls, tier: Any, **_: Any) -> "ChaosTier":
        parts = [part for protocol, part in _PARTS if isinstance(tier, protocol)]
        kind: type[ChaosTier] = type(
            cls.__name__, (cls, *parts), {"__doc__": cls.__doc__, "__module__": cls.__module__}
        )
        return object.__new__(kind)

    def __init__(
        self,
        tier: Any,
        *,
        script: Iterable[Fault | None] = (),
        rates: Mapping[Fault, float] | None = None,
        verbs: Collection[str] | None = None,
        latency: timedelta = timedelta(milliseconds=10),
        seed: int = 0,
    ) -> None:
        self.inner = tier
        self.down = False
        self._faults = _Injector(script, rates or {}, verbs, latency, seed)
        for name in dir(type(tier)):
            # What else the tier can do, without chaos. As attributes: from Python 3.12 on isinstance with a Protocol asks no __getattr__.
            if not name.startswith("_") and not hasattr(type(self), name) and callable(getattr(type(tier), name)):
                setattr(self, name, getattr(tier, name))

    @property
    def tier(self) -> MemoryTier:
        tier: MemoryTier = self.inner.tier
        return tier

    @property
    def stats(self) -> Any:
        return self.inner.stats

    @stats.setter
    def stats(self, stats: Any) -> None:
        self.inner.stats = stats

    @property
    def calls(self) -> Counter[str]:
        """Calls so far, by verb; those with faults among them."""
        return self._faults.calls

    @property
    def injected(self) -> Counter[tuple[str, Fault]]:
        """Faults so far, by (verb, fault)."""
        return self._faults.injected

    async def connect(self) -> None:
        await self.inner.connect()

    async def close(self) -> None:
        await self.inner.close()

    async def ping(self, *, deadline: Deadline) -> None:
        await self._around("ping", lambda: self.inner.ping(deadline=deadline), deadline)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


def _id_of(item: object) -> str | None:
    return item.id if isinstance(item, Write) else None


async def _cancel_caller() -> None:
    task = asyncio.current_task()
    assert task is not None, "chaos cancels the task that calls it: call it from one"
    task.cancel()
    await asyncio.sleep(0)  # here the cancellation arrives


async def _until(deadline: Deadline) -> None:
    """Wait the deadline out; for ever if there is none."""
    remaining = deadline.remaining()
    try:
        async with asyncio.timeout(None if math.isinf(remaining) else remaining):
            await asyncio.Event().wait()
    except TimeoutError:
        return
