"""`client.health()`: a verdict per tier and for the whole, with reasons, within its time."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thermocline import FolderMemory, LegacySource, MemoryClient, ProcessMemory, Route, SqliteMemory, Verdict
from thermocline.client.health import FEW, LATELY
from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, TierUnavailable
from thermocline.model import Authority
from thermocline.protocols import PlainCopy
from thermocline.testing import ChaosTier, Fault, ManualClock


def memory(folder: Path, **given: Any) -> MemoryClient:
    tiers: dict[str, Any] = {"hot": ProcessMemory(), "warm": SqliteMemory(folder / "warm.sqlite3")}
    return MemoryClient(**{**tiers, **given})


async def test_a_client_whose_tiers_answer_is_ok(tmp_path: Path) -> None:
    async with memory(tmp_path, cold=FolderMemory(tmp_path / "cold")) as client:
        health = await client.health()

    assert (health.verdict, health.ready, health.reasons) == (Verdict.OK, True, ())
    assert set(health.tiers) == {"hot", "warm", "cold"}
    for tier in health.tiers.values():
        assert tier.verdict is Verdict.OK
        assert tier.ping_ms is not None
    told = json.loads(json.dumps(health.as_dict()))
    assert (told["verdict"], told["tiers"]["warm"]["verdict"]) == ("ok", "ok")


async def test_an_authority_that_is_down_is_down_and_hot_alone_is_degraded(tmp_path: Path) -> None:
    warm: Any = ChaosTier(SqliteMemory(tmp_path / "warm.sqlite3"))
    hot: Any = ChaosTier(ProcessMemory())
    async with memory(tmp_path, hot=hot, warm=warm) as client:
        hot.down = True
        without_hot = await client.health()
        hot.down, warm.down = False, True
        without_warm = await client.health()
        warm.down = False

    assert (without_hot.verdict, without_hot.tiers["hot"].verdict) == (Verdict.DEGRADED, Verdict.DOWN)
    assert without_hot.ready
    assert without_hot.reasons[0].startswith("hot: it cannot be asked")
    assert (without_warm.verdict, without_warm.tiers["hot"].verdict) == (Verdict.DOWN, Verdict.OK)
    assert not without_warm.ready


async def test_a_tier_that_hangs_is_down_within_the_timeout(tmp_path: Path) -> None:
    warm: Any = ChaosTier(SqliteMemory(tmp_path / "warm.sqlite3"), rates={Fault.HANG: 1}, verbs={"ping"})
    async with memory(tmp_path, warm=warm) as client:
        health = await client.health(timeout=timedelta(milliseconds=50))

    assert health.tiers["warm"].reasons == ("it did not answer in time",)
    assert health.tiers["warm"].ping_ms is None
    assert health.verdict is Verdict.DOWN


async def test_throttling_is_degraded_and_not_down(tmp_path: Path) -> None:
    warm: Any = ChaosTier(SqliteMemory(tmp_path / "warm.sqlite3"), rates={Fault.THROTTLE: 1}, verbs={"ping"})
    async with memory(tmp_path, warm=warm) as client:
        health = await client.health()

    assert health.verdict is Verdict.DEGRADED
    assert "too many requests" in health.reasons[0]


async def test_calls_that_went_unanswered_lately_count_and_those_of_long_ago_do_not(tmp_path: Path) -> None:
    clock = ManualClock()
    faults = [Fault.REFUSE] + [None] * (FEW * 2)
    warm: Any = ChaosTier(SqliteMemory(tmp_path / "warm.sqlite3", clock=clock), script=faults, verbs={"read"})
    async with memory(tmp_path, hot=ProcessMemory(clock=clock), warm=warm, clock=clock) as client:
        with pytest.raises(TierUnavailable):
            await client.get("key")
        few = await client.health()
        for _ in range(FEW):
            await client.get("key")
        now = await client.health()
        clock.advance(LATELY + 1)
        await client.health()
        clock.advance(LATELY + 1)
        later = await client.health()

    assert few.verdict is Verdict.OK
    assert few.tiers["warm"].error_share is None
    assert now.tiers["warm"].error_share == pytest.approx(1 / (FEW + 1), abs=1e-4)
    assert now.tiers["warm"].verdict is Verdict.DEGRADED
    assert "5% of its calls went unanswered lately" in now.tiers["warm"].reasons
    assert (later.verdict, later.tiers["warm"].error_share) == (Verdict.OK, None)


async def test_an_open_breaker_and_what_hot_is_still_to_be_told_are_told(tmp_path: Path) -> None:
    hot: Any = ChaosTier(ProcessMemory())
    async with memory(tmp_path, hot=hot) as client:
        hot.down = True
        while client.stats()["hot"]["breaker"] != "open":
            await client.set("key", 1)
        health = await client.health()
        hot.down = False
        assert await client.settled(timeout=30)

    reasons = " ".join(health.tiers["hot"].reasons)
    assert "circuit breaker is open" in reasons
    assert "it is still to be told of 1 key" in reasons


async def test_slow_calls_are_compared_with_the_tiers_share(tmp_path: Path) -> None:
    async with memory(tmp_path) as client:
        share = client._engine.guards[client._engine.hot.tier].share  # type: ignore[union-attr]
        for _ in range(FEW * 5):
            client._engine.stats.observe("get", "hot", share * 1.5)
            client._engine.stats.observe("read", "warm", share * 1.5)
        health = await client.health()

    assert health.tiers["warm"].verdict is Verdict.OK
    assert health.tiers["hot"].verdict is Verdict.DEGRADED
    assert "one call in a hundred" in health.tiers["hot"].reasons[0]


async def test_a_client_that_cannot_connect_says_so(tmp_path: Path) -> None:
    class Away(SqliteMemory):
        async def connect(self) -> None:
            raise TierUnavailable("rediss://:hunter2@example is away", tier="warm")

    client = memory(tmp_path, warm=Away(tmp_path / "warm.sqlite3"))
    health = await client.health()
    await client.close()

    assert (health.verdict, health.tiers) == (Verdict.DOWN, {})
    assert "cannot connect" in health.reasons[0]
    assert "hunter2" not in health.reasons[0]


async def test_a_connection_that_hangs_does_not_hold_health_up(tmp_path: Path) -> None:
    class Slow(SqliteMemory):
        async def connect(self) -> None:
            await asyncio.Event().wait()

    client = memory(tmp_path, warm=Slow(tmp_path / "warm.sqlite3"))
    health = await client.health(timeout=0.05)
    await client.close()

    assert health.verdict is Verdict.DOWN


async def test_a_closed_client_has_no_health(tmp_path: Path) -> None:
    client = memory(tmp_path)
    async with client:
        pass
    with pytest.raises(ClientClosed):
        await client.health()


class Buggy(ProcessMemory):
    """A tier of the program's own, with a bug."""

    async def ping(self, *, deadline: Deadline) -> None:
        raise RuntimeError("something private")


async def test_a_tier_with_a_bug_is_down_and_health_answers(tmp_path: Path) -> None:
    async with memory(tmp_path, hot=Buggy()) as client:
        health = await client.health()

    assert health.tiers["hot"].verdict is Verdict.DOWN
    assert health.tiers["hot"].reasons == ("it fails in a way that no tier should: RuntimeError",)
    assert health.ready


class OldCopies(ProcessMemory):
    """Plays `PlainCopies`."""

    down = False

    async def ping(self, *, deadline: Deadline) -> None:
        if self.down:
            raise TierUnavailable("the old cache is gone", tier="hot")

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        await self.ping(deadline=deadline)
        return None

    async def plain_delete(self, name: str, *, deadline: Deadline) -> bool:
        return False


async def test_old_copies_that_cannot_be_asked_are_told(tmp_path: Path) -> None:
    """Keys that nobody has written since cannot be read then: a client that says it is well would lie."""
    old, other = OldCopies(), OldCopies()
    routes = [Route("", legacy=LegacySource(hot=old)), Route("x", legacy=LegacySource(hot=other))]
    async with memory(tmp_path, routes=routes) as client:
        before = await client.health()
        old.down = True
        with pytest.raises(TierUnavailable):
            await client.get("unwritten")
        after = await client.health()

    assert before.verdict is Verdict.OK
    assert set(before.tiers) == {"hot", "warm", "old copies in hot", "old copies in hot (2)"}
    assert (after.verdict, after.ready) == (Verdict.DEGRADED, True)
    assert sorted(tier.verdict.value for tier in after.tiers.values()) == ["down", "ok", "ok", "ok"]
    assert after.reasons[0].startswith("old copies in hot")


async def test_a_tier_that_has_the_word_for_no_key_does_not_bring_the_whole_down(tmp_path: Path) -> None:
    warm: Any = ChaosTier(SqliteMemory(tmp_path / "warm.sqlite3"))
    cold = FolderMemory(tmp_path / "cold")
    async with memory(tmp_path, warm=warm, cold=cold, routes=[Route("", authority=Authority.COLD)]) as client:
        warm.down = True
        health = await client.health()
        warm.down = False

    assert health.tiers["warm"].verdict is Verdict.DOWN
    assert (health.verdict, health.ready) == (Verdict.DEGRADED, True)
