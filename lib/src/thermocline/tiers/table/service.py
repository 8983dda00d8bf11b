"""A table of Azure Storage as plain calls: rows, ETags and filters in and out, every failure one of ours. The only importer of azure.data.tables.

The SDK's own retries are off, and aiohttp's silent resend of a PUT over a connection that broke is too: each call sends its request at most once; only
reads may be asked again underneath. Every call ends by its deadline.
"""

import asyncio
import inspect
import io
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies

import aiohttp
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables import EdmType, TableEntity, UpdateMode
from azure.data.tables.aio import TableClient

from thermocline.clock import Clock, Deadline
from thermocline.errors import ClientClosed, ConfigurationError, ThermoclineError, Throttled, TierTimeout
from thermocline.resilience import Lookups, Rotating, Signing, Skew, unsigned
from thermocline.telemetry import REQUESTS, THROTTLED, Stats, correlate
from thermocline.tiers.table.door import CAUGHT, TIER, absent, code_of, refused, translate

CHUNK: Final = 64 * 1024  # bytes of one binary property
PAGE: Final = 1000  # rows of one answer, the service's most
SENT: Final = "thermocline sent"  # in a request's context: when it was sent, in ms
_WHOLE: Final = 2**20  # bytes that aiohttp takes in one piece without complaint
_KEYS: Final = ("PartitionKey", "RowKey")
_DATA: Final = "p"
_DIES: Final = "tcd"
_NO_CONTENT: Final = "return-no-content"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    """Where the table is and how to get in. ``credential``: an asynchronous TokenCredential, an account key, a SAS (perhaps `Rotating`), or the
    SDK's credential."""

    url: str = field(repr=False)  # may hold a SAS
    table: str
    credential: Any = field(default=None, repr=False)
    pool_size: int = 100
    connection_timeout: float = 5.0  # seconds, per connection
    read_timeout: float = 30.0  # seconds of silence on a connection; the call's deadline is usually shorter


@dataclass(frozen=True, slots=True)
class Row:
    """An entity. ``data`` lies in binary properties of 64 KiB, ``columns`` are text, ``dies_ms`` is a number that a filter can compare (0: never)."""

    partition: str
    row: str
    data: bytes = b""
    columns: Mapping[str, str] = field(default_factory=dict)
    dies_ms: int = 0
    etag: str = ""
    modified_ms: int = 0


@dataclass(frozen=True, slots=True)
class Placing:
    """A row to be stored in place of the one with that ETag (None: only where there is none)."""

    row: Row
    etag: str | None


class TableService:
    """One table. `open` binds it to the running loop."""

    def __init__(self, account: Account, clock: Clock) -> None:
        self._account = account
        self._clock = clock
        self._client: TableClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._skew = Skew()
        self.stats = Stats()

    async def open(self) -> bool:
        """Bind to the running loop; nothing is sent. False: it was open already."""
        if self._client is not None:
            self._open()
            return False
        account = self._account
        url, credential = _login(account)
        signing: Signing | None = None
        if isinstance(account.credential, Rotating):
            signing = Signing(account.credential, tier=TIER, variable="TABLE_SAS_SECRET_NAME")
            await signing.check()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=account.pool_size, resolver=cast(Any, Lookups())),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            # Without a proxy in the environment aiohttp need not look for one: it would for each request, in a thread, and into ~/.netrc as well.
            trust_env=bool(getproxies()),
            middlewares=(unsigned, _send_once),
        )
        transport = _Transport(
            signing,
            session=session,
            connection_timeout=account.connection_timeout,
            read_timeout=account.read_timeout,
        )
        options: dict[str, Any] = {
            "transport": transport,
            "retry_total": 0,
            "retry_connect": 0,
            "retry_read": 0,
            "retry_status": 0,
            "retry_to_secondary": False,
            "raw_request_hook": self._on_request,
            "raw_response_hook": self._on_response,
        }
        try:
            client = TableClient(url, account.table, credential=credential, **options)
        except (ValueError, TypeError) as error:
            await session.close()
            raise ConfigurationError(f"warm_plus: account URL or credential cannot be used: {error}") from error
        self._client, self._loop = client, asyncio.get_running_loop()
        return True

    async def close(self) -> None:
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.close()

    def now_ms(self) -> int:
        """The wall clock, corrected by the service's where they differ by more than a second."""
        return self._clock.wall_ms() + self._skew.ms

    @property
    def skew_ms(self) -> int:
        """The service's clock less this machine's, in ms; 0 where the difference is below a second."""
        return self._skew.ms

    # --- requests ----------------------------------------------------------------------------------------------------

    async def create(self, deadline: Deadline) -> None:
        """Create the table; it may be there already."""
        try:
            await self._call(self._open().create_table(), deadline, "create the table", raw=True)
        except HttpResponseError as error:
            if code_of(error) != "TableAlreadyExists":
                raise translate(error, "create the table") from error

    async def get(self, partition: str, row: str, deadline: Deadline) -> Row | None:
        """The whole row; None: there is none of that name."""
        found = await self._unless(absent, self._open().get_entity(partition, row), deadline, "read a row")
        return None if found is None else _row(found)

    async def place(self, placing: Placing, deadline: Deadline) -> str | None:
        """One atomic request: over the row with that ETag, else only where nothing is. The new ETag; None: the condition does not hold."""
        entity, etag = _entity(placing.row), placing.etag
        call: Awaitable[Mapping[str, Any]] = (
            self._open().create_entity(entity, response_preference=_NO_CONTENT)
            if etag is None
            else self._open().update_entity(entity, UpdateMode.REPLACE, **_if(etag))
        )
        done = await self._unless(refused, call, deadline, "write a row")
        return None if done is None else str(done["etag"])

    async def put(self, row: Row, deadline: Deadline) -> str:
        """Over whatever is there; atomic. The new ETag."""
        call = self._open().upsert_entity(_entity(row), UpdateMode.REPLACE)
        return str((await self._call(call, deadline, "write a row"))["etag"])

    async def place_all(self, placings: Sequence[Placing], deadline: Deadline) -> list[str] | None:
        """All of them or none, as one entity group transaction: rows of one partition, 100 at most. Their ETags; None: a condition does not hold."""
        operations: list[Any] = [
            ("create", _entity(one.row), {"response_preference": _NO_CONTENT})
            if one.etag is None
            else ("update", _entity(one.row), {"mode": UpdateMode.REPLACE, **_if(one.etag)})
            for one in placings
        ]
        call = self._open().submit_transaction(operations)
        done = await self._unless(refused, call, deadline, "write several rows as one")
        return None if done is None else [str(one["etag"]) for one in done]

    async def delete(self, partition: str, row: str, *, deadline: Deadline, etag: str | None = None) -> bool:
        """Delete the row, if it still has ``etag``. False: it is gone, or has another."""
        missing: list[HttpResponseError] = []

        def look(response: Any) -> None:  # the SDK says nothing of a 404, be it the row's or the table's
            self._on_response(response)
            if response.http_response.status_code == 404:
                missing.append(HttpResponseError(response=response.http_response))

        async def delete() -> bool:
            options: dict[str, Any] = {} if etag is None else _if(etag)
            await self._open().delete_entity(partition, row, raw_response_hook=look, **options)
            if missing:
                raise missing[0]
            return True

        return await self._unless(refused, delete(), deadline, "delete a row") is True

    async def page(
        self,
        where: str,
        *,
        limit: int,
        token: Mapping[str, str] | None,
        deadline: Deadline,
        select: Sequence[str] | None = None,
    ) -> tuple[list[Row], dict[str, str] | None]:
        """One page of the rows that a filter lets in, in their order; and the token of the next one. ``select``: these columns of text (and the number), no
        data; None: all of it. A page may be short, or empty, and have a token."""
        columns = None if select is None else [*_KEYS, "Timestamp", _DIES, *select]
        pages: Any = self._open().query_entities(where, results_per_page=min(limit, PAGE), select=columns)
        pager = pages.by_page(continuation_token=None if token is None else dict(token))

        async def read() -> list[Row]:
            async for entities in pager:
                return [_row(entity) async for entity in entities]
            return []

        rows = await self._call(read(), deadline, "list rows")
        following = pager.continuation_token
        return rows, {name: value for name, value in following.items() if value is not None} if following else None

    # --- the door ----------------------------------------------------------------------------------------------------

    def _open(self) -> TableClient:
        if self._client is None:
            raise ClientClosed("warm_plus: not connected, or closed; call connect() first")
        if self._loop is not asyncio.get_running_loop():
            raise ClientClosed("warm_plus: connected in another event loop; make one client per loop")
        return self._client

    async def _unless(
        self, answer: Callable[[HttpResponseError], bool], call: Awaitable[T], deadline: Deadline, doing: str
    ) -> T | None:
        """The call's result; None where the service gives that ``answer``."""
        try:
            return await self._call(call, deadline, doing, raw=True)
        except HttpResponseError as error:
            if answer(error):
                return None
            raise self._failed(error, doing) from error

    async def _call(self, call: Awaitable[T], deadline: Deadline, doing: str, *, raw: bool = False) -> T:
        """Await a call of the SDK within the deadline, all its exceptions translated; with ``raw`` an answer of the service is left as it is."""
        remaining = deadline.remaining()
        if remaining <= 0:
            if inspect.iscoroutine(call):
                call.close()
            raise TierTimeout(f"warm_plus: no time left to {doing}", tier=TIER, sent=False)
        limit = asyncio.timeout(None if math.isinf(remaining) else remaining)
        try:
            async with limit:
                return await call
        except ThermoclineError:
            raise  # a credential's own
        except CAUGHT as error:
            if limit.expired():
                raise TierTimeout(f"warm_plus: no answer in time to {doing}", tier=TIER) from error
            if raw and isinstance(error, HttpResponseError):
                raise
            raise self._failed(error, doing) from error

    def _failed(self, error: Exception, doing: str) -> ThermoclineError:
        failure = translate(error, doing)
        if isinstance(failure, Throttled):
            self.stats.count(THROTTLED, TIER)
        return failure

    def _on_request(self, request: Any) -> None:
        self.stats.count(REQUESTS, TIER)
        correlate(request.http_request.headers)
        request.context[SENT] = self._clock.wall_ms()

    def _on_response(self, response: Any) -> None:
        date = response.http_response.headers.get("Date")
        if date is not None:
            now = self._clock.wall_ms()
            self._skew.answered(date, response.context.get(SENT, now), now)


class _Transport(AioHttpTransport):  # type: ignore[misc] # azure-core gives it out by __getattr__, without a type
    """Hands large bodies to aiohttp as a file: as bytes they would be written in one go, which holds the event loop up (and warns).

    ``signing``: puts a SAS that changes on each request's URL.
    """

    def __init__(self, signing: Signing | None, **options: Any) -> None:
        super().__init__(**options)
        self._signing = signing

    async def send(self, request: Any, **options: Any) -> Any:
        send = super().send
        if self._signing is None:
            return await send(request, **options)
        return await self._signing.send(request, lambda: send(request, **options))

    def _get_request_data(self, request: Any) -> Any:
        data = super()._get_request_data(request)
        if isinstance(data, str):
            data = data.encode()
        return io.BytesIO(data) if isinstance(data, bytes) and len(data) > _WHOLE else data


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp sends a PUT or DELETE again by itself if a kept-alive connection breaks. A writer must know of each copy, so end that here."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # never sent, and never sent again
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method in ("GET", "HEAD"):
            raise
        raise aiohttp.ClientConnectionError(f"the connection broke: {error}") from error


def _login(account: Account) -> tuple[str, Any]:
    """The URL without its SAS, and what the SDK takes for a credential: it would leave a SAS of the URL out of transactions."""
    parts, credential = urlsplit(account.url), account.credential
    url = urlunsplit(parts._replace(query="", fragment=""))
    if credential is None and "sig=" in parts.query:
        return url, AzureSasCredential(parts.query)
    if isinstance(credential, Rotating):
        return url, AzureSasCredential("")  # the SDK asks for one; the transport signs
    if not isinstance(credential, str):
        return url, credential
    if "sig=" in credential:
        return url, AzureSasCredential(credential.strip().removeprefix("?"))
    host, path = parts.hostname or "", parts.path.strip("/")
    return url, AzureNamedKeyCredential(path.split("/")[0] or host.split(".")[0], credential)


def _if(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _entity(row: Row) -> dict[str, Any]:
    chunks = {f"{_DATA}{at // CHUNK:02}": row.data[at : at + CHUNK] for at in range(0, len(row.data), CHUNK)}
    dies = {_DIES: (row.dies_ms, EdmType.INT64)}
    return {"PartitionKey": row.partition, "RowKey": row.row, **dies, **row.columns, **chunks}


def _row(entity: TableEntity) -> Row:
    """What was not asked for is left out; of what others wrote, what is of another kind as well."""
    chunks = [value for name, value in sorted(entity.items()) if _is_chunk(name) and isinstance(value, bytes)]
    dies: Any = entity.get(_DIES)
    number = getattr(dies, "value", dies)
    moment = entity.metadata.get("timestamp")
    return Row(
        str(entity["PartitionKey"]),
        str(entity["RowKey"]),
        b"".join(chunks),
        {name: value for name, value in entity.items() if isinstance(value, str) and name not in _KEYS},
        number if type(number) is int else 0,
        str(entity.metadata.get("etag")),
        0 if moment is None else int(moment.timestamp() * 1000),
    )


def _is_chunk(name: str) -> bool:
    return name.startswith(_DATA) and name[len(_DATA) :].isdigit()
