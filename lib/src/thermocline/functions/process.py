"""One memory for each process of an app: made when the first event comes, on that event's loop, and shared by all that come meanwhile.

Functions index an app before any setting counts, so nothing is read or made when a module is imported.
"""

import asyncio
import atexit
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from thermocline import telemetry
from thermocline.client import Health, MemoryClient, Verdict
from thermocline.errors import ConfigurationError, ThermoclineError
from thermocline.functions.needs import AppNeeds
from thermocline.functions.settings import AppSettings
from thermocline.settings import MemorySettings
from thermocline.wiring import connect

log = logging.getLogger("thermocline.functions")

INSIGHTS: Final = "APPLICATIONINSIGHTS_CONNECTION_STRING"
_FRESH: Final = 1.0  # seconds that a look at the tiers is good for, however many probes ask
_LAST_WORDS: Final = 3.0  # seconds for closing when the process ends

Make = Callable[[MemorySettings], Awaitable[MemoryClient]]


@dataclass(frozen=True, slots=True)
class AppHealth:
    """``document`` is for JSON; ``ready``: whether the app can do its work, perhaps slowly (HTTP 200, else 503)."""

    ready: bool
    document: dict[str, Any]

    @property
    def status(self) -> int:
        """The status code of an answer that holds the document."""
        return 200 if self.ready else 503


class Closeable(Protocol):
    """What is closed before the client."""

    async def close(self) -> None: ...


class AppProcess:
    """The memory of one process. ``make`` connects a client by settings (`thermocline.connect`); give another one for routes and lifetimes, which are
    set in code."""

    def __init__(self, make: Make = connect) -> None:
        self._make = make
        self._parts: list[Closeable] = []
        self._client: MemoryClient | None = None
        self._starting: asyncio.Task[MemoryClient] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._telemetry = False
        self._looking: asyncio.Task[Health] | None = None
        self._looked = 0.0

    def settings(self) -> AppSettings:
        """The app's settings, read anew each time. Raises `ConfigurationError` that names the variable."""
        return AppSettings.load()

    async def client(self) -> MemoryClient:
        """The connected client. The first event connects it, and those that come meanwhile wait for that; after a failure the next event tries anew.

        Raises `ConfigurationError` that names the variable, `TierUnavailable` for an authority that cannot be reached.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # a new loop: what the old one had ended with it
            self._client = self._starting = self._looking = None
            self._parts = []
            self._loop = loop
        if self._client is not None:
            return self._client
        if self._starting is None or self._starting.done():  # done and still here: whoever waited for it was cancelled
            self._starting = loop.create_task(self._start(), name="thermocline start")
            self._starting.add_done_callback(_looked_at)
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        finally:
            if starting.done() and self._starting is starting:
                self._starting = None

    async def _start(self) -> MemoryClient:
        settings = MemorySettings.load()
        if not settings.any_service() and not os.environ.get("THERMOCLINE_HOME", "").strip():
            raise ConfigurationError(
                "no service is named (REDIS_HOST, COSMOS_ACCOUNT_URI, BLOB_ACCOUNT_URL): an app's own disk does not last, so the embedded tiers"
                " are used only where THERMOCLINE_HOME says so"
            )
        self._configure()
        self._client = await self._make(settings)
        atexit.register(self._at_exit)
        return self._client

    def _configure(self) -> None:
        """Send telemetry, once. What is wrong with it is logged: the memory does its work without."""
        if self._telemetry or not os.environ.get(INSIGHTS, "").strip():
            return
        self._telemetry = True
        try:
            telemetry.configure(azure_monitor=True, credential=_telemetry_credential())
        except ConfigurationError as error:
            log.warning("telemetry is off: %s", error)

    async def health(self, needs: AppNeeds) -> AppHealth:
        """What is missing or wrong, by the names of variables, and how the tiers are. No secret is in it. Raises nothing of our tree."""
        embedded = bool(os.environ.get("THERMOCLINE_HOME", "").strip()) and not any(
            need.met(os.environ) for need in needs.services
        )
        missing = [] if embedded else needs.missing(os.environ)
        document: dict[str, Any] = {
            "app": needs.name,
            "status": "ok",
            "missing": [{"variable": " or ".join(need.variables), "why": need.why} for need in missing],
            "wrong": [],
        }
        try:
            self.settings()
            MemorySettings.load()
        except ConfigurationError as error:
            document["wrong"].append(str(error))
        if missing or document["wrong"]:
            document["status"] = "misconfigured"
            return AppHealth(False, document)
        try:
            found = await self._look()
        except ConfigurationError as error:
            document["wrong"].append(str(error))
            document["status"] = "misconfigured"
            return AppHealth(False, document)
        except ThermoclineError as error:
            document |= {"status": Verdict.DOWN.value, "memory": {"reasons": [str(error)]}}
            return AppHealth(False, document)
        document |= {"status": found.verdict.value, "memory": found.as_dict()}
        return AppHealth(found.ready, document)

    async def _look(self) -> Health:
        """The client's health, of not more than a second ago: strangers can ask, and each look asks every tier."""
        client, now = await self.client(), time.monotonic()
        if self._looking is None or (self._looking.done() and now - self._looked >= _FRESH):
            self._looked = now
            self._looking = asyncio.get_running_loop().create_task(client.health(), name="thermocline health")
            self._looking.add_done_callback(_looked_at)
        return await asyncio.shield(self._looking)

    def keep(self, part: Closeable) -> None:
        """Close this with the client, and before it."""
        self._parts.append(part)

    async def close(self) -> None:
        """Close the client, if there is one, and what is kept with it. Idempotent; an event that comes after it makes a new one."""
        under_way = [task for task in (self._starting, self._looking) if task is not None]
        self._starting = self._looking = None
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        client, self._client = self._client, None
        atexit.unregister(self._at_exit)
        parts, self._parts = self._parts, []
        try:
            for part in reversed(parts):
                await part.close()
        finally:
            if client is not None:
                await client.close()

    def _at_exit(self) -> None:
        """The process ends, and its loop has stopped: tell hot what it has not been told, and let go of the connections."""
        loop = self._loop
        if loop is None or loop.is_closed() or loop.is_running():
            return
        try:
            loop.run_until_complete(asyncio.wait_for(self.close(), _LAST_WORDS))
        except (TimeoutError, ThermoclineError) as error:
            log.warning("the memory was not closed in order: %r", error)


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Fetch an exception that nobody waits for any more, so that asyncio does not complain of it; the next event's start raises its own."""
    if not task.cancelled():
        task.exception()


def _telemetry_credential() -> Any:
    """The identity that telemetry is sent as where the resource takes no keys; None: by the connection string alone."""
    asked = os.environ.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "")
    if "authorization=aad" not in asked.replace(" ", "").lower():
        return None
    from thermocline.identity.credentials import managed_identity

    client_id = os.environ.get("AZURE_CLIENT_ID", "").strip()
    for part in asked.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "clientid" and value.strip():
            client_id = value.strip()
    return managed_identity(client_id or None)


PROCESS: Final = AppProcess()
"""That of this process."""
