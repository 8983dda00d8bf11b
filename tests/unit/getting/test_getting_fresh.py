"""`get_or_set` of values that have grown old: refreshed, served meanwhile, never past their expiry."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.getting.ground import KEY, NEVER, Factory, Ground, Run

from thermocline import telemetry
from thermocline.client.runs import AT_ONCE
from thermocline.lifetimes import Lifetime, LifetimeRule, Lifetimes
from thermocline.model import Key
from thermocline.telemetry import correlation, correlation_id

# --- freshness -------------------------------------------------------------------------------------------------------


def test_a_value_past_its_freshness_is_refreshed_in_time_for_who_asks(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(0.05)
        for expected, pause in ((1, 0.0), (1, 4.0), (2, 2.0), (2, 1.0)):
            await asyncio.sleep(pause)
            assert await memory.get_or_set(KEY, factory, ttl=60, fresh_for=5) == expected
        assert ground.counted(memory, telemetry.REFRESHES) == 1

    run(main)


def test_a_slow_refresh_is_not_waited_for(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(2.0)
        await memory.set(KEY, "old", ttl=60)
        await asyncio.sleep(10)
        began = ground.loop.time()
        answers = await asyncio.gather(*(memory.get_or_set(KEY, factory, fresh_for=5) for _ in range(100)))
        assert answers == ["old"] * 100
        assert ground.loop.time() - began == pytest.approx(0.1, abs=0.02)
        assert await memory.get_or_set(KEY, factory, fresh_for=5, soft_timeout=0) == "old"
        assert ground.counted(memory, telemetry.SOFT_STALE) == 101
        await asyncio.sleep(2.5)
        assert await memory.get_or_set(KEY, factory, fresh_for=5) == 1
        assert factory.runs == 1

    run(main)


def test_a_refresh_that_fails_leaves_the_old_value_and_is_not_tried_again_at_once(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        await memory.set(KEY, "old", ttl=600)
        await asyncio.sleep(10)
        factory.error = RuntimeError("secret of a key")
        for _ in range(20):
            assert await memory.get_or_set(KEY, factory, fresh_for=5) == "old"
        assert factory.runs == 1
        for seconds, runs in ((1.1, 2), (1.1, 2), (1.1, 3)):  # a second, then two
            await asyncio.sleep(seconds)
            assert await memory.get_or_set(KEY, factory, fresh_for=5) == "old"
            assert factory.runs == runs
        assert ground.counted(memory, telemetry.FACTORY_FAILED) == 3
        factory.error = None
        await asyncio.sleep(5)
        assert await memory.get_or_set(KEY, factory, fresh_for=5) == 4

    run(main)
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_nothing_is_served_past_its_expiry(run: Run) -> None:
    """P5: also if it expires while the refresh is waited for."""

    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(1.0)
        await memory.set(KEY, "old", ttl=10)
        await asyncio.sleep(9.95)
        assert await memory.get_or_set(KEY, factory, fresh_for=5, soft_timeout=0.5) == 1
        factory.error = RuntimeError("no")
        await memory.set(KEY, "old", ttl=10)
        await asyncio.sleep(9.5)
        with pytest.raises(RuntimeError):
            await memory.get_or_set(KEY, factory, fresh_for=5, soft_timeout=2)

    run(main)


def test_a_hit_near_the_end_of_its_freshness_begins_one_refresh(run: Run) -> None:
    async def main(ground: Ground) -> None:
        clients, factory = [await ground.client() for _ in range(3)], Factory(0.5)
        await clients[0].set(KEY, "old", ttl=600)

        async def all_ask() -> list[Any]:
            return await asyncio.gather(
                *(c.get_or_set(KEY, factory, fresh_for=10, refresh_ahead=3) for c in clients for _ in range(10))
            )

        await asyncio.sleep(6)
        assert await all_ask() == ["old"] * 30
        assert factory.runs == 0
        await asyncio.sleep(2)
        assert await all_ask() == ["old"] * 30
        await asyncio.sleep(1)
        assert factory.runs == 1
        assert await all_ask() == [1] * 30
        assert sum(ground.counted(client, telemetry.SOFT_STALE) for client in clients) == 0

    run(main)


def test_without_fresh_for_the_refresh_is_ahead_of_the_end_of_its_life(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        for pause, expected in ((0, 1), (5, 1), (3, 1), (1, 2), (8, 2), (1, 3)):
            await asyncio.sleep(pause)
            assert await memory.get_or_set(KEY, factory, ttl=10, refresh_ahead=timedelta(seconds=3)) == expected

    run(main)


def test_refreshes_are_bounded_in_number(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(30.0)
        keys = [Key("tenant", "scope", f"n{number}") for number in range(AT_ONCE + 10)]
        await memory.set_many(dict.fromkeys(keys, "old"))
        await asyncio.sleep(10)
        answers = await asyncio.gather(*(memory.get_or_set(key, factory, fresh_for=5) for key in keys))
        assert answers == ["old"] * len(keys)
        assert factory.most_at_once == AT_ONCE
        assert ground.counted(memory, telemetry.REFRESHES_DROPPED) == 10

    run(main)


def test_a_deletion_during_a_refresh_wins(run: Run) -> None:
    """P4."""

    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory(1.0)
        await memory.set(KEY, "old")
        await asyncio.sleep(10)
        assert await memory.get_or_set(KEY, factory, fresh_for=5) == "old"
        await memory.delete(KEY)
        await asyncio.sleep(2)
        assert factory.done == 1
        assert await memory.get(KEY) is None

    run(main)


def test_a_refresh_has_nothing_of_its_callers_context_and_a_miss_has(run: Run) -> None:
    async def main(ground: Ground) -> None:
        memory = await ground.client()
        seen: list[str | None] = []

        async def factory() -> int:
            seen.append(correlation_id())
            return len(seen)

        with correlation("the-caller"):
            await memory.get_or_set(KEY, factory)
            await asyncio.sleep(10)
            await memory.get_or_set(KEY, factory, fresh_for=5)
        assert seen == ["the-caller", None]

    run(main)


def test_a_sliding_record_with_fresh_for_is_not_kept_young_by_reading_it(run: Run) -> None:
    async def main(ground: Ground) -> None:
        rule = LifetimeRule(prefix="", lifetime=Lifetime(ttl=timedelta(seconds=20), sliding=True))
        memory, factory = await ground.client(lifetimes=Lifetimes([rule])), Factory()
        for expected in (1, 1, 1, 2):
            assert await memory.get_or_set(KEY, factory, fresh_for=15.5) == expected
            await asyncio.sleep(5.3)

    run(main)


def test_a_refresh_that_nobody_waits_for_at_all_is_made_unless_another_process_is_at_it(run: Run) -> None:
    """Its callers have gone before it has its hold."""

    async def main(ground: Ground) -> None:
        memory, factory = await ground.client(), Factory()
        await memory.set(KEY, "old", ttl=600)
        await asyncio.sleep(10)
        assert await memory.get_or_set(KEY, factory, fresh_for=5, soft_timeout=0) == "old"
        await asyncio.sleep(1)
        assert await memory.get_or_set(KEY, factory, fresh_for=5) == 1
        await asyncio.sleep(10)
        assert await ground.hot.inner.take_hold(KEY, "another", 60_000, deadline=NEVER)
        assert await memory.get_or_set(KEY, factory, fresh_for=5) == 1
        await asyncio.sleep(1)
        assert len(memory._runs) == 0
        assert factory.runs == 1

    run(main)
