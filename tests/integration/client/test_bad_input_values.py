"""Bad input from a caller: each a clear error of our own tree, nothing written, nothing lost, by every verb that takes it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.client.grounds import Embedded, Grounds, noise

from thermocline.client import MemoryClient
from thermocline.errors import (
    ConfigurationError,
    InvalidArgument,
    InvalidKey,
    NotSerialisable,
    ThermoclineError,
    TooLarge,
    TypeMismatch,
)
from thermocline.model import Authority, Key
from thermocline.policy import MemoryRules, Route

Call = Callable[[MemoryClient, Any], Awaitable[Any]]


async def stream_of(memory: MemoryClient, key: Any) -> None:
    async for _ in memory.stream(key):
        pass


async def nothing() -> Any:
    yield b""


WITH_KEY: dict[str, Call] = {
    "get": lambda memory, key: memory.get(key),
    "lookup": lambda memory, key: memory.lookup(key),
    "exists": lambda memory, key: memory.exists(key),
    "ttl": lambda memory, key: memory.ttl(key),
    "stream": stream_of,
    "set": lambda memory, key: memory.set(key, 1),
    "delete": lambda memory, key: memory.delete(key),
    "touch": lambda memory, key: memory.touch(key, ttl=1),
    "set_stream": lambda memory, key: memory.set_stream(key, nothing()),
    "update": lambda memory, key: memory.update(key, lambda value: value),
    "increment": lambda memory, key: memory.increment(key),
    "append": lambda memory, key: memory.append(key, 1),
}
BAD_KEYS: dict[str, tuple[Any, str]] = {
    "none": (None, "Key or a string"),
    "number": (7, "Key or a string"),
    "bytes": (b"name", "Key or a string"),
    "tuple": (("a", "b", "c"), "Key or a string"),
    "empty": ("", "empty"),
    "over-long": ("x" * 16_385, "16385 bytes"),
    "over-long in bytes": ("ä" * 8193, "16386 bytes"),
    "lone surrogate": ("a\ud800", "surrogate"),
}


@pytest.mark.parametrize("bad", BAD_KEYS)
async def test_keys_that_cannot_be(some: Grounds, bad: str) -> None:
    memory = await some.open()
    key, says = BAD_KEYS[bad]
    for call in WITH_KEY.values():
        with pytest.raises(InvalidKey, match=says):
            await call(memory, key)
    batches = [
        await memory.set_many({key: 1, some.key(): 2}),
        await memory.get_many([key, some.key()]),
        await memory.delete_many([key, some.key()]),
    ]
    for batch in batches:  # P8: it costs the other one nothing
        assert list(batch) == [some.key()]
        assert list(batch.errors) == [key]
        with pytest.raises(InvalidKey, match=says):
            raise batch.errors[key]


@pytest.mark.parametrize("part", ["tenant", "scope", "name"])
@pytest.mark.parametrize("bad", ["", "x" * 20_000, "\udfff", 7, None])
def test_parts_of_a_key_that_cannot_be(part: str, bad: Any) -> None:
    with pytest.raises(InvalidKey, match=part):
        Key(**{"tenant": "t", "scope": "s", "name": "n"} | {part: bad})


class Unknown:
    pass


async def a_coroutine() -> None:
    pass


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
NOT_SERIALISABLE: dict[str, Any] = {
    "object": Unknown(),
    "object inside": {"a": [Unknown()]},
    "function": print,
    "module": pytest,
    "generator": (x for x in [1]),
    "circle": CIRCLE,
    "lone surrogate": "a\ud800",
    "exception": ValueError("x"),
    "complex": 1j,
}


@pytest.mark.parametrize("bad", NOT_SERIALISABLE)
async def test_values_that_cannot_be_serialised(some: Grounds, bad: str) -> None:
    memory = await some.open()
    key, value = some.key(), NOT_SERIALISABLE[bad]
    await memory.set(key, "kept")
    with pytest.raises(NotSerialisable):
        await memory.set(key, value)
    with pytest.raises(NotSerialisable):
        await memory.update(key, lambda old: value)
    batch = await memory.set_many({key: value, some.key("other"): 1})
    assert isinstance(batch.errors[key], NotSerialisable)
    assert list(batch) == [some.key("other")]
    assert await memory.get(key) == "kept"


@pytest.mark.parametrize(
    "ttl", [0, -1, -0.5, timedelta(0), timedelta(days=-1), float("nan"), float("inf"), "1", True, 1e30]
)
async def test_lifetimes_that_cannot_be(some: Grounds, ttl: Any) -> None:
    memory = await some.open()
    key = some.key()
    await memory.set(key, "kept")
    for call in (
        lambda: memory.set(key, 1, ttl=ttl),
        lambda: memory.touch(key, ttl=ttl),
        lambda: memory.update(key, lambda value: 1, ttl=ttl),
        lambda: memory.increment(some.key("n"), ttl=ttl),
        lambda: memory.append(some.key("l"), 1, ttl=ttl),
        lambda: memory.set_stream(key, nothing(), ttl=ttl),
    ):
        with pytest.raises(InvalidArgument, match="ttl"):
            await call()
    batch = await memory.set_many({key: 1}, ttl=ttl)
    assert isinstance(batch.errors[key], InvalidArgument)
    assert await memory.get(key) == "kept"
    assert await memory.ttl(key) is None


async def test_values_over_the_limit(each: Grounds) -> None:
    memory = await each.open(rules=MemoryRules(max_value_bytes=1000))
    key = each.key()
    await memory.set(key, "kept")
    assert (await memory.set(each.key("just"), "x" * 1000)).found
    with pytest.raises(TooLarge, match="1001 bytes, at most 1000"):
        await memory.set(key, "x" * 1001)
    with pytest.raises(TooLarge):
        await memory.append(each.key("list"), noise(900), noise(900))
    batch = await memory.set_many({key: "x" * 1001, each.key("other"): 1})
    assert isinstance(batch.errors[key], TooLarge)
    assert await memory.get(key) == "kept"
    assert await memory.get(each.key("other")) == 1


async def test_values_that_the_authority_alone_finds_too_large(each: Grounds) -> None:
    """No cold tier takes them over; what the service holds is its own limit."""
    if "cold" in each.tiers:
        each.tiers = [name for name in each.tiers if name != "cold"] or each.tiers
    memory = await each.open()
    key = each.key()
    await memory.set(key, "kept")
    if each.authority == "cold" or (each.authority == "warm" and isinstance(each, Embedded)):
        await memory.set(key, noise(3 * 2**20))  # these hold it
        assert await memory.get(key) == noise(3 * 2**20)
        return
    with pytest.raises(TooLarge):
        await memory.set(key, noise(20 * 2**20))
    assert await memory.get(key) == "kept"
    assert memory.stats()["client"]["recovery_queue"] == 0


TAGS: dict[str, tuple[Any, type[ThermoclineError]]] = {
    "no mapping": ([("a", "b")], ThermoclineError),
    "number": ({"a": 1}, InvalidArgument),
    "number as name": ({1: "a"}, InvalidArgument),
    "too many": ({str(number): "" for number in range(1000)}, TooLarge),
    "too long": ({"a": "x" * 100_000}, TooLarge),
    "lone surrogate": ({"a": "\ud800"}, InvalidArgument),
}


@pytest.mark.parametrize("bad", TAGS)
async def test_tags_that_cannot_be(some: Grounds, bad: str) -> None:
    memory = await some.open()
    tags, error = TAGS[bad]
    await memory.set(some.key(), "kept")
    with pytest.raises(error, match="tag"):
        await memory.set(some.key(), 1, tags=tags)
    with pytest.raises(error, match="tag"):
        await memory.set_stream(some.key(), nothing(), tags=tags)
    assert isinstance((await memory.set_many({some.key(): 1}, tags=tags)).errors[some.key()], error)
    assert await memory.get(some.key()) == "kept"


@pytest.mark.parametrize("bad", ["ä", "a\nb", "x" * 10_000, 7])
async def test_media_types_that_cannot_be(some: Grounds, bad: Any) -> None:
    memory = await some.open()
    with pytest.raises(InvalidArgument, match="media type"):
        await memory.set(some.key(), 1, media_type=bad)
    assert not await memory.exists(some.key())


async def test_conditions_that_cannot_be(some: Grounds) -> None:
    memory = await some.open()
    written = await memory.set(some.key(), "kept")
    with pytest.raises(InvalidArgument, match="exclude"):
        await memory.set(some.key(), 1, if_version=written.version, if_absent=True)
    for version in (0, -1, "1", 1.5, True, 2**60):
        with pytest.raises(InvalidArgument, match="if_version"):
            await memory.set(some.key(), 1, if_version=version)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="if_version"):
            await memory.delete(some.key(), if_version=version)  # type: ignore[arg-type]
    assert await memory.get(some.key()) == "kept"


async def test_values_of_another_kind_than_the_verb_needs(some: Grounds) -> None:
    memory = await some.open()
    for number, value in enumerate(("text", True, None, [1], {"a": 1})):
        key = some.key(f"{number}")
        await memory.set(key, value)
        with pytest.raises(TypeMismatch, match="number"):
            await memory.increment(key)
        if not isinstance(value, list):
            with pytest.raises(TypeMismatch, match="list"):
                await memory.append(key, 1)
        with pytest.raises(TypeMismatch):
            await memory.get(key, type=bytes)
        assert await memory.get(key) == value


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"warm_ttl_seconds": -1}, "warm_ttl_seconds"),
        ({"hot_ttl_seconds": 0}, "hot_ttl_seconds"),
        ({"hot_ttl_seconds": "300"}, "hot_ttl_seconds"),
        ({"cold_threshold_bytes": -1}, "cold_threshold_bytes"),
        ({"max_value_bytes": 0}, "max_value_bytes"),
        ({"promote_on_read": "yes"}, "promote_on_read"),
        ({"write_through": False, "write_around": True}, "write_around"),
    ],
)
def test_rules_that_cannot_be(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        MemoryRules(**given)


@pytest.mark.parametrize("tiers", [["warm"], ["hot"]])
async def test_rules_that_the_tiers_cannot_keep(tmp_path: Path, tiers: list[str]) -> None:
    ground = Embedded(tmp_path, "tenant")
    await ground.prepare(tiers)
    with pytest.raises(ConfigurationError, match="cold"):
        ground.client(rules=MemoryRules(write_cold=True))
    with pytest.raises(ConfigurationError, match="COLD"):
        ground.client(routes=[Route("x", authority=Authority.COLD)])
    with pytest.raises(ConfigurationError, match="at least one"):
        MemoryClient()
    await ground.close()
