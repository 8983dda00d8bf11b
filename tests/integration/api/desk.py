"""An app with the memory's routes, entered, and callers of it."""

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx
from fastapi import FastAPI

from thermocline import EntraTokens, MemoryApi, MemorySettings, build_service_app
from thermocline.testing.entra import AUDIENCE, TENANT, EntraServer

OTHER = "33333333-3333-4333-8333-333333333333"
ROLES = ("Memory.Read", "Memory.ReadWrite", "Memory.Erase")


class Desk:
    """``http(tenant, roles)`` is a client with a token of that kind; without a tenant, one without a token."""

    def __init__(
        self,
        entra: EntraServer,
        home: Path,
        *,
        lease: float = 60.0,
        longest_write: float = 1.0,
        tenants: tuple[str, ...] = (TENANT, OTHER),
        **more: Any,
    ) -> None:
        self.entra = entra
        api = MemoryApi(
            EntraTokens(AUDIENCE, tenants, authority=entra.url),
            watch=None,
            lease=lease,
            longest_write=timedelta(seconds=longest_write),
        )
        settings = MemorySettings(env_file=None, home=home)
        options = {"max_body_bytes": 100_000, **more}
        self.app: FastAPI = build_service_app("memory-api", memory_api=api, memory_settings=settings, **options)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.app.router.lifespan_context(self.app))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def http(
        self, tenant: str | None = TENANT, roles: tuple[str, ...] = ROLES, **claims: Any
    ) -> httpx.AsyncClient:
        headers = {}
        if tenant is not None:
            headers["authorization"] = f"Bearer {self.entra.token(tenant, roles=roles, **claims)}"
        transport = httpx.ASGITransport(app=self.app)
        client = httpx.AsyncClient(transport=transport, base_url="http://memory", headers=headers)
        return await self._stack.enter_async_context(client)

    async def ended(self, http: httpx.AsyncClient, place: str) -> dict[str, Any]:
        """The job at ``place``, when it has ended."""
        job_id = place.rpartition("/")[2]
        await self.app.state.jobs.start(job_id)
        answer = await http.get(place)
        found: dict[str, Any] = answer.json()
        return found
