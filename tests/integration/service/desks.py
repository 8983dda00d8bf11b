"""The services that the tests start: a desk whose clerk does as it is asked."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException

from thermocline import Agent, Caller, ColdMemory, HotMemory, MemorySettings, WarmMemory, build_service_app, telemetry
from thermocline.agents import BaseRetailAgent, current_caller
from thermocline.agents.memory import build_canonical_memory_key, resolve_namespace_context
from thermocline.errors import Conflict, TierTimeout, UnknownOutcome

SECRET = "s3cr3t-of-the-inside"


@dataclass
class Found:
    name: str
    value: Any


class Clerk(Agent):
    """``do`` says what."""

    cancelled: asyncio.Event

    async def __aenter__(self) -> "Clerk":
        await super().__aenter__()
        self.cancelled = asyncio.Event()
        return self

    async def handle(self, request: dict[str, Any]) -> Any:
        what = request.get("do", "nothing")
        return await getattr(self, f"_{what}")(request)

    async def _nothing(self, request: dict[str, Any]) -> Any:
        return {"asked": request, "service": self.config.service_name, "correlation": telemetry.correlation_id()}

    async def _remember(self, request: dict[str, Any]) -> Any:
        return await self.call_tool("memory_write", key=request["name"], value=request["value"])

    async def _recall(self, request: dict[str, Any]) -> Any:
        return Found(request["name"], await self.own.get(request["name"]))

    async def _count(self, request: dict[str, Any]) -> Any:
        return {"count": await self.own.increment(request["name"]), "client": id(self.memory), "process": os.getpid()}

    async def _whose(self, request: dict[str, Any]) -> Any:
        found = current_caller()
        return None if found is None else {"tenant": found.tenant, "scope": found.scope, "own": self.own.scope}

    async def _outside(self, request: dict[str, Any]) -> Any:
        """What a task does that no request started."""
        import contextvars

        return await asyncio.create_task(self._recall(request), context=contextvars.Context())

    async def _fail(self, request: dict[str, Any]) -> Any:
        kind = {
            "runtime": RuntimeError(SECRET),
            "teapot": HTTPException(418, "I am a teapot", {"x-tea": "green"}),
            "conflict": Conflict(SECRET),
            "unknown": UnknownOutcome(SECRET, write_id="w"),
            "outage": TierTimeout(SECRET, tier="warm", retry_after=7),
            "tasks": ExceptionGroup(
                SECRET, [TierTimeout(SECRET, tier="cold"), ExceptionGroup("x", [Conflict(SECRET)])]
            ),
            "tasks and more": ExceptionGroup(SECRET, [TierTimeout(SECRET, tier="cold"), KeyError(SECRET)]),
            "slow": TimeoutError(SECRET),
        }
        raise kind[request["how"]]

    async def _odd(self, request: dict[str, Any]) -> Any:
        return {"nan": float("nan")}

    async def _forever(self, request: dict[str, Any]) -> Any:
        await asyncio.Event().wait()

    async def _until_cancelled(self, request: dict[str, Any]) -> Any:
        await self.cancelled.wait()
        return {"cancelled": True}

    async def stream(self, request: dict[str, Any]) -> AsyncIterator[Any]:
        """Counts; ``then``: what comes after the last number."""
        for number in range(request.get("numbers", 0)):
            yield {"number": number}
        match request.get("then"):
            case "fail":
                raise RuntimeError(SECRET)
            case "forever":
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled.set()
            case "pipe":  # what another process writes into it, whenever it does
                yield await asyncio.to_thread(Path(request["pipe"]).read_text)
            case "remember":
                await self.own.set("streamed", request["value"])
                yield await self.own.get("streamed")


class OldClerk(BaseRetailAgent):
    """As code for holiday_peak_lib was written: the tenant is in the request."""

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        key = build_canonical_memory_key(resolve_namespace_context(request, str(self.service_name)), "note")
        if "note" in request:
            await self.memory_client.set(key, request["note"])
        return {"key": key, "note": await self.memory_client.get(key)}


async def whoever_calls(x_tenant: Annotated[str, Header()], x_user: Annotated[str | None, Header()] = None) -> Caller:
    if x_tenant == "stranger":
        raise HTTPException(401, "Who are you?", {"www-authenticate": "Bearer"})
    if x_tenant == "boom":
        raise RuntimeError(SECRET)
    return Caller(x_tenant, None if x_user is None else f"user/{x_user}")


def add_mcp(mcp: Any, agent: Any) -> None:
    async def context(request: dict[str, Any]) -> dict[str, Any]:
        return {"asked": request, "kept": await agent.memory.get("nothing")}

    mcp.add_tool("/desk/context", context)
    mcp.add_tool("plain", lambda request: [*request])


def embedded() -> FastAPI:
    @asynccontextmanager
    async def around(app: FastAPI) -> AsyncIterator[None]:
        async def shout(request: dict[str, Any]) -> str:
            return str(request["text"]).upper()

        app.state.agent.config.router.register("shout", shout)
        yield

    return build_service_app(
        "desk", Clerk, lifespan=around, mcp_setup=add_mcp, request_timeout=3600, max_body_bytes=10_000
    )


def hurried() -> FastAPI:
    return build_service_app("desk", Clerk, request_timeout=0.2)


def of_callers() -> FastAPI:
    return build_service_app("desk", Clerk, caller=whoever_calls)


def old_of_callers() -> FastAPI:
    return build_service_app("old-desk", OldClerk, caller=whoever_calls)


def old_trusting() -> FastAPI:
    return build_service_app("old-desk", OldClerk, trust_body=True)


def on_services() -> FastAPI:
    """DESK_SHARE_MS: of each tier, where a slow machine is to be no outage."""
    given = os.environ
    name = given["DESK_CONTAINER"]
    patience: dict[str, Any] = {"connect_deadline_ms": int(given.get("DESK_CONNECT_MS", "15000"))}
    if "DESK_SHARE_MS" in given:
        patience |= dict.fromkeys(
            [f"{share}_deadline_ms" for share in ("hot", "warm", "cold")], int(given["DESK_SHARE_MS"])
        )
    return build_service_app(
        "desk",
        Clerk,
        hot_memory=HotMemory(given["DESK_REDIS"]),
        warm_memory=WarmMemory(given["DESK_COSMOS"], "service", name, key=given["DESK_COSMOS_KEY"], create=True),
        cold_memory=ColdMemory.from_connection_string(given["DESK_BLOB"], name, create=True),
        memory_settings=MemorySettings(env_file=None, **patience),
    )


class Broken:
    """A lifespan that fails where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    async def __aenter__(self) -> None:
        if self.where == "start":
            raise ValueError("the lifespan cannot begin")

    async def __aexit__(self, *_: object) -> None:
        if self.where == "end":
            raise ValueError("the lifespan cannot end")


def that_fails_at_start() -> FastAPI:
    return build_service_app("desk", Clerk, lifespan=lambda app: Broken("start"))
