"""Work that goes on while secrets and tokens change, and a hand on Redis' ACL."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from thermocline.testing.rig import RedisServer

WORKERS = 8


class Door:
    """What the ACL of some servers takes for one user."""

    def __init__(self, servers: Iterable[RedisServer], user: str) -> None:
        self._servers = tuple(servers)
        self.user = user

    def only(self, *passwords: str) -> None:
        """Take these and nothing else. Connections that are signed in stay so, as Redis has it."""
        for server in self._servers:
            with server.connection() as connection:
                words = [f">{password}" for password in passwords]
                connection.call("ACL", "SETUSER", self.user, "on", "resetpass", *words, "~*", "&*", "+@all")

    async def throw_out(self) -> int:
        """Close the connections of the user; how many there were. By the end the event loop has seen it."""
        return await asyncio.to_thread(self._throw_out)

    def _throw_out(self) -> int:
        found = 0
        for server in self._servers:
            with server.connection() as connection:
                closed = connection.call("CLIENT", "KILL", "USER", self.user)
                assert isinstance(closed, int)
                found += closed
        return found

    def forget(self) -> None:
        for server in self._servers:
            with server.connection() as connection:
                connection.call("ACL", "DELUSER", self.user)


class Load:
    """Workers that call until they are told to stop. `failed` are the errors that they met."""

    def __init__(self, work: Callable[[int, int], Awaitable[None]]) -> None:
        self._work = work
        self._go = asyncio.Event()
        self._go.set()
        self._running = 0
        self._changed = asyncio.Condition()
        self._stop = False
        self.done = 0
        self.failed: list[BaseException] = []

    async def reach(self, more: int) -> None:
        """Wait until this many further calls have ended."""
        goal = self.done + more
        async with self._changed:
            await self._changed.wait_for(lambda: self.done >= goal or bool(self.failed))

    async def pause(self) -> None:
        """Let nobody begin a call, and wait until no call is under way."""
        self._go.clear()
        async with self._changed:
            await self._changed.wait_for(lambda: self._running == 0)

    def resume(self) -> None:
        self._go.set()

    async def _worker(self, number: int) -> None:
        turn = 0
        while not self._stop:
            await self._go.wait()
            self._running += 1
            try:
                await self._work(number, turn)
            except Exception as error:  # noqa: BLE001 - none may be lost; the test looks at them
                self.failed.append(error)
            self._running -= 1
            turn += 1
            async with self._changed:
                self.done += 1
                self._changed.notify_all()

    async def during(self, script: Callable[["Load"], Awaitable[None]]) -> None:
        """Work while the script runs."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(WORKERS):
                tasks.create_task(self._worker(number))
            try:
                await script(self)
            finally:
                self._stop = True
                self._go.set()


async def until(true: Callable[[], bool]) -> None:
    """Wait for what happens in the background; the test's own time limit ends it."""
    while not true():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.005)
