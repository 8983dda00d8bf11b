"""One hot tier, one authority, and clients over them as in processes of their own, in virtual time."""

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from thermocline.client import MemoryClient
from thermocline.testing.schedule import SeededLoop

Hot = TypeVar("Hot")
Warm = TypeVar("Warm")


class Clients(Generic[Hot, Warm]):
    def __init__(self, loop: SeededLoop, hot: Hot, warm: Warm) -> None:
        self.loop = loop
        self.hot = hot
        self.warm = warm
        self.clients: list[MemoryClient] = []

    async def client(self, **given: Any) -> MemoryClient:
        tiers: dict[str, Any] = {"hot": self.hot, "warm": self.warm, "clock": self.loop.clock}
        client = MemoryClient(**(tiers | given))
        await client.connect()
        self.clients.append(client)
        return client


Ground = TypeVar("Ground", bound=Clients[Any, Any])


def on_virtual_time(
    make: Callable[[SeededLoop], Ground], main: Callable[[Ground], Coroutine[Any, Any, None]], seed: int = 1
) -> None:
    """Run it on a ground of its own. Nothing may have failed unheard."""
    loop = SeededLoop(seed)

    async def whole() -> None:
        ground = make(loop)
        tiers = (ground.hot, ground.warm)
        for tier in tiers:
            await tier.connect()
        try:
            await main(ground)
        finally:
            for client in ground.clients:
                await client.close()
            for tier in tiers:
                await tier.close()

    try:
        loop.run_until_complete(whole())
        assert loop.errors == []
    finally:
        loop.close()
