"""What a service answers over HTTP: requests, limits, problems. Each by a real uvicorn."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.integration.service.desks import SECRET
from tests.integration.service.served import Served

PROBLEM = "application/problem+json"
JSON = {"content-type": "application/json"}


def problem_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that was answered, checked for what all have in common."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith(PROBLEM)
    told: dict[str, Any] = answer.json()
    assert told["status"] == status
    assert told["title"]
    assert told["correlation_id"] == answer.headers["x-correlation-id"]
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    return told


async def test_health_and_readiness(http: httpx.AsyncClient) -> None:
    assert (await http.get("/health")).json() == {"status": "ok", "service": "desk"}
    ready = await http.get("/ready")

    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert {name: tier["verdict"] for name, tier in ready.json()["memory"]["tiers"].items()} == {
        "hot": "ok",
        "warm": "ok",
        "cold": "ok",
    }


async def test_the_agent_is_asked_with_the_whole_body(http: httpx.AsyncClient) -> None:
    answer = await http.post("/invoke", json={"text": "ä", "session_id": "s1"})

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["asked"] == {"text": "ä", "session_id": "s1"}
    assert answer.json()["service"] == "desk"


async def test_whole_pairs_and_large_numbers_pass(http: httpx.AsyncClient) -> None:
    sent = {"text": "\U0001f600", "number": 1.5e300, "digits": 10**40}
    answer = await http.post(
        "/invoke", content=json.dumps(sent), headers=JSON
    )  # in which the sign is a pair of escapes

    assert answer.json()["asked"] == sent


async def test_what_is_remembered_is_recalled(http: httpx.AsyncClient) -> None:
    stored = await http.post("/invoke", json={"do": "remember", "name": "n", "value": {"a": [1, None]}})
    found = await http.post("/invoke", json={"do": "recall", "name": "n"})

    assert stored.json()["durable"] is True
    assert found.json() == {"name": "n", "value": {"a": [1, None]}}


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"payload": {"x": 1}, "other": 2}, {"x": 1}),
        ({"intent": "default", "payload": "words"}, {"query": "words"}),
        ({"intent": "default", "x": 1}, {"intent": "default", "x": 1}),
        ({}, {}),
    ],
    ids=["payload", "words", "flat", "empty"],
)
async def test_a_payload_is_what_the_agent_is_asked(http: httpx.AsyncClient, body: Any, asked: Any) -> None:
    assert (await http.post("/invoke", json=body)).json()["asked"] == asked


async def test_an_intent_goes_to_its_handler(http: httpx.AsyncClient) -> None:
    assert (await http.post("/invoke", json={"intent": "shout", "text": "hey"})).json() == "HEY"
    told = problem_of(await http.post("/invoke", json={"intent": "whisper"}), 422)

    assert told["detail"] == "There is no such intent; there are: default, shout."
    assert problem_of(await http.post("/invoke/stream", json={"intent": "whisper"}), 422)["detail"] == told["detail"]
    problem_of(await http.post("/invoke", json={"intent": 5}), 422)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"", JSON, 400),
        (b'{"a": NaN}', JSON, 400),
        (b'{"a": -1e999}', JSON, 400),
        (b'{"a": "\\uD800"}', JSON, 400),
        (b'{"a": "\xff"}', JSON, 400),
        (b"[" * 9_000, JSON, 400),
        (b"[1]", JSON, 422),
        (b"null", JSON, 422),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (b"{" + b" " * 10_000 + b"}", JSON, 413),
    ],
    ids=[
        "cut",
        "empty",
        "nan",
        "beyond",
        "half a pair",
        "no utf-8",
        "deep",
        "list",
        "null",
        "text",
        "no type",
        "large",
    ],
)
@pytest.mark.parametrize("path", ["/invoke", "/invoke/stream", "/mcp/plain"])
async def test_a_body_that_cannot_be_used_is_refused(
    http: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, path: str
) -> None:
    problem_of(await http.post(path, content=content, headers=headers), status)


async def test_a_large_body_in_chunks_is_refused(http: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 1_000

    told = problem_of(await http.post("/invoke", content=chunks(), headers=JSON), 413)

    assert told["detail"] == "The body may have 10,000 bytes at most."


@pytest.mark.parametrize(
    ("how", "status", "title"),
    [
        ("runtime", 500, "Internal Server Error"),
        ("conflict", 409, "Conflict"),
        ("unknown", 503, "Outcome unknown"),
        ("outage", 503, "Memory unavailable"),
        ("tasks", 503, "Memory unavailable"),
        ("tasks and more", 500, "Internal Server Error"),
        ("slow", 504, "Too slow"),
        ("no such", 500, "Internal Server Error"),
    ],
)
async def test_what_the_agent_raises_is_a_problem_without_the_inside(
    http: httpx.AsyncClient, how: str, status: int, title: str
) -> None:
    answer = await http.post("/invoke", json={"do": "fail", "how": how})
    told = problem_of(answer, status)

    assert told["title"] == title
    assert answer.headers.get("retry-after") == {"outage": "7", "tasks": "1"}.get(how)
    assert told.get("tier") == {"outage": "warm", "tasks": "cold"}.get(how)


async def test_what_the_agent_says_on_purpose_is_said(http: httpx.AsyncClient) -> None:
    answer = await http.post("/invoke", json={"do": "fail", "how": "teapot"})

    assert problem_of(answer, 418)["detail"] == "I am a teapot"
    assert answer.headers["x-tea"] == "green"


async def test_bad_names_and_answers_that_are_no_json(http: httpx.AsyncClient) -> None:
    problem_of(await http.post("/invoke", json={"do": "remember", "name": "", "value": 1}), 422)
    problem_of(await http.post("/invoke", json={"do": "recall", "name": None}), 422)
    problem_of(await http.post("/invoke", json={"do": "odd"}), 500)


async def test_unknown_paths_and_methods_are_problems(http: httpx.AsyncClient) -> None:
    problem_of(await http.get("/nowhere"), 404)
    problem_of(await http.get("/invoke"), 405)
    problem_of(await http.post("/mcp/nothing", json={}), 404)


async def test_mcp_handlers_get_the_whole_body(http: httpx.AsyncClient) -> None:
    answer = await http.post("/mcp/desk/context", json={"payload": 1, "intent": "x"})

    assert answer.json() == {"asked": {"payload": 1, "intent": "x"}, "kept": None}
    assert (await http.post("/mcp/plain", json={"b": 1})).json() == ["b"]


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-correlation-id": "order-17"}, "order-17"),
        ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, TRACE),
        ({"x-correlation-id": "no good; header", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, TRACE),
        ({"x-correlation-id": "x" * 129}, None),
        ({}, None),
    ],
)
async def test_the_correlation_id_goes_in_and_out(
    http: httpx.AsyncClient, headers: dict[str, str], expected: str | None
) -> None:
    answer = await http.post("/invoke", json={}, headers=headers)
    found = answer.headers["x-correlation-id"]

    assert answer.json()["correlation"] == found
    assert found == expected if expected is not None else len(found) == 32


async def test_two_requests_do_not_share_a_correlation_id(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(http.post("/invoke", json={}) for _ in range(10)))

    assert len({answer.json()["correlation"] for answer in answers}) == 10


async def test_an_unforeseen_error_is_logged_under_its_correlation_id(desk: Served, http: httpx.AsyncClient) -> None:
    await http.post("/invoke", json={"do": "fail", "how": "runtime"})
    log = desk.log_tail(60)

    assert "POST /invoke failed: RuntimeError" in log
    assert f"RuntimeError: {SECRET}" in log


async def test_the_tenant_is_not_taken_from_the_body(http: httpx.AsyncClient) -> None:
    for name in ("tenant", "tenant_id"):
        for body in ({name: "acme"}, {"payload": {name: "acme"}}, {name: 5}):
            told = problem_of(await http.post("/invoke", json=body), 403)
            assert told["detail"] == f"The tenant is not taken from the body: leave out {name}."
    assert (await http.post("/invoke", json={"tenant": ""})).status_code == 200


async def test_the_api_is_described(http: httpx.AsyncClient) -> None:
    described = json.loads((await http.get("/openapi.json")).text)

    assert {"/health", "/ready", "/invoke", "/invoke/stream"} <= described["paths"].keys()
    assert described["paths"]["/invoke"]["post"]["requestBody"]["required"] is True
