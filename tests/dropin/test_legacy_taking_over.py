"""Copies that code before this library left, taken over by the first write: they are gone then, and nothing brings them back."""

import asyncio
from typing import Any

import pytest
from tests.dropin.world import Old, left, put_everywhere

from thermocline import Codec, Key, MemoryRules, Route
from thermocline.client.legacy import CLAIM
from thermocline.client.takeover import TakeOver
from thermocline.clock import Deadline
from thermocline.errors import Conflict
from thermocline.protocols import PlainCopy
from thermocline.tiers.hot import HotMemory


@pytest.mark.parametrize(
    "verb", ["set", "set_many", "update", "touch", "delete", "delete_many", "set_stream", "append"]
)
async def test_the_first_write_takes_over_and_leaves_no_copy(old: Old, verb: str) -> None:
    name = old.name()
    await put_everywhere(old, name, "old") if verb != "append" else await old.documents.upsert_item(
        {"id": name, "pk": name, "value": ["old"]}
    )
    memory = await old.client(legacy=old.source())

    async def chunks() -> Any:
        yield b"new"

    writes: dict[str, Any] = {
        "set": lambda: memory.set(name, "new"),
        "set_many": lambda: memory.set_many({name: "new"}),
        "update": lambda: memory.update(name, lambda value: f"{value} and new"),
        "touch": lambda: memory.touch(name, ttl=600),
        "delete": lambda: memory.delete(name),
        "delete_many": lambda: memory.delete_many([name]),
        "set_stream": lambda: memory.set_stream(name, chunks()),
        "append": lambda: memory.append(name, "new"),
    }
    result = await writes[verb]()

    expected = {
        "update": "old and new",
        "touch": "old",
        "delete": None,
        "delete_many": None,
        "set_stream": b"new",
        "append": ["old", "new"],
    }
    assert await memory.get(name) == expected.get(verb, "new")
    assert await left(old, name) == []
    if verb in ("touch", "delete"):
        assert result.found
    other = await old.client()  # the cascade's own record, without any route
    assert await other.get(name) == expected.get(verb, "new")


async def test_a_condition_is_judged_by_the_old_value(old: Old) -> None:
    await old.redis.set(old.name(), "old")
    memory = await old.client(legacy=old.source())

    with pytest.raises(Conflict):
        await memory.set(old.name(), "new", if_absent=True)
    assert await memory.get(old.name()) == "old"


async def test_a_claim_that_was_cut_off_hides_nothing(old: Old) -> None:
    """A process that dies after its claim leaves the old copy where it was, for readers and for the next writer."""
    await old.redis.set(old.name(), "old")
    memory = await old.client(legacy=old.source())
    key = Key.of(old.name())
    plan = memory._engine.routes.route(key)
    takeover: TakeOver = memory._takeover
    await takeover._put(takeover._claim(key), plan, memory._engine.budget.call(), None)

    other = await old.client(legacy=old.source())
    found = await other._engine.authority(plan.authority).read(key, deadline=memory._engine.budget.call())
    assert found is not None
    assert found.media_type == CLAIM
    assert await other.get(old.name()) == "old"
    assert await (await old.client()).get(old.name()) is None  # without the route it is dead
    assert await other.update(old.name(), lambda value: value + "er") == "older"
    assert await left(old, old.name()) == []


async def test_a_deletion_between_claim_and_value_wins(old: Old) -> None:
    """P4: whoever takes over a value that is deleted meanwhile does not bring it back."""
    await old.redis.set(old.name(), "old")
    slow, quick = await old.client(legacy=old.source()), await old.client(legacy=old.source())
    key, budget = Key.of(old.name()), slow._engine.budget
    plan = slow._engine.routes.route(key)
    await slow._takeover._put(slow._takeover._claim(key), plan, budget.call(), None)
    claim = await slow._cascade.ask(key, plan, 0, budget.call())
    assert plan.legacy is not None
    assert claim is not None
    copy = await slow._cascade.legacy.read(key, plan.legacy, budget.call())
    assert copy is not None

    await quick.delete(key)
    with pytest.raises(Conflict):
        await slow._takeover._put(copy, plan, budget.call(), claim.version)
    for client in (slow, quick, await old.client(legacy=old.source())):
        assert await client.get(key) is None


async def test_many_updates_at_once_lose_none(old: Old) -> None:
    await old.documents.upsert_item({"id": old.name(), "pk": old.name(), "value": 100})
    clients = [await old.client(legacy=old.source()) for _ in range(3)]

    await asyncio.gather(*(client.increment(old.name()) for client in clients for _ in range(4)))

    assert await clients[0].get(old.name()) == 112
    assert await left(old, old.name()) == []


@pytest.mark.parametrize("authority", ["hot", "cold"])
async def test_every_authority_takes_over(old: Old, authority: str) -> None:
    await old.documents.upsert_item({"id": old.name(), "pk": old.name(), "value": {"n": 1}})
    rules = MemoryRules(write_through=authority == "cold")
    given: dict[str, Any] = {"warm": None} if authority == "cold" else {}
    memory = await old.client(routes=[Route("", rules=rules, legacy=old.source(hot=None, cold=None))], **given)

    assert await memory.get(old.name()) == {"n": 1}
    assert await memory.update(old.name(), lambda value: value | {"m": 2}) == {"n": 1, "m": 2}
    assert await left(old, old.name()) == []
    assert await memory.get(old.name()) == {"n": 1, "m": 2}
    await memory.delete(old.name())
    assert await memory.get(old.name()) is None


async def test_a_large_copy_goes_to_cold_as_any_value(old: Old) -> None:
    text = "".join(chr(33 + number * number % 90) for number in range(600_000))
    await old.redis.set(old.name(), text)
    memory = await old.client(legacy=old.source(), codec=Codec(compression=None))

    assert await memory.update(old.name(), lambda value: value + "!") == text + "!"
    assert await memory.get(old.name()) == text + "!"
    assert await left(old, old.name()) == []


async def test_a_crash_before_the_copies_are_removed_loses_and_revives_nothing(old: Old) -> None:
    """The value has been taken over, and its writer is gone: the record counts, and the next write clears up."""
    await put_everywhere(old, old.name(), "old")
    first = await old.client(legacy=old.source())
    await first.update(old.name(), lambda value: value)
    await put_everywhere(old, old.name(), "old")  # as if none had been removed

    second = await old.client(legacy=old.source())
    assert await second.update(old.name(), lambda value: value + "er") == "older"
    assert await left(old, old.name()) == []
    await put_everywhere(old, old.name(), "old")
    await second.delete(old.name())
    assert await left(old, old.name()) == []


async def test_updates_beside_a_delete_never_bring_the_old_value_back(old: Old) -> None:
    """P4, whatever the order: an update before the delete is deleted with it, one after it begins with nothing."""
    clients = [await old.client(legacy=old.source(warm=None, cold=None)) for _ in range(4)]

    async def race(name: str, waits: int) -> None:
        await old.redis.set(name, "old")

        async def delete() -> None:
            for _ in range(waits):  # begins at another moment each time
                await asyncio.sleep(0)
            await clients[0].delete(name)

        updates = (client.update(name, lambda value: value + "+", default="") for client in clients[1:])
        await asyncio.gather(delete(), *updates)
        found = await clients[1].get(name)
        assert found is None or "old" not in found
        assert not await old.redis.exists(name)

    for waits in range(0, 60, 3):
        await race(old.name(str(waits)), waits)


class Paused(HotMemory):
    """Old copies in Redis, of which one reading is held back on its way to the reader."""

    def __init__(self, url: str, held: int) -> None:
        super().__init__(url)
        self._left = held
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        found = await super().plain_get(name, deadline=deadline)
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            await self.go.wait()
        return found


@pytest.mark.parametrize("held", [1, 2], ids=["before the claim", "after the claim"])
@pytest.mark.parametrize("fate", ["deleted", "written"])
async def test_a_slow_taking_over_brings_nothing_back(old: Old, held: int, fate: str) -> None:
    """P4 and P3: what was deleted or written while it had the old copy in its hand stays so."""
    await old.redis.set(old.name(), "old")
    paused = Paused(old.redis_url, held)
    slow = await old.client(legacy=old.source(hot=paused, warm=None, cold=None))
    quick = await old.client(legacy=old.source(warm=None, cold=None))
    update = asyncio.create_task(slow.update(old.name(), lambda value: f"{value}+", default="nothing"))
    await paused.reached.wait()

    await (quick.delete(old.name()) if fate == "deleted" else quick.set(old.name(), "new"))
    assert await quick.get(old.name()) == (None if fate == "deleted" else "new")
    paused.go.set()

    assert await update == ("nothing+" if fate == "deleted" else "new+")
    assert await quick.get(old.name()) == ("nothing+" if fate == "deleted" else "new+")
    assert await left(old, old.name()) == []
