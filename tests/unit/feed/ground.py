"""What the tests of settling stand on: one memory over embedded tiers, whose hot tier can be away in parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thermocline import Key, MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import ThermoclineError
from thermocline.feed import Settling, letters_of
from thermocline.keys import cosmos_id
from thermocline.letters import Cause, Letter, LetterFilter
from thermocline.model import Envelope
from thermocline.protocols import EntryOperation, Found
from thermocline.testing import ChaosTier, ManualClock
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

KEY = Key("t", "s", "name")


def soon() -> Deadline:
    return Deadline.after(30)


class Pauses:
    """Waits for nothing, and remembers for how long it should have."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class SickHot(ProcessMemory):
    """Hot memory of which the shards of some keys are away."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.sick: dict[Key, ThermoclineError] = {}

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        if operation.key in self.sick:
            raise self.sick[operation.key]
        return await super().operate(operation, deadline=deadline)

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        well = [one for one in operations if one.key not in self.sick]
        answers = iter(await super().operate_many(well, deadline=deadline))
        return [self.sick[one.key] if one.key in self.sick else next(answers) for one in operations]


class Small:
    """One memory over embedded tiers, and what lies in them."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.clock = ManualClock()
        self.hot = SickHot(self.clock)
        self.warm = SqliteMemory(folder / "warm.sqlite3", clock=self.clock)
        self.chaos: Any = ChaosTier(self.hot)
        self.pauses = Pauses()
        tiers: dict[str, Any] = {"hot": self.chaos, "warm": self.warm}
        self.client = MemoryClient(clock=self.clock, **tiers, **options)

    async def version(self, key: Key = KEY, value: Any = "value") -> int:
        return (await self.client.set(key, value)).version

    async def entry(self, key: Key = KEY) -> Envelope | None:
        return await self.hot.peek(key, deadline=soon())

    def settling(self, **options: Any) -> Settling:
        return Settling(self.client, letters_of(self.client), clock=self.clock, pause=self.pauses, **options)

    async def letters(self) -> list[Letter]:
        return (await letters_of(self.client).page(LetterFilter(), deadline=soon())).letters


def document(key: Key, version: Any, **instead: Any) -> dict[str, Any]:
    item = {"id": cosmos_id(key), "tenant": key.tenant, "scope": key.scope, "n": key.name, "v": version, "r": {"z": 1}}
    return item | instead


def letter_for(key: Key, version: int) -> Letter:
    item = document(key, version)
    return Letter(
        cosmos_id(key).replace("tc1.", "") * 2, Cause.UNAVAILABLE, "away", key, ("t", key.scope), version, 5, 1000, item
    )
