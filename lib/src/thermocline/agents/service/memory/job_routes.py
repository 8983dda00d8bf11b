"""Exports and erasures as jobs: ``/v1/exports``, ``/v1/forgets``, ``/v1/jobs/{id}``, and an export's lines."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from thermocline.agents.service import body
from thermocline.agents.service.memory.answering import SAFE, moment
from thermocline.agents.service.memory.asking import Ask, refuse_strangers
from thermocline.agents.service.memory.runner import LONGEST_EXPORT, Runner
from thermocline.agents.service.memory.store import DONE, FAILED, GONE, OPEN_AT_ONCE, Job, new_id
from thermocline.agents.service.problems import json_response
from thermocline.clock import SYSTEM_CLOCK
from thermocline.model import Key, instant

_ID: Final = re.compile(r"[0-9a-f]{32}")
_REASON_BYTES: Final = 1000
_SOON: Final = "2"  # seconds after which it is worth to look again


class JobRoutes:
    """The handlers, over the runner of this process."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def export(self, ask: Ask) -> Response:
        """POST of an export."""
        given = await _object(ask, known=("scope", "whole_tenant"))
        return await self._begin(ask, _job(ask, "export", given))

    async def forget(self, ask: Ask) -> Response:
        """POST of an erasure."""
        given = await _object(ask, known=("scope", "whole_tenant", "reason", "dry_run"))
        reason, dry_run = given.get("reason", ""), given.get("dry_run", False)
        if not isinstance(reason, str) or len(reason.encode()) > _REASON_BYTES:
            raise HTTPException(422, f"reason is text of at most {_REASON_BYTES:,} bytes.")
        if not isinstance(dry_run, bool):
            raise HTTPException(422, "dry_run is true or false.")
        return await self._begin(ask, _job(ask, "forget", given, reason=reason, dry_run=dry_run))

    async def status(self, ask: Ask) -> Response:
        """GET of a job."""
        ask.query()
        return _answer(await self._known(ask), 200)

    async def result(self, ask: Ask) -> Response:
        """GET of an export's lines."""
        ask.query()
        job = await self._known(ask)
        if job.kind != "export":
            raise HTTPException(404, "An erasure has a receipt in its job, and no result.")
        if job.state == GONE:
            raise HTTPException(410, "What was exported has been erased since.")
        if job.state == FAILED:
            raise HTTPException(409, "The job failed, and has no result.")
        if job.state != DONE or job.result is None:
            raise HTTPException(409, "The job has not ended.", {"retry-after": _SOON})
        key = self._runner.store.result_key(job, job.result)
        lines = ask.memory.stream(key, timeout=LONGEST_EXPORT)
        try:
            first = await anext(lines, b"")
        except KeyError:
            raise HTTPException(410, "The result has expired: it is kept for a day.") from None
        return StreamingResponse(
            _from(first, lines),
            200,
            {"cache-control": "no-store", "content-disposition": f'attachment; filename="{job.id}.jsonl"', **SAFE},
            "application/x-ndjson",
        )

    async def _known(self, ask: Ask) -> Job:
        """The job, if it is one of the caller's tenant: of another's nobody says even that it is there."""
        job_id = ask.request.path_params["job"]
        found = await self._runner.store.read(job_id) if _ID.fullmatch(job_id) else None
        if found is None or found[0].tenant != ask.caller.tenant:
            raise HTTPException(404, "There is no such job.")
        return found[0]

    async def _begin(self, ask: Ask, job: Job) -> Response:
        async with self._runner.beginning(job.tenant):
            if await self._runner.store.count(job.tenant) >= OPEN_AT_ONCE:
                raise HTTPException(
                    429, f"The tenant has {OPEN_AT_ONCE} jobs that have not ended; wait for one.", {"retry-after": "30"}
                )
            await self._runner.store.add(job)
        self._runner.start(job.id)
        return _answer(job, 202)


async def _object(ask: Ask, *, known: tuple[str, ...]) -> dict[str, Any]:
    ask.query()
    given = await body.read_object(ask.request, most=ask.most, seconds=ask.seconds)
    refuse_strangers(given, ask.caller, known=known)
    return given


def _job(ask: Ask, kind: str, given: dict[str, Any], *, reason: str = "", dry_run: bool = False) -> Job:
    """Of one scope, or, said on purpose, of the whole tenant."""
    scope, whole = given.get("scope"), given.get("whole_tenant", False)
    if not isinstance(whole, bool) or whole == ("scope" in given):
        raise HTTPException(422, "Name a scope, or say whole_tenant: true; one of the two.")
    if not whole:
        if not isinstance(scope, str):
            raise HTTPException(422, "scope is a string.")
        Key(ask.caller.tenant, scope, "*")
    now = SYSTEM_CLOCK.wall_ms()
    by = f"{ask.caller.id} by {ask.caller.client}"[:500]
    return Job(new_id(), ask.caller.tenant, kind, scope, by, reason, dry_run, created_ms=now, updated_ms=now)


def _answer(job: Job, status: int) -> Response:
    place = f"/v1/jobs/{job.id}"
    headers = {"location": place} if status == 202 else {}
    if not job.ended:
        headers["retry-after"] = _SOON
    done = job.state == DONE and job.result is not None
    told = {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "scope": job.scope,
        "by": job.by,
        "created": moment(instant(job.created_ms)),
        "updated": moment(instant(job.updated_ms)),
        "attempts": job.attempts,
        "result": f"{place}/result" if done else None,
        "result_until": moment(instant(job.result_ms)) if done else None,
        "receipt": job.receipt,
        "detail": job.detail,
    }
    return json_response(told, status=status, headers=headers)


async def _from(first: bytes, lines: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(lines):
        yield first
        async for chunk in lines:
            yield chunk
