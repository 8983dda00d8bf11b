"""The only importer of azure.cosmos (and of the azure.core and aiohttp below it): one client, one error door, over a transport that watches each request.

The SDK's own retries are off as far as options go: throttling, connecting, reading. Those that no option turns off (408, 500 and 503, of which it resends
writes as well, after half a second) end in `Watching.send`, which every HTTP request passes. Should a call send more than one request for an item all the
same (after 403/3, 400/1024 or 404/1002), each is noted, and told to the write path as one more copy. aiohttp's own resend on a reused
connection is for GET, PUT and DELETE only; the write path sends POST and PATCH.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from azure.core import MatchConditions
from azure.core import exceptions as core
from azure.cosmos import PartitionKey
from azure.cosmos import exceptions as cosmos
from azure.cosmos.aio import ContainerProxy, CosmosClient
from azure.cosmos.documents import ConnectionPolicy

from thermocline.errors import ClientClosed, InvalidArgument, TierTimeout, TierUnavailable
from thermocline.resilience import RetryBudget
from thermocline.tiers.warm.billing import billed_in_batch
from thermocline.tiers.warm.regions import Regions
from thermocline.tiers.warm.signing import Signer
from thermocline.tiers.warm.transport import Answered, Bills, Watching, never_left, substatus_of
from thermocline.tiers.warm.trouble import BatchRefused, Kind, Trouble, by_status, unreachable

OURS: Final = frozenset(
    {
        "transport",
        "connection_policy",
        "retry_total",
        "retry_connect",
        "retry_read",
        "retry_status",
        "retry_write",
        "retry_throttle_total",
        "availability_strategy",
        "no_response_on_write",
        "multiple_write_locations",
        "enable_endpoint_discovery",
    }
)
"""Options of CosmosClient that decide whether a write takes effect once: not open to ``client_kwargs``."""


# --- the door --------------------------------------------------------------------------------------------------------


def _http(error: Any) -> Trouble:
    headers = getattr(error, "headers", None) or getattr(getattr(error, "response", None), "headers", None) or {}
    status, substatus = int(error.status_code or 0), int(getattr(error, "sub_status", None) or substatus_of(headers))
    wait = headers.get("x-ms-retry-after-ms")
    message = getattr(error, "http_error_message", None) or getattr(error, "message", None) or str(error)
    return by_status(status, substatus, str(message), None if wait is None else float(wait) / 1000)


def _identity(error: Any) -> Trouble:
    said = str(error).strip().split("\n", 1)[0].rstrip()
    # The default credential tells of everything it tried, in a dozen lines; they are in the cause.
    why = "" if not said or said.startswith("DefaultAzureCredential failed") else f" ({said[:300]})"
    return Trouble.denied(
        f"not signed in to Azure, so there is no token for Cosmos DB: run `az login`, or give this workload a managed identity{why}"
    )


def _request(error: Any) -> Trouble:
    return unreachable(str(error), sent=not never_left(error))


def _response(error: Any) -> Trouble:
    return Trouble(Kind.LOST, TierUnavailable(f"Cosmos DB's answer was lost: {error}", tier="warm"))


def _timeout(error: Any) -> Trouble:
    return Trouble(Kind.LOST, TierTimeout(f"Cosmos DB did not answer in time: {error}", tier="warm"))


def _argument(error: Any) -> Trouble:
    if "closed" in str(error):
        return _closed(error)
    return Trouble(Kind.FATAL, InvalidArgument(f"the Cosmos SDK refused an argument: {error}"))


def _closed(error: Any) -> Trouble:
    return Trouble(Kind.FATAL, ClientClosed(f"WarmMemory was closed while a call was under way: {error}"))


def _bug(error: Any) -> Trouble:
    """The SDK fell over its own handling of an error, as it does in its session container at a second 404/1002: that error is meant."""
    if isinstance(error.__context__, core.AzureError):
        return translate(error.__context__)
    return Trouble(Kind.LOST, TierUnavailable(f"the Cosmos SDK failed: {type(error).__name__}: {error}", tier="warm"))


DOOR: Final[dict[type[BaseException], Callable[[Any], Trouble]]] = {
    cosmos.CosmosHttpResponseError: _http,
    cosmos.CosmosResourceNotFoundError: _http,
    cosmos.CosmosResourceExistsError: _http,
    cosmos.CosmosAccessConditionFailedError: _http,
    cosmos.CosmosBatchOperationError: _http,
    cosmos.CosmosClientTimeoutError: _timeout,
    core.HttpResponseError: _http,
    core.ResourceExistsError: _http,
    core.ResourceNotFoundError: _http,
    core.ResourceModifiedError: _http,
    core.ResourceNotModifiedError: _http,
    core.ODataV4Error: _http,
    core.TooManyRedirectsError: _response,
    core.DecodeError: _response,
    core.IncompleteReadError: _response,
    core.ClientAuthenticationError: _identity,
    core.ServiceRequestError: _request,
    core.ServiceRequestTimeoutError: _request,
    core.ServiceResponseError: _response,
    core.ServiceResponseTimeoutError: _timeout,
    core.StreamConsumedError: _response,
    core.StreamClosedError: _response,
    core.ResponseNotReadError: _response,
    core.SerializationError: _argument,
    core.DeserializationError: _response,
    core.AzureError: _response,
    aiohttp.ClientError: _response,
    TimeoutError: _timeout,
    OSError: _response,
    ValueError: _argument,
    TypeError: _argument,
    RuntimeError: _closed,
    LookupError: _bug,
    AttributeError: _bug,
    AssertionError: _bug,  # aiohttp's, on a session that is being closed
}
"""What each exception of the SDK means; the nearest base class counts. A test compares it with the classes that the SDK has."""


_CAUGHT: Final = tuple(DOOR)


def translate(error: BaseException) -> Trouble:
    """The trouble that an exception of the SDK means."""
    for kind in type(error).__mro__:
        if kind in DOOR:
            return DOOR[kind](error)
    raise error


@contextmanager
def door() -> Iterator[None]:
    """Everything that the SDK raises inside leaves as a `Trouble`."""
    try:
        yield
    except Trouble:
        raise
    except _CAUGHT as error:
        raise translate(error) from error


# --- the service -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """What the account says of itself. Regions by name, in the account's order."""

    consistency: str
    multi_write: bool
    write_regions: tuple[str, ...]
    read_regions: tuple[str, ...]


class Service:
    """One CosmosClient and one container. Every method raises `Trouble` only."""

    def __init__(
        self,
        uri: str,
        credential: Any,
        database: str,
        container: str,
        *,
        answered: Answered,
        bills: Bills,
        connection_limit: int | None,
        signer: Signer | None = None,
        preferred_regions: Sequence[str],
        options: Mapping[str, Any],
        retries: Callable[[], RetryBudget],
    ) -> None:
        self.retries = retries
        self._regions = Regions(preferred_regions)
        self._uri, self._credential, self._options = uri, credential, dict(options)
        self._names = database, container
        self._answered, self._bills, self._limit, self._signer = answered, bills, connection_limit, signer
        self._preferred = list(preferred_regions)
        self._client: CosmosClient | None = None
        self._container: ContainerProxy | None = None

    async def open(self) -> Account:
        """Connect and read the account. Reads go to the write region unless regions were preferred."""
        account = await self._open(self._preferred)
        if not self._preferred and account.read_regions[:1] != account.write_regions[:1]:
            await self.close()
            account = await self._open(list(account.write_regions[:1]))
        return account

    async def _open(self, preferred: list[str]) -> Account:
        with door():
            policy = ConnectionPolicy()
            policy.RetryOptions = type(policy.RetryOptions)(max_retry_attempt_count=0, max_wait_time_in_seconds=0)
            options: dict[str, Any] = {"connection_timeout": 5, **self._options}
            if "enable_compact_utf8_item_writes" in (CosmosClient.__doc__ or ""):
                options.setdefault("enable_compact_utf8_item_writes", True)
            if preferred:
                options["preferred_locations"] = preferred
            self._client = client = CosmosClient(
                self._uri,
                self._credential,
                connection_policy=policy,
                retry_total=0,
                retry_connect=0,
                retry_read=0,
                retry_status=0,
                transport=Watching(self._answered, self._bills, self._limit, self._signer),
                **options,
            )
            await client.__aenter__()
            self._container = client.get_database_client(self._names[0]).get_container_client(self._names[1])
            found = await client.client_connection.GetDatabaseAccount()
        return Account(
            consistency=(found.ConsistencyPolicy or {}).get("defaultConsistencyLevel", ""),
            multi_write=bool(found._EnableMultipleWritableLocations),  # noqa: SLF001
            write_regions=tuple(place["name"] for place in found.WritableLocations),
            read_regions=tuple(place["name"] for place in found.ReadableLocations),
        )

    async def close(self) -> None:
        client, self._client, self._container = self._client, None, None
        if client is not None:
            with door():
                await client.close()

    @property
    def _items(self) -> ContainerProxy:
        if self._container is None:
            raise RuntimeError("the service is not open")
        return self._container

    async def properties(self) -> dict[str, Any]:
        """The container's definition."""
        with door():
            return dict(await self._items.read())

    async def create(self, paths: Sequence[str], default_ttl: int, indexing: dict[str, Any]) -> None:
        """Create the database and the container where they are missing. With a key only: Entra tokens may not."""
        if self._client is None:
            raise RuntimeError("the service is not open")
        with door():
            # The SDK reads first and then creates; another client may come between.
            with suppress(cosmos.CosmosResourceExistsError):
                await self._client.create_database_if_not_exists(self._names[0])
            with suppress(cosmos.CosmosResourceExistsError):
                await self._client.get_database_client(self._names[0]).create_container_if_not_exists(
                    self._names[1],
                    partition_key=PartitionKey(path=list(paths), kind="MultiHash"),
                    default_ttl=default_ttl,
                    indexing_policy=indexing,
                )

    async def read(self, item_id: str, partition: Sequence[str]) -> dict[str, Any]:
        with self._regions.asked() as elsewhere, door():
            return await self._items.read_item(item_id, partition_key=list(partition), **elsewhere)

    async def create_item(self, item: dict[str, Any]) -> dict[str, Any]:
        # The whole item comes back: without a body the SDK would not keep the session token of this write.
        with door():
            return await self._items.create_item(item)

    async def upsert(self, item: dict[str, Any]) -> dict[str, Any]:
        with door():
            return await self._items.upsert_item(item)

    async def replace(self, item: dict[str, Any], etag: str) -> dict[str, Any]:
        """Only the copy with that ``etag``."""
        with door():
            return await self._items.replace_item(
                item["id"], item, etag=etag, match_condition=MatchConditions.IfNotModified
            )

    async def delete(self, item_id: str, partition: Sequence[str], *, etag: str | None = None) -> None:
        extra: dict[str, Any] = {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        with door():
            await self._items.delete_item(item_id, partition_key=list(partition), **extra)

    async def batch(self, operations: Sequence[tuple[Any, ...]], partition: Sequence[str]) -> list[dict[str, Any]]:
        """A transaction: its items afterwards. Raises `BatchRefused`, for the operation that kept it out."""
        with door():
            try:
                # the SDK takes the options out of their dictionaries, and leaves the rest as it is
                given = [(*operation[:2], *map(dict, operation[2:])) for operation in operations]
                answers = await self._items.execute_item_batch(given, list(partition))
            except cosmos.CosmosBatchOperationError as error:
                raise BatchRefused(translate(error), error.error_index) from error
            bodies = [answer.get("resourceBody", {}) for answer in answers]
            for one in billed_in_batch(operations, bodies, answers.get_response_headers()):
                self._bills(one)
            connection = self._items.client_connection
            if connection.session is not None:  # which the SDK tells of other writes, but not of these
                connection.session.update_session(  # type: ignore[no-untyped-call]
                    connection, bodies[-1], answers.get_response_headers()
                )
        return bodies

    async def patch(
        self,
        item_id: str,
        partition: Sequence[str],
        operations: list[dict[str, Any]],
        *,
        condition: str | None = None,
        etag: str | None = None,
    ) -> dict[str, Any]:
        """The item afterwards. ``condition`` is a predicate, ``etag`` the copy that it must be."""
        extra: dict[str, Any] = {}
        if condition is not None:
            extra["filter_predicate"] = condition
        if etag is not None:
            extra.update(etag=etag, match_condition=MatchConditions.IfNotModified)
        with door():
            return await self._items.patch_item(item_id, list(partition), operations, **extra)

    async def ranges(self) -> list[dict[str, Any]]:
        """The physical partitions as feed ranges."""
        with door():
            return [one async for one in self._items.read_feed_ranges()]

    async def range_of(self, tenant: str) -> dict[str, Any]:
        """The part of the hashes that a tenant has, as a feed range. Makes no request."""
        with door():
            return await self._items.feed_range_from_partition_key([tenant])

    async def page(
        self, text: str, parameters: Mapping[str, Any], place: Sequence[str] | dict[str, Any], *, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """The first page of a query, and whether there are more, in a partition or (a dict) in a feed range."""
        told: list[bool] = []
        pages = self.query(
            text,
            parameters,
            place,
            page=limit,
            response_hook=lambda headers, _: told.append("x-ms-continuation" in headers),
        )
        async with aclosing(pages):
            async for rows in pages:
                return rows, told[-1]
        return [], False

    async def query(
        self,
        text: str,
        parameters: Mapping[str, Any],
        place: Sequence[str] | dict[str, Any] | None,
        *,
        page: int | None = None,
        **options: Any,
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The pages of a query: in one partition, in a feed range (a dict), or in all of them."""
        if place is not None:
            options |= {"feed_range": place} if isinstance(place, dict) else {"partition_key": list(place)}
        if page is not None:
            options["max_item_count"] = page
        with self._regions.asked() as elsewhere, door():
            options |= elsewhere
            items = self._items.query_items(
                query=text, parameters=[{"name": name, "value": value} for name, value in parameters.items()], **options
            )
            async for part in items.by_page():
                yield [one async for one in part]
