"""The near cache: what is each caller's own, what becomes a floor, and one key under two names."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.unit.near.ground import Ground

from thermocline import Hit, Key
from thermocline.client.near.sharing import size_if_immutable


async def test_tags_are_each_callers_own(ground: Ground) -> None:
    await ground.remember("k", "v", tags={"colour": "red"})
    for _ in range(2):
        found = await ground.client.lookup("k")
        assert isinstance(found, Hit)
        assert dict(found.record.tags) == {"colour": "red"}
        found.record.tags["colour"] = "blue"  # type: ignore[index]


async def test_what_it_gave_is_a_floor_though_the_floors_were_many(ground: Ground) -> None:
    """Hits do not count as the last use of a floor: the floor may have gone, and hot may have lost what was given (P6)."""
    await ground.remember("k", "new")
    floors, key = ground.client._engine.floors, Key.of("k")
    version = floors.get(key)
    ends: list[Callable[[], object]] = [lambda: ground.near.changed(None), lambda: ground.clock.advance(2)]
    for end in ends:
        ground.beat()
        assert await ground.client.get("k") == "new"
        assert await ground.client.get("k") == "new"
        assert ground.has("k")
        floors.clear()
        end()
        assert not ground.has("k")
        assert floors.get(key) == version


async def test_one_key_under_two_names_is_one_entry(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where clients share a hot tier, and another of them has entered a new epoch first."""
    await ground.remember("k", "v")
    names = ground.hot.name_of
    monkeypatch.setattr(ground.hot, "name_of", lambda key, *, record: names(key, record=record) + b"e1")
    found = ground.near._shelf.given["k"].envelope
    ticket = ground.near.expect(found.key, ground.client._engine.routes.route(found.key))
    ground.near.keep(ticket, found)
    ground.near.done(ticket)
    assert len(ground.near) == 1
    ground.near.changed([names(found.key, record=True), names(found.key, record=True) + b"e1"])
    assert len(ground.near) == 0
    assert not ground.has("k")


@dataclass(frozen=True)
class Plain:
    x: int


@dataclass(frozen=True)
class Memo:
    x: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "memo", {})


def test_what_keeps_something_beside_its_fields_is_not_shared() -> None:
    assert size_if_immutable(Plain(1)) is not None
    assert size_if_immutable(Memo(1)) is None
