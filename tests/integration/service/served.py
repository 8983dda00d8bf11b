"""An app of `desks` under uvicorn, in a process of its own."""

import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx

from thermocline.testing.rig.server import Server

ROOT = Path(__file__).parents[3]
NO_FILE = {"THERMOCLINE_HOME": "home"}  # below the server's own folder, where it runs


class Served(Server):
    """``factory`` is a function of `desks`. Runs in a folder of its own, which holds its embedded tiers."""

    name: ClassVar[str] = "service"

    def __init__(
        self, factory: str, environment: Mapping[str, str] | None = None, *, options: Sequence[str] = ()
    ) -> None:
        super().__init__(port=None, image=None, patience=timedelta(seconds=40))
        self._factory = factory
        self._environment = {**NO_FILE, **(environment or {})}
        self._options = tuple(options)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def exit_code(self) -> int | None:
        """Of the process; None while it runs."""
        return None if self._runner is None else self._runner.exit_code

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=60, limits=httpx.Limits(max_connections=200))

    def ask_to_end(self) -> None:
        """SIGTERM, without waiting."""
        import signal

        runner: Any = self._runner
        runner.send(signal.SIGTERM)

    def wait(self, patience: timedelta = timedelta(seconds=30)) -> int | None:
        runner: Any = self._runner
        code: int | None = runner.wait(patience)
        return code

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        app = f"tests.integration.service.desks:{self._factory}"
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--factory", app]
        return [*command, "--port", str(self.port), "--no-access-log", *self._options], self._environment

    def _is_ready(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/health")
        except httpx.TransportError as error:
            raise OSError(str(error)) from error
        return answer.status_code == 200


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any]]:
    """The server-sent events of a response: name and data."""
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
