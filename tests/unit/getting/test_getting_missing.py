"""`get_or_set` where there is no value: who runs the factory, and what comes of it."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.unit.getting.ground import KEY, NEVER, Factory, Ground, Run

from thermocline import telemetry
from thermocline.client import MemoryClient
from thermocline.client.getting.work import HOLD_MS
from thermocline.errors import (
    InvalidArgument,
    InvalidKey,
    NotSerialisable,
    TierUnavailable,
    TypeMismatch,
)
from thermocline.model import Key
from thermocline.policy import MemoryRules
from thermocline.tiers.local.process import ProcessMemory

# --- where there is no value -----------------------------------------------------------------------------------------


def test_what_is_there_is_returned_and_what_is_not_is_made_once(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()

        assert await memory.get_or_set(KEY, factory) == 1
        assert await memory.get_or_set(KEY, factory) == 1
        assert await memory.get(KEY) == 1
        assert factory.runs == 1

    run(main)


@pytest.mark.parametrize("value", [None, 0, "", {}, [], b"", False])
def test_nothing_and_zero_are_values(run: Run, value: Any) -> None:
    """aiocache never caches None."""

    async def main(ground: Ground) -> None:
        memory = await ground.client()
        runs: list[int] = []

        async def factory() -> Any:
            runs.append(1)
            return value

        for _ in range(3):
            assert await memory.get_or_set(KEY, factory) == value
        assert len(runs) == 1

    run(main)


def test_a_thousand_callers_run_it_once(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(1.0)

        answers = await asyncio.gather(*(memory.get_or_set(KEY, factory, fresh_for=n % 2 + 5) for n in range(1000)))

        assert answers == [1] * 1000
        assert factory.runs == 1
        assert ground.counted(memory, telemetry.FACTORY_SHARED) == 999

    run(main)


@pytest.mark.parametrize("seconds", [0.05, 3 * HOLD_MS / 1000])
def test_it_runs_once_across_processes_while_its_hold_is_renewed(run: Run, seconds: float) -> None:
    """aiocache's lease is shorter than the work, and lets all callers run it."""

    async def main(ground: Ground) -> None:
        clients, factory = [await ground.client() for _ in range(5)], Factory(seconds)
        calls = [c.get_or_set(KEY, factory, hard_timeout=60) for c in clients for _ in range(50)]

        assert await asyncio.gather(*calls) == [1] * 250
        assert factory.runs == 1

    run(main)


def test_a_process_that_died_at_work_is_followed_by_another(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        assert await ground.hot.inner.take_hold(KEY, "the dead", HOLD_MS, deadline=NEVER)
        began = ground.loop.time()

        assert await memory.get_or_set(KEY, factory) == 1
        assert HOLD_MS / 1000 <= ground.loop.time() - began < HOLD_MS / 1000 + 1

    run(main)


def test_without_hot_or_with_hot_down_it_runs_once_per_client(run: Run) -> None:
    async def main(ground: Ground) -> None:
        alone, factory = await ground.client(hot=None), Factory(1.0)
        assert await asyncio.gather(*(alone.get_or_set(KEY, factory) for _ in range(100))) == [1] * 100
        ground.hot.down = True
        memory, other = await ground.client(), Key("tenant", "scope", "other")
        assert await asyncio.gather(*(memory.get_or_set(other, factory) for _ in range(100))) == [2] * 100
        assert factory.runs == 2

    run(main)


def test_an_outage_is_no_miss(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        ground.warm.reads_fail = True
        for fresh_for in (None, 5):
            with pytest.raises(TierUnavailable):
                await memory.get_or_set(KEY, factory, fresh_for=fresh_for)
        assert factory.runs == 0

    run(main)


def test_a_route_whose_reads_ask_hot_alone_asks_the_authority_here(run: Run) -> None:
    async def main(ground: Ground) -> None:
        writer, factory = await ground.client(hot=None), Factory()
        await writer.set(KEY, "below")
        memory = await ground.client(rules=MemoryRules(read_fallback=False))

        assert await memory.get_or_set(KEY, factory) == "below"
        assert factory.runs == 0

    run(main)


def test_a_writer_who_was_faster_wins(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, other, factory = await ground.client(), await ground.client(), Factory(1.0)
        asking = asyncio.create_task(memory.get_or_set(KEY, factory))
        await asyncio.sleep(0.5)
        await other.set(KEY, "written")

        assert await asking == "written"
        assert await other.get(KEY) == "written"

    run(main)


def test_a_value_that_cannot_be_stored_for_an_outage_is_returned_and_counted(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        ground.warm.writes_fail = True
        assert await memory.get_or_set(KEY, factory) == 1
        assert ground.counted(memory, telemetry.FACTORY_UNSAVED) == 1
        ground.warm.writes_fail = False
        assert await memory.get(KEY) is None

    run(main)


def test_what_the_factory_raises_reaches_every_caller_as_it_is(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        factory.error = LookupError("no such thing")
        answers = await asyncio.gather(*(memory.get_or_set(KEY, factory) for _ in range(10)), return_exceptions=True)
        assert all(answer is factory.error for answer in answers)
        assert factory.runs == 1
        factory.error = TimeoutError("its own")  # not taken for ours
        with pytest.raises(TimeoutError, match="its own") as caught:
            await memory.get_or_set(KEY, factory)
        assert caught.type is TimeoutError
        factory.error = None
        assert await memory.get_or_set(KEY, factory) == 3  # and its hold was given back at once

    run(main)


def test_a_value_of_no_kind_that_can_be_stored_raises(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory = await ground.client()

        async def factory() -> Any:
            return object()

        with pytest.raises(NotSerialisable):
            await memory.get_or_set(KEY, factory)

    run(main)


def test_callers_get_what_a_later_get_would_give_them_and_no_shared_object(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory = await ground.client()

        async def factory() -> Any:
            return {"numbers": [1, 2]}

        first, second = await asyncio.gather(memory.get_or_set(KEY, factory), memory.get_or_set(KEY, factory))
        assert first == second == await memory.get(KEY) == {"numbers": [1, 2]}
        first["numbers"].append(3)
        assert second == {"numbers": [1, 2]}
        with pytest.raises(TypeMismatch):
            await memory.get_or_set(KEY, factory, type=list[int])

    run(main)


# --- arguments, scopes, plain functions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"fresh_for": 10, "ttl": 10},
        {"fresh_for": -1},
        {"fresh_for": 0},
        {"refresh_ahead": 5, "fresh_for": 5},
        {"refresh_ahead": 5, "ttl": 4},
        {"soft_timeout": -1},
        {"hard_timeout": "soon"},
        {"ttl": 0},
        {"refresh_ahead": -1},
        {"soft_timeout": True},
        {"hard_timeout": -0.5},
    ],
)
def test_times_that_cannot_be_are_refused_before_anything_is_done(run: Run, given: dict[str, Any]) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        with pytest.raises(InvalidArgument, match=next(iter(given))) as refused:
            await memory.get_or_set(KEY, factory, **given)
        assert "ttl" in given or "to remove a record" not in str(refused.value)  # that is said of lifetimes alone
        assert factory.runs == 0

    run(main)


def test_what_is_no_function_is_refused(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory = await ground.client()
        wrong: Any = 5
        with pytest.raises(InvalidArgument):
            await memory.get_or_set(KEY, wrong)

    run(main)


def test_a_scoped_memory_makes_values_of_its_own_scope(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        one, other = memory.scoped(tenant="t", scope="one"), memory.scoped(tenant="t", scope="other")
        assert await one.get_or_set("name", factory, tags={"kind": "made"}, ttl=60) == 1
        assert await other.get_or_set("name", factory) == 2
        found = await one.lookup("name")
        assert found.record.tags == {"kind": "made"}  # type: ignore[union-attr]
        reaching: Any = KEY
        with pytest.raises(InvalidKey):
            await one.get_or_set(reaching, factory)

    run(main)


async def test_plain_functions_run_in_a_thread() -> None:
    import threading

    here = threading.get_ident()
    async with MemoryClient(hot=ProcessMemory()) as memory:
        assert await memory.get_or_set("thread", threading.get_ident) != here

        async def later() -> str:
            return "awaited"

        assert await memory.get_or_set("lambda", lambda: later()) == "awaited"

        def fails() -> Awaitable[int]:
            raise LookupError("no such thing")

        with pytest.raises(LookupError):
            await memory.get_or_set("fails", fails)
