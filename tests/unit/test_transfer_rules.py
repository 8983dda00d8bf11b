"""What follows from a difference, which keys a space holds, and what a state says: without any tier."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from thermocline.client import MemoryClient
from thermocline.codec import Codec
from thermocline.errors import InvalidArgument, InvalidKey
from thermocline.model import Authority, Envelope, Key
from thermocline.tiers.local.process import ProcessMemory
from thermocline.transfer import Backup, BlobPlace, DualMemory, FolderPlace, Migration, Phase, Restore, Space, State
from thermocline.transfer.compare import SKEW_MS, Act, carried, decide, fingerprint, same_metadata

NOW = 1_800_000_000_000
DAY = 86_400_000
KEY = Key("t", "s", "n")
CODEC = Codec()


def record(modified_ms: int = NOW - 1000, *, expires_ms: int = 0, version: int = 5, value: Any = 1) -> Envelope:
    made = CODEC.encode(KEY, value, now_ms=modified_ms, expires_ms=expires_ms)
    return made.stamped(version=version, authority=Authority.WARM)


def tombstone(modified_ms: int = NOW - 1000) -> Envelope:
    return CODEC.tombstone(KEY, now_ms=modified_ms).stamped(version=9, authority=Authority.WARM)


def judged(source: Envelope | None, target: Envelope | None, same: bool = False, **given: Any) -> Act:
    return decide(source, target, same=same, now_ms=NOW, grace_ms=DAY, **given)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (record(), None, Act.PUT),
        (record(), tombstone(), Act.PUT),
        (record(), record(NOW - 2000), Act.PUT),
        (record(NOW - 2000), record(NOW - 2000 + SKEW_MS), Act.PUT),
        (record(NOW - 9000), record(NOW - 9000 + SKEW_MS + 1), Act.KEEP),
        (record(), record(expires_ms=NOW - 1), Act.PUT),
        (None, None, Act.NOTHING),
        (None, tombstone(), Act.NOTHING),
        (tombstone(), None, Act.NOTHING),
        (tombstone(), record(NOW - 2000), Act.DELETE),
        (tombstone(NOW - 2 * SKEW_MS), record(NOW), Act.KEEP),
        (record(expires_ms=NOW - 1), record(), Act.DELETE),
        (None, record(NOW - DAY - 1), Act.DELETE),
        (None, record(NOW - DAY + 1), Act.KEEP),
    ],
)
def test_the_source_has_the_word(source: Envelope | None, target: Envelope | None, expected: Act) -> None:
    assert judged(source, target) is expected
    wins = judged(source, target, source_wins=True)
    live_there = target is not None and target.live(NOW)
    there = source is not None and source.live(NOW)
    assert wins is (Act.PUT if there else Act.DELETE if live_there else Act.NOTHING)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (record(NOW - 2000), record(NOW - 1999), Act.KEEP),
        (record(NOW - 1999), record(NOW - 2000), Act.PUT),
        (record(NOW - 2000), record(NOW - 2000), Act.PUT),
        (record(NOW - 2000), tombstone(NOW - 1999), Act.KEEP),
        (None, record(NOW - 30 * DAY), Act.KEEP),
        (tombstone(NOW - 1999), record(NOW - 2000), Act.DELETE),
        (tombstone(NOW - 2000), record(NOW - 1999), Act.KEEP),
    ],
)
def test_merged_the_later_one_counts(source: Envelope | None, target: Envelope | None, expected: Act) -> None:
    assert judged(source, target, merge=True) is expected


def test_what_was_forgotten_before_it_is_copied_stays_so() -> None:
    assert judged(record(NOW - 5000), None, fence_ms=NOW - 3000) is Act.FORGOTTEN
    assert judged(record(NOW - 5000), None, fence_ms=NOW - 3000, source_wins=True) is Act.FORGOTTEN
    assert judged(record(NOW - 500), None, fence_ms=NOW - 3000) is Act.PUT
    assert judged(record(), record(), same=True) is Act.NOTHING


def test_a_fingerprint_tells_every_part_but_versions_and_births() -> None:
    first = record()
    assert fingerprint(first, "v") == fingerprint(record(version=77), "v")
    assert same_metadata(carried(first, KEY), record(version=77))
    others = [
        (record(NOW - 999), "v"),
        (record(expires_ms=NOW + 5), "v"),
        (replace(first, media_type="text/x"), "v"),
        (replace(first, tags={"a": "b"}), "v"),
        (first, "w"),
    ]
    assert len({fingerprint(copy, value) for copy, value in others} | {fingerprint(first, "v")}) == 6
    for copy, value in others:
        assert same_metadata(first, copy) == (value == "w")


@pytest.mark.parametrize(
    "space",
    [
        Space(),
        Space("t"),
        Space("t", "s"),
        Space("t", to_tenant="u"),
        Space("t", "s", "u", "r"),
        Space("t", "s", to_scope="r"),
    ],
)
def test_a_space_goes_there_and_back(space: Space) -> None:
    there = space.there(KEY)
    assert space.back(there) == KEY
    assert space.turned().turned() == space
    assert space.turned().holds(there)
    assert space.holds(KEY)
    assert space.holds(Key("x", "s", "n")) == (space.tenant is None)
    assert space.overlaps_itself() == (there == KEY)


def test_a_space_that_cannot_be() -> None:
    assert Space(scope="s").tenant == "default"
    with pytest.raises(InvalidArgument, match="say which"):
        Space("t", to_scope="r")
    with pytest.raises(InvalidArgument, match="say which"):
        Space(to_tenant="u")
    with pytest.raises(InvalidKey):
        Space("")


def test_writers_have_time_to_see_a_fence() -> None:
    state = State()
    assert state.hold_ms + state.write_ms < state.quiet_ms
    assert (state.hold_ms, state.write_ms) == (2000, 20_000)
    assert [phase for phase in Phase if phase.waits] == [Phase.FENCED, Phase.RETURNING]
    assert not any(phase.waits and phase.both for phase in Phase)


def test_arguments_of_the_wrong_kind_are_refused_in_words() -> None:
    one: Any = MemoryClient(hot=ProcessMemory())
    two: Any = MemoryClient(hot=ProcessMemory())
    place: Any = FolderPlace("nowhere")
    wrong: Any = 5
    for make in (
        lambda: Migration(wrong, two),
        lambda: Migration(one, two, space=wrong),
        lambda: Migration(one, two, name="Not A Name"),
        lambda: Migration(one, two, quiet=wrong),
        lambda: Migration(one, two, lease=timedelta(milliseconds=1)),
        lambda: Migration(one, two, max_records_per_second=0),
        lambda: Migration(one, two, max_records_per_second=float("nan")),
        lambda: Migration(one, two, space=Space("t"), keys=["a plain name"]),
        lambda: DualMemory(one, wrong),
        lambda: DualMemory(one, two, mirror=wrong),
        lambda: DualMemory(one, two, mirror=timedelta(0)),
        lambda: DualMemory(one, two, space=wrong),
        lambda: Backup(wrong, place),
        lambda: Backup(one, wrong),
        lambda: Backup(one, place, space=wrong),
        lambda: Restore(one, wrong),
        lambda: FolderPlace(wrong),
        lambda: FolderPlace(""),
        lambda: BlobPlace(wrong),
    ):
        with pytest.raises(InvalidArgument):
            make()
