"""The door to redis-py, and its only importer: its clients and connections, and what its exceptions mean.

The SDK's own retries, time limits and maintenance notices are off: a call has its deadline.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

import redis.exceptions as sdk
from redis import sentinel as sync_sentinel
from redis.asyncio import ConnectionPool, Redis, RedisCluster, sentinel
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.maint_notifications import MaintNotificationsConfig

from thermocline.errors import ThermoclineError, TierTimeout
from thermocline.model import MemoryTier
from thermocline.resilience import Rotating
from thermocline.tiers.hot import trouble
from thermocline.tiers.hot.lane import Lane
from thermocline.tiers.hot.lanes import Dial
from thermocline.tiers.hot.signing import SignIn
from thermocline.tiers.hot.trouble import CrossSlot, Hint, NoScript
from thermocline.tiers.hot.wire import hang_up

_HOT: Final = MemoryTier.HOT

AskError = sdk.AskError
Forgotten = sdk.AuthenticationError  # the answer that the server does not know who we are
MovedError = sdk.MovedError
ResponseError = sdk.ResponseError
SlotNotCoveredError = sdk.SlotNotCoveredError
TryAgainError = sdk.TryAgainError
BROKEN: Final = (sdk.RedisError, OSError)  # what it raises where a connection is gone
UNUSABLE: Final = (ValueError, AttributeError, TypeError, sdk.RedisError)  # what it says of a URL that it cannot use


class Pool(ConnectionPool):
    """A pool whose further callers wait, first come first served, and that gives a connection back without waiting for anything itself: redis-py's
    own loses connections and wake-ups to callers that are cancelled at the wrong moment."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._free = asyncio.Semaphore(self.max_connections)
        provider = self.connection_kwargs.get("credential_provider")
        self._sign_in = provider if isinstance(provider, SignIn) else None

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> AbstractConnection:
        await self._free.acquire()
        try:
            connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            self._free.release()
            raise
        try:
            await (self.ensure_connection if self._sign_in is None else self._sign_in.ready)(connection)
        except BaseException:
            await hang_up(connection)
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        try:
            if connection.should_reconnect():  # type: ignore[no-untyped-call]
                await hang_up(connection)
        finally:
            self._in_use_connections.discard(connection)
            self._available_connections.append(connection)
            self._free.release()

    async def given_away(self) -> AbstractConnection:
        """A connection that is open and belongs to the caller from now on."""
        connection = await self.get_connection()
        self._in_use_connections.discard(connection)
        self._free.release()
        return connection


def usable(url: str, options: dict[str, Any]) -> bool:
    """Whether connections can be made of this URL and these options. Opens nothing."""
    with suppress(*UNUSABLE):  # what these say may repeat a part of the password
        Pool.from_url(url, max_connections=1, **options).make_connection()  # type: ignore[no-untyped-call]
        return True
    return False


def names_login(url: str) -> bool:
    """Whether a user or a password is in this URL; not, if it is none."""
    with suppress(*UNUSABLE):
        return not {"username", "password"}.isdisjoint(parse_url(url))
    return False


def signs_in(given: object) -> bool:
    """Whether connections can be signed in by this: a credential provider, or a login that changes."""
    if isinstance(given, type):
        return False
    return isinstance(given, Rotating) or callable(getattr(given, "get_credentials_async", None))


def options(**given: Any) -> dict[str, Any]:
    """What each connection is made with."""
    return {
        **given,
        "retry": Retry(NoBackoff(), 0),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "decode_responses": False,
    }


def server(url: str, most: int, options: dict[str, Any]) -> Any:
    """A client of one server. Opens nothing."""
    return Redis.from_pool(Pool.from_url(url, max_connections=most, **options))


async def is_cluster(client: Any) -> bool:
    """Ask the server. Closes the client where it fails, or where it is one."""
    try:
        found = await client.execute_command("INFO", "cluster")
    except sdk.NoPermissionError:
        return False  # who may not ask finds out by an answer of trouble.MOVED
    except BaseException:
        await client.aclose()
        raise
    there = bool((found if isinstance(found, dict) else {}).get("cluster_enabled"))
    if there:
        await client.aclose()
    return there


async def cluster(url: str, most: int, options: dict[str, Any]) -> Any:
    """A client of a cluster that knows its nodes. A node counts those under repair as well, so that twice as many may be there."""
    client = RedisCluster.from_url(url, **options, max_connections=2 * most, require_full_coverage=False)
    try:
        await client.initialize()
    except BaseException:
        await client.aclose()
        raise
    return client


def is_spread(client: Any) -> bool:
    """Whether it is a cluster's."""
    return isinstance(client, RedisCluster)


def dial(source: Any, sign_in: SignIn | None, *, reply_timeout: float | None = None, idle_at_most: float = 0.0) -> Dial:
    """How to reach the server of a pool, or a node of a cluster."""

    def make() -> Any:
        given = source.connection_kwargs
        return source.connection_class(**{**given, "retry": Retry(NoBackoff(), 0)})

    return Dial(make, _lane, source.get_encoder(), CAUGHT, is_refusal, sign_in, reply_timeout, idle_at_most)


def _lane(connection: Any) -> Lane:
    parse = connection._parser.parse_error  # noqa: SLF001 - knows what a cluster says, too
    return Lane(connection, parse=parse, forgotten=sdk.AuthenticationError, garbled=sdk.InvalidResponse)


def explain(error: Exception, where: str, *, sent: bool) -> ThermoclineError:
    """An exception of the SDK in our own words; ``sent``: whether the request may have reached the server."""
    if isinstance(error, ThermoclineError):
        return error
    if isinstance(error, sdk.NoScriptError):
        return NoScript("Redis does not know the script yet", tier=_HOT, sent=False)
    if isinstance(error, TimeoutError | sdk.TimeoutError):
        return TierTimeout(f"Redis at {where} did not answer in time", tier=_HOT, sent=sent)
    text = str(error)
    if text.startswith("CROSSSLOT") or isinstance(error, sdk.ClusterCrossSlotError):
        return CrossSlot(f"Redis at {where} has these keys in several places ({text})", tier=_HOT, sent=False)
    meant = trouble.by_reply(text)
    if meant is not None:
        return meant.made(f"Redis at {where}: {meant.text} ({text})", sent=False)
    hint = next((MEANINGS[kind] for kind in type(error).__mro__ if kind in MEANINGS), trouble.UNEXPECTED)
    if hint is trouble.BROKEN:
        hint = trouble.network(error)
    refused = isinstance(error, sdk.ResponseError) or hint.refused
    return hint.made(f"Redis at {where}: {hint.text} ({text or type(error).__name__})", sent=sent and not refused)


MEANINGS: Final[dict[type[BaseException], Hint]] = {
    sdk.RedisError: trouble.UNEXPECTED,
    sdk.ConnectionError: trouble.BROKEN,
    OSError: trouble.BROKEN,
    sdk.TimeoutError: trouble.TIMED_OUT,
    TimeoutError: trouble.TIMED_OUT,
    sdk.AuthenticationError: trouble.DENIED,
    sdk.AuthenticationWrongNumberOfArgsError: trouble.DENIED,
    sdk.AuthorizationError: trouble.DENIED,
    sdk.ExternalAuthProviderError: trouble.DENIED,
    sdk.NoPermissionError: trouble.FORBIDDEN,
    sdk.BusyLoadingError: trouble.LOADING,
    sdk.MaxConnectionsError: trouble.BUSY_POOL,
    sdk.OutOfMemoryError: trouble.FULL,
    sdk.ReadOnlyError: trouble.READONLY,
    sdk.ClusterError: trouble.CLUSTER,
    sdk.ClusterDownError: trouble.CLUSTER,
    sdk.MasterDownError: trouble.CLUSTER,
    sdk.TryAgainError: trouble.CLUSTER,
    sdk.RedisClusterException: trouble.UNREACHED,
    sdk.SlotNotCoveredError: trouble.CLUSTER,
    sdk.AskError: trouble.MOVED,
    sdk.MovedError: trouble.MOVED,
    sdk.ClusterCrossSlotError: trouble.UNEXPECTED,
    sdk.CrossSlotTransactionError: trouble.UNEXPECTED,
    sdk.InvalidPipelineStack: trouble.UNEXPECTED,
    sdk.IncorrectPolicyType: trouble.UNEXPECTED,
    sdk.ResponseError: trouble.UNEXPECTED,
    sdk.NoScriptError: trouble.UNEXPECTED,
    sdk.ExecAbortError: trouble.UNEXPECTED,
    sdk.ModuleError: trouble.UNEXPECTED,
    sdk.NoSuchFieldsetError: trouble.UNEXPECTED,
    sdk.DataError: trouble.UNEXPECTED,
    sdk.PubSubError: trouble.UNEXPECTED,
    sdk.WatchError: trouble.UNEXPECTED,
    sdk.LockError: trouble.UNEXPECTED,
    sdk.LockNotOwnedError: trouble.UNEXPECTED,
    sdk.InvalidResponse: trouble.NOT_REDIS,
    sdk.ChildDeadlockedError: trouble.UNEXPECTED,
    sentinel.MasterNotFoundError: trouble.UNREACHED,
    sentinel.SlaveNotFoundError: trouble.UNREACHED,
    sync_sentinel.MasterNotFoundError: trouble.UNREACHED,
    sync_sentinel.SlaveNotFoundError: trouble.UNREACHED,
}
"""Every exception class of the SDK; tests/integration/test_hot_errors.py fails when it grows one."""

CAUGHT: Final = (sdk.RedisError, sdk.RedisClusterException, sdk.ChildDeadlockedError, sdk.IncorrectPolicyType, OSError)


def is_refusal(error: BaseException) -> bool:
    """Whether the server refused who we are; a cluster's client tells so in what lies behind its exception."""
    behind: BaseException | None = error if isinstance(error, Exception) else None  # a cancelled call is nothing else
    while behind is not None and not isinstance(behind, sdk.AuthenticationError):
        behind = behind.__cause__ or behind.__context__
    return behind is not None


def sign_in(logins: Any) -> SignIn:
    """The keeper of connections whose login changes."""
    return SignIn(logins, refusal=is_refusal, broken=BROKEN)


__all__ = ["CAUGHT", "MEANINGS", "CredentialProvider", "NoScript", "Pool"]
