"""A service over real Redis, Cosmos DB's server and Azurite: many at once, outages, and the end."""

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.service.desks import OldClerk
from tests.integration.service.served import Served, events

from thermocline import build_service_app
from thermocline.agents.memory import ColdMemory, HotMemory, WarmMemory
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer

Unique = Callable[[str], str]
Environment = dict[str, str]


@pytest.fixture
def environment(
    redis_server: RedisServer, cosmos_server: CosmosServer, azurite: Azurite, unique_name: Unique
) -> Environment:
    return {
        "DESK_REDIS": redis_server.url,
        "DESK_COSMOS": cosmos_server.url,
        "DESK_COSMOS_KEY": cosmos_server.key,
        "DESK_BLOB": azurite.connection_string,
        "DESK_CONTAINER": unique_name("service"),
    }


async def until(http: httpx.AsyncClient, status: int, word: str) -> httpx.Response:
    """Ask ``/ready`` until it says so: a look at the tiers is good for a second."""
    async with asyncio.timeout(60):
        while True:
            answer = await http.get("/ready")
            if (answer.status_code, answer.json()["status"]) == (status, word):
                return answer
            await asyncio.sleep(0.1)


async def test_a_hundred_at_once_share_one_client(environment: Environment) -> None:
    with Served("on_services", environment | {"DESK_SHARE_MS": "10000"}) as served:
        async with served.client() as http:
            asked = [{"do": "count", "name": f"n{number}"} for number in range(100)]
            first = await asyncio.gather(*(http.post("/invoke", json=body) for body in asked))
            second = await asyncio.gather(*(http.post("/invoke", json=body) for body in asked))

    assert {answer.status_code for answer in (*first, *second)} == {200}
    assert {answer.json()["count"] for answer in first} == {1}
    assert {answer.json()["count"] for answer in second} == {2}
    assert len({(answer.json()["process"], answer.json()["client"]) for answer in (*first, *second)}) == 1


async def test_readiness_follows_the_tiers(environment: Environment) -> None:
    with RedisServer() as redis, CosmosServer() as cosmos:
        environment |= {"DESK_REDIS": redis.url, "DESK_COSMOS": cosmos.url, "DESK_COSMOS_KEY": cosmos.key}
        with Served("on_services", environment) as served:
            async with served.client() as http:
                await http.post("/invoke", json={"do": "remember", "name": "n", "value": 1})
                redis.kill()
                slow = await until(http, 200, "degraded")
                found = await http.post("/invoke", json={"do": "recall", "name": "n"})
                cosmos.pause()
                down = await until(http, 503, "not ready")
                refused = await http.post("/invoke", json={"do": "recall", "name": "n"})
                alive = await http.get("/health")
                cosmos.resume()
                redis.start()
                await until(http, 200, "degraded")

    assert slow.json()["memory"]["tiers"]["hot"]["verdict"] == "down"
    assert found.json()["value"] == 1
    assert down.json()["memory"]["tiers"]["warm"]["verdict"] == "down"
    assert any(reason.startswith("warm: ") for reason in down.json()["memory"]["reasons"])
    assert refused.status_code == 503
    assert refused.json()["tier"] == "warm"
    assert "127.0.0.1" not in refused.text
    assert int(refused.headers["retry-after"]) >= 1
    assert alive.status_code == 200


async def test_a_service_that_starts_without_its_authority_waits_for_it(environment: Environment) -> None:
    with CosmosServer() as cosmos:
        cosmos.pause()
        environment |= {"DESK_COSMOS": cosmos.url, "DESK_COSMOS_KEY": cosmos.key, "DESK_CONNECT_MS": "1000"}
        with Served("on_services", environment) as served:
            async with served.client() as http:
                down = await until(http, 503, "not ready")
                refused = await http.post("/invoke", json={})
                stream = await http.post("/invoke/stream", json={})
                cosmos.resume()
                await until(http, 200, "ready")
                stored = await http.post("/invoke", json={"do": "remember", "name": "n", "value": 1})

    assert "the agent has not started yet" in down.json()["memory"]["reasons"]
    assert (refused.status_code, stream.status_code) == (503, 503)
    assert stored.json()["durable"] is True


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    made = tmp_path / "pipe"
    os.mkfifo(made)
    return made


async def test_sigterm_lets_requests_end_and_closes_the_memory(environment: Environment, pipe: Path) -> None:
    with Served("on_services", environment) as served:
        async with (
            served.client() as http,
            http.stream("POST", "/invoke/stream", json={"numbers": 1, "then": "pipe", "pipe": str(pipe)}) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            told = events(answer.aiter_lines())
            first = await anext(told)
            served.ask_to_end()
            await refuses(served.port)
            await asyncio.to_thread(pipe.write_text, "the end")
            rest = [event async for event in told]
        code = await asyncio.to_thread(served.wait)
        log = served.log_tail(40)

    assert first == ("message", {"number": 0})
    assert rest == [("message", "the end"), ("done", {"messages": 2})]
    assert code in (0, -signal.SIGTERM)  # uvicorn, done, ends by the signal that it was sent
    assert "Application shutdown complete" in log
    assert "ResourceWarning" not in log
    assert "Traceback" not in log


async def refuses(port: int) -> None:
    """Wait until the service takes no connection any more: it has heard the signal."""
    async with asyncio.timeout(30):
        for _ in itertools.count():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            writer.close()
            await writer.wait_closed()


async def test_old_code_is_served_as_it_is_written(environment: Environment) -> None:
    """The names, arguments and tiers of holiday_peak_lib; only the imports, and the credentials of these test servers, are ours."""
    old: Any = {"create": True, "key": environment["DESK_COSMOS_KEY"]}
    blob = environment["DESK_BLOB"]
    app = build_service_app(
        "old-desk",
        agent_class=OldClerk,
        hot_memory=HotMemory(environment["DESK_REDIS"]),
        warm_memory=WarmMemory(environment["DESK_COSMOS"], "service", environment["DESK_CONTAINER"], **old),
        cold_memory=ColdMemory.from_connection_string(blob, environment["DESK_CONTAINER"], create=True),
        slm_config=None,
        llm_config=None,
        mcp_setup=lambda mcp, agent: mcp.add_tool("/desk/note", agent.handle),
        trust_body=True,
    )
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://desk") as http:
        stored = await http.post("/invoke", json={"tenant_id": "acme", "session_id": "s1", "note": "n"})
        found = await http.post("/mcp/desk/note", json={"tenant_id": "acme", "session_id": "s1"})
        direct = await app.state.agent.hot_memory.set("plain", {"a": 1}, ttl_seconds=60)
        plain = await app.state.agent.hot_memory.get("plain")

    assert stored.json() == found.json() == {"key": "v1|svc=old-desk|ten=acme|ses=s1|key=note", "note": "n"}
    assert direct is None
    assert plain == {"a": 1}
