"""Blob Storage as plain calls: bytes, ETags and metadata in and out, every failure one of ours. The only importer of azure.storage.blob.

The SDK's own retries are off (its first would come after 15 s), and aiohttp's silent resend of a PUT over a connection that broke is too: each
call sends its request at most once; only reads may be asked again underneath. Every call ends by its deadline.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, ContentSettings
from azure.storage.blob.aio import BlobClient, ContainerClient

from thermocline.azure_storage.service import StorageService
from thermocline.clock import Clock, Deadline
from thermocline.cost.units import of_blobs
from thermocline.errors import ConfigurationError
from thermocline.resilience import Rotating, Signing
from thermocline.tiers.cold.blobs import BLOCK, FAST_AT_ONCE, PARALLEL, Account, Blob, Entry, Fetched, Put
from thermocline.tiers.cold.door import DOOR, TIER, absent, code_of, refused, translate
from thermocline.tiers.cold.transport import BlobTransport, Parts

if TYPE_CHECKING:
    from thermocline.tiers.cold.fast import FastBlobs

_KEPT: Final = 128  # clients of blobs


class BlobService(StorageService[ContainerClient]):
    """One container. `open` binds it to the running loop."""

    door = DOOR
    sas_variable = "BLOB_SAS_SECRET_NAME"
    _account: Account

    def __init__(self, account: Account, clock: Clock) -> None:
        super().__init__(account, clock)
        self._fast: FastBlobs | None = None
        self._blobs: dict[str, BlobClient] = {}  # least recently used first

    def _transport(self, signing: Signing | None) -> BlobTransport:
        return BlobTransport(self._account, signing)

    def _made(self, signing: Signing | None, options: dict[str, Any]) -> ContainerClient:
        account = self._account
        credential = None if isinstance(account.credential, Rotating) else account.credential
        options |= {"max_single_get_size": BLOCK, "max_chunk_get_size": BLOCK}
        try:
            if account.connection_string is not None:
                client = ContainerClient.from_connection_string(
                    account.connection_string, account.container, credential, **options
                )
            else:
                client = ContainerClient(account.url, account.container, credential, **options)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"cold: account URL, container or credential cannot be used: {error}") from error
        if account.transfer == "obstore":
            from thermocline.tiers.cold.fast import FastBlobs

            self._fast = FastBlobs(account, client.url, client.credential, signing, lambda: self.stats)
        return client

    async def close(self) -> None:
        self._fast = None
        self._blobs.clear()
        await super().close()

    # --- requests ----------------------------------------------------------------------------------------------------

    async def properties(self, deadline: Deadline) -> str | None:
        """Ask for the container's properties; the answer is its public access level, None if it is private."""
        found: Any = await self._call(
            self._open().get_container_properties(), deadline, "read the container's properties"
        )
        access: Any = found.public_access
        return None if access is None else str(getattr(access, "value", access))

    async def create(self, deadline: Deadline) -> None:
        """Create the container, private; it may be there already."""
        try:
            await self._call(self._open().create_container(), deadline, "create the container", raw=True)
        except HttpResponseError as error:
            if code_of(error) != "ContainerAlreadyExists":
                raise translate(error, "create the container") from error

    async def get(self, name: str, deadline: Deadline) -> Blob | None:
        """The whole blob; None: the container has none of that name."""

        async def download() -> Blob:
            stream = await self._blob(name).download_blob(max_concurrency=PARALLEL)
            parts = Parts()
            await stream.readinto(parts)  # type: ignore[arg-type]  # it seeks and writes, and needs no more of a file
            return Blob(parts.joined(), _mark(stream.properties.etag), stream.properties.metadata or {})

        return await self._unless(absent, download(), deadline, "read a blob")

    async def chunks(self, name: str, wait: Callable[[], Deadline]) -> AsyncGenerator[bytes, None]:
        """The blob in chunks of at most `BLOCK` bytes, each of one version of it. ``wait`` gives each chunk's deadline. None of that name: `LookupError`."""
        stream = await self._unless(absent, self._blob(name).download_blob(), wait(), "read a blob")
        if stream is None:
            raise LookupError(name)
        parts = aiter(stream.chunks())
        while True:
            part = await self._call(_next(parts), wait(), "read a blob")
            if part is None:
                return
            yield part

    async def put(
        self,
        name: str,
        data: bytes,
        *,
        deadline: Deadline,
        etag: str | None = None,
        overwrite: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> Put | None:
        """One atomic request: over the blob with ``etag``, over whatever is there (``overwrite``), else only where nothing is.
        None: the condition does not hold."""
        condition: dict[str, Any] = {"overwrite": overwrite or etag is not None}
        if etag is not None:
            condition |= {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        call = self._blob(name).upload_blob(
            data,
            length=len(data),
            metadata=None if metadata is None else dict(metadata),
            content_settings=ContentSettings(content_type=content_type),
            **condition,
        )
        return _put(await self._unless(refused, call, deadline, "write a blob"))

    async def stage(self, name: str, block_id: str, data: bytes, deadline: Deadline) -> None:
        """Upload one block; invisible until `commit`."""
        await self._call(self._blob(name).stage_block(block_id, data, length=len(data)), deadline, "upload a block")

    async def commit(
        self, name: str, block_ids: list[str], *, metadata: Mapping[str, str], deadline: Deadline
    ) -> Put | None:
        """Make the blob of its blocks, where nothing is; atomic. None: something is there."""
        call = self._blob(name).commit_block_list(
            [BlobBlock(block_id) for block_id in block_ids],
            metadata=dict(metadata),
            content_settings=ContentSettings(content_type="application/octet-stream"),
            match_condition=MatchConditions.IfMissing,
        )
        return _put(await self._unless(refused, call, deadline, "commit a blob's blocks"))

    async def renew(self, name: str, metadata: Mapping[str, str], deadline: Deadline) -> Put | None:
        """Set the blob's metadata, which gives it a new ETag and date; None: there is none of that name."""
        call = self._blob(name).set_blob_metadata(dict(metadata))
        return _put(await self._unless(absent, call, deadline, "renew a blob"))

    async def look(self, name: str, deadline: Deadline) -> Put | None:
        """The blob's ETag and date; None: there is none of that name."""
        found: Any = await self._unless(absent, self._blob(name).get_blob_properties(), deadline, "look at a blob")
        return None if found is None else Put(_mark(found.etag), _ms(found.last_modified))

    async def delete(self, name: str, *, deadline: Deadline, etag: str | None = None) -> bool:
        """Delete the blob, if it still has ``etag``. False: it is gone, or has another."""
        options: dict[str, Any] = {"delete_snapshots": "include"}
        if etag is not None:
            options |= {"etag": etag, "match_condition": MatchConditions.IfNotModified}

        async def delete() -> bool:
            await self._blob(name).delete_blob(**options)
            return True

        done = await self._unless(lambda error: absent(error) or refused(error), delete(), deadline, "delete a blob")
        return done is True

    async def page(
        self, prefix: str, *, limit: int, token: str | None, deadline: Deadline
    ) -> tuple[list[Entry], str | None]:
        """One page of the blobs whose names start with ``prefix``, by name, with metadata; and the token of the next one."""
        pages = self._open().list_blobs(
            name_starts_with=prefix, include=["metadata"], results_per_page=min(limit, 5000)
        )
        pager: Any = pages.by_page(continuation_token=token)

        async def read() -> list[Entry]:
            async for entries in pager:
                return [
                    Entry(str(b.name), _mark(b.etag), int(b.size), _ms(b.last_modified), b.metadata or {})
                    async for b in entries
                ]
            return []

        entries = await self._call(read(), deadline, "list blobs")
        following = pager.continuation_token
        return entries, None if following in (None, "") else str(following)

    # --- by the transfer that was chosen ------------------------------------------------------------------------------

    async def fetch(self, name: str, deadline: Deadline) -> Fetched | None:
        """As `get`, of a name that we made."""
        self._open()
        if self._fast is not None:
            return await self._fast.get(name, deadline)
        blob = await self.get(name, deadline)
        return None if blob is None else Fetched(blob.data, blob.etag)

    async def content(self, name: str, size: int, deadline: Deadline) -> bytes | None:
        """The bytes of a blob that should have ``size`` (for the caller to check); None: the container has none of that name."""
        self._open()
        if self._fast is not None:
            return await self._fast.content(name, size, deadline)
        blob = await self.get(name, deadline)
        return None if blob is None else blob.data

    def pieces(self, name: str, wait: Callable[[], Deadline]) -> AsyncGenerator[bytes, None]:
        """As `chunks`."""
        self._open()
        return self.chunks(name, wait) if self._fast is None else self._fast.chunks(name, wait)

    @property
    def at_once(self) -> int:
        """Bytes that `deposit` takes at most."""
        return BLOCK if self._fast is None else FAST_AT_ONCE

    async def deposit(self, name: str, data: bytes, *, metadata: Mapping[str, str], deadline: Deadline) -> Put | None:
        """As `put` where nothing is. obstore does not tell the blob's date: then it is the second in which the request left, by the service's clock."""
        if self._fast is None:
            return await self.put(name, data, metadata=metadata, deadline=deadline)
        self._open()
        before_ms = self.now_ms() // 1000 * 1000
        etag = await self._fast.create(name, data, metadata, deadline)
        return None if etag is None else Put(_mark(etag), before_ms)

    # --- the client --------------------------------------------------------------------------------------------------

    def _blob(self, name: str) -> BlobClient:
        """The SDK's client of a blob. To make one costs a tenth of a request, so those last used are kept; they own no connections."""
        container = self._open()
        client = self._blobs.pop(name, None)
        if client is None:
            client = container.get_blob_client(name)
            if len(self._blobs) >= _KEPT:
                del self._blobs[next(iter(self._blobs))]
        self._blobs[name] = client
        return client

    def _on_response(self, response: Any) -> None:
        request, answer = response.http_request, response.http_response
        size = request.headers.get("Content-Length") or answer.headers.get("Content-Length") or ""
        operation = of_blobs(request.method, request.url)
        self.stats.operated(TIER, operation, int(size) if size.isdigit() and request.method != "HEAD" else 0)
        super()._on_response(response)


async def _next(parts: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await anext(parts)
    except StopAsyncIteration:
        return None


def _put(answer: Any) -> Put | None:
    return None if answer is None else Put(_mark(answer["etag"]), _ms(answer["last_modified"]))


def _mark(etag: object) -> str:
    """An ETag in quotes, as If-Match wants it; a listing gives it without."""
    return '"' + str(etag).strip('"') + '"'


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
