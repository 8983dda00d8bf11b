"""No two keys share a name in any tier, whatever is in them; names are reversible, and within each service's limits and alphabet."""

import re
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from thermocline.errors import InvalidKey
from thermocline.keys import (
    blob_prefix,
    cosmos_id,
    cosmos_partition,
    escape,
    from_cosmos_id,
    from_head_path,
    from_payload_path,
    from_redis,
    head_of_payload,
    head_path,
    key_digest,
    payload_path,
    redis_key,
    redis_prefix,
    unescape,
)
from thermocline.model import Key

SHA = "0123456789abcdef" * 4
NASTY = [*"aAéÉ~=-_./\\?#%{}*[]^$+: \t\n\0\x7f", "..", "~~", "%2F", "~2f", "=a", "\u0301", "e\u0301", "ß", "İ", "世", "🌊", "\ufeff", "\uffff"]  # fmt: skip
nasty = st.lists(st.sampled_from(NASTY), min_size=1, max_size=12).map("".join)
unicode_ = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
# Around each limit: the escape's length decides, so units of one, two, three, nine and twelve characters.
long = st.builds(
    lambda unit, length, tail: (unit * (length // len(escape(unit)) + 1))[: length // len(escape(unit)) + 1] + tail,
    st.sampled_from(["a", "A", ".", "世", "🌊", "aA.", "/.."]),
    st.one_of(*(st.integers(limit - 14, limit + 14) for limit in (200, 400, 474, 540, 953, 1019))),
    st.sampled_from(["", "a", "A", ".", "世", "/", "~~" + SHA]),
)
huge = st.builds(
    lambda unit, n, tail: (unit * n)[: 16_000 // len(unit.encode())] + tail,
    st.sampled_from(["x", "X/", "世"]),
    st.integers(4_000, 16_000),
    nasty,
)
parts = st.one_of(nasty, unicode_, long.filter(lambda text: len(text.encode()) <= 1000))
names = st.one_of(nasty, unicode_, long, huge)
keys = st.builds(Key, parts, parts, names)


def names_of(key: Key) -> dict[str, object]:
    return {
        "redis": redis_key(key),
        "cosmos": (*cosmos_partition(key), cosmos_id(key)),
        "head": head_path(key),
        "payload": payload_path(key, SHA),
        "digest": key_digest(key),
    }


@settings(deadline=None, max_examples=400)
@given(a=keys, b=keys)
@example(a=Key("a", "b/c", "d"), b=Key("a", "b", "c/d"))
@example(a=Key("a/b", "c", "d"), b=Key("a", "b/c", "d"))
@example(a=Key("a", "b", "C"), b=Key("a", "b", "c"))
@example(a=Key("a", "b", "é"), b=Key("a", "b", "e\u0301"))
@example(a=Key("a", "b", "x" * 541), b=Key("a", "b", "x" * 542))
def test_no_two_keys_collide(a: Key, b: Key) -> None:
    assume(a != b)
    for one, other in zip(names_of(a).items(), names_of(b).items(), strict=True):
        assert one != other


@settings(deadline=None, max_examples=300)
@given(
    key=keys,
    change=st.sampled_from(NASTY),
    part=st.sampled_from(["tenant", "scope", "name"]),
    place=st.integers(0, 2000),
)
def test_a_small_change_of_a_key_changes_every_name(key: Key, change: str, part: str, place: int) -> None:
    old = getattr(key, part)
    new = old[: place % (len(old) + 1)] + change + old[place % (len(old) + 1) :]
    assume(len(new.encode()) <= (16_384 if part == "name" else 1000))
    fields = {"tenant": key.tenant, "scope": key.scope, "name": key.name} | {part: new}
    other = Key(**fields)
    for one, another in zip(names_of(key).items(), names_of(other).items(), strict=True):
        assert one != another


def test_a_name_that_looks_like_a_shortened_one_does_not_take_its_place() -> None:
    long_key = Key("t", "s", "x" * 2000)
    for path, prefix in ((head_path(long_key), "tc1/h/t/s/"), (cosmos_id(long_key), "tc1.")):
        forged = Key("t", "s", path.removeprefix(prefix))
        assert head_path(forged) != head_path(long_key)
        assert cosmos_id(forged) != cosmos_id(long_key)


@pytest.mark.parametrize("limit", [200, 400, 474, 540, 1019])
@pytest.mark.parametrize("unit", ["a", "A", ".", "世"])
def test_neighbours_around_each_limit_do_not_collide(limit: int, unit: str) -> None:
    near = range(max(1, (limit - 10) // len(escape(unit))), (limit + 10) // len(escape(unit)) + 2)
    candidates = {unit * n + tail for n, tail in product(near, ["", "a", "b", "A", ".", "~", "/"])}
    made = [names_of(Key("t", "s", name)) for name in sorted(candidates)]
    for tier in made[0]:
        assert len({names[tier] for names in made}) == len(candidates)


@settings(deadline=None, max_examples=400)
@given(key=keys)
def test_names_are_reversible(key: Key) -> None:
    assert from_redis(redis_key(key)) == key
    assert from_redis(redis_key(key).decode()) == key
    assert from_cosmos_id(key.tenant, key.scope, cosmos_id(key), key.name) == key
    if len(escape(key.name)) <= 1019:
        assert from_cosmos_id(key.tenant, key.scope, cosmos_id(key)) == key
    else:
        with pytest.raises(InvalidKey, match="full name"):
            from_cosmos_id(key.tenant, key.scope, cosmos_id(key))
    within = len(escape(key.tenant)) <= 200 and len(escape(key.scope)) <= 200 and len(escape(key.name)) <= 540
    expected = key if within else None
    assert from_head_path(head_path(key)) == expected
    assert from_payload_path(payload_path(key, SHA)) == (expected, SHA)
    assert head_of_payload(payload_path(key, SHA)) == head_path(key)
    assert unescape(escape(key.name)) == key.name


@settings(deadline=None, max_examples=400)
@given(key=keys)
@example(key=Key("T" * 1000, "世" * 333, "🌊" * 4096))
@example(key=Key(".", "..", "..."))
@example(key=Key("~" * 66, "~" * 66, "." * 180))
def test_names_are_within_limits_and_alphabets(key: Key) -> None:
    item = cosmos_id(key)
    assert len(item.encode()) <= 1023
    assert re.fullmatch(r"tc1\.[a-z0-9_=~-]+", item)
    for path in (head_path(key), payload_path(key, SHA)):
        assert len(path) <= 1024
        segments = path.split("/")
        assert len(segments) <= 63  # the fewest that any kind of storage account allows
        for segment in segments:
            assert re.fullmatch(r"[a-z0-9_=~-]{1,201}", segment)
    redis = redis_key(key)
    assert redis.startswith(b"tc1:{")
    assert redis.index(b"}") == len(redis) - 1
    assert redis.count(b"{") == 1
    assert not re.search(rb"[*?\[\]\\^\x00-\x20\x7f]", redis)
    assert redis[5:-1].count(b"/") >= 2


@settings(deadline=None, max_examples=300)
@given(keys=st.lists(keys, max_size=4))
def test_no_path_is_the_folder_of_another(keys: list[Key]) -> None:
    """A file tier could not hold both."""
    heads = {head_path(key) for key in keys}
    grown = heads | {head_path(Key(key.tenant, key.scope, (key.name + "a" * 400)[:16_000])) for key in keys if len(key.name.encode()) < 15_000}  # fmt: skip
    for one, other in product(grown, grown):
        assert not other.startswith(one + "/")


PREFIXES: list[Callable[[Key, str], bool]] = [
    lambda key, prefix: redis_key(key).startswith(redis_prefix(key.tenant, key.scope, prefix)),
    lambda key, prefix: head_path(key).startswith(blob_prefix(key.tenant, key.scope, prefix)),
    lambda key, prefix: escape(key.name).startswith(escape(prefix)),
]


@settings(deadline=None, max_examples=300)
@given(key=keys, cut=st.integers(0, 17_000))
def test_a_names_beginning_lists_it(key: Key, cut: int) -> None:
    prefix = key.name[: cut % (len(key.name) + 1)]
    assert [listed(key, prefix) for listed in PREFIXES] == [True, True, True]


@settings(deadline=None, max_examples=300)
@given(key=keys, prefix=st.one_of(nasty, unicode_, long))
@example(key=Key("t", "s", "ab"), prefix="aB")
@example(key=Key("t", "s", "~2f"), prefix="/")
def test_another_beginning_does_not(key: Key, prefix: str) -> None:
    starts = key.name.startswith(prefix)
    exact = [listed(key, prefix) for listed in (PREFIXES[0], PREFIXES[2])]
    assert exact == [starts, starts]
    if len(escape(prefix)) <= 474:
        assert PREFIXES[1](key, prefix) == starts


@settings(deadline=None, max_examples=200)
@given(a=keys, b=keys, prefix=st.one_of(st.just(""), nasty))
@example(a=Key("acme", "user", "x"), b=Key("acme", "user2", "x"), prefix="")
@example(a=Key("acme", "u", "x"), b=Key("acme2", "u", "x"), prefix="")
@example(a=Key("a*", "u", "x"), b=Key("ab", "u", "x"), prefix="")
def test_a_listing_never_reaches_another_tenant_or_scope(a: Key, b: Key, prefix: str) -> None:
    assume((a.tenant, a.scope) != (b.tenant, b.scope))
    assert not redis_key(b).startswith(redis_prefix(a.tenant, a.scope, prefix))
    assert not head_path(b).startswith(blob_prefix(a.tenant, a.scope, prefix))


@settings(deadline=None, max_examples=500)
@given(text=st.one_of(st.text(max_size=60), st.lists(st.sampled_from([*"aA~=/%{}.", "~2f", "%2F", "tc1", SHA]), max_size=12).map("".join)))  # fmt: skip
def test_what_no_mapping_makes_is_refused(text: str) -> None:
    """Or it is a name: then it is that of the key that is given back, so reading a store's names is injective too."""
    for make, read in (
        (lambda key: redis_key(key).decode(), lambda name: from_redis(name)),
        (head_path, from_head_path),
        (cosmos_id, lambda name: from_cosmos_id("t", "s", name)),
    ):
        for name in (text, "tc1:{" + text + "}", "tc1/h/" + text, "tc1/h/t/s/" + text, "tc1." + text):
            try:
                key = read(name)
            except InvalidKey:
                continue
            assert key is None or make(key) == name
