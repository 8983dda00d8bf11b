"""Process memory, SQLite and a folder, and the clients on them."""

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.model import Envelope, Key, Pointer
from thermocline.resilience import Budget
from thermocline.testing import ManualClock
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

DAY = 86_400
SIZE = 5_000


def noise(seed: int, size: int = SIZE) -> bytes:
    """Bytes that no compressor shrinks."""
    return random.Random(seed).randbytes(size)


class Home:
    """Each client has tiers of its own on the same files. Time stands still until a test moves ``clock``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self._clients: list[MemoryClient] = []

    def key(self, name: str = "name", scope: str = "scope", tenant: str = "tenant") -> Key:
        return Key(tenant, scope, name)

    def hot(self) -> ProcessMemory:
        return ProcessMemory(clock=self.clock)

    def warm(self) -> SqliteMemory:
        return SqliteMemory(self.folder / "warm.sqlite3", clock=self.clock)

    def cold(self) -> FolderMemory:
        return FolderMemory(self.folder / "cold", clock=self.clock, fsync=False)

    async def open(self, **options: Any) -> MemoryClient:
        """A connected client, closed at the end of the test."""
        spans: dict[str, Any] = dict.fromkeys(("call", "connect", "hot", "warm", "cold"), timedelta(seconds=60))
        given: dict[str, Any] = {"clock": self.clock, "budget": Budget(self.clock, **spans)}
        tiers = {name: getattr(self, name)() for name in ("hot", "warm", "cold") if name not in options}
        client = MemoryClient(**given | tiers | options)
        self._clients.append(client)
        await client.connect()
        return client

    async def fill(self, memory: MemoryClient, count: int, prefix: str = "name/") -> dict[Key, bytes]:
        """So many records of `SIZE` bytes."""
        items = {self.key(f"{prefix}{number}"): noise(number) for number in range(count)}
        (await memory.set_many(items)).raise_errors()
        return items

    async def stored(self, key: Key) -> Envelope | None:
        """What the authority holds."""
        warm = self.warm()
        await warm.connect()
        try:
            return await warm.read(key, deadline=Deadline.after(10))
        finally:
            await warm.close()

    async def pointer(self, key: Key) -> Pointer | None:
        """Where the payload lies in cold; None: the authority has it itself."""
        found = await self.stored(key)
        return Codec().pointer_of(found) if found is not None and found.pointer else None

    def payloads(self) -> list[Path]:
        """The payload files."""
        return [path for path in (self.folder / "cold" / "tc1").rglob("*") if path.is_file() and len(path.name) == 64]

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
