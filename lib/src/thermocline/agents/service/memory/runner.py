"""Who does jobs: each by one runner at a time, which holds a lease that it renews; when it dies another takes the job over and does it again.

Exports and erasures may be done again: an export begins anew under another name, an erasure goes on. What a runner that lost its lease still does changes
nothing, for a job's record is changed by compare-and-set alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from thermocline import telemetry
from thermocline.agents.service.memory.store import (
    DONE,
    FAILED,
    QUEUED,
    RESULT_LIFE,
    RUNNING,
    Job,
    JobStore,
    new_id,
)
from thermocline.agents.service.memory_api import MemoryApi
from thermocline.client import MemoryClient
from thermocline.clock import SYSTEM_CLOCK, Clock
from thermocline.errors import Conflict, InvalidArgument, TierUnavailable, UnknownOutcome

log = logging.getLogger("thermocline.agents")

AT_ONCE: Final = 2  # jobs of one process: each reads or erases as fast as it may
ATTEMPTS: Final = 20  # then the job has failed
FIRST_PAUSE: Final = 5.0  # seconds after an outage, doubled each time up to ten minutes
LONGEST_PAUSE: Final = 600.0
LONGEST_EXPORT: Final = timedelta(hours=6)
CHUNK: Final = 256 * 1024  # bytes of an export that are handed on together
LAST_SECONDS: Final = 2.0  # for the last word about a job whose process ends
_OUTAGE: Final = (TierUnavailable, UnknownOutcome, TimeoutError, Conflict)  # what a later try may not meet


class Runner:
    """Does the jobs of this process. Its tasks end with `close`, and leave their jobs for others."""

    def __init__(self, memory: MemoryClient, api: MemoryApi, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.store = JobStore(memory)
        self._memory, self._clock = memory, clock
        self._lease, self._every = api.lease_seconds, api.watch_seconds
        self._longest_write = api.longest_write
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[bool]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._beginning: dict[str, asyncio.Lock] = {}

    def beginning(self, tenant: str) -> asyncio.Lock:
        """Held while a job of the tenant is counted and added: requests that come together are counted one after the other."""
        return self._beginning.setdefault(tenant, asyncio.Lock())

    def watch(self) -> None:
        """Look for jobs whose runner died, now and then, until `close`."""
        if self._every is not None and self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch(self._every), name="thermocline jobs")

    def start(self, job_id: str) -> asyncio.Task[bool]:
        """Do a job in the background, if nobody has it; False of the task: somebody has, or it could not be ended."""
        known = self._tasks.get(job_id)
        if known is not None and not known.done():
            return known
        task = asyncio.get_running_loop().create_task(self._run(job_id), name=f"thermocline job {job_id}")
        self._tasks[job_id] = task
        task.add_done_callback(lambda _: self._ended(job_id, task))
        return task

    async def take_over(self, *, seconds: float) -> dict[str, int]:
        """Do what nobody does, and wait for it up to ``seconds``; what takes longer goes on in the background. Counts: ``open`` jobs that were found,
        ``ended`` by this. Raises `TierUnavailable`."""
        tasks = [self.start(job_id) async for job_id in self.store.open()]
        done = (await asyncio.wait(tasks, timeout=seconds))[0] if tasks else set()
        ended = sum(1 for task in done if not task.cancelled() and task.exception() is None and task.result())
        return {"open": len(tasks), "ended": ended}

    async def close(self) -> None:
        """End what is under way; others take it over at once."""
        tasks = [*self._tasks.values(), *([self._watching] if self._watching is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks, self._watching = {}, None

    def _ended(self, job_id: str, task: "asyncio.Task[bool]") -> None:
        if self._tasks.get(job_id) is task:
            del self._tasks[job_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._note(job_id, error)

    def _note(self, job_id: str, error: BaseException) -> None:
        if isinstance(error, _OUTAGE):
            log.warning("job %s waits: %s", job_id, telemetry.without_secrets(str(error))[:300])
        else:
            log.error("job %s failed: %s", job_id, type(error).__name__, exc_info=error)

    async def _watch(self, every: float) -> None:
        while True:
            try:
                await self.take_over(seconds=0.001)
            except _OUTAGE as error:
                log.warning("open jobs could not be looked for: %s", telemetry.without_secrets(str(error))[:300])
            except Exception:
                log.exception("open jobs could not be looked for")
            await asyncio.sleep(every)

    # --- one job ---------------------------------------------------------------------------------------------------------

    async def _run(self, job_id: str) -> bool:
        async with self._slots:
            claimed = await self._claim(job_id)
            if claimed is None:
                return False
            return await self._held(*claimed)

    async def _claim(self, job_id: str) -> tuple[Job, int] | None:
        """The job, as this runner's; None: it ended, another has it, or its time has not come."""
        found = await self.store.read(job_id)
        if found is None:
            return None
        job, version = found
        if job.ended:
            await self.store.unmark(job)
            return None
        now = self._clock.wall_ms()
        if job.until_ms > now:
            return None
        if job.attempts >= ATTEMPTS:
            await self._save(replace(job, state=FAILED, detail="It was tried too often.", updated_ms=now), version)
            return None
        mine = replace(
            job,
            state=RUNNING,
            runner=new_id(),
            attempts=job.attempts + 1,
            until_ms=self._until(now),
            updated_ms=now,
            detail=None,
        )
        taken = await self._save(mine, version)
        return None if taken is None else (mine, taken)

    async def _held(self, job: Job, version: int) -> bool:
        """Do it while the lease is renewed; it is given up when another has the job."""
        work = asyncio.create_task(self._work(job), name=f"thermocline work {job.id}")
        held_until = self._clock.monotonic() + self._lease
        try:
            while not (await asyncio.wait({work}, timeout=self._lease / 3))[0]:
                job = replace(job, until_ms=self._until(self._clock.wall_ms()))
                try:
                    renewed = await self._save(job, version)
                except _OUTAGE:
                    if self._clock.monotonic() < held_until:
                        continue
                    renewed = None
                if renewed is None:
                    await self._give_up(job, work)
                    return False
                version, held_until = renewed, self._clock.monotonic() + self._lease
            return await self._told(job, version, work)
        except asyncio.CancelledError:
            await self._let_go(job, version)
            raise
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _give_up(self, job: Job, work: "asyncio.Task[dict[str, Any]]") -> None:
        """Another has the job, or its scope was erased: what was written goes."""
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        if job.kind == "export":
            await self.store.drop_result(job, job.runner)

    async def _told(self, job: Job, version: int, work: "asyncio.Task[dict[str, Any]]") -> bool:
        """Write down how it ended."""
        now = self._clock.wall_ms()
        error = work.exception()
        if error is None:
            ended = replace(job, state=DONE, updated_ms=now, until_ms=0, **work.result())
        elif isinstance(error, _OUTAGE):
            self._note(job.id, error)
            pause = min(FIRST_PAUSE * 2 ** (job.attempts - 1), LONGEST_PAUSE)
            told = "A tier of the memory could not be asked; it is tried again."
            ended = replace(job, state=QUEUED, updated_ms=now, until_ms=now + round(pause * 1000), detail=told)
        else:
            self._note(job.id, error)
            told = str(error)[:300] if isinstance(error, InvalidArgument) else "It failed; the log says how."
            ended = replace(job, state=FAILED, updated_ms=now, until_ms=0, detail=told)
        taken = await self._save(ended, version)
        if taken is None:
            await self._give_up(job, work)
        return taken is not None and ended.ended

    async def _let_go(self, job: Job, version: int) -> None:
        """The process ends: whoever looks next may have the job at once."""
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await self._save(replace(job, state=QUEUED, until_ms=0), version)
        except Exception as error:  # noqa: BLE001 - then its lease runs out
            log.info("job %s is left to its lease: %s", job.id, type(error).__name__)

    async def _save(self, job: Job, version: int) -> int | None:
        """The new version; None: another has the job. An unknown outcome is looked up."""
        try:
            return await self.store.save(job, version)
        except Conflict:
            return None
        except UnknownOutcome:
            found = await self.store.read(job.id)
            if found is not None and found[0] == job:
                return found[1]
            if found is not None and found[1] == version:
                raise
            return None

    def _until(self, now_ms: int) -> int:
        return now_ms + round(self._lease * 1000)

    # --- what is done ------------------------------------------------------------------------------------------------------

    async def _work(self, job: Job) -> dict[str, Any]:
        """What changes in the job's record when it is done."""
        return await (self._export(job) if job.kind == "export" else self._forget(job))

    async def _export(self, job: Job) -> dict[str, Any]:
        async def chunks() -> AsyncIterator[bytes]:
            kept = bytearray()
            async with aclosing(self._memory.export(scope=job.scope, tenant=job.tenant)) as lines:
                async for line in lines:
                    kept += line.encode() + b"\n"
                    if len(kept) >= CHUNK:
                        yield bytes(kept)
                        kept.clear()
            yield bytes(kept)

        key = self.store.result_key(job, job.runner)
        written = await self._memory.set_stream(
            key, chunks(), ttl=RESULT_LIFE, media_type="application/x-ndjson", timeout=LONGEST_EXPORT
        )
        ends = self._clock.wall_ms() + round(RESULT_LIFE.total_seconds() * 1000)
        if written.expires is not None:
            ends = round(written.expires.timestamp() * 1000)
        return {"result": job.runner, "result_ms": ends}

    async def _forget(self, job: Job) -> dict[str, Any]:
        async def drop_exports() -> None:
            now = self._clock.wall_ms()
            await self.store.drop_exports(job.tenant, job.scope, before_ms=now, now_ms=now)

        if not job.dry_run:
            await drop_exports()
        receipt = await self._memory.forget(
            scope=job.scope,
            tenant=job.tenant,
            by=job.by,
            reason=job.reason,
            dry_run=job.dry_run,
            longest_write=self._longest_write,
        )
        if not job.dry_run:  # what began to be exported before the second pass
            await drop_exports()
        return {"receipt": receipt.as_dict()}
