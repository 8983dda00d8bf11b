"""agent-sample: an agent that remembers whoever calls it. Copy it, and write your own `handle`."""

from typing import Any

import azure.functions as func

from thermocline import Agent, AgentBuilder
from thermocline.functions.api import PROBLEM, agent_service, no_path


class Companion(Agent):
    """``own`` is the caller's memory: nobody else's calls reach it."""

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        visits = await self.own.increment("visits")
        told = await self.call_tool("summary", text=str(request.get("query", "")))
        await self.own.append("told", told, keep=20)
        return {"visits": visits, "told": await self.own.get("told")}


async def summary(text: str) -> str:
    """Where a model would be asked."""
    return text[:200]


def setup(builder: AgentBuilder[Companion]) -> None:
    """Tools, models, a router: whatever the agent needs."""
    builder.with_tool("summary", summary)


SERVICE = agent_service("agent-sample", Companion, setup=setup)
_ASGI = func.AsgiMiddleware(SERVICE)  # type: ignore[no-untyped-call]
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)  # tokens are checked by the service itself


@app.function_name("http")
@app.route(route="{*route}", trigger_arg_name="request", methods=[*func.HttpMethod])
async def http(request: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Every request."""
    try:
        answer: func.HttpResponse = await _ASGI.handle_async(request, context)
    except UnicodeDecodeError:  # the middleware's, for a path that is no UTF-8
        return func.HttpResponse(no_path(), status_code=400, mimetype=PROBLEM)
    return answer
