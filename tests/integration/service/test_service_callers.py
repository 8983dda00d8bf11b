"""Who asks: the tenant and scope of a request come from the service's own dependency, never from what the request says (P9)."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.service.desks import SECRET, Clerk, old_of_callers, old_trusting

from thermocline import MemorySettings, build_service_app


def headers(tenant: str, user: str | None = None) -> dict[str, str]:
    return {"x-tenant": tenant} | ({} if user is None else {"x-user": user})


async def ask(http: httpx.AsyncClient, who: dict[str, str], **body: Any) -> Any:
    answer = await http.post("/invoke", json=body, headers=who)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_each_caller_has_a_memory_of_its_own(callers: httpx.AsyncClient) -> None:
    who = [headers(tenant, user) for tenant in ("acme", "umbrella") for user in ("ann", "bob", None)]
    await asyncio.gather(*(ask(callers, one, do="remember", name="n", value=str(one)) for one in who))
    found = await asyncio.gather(*(ask(callers, one, do="recall", name="n") for one in who * 5))

    assert [one["value"] for one in found] == [str(one) for one in who * 5]


async def test_the_agent_knows_who_asks(callers: httpx.AsyncClient) -> None:
    assert await ask(callers, headers("acme", "ann"), do="whose") == {
        "tenant": "acme",
        "scope": "user/ann",
        "own": "user/ann",
    }
    assert await ask(callers, headers("acme"), do="whose") == {"tenant": "acme", "scope": None, "own": "agent/Clerk"}


async def test_who_is_unknown_is_refused_before_the_body_is_read(callers: httpx.AsyncClient) -> None:
    for path in ("/invoke", "/invoke/stream"):
        stranger = await callers.post(path, content=b"no json", headers=headers("stranger"))
        assert (stranger.status_code, stranger.json()["detail"]) == (401, "Who are you?")
        assert stranger.headers["www-authenticate"] == "Bearer"
        nobody = await callers.post(path, content=b"no json")
        assert nobody.status_code == 422
        assert nobody.json()["errors"] == [{"in": ["header", "x-tenant"], "what": "Field required"}]
    too_long = await callers.post("/invoke", json={}, headers=headers("t" * 1_001))
    assert too_long.status_code == 422


async def test_a_dependency_that_fails_is_a_problem_without_the_inside(callers: httpx.AsyncClient) -> None:
    answer = await callers.post("/invoke", json={}, headers=headers("boom"))

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRET not in answer.text
    assert answer.json()["correlation_id"] == answer.headers["x-correlation-id"]


async def test_a_body_that_claims_another_tenant_or_session_is_refused(callers: httpx.AsyncClient) -> None:
    who = headers("acme", "ann")
    for body in ({"tenant_id": "umbrella"}, {"tenant": "umbrella"}, {"session_id": "user/bob"}, {"session": 5}):
        for sent in (body, {"payload": body}):
            answer = await callers.post("/invoke", json=sent, headers=who)
            assert answer.status_code == 403, sent
    await ask(callers, who, tenant_id="acme", session_id="user/ann")
    await ask(callers, headers("acme"), session_id="any")


async def test_outside_of_a_request_own_is_nobodys(callers: httpx.AsyncClient) -> None:
    answer = await callers.post("/invoke", json={"do": "outside", "name": "n"}, headers=headers("acme", "ann"))

    assert answer.status_code == 422
    assert answer.json()["title"] == "Refused by the memory"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of this test for the embedded tiers."""
    monkeypatch.setenv("THERMOCLINE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def running(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://desk")


async def test_an_old_agent_finds_the_callers_tenant_in_its_request(home: None) -> None:
    app = old_of_callers()
    async with app.router.lifespan_context(app), running(app) as http:
        ann = await ask(http, headers("acme", "ann"), note="of ann")
        bob = await ask(http, headers("acme", "bob"))
        session = await ask(http, headers("acme"), session_id="s1")
        refused = await http.post("/invoke", json={"tenant_id": "umbrella"}, headers=headers("acme"))

    assert ann == {"key": "v1|svc=old-desk|ten=acme|ses=user/ann|key=note", "note": "of ann"}
    assert bob["note"] is None
    assert session["key"] == "v1|svc=old-desk|ten=acme|ses=s1|key=note"
    assert refused.status_code == 403


async def test_an_agents_own_memory_is_that_of_a_body_that_is_trusted(tmp_path: Path) -> None:
    app = build_service_app(
        "desk", Clerk, memory_settings=MemorySettings(env_file=None, home=tmp_path), trust_body=True
    )
    async with app.router.lifespan_context(app), running(app) as http:
        await ask(http, {}, do="remember", name="n", value=1, tenant="acme", session="s1")
        own = await ask(http, {}, do="recall", name="n", tenant="acme", session="s1")
        others = [
            await ask(http, {}, do="recall", name="n", **who) for who in ({}, {"tenant": "acme"}, {"session": "s1"})
        ]

    assert own["value"] == 1
    assert [one["value"] for one in others] == [None] * 3


async def test_a_service_that_trusts_the_body(home: None) -> None:
    app = old_trusting()
    async with app.router.lifespan_context(app), running(app) as http:
        found = await ask(http, {}, tenant_id="acme", session="s1", note=1)
        without = await ask(http, {})
        too_long = await http.post("/invoke", json={"tenant": "t" * 1_001})

    assert found == {"key": "v1|svc=old-desk|ten=acme|ses=s1|key=note", "note": 1}
    assert without["key"] == "v1|svc=old-desk|ten=public|ses=anonymous|key=note"
    assert too_long.status_code == 422
