"""A table of Azure Storage as plain calls: rows, ETags and filters in and out, every failure one of ours. The only importer of azure.data.tables.

The SDK's own retries are off, and aiohttp's silent resend of a PUT over a connection that broke is too: each call sends its request at most once; only
reads may be asked again underneath. Every call ends by its deadline.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import HttpResponseError
from azure.data.tables import EdmType, TableEntity, UpdateMode
from azure.data.tables.aio import TableClient

from thermocline.azure_storage.service import StorageService
from thermocline.azure_storage.transport import Access
from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError
from thermocline.resilience import Rotating, Signing
from thermocline.tiers.table.door import DOOR, absent, code_of, refused, translate

CHUNK: Final = 64 * 1024  # bytes of one binary property
PAGE: Final = 1000  # rows of one answer, the service's most
_KEYS: Final = ("PartitionKey", "RowKey")
_DATA: Final = "p"
_DIES: Final = "tcd"
_NO_CONTENT: Final = "return-no-content"


@dataclass(frozen=True, slots=True)
class Account(Access):
    """Where the table is."""

    url: str = field(repr=False)  # may hold a SAS
    table: str


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


class TableService(StorageService[TableClient]):
    """One table. `open` binds it to the running loop."""

    door = DOOR
    sas_variable = "TABLE_SAS_SECRET_NAME"
    _account: Account

    def _made(self, signing: Signing | None, options: dict[str, Any]) -> TableClient:
        try:
            url, credential = _login(self._account)
            return TableClient(url, self._account.table, credential=credential, **options)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"warm_plus: account URL or credential cannot be used: {error}") from error

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
