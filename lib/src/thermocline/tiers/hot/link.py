"""Sending to Redis: which server has a key, over which connections, and what a cluster says where keys have moved.

The tier's own client shares a few connections among all calls (`Lanes`). A client that was given has its commands over a connection that is theirs alone
from the first byte sent to the last byte read (`Talks`), and so has everything where hiredis is not installed. Either way no reply is ever read by
another caller (P10).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError, ThermoclineError
from thermocline.resilience import Rotating
from thermocline.tiers.hot import sdk, trouble
from thermocline.tiers.hot.lane import THERE, Said
from thermocline.tiers.hot.lanes import CALLS, Lanes
from thermocline.tiers.hot.lookout import Lookout
from thermocline.tiers.hot.sdk import CAUGHT, CredentialProvider
from thermocline.tiers.hot.signing import Login, SignIn
from thermocline.tiers.hot.talk import Talks
from thermocline.tiers.hot.wire import Command, key_of, seconds_left

T = TypeVar("T")
CONNECTIONS: Final = 50  # of the SDK's client, at most, for whoever uses it directly
PIPELINE: Final = (
    500  # commands at most that are sent before the first reply is read, where a call has a connection alone
)
REDIRECTIONS: Final = 6  # that a command follows through a cluster which is being changed
PAUSE: Final = 0.01  # seconds before a command is tried again whose keys are just moving; doubled each time


class Link:
    """One client of redis-py, its own or one that it was given, and the two ways to send: one command, or many with one answer each."""

    def __init__(
        self,
        url: str,
        *,
        max_connections: int | None = None,
        max_calls: int | None = None,
        socket_timeout: float | None = None,
        socket_connect_timeout: float | None = None,
        health_check_interval: float | None = None,
        cluster: bool | None = None,
        credential_provider: CredentialProvider | Rotating[Login] | None = None,
    ) -> None:
        self.cluster = cluster
        self._sign_in: SignIn | None = None
        if credential_provider is not None and not sdk.signs_in(credential_provider):
            raise ConfigurationError(
                "HotMemory: credential_provider (with_hot: sign_in) is an object of redis-py's, or a login that changes (EntraLogins, PasswordLogins),"
                f" not a {type(credential_provider).__name__}"
            )
        if isinstance(credential_provider, Rotating):
            self._sign_in = sdk.sign_in(credential_provider)
        self._client: Any = None
        self.spread = False  # whether keys lie on several nodes
        self.owned = False
        self._most = max_connections or CONNECTIONS
        self._calls = max_calls or CALLS
        self._options = sdk.options(
            socket_timeout=socket_timeout,
            socket_connect_timeout=socket_connect_timeout,
            health_check_interval=0 if health_check_interval is None else health_check_interval,
            credential_provider=self._sign_in if self._sign_in is not None else credential_provider,
        )
        self._lanes: dict[str, Lanes] = {}  # by the node's name; of a single server, ""
        self._lookout = Lookout(CAUGHT)
        self.strays: set[Callable[[Collection[bytes]], None]] = set()  # told of names whose slots are under way
        self.url = url
        self.unbind()

    @property
    def url(self) -> str:
        return self._url

    @url.setter
    def url(self, url: str) -> None:
        if self._options["credential_provider"] is not None and sdk.names_login(url):
            raise ConfigurationError(
                "HotMemory: url names a user or a password, and credential_provider (with_hot: sign_in) is a login, too: give one of them"
            )
        if not sdk.usable(url, self._options):
            raise ConfigurationError(
                "HotMemory: url is not a Redis URL, such as redis://host:6379/0 or rediss://host:10000, or it has an option that redis-py does not take"
                " (in a password, write special characters as %XX)"
            )
        self._url = url
        self.where = urlsplit(url).netloc.rpartition("@")[2] or "the socket"

    @property
    def client(self) -> Any:
        """The client of redis-py; None before `open`."""
        return self._client

    def unbind(self) -> None:
        """Belong to no event loop; the next to use it is its loop."""
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(
            self._most
        )  # for a cluster that was given, whose nodes' pools raise instead of waiting

    async def open(self, deadline: Deadline) -> None:
        """Make the client. Unless ``cluster`` was given, the server is asked. Raises `TierUnavailable`; then call it again later."""
        async with self._opening:
            if self.client is None:
                try:
                    async with asyncio.timeout(seconds_left(deadline)):
                        self._use(await self._twice(self._make))
                except CAUGHT as error:
                    raise self.explain(error, sent=False) from trouble.behind(error)
                self.owned = True

    def pool(self) -> tuple[int, int] | None:
        """Calls under way to the server that has most of them, and how many may be; None of a client that is not this link's own."""
        if self.client is None or not self.owned or not THERE:
            return None
        return max((lanes.calls for lanes in list(self._lanes.values())), default=0), self._calls

    def give(self, client: Any) -> None:
        """Use this client, and do not close it."""
        self._use(client)
        self.owned = False

    def _use(self, client: Any) -> None:
        self._client = client
        self.spread = sdk.is_spread(client)

    async def close(self) -> None:
        """Close the client, unless it was given."""
        client = self._client
        self._use(None)
        lanes, self._lanes = self._lanes, {}
        await self._lookout.close()
        for one in lanes.values():
            await one.close()
        if client is not None and self.owned:
            await client.aclose()
        self.owned = False
        self.unbind()

    async def _twice(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await attempt() if self._sign_in is None else await self._sign_in.again(attempt)

    async def _make(self) -> Any:
        if not self.cluster:
            client = sdk.server(self._url, self._most, self._options)
            if self.cluster is False:
                return client
            if not await sdk.is_cluster(client):
                if THERE:
                    self._lanes_to(client, None).adopt(await client.connection_pool.given_away())
                return client
        return await sdk.cluster(self._url, self._most, self._options)

    # --- sending -----------------------------------------------------------------------------------------------------

    async def call(self, command: Command, deadline: Deadline) -> Any:
        """Send one command. Raises `TierUnavailable`, and `NoScript` where a script is not known to the server."""
        if self._client is None:
            await self.open(deadline)
        if self.spread:
            answer = (await self.call_many([(key_of(command), command)], deadline))[0]
            if isinstance(answer, ThermoclineError):
                raise answer
            return answer
        said = await self._way(self._client, None).carry((command,), deadline)
        if said.error is not None:
            raise self.explain(said.error, sent=said.sent) from trouble.behind(said.error)
        reply = said.replies[0]
        if isinstance(reply, Exception):
            raise self.explain(reply, sent=True) from reply
        return reply

    def _way(self, client: Any, node: Any) -> Lanes | Talks:
        """How to talk to a node of a cluster, or (None) to the only server."""
        if not self.owned or not THERE:
            return Talks(client, node, self._slots, self._sign_in)
        return self._lanes_to(client, node)

    def _lanes_to(self, client: Any, node: Any) -> Lanes:
        name = "" if node is None else node.name
        lanes = self._lanes.get(name)
        if lanes is None:
            source = client.connection_pool if node is None else node
            dial = sdk.dial(
                source,
                self._sign_in,
                reply_timeout=self._options["socket_timeout"],
                idle_at_most=self._options["health_check_interval"],
            )
            lanes = self._lanes[name] = Lanes(dial, self._calls)
        return lanes

    async def nodes(self, deadline: Deadline) -> list[str]:
        """The names of the servers that hold keys, in order; of a single server, "" alone. Raises `TierUnavailable`."""
        if self.client is None:
            await self.open(deadline)
        client = self.client
        if not self.spread:
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
        if not self.spread:
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
            client = self.client
            if self.spread:
                async with asyncio.timeout(seconds_left(deadline)):
                    groups = await self._by_node(client, [key for key, _ in commands], answers, deadline)
            else:
                groups = [(None, list(range(len(commands))))] if commands else []
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
        """The nodes of a cluster, and the places of the commands that go there."""
        await self._twice(client.initialize)
        if self._lookout.stale:
            await self._lookout.look(lambda: self._twice(client.nodes_manager.initialize), deadline)
            await self._forget_nodes(client)
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

    def place(self, key: bytes) -> str:
        """The name of the node that has the key, as far as is known; of a single server, ""."""
        client = self._client
        if client is None or not self.spread:
            return ""
        try:
            return str(client.nodes_manager.get_node_from_slot(client.keyslot(key)).name)
        except sdk.SlotNotCoveredError:
            return ""

    async def _forget_nodes(self, client: Any) -> None:
        """Close the lanes to nodes that are in the cluster no more."""
        for name in self._lanes.keys() - {node.name for node in client.get_nodes()}:
            gone = self._lanes.pop(name, None)  # another caller may have come first
            if gone is not None:
                await gone.close()

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
        said = await self._way(client, node).carry([commands[i][1] for i in at], deadline)
        if said.error is not None:
            self._lookout.stale = node is not None
            explained = self.explain(said.error, sent=said.sent)
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
            words: list[Command] = [command]
            try:
                async with asyncio.timeout(seconds_left(deadline)):
                    if isinstance(error, sdk.MovedError):
                        await manager.move_slot(error)
                        self._lookout.stale = True
                    node = manager.get_node_from_slot(client.keyslot(key))
                    if isinstance(error, sdk.TryAgainError):
                        await asyncio.sleep(PAUSE * 2**turn)
                    elif isinstance(error, sdk.AskError) and not isinstance(error, sdk.MovedError):
                        words.insert(0, ("ASKING",))
                        for tell in self.strays:
                            tell((key,))
                        if client.get_node(error.host, error.port) is None:
                            await self._twice(manager.initialize)
                        node = client.get_node(error.host, error.port) or node
            except (*CAUGHT, ThermoclineError) as broken:
                return self.explain(broken, sent=False)
            said: Said = await self._way(client, node).carry(words, deadline)
            if said.error is not None:
                return self.explain(said.error, sent=said.sent)
            reply = said.replies[-1]
            if not isinstance(reply, sdk.AskError | sdk.TryAgainError):
                return self.explain(reply, sent=True) if isinstance(reply, Exception) else reply
            error = reply
        return self.explain(error, sent=False)

    def explain(self, error: Exception, *, sent: bool) -> ThermoclineError:
        """An exception of the SDK in our own words; ``sent``: whether the request may have reached the server."""
        return sdk.explain(error, self.where, sent=sent)
