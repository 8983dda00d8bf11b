"""What every server of the rig can do: start on a free port, be killed, paused, brought back, and leave nothing behind."""

import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

from thermocline.testing.rig.errors import RigError, StartFailed
from thermocline.testing.rig.ports import free_port, is_free
from thermocline.testing.rig.process import LocalProcess

_ATTEMPTS = 20
_LOOK_EVERY = 0.01  # seconds between two looks whether a server is ready


class Runner(Protocol):
    """What carries a server: a process of this machine, or a container."""

    @property
    def pid(self) -> int: ...
    @property
    def exit_code(self) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def log_tail(self, lines: int = 20) -> str: ...
    def close(self) -> None: ...


class Server(ABC):
    """A server on loopback, with its own temporary directory. All calls block, for milliseconds up to a few seconds.

    Use it as a context manager, or call `start` and `stop`. One that is dropped without `stop` ends with this process,
    even if that is killed. Not for two threads at once.
    """

    name: ClassVar[str]
    _port_names: ClassVar[tuple[str, ...]] = ("main",)
    _host_network: ClassVar[bool] = False
    _taken: ClassVar[tuple[str, ...]] = ("Address already in use", "EADDRINUSE")

    def __init__(self, *, port: int | None, image: str | None, patience: timedelta) -> None:
        self._fixed_port = port
        self._image = image
        self._patience = patience
        self._ports: dict[str, int] = {}
        self._runner: Runner | None = None
        self._directory: Path | None = None
        self._last_answer = "none"
        self._paused = False

    @abstractmethod
    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return the command line and the extra environment; called before each start, when the ports are known."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Ask the server by its own protocol whether it serves; OSError counts as no."""

    @property
    def port(self) -> int:
        """The (first) TCP port on 127.0.0.1. It stays the same over `kill`, `start` and `restart`."""
        if not self._ports:
            raise RigError(f"{self.name} has no port before its first start")
        return self._ports[self._port_names[0]]

    @property
    def pid(self) -> int:
        """Process id of the server. Raises RigError when it does not run."""
        if self._runner is None or not self.running:
            raise RigError(f"{self.name} does not run")
        return self._runner.pid

    @property
    def running(self) -> bool:
        """Whether the server's process exists, paused or not."""
        return self._runner is not None and self._runner.exit_code is None

    @property
    def directory(self) -> Path:
        """The server's temporary directory, removed by `stop`. Raises RigError before the first start."""
        if self._directory is None:
            raise RigError(f"{self.name} has no directory before its start")
        return self._directory

    def start(self) -> None:
        """Start the server and wait until it answers. Does nothing if it runs.

        Raises MissingPart if it cannot be had on this machine, and StartFailed, with the end of its log, if it does not
        become ready in time.
        """
        if self.running:
            return
        self._release()
        made = self._directory is None
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix=f"thermocline-{self.name}-"))
        try:
            self._start_on_some_port()
        except BaseException:
            self._release()
            if made:
                self._forget()
            raise

    def stop(self) -> None:
        """End the server and remove its directory. A second call does nothing."""
        if self._runner is not None and self.running:
            self._runner.terminate()
        self._release()
        self._forget()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL). Its port and its directory stay for a later `start`."""
        if self._runner is not None:
            # The supervisor stays, to remove the directory should this process end before the next start.
            self._runner.kill()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections are accepted by the kernel, and nobody answers."""
        self._running_runner().pause()
        self._paused = True

    def resume(self) -> None:
        """Let a paused server go on."""
        self._running_runner().resume()
        self._paused = False

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines that the server wrote since its last start."""
        return "(not started)" if self._runner is None else self._runner.log_tail(lines)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running_runner(self) -> Runner:
        if self._runner is None or not self.running:
            raise RigError(f"{self.name} does not run")
        return self._runner

    def _start_on_some_port(self) -> None:
        until = time.monotonic() + self._patience.total_seconds()
        known = len(self._ports) > 0 or self._fixed_port is not None
        for _ in range(_ATTEMPTS):
            if not self._ports:
                self._choose_ports()
            if known:
                self._await_ports(until)
            self._launch()
            if self._becomes_ready(until):
                return
            log = self.log_tail()
            self._release()
            if not any(sign in log for sign in self._taken):
                raise StartFailed(
                    f"{self.name} did not start on ports {self._ports}. Its last answer: {self._last_answer}. "
                    f"The end of its log:\n{log}"
                )
            if not known:
                self._ports = {}
        raise StartFailed(f"{self.name}: its ports were taken by others in {_ATTEMPTS} attempts")

    def _await_ports(self, until: float) -> None:
        """Wait until whoever holds the ports that we must have lets them go."""
        while taken := [port for port in self._ports.values() if not is_free(port)]:
            if time.monotonic() > until:
                raise StartFailed(f"{self.name} cannot start: ports {taken} are held by other processes")
            time.sleep(_LOOK_EVERY)

    def _choose_ports(self) -> None:
        ports = {name: free_port() for name in self._port_names}
        if self._fixed_port is not None:
            ports[self._port_names[0]] = self._fixed_port
        self._ports = ports

    def _launch(self) -> None:
        self._paused = False
        command, environment = self._command()
        if self._image is None:
            log = self.directory / "server.log"
            self._runner = LocalProcess(command, directory=self.directory, log=log, environment=environment)
        else:
            from thermocline.testing.rig.container import ContainerProcess

            self._runner = ContainerProcess(
                self._image,
                command,
                directory=self.directory,
                ports=[] if self._host_network else list(self._ports.values()),
                environment=environment,
            )

    def _becomes_ready(self, until: float) -> bool:
        while self.running:
            try:
                if self._is_ready():
                    return True
            except OSError as error:
                self._last_answer = f"{type(error).__name__}: {error}"
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_EVERY)
        return False

    def _release(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _forget(self) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _is_ours(self, process_id: int) -> bool:
        """Whether an answering server is the one we started, and not one that took the port before it."""
        return self._image is not None or (self._runner is not None and self._runner.pid == process_id)
