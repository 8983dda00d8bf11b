"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): what an agent yields, as it yields it."""

import asyncio
import contextvars
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from fastapi.encoders import jsonable_encoder
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from thermocline.agents.service import problems

_ENDS: Final = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}
"""What JSON leaves as it is, and some clients, httpx among them, take for the end of a line."""

LAST_SECONDS: Final = 5.0  # for the last event, to a client that may have ceased to read
BEAT_SECONDS: Final = 15.0  # between two comments that keep proxies from ending a silent connection


def is_stream(answer: Any) -> bool:
    """Whether an agent's answer comes in parts."""
    return hasattr(answer, "__aiter__")


def plain(answer: Any) -> Any:
    """An agent's answer as JSON holds it: also of models, dataclasses, dates."""
    return jsonable_encoder(answer)


class EventStream(Response):
    """An event ``message`` for each part, then ``done``; or ``error``, with the problem that ``/invoke`` would have answered with.

    If whoever listens goes away, the agent is cancelled where it waits, and its generator closed, before the response ends.
    """

    media_type = "text/event-stream"

    def __init__(self, parts: Callable[[], Awaitable[AsyncIterator[Any]]], *, seconds: float, what: str) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._parts = parts
        self._seconds = seconds
        self._what = what
        self._context = contextvars.copy_context()  # the request's: who asks, the correlation id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.Lock()

        async def write(text: str, *, more: bool = True) -> None:
            async with writing:
                await send({"type": "http.response.body", "body": text.encode(), "more_body": more})

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        run = asyncio.create_task(self._run(write), context=self._context)
        others = [asyncio.create_task(_gone(receive)), asyncio.create_task(_beat(write))]
        try:
            await asyncio.wait([run, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (run, *others):
                task.cancel()
            await asyncio.gather(run, *others, return_exceptions=True)
        if not run.cancelled():
            run.result()

    async def _run(self, write: Callable[..., Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                last = _event("done", {"messages": await self._told(write)})
        except Exception as error:  # noqa: BLE001 - whatever the agent raises is told as an event
            told, _ = problems.problem(error)
            problems.note(error, self._what, told["status"])
            last = _event("error", told)
        async with asyncio.timeout(LAST_SECONDS):
            await write(last)
            await write("", more=False)

    async def _told(self, write: Callable[..., Awaitable[None]]) -> int:
        """Write a message for each part; how many these were."""
        count = 0
        parts: Any = await self._parts()
        async with aclosing(parts) if hasattr(parts, "aclose") else _Left():
            async for part in parts:
                await write(_event("message", plain(part)))
                count += 1
        return count


class _Left:
    """For iterators that have nothing to close."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


def _event(name: str, data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text.translate(_ENDS)}\n\n"


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _beat(write: Callable[[str], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        await write(": still there\n\n")


async def one(answer: Any) -> AsyncIterator[Any]:
    """An answer that comes in one part."""
    yield answer
