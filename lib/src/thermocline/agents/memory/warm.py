"""`WarmMemory` that connects on first use and finds its credential."""

from collections.abc import Mapping
from typing import Any

from thermocline.agents.memory.first_use import SignsIn
from thermocline.identity import Credential
from thermocline.tiers import warm

__all__ = ["WarmMemory"]


class WarmMemory(SignsIn, warm.WarmMemory):
    """`thermocline.WarmMemory`, whose `upsert`, `read` and `delete` connect it on their first use, and which signs in with the default Azure credential
    (made by `connect`, closed by `close`) where it has neither ``credential`` nor ``key``."""

    def __init__(
        self,
        account_uri: str,
        database: str,
        container: str,
        *,
        connection_limit: int | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            account_uri,
            database,
            container,
            connection_limit=connection_limit,
            client_kwargs=client_kwargs,
            **options,
        )
        self.account_uri = account_uri
        self.database = database
        self.container = container
        self.connection_limit = connection_limit

    def _is_without(self) -> bool:
        return self.credential is None and self.key is None and self.account_uri.startswith("https://")

    def _sign_in_with(self, credential: Credential | None) -> None:
        self.credential = credential

    async def upsert(self, item: Mapping[str, Any]) -> dict[str, Any]:
        await self._first()
        return await super().upsert(item)

    async def _read_document(self, item_id: str, partition_key: Any = None) -> dict[str, Any]:
        await self._first()
        return await super()._read_document(item_id, partition_key)

    async def delete(self, item_id: str, partition_key: Any = None) -> bool:
        await self._first()
        return await super().delete(item_id, partition_key)
