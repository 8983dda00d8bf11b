"""Ways to really stop hot and to bring it back: its process is killed, or the port that leads to it is shut."""

import asyncio
import contextlib
import ssl
import sys
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from thermocline.cli.demo.hot_process import RemoteMemory
from thermocline.errors import ConfigurationError, TierUnavailable
from thermocline.protocols import Entries

_PATIENCE: Final = 20.0  # seconds for a process to start or a connection to open
_CHUNK: Final = 1 << 16
_TLS_PORT: Final = 10000  # of Azure Managed Redis


class Switch(Protocol):
    """``hot`` is the tier; `stop` takes it away from every client, `start` gives it back at the same address."""

    how: str
    """What `stop` does, in words."""

    @property
    def hot(self) -> Entries: ...

    async def stop(self) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class HotProcess:
    """The embedded hot tier in a process of its own. `stop` kills it (SIGKILL), and all that it held is lost; `start` brings it back empty."""

    how = "its process was killed (SIGKILL): all that hot held was lost, and it came back empty"

    def __init__(self) -> None:
        self.hot: RemoteMemory = RemoteMemory(0)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process, on the port that it had before. Raises `TierUnavailable` if it does not come up."""
        module = "thermocline.cli.demo.hot_process"
        for _ in range(3):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # nothing of the current folder is imported
                "-m",
                module,
                str(self.hot.port),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            self._process = process
            assert process.stdout is not None
            line = b""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    line = await process.stdout.readline()
            if line.strip().isdigit():
                self.hot.port = int(line)
                return
            await self.stop()
        raise TierUnavailable(
            f"the hot process did not start; see why with: {sys.executable} -m {module}", tier="hot", sent=False
        )

    async def stop(self) -> None:
        """Kill the process and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.communicate()

    async def close(self) -> None:
        """End the process."""
        await self.stop()


class HotPort:
    """A port of this program's own on loopback that leads to a Redis elsewhere. `stop` shuts it and cuts every connection; the server itself is untouched.

    Towards a ``rediss://`` server the port speaks TLS, with the server's own name, so the certificate is checked as it always is.
    """

    how = "the port that leads to it was shut and its connections were cut; the server itself was left alone"

    def __init__(self, url: str) -> None:
        from thermocline.tiers.hot import HotMemory

        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss") or parts.hostname is None:
            raise ConfigurationError("--redis-url of the demo is redis://host:port or rediss://host:port")
        self._secure = parts.scheme == "rediss"
        self._host = parts.hostname
        self._upstream = parts.port or (_TLS_PORT if self._secure else 6379)
        self._parts = parts
        self._make = HotMemory
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        self.hot: HotMemory = HotMemory(url, cluster=False)

    async def start(self) -> None:
        """Open the port, the same one as before. Raises `TierUnavailable` if there is nothing to lead to."""
        try:
            async with asyncio.timeout(_PATIENCE):
                _, upstream = await self._reach()
        except OSError as error:
            why = "no answer" if isinstance(error, TimeoutError) else str(error)
            raise TierUnavailable(
                f"Redis at {self._host}:{self._upstream} cannot be reached: {why}; `thermocline doctor` says more",
                tier="hot",
                sent=False,
            ) from error
        upstream.transport.abort()
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self._port)
        if self._port == 0:
            self._port = self._server.sockets[0].getsockname()[1]
            user, at, _ = self._parts.netloc.rpartition("@")
            place = self._parts._replace(scheme="redis", netloc=f"{user}{at}127.0.0.1:{self._port}")
            self.hot.url = urlunsplit(place)

    async def stop(self) -> None:
        """Shut the port and cut the connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.stop()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context() if self._secure else None
        return await asyncio.open_connection(self._host, self._upstream, ssl=context)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_PATIENCE):
                back, upstream = await self._reach()
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, upstream))
                both.create_task(_pump(back, writer))
        except (OSError, TimeoutError, ExceptionGroup):
            pass  # the connection ends, as it would without us
        except asyncio.CancelledError:
            if self._server is not None:
                raise  # not our own `stop`
        finally:
            self._tasks.discard(task)
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Pass bytes on until the source ends, which ends the other direction too."""
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    raise ConnectionResetError("one side hung up")
