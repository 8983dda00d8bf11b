"""Keys as rows of a table: no two collide, rows are in the order of their names, and all are what Table Storage takes."""

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from thermocline.errors import InvalidKey
from thermocline.keys import from_table, table_partition, table_partitions, table_row, table_rows
from thermocline.model import Key

NASTY = [*"aAzZ09éÉ~=-_./\\?#%'{}*[]^$+: \t\n\0\x7f\x80", "..", "~~", "-2f", "~2f", "\u0301", "e\u0301", "世", "🌊", "\uffff", "\U0010ffff"]  # fmt: skip
nasty = st.lists(st.sampled_from(NASTY), min_size=1, max_size=12).map("".join)
unicode_ = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
# Around each limit of an escape (253, 446, 512), whose units have one, three, nine and twelve characters.
long = st.builds(
    lambda unit, length, tail: unit * length + tail,
    st.sampled_from(["a", "/", "世", "🌊", "a/"]),
    st.one_of(*(st.integers(limit // width - 2, limit // width + 2) for limit in (253, 446, 512) for width in (1, 3))),
    st.sampled_from(["", "a", "/", "世", "~~" + "0" * 64]),
)
parts = st.one_of(nasty, unicode_, long.filter(lambda text: len(text.encode()) <= 1000))
names = st.one_of(nasty, unicode_, long)
keys = st.builds(Key, parts, parts, names)


def place(key: Key) -> tuple[str, str]:
    return table_partition(key), table_row(key)


@settings(deadline=None, max_examples=400)
@given(a=keys, b=keys)
@example(a=Key("a", "b.c", "d"), b=Key("a.b", "c", "d"))
@example(a=Key("a", "b", "C"), b=Key("a", "b", "c"))
@example(a=Key("a", "b", "é"), b=Key("a", "b", "e\u0301"))
@example(a=Key("a", "b", "x" * 513), b=Key("a", "b", "x" * 514))
@example(a=Key("a" * 254, "b", "x"), b=Key("a" * 255, "b", "x"))
def test_no_two_keys_share_a_row(a: Key, b: Key) -> None:
    assume(a != b)
    assert place(a) != place(b)


@settings(deadline=None, max_examples=300)
@given(
    key=keys, change=st.sampled_from(NASTY), part=st.sampled_from(["tenant", "scope", "name"]), at=st.integers(0, 600)
)
def test_a_small_change_of_a_key_changes_its_row(key: Key, change: str, part: str, at: int) -> None:
    fields = {"tenant": key.tenant, "scope": key.scope, "name": key.name}
    at %= len(fields[part]) + 1
    fields[part] = fields[part][:at] + change + fields[part][at:]
    assume(len(fields[part].encode()) <= 1000)
    assert place(Key(**fields)) != place(key)


def test_a_name_that_looks_like_a_shortened_one_does_not_take_its_place() -> None:
    long_key = Key("t" * 300, "s" * 300, "x" * 2000)
    partition, row = place(long_key)
    tenant, scope = partition.split(".")[1:]
    assert table_row(Key("t", "s", row)) != row
    assert table_partition(Key(tenant, scope, "n")) != partition


@settings(deadline=None, max_examples=400)
@given(key=keys)
@example(key=Key("t", "s", "x" * 512))
def test_rows_are_reversible(key: Key) -> None:
    partition, row = place(key)
    expected = None if "~~" in partition + row else key
    assert from_table(partition, row) == expected


@settings(deadline=None, max_examples=400)
@given(key=keys)
@example(key=Key("🌊" * 250, "世" * 333, "🌊" * 4096))
def test_rows_are_what_the_service_takes(key: Key) -> None:
    for text, allowed in zip(place(key), ("[0-9A-Za-z._=~-]+", "[0-9A-Za-z_=~-]+"), strict=True):
        assert re.fullmatch(allowed, text)
        assert len(text) <= 512


@settings(deadline=None, max_examples=500)
@given(a=st.one_of(nasty, unicode_), b=st.one_of(nasty, unicode_))
@example(a="\uffff", b="\U00010000")  # by UTF-16 they would be the other way round
@example(a="a", b="a\0")
@example(a="A", b="_")
def test_rows_are_in_the_order_of_their_names(a: str, b: str) -> None:
    rows = [table_row(Key("t", "s", name)) for name in (a, b)]
    assert (rows[0] < rows[1]) == (a < b)


@settings(deadline=None, max_examples=400)
@given(name=names, prefix=st.one_of(nasty, unicode_, long))
@example(name="x" * 600, prefix="x" * 447)
@example(name="🌊" * 100, prefix="🌊" * 38)
def test_a_prefix_finds_all_its_names_and_a_short_one_no_other(name: str, prefix: str) -> None:
    start, end = table_rows(prefix)
    for one in (name, prefix + name):
        inside = start <= table_row(Key("t", "s", one)) < end
        assert inside or not one.startswith(prefix)
        if "~~" not in table_row(Key("t", "s", prefix)) and len(start) == len(table_row(Key("t", "s", prefix))):
            assert inside == one.startswith(prefix)


@settings(deadline=None, max_examples=300)
@given(key=keys, tenant=parts)
@example(key=Key("acme2", "s", "n"), tenant="acme")
@example(key=Key("acme.s", "s", "n"), tenant="acme")
def test_a_tenants_partitions_are_its_own(key: Key, tenant: str) -> None:
    start, end = table_partitions(tenant)
    assert (start <= table_partition(key) < end) == (key.tenant == tenant)
    everything = table_partitions()
    assert everything[0] <= table_partition(key) < everything[1]
    assert not everything[0] <= "tc1n" < everything[1]  # the partition of notes


@settings(deadline=None, max_examples=300)
@given(partition=st.one_of(st.text(max_size=30), nasty.map(lambda text: f"tc1.t.{text}")), row=st.text(max_size=30))
@example(partition="tc1.t.s", row="-41")  # the escape of a letter, which has none
@example(partition="tc1.t.s", row="")
def test_what_no_key_makes_is_refused(partition: str, row: str) -> None:
    try:
        key = from_table(partition, row)
    except InvalidKey:
        return
    assert key is None or place(key) == (partition, row)


@pytest.mark.parametrize(
    ("partition", "row"), [("tc1n", "x"), ("tc1.t", "x"), ("tc1.t.s.u", "x"), ("other.t.s", "x"), ("tc1.t.s", "~~0")]
)
def test_rows_of_others_are_told_apart(partition: str, row: str) -> None:
    with pytest.raises(InvalidKey):
        from_table(partition, row)
