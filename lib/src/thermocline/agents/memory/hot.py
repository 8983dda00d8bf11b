"""`HotMemory` that connects on first use."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from thermocline.agents.memory.first_use import FirstUse
from thermocline.tiers import hot

__all__ = ["HotMemory"]


class HotMemory(FirstUse, hot.HotMemory):
    """`thermocline.HotMemory`, whose direct methods connect it on their first use. Who lets them do so closes it: ``await hot.close()``; then it is closed
    until `connect`."""

    def __init__(
        self,
        url: str,
        *,
        max_connections: int | None = None,
        socket_timeout: timedelta | float | None = None,
        socket_connect_timeout: timedelta | float | None = None,
        health_check_interval: timedelta | float | None = None,
        retry_on_timeout: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            url,
            max_connections=max_connections,
            socket_timeout=socket_timeout,
            socket_connect_timeout=socket_connect_timeout,
            health_check_interval=health_check_interval,
            retry_on_timeout=retry_on_timeout,
            **options,
        )
        self.max_connections = max_connections
        self.socket_timeout = socket_timeout
        self.socket_connect_timeout = socket_connect_timeout
        self.health_check_interval = health_check_interval
        self.retry_on_timeout = retry_on_timeout

    async def set(self, key: str, value: Any, ttl_seconds: float | timedelta | None = 900) -> None:
        await self._first()
        await super().set(key, value, ttl_seconds)

    async def get(self, key: str) -> Any:
        await self._first()
        return await super().get(key)

    async def delete(self, *keys: str) -> int:
        await self._first()
        return await super().delete(*keys)

    async def exists(self, key: str) -> bool:
        await self._first()
        return await super().exists(key)

    async def mget(self, keys: Sequence[str]) -> dict[str, Any]:
        await self._first()
        return await super().mget(keys)

    async def mset(self, items: Mapping[str, Any], ttl_seconds: float | timedelta | None = 900) -> None:
        await self._first()
        await super().mset(items, ttl_seconds)
