"""The same routes over Redis, Cosmos DB and Blob Storage, and two apps at once that share them."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest

from thermocline import ColdMemory, EntraTokens, HotMemory, MemoryApi, MemorySettings, WarmMemory, build_service_app
from thermocline.testing.entra import AUDIENCE, TENANT, EntraServer
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer

SCOPE = "user/42"


@pytest.fixture
async def desks(
    entra: EntraServer,
    redis_server: RedisServer,
    cosmos_server: CosmosServer,
    azurite: Azurite,
    unique_name: Callable[[str], str],
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients of two apps over the same services."""
    name = unique_name("api")
    token = entra.token(TENANT, roles=["Memory.ReadWrite", "Memory.Erase"])
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            app = build_service_app(
                "memory-api",
                hot_memory=HotMemory(redis_server.url),
                warm_memory=WarmMemory(cosmos_server.url, "api", name, key=cosmos_server.key, create=True),
                cold_memory=ColdMemory.from_connection_string(azurite.connection_string, name, create=True),
                memory_settings=MemorySettings(
                    env_file=None, hot_deadline_ms=2_000, warm_deadline_ms=2_000, call_deadline_ms=4_000
                ),
                memory_api=MemoryApi(
                    EntraTokens(AUDIENCE, [TENANT], authority=entra.url),
                    watch=None,
                    longest_write=timedelta(seconds=1),
                ),
            )
            await stack.enter_async_context(app.router.lifespan_context(app))
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app),
                base_url="http://memory",
                headers={"authorization": f"Bearer {token}"},
            )
            clients.append(await stack.enter_async_context(client))
        yield clients


async def _ended(http: httpx.AsyncClient, place: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = (await http.get(place)).json()
        if found["state"] in ("done", "failed", "gone"):
            return found
        await asyncio.sleep(0.02)


async def test_what_one_writes_the_other_reads_and_conditions_hold_between_them(
    desks: list[httpx.AsyncClient],
) -> None:
    here, there = desks
    query = {"scope": SCOPE, "name": "../ä"}
    first = await here.put("/v1/record", params=query, json={"n": 1}, headers={"if-none-match": "*"})
    second = await there.put("/v1/record", params=query, json={"n": 2}, headers={"if-match": first.headers["etag"]})
    late = await here.put("/v1/record", params=query, json={"n": 3}, headers={"if-match": first.headers["etag"]})
    read = await here.get("/v1/record", params=query)
    big = random.Random(6).randbytes(300_000)
    raw = {"content-type": "application/octet-stream"}
    written = await here.put("/v1/record", params={"scope": SCOPE, "name": "big"}, content=big, headers=raw)

    assert [one.status_code for one in (first, second, late, written)] == [200, 200, 412, 200]
    assert (read.json(), read.headers["etag"]) == ({"n": 2}, second.headers["etag"])
    assert (await there.get("/v1/record", params={"scope": SCOPE, "name": "big"})).content == big
    page = (await there.get("/v1/records", params={"scope": SCOPE})).json()["items"]
    assert {one["name"]: one["tier"] for one in page} == {"../ä": "warm", "big": "cold"}
    assert (await there.delete("/v1/record", params=query)).status_code == 204
    assert (await here.get("/v1/record", params=query)).status_code == 404


async def test_jobs_over_the_services(desks: list[httpx.AsyncClient]) -> None:
    here, there = desks
    operations = [{"op": "put", "scope": SCOPE, "name": f"n{n}", "value": {"n": n}} for n in range(30)]
    answer = await here.post("/v1/batch", json={"operations": operations})
    assert {one["status"] for one in answer.json()["results"]} == {200}

    export = await _ended(there, (await here.post("/v1/exports", json={"scope": SCOPE})).headers["location"])
    lines = (await there.get(export["result"])).text.splitlines()
    forget = await _ended(here, (await there.post("/v1/forgets", json={"scope": SCOPE})).headers["location"])

    assert (export["state"], len(lines)) == ("done", 32)
    assert (forget["state"], forget["receipt"]["records"], forget["receipt"]["complete"]) == (
        "done",
        {"warm": 30},
        True,
    )
    assert (await there.get(export["result"])).status_code == 410
    for http in desks:
        assert (await http.get("/v1/records", params={"scope": SCOPE})).json()["items"] == []
        assert (await http.get("/v1/record", params={"scope": SCOPE, "name": "n1"})).status_code == 404


async def test_an_outage_is_503_and_no_404(desks: list[httpx.AsyncClient], cosmos_server: CosmosServer) -> None:
    here = desks[0]
    await here.put("/v1/record", params={"scope": SCOPE, "name": "n"}, json=1)
    unseen, job = {"scope": SCOPE, "name": "unseen"}, f"/v1/jobs/{'0' * 32}"
    cosmos_server.pause()
    try:
        answers = await asyncio.gather(
            here.get("/v1/record", params={"scope": SCOPE, "name": "never seen"}),
            here.post("/v1/batch", json={"operations": [{"op": "get", "scope": SCOPE, "name": "other"}]}),
            here.post("/v1/exports", json={"scope": SCOPE}),
            here.post("/v1/forgets", json={"scope": SCOPE}),
            here.head("/v1/record", params=unseen),
            here.get("/v1/records", params={"scope": SCOPE}),
            here.put("/v1/record", params=unseen, json=1),
            here.delete("/v1/record", params=unseen),
            here.get(job),
            here.get(f"{job}/result"),
        )
        ready = await here.get("/ready")
    finally:
        cosmos_server.resume()

    assert [one.status_code for one in answers] == [503, 200, *[503] * 8]
    assert ready.status_code == 503
    assert answers[0].json()["tier"] == "warm"
    assert answers[0].headers["retry-after"]
    assert answers[1].json()["results"][0]["status"] == 503
