"""What all parts of the hot tier share: the connection's life, and running scripts."""

import asyncio
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, Self

from thermocline import coherence, configured
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.codec import Codec
from thermocline.coherence import Times
from thermocline.errors import ClientClosed, InvalidArgument
from thermocline.model import Authority, MemoryTier
from thermocline.resilience import Rotating
from thermocline.telemetry import REQUESTS, Stats
from thermocline.tiers.hot.link import Link
from thermocline.tiers.hot.scripts import Script
from thermocline.tiers.hot.sdk import CredentialProvider, NoScript
from thermocline.tiers.hot.signing import Login
from thermocline.tiers.hot.unpacked import Unpacked
from thermocline.tiers.hot.wire import Command

CONNECTING: Final = 15.0  # seconds
MAX_VALUE_BYTES: Final = 1_000_000
_MS: Final = timedelta(milliseconds=1)


class HotBase:
    """See `HotMemory`."""

    tier = MemoryTier.HOT
    authority = Authority.HOT
    _together = True  # whether one command may have keys of several slots, as far as the server has said

    def __init__(
        self,
        url: str,
        *,
        max_connections: int | None = None,
        max_calls: int | None = None,
        socket_timeout: timedelta | float | None = None,
        socket_connect_timeout: timedelta | float | None = None,
        health_check_interval: timedelta | float | None = None,
        retry_on_timeout: bool | None = None,
        cluster: bool | None = None,
        credential_provider: CredentialProvider | Rotating[Login] | None = None,
        ceiling: timedelta | float = coherence.CEILING_MS * _MS,
        rest: timedelta | float = coherence.REST_MS * _MS,
        max_value_bytes: int = MAX_VALUE_BYTES,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        life = _duration(ceiling, "ceiling", least=_MS)
        kept = _duration(rest, "rest", least=timedelta())
        configured.whole(max_value_bytes, "HotMemory: max_value_bytes", least=0, unit="bytes", raises=InvalidArgument)
        configured.clock(clock, "HotMemory: clock", raises=InvalidArgument)
        for name, number in (("max_connections", max_connections), ("max_calls", max_calls)):
            if number is not None:
                configured.whole(number, f"HotMemory: {name}", least=1, raises=InvalidArgument)
        for name, on in (("cluster", cluster), ("retry_on_timeout", retry_on_timeout)):
            if on is not None:
                configured.switch(on, f"HotMemory: {name}", raises=InvalidArgument)
        self.stats = Stats()
        self._clock = clock
        self._script_clock: Clock | None = None  # a test's; else the server's own
        self._codec = Codec()
        self._unpacked = Unpacked()
        self._times = Times(kept // _MS, life // _MS)
        self._max_value = max_value_bytes
        self._entered: dict[
            tuple[str, str], int
        ] = {}  # scopes in their tenants' indexes, and when they were entered; oldest first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link = Link(
            url,
            max_connections=max_connections,
            max_calls=max_calls,
            socket_timeout=_seconds(socket_timeout, "socket_timeout"),
            socket_connect_timeout=_seconds(socket_connect_timeout, "socket_connect_timeout"),
            health_check_interval=_seconds(health_check_interval, "health_check_interval", least=timedelta()),
            cluster=cluster,
            credential_provider=credential_provider,
        )

    @property
    def url(self) -> str:
        """Where Redis is. Setting it counts from the next `connect`. Raises `ConfigurationError` for what cannot be used."""
        return self._link.url

    @url.setter
    def url(self, url: str) -> None:
        self._link.url = url

    @property
    def client(self) -> Any:
        """The ``redis.asyncio`` client; None before `connect`. One that is set here is used, and left open by `close`."""
        return self._link.client

    @client.setter
    def client(self, client: Any) -> None:
        self._link.give(client)

    @property
    def connected(self) -> bool:
        """Whether it is open: a client neither connects nor closes a tier that was opened before."""
        return self._loop is not None

    def pool(self) -> tuple[int, int] | None:
        """Calls under way to a server, and at most; None before `connect`, or of a client that was given. May be asked for from another thread."""
        return self._link.pool()

    async def connect(self) -> None:
        """Bind to the running loop and open the client, within 15 seconds. Idempotent.

        Raises `TierUnavailable` if Redis cannot be reached; the tier is bound all the same, and each call tries to open it. Raises
        `ClientClosed` if it is bound to another loop.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise ClientClosed("the hot tier belongs to another event loop: close it there, or make one per loop")
        self._loop = loop
        if self._link.client is None:
            await self._link.open(Deadline.after(CONNECTING, self._clock))

    async def close(self) -> None:
        """Close the connections that this tier opened. Idempotent; `connect` makes it usable again."""
        self._loop = None
        await self._link.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_loop", None) is not None and self._link.owned:
            _warn(f"unclosed {type(self).__name__} of {self._link.where}: await close()", ResourceWarning, source=self)

    async def ping(self, *, deadline: Deadline) -> None:
        """One PING. Raises `TierUnavailable` with what is wrong."""
        await self._call(("PING",), deadline)

    # --- sending -----------------------------------------------------------------------------------------------------

    def _enter(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            raise ClientClosed(
                "the hot tier is not connected, or belongs to another event loop: await connect() in this one"
            )

    async def _open(self, deadline: Deadline) -> None:
        self._enter()
        if self._link.client is None:
            await self._link.open(deadline)

    async def _call(self, command: Command, deadline: Deadline) -> Any:
        self._enter()
        self.stats.count(REQUESTS, self.tier)
        return await self._link.call(command, deadline)

    async def _call_many(self, commands: Sequence[tuple[bytes, Command]], deadline: Deadline) -> list[Any]:
        self._enter()
        self.stats.count(REQUESTS, self.tier, len(commands))
        return await self._link.call_many(commands, deadline)

    async def _run(self, script: Script, keys: int, words: Command, deadline: Deadline) -> Any:
        """Run a script; ``words`` are its ``keys`` keys and then its arguments."""
        try:
            return await self._call(("EVALSHA", script.sha, keys, *words), deadline)
        except NoScript:
            return await self._call(("EVAL", script.text, keys, *words), deadline)

    async def _run_many(self, runs: Sequence[tuple[Script, int, Command]], deadline: Deadline) -> list[Any]:
        """Many scripts, each with its number of keys and its words; each answers for itself."""
        answers = await self._call_many(
            [(_key(words), ("EVALSHA", script.sha, keys, *words)) for script, keys, words in runs], deadline
        )
        for each in (False, True):
            unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScript)]
            if unknown:
                again = self._taught([runs[i] for i in unknown], each=each)
                for i, answer in zip(unknown, await self._call_many(again, deadline), strict=True):
                    answers[i] = answer
        return answers

    def _taught(self, runs: Sequence[tuple[Script, int, Command]], *, each: bool) -> list[tuple[bytes, Command]]:
        """The same, with the scripts' texts: for each server with the first of each alone, since it hears them in order, or with ``each`` where that did
        not do: there are several servers behind its address, or several connections to it."""
        told: set[tuple[str, Script]] = set()
        commands: list[tuple[bytes, Command]] = []
        for script, keys, words in runs:
            teaching = self._link.place(_key(words)), script
            known = teaching in told and not each
            told.add(teaching)
            begins: Command = ("EVALSHA", script.sha) if known else ("EVAL", script.text)
            commands.append((_key(words), (*begins, keys, *words)))
        return commands

    def _now(self) -> bytes:
        """The time for a script: empty, so that it takes the server's."""
        return b"" if self._script_clock is None else b"%d" % self._script_clock.wall_ms()


def _duration(given: timedelta | float, name: str, *, least: timedelta | None) -> timedelta:
    return configured.duration(given, f"HotMemory: {name}", least=least, raises=InvalidArgument)


def _seconds(given: timedelta | float | None, name: str, *, least: timedelta | None = None) -> float | None:
    return None if given is None else _duration(given, name, least=least).total_seconds()


def _key(words: Command) -> bytes:
    key = words[0]
    assert isinstance(key, bytes)
    return key
