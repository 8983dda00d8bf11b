"""The records of jobs: of a tenant that no token can name. A job is one record, changed by compare-and-set alone, so that one runner has it at a time."""

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from thermocline.agents.service.memory_api import RESERVED
from thermocline.client import MemoryClient
from thermocline.errors import Conflict
from thermocline.model import Corrupt, Hit, Key, Unavailable

JOB_LIFE: Final = timedelta(days=7)  # of a job's status, from its last change
RESULT_LIFE: Final = timedelta(days=1)
OPEN_AT_ONCE: Final = 10  # jobs of a tenant that have not ended

QUEUED, RUNNING, DONE, FAILED, GONE = "queued", "running", "done", "failed", "gone"
ENDED: Final = (DONE, FAILED, GONE)
_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class Job:
    """``scope`` None: the whole tenant. ``until_ms``: while it runs, when its runner's lease ends; while it waits, when it may be tried.

    ``result``: under which name an export's lines lie; ``result_ms``: until when. Times are milliseconds since 1970 UTC.
    """

    id: str
    tenant: str
    kind: str
    scope: str | None
    by: str
    reason: str
    dry_run: bool
    created_ms: int
    updated_ms: int
    state: str = QUEUED
    attempts: int = 0
    runner: str = ""
    until_ms: int = 0
    result: str | None = None
    result_ms: int = 0
    receipt: dict[str, Any] | None = None
    detail: str | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def covers(self, scope: str | None) -> bool:
        """Whether it is about any of that scope; None: of the whole tenant."""
        return scope is None or self.scope is None or self.scope == scope


_FIELDS: Final = frozenset(field.name for field in fields(Job))


class JobStore:
    """Of one client."""

    def __init__(self, memory: MemoryClient) -> None:
        self._memory = memory

    async def add(self, job: Job) -> None:
        """A new job; when this returns it is durable, and will be found by whoever looks for open ones."""
        await self._memory.set(_job(job.id), asdict(job), ttl=JOB_LIFE, if_absent=True)
        if job.kind == "export":
            await self._memory.set(_export(job.tenant, job.id), {"scope": job.scope}, ttl=JOB_LIFE)
        await self._memory.set(_mark(job), {"id": job.id}, ttl=JOB_LIFE)

    async def read(self, job_id: str) -> tuple[Job, int] | None:
        """The job and its version; None: there is none. Raises `TierUnavailable`, `CorruptRecord`."""
        found = await self._memory.lookup(_job(job_id))
        if isinstance(found, Unavailable | Corrupt):
            raise found.error
        if not isinstance(found, Hit):
            return None
        return Job(**{name: value for name, value in found.value.items() if name in _FIELDS}), found.version

    async def save(self, job: Job, version: int) -> int:
        """The job as it is now, if nobody changed it since ``version``: `Conflict` otherwise. Returns its new version."""
        written = await self._memory.set(_job(job.id), asdict(job), ttl=JOB_LIFE, if_version=version)
        if job.ended:
            await self._memory.delete(_mark(job))
        return written.version

    async def count(self, tenant: str) -> int:
        """How many jobs of a tenant have not ended; counts to a few more than are allowed."""
        page = await self._memory.list(f"{tenant}/", scope="open", tenant=RESERVED, limit=OPEN_AT_ONCE + 5)
        return len(page)

    async def open(self) -> AsyncIterator[str]:
        """The ids of all jobs that have not ended."""
        async for name in self._names("open"):
            yield name.rpartition("/")[2]

    async def unmark(self, job: Job) -> None:
        """Of one that ended: whoever ended it may have died before it could."""
        await self._memory.delete(_mark(job))

    # --- results

    def result_key(self, job: Job, name: str) -> Key:
        return Key(RESERVED, f"result/{job.id}", name)

    async def drop_result(self, job: Job, name: str) -> None:
        await self._memory.delete(self.result_key(job, name))

    async def drop_exports(self, tenant: str, scope: str | None, *, before_ms: int, now_ms: int) -> int:
        """What was exported of a scope that is erased goes too, also what a runner that died left; exports under way end. How many these were."""
        count = 0
        async for job_id in self._names(f"exports/{tenant}"):
            found = await self.read(job_id)
            if found is None or found[0].created_ms > before_ms or not found[0].covers(scope):
                continue
            count += await self._end_export(job_id, now_ms)
            async for name in self._names(f"result/{job_id}"):
                await self.drop_result(found[0], name)
        return count

    async def _end_export(self, job_id: str, now_ms: int) -> bool:
        """Whether it was not over already."""
        for _ in range(_TRIES):  # its runner may renew its lease meanwhile
            found = await self.read(job_id)
            if found is None or found[0].state in (FAILED, GONE):
                return False
            told = "What was exported has been erased since."
            gone = replace(found[0], state=GONE, updated_ms=now_ms, result=None, detail=told)
            try:
                await self.save(gone, found[1])
            except Conflict:
                continue
            return True
        raise Conflict("an export of what is erased could not be ended: its record changes again and again")

    async def _names(self, scope: str) -> AsyncIterator[str]:
        cursor: str | None = None
        while True:
            page = await self._memory.list(scope=scope, tenant=RESERVED, limit=1000, cursor=cursor)
            for one in page:
                yield one.key.name
            cursor = page.cursor
            if cursor is None:
                return


def new_id() -> str:
    return uuid4().hex


def _job(job_id: str) -> Key:
    return Key(RESERVED, f"job/{job_id[:2]}", job_id)


def _mark(job: Job) -> Key:
    return Key(RESERVED, "open", f"{job.tenant}/{job.id}")


def _export(tenant: str, job_id: str) -> Key:
    return Key(RESERVED, f"exports/{tenant}", job_id)
