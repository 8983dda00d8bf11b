"""Answers in parts, as server-sent events; and who goes away before the end."""

import asyncio
from typing import Any

import httpx
import pytest
from tests.integration.service.desks import SECRET
from tests.integration.service.served import Served, events


async def told(
    http: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str] | None = None
) -> list[tuple[str, Any]]:
    async with http.stream("POST", "/invoke/stream", json=body, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [event async for event in events(answer.aiter_lines())]


async def test_each_part_is_an_event(http: httpx.AsyncClient) -> None:
    assert await told(http, {"numbers": 3}) == [
        ("message", {"number": 0}),
        ("message", {"number": 1}),
        ("message", {"number": 2}),
        ("done", {"messages": 3}),
    ]


async def test_a_stream_may_be_empty_and_remember(http: httpx.AsyncClient) -> None:
    assert await told(http, {"numbers": 0}) == [("done", {"messages": 0})]
    assert await told(http, {"then": "remember", "value": "line\nline\u2028"}) == [
        ("message", "line\nline\u2028"),
        ("done", {"messages": 1}),
    ]


async def test_an_intent_of_its_own_answers_in_one_part(http: httpx.AsyncClient) -> None:
    assert await told(http, {"intent": "shout", "text": "hey"}) == [("message", "HEY"), ("done", {"messages": 1})]


async def test_a_failure_under_way_is_an_event(http: httpx.AsyncClient) -> None:
    found = await told(http, {"numbers": 1, "then": "fail"}, {"x-correlation-id": "order-18"})

    assert [name for name, _ in found] == ["message", "error"]
    assert found[1][1]["status"] == 500
    assert found[1][1]["correlation_id"] == "order-18"
    assert SECRET not in str(found)


async def test_the_first_part_is_there_before_the_last_and_who_goes_away_cancels_the_agent(
    http: httpx.AsyncClient,
) -> None:
    async with http.stream("POST", "/invoke/stream", json={"numbers": 1, "then": "forever"}) as answer:
        first = await anext(events(answer.aiter_lines()))
    waited = await http.post("/invoke", json={"do": "until_cancelled"})

    assert first == ("message", {"number": 0})
    assert waited.json() == {"cancelled": True}


async def test_a_plain_answer_of_one_that_streams_is_its_handles(http: httpx.AsyncClient) -> None:
    assert (await http.post("/invoke", json={"numbers": 3})).json()["asked"] == {"numbers": 3}


async def test_the_callers_memory_is_the_streams(callers: httpx.AsyncClient) -> None:
    async def stream(user: str) -> list[tuple[str, Any]]:
        headers = {"x-tenant": "acme", "x-user": user}
        return await told(callers, {"then": "remember", "value": user}, headers)

    users = [f"streaming-{number}" for number in range(20)]
    found = await asyncio.gather(*(stream(user) for user in users))

    assert [parts[0] for parts in found] == [("message", user) for user in users]


@pytest.fixture(scope="module")
def hurried(no_server_left_behind: None) -> Any:
    with Served("hurried") as server:
        yield server


async def test_an_agent_that_is_too_slow(hurried: Served) -> None:
    async with hurried.client() as http:
        answer = await http.post("/invoke", json={"do": "forever"})
        stream = await told(http, {"numbers": 1, "then": "forever"})
        waited = await http.post("/invoke", json={"do": "until_cancelled"})

    assert (answer.status_code, answer.json()["title"]) == (504, "Too slow")
    assert [name for name, _ in stream] == ["message", "error"]
    assert stream[1][1]["status"] == 504
    assert waited.json() == {"cancelled": True}


async def test_a_body_that_does_not_arrive(hurried: Served) -> None:
    """Half a body, and then nothing: the service does not wait for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hurried.port)
    writer.write(
        b"POST /invoke HTTP/1.1\r\nhost: desk\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    )
    await writer.drain()
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert line.startswith(b"HTTP/1.1 408 ")
