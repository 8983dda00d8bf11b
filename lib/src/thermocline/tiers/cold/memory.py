"""`ColdMemory`: Blob Storage as payloads, as authority, and by name as the code that it replaces used it."""

import importlib.util
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any, Final, Self

from thermocline import configured
from thermocline.azure_storage.connecting import StorageTier, check_credential, limits_of
from thermocline.azure_storage.door import NotSignedIn
from thermocline.clock import SYSTEM_CLOCK, Clock, Deadline
from thermocline.errors import AccessDenied, ConfigurationError, InvalidArgument, NotFound
from thermocline.model import MemoryTier
from thermocline.tiers.cold.blobs import Account, Transfer
from thermocline.tiers.cold.door import ROLE, TIER, ContainerMissing
from thermocline.tiers.cold.payloads import BlobPayloads
from thermocline.tiers.cold.plain import OWN_NAMES, PlainBlobs, named
from thermocline.tiers.cold.service import BlobService
from thermocline.tiers.cold.upkeep import HeadUpkeep

_CALL: Final = timedelta(seconds=30)  # of a direct method, where no timeout is given


class ColdMemory(PlainBlobs, BlobPayloads, HeadUpkeep, StorageTier[BlobService]):
    """Blob Storage. Plays `Payloads`, `Versions`, `Census`, `Relocates`, `Purges` and `Notes` for a client; the direct methods read and write blobs by name.

    ``account_url`` is ``https://<account>.blob.core.windows.net``, perhaps with a SAS. ``credential`` is an asynchronous TokenCredential
    (``azure.identity.aio``), an account key, a SAS (also one that changes, as a secret of Key Vault), an `AzureNamedKeyCredential` or
    `AzureSasCredential`, or None; it stays open when the tier is closed. ``connection_pool_size``: connections at most (100). ``connection_timeout``,
    ``read_timeout``: seconds to connect (5), and of silence on a connection (30). ``create``: `connect` makes the container if it is missing. Versions
    are given out by compare-and-set on one head blob per key. ``transfer``: what reads records and payloads and creates payloads of up to 16 MiB: the
    Azure SDK (``"sdk"``), or ``"obstore"`` (the extra of that name), which takes a quarter to a half of the CPU.

    The SDK's retries are off. Nothing is sent before `connect`; `close` is needed, or use it in ``async with``.
    """

    tier = MemoryTier.COLD

    def __init__(
        self,
        account_url: str,
        container_name: str,
        *,
        connection_pool_size: int | None = None,
        connection_timeout: timedelta | float | None = None,
        read_timeout: timedelta | float | None = None,
        credential: Any = None,
        clock: Clock = SYSTEM_CLOCK,
        executor: Executor | None = None,
        create: bool = False,
        connection_string: str | None = None,
        transfer: Transfer = "sdk",
    ) -> None:
        check_credential(credential, tier=TIER)
        given: Any = container_name
        if not isinstance(given, str) or not given:
            raise ConfigurationError("cold: container_name is the name of a container (BLOB_CONTAINER)")
        if connection_string is None and not str(account_url).startswith(("https://", "http://")):
            raise ConfigurationError(
                "cold: account_url, the account's URL, must begin with https:// (BLOB_ACCOUNT_URL)"
            )
        if connection_string is not None:
            configured.text(connection_string, "cold: connection_string")
        configured.clock(clock, "cold: clock")
        configured.executor(executor, "cold: executor")
        configured.switch(create, "cold: create")
        _check_transfer(transfer)
        limits = limits_of(
            TIER,
            connection_pool_size=connection_pool_size,
            connection_timeout=connection_timeout,
            read_timeout=read_timeout,
        )
        account = Account(
            account_url,
            container_name,
            connection_string,
            transfer,
            credential=credential,
            **limits,
        )
        self._account = account
        self._clock = clock
        self._executor = executor
        self._create = create
        self._service = BlobService(account, clock)

    @classmethod
    def from_connection_string(cls, connection_string: str, container_name: str, **options: Any) -> Self:
        """The same from a connection string, as Azurite and the portal give it; ``options`` as of the constructor."""
        return cls("", container_name, connection_string=connection_string, **options)

    async def _examine(self, deadline: Deadline) -> None:
        name = self._account.container
        if self._create:
            await self._service.create(deadline)
        try:
            access = await self._service.properties(deadline)
        except NotSignedIn:
            raise
        except AccessDenied as denied:
            await self._examine_by_listing(denied, deadline)
            return
        except ContainerMissing as error:
            raise ConfigurationError(
                f"cold: there is no container {name!r}: create it, mend BLOB_CONTAINER, or connect with create=True"
            ) from error
        if access is not None:
            raise ConfigurationError(
                f"cold: the container {name!r} is open to the public ({access}): set its access level to private"
            )

    async def _examine_by_listing(self, denied: AccessDenied, deadline: Deadline) -> None:
        """A SAS of the container may not read its properties; it must be able to list."""
        try:
            await self._service.page(OWN_NAMES, limit=1, token=None, deadline=deadline)
        except AccessDenied as error:
            text = str(error)
            hint = "" if ROLE in text else f"; the role it takes is '{ROLE}'"
            raise AccessDenied(f"{text}{hint}", tier=error.tier, sent=False) from denied

    async def ping(self, *, deadline: Deadline) -> None:
        """List at most one blob: reaches the container, with the right to list it."""
        await self._service.page(OWN_NAMES, limit=1, token=None, deadline=deadline)

    # --- blobs by name -----------------------------------------------------------------------------------------------

    async def upload_text(self, blob_name: str, data: str, *, timeout: timedelta | None = None) -> None:
        """Store text as UTF-8 under this name, over whatever is there; one atomic request. At most 64 MiB."""
        if not isinstance(data, str):
            raise InvalidArgument(
                f"upload_text takes a str, not {type(data).__name__}; for bytes there is upload_bytes"
            )
        try:
            encoded = data.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument("the text holds a lone surrogate, which UTF-8 cannot hold") from error
        await self._upload(blob_name, encoded, "text/plain; charset=utf-8", timeout)

    async def download_text(self, blob_name: str, *, timeout: timedelta | None = None) -> str:
        """The text of that name. Raises `NotFound` (a `LookupError`) if there is none, `InvalidArgument` if it is not UTF-8."""
        data = await self.download_bytes(blob_name, timeout=timeout)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"the blob {blob_name!r} is not UTF-8 text: use download_bytes") from error

    async def upload_bytes(self, blob_name: str, data: bytes, *, timeout: timedelta | None = None) -> None:
        """Store bytes under this name, over whatever is there; one atomic request. At most 64 MiB."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise InvalidArgument(f"upload_bytes takes bytes, not {type(data).__name__}")
        await self._upload(blob_name, bytes(data), "application/octet-stream", timeout)

    async def download_bytes(self, blob_name: str, *, timeout: timedelta | None = None) -> bytes:
        """The bytes of that name. Raises `NotFound` (a `LookupError`) if there is none."""
        blob = await self._service.get(named(blob_name), self._deadline(timeout))
        if blob is None:
            raise NotFound(f"there is no blob {blob_name!r} in the container {self._account.container!r}")
        return blob.data

    async def delete_blob(self, blob_name: str, *, timeout: timedelta | None = None) -> bool:
        """Delete the blob of that name; whether there was one."""
        return await self._service.delete(named(blob_name), deadline=self._deadline(timeout))

    async def _upload(self, blob_name: str, data: bytes, content_type: str, timeout: timedelta | None) -> None:
        deadline = self._deadline(timeout)
        await self._service.put(named(blob_name), data, overwrite=True, content_type=content_type, deadline=deadline)

    def _deadline(self, timeout: timedelta | None) -> Deadline:
        given: Any = _CALL if timeout is None else timeout
        if not isinstance(given, timedelta):
            raise InvalidArgument(f"timeout is a timedelta, not {type(given).__name__}")
        return Deadline.after(given.total_seconds(), self._clock)


def _check_transfer(transfer: object) -> None:
    if transfer not in ("sdk", "obstore"):
        raise ConfigurationError(f'cold: transfer is "sdk" or "obstore", not {transfer!r}')
    if transfer == "obstore" and importlib.util.find_spec("obstore") is None:
        raise ConfigurationError('cold: transfer="obstore" needs obstore: pip install "thermocline[obstore]"')
