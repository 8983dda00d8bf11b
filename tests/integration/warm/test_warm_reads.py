"""Reading Cosmos DB: what is damaged is never data, what could not be asked is never a miss."""

import asyncio
from collections.abc import Callable

import pytest
from azure.cosmos.aio import ContainerProxy
from tests.integration.warm.items import Item, alter, stored, until_hit

from thermocline.clock import Deadline
from thermocline.errors import ClientClosed, CorruptRecord, TierUnavailable, UnknownOutcome, UnreadableRecord
from thermocline.keys import cosmos_id, cosmos_partition
from thermocline.model import Envelope, Key
from thermocline.testing.conformance.samples import VALUES, new_key, new_word, put, same, soon, value_of
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory

# --- damage ----------------------------------------------------------------------------------------------------------

ALTERATIONS: dict[str, Callable[[Item], object]] = {
    "a value in it": lambda i: i["r"]["j"]["list"].__setitem__(1, 2.25),
    "a name in it": lambda i: i["r"]["j"].__setitem__("other", i["r"]["j"].pop("name")),
    "a number by a bit": lambda i: i["r"]["j"].__setitem__("n", 2**53 - 2),
    "text for a number": lambda i: i["r"]["j"].__setitem__("n", "9007199254740991"),
    "order of a list": lambda i: i["r"]["j"]["list"].reverse(),
    "the value is gone": lambda i: i["r"].pop("j"),
    "two values": lambda i: i["r"].__setitem__("p", "AAAA"),
    "expiry": lambda i: i["r"]["e"].__setitem__("x", 9_999_999_999_999),
    "modified": lambda i: i["r"]["e"].__setitem__("m", 1),
    "no expiry": lambda i: i["r"].pop("e"),
    "flags": lambda i: i["r"].__setitem__("f", 1),
    "serialiser": lambda i: i["r"].__setitem__("s", 4),
    "created": lambda i: i["r"].__setitem__("t", 1),
    "length": lambda i: i["r"].__setitem__("l", 5),
    "tags": lambda i: i["r"].__setitem__("g", {"tag": "y"}),
    "media type": lambda i: i["r"].__setitem__("y", "x/y"),
    "checksum": lambda i: i["r"].__setitem__("k", i["r"]["k"] ^ 1),
    "no checksum": lambda i: i["r"].pop("h"),
    "format is text": lambda i: i["r"].__setitem__("z", "1"),
    "another name": lambda i: i.__setitem__("n", "other"),
    "no name": lambda i: i.pop("n"),
    "no version": lambda i: i.pop("v"),
    "version zero": lambda i: i.__setitem__("v", 0),
    "version is text": lambda i: i.__setitem__("v", "5"),
    "version beyond doubles": lambda i: i.__setitem__("v", 1e300),
    "no record": lambda i: i.pop("r"),
    "record is a list": lambda i: i.__setitem__("r", []),
}


@pytest.mark.parametrize("what", ALTERATIONS)
async def test_altered_item_is_corrupt(warm: WarmMemory, items: ContainerProxy, what: str) -> None:
    key = new_key()
    await stored(warm, key, {"name": "x", "n": 2**53 - 1, "list": [1, 2.5]})
    await alter(items, key, ALTERATIONS[what])

    with pytest.raises(CorruptRecord):
        await warm.read(key, deadline=soon())
    [answer, other] = await warm.read_many([key, Key(key.tenant, key.scope, "absent")], deadline=soon())
    assert isinstance(answer, CorruptRecord)
    assert other is None


@pytest.mark.parametrize("what", ["payload", "not base64", "no payload"])
async def test_altered_encoded_value_is_corrupt(warm: WarmMemory, items: ContainerProxy, what: str) -> None:
    changes: dict[str, Callable[[Item], object]] = {
        "payload": lambda i: i["r"].__setitem__("p", "AAAA"),
        "not base64": lambda i: i["r"].__setitem__("p", "!"),
        "no payload": lambda i: i["r"].__setitem__("p", None),
    }
    key = new_key()
    await stored(warm, key, b"bytes")
    await alter(items, key, changes[what])

    with pytest.raises(CorruptRecord):
        await warm.read(key, deadline=soon())


async def test_newer_format_is_unreadable(warm: WarmMemory, items: ContainerProxy) -> None:
    key = new_key()
    await stored(warm, key, "v")
    await alter(items, key, lambda i: i["r"].__setitem__("z", 2))

    with pytest.raises(UnreadableRecord):
        await warm.read(key, deadline=soon())


async def test_item_that_the_service_wrote_anew_in_other_words_is_sound(
    warm: WarmMemory, items: ContainerProxy
) -> None:
    """Another order of names, and integers as 5.0: the same JSON."""
    key, value = new_key(), {"b": 5, "a": {"y": -7, "x": [1, 2.5]}}
    written = await warm.write(put(key, value), deadline=soon())

    def rewrite(item: Item) -> None:
        item["r"]["j"] = {"a": {"x": [1.0, 2.5], "y": -7.0}, "b": 5.0}
        item["v"] = float(item["v"])

    await alter(items, key, rewrite)

    envelope = await warm.read(key, deadline=soon())
    assert envelope is not None
    assert envelope.version == written.version
    assert value_of(envelope) == value
    assert type(value_of(envelope)["b"]) is int


@pytest.mark.parametrize("name", VALUES)
async def test_native_where_json_keeps_everything(warm: WarmMemory, items: ContainerProxy, name: str) -> None:
    key, value = new_key(), VALUES[name]
    envelope = await stored(warm, key, value)
    record = (await items.read_item(cosmos_id(key), cosmos_partition(key)))["r"]

    assert same(value_of(envelope), value)
    assert ("j" in record) != ("p" in record)
    if name in ("object", "cosmos-words"):
        assert record["j"] == value
    if name in ("big-integer", "beyond-doubles", "infinity", "bytes", "nested-bytes"):
        assert "p" in record


# --- an outage is no absence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "substatus"), [
    (503, 0), (500, 0), (408, 0), (404, 1002), (410, 1002), (449, 0), (403, 5302), (401, 0), (0, 0),
])  # fmt: skip
async def test_outage_is_never_a_miss(warm: WarmMemory, control: CosmosControl, status: int, substatus: int) -> None:
    key = new_key()
    if status:
        control.fail(status, substatus, kinds=["reads"])
    else:
        control.drop(kinds=["reads"])

    with pytest.raises(TierUnavailable) as caught:
        await warm.read(key, deadline=Deadline.after(0.3))
    assert caught.value.tier == "warm"
    answers = await warm.read_many([key, new_key(), Key(key.tenant, key.scope, "x")], deadline=Deadline.after(0.3))
    assert [isinstance(answer, TierUnavailable) for answer in answers] == [True] * 3
    with pytest.raises(TierUnavailable):
        await warm.scan(key.tenant, key.scope, "", limit=5, cursor=None, deadline=Deadline.after(0.3))


async def test_replica_behind_the_session_is_asked_again(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    await stored(warm, key, "old")
    await warm.write(put(key, "new"), deadline=soon())
    control.lag(lsns=1, count=2)

    assert value_of(await warm.read(key, deadline=soon())) == "new"


async def test_call_under_way_ends_when_the_tier_is_closed(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    hang = control.delay(60_000)
    calls = [
        asyncio.create_task(warm.read(key, deadline=soon())),
        asyncio.create_task(warm.write(put(key, "v"), deadline=soon())),
    ]
    await until_hit(control, hang, 2)
    await warm.close()
    read, write = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(read, ClientClosed | TierUnavailable)
    assert isinstance(write, UnknownOutcome)


async def test_reads_are_one_request(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    await stored(warm, key, "v")
    control.reset("counters")
    await warm.read(key, deadline=soon())
    await warm.read(new_key(), deadline=soon())

    assert control.stats().kinds == {"read": 2}


async def test_read_many_is_one_query_for_each_partition(warm: WarmMemory, control: CosmosControl) -> None:
    words = [new_word(), new_word()]
    keys = [Key(f"t{word}", "s", f"n{number}") for word in words for number in range(10)]
    await warm.write_many([put(key, key.name) for key in keys], deadline=soon())
    control.reset("counters")
    answers = await warm.read_many([*keys, new_key()], deadline=soon())

    assert [value_of(a) if isinstance(a, Envelope) else a for a in answers] == [key.name for key in keys] + [None]
    assert control.stats().kinds == {"query": 2, "read": 1}


async def test_read_many_follows_pages_above_four_megabytes(warm: WarmMemory, control: CosmosControl) -> None:
    word = new_word()
    keys = [Key(f"t{word}", "s", f"n{number}") for number in range(12)]
    for key in keys:
        await warm.write(put(key, {"n": key.name, "text": key.name[0] * 500_000}), deadline=soon())
    control.reset("counters")
    answers = await warm.read_many(keys, deadline=soon())

    assert [value_of(a)["n"] for a in answers if isinstance(a, Envelope)] == [key.name for key in keys]
    assert control.stats().kinds["query"] > 1


async def test_one_sick_partition_does_not_lose_the_others(warm: WarmMemory, control: CosmosControl) -> None:
    """P8."""
    good, sick = new_key("good"), new_key("sick")
    for key in (good, sick):
        await warm.write(put(key, key.name), deadline=soon())
    control.fail(500, kinds=["reads"], item=cosmos_id(sick))
    answers = await warm.read_many([sick, good], deadline=Deadline.after(1.5))

    assert isinstance(answers[0], TierUnavailable)
    assert isinstance(answers[1], Envelope)


async def test_unknown_outcome_survives_a_clean_read(warm: WarmMemory, control: CosmosControl) -> None:
    """A read that found the write's id would have told; one that never came leaves the doubt."""
    key = new_key()
    control.drop(kinds=["writes"], after=True)
    control.drop(kinds=["reads"])
    write = put(key, "v")
    with pytest.raises(UnknownOutcome):
        await warm.write(write, deadline=Deadline.after(0.3))
    control.clear()

    assert value_of(await warm.read(key, deadline=soon())) == "v"
