"""The names that keys have in the tiers, as they are: they are part of the format, and never change."""

import re

import pytest

from thermocline.errors import InvalidKey
from thermocline.keys import (
    blob_prefix,
    cosmos_id,
    cosmos_partition,
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
from thermocline.model import DEFAULT_TENANT, Key

SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("key", "redis", "item", "head"),
    [
        (Key("a", "b", "c"), "tc1:{a/b/c}", "tc1.c", "tc1/h/a/b/c"),
        (Key("a/b", "c", "d/e"), "tc1:{a%2Fb/c/d/e}", "tc1.d~2fe", "tc1/h/a~2fb/c/d~2fe"),
        (Key("T", "S", "Name.Txt"), "tc1:{T/S/Name.Txt}", "tc1.=name~2e=txt", "tc1/h/=t/=s/=name~2e=txt"),
        (Key(".", "..", "a."), "tc1:{./../a.}", "tc1.a~2e", "tc1/h/~2e/~2e~2e/a~2e"),
        (Key("%", "{", "}*?[]\\^"), "tc1:{%25/%7B/%7D%2A%3F%5B%5D%5C%5E}", "tc1.~7d~2a~3f~5b~5d~5c~5e", "tc1/h/~25/~7b/~7d~2a~3f~5b~5d~5c~5e"),
        (Key("é", " ", "\0#\n"), "tc1:{é/%20/%00#%0A}", "tc1.~00~23~0a", "tc1/h/~c3~a9/~20/~00~23~0a"),
        (Key("a", "b", "/"), "tc1:{a/b//}", "tc1.~2f", "tc1/h/a/b/~2f"),
    ],
)  # fmt: skip
def test_names_of_a_key(key: Key, redis: str, item: str, head: str) -> None:
    assert redis_key(key) == redis.encode()
    assert cosmos_id(key) == item
    assert cosmos_partition(key) == [key.tenant, key.scope]
    assert head_path(key) == head
    assert payload_path(key, SHA) == head.replace("tc1/h/", "tc1/p/") + "/" + SHA


def test_plain_strings_have_a_scope_of_256() -> None:
    assert Key.of("profile") == Key(DEFAULT_TENANT, "~48", "profile")
    assert head_path(Key.of("profile")) == "tc1/h/default/~7e48/profile"
    scopes = {Key.of(f"name-{n}").scope for n in range(5000)}
    assert len(scopes) == 256
    assert all(re.fullmatch("~[0-9a-f]{2}", scope) for scope in scopes)


def test_digest_of_a_key_is_framed() -> None:
    assert key_digest(Key("t", "s", "n")).hex() == "1fa58bbc5a5a8b3d4675ef956db0b425"
    assert len({key_digest(Key(*key)) for key in (("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd"))}) == 3


def test_a_long_name_is_cut_into_segments_and_comes_back() -> None:
    key = Key("t", "s", "a" * 199 + "." + "b" * 300)
    assert head_path(key) == "tc1/h/t/s/" + "a" * 199 + "~/~2e" + "b" * 197 + "~/" + "b" * 103
    assert from_head_path(head_path(key)) == key
    assert from_payload_path(payload_path(key, SHA)) == (key, SHA)


def test_what_is_too_long_ends_with_a_digest_of_the_whole() -> None:
    key = Key("T" * 101, "s", "n" * 1020)
    path = head_path(key)
    assert re.fullmatch(r"tc1/h/(=t){67}~~[0-9a-f]{64}/s/n{200}~/n{200}~/n{74}~/~~[0-9a-f]{64}", path)
    assert from_head_path(path) is None
    assert from_payload_path(payload_path(key, SHA)) == (None, SHA)
    assert head_of_payload(payload_path(key, SHA)) == path
    item = cosmos_id(key)
    assert re.fullmatch(r"tc1\.n{953}~~[0-9a-f]{64}", item)
    assert from_cosmos_id(key.tenant, key.scope, item, key.name) == key
    with pytest.raises(InvalidKey, match="do not belong together"):
        from_cosmos_id(key.tenant, key.scope, item, key.name + "n")


@pytest.mark.parametrize(
    "name",
    ["", "tc1:{}", "tc1:{a/b}", "tc1:{a/b/}", "tc1:{/b/c}", "tc1:{a/b/c", "tc1:{a/b/c}x", "tc1:{a/b/%41}", "tc1:{a/b/%2f}",
    "tc1:{a/b/{}", "tc1:{a/b/ }", "other"],
)  # fmt: skip
def test_what_is_no_redis_key_of_ours_is_refused(name: str) -> None:
    with pytest.raises(InvalidKey):
        from_redis(name)


def test_a_redis_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidKey):
        from_redis(b"tc1:{a/b/\xff}")
    with pytest.raises(InvalidKey):
        from_redis(b"tc1:{a/b/" + b"x" * 16_385 + b"}")


@pytest.mark.parametrize(
    "path",
    ["", "tc1/h/a/b", "tc1/h/a/b/", "tc1/h//b/c", "tc1/p/a/b/c", "tc1/h/a/b/C", "tc1/h/a/b/=1", "tc1/h/a/b/~2", "tc1/h/a/b/~61", "tc1/h/a/b/~ff",
    "tc1/h/a/b/c/d", "tc1/h/a/b/c~/d", "tc1/h/a/b/c~~12", "tc1/h/a/b/" + "c" * 201, "x/h/a/b/c"],
)  # fmt: skip
def test_what_is_no_head_of_ours_is_refused(path: str) -> None:
    with pytest.raises(InvalidKey):
        from_head_path(path)


@pytest.mark.parametrize(
    "path", ["", "tc1/p/a/b/c", "tc1/p/a/b/" + SHA, "tc1/h/a/b/c/" + SHA, "tc1/p/a/b/c/" + SHA.upper()]
)
def test_what_is_no_payload_of_ours_is_refused(path: str) -> None:
    for read in (from_payload_path, head_of_payload):
        with pytest.raises(InvalidKey):
            read(path)


def test_other_bad_names_are_refused() -> None:
    with pytest.raises(InvalidKey):
        from_cosmos_id("a", "b", "c")
    with pytest.raises(InvalidKey):
        unescape("A")
    for digest in ("", "0" * 63, "G" * 64, SHA.upper()):
        with pytest.raises(InvalidKey):
            payload_path(Key("a", "b", "c"), digest)
    for prefix in (redis_prefix, blob_prefix):
        with pytest.raises(InvalidKey):
            prefix("", "b")
        with pytest.raises(InvalidKey):
            prefix("a", "b", "\ud800")


def test_prefixes_of_listings() -> None:
    assert redis_prefix("a", "b/c") == b"tc1:{a/b%2Fc/"
    assert redis_prefix("a*", "b", "x?") == b"tc1:{a%2A/b/x%3F"
    assert blob_prefix("a", "b") == "tc1/h/a/b/"
    assert blob_prefix("a", "b", "Pro.") == "tc1/h/a/b/=pro~2e"
    assert blob_prefix("a", "b", root="tc1/p/") == "tc1/p/a/b/"
    for length in (199, 200, 201, 474, 475, 900):
        assert head_path(Key("a", "b", "x" * 1000)).startswith(blob_prefix("a", "b", "x" * length))
