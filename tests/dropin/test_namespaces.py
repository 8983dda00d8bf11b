"""Canonical keys: no two namespaces have one, and only what was built is parsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline import Key
from thermocline.agents.memory import (
    NamespaceContext,
    build_canonical_memory_key,
    canonical_name,
    parse_canonical_memory_key,
    read_hot_with_compatibility,
    resolve_namespace_context,
)
from thermocline.errors import InvalidKey

parts = st.text(st.sampled_from("ab|=%/ 27CD5Fé\n"), min_size=1, max_size=6)
contexts = st.builds(NamespaceContext, parts, parts, parts)


def test_parts_without_signs_are_written_as_before() -> None:
    key = build_canonical_memory_key(NamespaceContext("cart-service", "tenant-a", "session-1"), "pdp:SKU-001")

    assert key == "v1|svc=cart-service|ten=tenant-a|ses=session-1|key=pdp:SKU-001"
    assert parse_canonical_memory_key(key) == (NamespaceContext("cart-service", "tenant-a", "session-1"), "pdp:SKU-001")


def test_signs_are_escaped() -> None:
    key = build_canonical_memory_key(NamespaceContext("a|b", "t=1", "50%"), "x|key=y")

    assert key == "v1|svc=a%7Cb|ten=t%3D1|ses=50%25|key=x%7Ckey%3Dy"


@given(contexts, parts)
def test_every_namespace_comes_back(context: NamespaceContext, name: str) -> None:
    assert parse_canonical_memory_key(build_canonical_memory_key(context, name)) == (context, name)
    assert canonical_name(context.key(name)) == build_canonical_memory_key(context, name)


@given(contexts, parts, contexts, parts)
def test_different_namespaces_have_different_keys(
    one: NamespaceContext, name: str, other: NamespaceContext, second: str
) -> None:
    if (one, name) != (other, second):
        assert build_canonical_memory_key(one, name) != build_canonical_memory_key(other, second)
        assert one.key(name) != other.key(second)


@given(st.text(st.sampled_from("v1|svc=tenkyaé%257C3D"), max_size=40))
def test_what_is_parsed_is_what_was_built(text: str) -> None:
    try:
        context, name = parse_canonical_memory_key(text)
    except InvalidKey:
        return
    assert build_canonical_memory_key(context, name) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1",
        "v2|svc=a|ten=b|ses=c|key=d",
        "v1|ten=b|svc=a|ses=c|key=d",
        "v1|svc=a|ten=b|ses=c|key=",
        "v1|svc=|ten=b|ses=c|key=d",
        "v1|svc=a|ten=b|ses=c|key=d|key=e",
        "v1|svc=a|ten=b|ses=c|key=d=e",
        "v1|svc=a|ten=b|ses=c|key=100%",
        "v1|svc=a|ten=b|ses=c|key=%7c",
        " v1|svc=a|ten=b|ses=c|key=d",
        "v1|svc=a|ten=b|ses=c|key=d\n|",
        None,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidKey, match="no canonical key"):
        parse_canonical_memory_key(text)


def test_a_request_names_its_namespace() -> None:
    request = {"tenant": "acme", "session_id": "", "session": 7}

    assert resolve_namespace_context(request, "cart") == NamespaceContext("cart", "acme", "7")
    assert resolve_namespace_context({}, "cart") == NamespaceContext("cart", "public", "anonymous")
    assert resolve_namespace_context({}, "", session_fallback="ip") == NamespaceContext(
        "unknown-service", "public", "ip"
    )
    assert resolve_namespace_context({}, "c", default_tenant_id="t", default_session_id="s").key("x") == Key(
        "t", "c/s", "x"
    )


@pytest.mark.parametrize("part", ["", None, 7])
def test_an_empty_part_is_refused(part: str) -> None:
    with pytest.raises(InvalidKey, match="tenant_id"):
        NamespaceContext("a", part, "c")
    with pytest.raises(InvalidKey, match="logical_key"):
        build_canonical_memory_key(NamespaceContext("a", "b", "c"), part)


def test_keys_that_are_no_namespaces_have_no_canonical_name() -> None:
    for scope in ("user", "a/b/c", "/x", "a/%41", "~3f"):
        assert canonical_name(Key("t", scope, "n")) is None


async def test_older_keys_are_read_and_stored_under_the_canonical_one() -> None:
    class Hot:
        def __init__(self) -> None:
            self.held: dict[str, object] = {"old": "value"}

        async def get(self, key: str) -> object:
            return self.held.get(key)

        async def set(self, key: str, value: object, ttl_seconds: float = 900) -> None:
            self.held[key] = value

    hot = Hot()
    assert await read_hot_with_compatibility(hot, "new", ["older", "old"], ttl_seconds=60) == "value"
    assert hot.held["new"] == "value"
    hot.held["old"] = "stale"
    assert await read_hot_with_compatibility(hot, "new", ["old"], ttl_seconds=60) == "value"
    assert await read_hot_with_compatibility(hot, "x", [], ttl_seconds=60) is None
