"""The pump of a queue trigger: messages go to the function, and after too many failures to the poison queue."""

import asyncio
import base64
import binascii
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

from thermocline.testing.extra import needed_by
from thermocline.testing.functions.appsettings import connection, resolved
from thermocline.testing.functions.errors import InvocationFailed
from thermocline.testing.functions.hostfile import HostFile
from thermocline.testing.functions.indexing import Function
from thermocline.testing.functions.invoking import invoke_message
from thermocline.testing.functions.queues import Message, Queue
from thermocline.testing.rig.errors import RigError

with needed_by(__name__, "functions,service,testing"):
    import aiohttp

_log: Final = logging.getLogger(__name__)
_HIDDEN: Final = timedelta(minutes=10)  # as of the official trigger while a function works on a message
_POLL: Final = timedelta(seconds=1)
POISON: Final = "-poison"


@dataclass
class QueueReport:
    """What went through the queue."""

    messages: int = 0
    """Messages that the function took."""
    failures: int = 0
    poisoned: int = 0
    """Messages that went to the poison queue."""


class QueuePump:
    """One function's trigger on one queue. Async context manager."""

    def __init__(
        self,
        function: Function,
        host: HostFile,
        settings: Mapping[str, str],
        *,
        credential: Any = None,
        poll: timedelta | None = None,
        hidden: timedelta | None = None,
    ) -> None:
        self._function = function
        self._host = host
        self._credential = credential
        self._poll = poll or _POLL
        self._again_after = host.visibility_timeout if hidden is None else hidden
        options = function.trigger.options
        self._name = resolved(str(options["queueName"]), settings, f"{function.name}: queueName")
        self._at = connection("queueTrigger", str(options["connection"]), settings, f"{function.name}: connection")
        self._passing = asyncio.Lock()
        self._opened = AsyncExitStack()
        self.report = QueueReport()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            self._queue = await opened.enter_async_context(Queue(self._at, self._name, credential=self._credential))
            self._poison = await opened.enter_async_context(
                Queue(self._at, self._name + POISON, credential=self._credential)
            )
            await self._queue.create()
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def run(self) -> None:
        """Look again and again, until cancelled. What fails on the way is logged, and tried again."""
        while True:
            try:
                moved = await self._pass()
            except (aiohttp.ClientError, RigError, OSError) as error:
                _log.warning("%s: the queue cannot be read: %s", self._function.name, error)
                moved = False
            if not moved:
                await asyncio.sleep(self._poll.total_seconds())

    async def until_idle(self) -> QueueReport:
        """Hand over every message that can be seen, and those that failed until they are taken or poisoned; returns what that was.

        A message that stays hidden after a failure (``visibilityTimeout`` of ``host.json``) is left to a later call.
        """
        before = QueueReport(**vars(self.report))
        while await self._pass():
            pass
        return QueueReport(**{name: value - vars(before)[name] for name, value in vars(self.report).items()})

    async def put(self, body: bytes) -> None:
        """Send a message, encoded as ``host.json`` says."""
        text = base64.b64encode(body).decode() if self._host.base64 else body.decode()
        await self._queue.put(text)

    async def _pass(self) -> bool:
        async with self._passing:
            messages = await self._queue.get(self._host.batch_size, _HIDDEN)
            tasks = [asyncio.ensure_future(self._one(message)) for message in messages]
            try:
                for task in tasks:
                    await task
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            return bool(messages)

    async def _one(self, message: Message) -> None:
        try:
            body = base64.b64decode(message.text, validate=True) if self._host.base64 else message.text.encode()
        except binascii.Error:
            _log.warning("%s: a message is no base64, which host.json asks for", self._function.name)
            await self._failed(message)
            return
        try:
            await invoke_message(
                self._function,
                body,
                dequeue_count=message.dequeue_count,
                id=message.id,
                pop_receipt=message.pop_receipt,
                expires=message.expires.isoformat(),
                inserted=message.inserted.isoformat(),
            )
        except InvocationFailed:
            await self._failed(message)
            return
        self.report.messages += 1
        await self._queue.delete(message)

    async def _failed(self, message: Message) -> None:
        self.report.failures += 1
        if message.dequeue_count < self._host.max_dequeue_count:
            await self._queue.show(message, self._again_after)
            return
        _log.error(
            "%s: a message failed %d times and goes to the poison queue", self._function.name, message.dequeue_count
        )
        await self._poison.create()
        await self._poison.put(message.text)
        await self._queue.delete(message)
        self.report.poisoned += 1
