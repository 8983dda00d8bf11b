"""Starts the server as a process of its own and ends it without leftovers."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from thermocline.testing.cosmos.auth import EMULATOR_KEY
from thermocline.testing.cosmos.control import CosmosControl

START_SECONDS = 30.0


class StartError(RuntimeError):
    """The server did not come up; the message has what it printed."""


class CosmosProcess:
    """A running server. A context manager; `stop` and `kill` may be called more than once."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        url: str,
        key: str,
        folder: tempfile.TemporaryDirectory[str],
        ca: Path | None,
    ) -> None:
        self._process = process
        self._folder = folder
        self.url = url
        self.key = key
        self.ca_file = ca
        self.control = CosmosControl(url, ca_file=ca)

    @classmethod
    def start(
        cls,
        port: int = 0,
        tls: bool = False,
        ranges: int = 1,
        key: str | None = None,
        extra_args: Sequence[str] = (),
    ) -> CosmosProcess:
        """Start and wait until it listens (at most 30 s). Port 0 takes a free one. Raises StartError."""
        folder = tempfile.TemporaryDirectory(prefix="thermocline-cosmos-")
        ca = Path(folder.name) / "ca.pem" if tls else None
        command = [sys.executable, "-m", "thermocline.testing.cosmos", "--port", str(port), "--ranges", str(ranges)]
        command += ["--exit-with-parent", "--key", key if key is not None else EMULATOR_KEY]
        if ca is not None:
            command += ["--tls", "--ca-file", str(ca)]
        errors = Path(folder.name) / "stderr"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*command, *extra_args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            url = _wait_until_ready(process)
        except StartError as e:
            _end(process)
            said = errors.read_text(errors="replace").strip()
            folder.cleanup()
            raise StartError(f"{e}: {said}") from None
        return cls(process, url, key if key is not None else EMULATOR_KEY, folder, ca)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    @property
    def errors(self) -> str:
        """What the server has written to its standard error: nothing, unless it has a bug."""
        file = Path(self._folder.name) / "stderr"
        return file.read_text(errors="replace") if file.exists() else ""

    def stop(self) -> None:
        """End it by SIGTERM, by SIGKILL after five seconds. Warns if it had written errors."""
        if self.running:
            self._process.terminate()
        self._finish(5.0)

    def kill(self) -> None:
        """End it by SIGKILL: no connection is closed in order, nothing is answered. Warns if it had written errors."""
        self._finish(0.0)

    def _finish(self, grace: float) -> None:
        _end(self._process, grace)
        errors = self.errors
        self._folder.cleanup()
        if errors:
            warnings.warn(f"the Cosmos server wrote errors:\n{errors}", RuntimeWarning, stacklevel=3)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _wait_until_ready(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + START_SECONDS
    text = b""
    while time.monotonic() < deadline:
        ready, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
        if not ready:
            break
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            raise StartError("the Cosmos server ended before it was ready")
        text += chunk
        for line in text.decode(errors="replace").splitlines(keepends=True):
            if line.startswith("READY ") and line.endswith("\n"):
                return line.split()[1]
    raise StartError(f"the Cosmos server was not ready within {START_SECONDS:.0f} s")


def _end(process: subprocess.Popen[bytes], grace: float = 0.0) -> None:
    try:
        process.wait(timeout=grace)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
