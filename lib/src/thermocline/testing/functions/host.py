"""`FunctionsHost`: one app in this process, served and fired as the official host would, with no Azure."""

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

from thermocline.testing.extra import needed_by
from thermocline.testing.functions.appsettings import connection, environment, local_values, resolved
from thermocline.testing.functions.changes import ChangeFeed, FeedReport, place_of
from thermocline.testing.functions.errors import BadApp
from thermocline.testing.functions.indexing import App, Function, loaded
from thermocline.testing.functions.invoking import invoke_documents, invoke_message, invoke_timer
from thermocline.testing.functions.messages import QueuePump, QueueReport
from thermocline.testing.functions.web import Web

with needed_by(__name__, "functions,service,testing"):
    import uvicorn

_SCHEDULE: Final = re.compile(r"[0-9A-Za-z*/,-]+( [0-9A-Za-z*/,-]+){5}|(\d+\.)?\d\d:\d\d:\d\d")


class FunctionsHost:
    """One app's functions, indexed strictly and served on loopback. Async context manager; one at a time in a process, as in Azure.

    ``settings`` go into this process' environment while it runs; ``local_settings`` reads the app's ``local.settings.json`` as well, for what is
    not set yet. Timers run when `fire` says so, the change feed and the queues when `feed_until_idle` and `queue_until_idle` do, or by themselves
    with ``listen``. ``credential`` signs in where a connection is by identity (default: `DefaultAzureCredential`). ``lease``, ``poll`` and
    ``retry_delay`` go before what the app says, for tests.

    Raises BadApp for an app that `index` refuses and for a function whose settings are missing; with ``strict=False`` such a function is not served
    and stands in `in_error`, while the others run, as in Azure.
    """

    def __init__(
        self,
        folder: Path | str,
        settings: Mapping[str, str] | None = None,
        *,
        port: int = 0,
        strict: bool = True,
        listen: bool = False,
        local_settings: bool = False,
        credential: Any = None,
        lease: timedelta | None = None,
        poll: timedelta | None = None,
        retry_delay: timedelta | None = None,
    ) -> None:
        self._folder = Path(folder).absolute()
        self._given = dict(settings or {})
        self._port = port
        self._strict, self._listen, self._local = strict, listen, local_settings
        self._credential, self._lease, self._poll, self._retry_delay = credential, lease, poll, retry_delay
        self._running = AsyncExitStack()
        self._url: str | None = None
        self._feeds: dict[str, ChangeFeed] = {}
        self._queues: dict[str, QueuePump] = {}
        self.in_error: dict[str, str] = {}
        """Functions that are not served, each with the reason."""

    # --- life ------------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as running:
            local = local_values(self._folder) if self._local else {}
            missing = {name: value for name, value in local.items() if name not in os.environ}
            running.enter_context(environment({**missing, **self._given}))
            self.settings = dict(os.environ)
            self.app = running.enter_context(loaded(self._folder))
            running.push_async_callback(_close_memory)
            running.push_async_callback(_end_lifespan, self.app)
            for function in self.app.functions.values():
                self._check(function)
            if self._listen:
                await self._start_listening(running)
            self._url = await running.enter_async_context(_served(Web(self), self._port))
            self._running = running.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    @property
    def url(self) -> str:
        """Where it serves, as ``http://127.0.0.1:port``. Raises BadApp before the start."""
        if self._url is None:
            raise BadApp(f"{self._folder.name} has no URL before its start")
        return self._url

    # --- events ----------------------------------------------------------------------------------------------------------

    async def fire(self, name: str) -> None:
        """Fire a timer now and wait until its function has ended. Raises LookupError, InvocationFailed."""
        await invoke_timer(self._named(name, "timerTrigger"))

    async def event(self, name: str, message: str | bytes | Mapping[str, Any], *, dequeue_count: int = 1) -> None:
        """Hand a message to a queue's function now, past the queue. A mapping goes as JSON. Raises LookupError, InvocationFailed."""
        body = (
            message
            if isinstance(message, bytes)
            else (message if isinstance(message, str) else json.dumps(message)).encode()
        )
        await invoke_message(self._named(name, "queueTrigger"), body, dequeue_count=dequeue_count)

    async def feed(self, name: str, documents: list[Any]) -> None:
        """Hand a batch of documents to a change feed's function now, past the feed. Raises LookupError, InvocationFailed."""
        await invoke_documents(self._named(name, "cosmosDBTrigger"), documents)

    async def feed_until_idle(self, *, all_ranges: bool = False) -> FeedReport:
        """Pump every change feed until nothing is left of the ranges that this host can have; returns what went through.

        At least once: a page is noted in its lease when the function has taken it, and not before; a failure is repeated as the function's
        retry policy says. ``all_ranges`` also waits for the leases of hosts that were killed to run out.
        """
        whole = FeedReport()
        for name, function in self._of("cosmosDBTrigger"):
            if name not in self._feeds:
                self._feeds[name] = await self._running.enter_async_context(self._new_feed(function))
            report = await self._feeds[name].until_idle(all_ranges=all_ranges)
            for part, value in vars(report).items():
                setattr(whole, part, getattr(whole, part) + value)
        return whole

    async def queue_until_idle(self) -> QueueReport:
        """Pump every queue until no message can be seen; returns what went through."""
        whole = QueueReport()
        for name, _ in self._of("queueTrigger"):
            report = await (await self._pump(name)).until_idle()
            for part, value in vars(report).items():
                setattr(whole, part, getattr(whole, part) + value)
        return whole

    async def send(self, name: str, message: str | bytes) -> None:
        """Put a message into the queue of that function, for `queue_until_idle` or a host that listens."""
        self._named(name, "queueTrigger")
        await (await self._pump(name)).put(message.encode() if isinstance(message, str) else message)

    async def trigger(self, name: str, text: str) -> None:
        """What ``POST /admin/functions/NAME`` does with the text of its ``input``. Raises LookupError, BadApp, InvocationFailed."""
        function = self._named(name)
        if function.trigger.type == "timerTrigger":
            await invoke_timer(function)
        elif function.trigger.type == "queueTrigger":
            await invoke_message(function, text.encode())
        elif function.trigger.type == "cosmosDBTrigger":
            try:
                documents = json.loads(text)
            except ValueError as error:
                raise BadApp(f"{name}: the input must be documents as JSON: {error}") from error
            await invoke_documents(function, documents if isinstance(documents, list) else [documents])
        else:
            raise BadApp(f"{name} answers HTTP: ask its route")

    # --- what there is -----------------------------------------------------------------------------------------------------

    def is_served(self, function: Function) -> bool:
        """Whether a function gets events: it is neither disabled by ``AzureWebJobs.NAME.Disabled`` nor in error."""
        return function.name not in self.in_error and not self._disabled(function)

    def listed(self) -> list[dict[str, Any]]:
        """The functions, as ``GET /admin/functions`` lists them."""
        return [
            {
                "name": function.name,
                "isDisabled": self._disabled(function),
                "error": self.in_error.get(function.name),
                "trigger": function.trigger.type,
                "route": None if function.route is None else function.route.template,
            }
            for function in self.app.functions.values()
        ]

    # --- inside ------------------------------------------------------------------------------------------------------------

    def _of(self, kind: str) -> Iterator[tuple[str, Function]]:
        return ((function.name, function) for function in self.app.of(kind) if self.is_served(function))

    def _named(self, name: str, kind: str | None = None) -> Function:
        function = self.app.functions.get(name)
        if function is None:
            raise LookupError(f"{self._folder.name} has no function {name}; it has {', '.join(self.app.functions)}")
        if kind is not None and function.trigger.type != kind:
            raise LookupError(f"{name} has a {function.trigger.type}, not a {kind}")
        if name in self.in_error:
            raise BadApp(self.in_error[name])
        return function

    def _disabled(self, function: Function) -> bool:
        names = (f"AzureWebJobs.{function.name}.Disabled", f"AzureWebJobs_{function.name}_Disabled")
        return any(self.settings.get(name, "").lower() in ("true", "1") for name in names)

    def _check(self, function: Function) -> None:
        if self._disabled(function):
            return
        where, options = f"{self._folder.name}: {function.name}", function.trigger.options
        try:
            match function.trigger.type:
                case "timerTrigger":
                    schedule = resolved(str(options["schedule"]), self.settings, f"{where}: schedule")
                    if _SCHEDULE.fullmatch(schedule) is None:
                        raise BadApp(
                            f"{where}: its schedule is {schedule!r}; six parts: second minute hour day month weekday"
                        )
                case "queueTrigger":
                    resolved(str(options["queueName"]), self.settings, f"{where}: queueName")
                    connection("queueTrigger", str(options["connection"]), self.settings, f"{where}: connection")
                case "cosmosDBTrigger":
                    place_of(function, self.settings)
        except BadApp as error:
            if self._strict:
                raise
            self.in_error[function.name] = str(error)

    def _new_feed(self, function: Function) -> ChangeFeed:
        return ChangeFeed(
            function,
            self.settings,
            credential=self._credential,
            lease=self._lease,
            poll=self._poll,
            retry_delay=self._retry_delay,
        )

    def _new_queue(self, function: Function) -> QueuePump:
        return QueuePump(
            function,
            self.app.host,
            self.settings,
            credential=self._credential,
            poll=self._poll,
            hidden=self._retry_delay,
        )

    async def _pump(self, name: str) -> QueuePump:
        if name not in self._queues:
            function = self.app.functions[name]
            pump = self._new_queue(function)
            self._queues[name] = await self._running.enter_async_context(pump)
        return self._queues[name]

    async def _start_listening(self, running: AsyncExitStack) -> None:
        for name, function in self._of("cosmosDBTrigger"):
            self._feeds[name] = await running.enter_async_context(self._new_feed(function))
            running.push_async_callback(_stop, asyncio.create_task(self._feeds[name].run()))
        for name, function in self._of("queueTrigger"):
            pump = self._new_queue(function)
            self._queues[name] = await running.enter_async_context(pump)
            running.push_async_callback(_stop, asyncio.create_task(pump.run()))


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _end_lifespan(app: App) -> None:
    """End the lifespan of an ASGI app that was started: the worker leaves that to the object's end, when no loop runs any more."""
    if getattr(app.register, "startup_task_done", False):
        app.register.startup_task_done = False
        await app.register.middleware.notify_shutdown()


async def _close_memory() -> None:
    """Close the client that the app's functions share, if they made one."""
    module = sys.modules.get("thermocline.functions.process")
    if module is not None:
        await module.PROCESS.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process' own affair."""
        yield


@asynccontextmanager
async def _served(web: Web, port: int) -> AsyncIterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            web,
            lifespan="off",
            ws="none",
            http="h11",
            loop="none",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            if serving.done():
                await serving
                raise BadApp("the HTTP server ended before it began")
            await asyncio.sleep(0)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
