"""The routes below ``/v1``: who calls, what that role may do, in time, and every error as a problem."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from thermocline.agents.service import problems
from thermocline.agents.service.memory import batch, openapi, records
from thermocline.agents.service.memory.answering import http_error, moment
from thermocline.agents.service.memory.asking import Ask
from thermocline.agents.service.memory.job_routes import JobRoutes
from thermocline.agents.service.memory.runner import Runner
from thermocline.agents.service.memory.who import principal_of
from thermocline.agents.service.memory_api import ERASE, READ, RESERVED, WRITE, MemoryApi
from thermocline.agents.service.plan import Limits
from thermocline.client import MemoryClient
from thermocline.errors import ClientClosed, TokenRefused
from thermocline.identity.bearer import Principal

Handler = Callable[[Ask], Awaitable[Response]]
READERS: Final = (READ, WRITE)
ANYBODY: Final = (READ, WRITE, ERASE)
BODY_SHARE: Final = 0.9  # of a request's time, for its body to arrive: so a slow sender is told that it was he


@dataclass(frozen=True, slots=True)
class Operation:
    """What a verb of a route does, and the roles of which it needs one."""

    name: str
    handler: Handler
    roles: tuple[str, ...]


class MemoryRoutes:
    """What ``memory_api=…`` adds to an app. ``memory`` and ``runner`` are there while the app runs."""

    def __init__(self, api: MemoryApi, limits: Limits) -> None:
        self.api, self._limits = api, limits
        self.memory: MemoryClient | None = None
        self.runner: Runner | None = None
        self._since = datetime.now(UTC)
        self._asked: dict[str, Counter[str]] = {}

    def begin(self, memory: MemoryClient) -> Runner:
        """The app has started."""
        self.memory, self.runner = memory, Runner(memory, self.api)
        if self.api.tokens is not None:
            self.runner.watch()
        return self.runner

    async def end(self) -> None:
        """The app ends: jobs under way are left for others."""
        runner, self.memory, self.runner = self.runner, None, None
        if runner is not None:
            await runner.close()

    def add_to(self, app: FastAPI) -> None:
        """All routes."""
        for path, operations in self._operations().items():
            app.add_route(path, self._endpoint(operations), methods=[*operations], include_in_schema=False)
        plain, found = app.openapi, dict[str, Any]()

        def document() -> dict[str, Any]:
            if not found:
                found.update(openapi.merged(plain()))
            return found

        app.openapi = document  # type: ignore[method-assign]

    def _operations(self) -> dict[str, dict[str, Operation]]:
        read = Operation("get", records.read, READERS)

        def jobs(name: str) -> Handler:
            async def handler(ask: Ask) -> Response:
                if self.runner is None:
                    raise ClientClosed("the service does not run")
                found: Response = await getattr(JobRoutes(self.runner), name)(ask)
                return found

            return handler

        return {
            "/v1/record": {
                "GET": read,
                "HEAD": read,
                "PUT": Operation("put", records.write, (WRITE,)),
                "DELETE": Operation("delete", records.remove, (WRITE,)),
            },
            "/v1/records": {"GET": Operation("list", records.listed, READERS)},
            "/v1/batch": {"POST": Operation("batch", batch.batch, READERS)},
            "/v1/exports": {"POST": Operation("export", jobs("export"), READERS)},
            "/v1/forgets": {"POST": Operation("forget", jobs("forget"), (ERASE,))},
            "/v1/jobs/{job}": {"GET": Operation("job", jobs("status"), ANYBODY)},
            "/v1/jobs/{job}/result": {"GET": Operation("result", jobs("result"), READERS)},
            "/v1/stats": {"GET": Operation("stats", self._stats, READERS)},
        }

    def _endpoint(self, operations: Mapping[str, Operation]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            operation = operations.get(request.method)
            if operation is None:  # Starlette takes HEAD wherever it takes GET
                allowed = ", ".join(sorted(operations))
                return problems.answer(HTTPException(405, headers={"allow": allowed}), operation_line(request))
            return await self._answered(operation, request)

        return endpoint

    async def _answered(self, operation: Operation, request: Request) -> Response:
        caller: Principal | None = None
        try:
            caller = await self._caller(request)
            caller.need(*operation.roles)
            if self.memory is None:
                raise ClientClosed("the service does not run")
            patience = self._limits.seconds * BODY_SHARE
            ask = Ask(request, caller, self.memory, self._limits.body_bytes, patience)
            async with asyncio.timeout(self._limits.seconds):
                answer = await operation.handler(ask)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is a problem, and the log has the rest
            conditional = "if-match" in request.headers or "if-none-match" in request.headers
            answer = problems.answer(http_error(error, conditional=conditional), operation_line(request))
        if caller is not None:
            self._asked.setdefault(caller.tenant, Counter())[f"{operation.name} {answer.status_code}"] += 1
        return answer

    async def _caller(self, request: Request) -> Principal:
        found = await principal_of(request, self.api.tokens, self.api.missing)
        if found.tenant.startswith(RESERVED):
            raise TokenRefused("The token's tenant is none.")
        return found

    async def _stats(self, ask: Ask) -> Response:
        """What this process was asked by the caller's tenant. The memory's own figures are everybody's, so they are told only where there is one tenant."""
        ask.query()
        told: dict[str, Any] = {
            "since": moment(self._since),
            "requests": dict(self._asked.get(ask.caller.tenant, {})),
        }
        if len(getattr(self.api.tokens, "tenants", ())) == 1:
            told["memory"] = ask.memory.stats()
        return problems.json_response(told)


def operation_line(request: Request) -> str:
    """For the log: without the query, which names keys."""
    return f"{request.method} {request.scope['route'].path if 'route' in request.scope else 'a memory route'}"
