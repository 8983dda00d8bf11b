"""SQLite and those who keep it in order."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from thermocline.model import Key
from thermocline.testing import ManualClock
from thermocline.testing.conformance import (
    AtomicConformance,
    CensusConformance,
    NotesConformance,
    PurgesConformance,
    RelocatesConformance,
)
from thermocline.tiers.local.sqlite import SqliteMemory


class SqliteTier:
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def tier(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[SqliteMemory]:
        tier = SqliteMemory(tmp_path / "memory.db", clock=clock)
        await tier.connect()
        yield tier
        await tier.close()

    async def reopen(self, tier: SqliteMemory) -> SqliteMemory:
        second = SqliteMemory(tier.path, clock=ManualClock())
        await second.connect()
        return second

    async def damage(self, tier: SqliteMemory, key: Key) -> None:
        where = "WHERE tenant = ? AND scope = ? AND name = ?", (key.tenant, key.scope, key.name)
        with closing(sqlite3.connect(tier.path)) as database, database:
            [[record]] = database.execute(f"SELECT record FROM records {where[0]}", where[1])
            flipped = record[:-1] + bytes([record[-1] ^ 1])
            database.execute(f"UPDATE records SET record = ? {where[0]}", (flipped, *where[1]))


class TestSqliteCensus(SqliteTier, CensusConformance):
    pass


class TestSqliteRelocates(SqliteTier, RelocatesConformance):
    pass


class TestSqlitePurges(SqliteTier, PurgesConformance):
    pass


class TestSqliteNotes(SqliteTier, NotesConformance):
    pass


class TestSqliteAtomic(SqliteTier, AtomicConformance):
    pass
