"""`ColdMemory` that connects on first use and finds its credential."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from thermocline.agents.memory.first_use import SignsIn
from thermocline.identity import Credential
from thermocline.tiers import cold
from thermocline.tiers.cold.service import BlobService

__all__ = ["ColdMemory"]


class ColdMemory(SignsIn, cold.ColdMemory):
    """`thermocline.ColdMemory`, whose direct methods connect it on their first use, and which signs in with the default Azure credential (made by `connect`,
    closed by `close`) where it has none and no SAS."""

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

    def _is_without(self) -> bool:
        account = self._account
        secured = "sig=" in urlsplit(account.url).query or account.connection_string is not None
        return not self.connected and account.credential is None and not secured and account.url.startswith("https://")

    def _sign_in_with(self, credential: Credential | None) -> None:
        """By a service of the same account that is not open yet."""
        stats = self._service.stats
        self._account = replace(self._account, credential=credential)
        self._service = BlobService(self._account, self._clock)
        self._service.stats = stats

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
