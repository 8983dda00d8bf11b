"""The pump of a Cosmos DB trigger: pages of the change feed go to the function, and a lease notes how far, after success alone."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

from thermocline.testing.extra import needed_by
from thermocline.testing.functions.appsettings import Connection, connection, resolved
from thermocline.testing.functions.errors import BadApp, InvocationFailed
from thermocline.testing.functions.indexing import Function
from thermocline.testing.functions.invoking import Attempt, invoke_documents
from thermocline.testing.functions.leases import Lease, LeaseLost, Leases

with needed_by(__name__, "functions,service,testing"):
    from azure.cosmos.aio import ContainerProxy, CosmosClient
    from azure.cosmos.exceptions import CosmosHttpResponseError, CosmosResourceNotFoundError

_log: Final = logging.getLogger(__name__)
_LEASE: Final = 60_000  # ms, as of the official trigger
_POLL: Final = 5_000  # ms
_MOST: Final = 100  # documents of one invocation
_LOOK_AGAIN: Final = 0.05  # seconds between two looks at leases that others hold


@dataclass
class FeedReport:
    """What went through the feed."""

    documents: int = 0
    batches: int = 0
    """Batches that the function took."""
    failures: int = 0
    """Invocations that raised, each of which was repeated or given up."""
    skipped: int = 0
    """Documents of batches given up, because the function has no retry policy or it ended: they are lost, as in Azure."""
    lost_leases: int = 0
    """Batches that were handed over, and whose lease had gone to another host before that was noted: they come again there."""


@dataclass(frozen=True)
class _Place:
    """Where a trigger reads and where it keeps its leases."""

    source: Connection
    database: str
    container: str
    leases: Connection
    lease_database: str
    lease_container: str
    prefix: str


def place_of(function: Function, settings: Mapping[str, str]) -> _Place:
    """Read a trigger's options with the settings they name. Raises BadApp, which names what is missing."""
    options = function.trigger.options
    told = f"{function.folder.name}: {function.name}"

    def text(name: str, default: str) -> str:
        return resolved(str(options.get(name, default)), settings, f"{told}: {name}")

    def service(name: str) -> Connection:
        return connection("cosmosDBTrigger", str(options[name]), settings, f"{told}: {name}")

    database = text("databaseName", "")
    return _Place(
        service("connection"),
        database,
        text("containerName", ""),
        service("leaseConnection" if "leaseConnection" in options else "connection"),
        text("leaseDatabaseName", database),
        text("leaseContainerName", "leases"),
        text("leaseContainerPrefix", ""),
    )


class ChangeFeed:
    """One function's trigger on one container, of one host. Async context manager; leaving it gives the leases back."""

    def __init__(
        self,
        function: Function,
        settings: Mapping[str, str],
        *,
        credential: Any = None,
        lease: timedelta | None = None,
        poll: timedelta | None = None,
        retry_delay: timedelta | None = None,
    ) -> None:
        self._function = function
        self._place = place_of(function, settings)
        self._credential = credential
        options = function.trigger.options
        self._lasts = lease or timedelta(milliseconds=int(options.get("leaseExpirationInterval", _LEASE)))
        self._poll = poll or timedelta(milliseconds=int(options.get("feedPollDelay", _POLL)))
        self._most = int(options.get("maxItemsPerInvocation", _MOST))
        self._retry_delay = retry_delay
        self._opened = AsyncExitStack()
        self._reading = asyncio.Lock()
        self._passing = asyncio.Lock()
        self._owned: list[Lease] = []
        self.report = FeedReport()
        """Since the start."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            place = self._place
            self._source = await self._container(opened, place.source, place.database, place.container)
            leases = await self._container(opened, place.leases, place.lease_database, place.lease_container)
            try:
                found = await self._source.read()
            except CosmosResourceNotFoundError as error:
                raise BadApp(
                    f"{self._function.name}: there is no container {place.container} in {place.database}"
                ) from error
            rid = str(found["_rid"]).replace("/", "-")
            self._leases = Leases(
                leases,
                prefix=f"{place.prefix}{place.database}.{place.container}.{rid}.",
                owner=str(uuid.uuid4()),
                lasts=self._lasts,
            )
            self._ranges = [one async for one in self._source.read_feed_ranges()]
            await self._leases.ensure(self._ranges)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for lease in self._owned:
                with contextlib.suppress(LeaseLost, CosmosHttpResponseError):
                    await self._leases.release(lease)
        finally:
            await self._opened.aclose()

    async def run(self) -> None:
        """Look again and again, until cancelled. What fails on the way is logged, and tried again."""
        while True:
            try:
                await self._pass()
            except (CosmosHttpResponseError, OSError) as error:
                _log.warning("%s: the feed cannot be read: %s", self._function.name, error)
            await asyncio.sleep(self._poll.total_seconds())

    async def until_idle(self, *, all_ranges: bool = False) -> FeedReport:
        """Hand over everything that is there now and comes meanwhile; returns what that was.

        Only of the ranges that are this host's or free. ``all_ranges`` waits until the leases of others have come to this host as well: for
        hosts that were killed and not for such as live.
        """
        before = FeedReport(**vars(self.report))
        while await self._pass() or (all_ranges and len(self._owned) < len(self._ranges)):
            if not self._moved:
                await asyncio.sleep(_LOOK_AGAIN)
        return FeedReport(**{name: value - vars(before)[name] for name, value in vars(self.report).items()})

    @property
    def owns(self) -> int:
        """How many ranges this host held at its last look."""
        return len(self._owned)

    async def _pass(self) -> bool:
        """One look at the leases and all their ranges; whether anything came."""
        async with self._passing:
            self._owned = await self._leases.acquire()
            drained = [asyncio.ensure_future(self._drain(lease)) for lease in self._owned]
            try:
                self._moved = any([await one for one in drained])
            finally:
                for one in drained:
                    one.cancel()
                await asyncio.gather(*drained, return_exceptions=True)
            return self._moved

    async def _drain(self, lease: Lease) -> bool:
        moved = False
        try:
            async with self._kept(lease):
                while (page := await self._page(lease)) is not None:
                    documents, continuation = page
                    await self._hand_over(documents)
                    moved = True
                    try:
                        await self._leases.checkpoint(lease, continuation)
                    except LeaseLost:
                        self.report.lost_leases += 1
                        raise
        except LeaseLost as error:
            _log.warning("%s: another host has taken the range %s", self._function.name, error)
        return moved

    async def _page(self, lease: Lease) -> tuple[list[Any], str] | None:
        """The next batch and the token after it; None: nothing new."""
        start: dict[str, Any] = (
            {"feed_range": lease.range, "start_time": "Beginning" if self._from_beginning else "Now"}
            if lease.continuation is None
            else {"continuation": lease.continuation}
        )
        async with self._reading:  # the token is read off the client, which keeps the last answer's alone
            pages = self._source.query_items_change_feed(max_item_count=self._most, **start).by_page()
            try:
                documents = [document async for document in await anext(pages)]
            except StopAsyncIteration:
                documents = []
            continuation = str(self._source.client_connection.last_response_headers["etag"])
        if not documents:
            if lease.continuation is None:  # so that "now" stays this moment
                await self._leases.checkpoint(lease, continuation)
            return None
        return documents, continuation

    @property
    def _from_beginning(self) -> bool:
        return bool(self._function.trigger.options.get("startFromBeginning", False))

    async def _hand_over(self, documents: list[Any]) -> None:
        retry, failed = self._function.retry, 0
        limit = 0 if retry is None else -1 if retry.limit is None else retry.limit
        while True:
            try:
                await invoke_documents(self._function, documents, Attempt(failed, limit))
            except InvocationFailed:
                failed += 1
                self.report.failures += 1
                if retry is None or (retry.limit is not None and failed > retry.limit):
                    _log.error("%s: %d documents are given up, as Azure would", self._function.name, len(documents))
                    self.report.skipped += len(documents)
                    return
                delay = retry.delay(failed) if self._retry_delay is None else self._retry_delay
                await asyncio.sleep(delay.total_seconds())
            else:
                self.report.batches += 1
                self.report.documents += len(documents)
                return

    @asynccontextmanager
    async def _kept(self, lease: Lease) -> AsyncIterator[None]:
        async def renew() -> None:
            while True:
                await asyncio.sleep(self._lasts.total_seconds() / 3)
                try:
                    await self._leases.renew(lease)
                except LeaseLost:
                    return  # the next checkpoint tells
                except (CosmosHttpResponseError, OSError) as error:
                    _log.warning("%s: a lease could not be renewed: %s", self._function.name, error)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _container(self, opened: AsyncExitStack, at: Connection, database: str, name: str) -> ContainerProxy:
        if at.by_key is not None:
            credential: Any = at.by_key.get("AccountKey", "")
        elif self._credential is not None:
            credential = self._credential
        else:
            from azure.identity.aio import DefaultAzureCredential

            credential = await opened.enter_async_context(
                DefaultAzureCredential(managed_identity_client_id=at.client_id)
            )
        client = await opened.enter_async_context(CosmosClient(at.address, credential))
        return client.get_database_client(database).get_container_client(name)
