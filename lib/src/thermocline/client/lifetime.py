"""The life of a client: made, connected to its tiers in one event loop, closed."""

import asyncio
import logging
import random
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from thermocline.client.assembly import Closeable, Parts, assemble, connect_tiers
from thermocline.client.atomic import AtomicWrites
from thermocline.client.batch_writes import BatchWrites
from thermocline.client.direct import Direct
from thermocline.client.figures import Figures
from thermocline.client.health import Checks
from thermocline.client.listing import Listings
from thermocline.client.near import NearCache
from thermocline.client.runs import Runs
from thermocline.client.streams import Streams
from thermocline.client.takeover import TakeOver
from thermocline.client.touching import Touches
from thermocline.client.waves import Waves
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.codec import Codec
from thermocline.configured import part
from thermocline.errors import ClientClosed
from thermocline.lifetimes import Lifetimes
from thermocline.policy import MemoryRules, Route
from thermocline.protocols import Entries, Payloads, Versions
from thermocline.resilience import Budget, Resilience

if TYPE_CHECKING:
    from thermocline.client.receipt import ServiceRetention

log = logging.getLogger("thermocline.client")

Lifetime = timedelta | float | None


class ClientLife:
    """What `MemoryClient` is before it has verbs."""

    def __init__(
        self,
        *,
        hot: Entries | None = None,
        warm: Versions | None = None,
        cold: Payloads | Versions | None = None,
        warm_plus: Versions | None = None,
        rules: MemoryRules | None = None,
        routes: Sequence[Route] = (),
        lifetimes: Lifetimes | None = None,
        codec: Codec | None = None,
        budget: Budget | None = None,
        clock: Clock = SYSTEM_CLOCK,
        executor: Executor | None = None,
        tokens: random.Random | None = None,
        closes: Sequence[Closeable] = (),
        save_reads: timedelta | float | None = None,
        retention: "ServiceRetention | None" = None,
        resilience: Resilience | None = None,
        near: NearCache | None = None,
    ) -> None:
        if retention is not None:
            from thermocline.client.receipt import ServiceRetention

            part(retention, "retention", ServiceRetention)
        self._retention = retention
        self._parts: Parts = assemble(
            hot=hot,
            warm=warm,
            cold=cold,
            warm_plus=warm_plus,
            rules=rules,
            routes=routes,
            lifetimes=lifetimes,
            codec=codec if codec is not None else Codec(),
            budget=budget,
            clock=clock,
            executor=executor,
            tokens=tokens,
            closes=closes,
            save_reads=save_reads,
            resilience=resilience,
            near=near,
        )
        self._adopt(self._parts)
        self._ready: asyncio.AbstractEventLoop | None = None  # the loop in which verbs may go ahead
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    def _adopt(self, parts: Parts) -> None:
        """What the verbs use of the parts, and the parts that are made of them."""
        self._engine = parts.engine
        self._cascade = parts.cascade
        self._writer = parts.writer
        self._batches = parts.batches
        self._batch_writes = BatchWrites(parts.engine, parts.writer)
        self._atomic_writes = AtomicWrites(parts.engine, parts.writer, self._batch_writes)
        self._recovery = parts.recovery
        self._touches = Touches(parts.engine, parts.cascade, parts.writer)
        self._direct = Direct(parts.engine, parts.cascade, parts.tiers)
        self._takeover = TakeOver(parts.engine, parts.cascade, parts.writer, parts.cascade.legacy)
        self._slides = parts.engine.lifetimes.slides
        self._near = parts.near
        if parts.near is not None and self._slides:
            parts.near.renew = self._touches.renew
        self._runs = Runs(parts.engine)
        self._streams = Streams(parts.engine, parts.cascade, parts.writer, self._touches)
        self._listings = Listings(parts.engine)
        self._figures = Figures(parts)
        self._checks = Checks(parts)
        self._waves = Waves(parts.engine, parts.cascade, parts.batches, parts.recovery)
        self._decode = parts.engine.codec.decode

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except ClientClosed:  # closed already, or bound to another loop, where it may be in use
            raise
        except BaseException:
            await self.close()  # nobody else will: the block does not begin, so it does not end
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect the tiers, within 15 s. Idempotent. A hot tier that cannot be reached only slows the client down; an authority raises."""
        if self._closed:
            raise ClientClosed("this client was closed; make a new one")
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._connecting is None:
            return
        if self._loop is not None and self._loop is not loop:
            raise ClientClosed("this client is bound to another event loop; make one per loop")
        self._loop = loop
        if self._connecting is None:
            self._connecting = loop.create_task(connect_tiers(self._parts), name="thermocline connect")
        task = self._connecting
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            caller = asyncio.current_task()
            if task.cancelled() and caller is not None and not caller.cancelling():
                raise ClientClosed("this client was closed while it connected; make a new one") from error
            raise
        finally:
            if task.done() and self._connecting is task:  # else another caller has begun anew meanwhile
                self._connecting = None
                if task.cancelled() or task.exception() is not None:
                    self._loop = None
                elif not self._closed:
                    self._ready = loop

    async def close(self) -> None:
        """Finish the factories and reads under way and tell hot what it has not been told (one second at most for each), and close the tiers it connected.
        Calls that are still under way then raise `ClientClosed`. Once begun it goes on if its caller is cancelled; a second call waits for its end."""
        if self._closing is None:
            self._closed = True
            self._ready = None
            self._closing = asyncio.get_running_loop().create_task(self._shut(), name="thermocline close")
        elif self._closing.done():
            return
        await asyncio.shield(self._closing)

    async def _shut(self) -> None:
        try:
            if self._connecting is not None:
                self._connecting.cancel()
                await asyncio.gather(self._connecting, return_exceptions=True)
            if self._near is not None:
                await self._near.close()
            await self._runs.close()
            await self._waves.close()
            await self._cascade.close()  # first: what a read cannot tell hot goes to the recovery queue
            await self._touches.close()
            await self._recovery.close()
            if self._engine.convoys is not None:
                await self._engine.convoys.close()
            if self._engine.interest is not None:
                await self._engine.interest.close()
        finally:
            self._figures.close()
            await self._parts.close()

    def __del__(self) -> None:
        if getattr(self, "_loop", None) is not None and not self._closed:
            warnings.warn(f"{self!r} was not closed; use `async with` or await close()", ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        tiers = "+".join(sorted(str(tier) for tier in self._engine.guards))
        return f"<{type(self).__name__} {tiers}>"

    async def _begin(self, timeout: Lifetime) -> Deadline:
        if self._ready is not asyncio.get_running_loop():
            await self.connect()
        return self._engine.budget.call(timeout)
