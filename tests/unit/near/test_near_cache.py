"""The near cache of one client over process memory that tells of its changes: what it gives, to whom, and for how long."""

import asyncio
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.near.ground import Ground

from thermocline import Hit, Key, Lifetime, LifetimeRule, Lifetimes, MemoryClient, SqliteMemory
from thermocline.client.near import MISSING
from thermocline.errors import ClientClosed, InvalidKey

# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", 5, None, ["a"], {"a": 1}, b"a"])
async def test_what_is_no_key_is_told_as_ever(ground: Ground, key: Any) -> None:
    with pytest.raises(InvalidKey):
        await ground.client.get(key)


async def test_a_plain_string_and_its_key_are_one(ground: Ground) -> None:
    await ground.remember("name", 1)
    assert ground.has(Key.of("name"))
    assert not ground.has(Key("default", "other", "name"))
    assert len(ground.near) == 1
    await ground.client.set(Key.of("name"), 2)
    assert await ground.client.get("name") == 2
    other = Key("tenant", "scope", "name")
    await ground.client.set(other, 3)
    assert [await ground.client.get(other) for _ in range(2)] == [3, 3]
    assert await ground.client.get("name") == 2


# --- how long --------------------------------------------------------------------------------------------------------


async def test_nothing_is_given_past_its_end(ground: Ground) -> None:
    await ground.remember("k", 1, ttl=0.5)
    ground.clock.advance(0.499)
    ground.beat()
    assert await ground.client.get("k") == 1
    assert ground.has("k")
    ground.clock.advance(0.001)
    assert not ground.has("k")
    assert await ground.client.get("k") is None


async def test_nothing_is_given_past_the_bound_unless_a_beat_came(ground: Ground) -> None:
    await ground.remember("k", 1)
    ground.clock.advance(0.999)
    assert ground.has("k")
    ground.clock.advance(0.001)
    assert not ground.has("k")
    ground.beat()
    assert ground.has("k")


async def test_after_a_minute_hot_is_asked_again(ground: Ground) -> None:
    await ground.remember("k", 1)
    for _ in range(60):
        assert ground.has("k")
        ground.clock.advance(1)
        ground.beat()
    assert not ground.has("k")
    assert await ground.client.get("k") == 1
    assert ground.has("k")


async def test_a_known_version_drops_what_is_older(ground: Ground) -> None:
    await ground.remember("k", 1)
    entry = ground.near.find("k")
    assert entry is not None
    ground.client._engine.floors.note(Key.of("k"), entry.envelope.version)
    assert ground.has("k")
    ground.client._engine.floors.note(Key.of("k"), entry.envelope.version + 1)
    assert not ground.has("k")


async def test_a_write_drops_it_before_it_is_sent(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    await ground.remember("k", 1)
    seen = []
    write = ground.hot._write

    def watched(*arguments: Any) -> Any:
        seen.append(ground.has("k"))
        return write(*arguments)

    monkeypatch.setattr(ground.hot, "_write", watched)
    await ground.client.set("k", 2)
    assert seen == [False]
    assert await ground.client.get("k") == 2


async def test_a_blind_client_does_not_use_it(ground: Ground) -> None:
    await ground.remember("k", 1)
    ground.client._recovery._blind_until = ground.clock.monotonic() + 60
    assert not ground.has("k")
    assert await ground.client.get("k") == 1
    assert not ground.has("k")


# --- emptied ---------------------------------------------------------------------------------------------------------


async def test_a_break_empties_it_and_nothing_is_kept_before_a_beat(ground: Ground) -> None:
    await ground.remember("k", 1)
    ground.hot.cut()
    assert len(ground.near) == 0
    assert await ground.client.get("k") == 1
    ground.hot.mend()
    assert await ground.client.get("k") == 1
    assert len(ground.near) == 0
    ground.beat()
    assert await ground.client.get("k") == 1
    assert len(ground.near) == 1
    assert ground.client.stats()["near"]["near_emptied"] == 1


async def test_an_answer_that_is_overtaken_is_not_kept(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is answered, and before its answer is there the key changes."""
    await ground.client.set("k", "old")
    read, gate, asked = ground.hot.read, asyncio.Event(), asyncio.Event()

    async def slow(key: Key, **options: Any) -> Any:
        found = await read(key, **options)
        asked.set()
        await gate.wait()
        return found

    monkeypatch.setattr(ground.hot, "read", slow)
    reading = asyncio.create_task(ground.client.get("k"))
    await asked.wait()
    monkeypatch.undo()
    async with MemoryClient(hot=ground.hot, clock=ground.clock) as other:
        await other.set("k", "new")
    gate.set()
    assert await reading == "old"  # it began before the write
    assert not ground.has("k")
    assert await ground.client.get("k") == "new"


async def test_a_cancelled_reader_leaves_no_ticket(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def never(key: Key, **options: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(ground.hot, "read", never)
    reading = asyncio.create_task(ground.client.get("k"))
    await asked.wait()
    assert len(ground.near._pending) == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert ground.near._pending == {}


async def test_a_raised_epoch_empties_it(tmp_path: Path) -> None:
    from thermocline.client.assembly import _enter

    ground = Ground(warm=SqliteMemory(tmp_path / "warm.sqlite3"))
    async with ground.client as client:
        ground.beat()
        await client.set("k", 1)
        await client.get("k")
        assert ground.has("k")
        _enter(client._parts, 7)
        assert len(ground.near) == 0
        assert await client.get("k") == 1


async def test_forgetting_empties_it(ground: Ground) -> None:
    key = Key("tenant", "user/1", "k")
    await ground.client.set(key, 1)
    await ground.client.get(key)
    assert ground.has(key)
    await ground.client.forget(tenant="tenant", scope="user/1", by="a test", longest_write=timedelta(seconds=1))
    assert len(ground.near) == 0
    assert await ground.client.get(key) is None


async def test_closed_it_holds_nothing() -> None:
    ground = Ground()
    async with ground.client as client:
        ground.beat()
        await ground.remember("k", 1)
    assert len(ground.near) == 0
    assert ground.hot.listeners == []
    with pytest.raises(ClientClosed):
        await client.get("k")


async def test_another_loop_gets_nothing(ground: Ground) -> None:
    await ground.remember("k", 1)
    found: list[Any] = []

    async def ask() -> None:
        found.append(ground.near.take("k"))
        with pytest.raises(ClientClosed):
            await ground.client.get("k")

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert found == [MISSING]


# --- the other verbs -------------------------------------------------------------------------------------------------


async def test_lookup_says_why_it_may_be_behind(ground: Ground) -> None:
    await ground.remember("k", 1, tags={"a": "b"})
    found = await ground.client.lookup("k")
    assert isinstance(found, Hit)
    assert (found.value, found.tier, dict(found.record.tags)) == (1, "hot", {"a": "b"})
    assert "near cache" in found.bound
    assert "1 s" in found.bound


async def test_a_batch_takes_what_is_near_and_asks_for_the_rest(ground: Ground) -> None:
    await ground.remember("a", 1)
    await ground.client.set("b", 2)
    hits = ground.near.hits
    batch = await ground.client.get_many(["a", "b", "c", ""])
    assert dict(batch) == {"a": 1, "b": 2}
    assert batch.missing == ["c"]
    assert batch.errors.keys() == {""}
    assert ground.near.hits == hits + 1
    assert ground.has("b")


async def test_a_batch_gives_nothing_that_ended_while_it_waited(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ground.remember("a", 1, ttl=0.5)
    await ground.client.set("b", 2)
    ground.clock.advance(0.49)
    read_many = ground.hot.read_many

    async def slow(*arguments: Any, **options: Any) -> Any:
        ground.clock.advance(0.01)
        return await read_many(*arguments, **options)

    monkeypatch.setattr(ground.hot, "read_many", slow)
    batch = await ground.client.get_many(["a", "b"])
    assert (dict(batch), batch.missing) == ({"b": 2}, ["a"])


async def test_sliding_records_are_renewed_by_what_is_near() -> None:
    rule = LifetimeRule(prefix="session/", lifetime=Lifetime(600, sliding=True))
    ground = Ground(lifetimes=Lifetimes([rule]))
    async with ground.client as client:
        ground.beat()
        await client.set("session/1", 1)
        await client.get("session/1")
        ground.clock.advance(59)
        ground.beat()
        for _ in range(7):  # beyond half of its life it is renewed
            ground.clock.advance(59)
            ground.beat()
            assert await client.get("session/1") == 1
            await client._touches.close(patience=5)
            client._touches._closed = False
        left = await client.ttl("session/1")
        assert left is not None
        assert left > timedelta(minutes=5)


async def test_a_loop_of_nothing_but_reads_lets_others_have_a_turn(ground: Ground) -> None:
    await ground.remember("k", 1)
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    for _ in range(600):
        await ground.client.get("k")
    assert turned.is_set()
