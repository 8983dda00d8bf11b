"""The verb `settle` and the feed's settling over the embedded tiers: every state of the hot entry, every kind of key, every failure."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.feed.ground import KEY, Small, document, letter_for, soon

from thermocline import Key, MemoryClient, MemoryRules, Route, telemetry
from thermocline.errors import AccessDenied, ConfigurationError, InvalidArgument, InvalidKey, TierUnavailable
from thermocline.feed import Replay, Settling, letters_of
from thermocline.letters import Cause
from thermocline.model import Authority
from thermocline.protocols import Announce, Leased, Look, Publish, Settle
from thermocline.tiers.local.process import ProcessMemory

# --- the verb, on each state of the entry (COHERENCE section 3, settle by feed) ---------------------------------------


async def test_absent_stays_absent(small: Small) -> None:
    assert await small.client.settle({KEY: 5}) == {KEY: True}
    assert await small.hot.operate(Look(KEY, "reader", 1000), deadline=soon()) == Leased(0)


async def test_a_leased_entry_keeps_the_floor_and_the_reader_fills_nothing_older(small: Small) -> None:
    version = await small.version()
    old = await small.entry()
    assert old is not None
    await small.hot.drop([KEY], deadline=soon())
    await small.hot.operate(Look(KEY, "reader", 10_000), deadline=soon())

    await small.client.settle({KEY: version + 1})
    await small.hot.operate(Settle(KEY, "reader", version, old), deadline=soon())

    assert await small.entry() is None


async def test_an_announced_entry_keeps_the_floor_and_the_writer_publishes_nothing_older(small: Small) -> None:
    version = await small.version()
    old = await small.entry()
    await small.hot.operate(Announce(KEY, "writer", 10_000), deadline=soon())

    await small.client.settle({KEY: version + 1})
    await small.hot.operate(Publish(KEY, "writer", version, old), deadline=soon())

    assert await small.entry() is None


async def test_a_value_goes_for_a_newer_version_and_stays_for_its_own_and_older_ones(small: Small) -> None:
    version = await small.version()
    for known in (1, version - 1, version):
        assert await small.client.settle({KEY: known}) == {KEY: True}
        assert (await small.entry()) is not None

    await small.client.settle({KEY: version + 1})

    assert await small.entry() is None


async def test_this_client_heeds_what_hot_could_not_be_told(small: Small) -> None:
    version = await small.version()
    small.chaos.down = True

    told = await small.client.settle({KEY: version + 1})

    assert isinstance(told.errors[KEY], TierUnavailable)
    small.chaos.down = False
    with pytest.raises(TierUnavailable):  # hot's value is too old for it, and the authority seems to lag
        await small.client.get(KEY, timeout=0.5)


async def test_each_key_answers_for_itself(small: Small) -> None:
    keys = [Key("t", "s", f"k{n}") for n in range(250)]
    versions: dict[Any, Any] = dict.fromkeys(keys, 5)
    versions |= {Key("t", "s", "zero"): 0, Key("t", "s", "text"): "5", Key("t", "s", "true"): True, "": 5}

    told = await small.client.settle(versions)

    assert told == dict.fromkeys(keys, True)
    assert {getattr(name, "name", name): type(error) for name, error in told.errors.items()} == {
        "zero": InvalidArgument,
        "text": InvalidArgument,
        "true": InvalidArgument,
        "": InvalidKey,
    }
    given: Any = [KEY]
    with pytest.raises(InvalidArgument, match="mapping"):
        await small.client.settle(given)


async def test_two_names_of_one_key_are_told_once_at_the_highest_version(small: Small) -> None:
    plain = Key.of("plain")
    version = await small.version(plain)

    told = await small.client.settle({"plain": version + 1, plain: 1})

    assert told == {"plain": True, plain: True}
    assert await small.entry(plain) is None


async def test_a_version_that_is_not_given_is_the_authoritys(small: Small) -> None:
    version = await small.version()
    async with MemoryClient(warm=small.warm, clock=small.clock) as silent:
        newer = (await silent.set(KEY, "newer")).version
    assert newer > version
    nothing = Key("t", "s", "nothing")

    assert await small.client.settle({KEY: None, nothing: None}) == {KEY: True, nothing: False}
    assert await small.client.get(KEY) == "newer"


async def test_what_the_authority_cannot_say_is_an_error_of_its_key(small: Small) -> None:
    await small.client.settle({KEY: 1})
    await small.warm.close()

    told = await small.client.settle({KEY: None, Key("t", "s", "other"): 5}, timeout=1)

    assert list(told) == [Key("t", "s", "other")]
    assert list(told.errors) == [KEY]


async def test_routes_decide_where_there_is_anything_to_tell(tmp_path: Path) -> None:
    routes = [
        Route("cold:", hot=False),
        Route("brief:", rules=MemoryRules(write_through=False)),
    ]
    small = Small(tmp_path, routes=routes)
    names = {prefix: Key("t", "s", prefix + "x") for prefix in ("cold:", "brief:", "both")}
    async with small.client:
        await small.client.set(names["brief:"], "in hot alone")
        told = await small.client.settle(dict.fromkeys(names.values(), 5), authority=Authority.WARM)

        assert told == {names["cold:"]: False, names["brief:"]: False, names["both"]: True}
        assert await small.client.get(names["brief:"]) == "in hot alone"


# --- batches ---------------------------------------------------------------------------------------------------------


async def test_the_highest_version_of_a_batch_counts_in_any_order(small: Small) -> None:
    version = await small.version()

    done = await small.settling().settle([document(KEY, version + 1), document(KEY, version), document(KEY, 1)])

    assert (done.settled, done.without_hot, done.skipped) == (3, 0, 0)
    assert await small.entry() is None


async def test_a_part_of_hot_that_is_away_is_tried_and_then_set_aside(small: Small, sick: Callable[..., Any]) -> None:
    good, bad = Key("t", "s", "good"), Key("t", "s", "bad")
    sick(bad)
    settling = small.settling(attempts=4)

    done = await settling.settle([document(bad, 5), document(good, 5)])

    assert [round(pause, 3) for pause in small.pauses.seconds] == [0.1, 0.2, 0.4]
    (letter,) = await small.letters()
    assert (letter.cause, letter.key, letter.version, letter.attempts) == (Cause.UNAVAILABLE, bad, 5, 4)
    assert done.settled == 1
    assert done.set_aside == [letter]
    assert settling.stats.get(telemetry.FEED_SET_ASIDE, telemetry.CLIENT) == 1


async def test_a_batch_of_sick_keys_alone_is_set_aside_where_hot_answers(
    small: Small, sick: Callable[..., Any]
) -> None:
    sick(KEY)

    done = await small.settling(attempts=2).settle([document(KEY, 5)])

    assert [letter.cause for letter in done.set_aside] == [Cause.UNAVAILABLE]


async def test_pauses_end_at_two_seconds(small: Small, sick: Callable[..., Any]) -> None:
    sick(KEY)

    await small.settling(attempts=9).settle([document(KEY, 5)])

    assert small.pauses.seconds[-3:] == [2.0, 2.0, 2.0]


async def test_hot_that_is_down_or_shut_sets_nothing_aside(small: Small) -> None:
    settling = small.settling(attempts=2)
    small.chaos.down = True
    with pytest.raises(TierUnavailable):
        await settling.settle([document(KEY, 5), document(Key("t", "s", "p"), None)])
    assert await small.letters() == []


async def test_hot_that_lets_nobody_in_is_no_sick_part(small: Small, sick: Callable[..., Any]) -> None:
    """A role that is missing would set every document aside, one batch after the other."""
    sick(KEY, AccessDenied("no role", tier="hot"))

    with pytest.raises(AccessDenied):
        await small.settling(attempts=2).settle([document(KEY, 5)])

    assert await small.letters() == []


async def test_the_lag_is_that_of_the_oldest_document(small: Small) -> None:
    settling = small.settling()
    now = small.clock.wall_ms() // 1000

    done = await settling.settle([document(KEY, 5, _ts=now - 3), document(KEY, 6, _ts=now - 40), {"id": "other"}])

    assert 40 <= done.lag < 42
    assert [*settling.gauges()] == [(telemetry.FEED_LAG, telemetry.CLIENT, done.lag)]
    assert telemetry.CLIENTS.gauges()[telemetry.FEED_LAG, telemetry.CLIENT] >= done.lag  # the worst of this process
    small.clock.advance(121)
    assert settling.lag == 0.0  # nothing has come since: an old batch is no lag of now
    counted = len(telemetry.CLIENTS)
    settling.close()
    assert len(telemetry.CLIENTS) == counted - 1


async def test_an_empty_batch_is_nothing(small: Small) -> None:
    done = await small.settling().settle([])
    assert (done.settled, done.set_aside, done.lag) == (0, [], 0.0)


@pytest.mark.parametrize("attempts", [0, -1, True, 2.5])
def test_attempts_that_cannot_be(attempts: Any, tmp_path: Path) -> None:
    small = Small(tmp_path)
    with pytest.raises(InvalidArgument, match="attempts"):
        small.settling(attempts=attempts)


async def test_a_memory_that_lacks_a_tier_settles_and_replays_nothing(small: Small) -> None:
    """It would mark the feed as read, and letters as settled, of what was told to nobody."""
    place = letters_of(small.client)
    await place.put(letter_for(KEY, 1), deadline=soon())
    async with MemoryClient(warm=small.warm, clock=small.clock) as without:
        with pytest.raises(ConfigurationError, match="REDIS_HOST"):
            Settling(without, place)
        with pytest.raises(ConfigurationError, match="REDIS_HOST"):
            Replay(without, place)
    async with MemoryClient(hot=ProcessMemory(clock=small.clock), clock=small.clock) as hot_alone:
        with pytest.raises(ConfigurationError, match="COSMOS_ACCOUNT_URI"):
            Settling(hot_alone, place)

    assert len(await small.letters()) == 1
