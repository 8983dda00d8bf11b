"""Cosmos DB for tests: the strict emulator of this library, Microsoft's emulator, or a real account."""

import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from thermocline.testing.rig.container import bind, docker_exception, docker_is_wanted, new_container
from thermocline.testing.rig.errors import RigError, StartFailed
from thermocline.testing.rig.ports import free_port, is_free

if TYPE_CHECKING:
    from thermocline.testing.cosmos.process import CosmosProcess

URL_VARIABLE = "THERMOCLINE_TEST_COSMOS_URL"
KEY_VARIABLE = "THERMOCLINE_TEST_COSMOS_KEY"
IMAGE = "mcr.microsoft.com/cosmosdb/linux/azure-cosmos-emulator:vnext-preview"
EMULATOR_KEY = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="
"""The key that is published in the documentation of Microsoft's emulator; the same on every machine, and no secret."""

_HEALTH_PORT = 8080
_ATTEMPTS = 5

Kind = Literal["strict", "docker", "outside"]


def chosen_kind() -> Kind:
    """Which Cosmos DB the environment asks for: an account by its URL, a container, or (by default) the strict emulator."""
    if os.environ.get(URL_VARIABLE) is not None:
        return "outside"
    return "docker" if docker_is_wanted() else "strict"


class CosmosServer:
    """An endpoint that azure-cosmos can talk to. All calls block.

    ``kind`` is chosen by the environment unless given. ``tls``, ``ranges`` (physical partitions) and ``extra_args``
    (of ``python -m thermocline.testing.cosmos``) are for the strict emulator alone; so is `control`.
    """

    name = "cosmos"

    def __init__(
        self,
        *,
        kind: Kind | None = None,
        tls: bool = False,
        ranges: int = 1,
        port: int = 0,
        extra_args: Sequence[str] = (),
        patience: timedelta = timedelta(minutes=2),
    ) -> None:
        self.kind: Kind = chosen_kind() if kind is None else kind
        if self.kind != "strict" and (tls or ranges != 1 or tuple(extra_args) != ()):
            raise RigError(f"tls, ranges and extra_args are for the strict emulator, not for kind={self.kind!r}")
        self._tls, self._ranges, self._port, self._extra_args = tls, ranges, port, tuple(extra_args)
        self._patience = patience
        self._process: CosmosProcess | None = None
        self._container: Any = None
        self._url: str | None = None
        self._key: str | None = None

    @property
    def url(self) -> str:
        """The account's URI. Raises RigError before `start`."""
        if self._url is None:
            raise RigError("cosmos has no URL before its start")
        return self._url

    @property
    def key(self) -> str:
        """The account's key. Raises RigError before `start`."""
        if self._key is None:
            raise RigError("cosmos has no key before its start")
        return self._key

    @property
    def ca_file(self) -> Path | None:
        """The authority that clients must trust (PEM); None without ``tls``."""
        found = None if self._process is None else self._process.ca_file
        return None if found is None else Path(found)

    @property
    def process(self) -> "CosmosProcess":
        """The strict emulator itself. Raises RigError if another kind is used, or none runs."""
        if self._process is None:
            raise RigError(f"no strict emulator runs here (kind={self.kind!r})")
        return self._process

    @property
    def control(self) -> Any:
        """The strict emulator's control API, for faults. Raises RigError if another kind is used."""
        return self.process.control

    def start(self) -> None:
        """Start what ``kind`` says and wait until it answers. Does nothing if it runs.

        Raises MissingPart or StartFailed.
        """
        if self._url is not None:
            return
        if self.kind == "outside":
            if KEY_VARIABLE not in os.environ:
                raise RigError(f"{URL_VARIABLE} is set, {KEY_VARIABLE} is not: the tests sign in by key")
            self._url, self._key = os.environ[URL_VARIABLE], os.environ[KEY_VARIABLE]
        elif self.kind == "docker":
            self._start_container()
        else:
            self._start_strict()

    def restart(self) -> None:
        """End the strict emulator and start it on the same port, empty. Raises RigError for another kind."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it and its data; an outside account is left as it is. A second call does nothing."""
        if self._process is not None:
            if self._process.running:
                self.resume()
            self._process.stop()
        if self._container is not None:
            self._container.stop(force=True, delete_volume=True)
        self._process = self._container = self._url = self._key = None

    def kill(self) -> None:
        """End the strict emulator as a crash would (SIGKILL); its data is lost, its port stays for a later `start`.

        Raises RigError for another kind.
        """
        self.process.kill()
        self._process = self._url = self._key = None

    def pause(self) -> None:
        """Freeze the strict emulator (SIGSTOP): connections are accepted, nobody answers."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.process.pid, signal.SIGCONT)

    def _start_strict(self) -> None:
        from thermocline.testing.cosmos.process import CosmosProcess, StartError

        for attempt in range(1, _ATTEMPTS + 1):
            port = free_port() if self._port == 0 else self._port
            try:
                self._process = CosmosProcess.start(
                    port=port, tls=self._tls, ranges=self._ranges, extra_args=self._extra_args
                )
            except StartError as error:
                if self._port != 0 or is_free(port) or attempt == _ATTEMPTS:
                    raise StartFailed(f"the Cosmos DB emulator did not start on port {port}: {error}") from error
            else:
                self._port, self._url, self._key = port, self._process.url, self._process.key
                return

    def _start_container(self) -> None:
        port = free_port() if self._port == 0 else self._port
        container = new_container(IMAGE)
        # The account document tells clients where to go, so inside and outside the number must be the same.
        container.with_envs(PORT=str(port), PROTOCOL="http", ENABLE_EXPLORER="false")
        container.with_exposed_ports(_HEALTH_PORT)
        bind(container, port)
        try:
            container.start()
        except docker_exception() as error:
            raise StartFailed(f"container of {IMAGE} did not start: {error}") from error
        self._container = container
        url = f"http://localhost:{port}/"
        until = time.monotonic() + self._patience.total_seconds()
        # The gateway listens before it can serve; this port is for the question whether it can.
        health = f"http://localhost:{container.get_exposed_port(_HEALTH_PORT)}/ready"
        while not answers(health):
            if time.monotonic() > until:
                log = container.get_wrapped_container().logs(tail=20).decode(errors="replace")
                self.stop()
                raise StartFailed(f"{IMAGE} did not answer on port {port}. The end of its log:\n{log}")
            time.sleep(0.2)
        self._url, self._key = url, EMULATOR_KEY

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def answers(url: str) -> bool:
    """Say whether an HTTP server answers there with a success."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
