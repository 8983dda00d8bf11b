"""The values that a near cache gives: shared where nobody can change them, and else made anew for each who asks."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from tests.unit.near.ground import Ground

from thermocline import Key, TypeMismatch
from thermocline.client.near.sharing import size_if_immutable


class Frozen(msgspec.Struct, frozen=True):
    name: str
    parts: tuple[int, ...]


class Loose(msgspec.Struct):
    name: str


class Holder(msgspec.Struct, frozen=True):
    parts: list[int]


@dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclass(frozen=True)
class Box:
    parts: list[int]


@pytest.mark.parametrize("value", [None, 0, False, "", b"", {}, [], 0.0])
async def test_a_value_that_is_false_is_a_value(ground: Ground, value: Any) -> None:
    await ground.remember("k", value)
    hits = ground.near.hits
    assert await ground.client.get("k", default="none") == value
    assert ground.near.hits == hits + 1


SHARED: list[tuple[Any, Any]] = [
    ("text", None),
    (b"bytes", None),
    (2**70, None),
    (1.5, None),
    (datetime(2026, 1, 2, tzinfo=UTC), None),
    (UUID(int=7), None),
    (Decimal("1.50"), None),
    ((1, ("a", b"b")), None),
    (frozenset({1, 2}), None),
    (Frozen("a", (1, 2)), Frozen),
    (Point(1, 2), Point),
]


@pytest.mark.parametrize(("value", "kind"), SHARED, ids=[type(value).__name__ for value, _ in SHARED])
async def test_what_nobody_can_change_is_decoded_once(ground: Ground, value: Any, kind: Any) -> None:
    await ground.client.set("k", value)
    assert await ground.client.get("k", type=kind) == value
    first = await ground.client.get("k", type=kind)
    assert first == value
    assert await ground.client.get("k", type=kind) is first
    assert await ground.client.get(Key.of("k"), type=kind) is first


ANEW: list[tuple[Any, Any]] = [
    ({"a": 1}, None),
    ([1, 2], None),
    ((1, [2]), None),
    ({1, 2}, None),
    (Loose("a"), Loose),
    (Holder([1]), Holder),
    (Box([1]), Box),
]


@pytest.mark.parametrize(("value", "kind"), ANEW, ids=[type(value).__name__ for value, _ in ANEW])
async def test_what_can_be_changed_is_made_anew_for_each(ground: Ground, value: Any, kind: Any) -> None:
    await ground.client.set("k", value)
    assert await ground.client.get("k", type=kind) == value
    first, second = await ground.client.get("k", type=kind), await ground.client.get("k", type=kind)
    assert first == second == value
    assert first is not second
    assert ground.near.hits == 2


async def test_a_value_is_shared_by_the_type_that_was_asked_for(ground: Ground) -> None:
    await ground.client.set("k", Point(1, 2))
    for _ in range(3):
        assert await ground.client.get("k") == {"x": 1, "y": 2}
        assert await ground.client.get("k", type=Point) == Point(1, 2)
        with pytest.raises(TypeMismatch):
            await ground.client.get("k", type=int)
    assert (await ground.client.get_many(["k"], type=int)).errors.keys() == {"k"}


def test_what_is_shared_is_measured() -> None:
    assert size_if_immutable("x" * 1000) == sys.getsizeof("x" * 1000)
    assert size_if_immutable(("x", [1])) is None
    assert size_if_immutable(Frozen("a", (1,))) is not None
    subclass: Any = type("Text", (str,), {})
    assert size_if_immutable(subclass("a")) is None


@pytest.mark.parametrize("compressed", [b"ab" * 4000, "ab" * 4000])
async def test_what_was_compressed_is_opened_once(ground: Ground, compressed: Any) -> None:
    await ground.remember("k", compressed)
    before = ground.near.held_bytes
    assert await ground.client.get("k") == compressed
    assert ground.near.held_bytes > before + 8000
    assert await ground.client.get("k") is await ground.client.get("k")
