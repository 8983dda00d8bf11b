"""SQLite as the authority."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from thermocline.model import Key
from thermocline.testing import ManualClock
from thermocline.testing.conformance import VersionsConformance
from thermocline.tiers.local.sqlite import SqliteMemory


class TestSqliteVersions(VersionsConformance):
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
        await asyncio.to_thread(_flip_last_byte, tier.path, key)


def _flip_last_byte(path: Path, key: Key) -> None:
    connection = sqlite3.connect(path)
    try:
        where = "WHERE tenant = ? AND scope = ? AND name = ?"
        parts = (key.tenant, key.scope, key.name)
        (record,) = connection.execute(f"SELECT record FROM records {where}", parts).fetchone()
        altered = record[:-1] + bytes([record[-1] ^ 1])
        connection.execute(f"UPDATE records SET record = ? {where}", (altered, *parts))
        connection.commit()
    finally:
        connection.close()
