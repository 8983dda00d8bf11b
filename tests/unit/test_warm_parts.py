"""The pure parts of the warm tier: lifetimes, the clocks' difference, cursors, pauses."""

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from thermocline.clock import Deadline
from thermocline.codec import Codec
from thermocline.errors import InvalidArgument, InvalidKey, TierTimeout
from thermocline.model import Flags, Header, Key
from thermocline.resilience import RetryBudget, Skew
from thermocline.tiers.warm import listing
from thermocline.tiers.warm.calls import LONGEST_CALL, Pauses, bounded, once
from thermocline.tiers.warm.item import LONGEST_TTL, NO_TTL, body_of, envelope_of, record_of, size_of, ttl_of
from thermocline.tiers.warm.trouble import Kind, Trouble, by_status, unreachable

NOW = 1_700_000_000_500
DAY_MS = 86_400_000


@pytest.mark.parametrize(("header", "seconds"), [
    (Header(), NO_TTL),
    (Header(expires_ms=NOW + 1), 86_402),
    (Header(expires_ms=NOW + 1000), 86_402),
    (Header(expires_ms=NOW - 10**9), 86_401),
    (Header(flags=Flags.TOMBSTONE), 86_401),
    (Header(flags=Flags.TOMBSTONE, expires_ms=NOW + 10**9), 86_401),
    (Header(expires_ms=NOW + LONGEST_TTL * 1000), NO_TTL),
])  # fmt: skip
def test_item_lives_to_its_records_end_and_the_grace(header: Header, seconds: int) -> None:
    assert ttl_of(header, NOW, DAY_MS) == seconds


def test_size_is_that_of_the_wire() -> None:
    key = Key("t", "s", "ü")
    envelope = Codec().encode(key, {"text": "ü" * 1000}, now_ms=NOW)
    item = body_of(key, record_of(envelope), write_id="w", version=1, ttl=-1)

    assert 2000 < size_of(item) < 2600
    assert envelope_of(item, key).version == 1


def date(ms: int) -> str:
    return format_datetime(datetime.fromtimestamp(ms // 1000, UTC), usegmt=True)


@pytest.mark.parametrize("difference", [-86_400_000, -5_000, 5_000, 86_400_000])
def test_difference_of_the_clocks_is_found_within_a_second(difference: int) -> None:
    skew = Skew()
    for number in range(200):
        sent = NOW + number * 137
        skew.answered(date(sent + 3 + difference), sent, sent + 6)

    assert abs(skew.ms - difference) <= 60


@pytest.mark.parametrize("difference", [-900, 0, 900])
def test_difference_below_a_second_is_none(difference: int) -> None:
    skew = Skew()
    for number in range(200):
        sent = NOW + number * 137
        skew.answered(date(sent + 3 + difference), sent, sent + 6)

    assert skew.ms == 0


@pytest.mark.parametrize("late", [600, 1_600, 9_000])
def test_answer_that_comes_late_moves_no_clock(late: int) -> None:
    """Expiry judged by a clock that goes back: what had ended was there again, for a client under load."""
    skew = Skew()
    skew.answered(date(NOW + late), NOW, NOW + late)
    assert skew.ms == 0
    skew.answered(date(NOW), NOW, NOW + late)
    assert skew.ms == 0


@pytest.mark.parametrize("difference", [-900, -300, 300, 900])
@pytest.mark.parametrize("late", [2_500, 9_000])
def test_late_first_answer_moves_no_clock_that_is_nearly_right(difference: int, late: int) -> None:
    """As the first one is, which waits for a token. The middle of its bounds had moved a clock by half of what it was late, until the next answer."""
    for begun in range(NOW, NOW + 1000, 50):
        for at in (0, late):  # when the server looked at its clock
            skew = Skew()
            skew.answered(date(begun + at + difference), begun, begun + late)
            assert abs(skew.ms - difference) <= 1000


@pytest.mark.parametrize("difference", [-5_000, 5_000])
def test_late_answer_that_shows_a_difference_is_believed_as_far_as_it_shows_one(difference: int) -> None:
    for begun in range(NOW, NOW + 1000, 50):
        skew = Skew()
        skew.answered(date(begun + (3_000 if difference > 0 else 0) + difference), begun, begun + 3_000)
        assert abs(skew.ms - difference) <= 500


def test_clock_that_is_set_is_believed_anew() -> None:
    skew = Skew()
    skew.answered(date(NOW), NOW, NOW)
    skew.answered(date(NOW + 3_600_000), NOW, NOW)
    assert abs(skew.ms - 3_600_000) <= 1000
    skew.answered(date(NOW), NOW, NOW)
    assert skew.ms == 0


@pytest.mark.parametrize("text", ["", "yesterday", "Thu, 99 Foo 2026 10:00:00 GMT"])
def test_date_that_is_none_changes_nothing(text: str) -> None:
    skew = Skew()
    skew.answered(text, NOW, NOW)

    assert skew.ms == 0


@pytest.mark.parametrize("name", ["a", "ü/\x00", "x" * 16_000])
def test_cursor_belongs_to_its_listing(name: str) -> None:
    cursor = listing.cursor_of("t", "s", "p", name)

    assert listing.last_of("t", "s", "p", cursor) == name
    for other in (("u", "s", "p"), ("t", "r", "p"), ("t", "s", ""), ("ts", "", "p")):
        with pytest.raises(InvalidArgument):
            listing.last_of(*other, cursor)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "5"])
def test_limit_of_a_page_is_a_whole_number(limit: int) -> None:
    with pytest.raises(InvalidArgument):
        listing.check("t", "s", "", limit)


def test_listing_of_an_impossible_scope_is_refused() -> None:
    with pytest.raises(InvalidKey):
        listing.check("t", "", "", 5)


async def test_pause_never_outlasts_the_deadline() -> None:
    later = by_status(429, 3200, "too many", 5.0)
    assert not await Pauses(Deadline.after(0.001)).wait(later)
    assert await Pauses(Deadline.after(60)).wait()


async def test_what_got_no_answer_is_repeated_on_the_budget() -> None:
    """One more for a write, whose outcome must be found out; nothing for what the service itself asks to repeat."""
    refused: list[int] = []
    spent = RetryBudget(ratio=0, burst=1, refused=lambda: refused.append(1))
    assert spent.take()
    lost, unreached = by_status(503, 0, "sick"), unreachable("refused", sent=False)
    pauses = Pauses(Deadline.after(60), spent, free=1)
    assert await pauses.wait(lost)
    assert not await pauses.wait(lost)
    assert not await pauses.wait(unreached)
    assert len(refused) == 2
    for asked in (by_status(429, 3200, "too many", 0.001), by_status(449, 0, "again"), by_status(404, 1002, "behind")):
        assert await pauses.wait(asked)
    assert len(refused) == 2


async def test_call_that_does_not_fit_spends_no_budget() -> None:
    budget = RetryBudget(ratio=0, burst=1)
    assert not await Pauses(Deadline.after(0.001), budget).wait(by_status(503, 0, "sick", 5.0))
    assert budget.take()


async def test_call_that_takes_too_long_is_lost() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Trouble) as caught:
        await once(for_ever, Deadline.after(0.01))

    assert caught.value.kind is Kind.LOST
    assert isinstance(caught.value.error, TierTimeout)


def test_no_call_is_under_way_for_longer_than_the_grace_bears() -> None:
    assert bounded(Deadline.never()).remaining() <= LONGEST_CALL
    with pytest.raises(TierTimeout):
        bounded(Deadline.after(-1))
