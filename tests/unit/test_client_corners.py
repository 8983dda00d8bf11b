"""Corners of the client's rules, each found by trying to break a promise on the embedded tiers."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline import wiring
from thermocline.client import MemoryClient
from thermocline.clock import Clock, Deadline
from thermocline.errors import ConfigurationError, InvalidArgument, ThermoclineError, TierTimeout, TierUnavailable
from thermocline.model import Envelope, Key, Unavailable
from thermocline.policy import MemoryRules, Route
from thermocline.protocols import Announce, Busy, EntryOperation, Found, Look, Write, Written
from thermocline.resilience import Budget
from thermocline.settings import MemorySettings
from thermocline.testing.schedule import SeededLoop
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory

KEY = Key("tenant", "scope", "name")


class Deaf(ProcessMemory):
    """A hot tier that answers a plain GET and can be told nothing."""

    deaf = False

    async def operate(self, operation: EntryOperation, *, deadline: Deadline) -> Found | None:
        if self.deaf:
            raise TierUnavailable("nothing gets through", tier="hot")
        return await super().operate(operation, deadline=deadline)


class Cut(SqliteMemory):
    """A warm tier that can be cut off."""

    cut = False

    async def read(self, key: Key, *, deadline: Deadline) -> Envelope | None:
        if self.cut:
            raise TierUnavailable("it is cut off", tier="warm")
        return await super().read(key, deadline=deadline)


class Unreached(SqliteMemory):
    """A warm tier that cannot be connected, so many times."""

    refusals = 0
    under_way = 0
    most = 0

    async def connect(self) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            if self.refusals:
                self.refusals -= 1
                raise TierUnavailable("not yet", tier="warm")
            await super().connect()
        finally:
            self.under_way -= 1


class Held(ProcessMemory):
    """A hot tier whose first announcement is answered half a minute late, as if this process had been stopped."""

    held = False

    async def operate_many(
        self, operations: Sequence[EntryOperation], *, deadline: Deadline
    ) -> list[Found | ThermoclineError | None]:
        answers = await super().operate_many(operations, deadline=deadline)
        if not self.held and isinstance(operations[0], Announce):
            self.held = True
            await asyncio.sleep(30)
        return answers


class Asking(SqliteMemory):
    """A warm tier that asks hot, before it writes, what it would answer a reader."""

    hot: Held
    found: Found | None = None

    async def write_many(self, writes: Sequence[Write], *, deadline: Deadline) -> list[Written | ThermoclineError]:
        self.found = await self.hot.operate(Look(writes[0].key, "reader", 1000), deadline=deadline)
        return await super().write_many(writes, deadline=deadline)


class BlackHole(ProcessMemory):
    """A hot tier whose connection is never answered."""

    async def connect(self) -> None:
        await asyncio.sleep(3600)


class Unanswered(SqliteMemory):
    """A warm tier of the same kind."""

    async def connect(self) -> None:
        await asyncio.sleep(3600)


class Skewed(SqliteMemory):
    """An authority that knows how far its clock is from this machine's, and has an epoch."""

    skew_ms = 0

    async def epoch(self) -> int:
        return 0


@pytest.mark.parametrize("verb", ["set", "delete"])
async def test_a_stale_answer_is_never_older_than_the_clients_own_write(tmp_path: Path, verb: str) -> None:
    """P6 and P4: not even where stale answers are asked for."""
    hot, warm = Deaf(), Cut(tmp_path / "warm.sqlite3")
    async with MemoryClient(hot=hot, warm=warm, rules=MemoryRules(stale_while_down=True)) as memory:
        await memory.set(KEY, "old")
        hot.deaf = True
        written = await (memory.set(KEY, "new") if verb == "set" else memory.delete(KEY))
        assert not written.hot
        warm.cut = True
        held = await hot.peek(KEY, deadline=Deadline.after(1))
        assert held is not None
        assert held.version < written.version  # hot would have an older answer
        assert isinstance(await memory.lookup(KEY), Unavailable)
        hot.deaf = False


async def test_an_update_asks_the_authority_whatever_the_rule_for_reads(tmp_path: Path) -> None:
    """`read_fallback=False` answers that nobody was asked; a condition made from that would be refused until the deadline."""
    hot = ProcessMemory()
    rules = MemoryRules(read_fallback=False)
    async with MemoryClient(hot=hot, warm=SqliteMemory(tmp_path / "warm.sqlite3"), rules=rules) as memory:
        await memory.set(KEY, 41)
        await hot.drop([KEY], deadline=Deadline.after(1))
        assert await memory.increment(KEY) == 42


async def test_hot_asks_the_file_of_any_route_whether_it_changed(tmp_path: Path) -> None:
    """The default's authority is hot; a route's is a file that another client of another process memory writes."""

    def client() -> MemoryClient:
        return MemoryClient(
            hot=ProcessMemory(),
            warm=SqliteMemory(tmp_path / "warm.sqlite3"),
            rules=MemoryRules(write_through=False),
            routes=[Route("kept/", rules=MemoryRules())],
        )

    async with client() as one, client() as other:
        await one.set("kept/x", 1)
        assert await other.get("kept/x") == 1
        await one.set("kept/x", 2)
        assert await other.get("kept/x") == 2


async def test_callers_in_a_hurry_do_not_open_a_breaker_for_the_others(tmp_path: Path) -> None:
    async with MemoryClient(hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "warm.sqlite3")) as memory:
        for _ in range(10):
            with pytest.raises(TierTimeout):
                await memory.get(KEY, timeout=1e-9)
        batch = await memory.set_many({f"name{i}": i for i in range(1000)}, timeout=1e-9)
        assert len(batch.errors) == 1000
        assert {memory.stats()[tier]["breaker"] for tier in ("hot", "warm")} == {"closed"}
        assert (await memory.set(KEY, 1)).durable


async def test_a_caller_who_connects_anew_is_not_undone_by_one_who_failed_with_him(tmp_path: Path) -> None:
    warm = Unreached(tmp_path / "warm.sqlite3")
    warm.refusals = 1
    memory = MemoryClient(hot=ProcessMemory(), warm=warm)

    async def until_connected() -> None:
        try:
            await memory.connect()
        except TierUnavailable:
            await memory.connect()

    await asyncio.gather(*(until_connected() for _ in range(3)))
    assert warm.most == 1
    assert await memory.get(KEY) is None
    await memory.close()
    assert not warm.connected


def run(main: Callable[[Clock], Coroutine[Any, Any, None]]) -> None:
    """On virtual time."""
    loop = SeededLoop(1)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main(loop.clock))


def test_connecting_has_one_deadline_for_all_tiers(tmp_path: Path) -> None:
    """And a hot tier that is cut off takes nothing from the authority."""

    async def main(clock: Clock) -> None:
        started = clock.monotonic()
        warm = SqliteMemory(tmp_path / "warm.sqlite3", clock=clock)
        async with MemoryClient(hot=BlackHole(clock=clock), warm=warm, budget=Budget(clock), clock=clock) as memory:
            assert clock.monotonic() - started == pytest.approx(15)
            assert (await memory.set(KEY, 1)).durable
        started = clock.monotonic()
        unreached = Unanswered(tmp_path / "other.sqlite3", clock=clock)
        memory = MemoryClient(hot=BlackHole(clock=clock), warm=unreached, budget=Budget(clock), clock=clock)
        with pytest.raises(TierTimeout):
            await memory.connect()
        assert clock.monotonic() - started == pytest.approx(15)
        await memory.close()

    run(main)


def test_a_batch_that_was_held_up_announces_anew(tmp_path: Path) -> None:
    """As a single write does: else a reader could fill hot with what the batch is about to replace."""

    async def main(clock: Clock) -> None:
        hot, warm = Held(clock=clock), Asking(tmp_path / "warm.sqlite3", clock=clock)
        warm.hot = hot
        budget = Budget(clock, call=timedelta(seconds=60))
        async with MemoryClient(hot=hot, warm=warm, budget=budget, clock=clock) as memory:
            batch = await memory.set_many({KEY: 1, Key("tenant", "scope", "other"): 2})
            assert len(batch) == 2
            assert isinstance(warm.found, Busy)
            assert await hot.peek(KEY, deadline=Deadline.never()) is not None

    run(main)


def test_a_clock_that_is_set_while_a_client_runs_is_corrected_anew(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        warm = Skewed(tmp_path / "warm.sqlite3", clock=clock)
        warm.skew_ms = 3_600_000
        async with MemoryClient(hot=ProcessMemory(clock=clock), warm=warm, budget=Budget(clock), clock=clock) as memory:
            first = await memory.set(KEY, 1, ttl=timedelta(seconds=60))
            assert first.expires is not None
            assert first.expires.timestamp() * 1000 == pytest.approx(clock.wall_ms() + 3_660_000, abs=1000)
            warm.skew_ms = 0  # as the authority's next answer shows
            await asyncio.sleep(31)
            second = await memory.set(KEY, 1, ttl=timedelta(seconds=60))
            assert second.expires is not None
            assert second.expires.timestamp() * 1000 == pytest.approx(clock.wall_ms() + 60_000, abs=1000)

    run(main)


async def test_a_credential_is_closed_where_connecting_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    class Noted:
        async def get_token(self, *scopes: str, **options: Any) -> Any:
            raise ConnectionError("nobody signs in here")

        async def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(wiring, "default_credential", Noted)
    settings = MemorySettings(cosmos_account_uri="https://127.0.0.1:1/", connect_deadline_ms=500)
    with pytest.raises(ThermoclineError):
        await wiring.connect(settings)
    assert closed


BAD_CALLS: dict[str, Callable[[Any], Coroutine[Any, Any, Any]]] = {
    "get_many of one name": lambda memory: memory.get_many("name"),
    "get_many of one key": lambda memory: memory.get_many(KEY),
    "get_many of a number": lambda memory: memory.get_many(5),
    "delete_many of one name": lambda memory: memory.delete_many("name"),
    "delete_many of nothing": lambda memory: memory.delete_many(None),
    "set_many of a list": lambda memory: memory.set_many([("name", 1)]),
    "list with a limit that is text": lambda memory: memory.list(limit="5"),
    "list with a cursor that is none": lambda memory: memory.list(cursor=5),
    "list with a prefix that is none": lambda memory: memory.list(5),
    "set_stream of a list": lambda memory: memory.set_stream(KEY, [b"bytes"]),
    "increment by text": lambda memory: memory.increment(KEY, "1"),
    "increment by a truth": lambda memory: memory.increment(KEY, True),
    "append with a keep that is text": lambda memory: memory.append(KEY, 1, keep="3"),
    "update by nothing": lambda memory: memory.update(KEY, None),
}


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
async def test_what_is_no_batch_no_page_and_no_number_is_refused(
    tmp_path: Path, call: Callable[[Any], Coroutine[Any, Any, Any]]
) -> None:
    async with MemoryClient(hot=ProcessMemory(), warm=SqliteMemory(tmp_path / "warm.sqlite3")) as memory:
        with pytest.raises(InvalidArgument):
            await call(memory)
        assert not (await memory.list()).items
        assert await memory.get(KEY) is None


@pytest.mark.parametrize(
    "given",
    [
        {"rules": 5},
        {"rules": {"read_fallback": False}},
        {"routes": "abc"},
        {"routes": [5]},
        {"budget": 5},
        {"codec": 5},
    ],
)
def test_parts_of_a_wrong_kind_are_refused_in_words(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(given))):
        MemoryClient(hot=ProcessMemory(), **given)


async def test_sum_that_nothing_can_be_added_to_is_not_stored() -> None:
    async with MemoryClient(hot=ProcessMemory()) as memory:
        await memory.increment("n", 2)
        with pytest.raises(InvalidArgument, match="sum"):
            await memory.increment("n", float("nan"))
        assert await memory.get("n") == 2


async def test_async_function_is_no_update() -> None:
    async def double(value: int) -> int:
        return value * 2

    async with MemoryClient(hot=ProcessMemory()) as memory:
        await memory.set("n", 2)
        with pytest.raises(InvalidArgument, match="plain function"):
            await memory.update("n", double)
        assert await memory.get("n") == 2
