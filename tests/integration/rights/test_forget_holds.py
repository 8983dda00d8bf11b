"""What a receipt says is so: hot has no copy, other routes' records and values of one tier alone are gone, nothing that exists is harmed."""

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.rights.ground import BRIEF, PATIENT, Ground, key, soon

from thermocline import FolderMemory, Key, MemoryClient, Route, SqliteMemory
from thermocline.client import fences
from thermocline.client.fences import Fence, Fences, fence_name
from thermocline.client.receipt import AUDIT, Receipt
from thermocline.errors import Forgotten
from thermocline.model import Authority
from thermocline.protocols import Verb, Write
from thermocline.testing import ChaosTier
from thermocline.testing.rig import RedisServer
from thermocline.tiers.hot import HotMemory

LARGE = random.Random(7).randbytes(200_000)  # goes to cold


async def forget(memory: MemoryClient, **given: Any) -> Receipt:
    return await memory.forget(**{"by": "the data protection officer", "longest_write": BRIEF, **given})


def tier_of(memory: MemoryClient, stamp: Authority) -> Any:
    return memory._engine.authorities[stamp]


# --- hot is told


async def deleted_below(memory: MemoryClient, one: Key) -> None:
    """As a client deletes that cannot reach hot and dies before it can: its recovery queue dies with it."""
    engine = memory._engine
    tombstone = engine.codec.tombstone(one, now_ms=engine.now_ms())
    plan = engine.routes.route(one)
    await engine.authority(plan.authority).write(Write(Verb.DELETE, engine.write_id(), tombstone), deadline=soon())


async def test_a_copy_in_hot_of_what_was_deleted_before_goes_too(ground: Ground, tenant: str) -> None:
    memory, other = await ground.client(), await ground.client()
    one = key("name", tenant=tenant)
    await memory.set(one, "Ada")
    await deleted_below(memory, one)
    if isinstance(memory._engine.hot, HotMemory):  # beside SQLite hot asks its fence, which told it
        assert await other.get(one) == "Ada"

    receipt = await forget(memory, scope="user/42", tenant=tenant)

    assert receipt.complete
    assert await (await ground.client()).get(one) is None
    assert await other.get(one) is None


async def test_keys_that_hot_could_not_be_told_of_are_in_the_receipt(
    tmp_path: Path, redis_server: RedisServer, tenant: str
) -> None:
    """Hot's entries cannot be reached in the first pass nor later: the second pass finds only tombstones, and says so all the same."""
    hot: Any = ChaosTier(HotMemory(redis_server.url))
    warm = tmp_path / "warm.sqlite3"
    one = key("name", tenant=tenant)
    async with (
        MemoryClient(hot=hot, warm=SqliteMemory(warm), budget=PATIENT) as memory,
        MemoryClient(hot=HotMemory(redis_server.url), warm=SqliteMemory(warm), budget=PATIENT) as other,
    ):
        await memory.set(one, "Ada")
        hot.down = True
        receipt = await forget(memory, scope="user/42", tenant=tenant)
        assert receipt.untold == 1
        assert not receipt.complete
        hot.down = False

        again = await forget(memory, scope="user/42", tenant=tenant)
        assert again.complete
        assert await other.get(one) is None


async def test_what_other_routes_left_goes_from_hot_as_well(ground: Ground, tenant: str) -> None:
    """A client for which cold has the word shares hot with one for which warm has it."""
    memory = await ground.client()
    other = await ground.client(routes=[Route("doc:", authority=Authority.COLD)])
    one = key("doc:1", tenant=tenant)
    await other.set(one, "Ada")
    assert await other.get(one) == "Ada"

    receipt = await forget(memory, scope="user/42", tenant=tenant)

    assert receipt.records["cold"] == 1
    fresh = await ground.client(routes=[Route("doc:", authority=Authority.COLD)])
    assert await fresh.get(one) is None
    assert await other.get(one) is None


# --- what one tier alone holds


@pytest.mark.parametrize("tier", ["hot", "cold"])
async def test_values_of_one_tier_alone_go_too(ground: Ground, tenant: str, tier: str) -> None:
    memory = await ground.client()
    mine, near = key("note", tenant=tenant), key("note", "user/421", tenant)
    for one in (mine, near):
        await memory.set(one, "Ada", tier=tier)
    await memory.set(mine, "Grace")

    receipt = await forget(memory, scope="user/42", tenant=tenant)

    assert await memory.get(mine, tier=tier) is None
    assert await memory.get(near, tier=tier) == "Ada"
    assert receipt.complete


async def test_values_of_one_tier_alone_of_a_tenant(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    mine, near = key("note", tenant=tenant), key("note", tenant=tenant + "x")
    for one in (mine, near):
        await memory.set(one, "Ada", tier="cold")

    await forget(memory, tenant=tenant)

    assert await memory.get(mine, tier="cold") is None
    assert await memory.get(near, tier="cold") == "Ada"


# --- the record of it


async def test_the_audit_record_and_the_fence_lie_where_they_last(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    receipt = await forget(memory, scope="user/42", tenant=tenant)

    warm = tier_of(memory, Authority.WARM)
    assert await warm.read_note(AUDIT + receipt.id, deadline=soon()) is not None
    assert await warm.read_note(fence_name(tenant, "user/42"), deadline=soon()) is not None


async def test_a_fence_is_never_put_back(ground: Ground, tenant: str) -> None:
    """Two forget at once, and the earlier one's fence arrives later."""
    memory = await ground.client()
    fences, at = Fences(memory._engine), memory._engine.now_ms()
    await fences.put(Fence(tenant, "s", at, "later"), soon())
    await fences.put(Fence(tenant, "s", at - 60_000, "earlier"), soon())
    assert await fences.of(Authority.WARM, tenant, "s", soon()) == at


# --- payloads


async def test_a_payload_that_a_new_write_is_about_to_name_stays(ground: Ground, tenant: str) -> None:
    """It was uploaded after the fence, and its writer is slow: the name that it sets must lead somewhere (P7)."""
    memory, writer = await ground.client(), await ground.client()
    erased, uploaded = asyncio.Event(), asyncio.Event()
    engine = writer._engine
    one = key("photo", tenant=tenant)
    await memory.set(key("old", tenant=tenant), LARGE)
    slow = Slow(tier_of(memory, Authority.WARM), uploaded, erased)
    memory._engine.authorities[Authority.WARM] = slow  # type: ignore[index]

    forgetting = asyncio.create_task(forget(memory, scope="user/42", tenant=tenant))
    await erased.wait()  # the fence stands
    begun = engine.now_ms()
    await asyncio.sleep(1 - begun % 1000 / 1000)  # Blob Storage tells whole seconds
    inline = engine.codec.encode(one, LARGE[::-1], now_ms=engine.now_ms())
    intent = await writer._writer.intent(Verb.PUT, inline, engine.routes.route(one), soon())
    uploaded.set()
    receipt = await forgetting
    await writer._writer.carry_out(intent, soon())

    assert await (await ground.client(routes=[Route("", hot=False)])).get(one) == LARGE[::-1]
    assert receipt.payloads == 1
    assert [left.tier for left in receipt.remains if "uploads" in left.what] == ["cold"]


class Slow:
    """An authority whose first census says that it began, and waits."""

    def __init__(self, tier: Any, go: asyncio.Event, began: asyncio.Event) -> None:
        self.inner, self.go, self.began = tier, go, began

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def census(self, **given: Any) -> Any:
        self.began.set()
        await self.go.wait()
        return await self.inner.census(**given)


# --- its own deletes


async def test_its_own_deletes_are_not_held_up_by_its_fence(
    ground: Ground, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:

    memory = await ground.client()
    await memory.set(key("name", tenant=tenant), "Ada")
    monkeypatch.setattr(fences, "HEEDED_AFTER", -1.0)  # as if each chunk had taken that long
    receipt = await forget(memory, scope="user/42", tenant=tenant)
    assert receipt.complete
    await memory.set(key("other", "user/43", tenant), 1)
    await Fences(memory._engine).put(Fence(tenant, "user/43", memory._engine.now_ms() + 5000, "id"), soon())
    assert (await memory.delete(key("other", "user/43", tenant))).found


# --- what is damaged


async def test_a_damaged_record_with_a_payload_is_named_and_holds_up_nothing(tmp_path: Path, tenant: str) -> None:
    warm = tmp_path / "warm.sqlite3"
    async with MemoryClient(warm=SqliteMemory(warm), cold=FolderMemory(tmp_path / "cold"), budget=PATIENT) as memory:
        for name in ("photo", "other"):
            await memory.set(key(name, tenant=tenant), LARGE)
        with closing(sqlite3.connect(warm)) as file:
            file.execute("UPDATE records SET record = x'00112233' WHERE name = 'photo'")
            file.commit()

        receipt = await forget(memory, scope="user/42", tenant=tenant)

        assert not receipt.complete
        assert any("photo" in words for words in receipt.damaged)
        assert receipt.payloads == 1
        assert await memory.get(key("other", tenant=tenant)) is None


async def test_sqlite_keeps_no_bytes_of_what_was_erased(tmp_path: Path, tenant: str) -> None:
    """Whatever the SQLite library was built with."""
    warm = tmp_path / "warm.sqlite3"
    async with MemoryClient(warm=SqliteMemory(warm), budget=PATIENT) as memory:
        await memory.set_many({key(f"n{n}", tenant=tenant): "a secret of Ada's" for n in range(100)})
    assert warm.read_bytes().count(b"a secret of Ada's") == 100
    async with MemoryClient(warm=SqliteMemory(warm), budget=PATIENT) as memory:
        await forget(memory, scope="user/42", tenant=tenant)
    assert sum(data.count(b"a secret of Ada's") for data in contents(tmp_path)) == 0


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir()]


# --- late writes


async def test_an_update_that_began_before_is_refused_when_it_is_made_anew_after(
    ground: Ground, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try makes its value anew, and yet its function may hold what was erased."""
    memory, writer = await ground.client(), await ground.client()
    one = key("log", tenant=tenant)
    await memory.set(one, ["old"])
    held = ["of before"]
    fences_ms = memory._engine.now_ms() + 4000  # as if the scope had been forgotten while the update met other writers
    await Fences(memory._engine).put(Fence(tenant, "user/42", fences_ms, "id"), soon())
    monkeypatch.setattr(fences, "HEEDED_AFTER", -1.0)
    tries = 0

    def add(value: list[str]) -> list[str]:
        nonlocal tries
        tries += 1
        return [*value, *held]

    with pytest.raises(Forgotten):
        await writer.update(one, add, timeout=2)
    assert tries == 1  # a call is as old the next time
    assert await memory.get(one) == ["old"]
