"""Values of every kind come back as they went in, by every verb that reads, whatever tiers there are."""

import math
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
import pytest
from tests.integration.client.grounds import Grounds, noise

from thermocline.errors import TypeMismatch
from thermocline.model import Hit, Miss

VALUES: dict[str, Any] = {
    "none": None,
    "zero": 0,
    "minus zero": -0.0,
    "false": False,
    "true": True,
    "empty text": "",
    "empty bytes": b"",
    "empty dict": {},
    "empty list": [],
    "text": "żółw 🐢 \x00 line\nline",
    "bytes": bytes(range(256)),
    "big integer": 2**70,
    "beyond doubles": 2**53 + 1,
    "float": 0.1,
    "infinity": math.inf,
    "nested": {"a": [1, {"b": None}, [[]]], "ü": {"": ""}},
    "nested bytes": {"raw": [b"", b"\xff"]},
    "datetime": datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
    "another zone": datetime(2026, 2, 28, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "date": date(2026, 2, 28),
    "time": time(1, 2, 3),
    "timedelta": timedelta(days=-1, microseconds=1),
    "uuid": uuid.UUID(int=7),
    "decimal": Decimal("1.10"),
    "large text": "ä" * 100_000,
    "large bytes": noise(300_000),
}


@dataclass
class Point:
    x: int
    y: float = 0.5


class Turn(msgspec.Struct):
    text: str
    at: datetime


class Profile(pydantic.BaseModel):
    name: str
    tags: list[str] = []


TYPED: list[Any] = [
    Point(1, 2.5),
    Turn("hello", datetime(2026, 1, 1, tzinfo=UTC)),
    Profile(name="Ada", tags=["a"]),
]


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and repr(a) == repr(b)


async def test_values_come_back_as_they_went_in(grounds: Grounds) -> None:
    writer, reader = await grounds.open(), await grounds.open()
    keys = {name: grounds.key(name) for name in VALUES}
    for name, value in VALUES.items():
        await writer.set(keys[name], value)
    for memory in (reader, writer):
        found = {name: await memory.get(key, default="no value") for name, key in keys.items()}
        assert [name for name, value in VALUES.items() if not same(found[name], value)] == []
    many = await reader.get_many(keys.values())
    assert (many.missing, many.errors) == ([], {})
    assert [name for name, value in VALUES.items() if not same(many[keys[name]], value)] == []
    for name, key in keys.items():
        looked = await reader.lookup(key)
        assert isinstance(looked, Hit)
        assert same(looked.value, VALUES[name]), name
        assert await reader.exists(key), name


async def test_values_come_back_after_hot_has_lost_them(above: Grounds) -> None:
    writer, reader = await above.open(), await above.open()
    keys = {above.key(name): value for name, value in VALUES.items()}
    written = await writer.set_many(keys)
    assert len(written.raise_errors()) == len(keys)
    await above.evict(*keys)
    half = list(keys)[::2]
    found = await reader.get_many(half)
    found |= {key: await reader.get(key) for key in keys if key not in found}
    assert [key.name for key, value in keys.items() if not same(found[key], value)] == []
    again = await reader.get_many(keys)
    assert [key.name for key, value in keys.items() if not same(again[key], value)] == []


async def test_nan_comes_back(each: Grounds) -> None:
    memory = await each.open()
    await memory.set(each.key(), [math.nan, {"inner": math.nan}])
    found = await memory.get(each.key())
    assert math.isnan(found[0])
    assert math.isnan(found[1]["inner"])


async def test_typed_values_come_back_typed(each: Grounds) -> None:
    writer, reader = await each.open(), await each.open()
    for number, value in enumerate(TYPED):
        key, kind = each.key(f"{number}"), type(value)
        await writer.set(key, value)
        assert await reader.get(key, type=kind) == value
        looked = await reader.lookup(key, type=kind)
        assert isinstance(looked, Hit)
        assert looked.value == value
        assert (await reader.get_many([key], type=kind))[key] == value
        assert isinstance(await reader.get(key), dict)
    with pytest.raises(TypeMismatch):
        await reader.get(each.key("0"), type=Profile)
    with pytest.raises(TypeMismatch):
        await reader.lookup(each.key("0"), type=Profile)
    mixed = await reader.get_many([each.key("0"), each.key("2")], type=Profile)
    assert list(mixed) == [each.key("2")]
    assert isinstance(mixed.errors[each.key("0")], TypeMismatch)
    assert await reader.get(each.key("0")) == {"x": 1, "y": 2.5}  # it is untouched


async def test_a_stored_none_is_no_missing_value(each: Grounds) -> None:
    memory = await each.open()
    key, absent = each.key("none"), each.key("absent")
    await memory.set(key, None)
    assert await memory.get(key, default="default") is None
    assert await memory.get(absent, default="default") == "default"
    assert isinstance(await memory.lookup(key), Hit)
    assert isinstance(await memory.lookup(absent), Miss)
    assert await memory.exists(key)
    assert not await memory.exists(absent)
    batch = await memory.get_many([key, absent])
    assert (dict(batch), batch.missing, batch.errors) == ({key: None}, [absent], {})


async def test_a_value_is_not_shared_with_its_reader(each: Grounds) -> None:
    """What a reader does to a value changes nobody else's."""
    memory = await each.open()
    given = {"list": [1]}
    await memory.set(each.key(), given)
    given["list"].append(2)
    (await memory.get(each.key()))["list"].append(3)
    assert await memory.get(each.key()) == {"list": [1]}
