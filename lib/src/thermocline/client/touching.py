"""New ends for records whose value stays: `touch` below a ceiling, and what keeps sliding records alive while they are read."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from thermocline import telemetry
from thermocline.client.cascade import Cascade
from thermocline.client.engine import Engine
from thermocline.client.result import WriteResult
from thermocline.client.writer import Writer
from thermocline.clock import Deadline
from thermocline.errors import Conflict, Forgotten, ThermoclineError
from thermocline.model import Envelope, Header, Key
from thermocline.policy import Plan
from thermocline.protocols import Verb
from thermocline.resilience import in_background

log = logging.getLogger("thermocline.client")

RENEWALS_WAITING: Final = 64  # begun and not ended; further ones are dropped and counted: the next read renews
_AT_ONCE: Final = (
    2  # of these that write: the places at the gate (six at the beginning) are for those who wait for an answer
)
_FIRST_PAUSE: Final = 0.002  # seconds before a touch that met another writer is made anew; doubled each time
_LONGEST_PAUSE: Final = 0.1


class Touches:
    """The touches of one client: those that were asked for, and the renewals of sliding records, which nobody waits for."""

    def __init__(self, engine: Engine, cascade: Cascade, writer: Writer) -> None:
        self._engine = engine
        self._cascade = cascade
        self._writer = writer
        self._renewing: dict[Key, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._closed = False

    def __len__(self) -> int:
        """Renewals that are under way."""
        return len(self._renewing)

    # --- touch --------------------------------------------------------------------------------------------------------

    async def touch(self, key: Key, plan: Plan, ends_ms: int, now_ms: int, deadline: Deadline) -> WriteResult:
        """Let the record end at ``ends_ms`` (0: never), or as late as its ceiling allows; then atomically with what was read of it: made anew if another
        writer came between. Raises as `set` does, `Conflict` if that lasts until the deadline."""
        engine = self._engine
        lowest = engine.lifetimes.lowest_ms(key)
        if lowest is None:
            return await self._write(key, plan, ends_ms, now_ms, deadline)
        reading = replace(plan, rules=replace(plan.rules, read_fallback=True))
        pause = _FIRST_PAUSE
        while True:
            found = (await self._cascade.read(key, reading, deadline)).envelope
            if found is None:  # one that is created meanwhile is younger than this call
                most = now_ms + lowest
                return await self._write(key, plan, min(ends_ms, most) if ends_ms else most, now_ms, deadline)
            ends = engine.lifetimes.touched_ms(ends_ms, key, found.tags, found.header)
            try:
                return await self._write(key, plan, ends, now_ms, deadline, if_version=found.version)
            except Conflict as refused:
                if isinstance(refused, Forgotten) or deadline.remaining() <= pause:  # a call is as old the next time
                    raise
            await asyncio.sleep(pause * (0.5 + engine.tokens.random()))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _write(
        self, key: Key, plan: Plan, ends_ms: int, now_ms: int, deadline: Deadline, if_version: int | None = None
    ) -> WriteResult:
        header = Header(expires_ms=ends_ms, modified_ms=now_ms)
        intent = await self._writer.intent(Verb.TOUCH, Envelope(key, header), plan, deadline, if_version=if_version)
        return await self._writer.carry_out(intent, deadline)

    # --- sliding ------------------------------------------------------------------------------------------------------

    def renew(self, read: Envelope, plan: Plan) -> None:
        """A value was read: if its record is sliding and due, begin to renew it. Waits for nothing."""
        engine, key = self._engine, read.key
        if key in self._renewing or self._closed:
            return
        now = engine.now_ms()
        ends = engine.lifetimes.renewed_ms(key, read.tags, read.header, now, engine.tokens.random)
        if ends == 0:
            return
        if len(self._renewing) >= RENEWALS_WAITING:
            engine.stats.count(telemetry.RENEWALS_DROPPED, "client")
            return
        work = in_background(self._renew(key, plan, ends, now, read.version))
        task = asyncio.get_running_loop().create_task(work, name="thermocline renewal")
        self._renewing[key] = task
        task.add_done_callback(lambda _: self._renewing.pop(key, None))

    async def _renew(self, key: Key, plan: Plan, ends_ms: int, now_ms: int, version: int) -> None:
        """Only of the version that was read: who wrote or renewed it meanwhile has given it its end."""
        stats = self._engine.stats
        try:
            async with self._turn:
                await self._write(key, plan, ends_ms, now_ms, self._engine.budget.call(None), if_version=version)
        except Conflict:
            return
        except ThermoclineError as error:
            log.debug("a sliding record was not renewed, the next read tries again: %s", type(error).__name__)
            stats.count(telemetry.RENEWALS_FAILED, "client")
        except Exception:  # a tier raised what is not of our tree: its bug must not end in an unseen task
            log.exception("a sliding record was not renewed, in a way that no tier should fail")
            stats.count(telemetry.RENEWALS_FAILED, "client")
        else:
            stats.count(telemetry.RENEWALS, "client")

    async def close(self, patience: float = 1.0) -> None:
        """Begin no more, wait ``patience`` seconds for those under way, and cancel the rest."""
        self._closed = True
        tasks = [*self._renewing.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
