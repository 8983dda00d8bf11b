"""A small process between the tests and one server: it ends the server when the tests are gone, however they went.

Run as a script by ``process.py``: ``python -I -S supervisor.py DIRECTORY LOG COMMAND...``. It imports only the standard
library. Its standard input is a pipe whose other end the owner holds, so the end of that file means that the owner is
dead, even by SIGKILL. On Linux the server also asks the kernel to be killed with its supervisor. The supervisor has a
single thread, which matters: that wish of the kernel's is bound to the *thread* that made the child, and would kill
servers started from a pool thread as soon as the pool shrinks.

What the owner writes is one byte per wish: the number of a signal for the server, or 0 for "the directory is mine again"
(otherwise it is removed when the owner's end closes). What it reads is one line per event: ``pid N``, ``sent N``,
``exit N`` (a negative number is the signal that ended the server).
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys

LET_GO = 0
_PR_SET_PDEATHSIG = 1
_LOOK_EVERY = 1.0  # seconds between looks at the parent, for a pipe that a forked child of the owner still holds open


class Supervisor:
    """One server, its pipe and its end."""

    def __init__(self, directory: str, log: str, command: list[str]) -> None:
        self._directory = directory
        self._owns_directory = True
        self._parent = os.getppid()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._child = _spawn(command, directory, log)
        self._ended = False
        self._say(f"pid {self._child}")

    def run(self) -> None:
        """Serve the owner until its end of the pipe closes, then end the server."""
        try:
            while self._owner_lives():
                self._reap()
        finally:
            self.end()

    def end(self) -> None:
        """Kill the server if it lives, and remove its directory unless the owner kept it."""
        if not self._ended:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._ended = True
        if self._owns_directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _owner_lives(self) -> bool:
        ready, _, _ = select.select([0, self._wake_read], [], [], _LOOK_EVERY)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        if os.getppid() != self._parent:
            return False
        if 0 in ready:
            wishes = os.read(0, 4096)
            for wish in wishes:
                self._obey(wish)
            return len(wishes) > 0
        return True

    def _obey(self, wish: int) -> None:
        if wish == LET_GO:
            self._owns_directory = False
            return
        self._reap()
        if not self._ended:
            os.kill(self._child, wish)
            if wish == signal.SIGSTOP:
                # Answer only when the server really stands still.
                self._note(os.waitpid(self._child, os.WUNTRACED)[1])
        self._say(f"sent {wish}")

    def _reap(self) -> None:
        if not self._ended:
            child, status = os.waitpid(self._child, os.WNOHANG)
            if child != 0:
                self._note(status)

    def _note(self, status: int) -> None:
        if not os.WIFSTOPPED(status):
            self._ended = True
            self._say(f"exit {os.waitstatus_to_exitcode(status)}")

    @staticmethod
    def _say(line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # an owner that is gone is noticed by the loop
            os.write(1, f"{line}\n".encode())


def _spawn(command: list[str], directory: str, log: str) -> int:
    supervisor = os.getpid()
    child = os.fork()
    if child != 0:
        return child
    try:
        _die_with(supervisor)
        for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(directory)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _die_with(supervisor: int) -> None:
    """Let the kernel kill this process when its parent dies, where the kernel can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:  # it died before the wish was made
            os._exit(127)


if __name__ == "__main__":
    Supervisor(sys.argv[1], sys.argv[2], sys.argv[3:]).run()
