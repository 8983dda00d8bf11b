"""The door to redis-py, and its only importer: connections, commands, and what its exceptions mean.

Commands go over a connection that is theirs alone from the first byte sent to the last byte read; a call that is cancelled or times out in between closes it,
so no reply is ever read by another caller (P10). The SDK's own retries, time limits and maintenance notices are off: a call has its deadline.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import redis.exceptions as sdk
from redis import sentinel as sync_sentinel
from redis.asyncio import ConnectionPool, Redis, RedisCluster, sentinel
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.maint_notifications import MaintNotificationsConfig

from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError, ThermoclineError, TierTimeout
from thermocline.model import MemoryTier
from thermocline.resilience import Rotating
from thermocline.tiers.hot import talk, trouble
from thermocline.tiers.hot.lookout import Lookout
from thermocline.tiers.hot.signing import Login, SignIn
from thermocline.tiers.hot.trouble import Hint, NoScript
from thermocline.tiers.hot.wire import Command, key_of, seconds_left

T = TypeVar("T")
CONNECTIONS: Final = 50  # at most; further callers wait for one
PIPELINE: Final = 500  # commands at most that are sent before the first reply is read
REDIRECTIONS: Final = 6  # that a command follows through a cluster which is being changed
PAUSE: Final = 0.01  # seconds before a command is tried again whose keys are just moving; doubled each time

_HOT: Final = MemoryTier.HOT


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
            await connection.disconnect(nowait=True)
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        try:
            if connection.should_reconnect():  # type: ignore[no-untyped-call]
                await connection.disconnect(nowait=True)
        finally:
            self._in_use_connections.discard(connection)
            self._available_connections.append(connection)
            self._free.release()

    @property
    def in_use(self) -> int:
        return len(self._in_use_connections)


class Talk(talk.Talk):
    answered = sdk.ResponseError
    forgotten = sdk.AuthenticationError


class Link:
    """One client of redis-py, its own or one that it was given, and the two ways to send: one command, or many with one answer each."""

    def __init__(
        self,
        url: str,
        *,
        max_connections: int | None = None,
        socket_timeout: float | None = None,
        socket_connect_timeout: float | None = None,
        health_check_interval: int | None = None,
        cluster: bool | None = None,
        credential_provider: CredentialProvider | Rotating[Login] | None = None,
    ) -> None:
        self.cluster = cluster
        self._sign_in: SignIn | None = None
        if isinstance(credential_provider, Rotating):
            self._sign_in = SignIn(credential_provider, refusal=_is_refusal, broken=(sdk.RedisError, OSError))
        self.client: Any = None
        self.owned = False
        self._most = max_connections or CONNECTIONS
        self._options: dict[str, Any] = {
            "socket_timeout": socket_timeout,
            "socket_connect_timeout": socket_connect_timeout,
            "health_check_interval": health_check_interval or 0,
            "credential_provider": self._sign_in if self._sign_in is not None else credential_provider,
            "retry": Retry(NoBackoff(), 0),
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        self._lookout = Lookout(CAUGHT)
        self.url = url
        self.unbind()

    @property
    def url(self) -> str:
        return self._url

    @url.setter
    def url(self, url: str) -> None:
        usable = False
        with suppress(ValueError, AttributeError, TypeError):  # what these say may repeat a part of the password
            parse_url(url)
            usable = True
        if not usable:
            raise ConfigurationError(
                "not a Redis URL, such as redis://host:6379/0 or rediss://host:10000 (in a password, write special characters as %XX)"
            )
        self._url = url
        self.where = urlsplit(url).netloc.rpartition("@")[2] or "the socket"

    def unbind(self) -> None:
        """Belong to no event loop; the next to use it is its loop."""
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(self._most)  # for a cluster, whose nodes' pools raise instead of waiting

    async def open(self, deadline: Deadline) -> None:
        """Make the client. Unless ``cluster`` was given, the server is asked. Raises `TierUnavailable`; then call it again later."""
        async with self._opening:
            if self.client is None:
                try:
                    async with asyncio.timeout(seconds_left(deadline)):
                        self.client = await self._twice(self._make)
                except CAUGHT as error:
                    raise self.explain(error, sent=False) from trouble.behind(error)
                self.owned = True

    def pool(self) -> tuple[int, int] | None:
        """Connections in use, and how many there may be; None of a client that is not this link's own."""
        if self.client is None or not self.owned:
            return None
        if isinstance(self.client, RedisCluster):
            nodes = self.client.get_nodes()
            return sum(len(node._connections) - len(node._free) for node in nodes), self._most  # noqa: SLF001 - nothing else says it
        return self.client.connection_pool.in_use, self._most

    def give(self, client: Any) -> None:
        """Use this client, and do not close it."""
        self.client = client
        self.owned = False

    @property
    def spread(self) -> bool:
        """Whether keys lie on several nodes."""
        return isinstance(self.client, RedisCluster)

    async def close(self) -> None:
        """Close the client, unless it was given."""
        client, self.client = self.client, None
        await self._lookout.close()
        if client is not None and self.owned:
            await client.aclose()
        self.owned = False
        self.unbind()

    async def _twice(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await attempt() if self._sign_in is None else await self._sign_in.again(attempt)

    async def _make(self) -> Any:
        if self.cluster:
            return await self._make_cluster()
        pool = Pool.from_url(self._url, max_connections=self._most, decode_responses=False, **self._options)
        client: Any = Redis.from_pool(pool)
        if self.cluster is None:
            try:
                found = await client.execute_command("INFO", "cluster")
            except sdk.NoPermissionError:
                return client  # who may not ask finds out by an answer of trouble.MOVED
            except BaseException:
                await client.aclose()
                raise
            if (found if isinstance(found, dict) else {}).get("cluster_enabled"):
                await client.aclose()
                return await self._make_cluster()
        return client

    async def _make_cluster(self) -> Any:
        most = 2 * self._most  # the semaphore lets fewer in; a node counts those under repair as well
        options = {**self._options, "max_connections": most, "require_full_coverage": False, "decode_responses": False}
        client = RedisCluster.from_url(self._url, **options)
        try:
            await client.initialize()
        except BaseException:
            await client.aclose()
            raise
        return client

    # --- sending -----------------------------------------------------------------------------------------------------

    async def call(self, command: Command, deadline: Deadline) -> Any:
        """Send one command. Raises `TierUnavailable`, and `NoScript` where a script is not known to the server."""
        client = self.client
        if client is None:
            await self.open(deadline)
            client = self.client
        if isinstance(client, RedisCluster):
            answer = (await self.call_many([(key_of(command), command)], deadline))[0]
            if isinstance(answer, ThermoclineError):
                raise answer
            return answer
        seconds = seconds_left(deadline)
        said = Talk()
        try:
            async with asyncio.timeout(seconds):
                if self._sign_in is None:
                    return await said.plainly(client.connection_pool, command)
                await said.over(client, None, [command], self._sign_in)
        except CAUGHT as error:
            raise self.explain(error, sent=said.sent) from trouble.behind(error)
        reply = said.replies[0]
        if isinstance(reply, Exception):
            raise self.explain(reply, sent=True) from reply
        return reply

    async def nodes(self, deadline: Deadline) -> list[str]:
        """The names of the servers that hold keys, in order; of a single server, "" alone. Raises `TierUnavailable`."""
        if self.client is None:
            await self.open(deadline)
        client = self.client
        if not isinstance(client, RedisCluster):
            return [""]
        try:
            async with asyncio.timeout(seconds_left(deadline)):
                await self._twice(client.nodes_manager.initialize)
        except CAUGHT as error:
            raise self.explain(error, sent=False) from trouble.behind(error)
        return sorted(node.name for node in client.get_primaries())

    async def call_node(self, name: str, command: Command, deadline: Deadline) -> Any:
        """Send a command that is about no key to one of `nodes`. Raises `TierUnavailable`."""
        client = self.client
        if not isinstance(client, RedisCluster):
            return await self.call(command, deadline)
        answers: list[Any] = [None]
        await self._send(client, client.get_node(node_name=name), [0], [(b"", command)], answers, deadline)
        if isinstance(answers[0], ThermoclineError):
            raise answers[0]
        return answers[0]

    async def call_many(self, commands: Sequence[tuple[bytes, Command]], deadline: Deadline) -> list[Any]:
        """Send many commands, each with its key, in as few round trips as there are nodes. Each answers for itself: an error stands in its place."""
        answers: list[Any] = [None] * len(commands)
        try:
            if self.client is None:
                await self.open(deadline)
            client, seconds = self.client, seconds_left(deadline)
            async with asyncio.timeout(seconds):
                groups = await self._by_node(client, [key for key, _ in commands], answers, deadline)
        except (*CAUGHT, ThermoclineError) as error:
            return [self.explain(error, sent=False)] * len(commands)
        chunks = [(node, at[i : i + PIPELINE]) for node, at in groups for i in range(0, len(at), PIPELINE)]
        if len(chunks) == 1:
            await self._send(client, *chunks[0], commands, answers, deadline)
        else:
            async with asyncio.TaskGroup() as tasks:
                for node, at in chunks:
                    tasks.create_task(self._send(client, node, at, commands, answers, deadline))
        return answers

    async def _by_node(
        self, client: Any, keys: list[bytes], answers: list[Any], deadline: Deadline
    ) -> list[tuple[Any, list[int]]]:
        """The nodes (None: the only one) and the places of the commands that go there."""
        if not isinstance(client, RedisCluster):
            return [(None, list(range(len(keys))))] if keys else []
        await self._twice(client.initialize)
        if self._lookout.stale:
            await self._lookout.look(lambda: self._twice(client.nodes_manager.initialize), deadline)
        groups: dict[str, tuple[Any, list[int]]] = {}
        for i, key in enumerate(keys):
            try:
                node = client.nodes_manager.get_node_from_slot(client.keyslot(key))
            except sdk.SlotNotCoveredError as error:
                answers[i] = self.explain(error, sent=False)
                self._lookout.stale = True
            else:
                groups.setdefault(node.name, (node, []))[1].append(i)
        return list(groups.values())

    async def _send(
        self,
        client: Any,
        node: Any,
        at: list[int],
        commands: Sequence[tuple[bytes, Command]],
        answers: list[Any],
        deadline: Deadline,
    ) -> None:
        """Send the commands at these places to one node, and put the answers there. Raises nothing but cancellation."""
        said = Talk()
        try:
            seconds = seconds_left(deadline)
            async with asyncio.timeout(seconds), self._slots:
                await said.over(client, node, [commands[i][1] for i in at], self._sign_in)
        except (*CAUGHT, ThermoclineError) as error:
            self._lookout.stale = node is not None
            explained = self.explain(error, sent=said.sent)
            for i in at[len(said.replies) :]:
                answers[i] = explained
        for i, reply in zip(at, said.replies, strict=False):
            if node is not None and isinstance(reply, sdk.AskError | sdk.TryAgainError):  # trouble.MOVED is an ASK, too
                answers[i] = await self._follow(client, *commands[i], reply, deadline)
            else:
                answers[i] = self.explain(reply, sent=True) if isinstance(reply, Exception) else reply

    async def _follow(
        self, client: Any, key: bytes, command: Command, error: sdk.ResponseError, deadline: Deadline
    ) -> Any:
        """Send a command where the cluster says that its key is now. (redis-py sends ASKING and the command on two connections.)"""
        manager = client.nodes_manager
        for turn in range(REDIRECTIONS):
            said = Talk()
            words: list[Command] = [command]
            try:
                seconds = seconds_left(deadline)
                async with asyncio.timeout(seconds), self._slots:
                    if isinstance(error, sdk.MovedError):
                        await manager.move_slot(error)
                        self._lookout.stale = True
                    node = manager.get_node_from_slot(client.keyslot(key))
                    if isinstance(error, sdk.TryAgainError):
                        await asyncio.sleep(PAUSE * 2**turn)
                    elif isinstance(error, sdk.AskError) and not isinstance(error, sdk.MovedError):
                        words.insert(0, ("ASKING",))
                        if client.get_node(error.host, error.port) is None:
                            await self._twice(manager.initialize)
                        node = client.get_node(error.host, error.port) or node
                    await said.over(client, node, words, self._sign_in)
            except (*CAUGHT, ThermoclineError) as broken:
                return self.explain(broken, sent=said.sent)
            reply = said.replies[-1]
            if not isinstance(reply, sdk.AskError | sdk.TryAgainError):
                return self.explain(reply, sent=True) if isinstance(reply, Exception) else reply
            error = reply
        return self.explain(error, sent=False)

    def explain(self, error: Exception, *, sent: bool) -> ThermoclineError:
        """An exception of the SDK in our own words; ``sent``: whether the request may have reached the server."""
        if isinstance(error, ThermoclineError):
            return error
        if isinstance(error, sdk.NoScriptError):
            return NoScript("Redis does not know the script yet", tier=_HOT, sent=False)
        if isinstance(error, TimeoutError | sdk.TimeoutError):
            return TierTimeout(f"Redis at {self.where} did not answer in time", tier=_HOT, sent=sent)
        text = str(error)
        meant = trouble.by_reply(text)
        if meant is not None:
            return meant.made(f"Redis at {self.where}: {meant.text} ({text})", sent=False)
        hint = next((MEANINGS[kind] for kind in type(error).__mro__ if kind in MEANINGS), trouble.UNEXPECTED)
        if hint is trouble.BROKEN:
            hint = trouble.network(error)
        refused = isinstance(error, sdk.ResponseError) or hint.refused
        return hint.made(
            f"Redis at {self.where}: {hint.text} ({text or type(error).__name__})", sent=sent and not refused
        )


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


def _is_refusal(error: BaseException) -> bool:
    """Whether the server refused who we are; a cluster's client tells so in what lies behind its exception."""
    behind: BaseException | None = error if isinstance(error, Exception) else None  # a cancelled call is nothing else
    while behind is not None and not isinstance(behind, sdk.AuthenticationError):
        behind = behind.__cause__ or behind.__context__
    return behind is not None


__all__ = ["CAUGHT", "MEANINGS", "Command", "CredentialProvider", "Link", "NoScript", "Pool"]
