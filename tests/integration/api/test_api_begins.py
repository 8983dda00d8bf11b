"""The service in Functions begins with its first event: once, whoever comes together, and again after what stopped it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from thermocline.errors import TierUnavailable
from thermocline.functions.api import HttpApp, memory_api
from thermocline.functions.process import PROCESS
from thermocline.testing.entra import AUDIENCE, TENANT, EntraServer
from thermocline.testing.rig.ports import free_port


@pytest.fixture
async def service(entra: EntraServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HttpApp]:
    for name, value in {
        "THERMOCLINE_HOME": str(tmp_path / "home"),
        "THERMOCLINE_API_AUDIENCE": AUDIENCE,
        "THERMOCLINE_API_TENANTS": TENANT,
        "THERMOCLINE_API_AUTHORITY": entra.url,
        "THERMOCLINE_JOBS_SCHEDULE": "30 * * * * *",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield memory_api()
    await PROCESS.close()


def _http(service: HttpApp, entra: EntraServer) -> httpx.AsyncClient:
    token = entra.token(TENANT, roles=["Memory.ReadWrite"])
    transport = httpx.ASGITransport(app=service)
    return httpx.AsyncClient(transport=transport, base_url="http://api", headers={"authorization": f"Bearer {token}"})


async def test_requests_and_timers_that_come_first_together_begin_it_once(service: HttpApp, entra: EntraServer) -> None:
    async with _http(service, entra) as http:
        came = await asyncio.gather(
            *(http.get("/v1/stats") for _ in range(10)), service.run_jobs(), http.get("/health")
        )
        apps = await asyncio.gather(*(service.service() for _ in range(5)))

    assert [one.status_code for one in came if isinstance(one, httpx.Response)] == [200] * 11
    assert len({id(app) for app in apps}) == 1
    assert apps[0].state.memory is await PROCESS.client()


async def test_after_its_end_it_begins_anew(service: HttpApp, entra: EntraServer) -> None:
    query = {"scope": "s", "name": "n"}
    async with _http(service, entra) as http:
        await http.put("/v1/record", params=query, json=1)
        first = await service.service()
        await PROCESS.close()
        again = await http.get("/v1/record", params=query)

    assert again.json() == 1
    assert await service.service() is not first


async def test_a_setting_that_is_mended_counts_at_the_next_event(
    service: HttpApp, entra: EntraServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THERMOCLINE_API_AUTHORITY", "http://login.microsoftonline.com")
    async with _http(service, entra) as http:
        before = await http.get("/v1/stats")
        monkeypatch.setenv("THERMOCLINE_API_AUTHORITY", entra.url)
        after = await http.get("/v1/stats")

    assert (before.status_code, before.json()["title"]) == (503, "Not configured")
    assert after.status_code == 200


async def test_an_authority_that_cannot_be_reached_is_told_as_such(
    service: HttpApp, entra: EntraServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setenv("COSMOS_ACCOUNT_URI", f"https://127.0.0.1:{free_port()}")
        away.setenv("COSMOS_KEY", "c2VjcmV0LWtleQ==")
        away.setenv("THERMOCLINE_CONNECT_DEADLINE_MS", "500")
        async with _http(service, entra) as http:
            refused, health = await http.get("/v1/stats"), await http.get("/health")
        with pytest.raises(TierUnavailable):
            await service.run_jobs()
    async with _http(service, entra) as http:
        after = await http.get("/v1/stats")

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert (health.status_code, health.json()["status"]) == (503, "down")
    assert "127.0.0.1" not in refused.text + health.text
    assert after.status_code == 200


async def test_health_says_down_where_the_service_cannot_begin_for_an_outage(
    service: HttpApp, entra: EntraServer
) -> None:
    def made(*_: object) -> object:
        raise TierUnavailable("the table is away since a moment", tier="warm", sent=False)

    async with _http(HttpApp(service.needs, made), entra) as http:
        health, asked = await http.get("/health"), await http.get("/v1/stats")

    assert (health.status_code, health.json()["status"]) == (503, "down")
    assert asked.status_code == 503
    assert "since a moment" not in health.text + asked.text


async def test_under_a_server_it_begins_and_ends_with_it(service: HttpApp, entra: EntraServer) -> None:
    said: list[str] = []
    events: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        said.append(message["type"])

    running = asyncio.create_task(service({"type": "lifespan"}, events.get, send))
    await events.put({"type": "lifespan.startup"})
    async with _http(service, entra) as http:
        assert (await http.get("/v1/stats")).status_code == 200
    first = await PROCESS.client()
    await events.put({"type": "lifespan.shutdown"})
    await running

    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert await PROCESS.client() is not first
