"""What hot gets: by itself after some reads (`promote_after`), and by `prefetch`."""

from datetime import timedelta
from typing import Any

import pytest
from tests.integration.moving.home import DAY, Home, noise

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import ConfigurationError, CorruptRecord, InvalidKey, TierUnavailable, TooLarge
from thermocline.model import Hit, Key, MemoryTier, Pointer
from thermocline.policy import MemoryRules, Route
from thermocline.protocols import Look
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory


async def tier_of(memory: MemoryClient, key: Key) -> MemoryTier:
    found = await memory.lookup(key)
    assert isinstance(found, Hit)
    return found.tier


# --- promote_after -----------------------------------------------------------------------------------------------------


async def test_value_is_promoted_by_the_stated_read(home: Home) -> None:
    writer = await home.open(hot=None)
    await writer.set(home.key(), "value")
    memory = await home.open(rules=MemoryRules(promote_after=3))
    tiers = [await tier_of(memory, home.key()) for _ in range(5)]
    assert tiers == [MemoryTier.WARM] * 3 + [MemoryTier.HOT] * 2


async def test_batches_and_pointers_count_alike(home: Home) -> None:
    writer = await home.open(hot=None)
    await writer.set(home.key("large"), noise(1, 200_000))
    await writer.set(home.key("small"), "value")
    memory = await home.open(rules=MemoryRules(promote_after=2))
    keys = [home.key("large"), home.key("small")]
    await memory.get_many(keys)
    reads = memory.stats()["warm"]["reads"]
    await memory.get_many(keys)
    assert memory.stats()["warm"]["reads"] == reads + 2
    await memory.get_many(keys)
    assert memory.stats()["warm"]["reads"] == reads + 2


async def test_what_is_not_promoted_is_right_all_the_same(home: Home) -> None:
    """Not to fill still means to settle: floors and tombstones are kept as for any reader."""
    memory = await home.open(rules=MemoryRules(promote_after=15))
    other = await home.open(hot=None)
    for turn in range(5):
        await other.set(home.key(), turn)
        assert await memory.get(home.key()) == turn
    await other.delete(home.key())
    assert await memory.get(home.key()) is None
    await memory.set(home.key(), "own")
    assert await tier_of(memory, home.key()) is MemoryTier.HOT, "what is written goes to hot as before"


async def test_route_may_ask_for_more_reads(home: Home) -> None:
    writer = await home.open(hot=None)
    keys = [home.key("often/a"), home.key("b")]
    for key in keys:
        await writer.set(key, "value")
    memory = await home.open(routes=[Route("often/", rules=MemoryRules(promote_after=2))])
    for key in keys:
        await memory.get(key)
    assert [await tier_of(memory, key) for key in keys] == [MemoryTier.WARM, MemoryTier.HOT]


@pytest.mark.parametrize("often", [0, -1, 16, 1.5, True, "2"])
def test_promote_after_that_cannot_be_is_refused(often: int) -> None:
    with pytest.raises(ConfigurationError, match="promote_after"):
        MemoryRules(promote_after=often)


@pytest.mark.parametrize("every", [timedelta(), timedelta(milliseconds=10), timedelta(days=2), 0.5, "60"])
async def test_save_reads_that_cannot_be_is_refused(home: Home, every: Any) -> None:
    with pytest.raises(ConfigurationError, match="save_reads"):
        await home.open(save_reads=every)


class NoNotes(SqliteMemory):
    async def write_note(self, *given: Any, **named: Any) -> Any:
        raise TierUnavailable("down", tier="warm")


async def test_reads_that_cannot_be_saved_disturb_nobody(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    memory = await home.open(
        warm=NoNotes(home.folder / "warm.sqlite3", clock=home.clock), save_reads=timedelta(hours=1)
    )
    await memory.set(home.key(), "value")
    await home.open(hot=None)
    assert await memory.get(home.key("none")) is None
    await memory.close()
    assert "could not be saved" in caplog.text


# --- prefetch ----------------------------------------------------------------------------------------------------------


async def test_each_key_answers_for_itself(home: Home) -> None:
    writer = await home.open(hot=None)
    for name in ("there", "held", "large", "gone", "ends"):
        await writer.set(
            home.key(name), noise(1, 50_000 if name == "large" else 100), ttl=60 if name == "ends" else DAY
        )
    await writer.delete(home.key("gone"))
    home.clock.advance(61)
    memory = await home.open(rules=MemoryRules(hot_max_bytes=10_000), routes=[Route("direct/", hot=False)])
    await memory.get(home.key("held"))
    keys = {name: home.key(name) for name in ("there", "held", "large", "gone", "ends", "never", "direct/x")}
    result = await memory.prefetch([*keys.values(), "", 7])  # type: ignore[list-item]
    assert result.promoted == [keys["there"]]
    assert result.present == [keys["held"]]
    assert result.missing == [keys["gone"], keys["ends"], keys["never"]]
    assert result.busy == []
    assert isinstance(result.errors.pop(keys["large"]), TooLarge)
    assert isinstance(result.errors.pop(keys["direct/x"]), ConfigurationError)
    assert {type(error) for error in result.errors.values()} == {InvalidKey}
    again = await memory.prefetch([keys["there"], keys["gone"]])
    assert again.present == [keys["there"]]
    assert again.missing == [keys["gone"]]
    assert await tier_of(memory, keys["there"]) is MemoryTier.HOT


async def test_payload_in_cold_comes_up_if_it_fits(home: Home) -> None:
    writer = await home.open(hot=None)
    await writer.set(home.key("fits"), noise(1, 200_000))
    await writer.set(home.key("large"), noise(2, 2_000_000))
    memory = await home.open()
    result = await memory.prefetch([home.key("fits"), home.key("large")])
    assert len(result.promoted) == 2
    before = memory.stats()["cold"]["reads"]
    assert await memory.get(home.key("fits")) == noise(1, 200_000)
    assert memory.stats()["cold"]["reads"] == before
    assert await memory.get(home.key("large")) == noise(2, 2_000_000)
    assert memory.stats()["cold"]["reads"] == before + 1
    assert memory.stats()["warm"]["reads"] == 2


async def test_key_that_somebody_reads_is_left_to_him(home: Home) -> None:
    writer = await home.open(hot=None)
    await writer.set(home.key(), "value")
    hot = home.hot()
    memory = await home.open(hot=hot)
    await hot.operate(Look(home.key(), "another", 10_000), deadline=Deadline.never())
    result = await memory.prefetch([home.key()])
    assert result.busy == [home.key()]
    assert memory.stats().get("warm", {}).get("reads", 0) == 0


class HotDown(ProcessMemory):
    down = True

    async def operate_many(self, operations: Any, *, deadline: Deadline) -> Any:
        if self.down:
            raise TierUnavailable("down", tier="hot")
        return await super().operate_many(operations, deadline=deadline)


class WarmDown(SqliteMemory):
    down = True

    async def read_many(self, keys: Any, *, deadline: Deadline) -> Any:
        if self.down:
            raise TierUnavailable("down", tier="warm")
        return await super().read_many(keys, deadline=deadline)


async def test_tiers_that_are_down_are_errors_of_their_keys(home: Home) -> None:
    writer = await home.open(hot=None)
    items = await home.fill(writer, 3)
    hot = HotDown(clock=home.clock)
    warm = WarmDown(home.folder / "warm.sqlite3", clock=home.clock)
    for memory in (await home.open(hot=hot), await home.open(warm=warm)):
        warm.down = hot.down = True
        result = await memory.prefetch(items)
        assert set(result.errors) == set(items)
        assert all(isinstance(error, TierUnavailable) for error in result.errors.values())
        warm.down = hot.down = False
        home.clock.advance(60)  # leases that were taken run out, and breakers let a probe through
        assert await memory.get_many(items) == items


async def test_scoped_prefetch_takes_names(home: Home) -> None:
    writer = await home.open(hot=None)
    await writer.set(home.key("a"), 1)
    scoped = (await home.open()).scoped(tenant="tenant", scope="scope")
    result = await scoped.prefetch(["a", "b", home.key("a")])  # type: ignore[list-item]
    assert (result.promoted, result.missing) == (["a"], ["b"])
    assert isinstance(result.errors[home.key("a")], InvalidKey)


async def test_thousands_of_keys_go_a_thousand_at_a_time(home: Home) -> None:
    writer = await home.open(hot=None)
    items = {home.key(f"name/{number}", f"scope/{number % 7}"): number for number in range(2_500)}
    (await writer.set_many(items)).raise_errors()
    memory = await home.open()
    result = await memory.prefetch(items)
    assert len(result.promoted) == 2_500
    assert memory.stats()["warm"]["requests"] < 200
    assert await memory.get_many(items) == items


class Counting(FolderMemory):
    """Notes how many payloads are read side by side; those of ``wrong`` are not what their pointers say."""

    under_way = 0
    most = 0
    wrong: Key | None = None

    async def get_payload(self, key: Key, pointer: Pointer, *, deadline: Deadline) -> bytes | None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            data = await super().get_payload(key, pointer, deadline=deadline)
        finally:
            self.under_way -= 1
        return b"" if key == self.wrong else data


async def test_payloads_come_up_several_at_a_time_and_each_for_itself(home: Home) -> None:
    writer = await home.open(hot=None)
    items = await home.fill(writer, 20)
    assert (await writer.demote(items)).moved == 20
    cold = Counting(home.folder / "cold", clock=home.clock, fsync=False)
    cold.wrong = home.key("name/7")
    memory = await home.open(cold=cold)
    result = await memory.prefetch(items)
    assert 1 < cold.most <= 8
    assert [*result.errors] == [cold.wrong]
    assert isinstance(result.errors[cold.wrong], CorruptRecord)
    assert sorted([*result.promoted, cold.wrong]) == sorted(items)
    cold.wrong = None
    assert await memory.get_many(items) == items
