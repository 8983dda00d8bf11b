"""A server as a Docker container, for machines with an engine (THERMOCLINE_TEST_DOCKER=1)."""

import gc
import importlib
import importlib.util
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thermocline.testing.rig.errors import MissingPart, StartFailed

VARIABLE = "THERMOCLINE_TEST_DOCKER"


def docker_is_wanted() -> bool:
    """Whether the environment asks for containers in place of local processes."""
    return os.environ.get(VARIABLE) == "1"


def docker_exception() -> type[Exception]:
    """Return the base class of what the Docker client raises (it comes with testcontainers)."""
    found: type[Exception] = importlib.import_module("docker.errors").DockerException
    return found


def new_container(image: str) -> Any:
    """Return a testcontainers container that is not started. Raises MissingPart without the package or the engine."""
    if importlib.util.find_spec("testcontainers") is None:
        raise MissingPart("needs testcontainers: pip install testcontainers")
    from testcontainers.core.container import DockerContainer

    container, complaint = None, ""
    with warnings.catch_warnings():
        # Without an engine the Docker client drops its socket unclosed: collect it while nobody listens.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            container = DockerContainer(image)
            container.get_docker_client().client.ping()
        except docker_exception() as error:
            complaint = str(error)
        if complaint != "":
            container = None
            gc.collect()
    if container is None:
        raise MissingPart(f"needs a Docker engine: {complaint}")
    return container


def bind(container: Any, *ports: int) -> None:
    """Make ports of a container reachable under the same numbers on 127.0.0.1, and from nowhere else."""
    for port in ports:
        # Not with_bind_ports, which knows no address and would serve the whole network.
        container.ports[str(port)] = ("127.0.0.1", port)


class ContainerProcess:
    """One container, with the same verbs as a local process.

    ``directory`` appears in it as ``/data``, and ``ports`` are bound to the same numbers on 127.0.0.1; without ports the
    container shares the machine's network (Linux only). testcontainers' own reaper removes it if this process dies.
    """

    pid: int = 0
    """Processes of a container have no number of their own here."""

    def __init__(
        self,
        image: str,
        command: Sequence[str],
        *,
        directory: Path,
        ports: Sequence[int],
        environment: Mapping[str, str],
    ) -> None:
        container = new_container(image)
        container.with_command(list(command)).with_volume_mapping(str(directory), "/data", "rw")
        # Files in the directory shall belong to the caller, who has to remove them.
        user = f"{os.getuid()}:{os.getgid()}"
        container.with_kwargs(user=user, **({} if ports else {"network_mode": "host"}))
        bind(container, *ports)
        for name, value in environment.items():
            container.with_env(name, value)
        try:
            container.start()
        except docker_exception() as error:
            raise StartFailed(f"container of {image} did not start: {error}") from error
        self._container = container
        self._docker = container.get_wrapped_container()

    @property
    def exit_code(self) -> int | None:
        """The container's exit code; None while it runs."""
        self._docker.reload()
        if self._docker.status in ("created", "running", "paused", "restarting"):
            return None
        return int(self._docker.attrs["State"]["ExitCode"])

    def terminate(self) -> None:
        """Ask the server to end (SIGTERM), and kill it if it has not after five seconds."""
        if self._docker_status() == "paused":
            self._docker.unpause()
        self._docker.stop(timeout=5)

    def kill(self) -> None:
        """End the server by SIGKILL."""
        if self.exit_code is None:
            if self._docker.status == "paused":
                self._docker.unpause()
            self._docker.kill()
            self._docker.wait()

    def pause(self) -> None:
        """Freeze all processes of the container."""
        self._docker.pause()

    def resume(self) -> None:
        """Let them go on."""
        self._docker.unpause()

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines that the container wrote."""
        return str(self._docker.logs(tail=lines).decode(errors="replace"))

    def close(self) -> None:
        """End and remove the container. A second call does nothing."""
        if self._docker is not None:
            self._container.stop(force=True, delete_volume=True)
            self._docker = None

    def _docker_status(self) -> str:
        self._docker.reload()
        return str(self._docker.status)
