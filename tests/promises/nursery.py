"""Client processes that die by SIGKILL at a step: one process that has imported everything forks a child for each job."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """``acknowledged``: the version that the child printed before its end, None if it was not told one. ``killed``: by SIGKILL. ``steps``: how far it came."""

    acknowledged: int | None
    killed: bool
    steps: list[str] = field(default_factory=list)


class Nursery:
    """``with Nursery() as nursery: await nursery.run(job)``."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.promises.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    async def run(self, **job: Any) -> Ended:
        """One client process, from its first connection to its end. ``job`` names the kind: "write" (`tests.promises.child`), "sweep"
        (`tests.promises.sweeping_child`), "transfer" (`tests.promises.transfer_child`), "backup" (`tests.promises.backup_child`), "worker"
        (`tests.promises.feed_child`) or "read" (`tests.promises.reading_child`), whose `live` takes the rest."""
        return await asyncio.to_thread(self._run, job)

    def _run(self, job: dict[str, Any]) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        steps: list[str] = []
        version: int | None = None
        for line in self._process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "STEP":
                steps.append(rest)
            elif word == "ACK":
                version = int(rest)
            elif word == "END":
                return Ended(version, int(rest) == signal.SIGKILL, steps)
            else:
                raise AssertionError(f"the client process said: {line!r}")
        raise AssertionError("the nursery died")


def main() -> None:
    """In the nursery itself: import, then a fork for each line."""
    from tests.promises import backup_child, child, feed_child, reading_child, sweeping_child, transfer_child

    lives: dict[str, Any] = {
        "write": child.live,
        "sweep": sweeping_child.live,
        "transfer": transfer_child.live,
        "backup": backup_child.live,
        "worker": feed_child.live,
        "read": reading_child.live,
    }
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            job = json.loads(line)
            _grow(lives[job.pop("job", "write")], job)
        _, status = os.waitpid(pid, 0)
        code = os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)
        _say(f"END {code}")


def _grow(live: Any, job: dict[str, Any]) -> NoReturn:
    code = 1
    try:
        asyncio.run(live(_say, **job))
        code = 0
    except BaseException as error:  # noqa: BLE001 - told to the test
        _say(f"DIED {error!r}")
    finally:
        os._exit(code)


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    main()
