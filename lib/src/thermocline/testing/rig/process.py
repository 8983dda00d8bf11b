"""A server as a process of this machine that dies with the process that started it."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from thermocline.testing.rig import supervisor
from thermocline.testing.rig.errors import StartFailed

MARK = "THERMOCLINE_RIG_OWNER"
"""Environment variable of every server of the rig: the process id of the one that started it."""

_EMULATOR = b"thermocline.testing.cosmos"
_PATIENCE = timedelta(seconds=10)


def leftovers() -> list[str]:
    """Describe every server of this process that still runs, by its supervisor where it has one.

    (A server itself may overwrite its environment, as Redis does.) Empty where there is no ``/proc``.
    """
    mark = f"{MARK}={os.getpid()}".encode()
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark in (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().split(b"\0")
            # After the name in parentheses, which may hold anything: state, parent.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile, or is another user's
            continue
        emulator = parent == os.getpid() and _EMULATOR in words
        if (marked or emulator) and words != [b""]:
            found.append(f"{entry.name}: {b' '.join(words).decode(errors='replace').strip()}")
    return found


class LocalProcess:
    """One server under its supervisor. Not for two threads at once, but any thread may start it.

    Raises StartFailed if the supervisor does not come up.
    """

    pid: int
    """Process id of the server itself."""

    def __init__(
        self, command: Sequence[str], *, directory: Path, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        self._lines: list[str] = []
        self._rest = b""
        self._exit: int | None = None
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, str(directory), str(log), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            # Ctrl-C in a terminal is for the tests, which then end their servers in order.
            start_new_session=True,
            env={**os.environ, **(environment or {}), MARK: str(os.getpid())},
        )
        answer = self._await_line("pid", _PATIENCE)
        if answer is None:
            self.close()
            raise StartFailed(f"the supervisor of {command[0]} did not start:\n{self.log_tail()}")
        self.pid = answer

    @property
    def exit_code(self) -> int | None:
        """The server's exit code, negative for a signal; None while it runs."""
        self._read(timedelta(0))
        return self._exit

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server; nothing if it has ended. After SIGSTOP has returned the server stands still."""
        if self._exit is not None:
            return
        assert self._supervisor.stdin is not None
        self._lines = [line for line in self._lines if not line.startswith("sent ")]
        try:
            self._supervisor.stdin.write(bytes([number]))
        except BrokenPipeError:
            self._exit = -signal.SIGKILL
            return
        self._await_line("sent", _PATIENCE)

    def wait(self, patience: timedelta) -> int | None:
        """Wait until the server has ended and return its exit code, or None if it still runs after ``patience``."""
        until = time.monotonic() + patience.total_seconds()
        while self._exit is None and (left := until - time.monotonic()) > 0:
            self._read(timedelta(seconds=left))
        return self._exit

    def terminate(self, patience: timedelta = timedelta(seconds=5)) -> None:
        """Ask the server to end (SIGTERM), and kill it if it does not within ``patience``."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if self.wait(patience) is None:
            self.kill()

    def kill(self) -> None:
        """End the server by SIGKILL and wait until it is gone."""
        self.send(signal.SIGKILL)
        self.wait(_PATIENCE)

    def pause(self) -> None:
        """Stop the server in its tracks (SIGSTOP): its port accepts, and nobody answers."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self.send(signal.SIGCONT)

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines that the server wrote since this start."""
        if not self._log.exists():
            return "(no log)"
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """End the supervisor, and the server with it if it still runs. The directory stays. A second call does nothing."""
        pipes = (self._supervisor.stdin, self._supervisor.stdout)
        assert pipes[0] is not None
        assert pipes[1] is not None
        if pipes[0].closed:
            return
        try:
            pipes[0].write(bytes([supervisor.LET_GO]))
        except BrokenPipeError:
            self._exit = -signal.SIGKILL
        pipes[0].close()
        self._supervisor.wait(_PATIENCE.total_seconds())
        pipes[1].close()
        if self._exit is None:
            self._exit = -signal.SIGKILL

    def _await_line(self, word: str, patience: timedelta) -> int | None:
        until = time.monotonic() + patience.total_seconds()
        while True:
            for line in self._lines:
                if line.startswith(f"{word} "):
                    self._lines.remove(line)
                    return int(line.split()[1])
            left = until - time.monotonic()
            if left <= 0 or not self._read(timedelta(seconds=left)):
                return None

    def _read(self, patience: timedelta) -> bool:
        """Take in what the supervisor says; False if it will say nothing more, or nothing within ``patience``."""
        assert self._supervisor.stdout is not None
        if self._supervisor.stdout.closed:
            return False
        ready, _, _ = select.select([self._supervisor.stdout], [], [], patience.total_seconds())
        if not ready:
            return False
        data = os.read(self._supervisor.stdout.fileno(), 4096)
        if not data:
            if self._exit is None:
                self._exit = -signal.SIGKILL  # a supervisor that is gone has taken its server along
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode()
            if text.startswith("exit "):
                self._exit = int(text.split()[1])
            else:
                self._lines.append(text)
        return True
