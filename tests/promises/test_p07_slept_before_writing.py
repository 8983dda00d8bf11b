"""P7: a process that slept between the upload and the write renews the payload, since the sweeper may have taken it for an orphan."""

from datetime import timedelta
from pathlib import Path

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.policy import MemoryRules
from thermocline.protocols import Announce, EntryOperation, Found
from thermocline.testing import ManualClock
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

HALF_A_DAY_MS = timedelta(hours=12) // timedelta(milliseconds=1)


class AsleepOnce(ProcessMemory):
    """While the first write is announced, the machine is suspended for longer than half the sweeper's grace: wall time goes on, the process does not."""

    def __init__(self, clock: ManualClock, cold: FolderMemory, *, swept: bool) -> None:
        super().__init__(clock=clock)
        self.manual = clock
        self.cold = cold
        self.swept = swept
        self.slept = False

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        if isinstance(operation, Announce) and not self.slept:
            self.slept = True
            self.manual.set_wall(self.manual.wall_ms() + 3 * HALF_A_DAY_MS)
            if self.swept:
                found, _ = await self.cold.list_payloads(limit=10, cursor=None, deadline=deadline)
                for payload in found:
                    assert await self.cold.sweep_payload(
                        payload.path, etag=payload.etag, unmodified_since_ms=self.manual.wall_ms(), deadline=deadline
                    )
        return await super().operate(operation, deadline=deadline)


async def stores_after_sleep(folder: Path, *, swept: bool) -> None:
    clock = ManualClock()
    cold = FolderMemory(folder / "cold", clock=clock)
    hot = AsleepOnce(clock, cold, swept=swept)
    warm = SqliteMemory(folder / "warm.sqlite3", clock=clock)
    rules = MemoryRules(cold_threshold_bytes=100, hot_max_bytes=0)
    value = bytes(range(256)) * 40
    async with MemoryClient(hot=hot, warm=warm, cold=cold, rules=rules, clock=clock) as memory:
        written = await memory.set("document", value)

        assert hot.slept
        assert written.durable
        assert await memory.get("document") == value
        found, _ = await cold.list_payloads(limit=10, cursor=None, deadline=Deadline.never())
        assert len(found) == 1


async def test_payload_that_is_still_there_is_renewed(tmp_path: Path) -> None:
    await stores_after_sleep(tmp_path, swept=False)


async def test_payload_that_was_swept_is_uploaded_again(tmp_path: Path) -> None:
    await stores_after_sleep(tmp_path, swept=True)
