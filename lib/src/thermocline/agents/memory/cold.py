"""`ColdMemory` that connects on first use and finds its credential."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from thermocline.identity import Credential, default_credential
from thermocline.tiers import cold
from thermocline.tiers.cold.service import BlobService

__all__ = ["ColdMemory"]


class ColdMemory(cold.ColdMemory):
    """`thermocline.ColdMemory`, whose direct methods connect it on their first use, and which signs in with the default Azure credential (made by `connect`,
    closed by `close`) where it has none and no SAS."""

    _ended = False
    _own: Credential | None = None

    def __init__(
        self,
        account_url: str,
        container_name: str,
        *,
        connection_pool_size: int | None = None,
        connection_timeout: float | None = None,
        read_timeout: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            account_url,
            container_name,
            connection_pool_size=connection_pool_size,
            connection_timeout=connection_timeout,
            read_timeout=read_timeout,
            **options,
        )
        self.account_url = account_url
        self.container_name = container_name
        self.connection_pool_size = connection_pool_size
        self.connection_timeout = connection_timeout
        self.read_timeout = read_timeout

    async def connect(self) -> None:
        account = self._account
        secured = "sig=" in urlsplit(account.url).query or account.connection_string is not None
        if not self.connected and account.credential is None and not secured and account.url.startswith("https://"):
            self._own = default_credential()
            self._serve(self._own)
        try:
            await super().connect()
        except BaseException:
            await self._sign_out()
            raise
        self._ended = False

    async def close(self) -> None:
        self._ended = True
        try:
            await super().close()
        finally:
            await self._sign_out()

    async def _sign_out(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            self._serve(None)
            await own.close()

    def _serve(self, credential: Any) -> None:
        """A service of the same account, not open yet, that signs in with this."""
        stats = self._service.stats
        self._account = replace(self._account, credential=credential)
        self._service = BlobService(self._account, self._clock)
        self._service.stats = stats

    async def _first(self) -> None:
        if not self.connected and not self._ended:
            await self.connect()

    async def upload_bytes(self, blob_name: str, data: bytes, *, timeout: timedelta | None = None) -> None:
        await self._first()
        await super().upload_bytes(blob_name, data, timeout=timeout)

    async def upload_text(self, blob_name: str, data: str, *, timeout: timedelta | None = None) -> None:
        await self._first()
        await super().upload_text(blob_name, data, timeout=timeout)

    async def download_bytes(self, blob_name: str, *, timeout: timedelta | None = None) -> bytes:
        await self._first()
        return await super().download_bytes(blob_name, timeout=timeout)

    async def delete_blob(self, blob_name: str, *, timeout: timedelta | None = None) -> bool:
        await self._first()
        return await super().delete_blob(blob_name, timeout=timeout)
