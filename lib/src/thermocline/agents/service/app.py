"""The app and its routes. The only file that is needed to have FastAPI."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thermocline import telemetry
from thermocline.agents.agent import Agent
from thermocline.agents.orchestration.router import RoutingStrategy
from thermocline.agents.service import body, problems
from thermocline.agents.service.caller import Caller, asking
from thermocline.agents.service.events import EventStream, is_stream, one, plain
from thermocline.agents.service.life import Life
from thermocline.agents.service.plan import Makings, Plan
from thermocline.client import Verdict
from thermocline.errors import ConfigurationError, InvalidArgument

CORRELATION: Final = "x-correlation-id"
TRACE: Final = "traceparent"

_TAKES_JSON: Final = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}


def made_app(plan: Plan) -> FastAPI:
    """The app of a service."""
    life = Life(plan)
    # No redirect of a path with a slash too many: it would name the host and scheme that the request's own headers say, and a client takes its token there.
    app = FastAPI(title=plan.service_name, lifespan=life.run, redirect_slashes=False)
    app.add_middleware(Correlated)
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _told)
    _add_probes(app, life)
    if plan.makings is not None:
        _add_invoke(app, life, plan.makings)
    if life.routes is not None:
        life.routes.add_to(app)
    return app


class Correlated:
    """Each request has a correlation id, and its answer says it: the header's, if it is a fit one, else the trace's, else a new one.

    What no handler of the app took becomes a problem here, within that id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with telemetry.correlation(_fit(headers.get(CORRELATION)), traceparent=headers.get(TRACE)) as found:
            begun = False

            async def answer(message: Message) -> None:
                nonlocal begun
                if message["type"] == "http.response.start":
                    begun = True
                    MutableHeaders(scope=message)[CORRELATION] = found
                await send(message)

            try:
                await self._app(scope, receive, answer)
            except Exception as error:
                if begun:  # too late for another answer: the server ends the connection
                    raise
                await (await _told(Request(scope), error))(scope, receive, answer)


def _fit(given: str | None) -> str | None:
    """The id of a stranger's header; None, and no reason to refuse the request, for one that cannot be passed on."""
    try:
        with telemetry.correlation(given):
            return given
    except InvalidArgument:
        return None


async def _told(request: Request, error: Exception) -> Response:
    return problems.answer(error, _what(request))


def _what(request: Request) -> str:
    """The request's first line for the log, in one line whatever its path is."""
    path = request.url.path
    return f"{request.method} {path if path.isprintable() else repr(path)}"


def _nobody() -> None:
    return None


def _add_probes(app: FastAPI, life: Life) -> None:
    name = life.plan.service_name

    @app.get("/health", response_model=None)
    async def health() -> Response:
        """The process is alive and its event loop turns."""
        return problems.json_response({"status": "ok", "service": name})

    @app.get("/ready", response_model=None)
    async def ready() -> Response:
        """Whether the agent can answer: 503 while the memory has a tier that it cannot do without and that is down."""
        found, started = await life.health()
        word = "not ready" if not (found.ready and started) else "ready" if found.verdict is Verdict.OK else "degraded"
        memory = found.as_dict()
        if not started:
            memory["reasons"] = [*found.reasons, "the agent has not started yet"]
        if not life.plan.ready_reasons:
            memory = {
                "verdict": memory["verdict"],
                "tiers": {tier: one["verdict"] for tier, one in memory["tiers"].items()},
            }
        return problems.json_response(
            {"status": word, "service": name, "memory": memory}, status=503 if word == "not ready" else 200
        )


def _add_invoke(app: FastAPI, life: Life, makings: Makings) -> None:
    plan = life.plan
    who: Callable[..., Any] = plan.caller if plan.caller is not None else _nobody

    async def read(request: Request, caller: object) -> tuple[dict[str, Any], Caller | None]:
        """What is sent, and by whom."""
        if plan.caller is not None and not isinstance(caller, Caller):
            raise ConfigurationError(f"caller=… is to answer with a thermocline.Caller, not {type(caller).__name__}")
        found = await body.read_object(request, most=plan.limits.body_bytes, seconds=plan.limits.seconds)
        return found, caller if isinstance(caller, Caller) else None

    def signed(asked: dict[str, Any], caller: Caller | None) -> tuple[dict[str, Any], Caller | None]:
        """The request as the agent gets it, and whose it is. Refuses one that claims to be another's."""
        if plan.trust_body:
            return asked, body.of_body(asked)
        body.check_claims(asked, caller)
        reads = caller is not None and not issubclass(makings.kind, Agent)
        return (body.signed(asked, caller) if reads and caller is not None else asked), caller

    @app.post("/invoke", response_model=None, openapi_extra=_TAKES_JSON)
    async def invoke(request: Request, caller: Annotated[Any, Depends(who)]) -> Response:
        """Ask the agent."""
        sent, known = await read(request, caller)
        intent, payload = body.split(sent)
        payload, known = signed(payload, known)
        with asking(known):
            return await _in_time(plan, _route(life.agent(), intent, payload))

    @app.post("/invoke/stream", response_model=None, openapi_extra=_TAKES_JSON)
    async def invoke_stream(request: Request, caller: Annotated[Any, Depends(who)]) -> Response:
        """Ask the agent, and be told each part of its answer as it comes, as server-sent events."""
        sent, known = await read(request, caller)
        intent, payload = body.split(sent)
        payload, known = signed(payload, known)
        agent = life.agent()
        _check_intent(agent, intent)
        with asking(known):
            return EventStream(lambda: _parts(agent, intent, payload), seconds=plan.limits.seconds, what=_what(request))

    @app.post("/mcp/{path:path}", response_model=None, openapi_extra=_TAKES_JSON)
    async def mcp(request: Request, path: str, caller: Annotated[Any, Depends(who)]) -> Response:
        """Call one of the handlers that ``mcp_setup`` added."""
        name = path.strip("/")
        if name not in life.mcp:
            raise HTTPException(404, "There is no tool at this path.")
        life.agent()  # which raises while there is none
        payload, known = signed(*await read(request, caller))
        with asking(known):
            return await _in_time(plan, life.mcp.call(name, payload))


async def _in_time(plan: Plan, call: Awaitable[Any]) -> Response:
    async with asyncio.timeout(plan.limits.seconds):
        answer = await call
    if isinstance(answer, Response):
        return answer
    if is_stream(answer):
        raise ConfigurationError("the agent answers in parts; ask it at /invoke/stream")
    return problems.json_response(plain(answer))


def _check_intent(agent: Any, intent: str) -> None:
    router = agent.config.router
    known = ["default", *router.intents] if isinstance(router, RoutingStrategy) else [intent]
    if intent not in known:
        raise HTTPException(422, f"There is no such intent; there are: {', '.join(sorted(set(known)))}.")


async def _route(agent: Any, intent: str, payload: dict[str, Any]) -> Any:
    """What the agent answers: the handler of the intent, if its router has one, else `handle`."""
    _check_intent(agent, intent)
    router = agent.config.router
    if intent == "default" and isinstance(router, RoutingStrategy) and "default" not in router.intents:
        answer = agent.handle(payload)
        return answer if is_stream(answer) else await answer
    return await router.route(intent, payload)


async def _parts(agent: Any, intent: str, payload: dict[str, Any]) -> AsyncIterator[Any]:
    """The agent's ``stream(request)`` for the default intent if it has one, else its answer, in one part or several."""
    stream = getattr(agent, "stream", None) if intent == "default" else None
    answer = await _route(agent, intent, payload) if stream is None else stream(payload)
    if asyncio.iscoroutine(answer):
        answer = await answer
    found: AsyncIterator[Any] = aiter(answer) if is_stream(answer) else one(answer)
    return found
