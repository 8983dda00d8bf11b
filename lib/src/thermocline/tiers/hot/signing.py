"""Signing connections in to Redis with what changes while they live: Entra tokens, and passwords from Key Vault.

A connection that signed in with an older value signs in again just before it is next used. On one that calls share (`Lanes`) the sign-in is one
more command in their order; on one that a call has alone nothing is ever sent between its command and its reply. Redis keeps the sign-in that a
connection has where it refuses a new one.
"""

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from thermocline.resilience import Rotating
from thermocline.tiers.hot.wire import hang_up, send

log = logging.getLogger("thermocline.hot")

T = TypeVar("T")
Login = tuple[str, ...]

_instead: Final[ContextVar[Login | None]] = ContextVar("thermocline_redis_login", default=None)


class SignIn:
    """redis-py's credential provider over `Rotating` logins, and the keeper of each connection's. ``refusal`` tells whether an exception of the SDK,
    or one behind it, means that the login was refused; ``broken`` are its exceptions of a connection that is gone."""

    def __init__(
        self,
        logins: Rotating[Login],
        *,
        refusal: Callable[[BaseException], bool],
        broken: tuple[type[BaseException], ...],
    ) -> None:
        self._logins = logins
        self._refusal = refusal
        self._broken = broken
        self._told = 0  # the generation of which it was logged that Redis refuses it
        self._signed: WeakKeyDictionary[Any, int] = (
            WeakKeyDictionary()
        )  # connection -> the generation it signed in with

    def __repr__(self) -> str:
        return f"<SignIn {self._logins!r}>"

    async def get_credentials_async(self) -> Login:
        """What redis-py signs a new connection in with."""
        instead = _instead.get()
        return instead if instead is not None else await self._logins.current()

    async def ready(self, connection: Any) -> None:
        """Have the connection open, alive, and signed in with the newest login. No command of a caller has been sent yet."""
        if connection.is_connected and await self._is_over(connection):
            await hang_up(connection)
        if not connection.is_connected:
            await self._connect(connection)
        elif self._signed.get(connection) != self._logins.generation:
            await self._again(connection)

    def is_newest(self, connection: Any) -> bool:
        """Whether it has signed in with the newest login, or was refused with it."""
        return self._signed.get(connection) == self._logins.generation

    async def newest(self) -> tuple[Login, int]:
        """The login that counts now, and its generation."""
        login = await self._logins.current()
        return login, self._logins.generation

    def note(self, connection: Any, generation: int) -> None:
        """This connection signs in with the login of that generation."""
        self._signed[connection] = generation

    def refused(self, generation: int) -> None:
        """A connection that is signed in was refused with a newer login: it keeps the one that it has, and if that ends, the connection does."""
        if self._told != generation:
            self._told = generation
            log.warning("Redis refuses the new login; connections go on with the one before")

    async def again(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """An attempt of redis-py itself, as to learn of a cluster's nodes, that may be made again: with the login before, or with a newer one."""
        seen = self._logins.generation
        try:
            return await attempt()
        except BaseException as error:
            if not self._refusal(error):
                raise
            before = self._logins.previous
            if before is None and not await self._logins.renew(seen):
                raise
        if before is None:
            return await attempt()
        token = _instead.set(before)
        try:
            return await attempt()
        except BaseException as error:
            if not self._refusal(error) or not await self._logins.renew(seen):
                raise
        finally:
            _instead.reset(token)
        return await attempt()

    async def _is_over(self, connection: Any) -> bool:
        """Whether the server has closed it meanwhile, as it does where a token runs out, or has said something that nobody asked for."""
        look = getattr(connection, "can_read", None) or connection.can_read_destructive  # the latter before redis-py 8
        try:
            return bool(await look())
        except self._broken:
            return True

    async def _connect(self, connection: Any) -> None:
        login = await self._logins.current()
        seen = self._logins.generation
        refused = await self._open(connection, login)
        if refused is not None:  # the login before may still count, or there may be a newer one
            before = self._logins.previous
            if before is not None and await self._open(connection, before) is None:
                self._signed[connection] = seen
                return
            if not await self._logins.renew(seen):
                raise refused
            login = await self._logins.current()
            seen = self._logins.generation
            refused = await self._open(connection, login)
            if refused is not None:
                raise refused
        self._signed[connection] = seen

    async def _open(self, connection: Any, login: Login) -> BaseException | None:
        """Open it with this login; returns the refusal, if it is refused. (Outside of an except block, so that no later error has it behind itself.)"""
        token = _instead.set(login)
        try:
            await connection.connect()
        except BaseException as error:
            await hang_up(connection)  # cancelled in between, redis-py would leave it half signed in
            if not self._refusal(error):
                raise
            return error
        finally:
            _instead.reset(token)
        return None

    async def _again(self, connection: Any) -> None:
        login = await self._logins.current()
        seen = self._logins.generation
        try:
            await send(connection, connection.pack_command("AUTH", *login))
            await connection.read_response(disconnect_on_error=False)
        except BaseException as error:
            if self._refusal(error):
                self._signed[connection] = seen
                self.refused(seen)
                return
            await hang_up(connection)
            if not isinstance(error, self._broken):
                raise
            await self._connect(connection)
        else:
            self._signed[connection] = seen
