"""Server-sent events by hand: silent agents, clients that cease to read, iterators of every kind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from thermocline.agents.service import events
from thermocline.agents.service.events import EventStream

Message = dict[str, Any]
SCOPE: Any = {"type": "http"}


async def nobody_leaves() -> Message:
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


def stream(parts: Any, seconds: float = 30) -> Any:
    async def made() -> Any:
        return parts

    return EventStream(made, seconds=seconds, what="POST /invoke/stream")


async def test_a_silent_agent_is_heard_by_its_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BEAT_SECONDS", 0.001)
    beats = 0
    enough = asyncio.Event()

    async def parts() -> AsyncIterator[str]:
        await enough.wait()
        yield "at last"

    sent = b""

    async def send(message: Message) -> None:
        nonlocal beats, sent
        sent += message.get("body", b"")
        beats += message.get("body") == b": still there\n\n"
        if beats == 3:
            enough.set()

    await stream(parts())(SCOPE, nobody_leaves, send)

    assert sent.endswith(b'event: message\ndata: "at last"\n\nevent: done\ndata: {"messages":1}\n\n')
    assert sent.startswith(b": still there\n\n" * 3)


async def test_a_client_that_ceases_to_read_does_not_hold_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LAST_SECONDS", 0.01)
    closed = False

    async def parts() -> AsyncIterator[int]:
        nonlocal closed
        try:
            yield 1
        finally:
            closed = True

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await stream(parts(), seconds=0.01)(SCOPE, nobody_leaves, send)

    assert closed


async def test_a_response_that_is_cancelled_ends_the_agent_first() -> None:
    begun, closed = asyncio.Event(), False

    async def parts() -> AsyncIterator[int]:
        nonlocal closed
        begun.set()
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            await asyncio.sleep(0)
            closed = True

    async def send(message: Message) -> None: ...

    task = asyncio.create_task(stream(parts())(SCOPE, nobody_leaves, send))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert closed


class Plain:
    """An iterator that has nothing to close."""

    def __init__(self) -> None:
        self.left = [2, 1]

    def __aiter__(self) -> "Plain":
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()


@pytest.mark.parametrize(
    ("parts", "end"),
    [
        (Plain, b'data: 1\n\nevent: message\ndata: 2\n\nevent: done\ndata: {"messages":2}\n\n'),
        (lambda: events.one(float("nan")), b""),
    ],
    ids=["plain", "no json"],
)
async def test_iterators_and_parts(parts: Callable[[], Any], end: bytes) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    call: Awaitable[None] = stream(parts())(SCOPE, nobody_leaves, send)
    await call
    body = b"".join(message.get("body", b"") for message in sent)

    assert body.endswith(end)
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    if not end:
        assert body.startswith(b"event: error\n")
        assert b'"status":500' in body
