"""What a document of the change feed is taken for, and what a letter keeps of it."""

import json
import random
from collections.abc import Mapping
from typing import Any

import azure.functions as func
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.feed.documents import Change, Poison, change_of, changed_at
from thermocline.keys import cosmos_id
from thermocline.letters import NOWHERE, Cause, letter_id, letter_of, outline, partition_of
from thermocline.model import MAX_VERSION, Key

KEY = Key("t", "s", "name")
LONG = Key("t", "s", "n" * 2000)


def item_of(key: Key, **instead: Any) -> dict[str, Any]:
    item = {"id": cosmos_id(key), "tenant": key.tenant, "scope": key.scope, "n": key.name, "v": 7, "r": {"z": 1}}
    return item | instead


def poison(document: Any) -> Poison:
    found = change_of(document)
    assert isinstance(found, Poison)
    return found


@pytest.mark.parametrize("key", [KEY, LONG, Key("t", "s", "Ünïcode / and more"), Key("t/é", "user/42", "~")])
def test_a_record_is_its_key_and_version(key: Key) -> None:
    assert change_of(item_of(key)) == Change(key, 7)


def test_a_version_that_came_as_a_double_is_one() -> None:
    assert change_of(item_of(KEY, v=1_763_757_000_000_000.0)) == Change(KEY, 1_763_757_000_000_000)


def test_the_id_says_which_key_it_is_even_where_a_host_wrote_the_name_anew() -> None:
    """As a JSON library does that takes a text for a date."""
    key = Key("t", "s", "2026-11-21T20:00:00.120Z")

    assert change_of(item_of(key, n="2026-11-21T20:00:00.12Z")) == Change(key, 7)
    assert poison(item_of(LONG, n="n" * 1999)).cause is Cause.CORRUPT  # the id holds a digest only


def test_a_document_of_the_sdk_is_one() -> None:
    assert change_of(func.Document.from_json(json.dumps(item_of(KEY)))) == Change(KEY, 7)


@pytest.mark.parametrize("item_id", ["note.sweep~place", "epoch", "own", "tc0.name", ""])
def test_what_is_not_of_the_cascade_is_nothing(item_id: str) -> None:
    assert change_of({"id": item_id, "tenant": "t", "scope": "s", "v": "poison"}) is None


@pytest.mark.parametrize(
    "instead",
    [
        {"v": None},
        {"v": 0},
        {"v": -1},
        {"v": True},
        {"v": 1.5},
        {"v": MAX_VERSION + 1},
        {"v": "7"},
        {"tenant": ""},
        {"tenant": 5},
        {"scope": None},
        {"scope": "x" * 1001},
        {"id": "tc1."},
        {"id": "tc1.~~"},
        {"id": 7},
    ],
)
def test_poison_is_corrupt(instead: dict[str, Any]) -> None:
    assert poison(item_of(KEY, **instead)).cause is Cause.CORRUPT
    assert poison(item_of(KEY, **instead)).error


@pytest.mark.parametrize("thing", [None, 5, "text", [1]])
def test_what_is_no_document_is_corrupt(thing: Any) -> None:
    assert poison(thing).cause is Cause.CORRUPT


def test_a_newer_format_counts_only_where_the_key_and_version_cannot_be_read() -> None:
    assert change_of(item_of(KEY, r={"z": 2})) == Change(KEY, 7)
    assert change_of(item_of(KEY, r="lost")) == Change(KEY, 7)
    newer = poison(item_of(KEY, r={"z": 2}, v=[7]))
    assert newer.cause is Cause.UNREADABLE
    assert "upgrade" in newer.error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("id", "tenant", "scope", "n", "v", "c", "ttl", "r", "_ts", "_lsn", "_etag")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.just("tc1.name") | st.just("t"), max_size=11))
def test_whatever_comes_is_judged_and_its_letter_can_be_stored_and_read(document: dict[str, Any]) -> None:
    found = change_of(document)
    changed_at(document)
    assert found is None or isinstance(found, Change | Poison)
    told = outline(document)

    stored = json.dumps(told, allow_nan=False).encode()  # neither NaN nor a number that a double cannot hold
    json.dumps(told, ensure_ascii=False).encode()  # nor text that UTF-8 cannot
    assert len(stored) < 100_000
    fields = {"cause": "corrupt", "error": "", "n": None, "v": 0, "attempts": 1, "at": 0, "document": told}
    letter = letter_of(letter_id(document), *partition_of(document), fields, None)
    assert letter.partition == partition_of(document)


def test_a_letter_is_the_documents() -> None:
    item = item_of(KEY)

    assert letter_id(item) == letter_id(item | {"v": 8, "r": None})
    others: list[Mapping[str, Any]] = [item | {"tenant": "u"}, item | {"scope": "u"}, item | {"id": "tc1.u"}, {}]
    assert len({letter_id(one) for one in [item, *others]}) == 5


def test_an_outline_has_no_value_and_no_tags() -> None:
    secret = random.Random(1).randbytes(9).hex()
    r = {"z": 1, "j": {"text": secret}, "p": secret, "g": {"mood": secret}, "y": secret, "h": 5, "e": {"x": 1}}

    told = outline(item_of(KEY, r=r, extra=secret))

    assert secret not in str(told)
    assert told["r"] == {"z": 1, "h": 5}


def test_where_a_document_that_names_no_key_is_filed() -> None:
    assert partition_of({"id": "tc1.x"}) == partition_of({"tenant": 5, "scope": "s"}) == NOWHERE


@pytest.mark.parametrize("at", [None, "soon", 0, -5])
def test_a_document_may_not_say_when_it_was_written(at: Any) -> None:
    assert changed_at({"_ts": at}) is None
    assert changed_at(5) is None
    assert changed_at({"_ts": 10**400}) is None  # which no float holds
    assert changed_at({"_ts": 12}) == 12.0
