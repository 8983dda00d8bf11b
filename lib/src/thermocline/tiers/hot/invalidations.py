"""Hearing from Redis what changes: over a connection of its own to each server that holds keys, for a near cache.

``CLIENT TRACKING`` in broadcasting mode tells of every name below the cascade's prefix. Where a server refuses it, keyspace notifications do, if it is set up
to send them. Which of the two it is, is not concluded from what the server says of itself: a name is written over another connection, and has to be told.

One connection that breaks, a server that is no primary any more, or a cluster that was changed, voids everything, and all connections are made anew.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection
from contextvars import Context
from datetime import timedelta
from typing import Any, Final

from thermocline.clock import Clock, Deadline
from thermocline.errors import ThermoclineError
from thermocline.keys import REDIS_PREFIX, redis_key
from thermocline.model import Key
from thermocline.protocols import Ear
from thermocline.tiers.hot.base import HotBase
from thermocline.tiers.hot.link import Link
from thermocline.tiers.hot.records import record_key
from thermocline.tiers.hot.sdk import CAUGHT, Forgotten, ResponseError
from thermocline.tiers.hot.signing import SignIn
from thermocline.tiers.hot.wire import Command, hang_up, send

log = logging.getLogger("thermocline.hot")

PATIENCE: Final = 5.0  # seconds that a server may take for an answer, and for a connection
FIRST_PAUSE: Final = 0.1  # seconds before connections are made anew; doubled each time
LONGEST_PAUSE: Final = 5.0
REFUSED_PAUSE: Final = 60.0  # ... where the servers refuse to tell
BEATS: Final = 4  # times within the bound that a server is asked whether it is heard
TRIED: Final = 500  # names, before others have a turn
PROBES: Final = 3  # questions after which what was written must have been told
_LEFT_MS: Final = 60_000  # until a probe goes by itself; longer than its trial, since the removal of what has ended already is not told

TRACKING: Final = "tracking"
KEYSPACE: Final = "keyspace notifications"
_CHANNEL: Final = b"__keyspace@"
_PATTERN: Final = _CHANNEL + b"*__:" + REDIS_PREFIX + b"*"
_EPOCH: Final = b"cluster_current_epoch:"
_PROBE: Final = REDIS_PREFIX + b"%%/%b}"  # no key is named so: a percent sign stands before two digits


class HotInvalidations(HotBase):
    """See `HotMemory`."""

    _epoch = b""

    def name_of(self, key: Key, *, record: bool) -> bytes:
        return record_key(key) if record else redis_key(key) + self._epoch

    def listen(self, ear: Ear, *, clock: Clock, within: timedelta) -> "Listening":
        return Listening(self._link, self._enter, ear, clock, within.total_seconds() / BEATS)


class _Refused(Exception):
    """A server does not tell of changes; ``args[0]`` says why."""


class _Changed(Exception):
    """Which servers there are, or what they are, is not what it was."""


class Listening:
    """See `thermocline.protocols.Listening`. ``enter`` raises while the tier is closed; ``every``: seconds between two questions to a server."""

    def __init__(self, link: Link, enter: Callable[[], None], ear: Ear, clock: Clock, every: float) -> None:
        self.how = ""
        self.why = ""
        self._link = link
        self._enter = enter
        self._ear = ear
        self._clock = clock
        self._every = every
        self._wanted = 0
        self._told: dict[str, float] = {}  # by server: until when all that changed there was told
        link.strays.add(ear.changed)  # what is asked where a slot is going to: nobody may be listened to there yet
        loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = loop.create_task(
            self._run(), name="thermocline invalidations", context=Context()
        )

    async def close(self) -> None:
        self._link.strays.discard(self._ear.changed)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def hears(self, name: bytes) -> bool:
        if not self.how:
            return False
        if not self._link.spread:
            return True
        client = self._link.client
        try:
            node = client.nodes_manager.get_node_from_slot(client.keyslot(name))
        except CAUGHT:
            return False
        return node.name in self._told

    # --- all servers -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            began = self._clock.monotonic()
            try:
                await self._hear()
            except* _Refused as refused:
                pause = REFUSED_PAUSE
                self._refused(refused)
            except* (_Changed, ThermoclineError, *CAUGHT) as broken:
                log.debug(
                    "the near cache hears of changes no more: %s", [type(one).__name__ for one in broken.exceptions]
                )
                if self.how and self._clock.monotonic() - began > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
            except* Exception:  # an SDK's bug must not end the listening unseen
                log.exception(
                    "the near cache stopped hearing of changes in a way that it should not; it is tried again"
                )
            finally:
                self.how = ""
                self._told.clear()
                self._ear.changed(None)
            if self._task is None:  # closed: a group whose tasks have failed, too, hides that it was cancelled
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _refused(self, refused: BaseExceptionGroup[_Refused]) -> None:
        first: BaseException = refused
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if str(first) != self.why:
            self.why = str(first)
            log.warning("the near cache stays empty: %s", self.why)

    async def _hear(self) -> None:
        """Until a connection breaks."""
        self._enter()
        names = await self._link.nodes(self._soon())
        self._wanted = len(names)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._hear_one(name))

    def _soon(self) -> Deadline:
        return Deadline.after(PATIENCE, self._clock)

    def _tell(self, name: str, until: float) -> None:
        self._told[name] = until
        if len(self._told) == self._wanted:
            self._ear.told(min(self._told.values()))

    # --- one server --------------------------------------------------------------------------------------------------

    async def _hear_one(self, name: str) -> None:
        wire, how = await self._begin(name)
        try:
            beat, usual = await self._beat_of(wire)
            self.how, self.why = how, ""
            while True:
                sent = self._clock.monotonic()
                await wire.sign_in_again()
                if _word(await wire.ask(*beat)) != usual:
                    raise _Changed
                self._tell(name, sent)
                await wire.listen(self._every)
        finally:
            await wire.close()

    async def _begin(self, name: str) -> tuple["_Wire", str]:
        """A connection by which the server tells of changes, as was tried, and how it does."""
        whys: list[str] = []
        for how, protocol, words in (
            (TRACKING, 3, ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", REDIS_PREFIX)),
            (KEYSPACE, 2, ("PSUBSCRIBE", _PATTERN)),
        ):
            wire = _Wire(self._link.client, name, protocol, self._ear.changed)
            try:
                why = await self._try(wire, name, how, words)
                if why is None:
                    return wire, how
            except BaseException:
                await wire.close()
                raise
            await wire.close()
            whys.append(f"{how}: {why}")
        raise _Refused(f"Redis at {self._link.where} does not tell this client of changes ({'; '.join(whys)})")

    async def _try(self, wire: "_Wire", name: str, how: str, words: Command) -> str | None:
        """None: a change was told. Else why not."""
        try:
            await wire.open()
        except ResponseError as error:  # it does not know HELLO
            return f"refused ({error})"
        if how == TRACKING:
            answer = await wire.ask(*words)
            if isinstance(answer, Exception):
                return f"refused ({answer})"
        else:
            await wire.say(*words)
        probe = await self._probe(name)
        changes: tuple[Command, ...] = (("SET", probe, b"", "PX", _LEFT_MS), ("UNLINK", probe))
        for change in changes:
            wire.watched, wire.seen = probe, False
            await self._link.call_node(name, change, self._soon())
            for turn in range(PROBES):
                answer = await wire.ask("PING")
                if isinstance(answer, Exception):
                    return f"refused ({answer})"
                if wire.seen:
                    break
                await wire.listen(FIRST_PAUSE * turn)
            else:
                return f"{change[0]!r} of a name was not told"
        wire.watched = None
        return None

    async def _probe(self, name: str) -> bytes:
        """A name that lies on this server, and is no key's. Raises `_Changed` if, meanwhile, the server has no slots any more."""
        while True:
            client = self._link.client
            if self._link.spread and name not in {nodes[0].name for nodes in client.nodes_manager.slots_cache.values()}:
                raise _Changed
            for _ in range(TRIED):
                probe = _PROBE % secrets.token_hex(8).encode()
                if not self._link.spread or client.nodes_manager.get_node_from_slot(client.keyslot(probe)).name == name:
                    return probe
            await asyncio.sleep(0)

    async def _beat_of(self, wire: "_Wire") -> tuple[Command, bytes]:
        """What the server is asked all the time, and what it answers as long as it is what it was: of a cluster its epoch, else that it is a primary."""
        questions: list[Command] = [("PING",)]
        if self._link.spread:
            questions = [("CLUSTER", "INFO")]
        elif not wire.subscribed:
            questions = [("ROLE",), ("PING",)]
        why: object = None
        for question in questions:
            answer = await wire.ask(*question)
            if not isinstance(answer, Exception):
                return question, _word(answer)
            why = answer
        raise _Refused(f"Redis at {self._link.where} refuses {questions[-1][0]!r} ({why})")


def _word(answer: Any) -> bytes:
    """What of an answer has to stay the same. Raises what the server answers instead, and `_Changed` where it says that it is no use now."""
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, list):  # ROLE, or a subscriber's PING
        if answer[0] not in (b"master", b"pong"):
            raise _Changed
        return bytes(answer[0])
    text = bytes(answer)
    if _EPOCH in text:
        if b"cluster_state:ok" not in text:
            raise _Changed
        return text.partition(_EPOCH)[2].split(maxsplit=1)[0]
    return text


class _Pushed:
    """What the server says unasked."""

    __slots__ = ("words",)

    def __init__(self, words: Any) -> None:
        self.words = words


class _Wire:
    """One connection of the SDK, used here alone. ``watched``: a name of which ``seen`` says whether it was told."""

    def __init__(
        self, client: Any, node: str, protocol: int, changed: Callable[[Collection[bytes] | None], None]
    ) -> None:
        place = client.get_node(node_name=node) if node else client.connection_pool
        given = {**place.connection_kwargs, "protocol": protocol, "socket_timeout": None, "health_check_interval": 0}
        self._sign_in = given.get("credential_provider")
        self._connection: Any = place.connection_class(**given)
        self._changed = changed
        self.subscribed = protocol == 2
        self.watched: bytes | None = None
        self.seen = False

    async def open(self) -> None:
        connection = self._connection
        async with asyncio.timeout(PATIENCE):
            await (self._sign_in.ready(connection) if isinstance(self._sign_in, SignIn) else connection.connect())
        if not self.subscribed:
            parser = connection._parser  # noqa: SLF001 - the SDK's own subscriber does so, too
            parser.set_pubsub_push_handler(_pushed)
            parser.set_invalidation_push_handler(_pushed)

    async def close(self) -> None:
        await hang_up(self._connection)

    async def say(self, *words: Any) -> None:
        connection = self._connection
        if not connection.is_connected:
            raise ConnectionResetError("the connection is gone")
        await send(connection, connection.pack_command(*words))

    async def ask(self, *words: Any) -> Any:
        """The answer to a command; what is pushed before it has been told by then. Of an error it is the exception."""
        async with asyncio.timeout(PATIENCE):
            await self.say(*words)
            while True:
                found = await self._read()
                if not isinstance(found, _Pushed):
                    return found
                self._take(found.words)

    async def listen(self, seconds: float) -> None:
        """Tell of what is pushed, for so long."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    found = await self._read()
                    if isinstance(found, _Pushed):
                        self._take(found.words)
        except TimeoutError:
            return

    async def sign_in_again(self) -> None:
        """With a newer login, if there is one; else it keeps the one that it has, for as long as the server lets it."""
        sign_in, connection = self._sign_in, self._connection
        if isinstance(sign_in, SignIn) and not sign_in.is_newest(connection):
            login, generation = await sign_in.newest()
            sign_in.note(connection, generation)
            if isinstance(await self.ask("AUTH", *login), Exception):
                sign_in.refused(generation)

    async def _read(self) -> Any:
        found: Any
        try:
            found = await self._connection.read_response(
                disable_decoding=True, disconnect_on_error=False, push_request=True
            )
        except (ResponseError, Forgotten) as error:
            return error
        if self.subscribed and isinstance(found, list) and found[0] != b"pong":
            return _Pushed(found)
        return found

    def _take(self, words: Any) -> None:
        if words[0] == b"invalidate":
            names = words[1]
        elif words[0] == b"pmessage":
            names = [words[2].partition(b"__:")[2]]
        else:
            return
        if self.watched is not None and names is not None and self.watched in names:
            self.seen = True
        self._changed(names)


async def _pushed(words: Any) -> _Pushed:
    return _Pushed(words)
