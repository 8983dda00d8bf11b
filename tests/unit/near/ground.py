"""What the tests of the near cache stand on: a client with one, alone with a hot tier that tells of its changes, and a clock that stands still."""

from typing import Any

from thermocline import Key, MemoryClient, NearCache
from thermocline.client.near import Near
from thermocline.testing import ManualClock
from thermocline.testing.telling import TellingMemory


class Ground:
    """It has heard nothing before the first `beat`."""

    def __init__(self, near: NearCache | None = None, **options: Any) -> None:
        self.clock = ManualClock()
        self.hot = TellingMemory(2**28, clock=self.clock)
        self.client = MemoryClient(hot=self.hot, clock=self.clock, near=near or NearCache(), **options)

    @property
    def near(self) -> Near:
        assert self.client._near is not None
        return self.client._near

    def beat(self) -> None:
        self.hot.beat(self.clock.monotonic())

    def has(self, key: str | Key) -> bool:
        return self.near.find(key) is not None

    async def remember(self, key: str, value: Any, **options: Any) -> None:
        await self.client.set(key, value, **options)
        assert await self.client.get(key) == value
        assert self.has(key)
