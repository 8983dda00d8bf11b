"""`FunctionsProcess`: an app under the local host in a process of its own, which tests can kill half-way."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from thermocline.testing.functions.errors import BadApp, InvocationFailed
from thermocline.testing.rig.errors import RigError
from thermocline.testing.rig.server import Server


class FunctionsProcess(Server):
    """One app under `FunctionsHost` as a server of the rig: `start`, `stop`, `kill`, `pause` and `resume` block, what asks it is async.

    ``settings`` go into its environment, over what this process has. ``lease``, ``poll``, ``retry_delay``, ``listen`` and ``strict`` as of
    `FunctionsHost`. Raises StartFailed, with what the host said, for an app that it refuses.
    """

    name: ClassVar[str] = "functions"

    def __init__(
        self,
        folder: Path | str,
        settings: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        strict: bool = True,
        listen: bool = False,
        local_settings: bool = False,
        lease: timedelta | None = None,
        poll: timedelta | None = None,
        retry_delay: timedelta | None = None,
        patience: timedelta = timedelta(seconds=60),
    ) -> None:
        super().__init__(port=port, image=None, patience=patience)
        self._folder = Path(folder).absolute()
        self._settings = dict(settings or {})
        times = {"lease": lease, "poll": poll, "retry-delay": retry_delay}
        self._options = [f"--{name}={time.total_seconds()}" for name, time in times.items() if time is not None]
        switches = {"lenient": not strict, "listen": listen, "local-settings": local_settings}
        self._options += [f"--{name}" for name, on in switches.items() if on]

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    async def functions(self) -> list[dict[str, Any]]:
        """Its functions, as ``GET /admin/functions`` lists them."""
        found: list[dict[str, Any]] = await self._ask("GET", "/admin/functions")
        return found

    async def fire(self, name: str) -> None:
        """Fire a timer and wait until its function has ended. Raises LookupError, InvocationFailed."""
        await self._ask("POST", f"/admin/functions/{name}", {"input": ""})

    async def event(self, name: str, message: str | Mapping[str, Any]) -> None:
        """Hand a message to a queue's function, past the queue. Raises LookupError, InvocationFailed."""
        await self._ask(
            "POST", f"/admin/functions/{name}", {"input": message if isinstance(message, str) else json.dumps(message)}
        )

    async def feed(self, name: str, documents: list[Any]) -> None:
        """Hand a batch of documents to a change feed's function, past the feed. Raises LookupError, InvocationFailed."""
        await self._ask("POST", f"/admin/functions/{name}", {"input": json.dumps(documents)})

    async def feed_until_idle(self, *, all_ranges: bool = False) -> dict[str, int]:
        """`FunctionsHost.feed_until_idle` in the process; returns the report's figures by name."""
        found: dict[str, int] = await self._ask("POST", f"/admin/host/feed?all={int(all_ranges)}")
        return found

    async def queue_until_idle(self) -> dict[str, int]:
        """`FunctionsHost.queue_until_idle` in the process; returns the report's figures by name."""
        found: dict[str, int] = await self._ask("POST", "/admin/host/queue")
        return found

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(self._asked, method, path, body)

    def _asked(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self._patience.total_seconds()) as answer:
                told = answer.read()
                return json.loads(told) if told else None
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            try:
                said = str(json.loads(text)["error"])
            except (ValueError, KeyError, TypeError):
                said = f"{error.code} {text}"
            kinds: dict[int, type[Exception]] = {400: BadApp, 404: LookupError, 500: InvocationFailed}
            raise kinds.get(error.code, RigError)(said) from None
        except OSError as error:
            raise RigError(f"the host of {self._folder.name} does not answer: {error}") from error

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        command = [sys.executable, "-m", "thermocline.testing.functions", "--app", str(self._folder)]
        return [*command, "--port", str(self.port), *self._options], self._settings

    def _is_ready(self) -> bool:
        # By its own log first: only then who answers on the port is surely not somebody else.
        if f"READY {self.url}" not in self.log_tail(50):
            return False
        found: dict[str, str] = self._asked("GET", "/admin/host/status", None)
        return found["state"] == "Running"
