"""Who is let in, and what is refused: the right status, and nothing done."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.api.desk import OTHER, Desk

from thermocline import ConfigurationError, Key, MemoryApi, build_service_app
from thermocline.agents.service.memory_api import RESERVED
from thermocline.testing.entra import TENANT, EntraServer, Signer, claims_of
from thermocline.testing.entra.minting import part, unsigned

ADA = {"scope": "user/42", "name": "profile"}
ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/v1/record", {"params": ADA}),
    ("HEAD", "/v1/record", {"params": ADA}),
    ("PUT", "/v1/record", {"params": ADA, "json": 1}),
    ("DELETE", "/v1/record", {"params": ADA}),
    ("GET", "/v1/records", {"params": {"scope": "user/42"}}),
    ("POST", "/v1/batch", {"json": {"operations": [{"op": "get", **ADA}]}}),
    ("POST", "/v1/exports", {"json": {"scope": "user/42"}}),
    ("POST", "/v1/forgets", {"json": {"scope": "user/42", "dry_run": True}}),
    ("GET", f"/v1/jobs/{'0' * 32}", {}),
    ("GET", f"/v1/jobs/{'0' * 32}/result", {}),
    ("GET", "/v1/stats", {}),
]
NAMES = [f"{method} {path[:20]}" for method, path, _ in ROUTES]


def _is_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-correlation-id"]
    if answer.request.method != "HEAD":
        assert answer.json()["status"] == status
        assert answer.json()["correlation_id"] == answer.headers["x-correlation-id"]


@pytest.mark.parametrize(("method", "path", "more"), ROUTES, ids=NAMES)
async def test_nobody_is_let_in_without_a_token_that_counts(
    desk: Desk, method: str, path: str, more: dict[str, Any]
) -> None:
    claims = claims_of(desk.entra.url, TENANT, roles=["Memory.ReadWrite", "Memory.Erase"])
    signer = desk.entra.signers[0]
    body = unsigned(claims, {"alg": "HS256", "kid": signer.name})
    by_public_key = hmac.digest(json.dumps(signer.public()).encode(), body.encode(), hashlib.sha256)
    bad = {
        "unsigned": unsigned(claims, {"alg": "none", "kid": signer.name}) + ".",
        "by the public key": f"{body}.{part(by_public_key)}",
        "expired": desk.entra.token(TENANT, lifetime=timedelta(minutes=-5)),
        "another audience": desk.entra.token(TENANT, audience="api://another"),
        "another tenant": desk.entra.token("55555555-5555-4555-8555-555555555555"),
        "a stranger's": Signer().sign(claims),
        "no token": "abc",
    }
    http = await desk.http(None)

    without = await http.request(method, path, **more)
    _is_problem(without, 401)
    assert without.headers["www-authenticate"] == "Bearer"
    for what, token in bad.items():
        refused = await http.request(method, path, headers={"authorization": f"Bearer {token}"}, **more)
        assert refused.status_code == 401, what
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert (await http.request(method, path, headers={"authorization": "Basic YTpi"}, **more)).status_code == 401


@pytest.mark.parametrize(("method", "path", "more"), ROUTES, ids=NAMES)
async def test_a_token_without_a_role_is_let_do_nothing(
    desk: Desk, method: str, path: str, more: dict[str, Any]
) -> None:
    refused = await (await desk.http(roles=("User.Read",))).request(method, path, **more)

    _is_problem(refused, 403)
    assert refused.headers["www-authenticate"].startswith('Bearer error="insufficient_scope", scope="Memory.')


@pytest.mark.parametrize(
    ("roles", "allowed"),
    [
        (("Memory.Read",), {"get", "list", "batch", "export", "stats", "job"}),
        (("Memory.ReadWrite",), {"get", "list", "batch", "export", "stats", "job", "put", "delete", "batch put"}),
        (("Memory.Erase",), {"forget", "job"}),
    ],
    ids=["read", "write", "erase"],
)
async def test_what_each_role_may(desk: Desk, roles: tuple[str, ...], allowed: set[str]) -> None:
    http = await desk.http(roles=roles)
    scoped = await desk.http(roles=(), scopes=roles)  # delegated permissions likewise
    asked: dict[str, tuple[str, str, dict[str, Any]]] = {
        "get": ("GET", "/v1/record", {"params": ADA}),
        "put": ("PUT", "/v1/record", {"params": ADA, "json": 1}),
        "delete": ("DELETE", "/v1/record", {"params": ADA}),
        "list": ("GET", "/v1/records", {"params": {"scope": "s"}}),
        "batch": ("POST", "/v1/batch", {"json": {"operations": [{"op": "get", **ADA}]}}),
        "batch put": ("POST", "/v1/batch", {"json": {"operations": [{"op": "put", **ADA, "value": 1}]}}),
        "export": ("POST", "/v1/exports", {"json": {"scope": "s"}}),
        "forget": ("POST", "/v1/forgets", {"json": {"scope": "s", "dry_run": True}}),
        "stats": ("GET", "/v1/stats", {}),
        "job": ("GET", f"/v1/jobs/{'0' * 32}", {}),
    }
    for client in (http, scoped):
        let = set()
        for name, (method, path, more) in asked.items():
            if (await client.request(method, path, **more)).status_code != 403:
                let.add(name)
        assert let == allowed


async def test_while_the_keys_cannot_be_had_nobody_is_let_in(desk: Desk) -> None:
    http = await desk.http()
    desk.entra.down = True

    answer = await http.get("/v1/stats")
    _is_problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert "keys" in answer.json()["detail"]


# --- tenants ---------------------------------------------------------------------------------------------------------


async def test_no_route_answers_of_another_tenant(desk: Desk) -> None:
    ours, theirs = await desk.http(), await desk.http(OTHER)
    await theirs.put("/v1/record", params=ADA, json="theirs")
    export = (await theirs.post("/v1/exports", json={"scope": "user/42"})).headers["location"]
    assert (await desk.ended(theirs, export))["state"] == "done"

    assert (await ours.get("/v1/record", params=ADA)).status_code == 404
    assert (await ours.head("/v1/record", params=ADA)).status_code == 404
    assert (await ours.get("/v1/records", params={"scope": "user/42"})).json()["items"] == []
    batch = await ours.post("/v1/batch", json={"operations": [{"op": "get", **ADA}, {"op": "delete", **ADA}]})
    assert [one["status"] for one in batch.json()["results"]] == [404, 204]
    assert (await ours.delete("/v1/record", params=ADA)).status_code == 204
    for place in (export, f"{export}/result"):
        assert (await ours.get(place)).status_code == 404
        assert (await theirs.get(place)).status_code == 200
    for begin in ({"scope": "user/42"}, {"whole_tenant": True}):
        ours_exported = (await ours.post("/v1/exports", json=begin)).headers["location"]
        assert (await desk.ended(ours, ours_exported))["state"] == "done"
        assert "theirs" not in (await ours.get(f"{ours_exported}/result")).text
    forgotten = (await ours.post("/v1/forgets", json={"whole_tenant": True})).headers["location"]
    assert (await desk.ended(ours, forgotten))["state"] == "done"

    assert (await theirs.get("/v1/record", params=ADA)).json() == "theirs"
    assert '"theirs"' in (await theirs.get(f"{export}/result")).text
    assert "memory" not in (await ours.get("/v1/stats")).json(), "the memory's own figures are of all tenants"
    assert (await ours.get("/v1/stats")).json()["requests"]["get 404"] == 2
    assert (await theirs.get("/v1/stats")).json()["requests"].get("get 404") is None


@pytest.mark.parametrize("name", ["tenant", "tenant_id"])
async def test_a_request_that_names_a_tenant_is_refused(desk: Desk, name: str) -> None:
    http = await desk.http()
    named = {name: OTHER}
    answers = [
        await http.get("/v1/record", params={**ADA, **named}),
        await http.put("/v1/record", params={**ADA, **named}, json=1),
        await http.get("/v1/records", params={"scope": "s", **named}),
        await http.get("/v1/stats", params=named),
        await http.post("/v1/batch", json={"operations": [{"op": "put", **ADA, "value": 1, **named}]}),
        await http.post("/v1/batch", json={"operations": [{"op": "get", **ADA}], **named}),
        await http.post("/v1/exports", json={"scope": "s", **named}),
        await http.post("/v1/forgets", json={"scope": "s", **named}),
    ]

    for answer in answers:
        _is_problem(answer, 403)
    for tenant in (TENANT, OTHER):
        assert await desk.app.state.memory.get(Key(tenant, *ADA.values())) is None


async def test_the_tenant_of_the_jobs_is_nobodys(entra: EntraServer, tmp_path: Path) -> None:
    from thermocline.identity.bearer import Principal

    class Anybody:
        async def check(self, token: str) -> Principal:
            return Principal(token, "oid", "app", frozenset({"Memory.ReadWrite"}), delegated=False)

    app = build_service_app("memory-api", memory_api=MemoryApi(Anybody()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://memory") as http:
        refused = await http.get("/v1/stats", headers={"authorization": f"Bearer {RESERVED}"})
    assert refused.status_code == 401


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/v1/record?scope=a", {}, 422),
        ("GET", "/v1/record?scope=&name=b", {}, 422),
        ("GET", "/v1/record?scope=a&name=b&name=c", {}, 400),
        ("GET", "/v1/record?scope=a&name=b&tier=hot", {}, 422),
        ("GET", "/v1/record?scope=a&name=%FF", {}, 400),
        ("GET", f"/v1/record?scope={'a' * 1001}&name=b", {}, 422),
        ("GET", f"/v1/record?scope=a&name={'b' * 20_000}", {}, 414),
        ("GET", "/v1/record?" + "&".join(f"a{n}=1" for n in range(30)), {}, 400),
        ("GET", "/v1/record?scope=a&name=b", {"headers": {"if-none-match": "*"}}, 400),
        ("GET", "/v1/records?scope=a&limit=0", {}, 422),
        ("GET", "/v1/records?scope=a&limit=1001", {}, 422),
        ("GET", "/v1/records?scope=a&limit=ten", {}, 422),
        ("GET", "/v1/records", {}, 422),
        ("PUT", "/v1/record?scope=a&name=b", {"content": b"1"}, 415),
        ("PUT", "/v1/record?scope=a&name=b", {"content": b"1", "headers": {"content-type": "json"}}, 415),
        ("PUT", "/v1/record?scope=a&name=b", {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ("PUT", "/v1/record?scope=a&name=b", {"content": b"NaN", "headers": {"content-type": "application/json"}}, 400),
        (
            "PUT",
            "/v1/record?scope=a&name=b",
            {"content": b"\xff", "headers": {"content-type": "application/json"}},
            400,
        ),
        (
            "PUT",
            "/v1/record?scope=a&name=b",
            {"content": b'"\\ud800"', "headers": {"content-type": "application/json"}},
            400,
        ),
        (
            "PUT",
            "/v1/record?scope=a&name=b",
            {"content": b"[" * 5000, "headers": {"content-type": "application/json"}},
            400,
        ),
        *(
            (method, path, {"content": content, "headers": {"content-type": "application/json"}}, 400)
            for method, path, content in (
                ("PUT", "/v1/record?scope=a&name=b", b'"\xed\xa0\x80"'),  # half a surrogate pair, as bytes
                ("PUT", "/v1/record?scope=a&name=b", '"\\ud800"'.encode("utf-16")),
                ("PUT", "/v1/record?scope=a&name=b", '"a"'.encode("utf-32")),
                (
                    "POST",
                    "/v1/batch",
                    b'{"operations":[{"op":"put","scope":"a","name":"b","value":1,"tags":{"t":"\xed\xa0\x80"}}]}',
                ),
                ("POST", "/v1/forgets", b'{"scope":"s","reason":"\xed\xa0\x80"}'),
                ("POST", "/v1/forgets", b'{"scope":"s","scope":"t"}'),
                (
                    "POST",
                    "/v1/batch",
                    b'{"operations":[{"op":"get","op":"put","scope":"a","name":"b","value":1}]}',
                ),
            )
        ),
        (
            "PUT",
            "/v1/record?scope=a&name=b",
            {"json": 1, "headers": {"content-type": "application/json", "content-encoding": "gzip"}},
            415,
        ),
        (
            "POST",
            "/v1/batch",
            {"json": {"operations": [{"op": "get", **ADA}]}, "headers": {"content-encoding": "br"}},
            415,
        ),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"content-length": "9" * 5000}}, 413),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"memory-tags": "t=1&%74=2"}}, 400),
        ("GET", "/v1/record/?scope=a&name=b", {}, 404),  # and no redirect, which a client would take its token along
        ("PUT", "/v1/record?scope=a&name=b", {"json": "x" * 100_001}, 413),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"if-match": "1"}}, 400),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"if-match": 'W/"1"'}}, 400),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"if-match": '"9999999999999999"'}}, 400),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"if-match": '"1"', "if-none-match": "*"}}, 400),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"memory-ttl": "0"}}, 400),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"memory-ttl": "1.5"}}, 400),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"memory-tags": "a"}}, 400),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"memory-tags": "a=%FF"}}, 400),
        (
            "PUT",
            "/v1/record?scope=a&name=b",
            {"json": 1, "headers": {"memory-tags": "&".join(f"t{n}=" for n in range(11))}},
            400,
        ),
        ("PUT", "/v1/record?scope=a&name=b", {"json": 1, "headers": {"memory-tags": f"a={'b' * 257}"}}, 413),
        ("DELETE", "/v1/record?scope=a&name=b", {"headers": {"if-none-match": "*"}}, 400),
        ("POST", "/v1/batch", {"content": b"{}"}, 415),
        ("POST", "/v1/batch", {"json": []}, 422),
        ("POST", "/v1/batch?x=1", {"json": {"operations": [{"op": "get", **ADA}]}}, 422),
        ("POST", "/v1/exports", {"json": {}}, 422),
        ("POST", "/v1/exports", {"json": {"scope": None}}, 422),
        ("POST", "/v1/exports", {"json": {"scope": ""}}, 422),
        ("POST", "/v1/exports", {"json": {"scope": "s", "whole_tenant": True}}, 422),
        ("POST", "/v1/exports", {"json": {"whole_tenant": 1}}, 422),
        ("POST", "/v1/forgets", {"json": {"scope": "s", "reason": 1}}, 422),
        ("POST", "/v1/forgets", {"json": {"scope": "s", "dry_run": "yes"}}, 422),
        ("GET", "/v1/jobs/unknown", {}, 404),
        ("GET", "/v1/jobs/" + "A" * 32, {}, 404),
        ("GET", "/nothing", {}, 404),
        ("GET", "/v1", {}, 404),
        ("GET", "/v1/record/user/42", {}, 404),
        ("POST", "/invoke", {"json": {}}, 404),
    ],
    ids=lambda one: str(one)[:50],
)
async def test_what_cannot_be_is_refused_as_what_it_is(
    desk: Desk, method: str, path: str, more: dict[str, Any], status: int
) -> None:
    http = await desk.http()

    _is_problem(await http.request(method, path, **more), status)
    assert await desk.app.state.memory.get(Key(TENANT, "a", "b")) is None


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/record", "DELETE, GET, HEAD, PUT"),
        ("/v1/records", "GET"),
        ("/v1/batch", "POST"),
        ("/v1/exports", "POST"),
        (f"/v1/jobs/{'0' * 32}", "GET"),
        ("/health", "GET"),
    ],
)
async def test_a_verb_that_a_route_has_not(desk: Desk, path: str, allowed: str) -> None:
    http = await desk.http()
    for method in ("PATCH", "OPTIONS", "TRACE", "POST" if allowed != "POST" else "GET"):
        if method in allowed:
            continue
        answer = await http.request(method, path)
        _is_problem(answer, 405)
        assert set(allowed.split(", ")) <= set(answer.headers["allow"].split(", "))
    assert (await http.head("/v1/records")).status_code == 405


async def test_a_body_that_does_not_come_and_one_that_does_not_say_how_long_it_is(
    entra: EntraServer, tmp_path: Path
) -> None:
    never = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b'"'
        await never.wait()

    async def long() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 2000

    async with Desk(entra, tmp_path, request_timeout=0.5) as desk:
        http, kind = await desk.http(), {"content-type": "application/json"}
        for content, status in ((slow, 408), (long, 413)):
            answer = await http.put("/v1/record?scope=a&name=b", content=content(), headers=kind)
            _is_problem(answer, status)
        assert await desk.app.state.memory.get(Key(TENANT, "a", "b")) is None


async def test_a_header_that_is_there_twice(desk: Desk) -> None:
    http = await desk.http()
    headers = [("if-match", '"1"'), ("if-match", '"2"'), ("content-type", "application/json")]

    assert (await http.put("/v1/record", params=ADA, content="1", headers=headers)).status_code == 400


# --- without settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "more"), ROUTES, ids=NAMES)
async def test_without_tenants_nothing_is_open(method: str, path: str, more: dict[str, Any], desk: Desk) -> None:
    app = build_service_app("memory-api", memory_api=MemoryApi(None, missing="set THERMOCLINE_API_TENANTS"))
    token = desk.entra.token(TENANT, roles=["Memory.ReadWrite", "Memory.Erase"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://memory") as http:
        answer = await http.request(method, path, headers={"authorization": f"Bearer {token}"}, **more)

    _is_problem(answer, 503)
    if method != "HEAD":
        assert "THERMOCLINE_API_TENANTS" in answer.json()["detail"]


@pytest.mark.parametrize(
    "given",
    [
        {"tokens": None},
        {"tokens": "token"},
        {"tokens": None, "missing": "x", "lease": 0},
        {"tokens": None, "missing": "x", "watch": timedelta(days=2)},
    ],
    ids=str,
)
def test_an_api_that_cannot_work(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        MemoryApi(**given)


def test_an_app_of_nothing() -> None:
    with pytest.raises(ConfigurationError, match="agent"):
        build_service_app("nothing")
    with pytest.raises(ConfigurationError, match="agent_class is missing"):
        build_service_app("api", memory_api=MemoryApi(None, missing="x"), trust_body=True)


async def test_before_its_start_and_after_its_end_it_says_so(entra: EntraServer, tmp_path: Path) -> None:
    desk = Desk(entra, tmp_path / "home")
    http = await desk.http()
    before = await http.get("/v1/stats")
    async with desk:
        assert (await http.get("/v1/stats")).status_code == 200
        assert (await http.get("/ready")).json()["status"] == "ready"
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app=desk.app), base_url="http://m", headers=http.headers)
    async with http:
        after = await http.get("/v1/stats")
        assert (await http.get("/ready")).status_code == 503

    _is_problem(before, 503)
    _is_problem(after, 503)
