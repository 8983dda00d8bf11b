"""What the old code left is copied into the new layout in one go, without touching it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.dropin.world import Old, roomy

from thermocline import ConfigurationError, LegacySource, MemoryClient, ProcessMemory
from thermocline.model import Key
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.transfer import Migration, old_keys, old_memory


async def left(old: Old) -> dict[str, Any]:
    """Plain keys, documents and blobs, by the bare SDKs."""
    hot, warm, cold = (old.name(part) for part in ("hot", "warm", "cold"))
    await old.redis.set(hot, json.dumps({"in": "redis"}), px=3_600_000)
    await old.documents.upsert_item({"id": warm, "pk": warm, "value": {"in": ["cosmos", 1.5, None]}})
    await old.blobs.upload_blob(cold, b"in a blob")
    return {hot: json.dumps({"in": "redis"}), warm: {"in": ["cosmos", 1.5, None]}, cold: "in a blob"}


async def test_old_copies_become_records(old: Old, tmp_path: Path) -> None:
    wanted = await left(old)
    legacy = old.source()
    keys = [key for key in await old_keys(legacy) if key.name in wanted]
    assert {key.name for key in keys} == set(wanted), "the services are shared with other tests"
    source = old_memory(legacy, ProcessMemory(), budget=roomy())
    async with source, MemoryClient(warm=SqliteMemory(tmp_path / "new.sqlite3"), budget=roomy()) as target:
        migration = Migration(source, target, keys=keys)
        plan = await migration.plan(merge=True)
        assert (plan.records, plan.possible) == (3, True)
        report = await migration.copy(merge=True)
        assert (report.written, report.failed) == (3, 0)
        assert {name: await target.get(name) for name in wanted} == wanted
        assert await target.get(old.name("hot"), type=dict) == {"in": "redis"}
        lives = await target.ttl(old.name("hot"))
        assert lives is not None
        assert timedelta(minutes=50) < lives <= timedelta(hours=1)
        assert (await migration.verify()).equal == 3
        assert await old.redis.get(old.name("hot")) is not None, "nothing old is touched"

        await target.set(old.name("warm"), "the new application's")
        await target.delete(old.name("cold"))
        again = await migration.copy(merge=True)
        assert (again.written, again.same, again.kept) == (0, 1, 2)
        assert await target.get(old.name("warm")) == "the new application's"
        assert await target.get(old.name("cold")) is None, "what was deleted since does not come back"


async def test_keys_of_another_naming_must_be_named(old: Old) -> None:
    await left(old)
    legacy = LegacySource(hot=old.hot(), name=lambda key: f"app:{key.name}")
    with pytest.raises(ConfigurationError, match="name the keys yourself"):
        await old_keys(legacy)
    assert Key.of(old.name("hot")) in await old_keys(LegacySource(hot=old.hot()))
