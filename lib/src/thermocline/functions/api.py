"""The HTTP apps: `memory_api`, and `agent_service` for an agent of yours. What is served is `build_service_app`'s; here it is started by the first event.

A Functions app is indexed before any setting counts, and its worker starts no lifespan: so the service begins with the first request or timer, on that event's
loop, once for all that come meanwhile, and has the one memory of its process. Until it can begin it says what is missing.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from thermocline import telemetry
from thermocline.agents.agent import Agent
from thermocline.agents.builder import AgentBuilder
from thermocline.agents.service import bearer_caller, build_service_app
from thermocline.agents.service.memory_api import WRITE, MemoryApi
from thermocline.client import MemoryClient
from thermocline.errors import ConfigurationError, TierUnavailable
from thermocline.functions.needs import AppNeeds, Need
from thermocline.functions.process import PROCESS, AppProcess
from thermocline.functions.settings import AppSettings
from thermocline.identity.bearer import EntraTokens

log = logging.getLogger("thermocline.functions")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Made = Callable[[MemoryClient, EntraTokens | None, str], Any]

BODY_BYTES: Final = 8 * 2**20  # of a request: a worker holds it several times over, and serves many at once
REQUEST_SECONDS: Final = 100.0  # the front end of Azure ends a request after 230
JOBS_SECONDS: Final = (
    240.0  # that one timer's event waits for jobs; what takes longer goes on, and the next event waits for it
)

PROBLEM: Final = "application/problem+json"
TOKENS: Final = (
    Need(("THERMOCLINE_API_AUDIENCE",), "whom tokens are for: the id, or the URI, of the application in Entra ID"),
    Need(
        ("THERMOCLINE_API_TENANTS",), "the tenants (ids, with a comma between) whose tokens count; there is no default"
    ),
)
_MEMORY: Final = (Need(("COSMOS_ACCOUNT_URI", "COSMOS_ENDPOINT"), "the authority of the memory"),)


class HttpApp:
    """An ASGI app that begins with its first event, over the memory of ``process``. ``made(client, tokens, missing)`` makes the service; ``tokens`` is None,
    and ``missing`` says why, where tokens cannot be checked."""

    def __init__(self, needs: AppNeeds, made: Made, *, process: AppProcess = PROCESS) -> None:
        self.needs, self.process = needs, process
        self._made = made
        self._client: MemoryClient | None = None  # that the service was begun for
        self._begun: asyncio.Task[Any] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["path"] == "/health" and scope["method"] == "GET":
            status, document = await self._health()
            await _answer(send, status, document, kind="application/json")
            return
        if _came_without_its_body(scope):
            said = "Send the body's length (content-length): one that comes in chunks does not get through Azure Functions."
            await _answer(send, 411, _problem("Length required", said, 411))
            return
        try:
            service = await self.service()
        except ConfigurationError as error:
            await _answer(send, 503, _problem("Not configured", str(error)))
        except TierUnavailable as error:
            log.warning("the memory cannot be reached: %s", telemetry.without_secrets(str(error))[:300])
            said = f"The {error.tier} tier of the memory cannot be asked now. Try again."
            await _answer(send, 503, _problem("Memory unavailable", said), retry_after=5)
        else:
            await service(scope, receive, send)

    async def service(self) -> Any:
        """The app of `build_service_app`, begun. Raises `ConfigurationError`, `TierUnavailable`; the next event tries anew."""
        client = await self.process.client()
        if self._client is not client or self._begun is None:
            self._client = client
            self._begun = asyncio.get_running_loop().create_task(self._begin(client), name="thermocline service begins")
        begun = self._begun
        try:
            return await asyncio.shield(begun)
        finally:
            if self._begun is begun and begun.done() and (begun.cancelled() or begun.exception() is not None):
                self._begun = None

    async def run_jobs(self, *, seconds: float = JOBS_SECONDS) -> dict[str, int]:
        """Do the jobs that nobody does, and wait for them up to ``seconds``: a timer's event keeps its instance alive. Counts, as of `Runner.take_over`.

        Raises `ConfigurationError`, `TierUnavailable`.
        """
        service = await self.service()
        found: dict[str, int] = await service.state.jobs.take_over(seconds=seconds)
        return found

    async def _begin(self, client: MemoryClient) -> Any:
        missing = [f"set {need.variables[0]}, {need.why}" for need in TOKENS if not need.met(os.environ)]
        tokens = None if missing else _tokens(self.process.settings())
        service = self._made(client, tokens, "; ".join(missing))
        running = _Running(service)
        await running.start()
        self.process.keep(running)
        return service

    async def _health(self) -> tuple[int, dict[str, Any]]:
        """What is missing or wrong, and how the tiers are; not why, for strangers can ask."""
        found = await self.process.health(self.needs)
        document = dict(found.document)
        memory = document.get("memory", {})
        if "tiers" in memory:
            document["memory"] = {"tiers": {tier: one["verdict"] for tier, one in memory["tiers"].items()}}
        else:
            document.pop("memory", None)
        named = {one["variable"] for one in document["missing"]}
        for need in TOKENS:
            if not need.met(os.environ) and need.variables[0] not in named:
                document["missing"] = [*document["missing"], {"variable": need.variables[0], "why": need.why}]
        if found.ready and not document["missing"]:
            try:
                await self.service()
            except ConfigurationError as error:
                document["wrong"] = [*document["wrong"], str(error)]
            except TierUnavailable:  # since the look a moment ago
                return 503, document | {"status": "down"}
        if document["missing"] or document["wrong"]:
            document["status"] = "misconfigured"
        return (503 if document["status"] == "misconfigured" else found.status), document

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Under a server of ASGI, as uvicorn: its start begins nothing, its end closes."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.process.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def memory_api(name: str = "memory-api") -> HttpApp:
    """The memory over HTTP; docs/memory-api.md."""

    def made(client: MemoryClient, tokens: EntraTokens | None, missing: str) -> Any:
        return build_service_app(
            name,
            memory_api=MemoryApi(tokens, missing, watch=None),  # a timer looks for jobs
            memory_client=client,
            max_body_bytes=BODY_BYTES,
            request_timeout=REQUEST_SECONDS,
            ready_reasons=False,
        )

    needs = AppNeeds(name, services=_MEMORY, bound=("THERMOCLINE_JOBS_SCHEDULE",), settings=TOKENS)
    return HttpApp(needs, made)


def agent_service(
    name: str,
    agent_class: type[Agent],
    *,
    setup: Callable[[AgentBuilder[Any]], object] | None = None,
    roles: tuple[str, ...] = (WRITE,),
) -> HttpApp:
    """An agent over HTTP: ``own`` is the memory of whoever calls, by an Entra token that has one of ``roles``. ``setup(builder)``: whatever `AgentBuilder`
    can do."""

    def made(client: MemoryClient, tokens: EntraTokens | None, missing: str) -> Any:
        return build_service_app(
            name,
            agent_class,
            agent_setup=setup,
            caller=bearer_caller(tokens, roles=roles, missing=missing),
            memory_client=client,
            request_timeout=REQUEST_SECONDS,
            ready_reasons=False,
        )

    return HttpApp(AppNeeds(name, services=_MEMORY, settings=TOKENS), made)


def _tokens(settings: AppSettings) -> EntraTokens:
    return EntraTokens(settings.api_audience or "", settings.api_tenants, authority=settings.api_authority)


class _Running:
    """A service between its lifespan's begin and end, which are in one task, as they must be."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self._begun, self._end = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises what the start raises."""
        task = self._task = asyncio.get_running_loop().create_task(self._live(), name="thermocline service")
        waiting = asyncio.get_running_loop().create_task(self._begun.wait())
        try:
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._begun.is_set():
            await task

    async def close(self) -> None:
        """End it. Raises what the end raises."""
        self._end.set()
        if self._task is not None:
            await self._task

    async def _live(self) -> None:
        async with self._service.router.lifespan_context(self._service):
            self._begun.set()
            await self._end.wait()


def _problem(title: str, detail: str, status: int = 503) -> dict[str, Any]:
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def _came_without_its_body(scope: Scope) -> bool:
    """The Functions host passes on no body whose length was not said; it would be taken for an empty one."""
    names = {name.lower() for name, _ in scope["headers"]}
    return "azure_functions.function_name" in scope and b"transfer-encoding" in names and b"content-length" not in names


def no_path() -> bytes:
    """The problem (400, `PROBLEM`) of a request whose path is no percent-encoded UTF-8: the SDK's middleware fails on it before the service is asked."""
    return json.dumps(_problem("Bad Request", "The path is no percent-encoded UTF-8.", 400)).encode()


async def _answer(
    send: Send,
    status: int,
    told: dict[str, Any],
    *,
    kind: str = PROBLEM,
    retry_after: int | None = None,
) -> None:
    body = json.dumps(told, ensure_ascii=False, default=str).encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
    ]
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
