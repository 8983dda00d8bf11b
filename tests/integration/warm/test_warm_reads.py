"""Reading Cosmos DB: what is damaged is never data, what could not be asked is never a miss; listings; relocation; raw documents."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from azure.cosmos.aio import ContainerProxy

from thermocline.clock import Deadline
from thermocline.errors import (
    ClientClosed,
    CorruptRecord,
    InvalidArgument,
    NotFound,
    TierUnavailable,
    UnknownOutcome,
    UnreadableRecord,
)
from thermocline.keys import cosmos_id, cosmos_partition
from thermocline.model import Envelope, Flags, Key
from thermocline.protocols import Effect
from thermocline.testing.conformance.samples import VALUES, delete, new_key, new_word, put, same, sealed, soon, value_of
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory

Item = dict[str, Any]


async def stored(warm: WarmMemory, key: Key, value: object, **options: Any) -> Envelope:
    written = await warm.write(put(key, value, **options), deadline=soon())
    assert written.effect is Effect.TOOK
    envelope = await warm.read(key, deadline=soon())
    assert envelope is not None
    return envelope


async def alter(items: ContainerProxy, key: Key, change: Callable[[Item], object]) -> None:
    """As somebody would who edits the item by hand."""
    item = dict(await items.read_item(cosmos_id(key), cosmos_partition(key)))
    change(item)
    await items.replace_item(cosmos_id(key), item)


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
        await warm.read(key, deadline=Deadline.after(1))
    assert caught.value.tier == "warm"
    answers = await warm.read_many([key, new_key(), Key(key.tenant, key.scope, "x")], deadline=Deadline.after(1))
    assert [isinstance(answer, TierUnavailable) for answer in answers] == [True] * 3
    with pytest.raises(TierUnavailable):
        await warm.scan(key.tenant, key.scope, "", limit=5, cursor=None, deadline=Deadline.after(1))


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


async def until_hit(control: CosmosControl, number: int, times: int) -> None:
    async with asyncio.timeout(20):
        while not any(rule["number"] == number and rule["hits"] >= times for rule in control.faults()):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.002)


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


# --- listings --------------------------------------------------------------------------------------------------------


async def test_listing_shows_each_key_once_while_all_are_written(warm: WarmMemory) -> None:
    tenant = f"t{new_word()}"
    keys = [Key(tenant, "s", f"a{number:02}") for number in range(30)]
    await warm.write_many([put(key, 0) for key in keys], deadline=soon())
    cursor, seen, turn = None, [], 0
    while True:
        page = await warm.scan(tenant, "s", "a", limit=4, cursor=cursor, deadline=soon())
        seen += [item.key for item in page.items]
        turn += 1
        await warm.write_many([put(key, turn) for key in keys], deadline=soon())
        await warm.write_many([put(Key(tenant, "s", f"a{turn:02}-new"), 1)], deadline=soon())
        cursor = page.cursor
        if cursor is None:
            break

    assert [key for key in seen if key in keys] == keys
    assert len(set(seen)) == len(seen)


async def test_listing_tells_of_each_record_without_its_value(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key("listed")
    expires = time.time_ns() // 1_000_000 + 60_000
    given = sealed(key, {"a": "b" * 5000}, expires_ms=expires, tags={"k": "v"})
    write = put(key)
    written = await warm.write(type(write)(write.verb, write.id, given), deadline=soon())
    [item] = (await warm.scan(key.tenant, key.scope, "list", limit=5, cursor=None, deadline=soon())).items

    assert (item.key, item.version, item.expires_ms) == (key, written.version, expires)
    assert item.raw_size == given.header.raw_length
    assert item.tags == {"k": "v"}
    assert not item.pointer


async def test_expired_by_the_servers_clock_is_not_listed(warm: WarmMemory, control: CosmosControl) -> None:
    key = new_key()
    await warm.write(put(key, "v", expires_ms=time.time_ns() // 1_000_000 + 30_000), deadline=soon())
    control.advance(40)
    await warm.ping(deadline=soon())
    page = await warm.scan(key.tenant, key.scope, "", limit=5, cursor=None, deadline=soon())

    assert page.items == []


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "AAAAAAAAAAAAAAAA"])
async def test_cursor_that_no_listing_gave_is_refused(warm: WarmMemory, cursor: str) -> None:
    with pytest.raises(InvalidArgument):
        await warm.scan("t", "s", "", limit=5, cursor=cursor, deadline=soon())


async def test_damaged_record_stops_a_listing_loudly(warm: WarmMemory, items: ContainerProxy) -> None:
    key = new_key()
    await stored(warm, key, "v")
    await alter(items, key, lambda i: i["r"].pop("u"))

    with pytest.raises(CorruptRecord):
        await warm.scan(key.tenant, key.scope, "", limit=5, cursor=None, deadline=soon())


# --- relocation ------------------------------------------------------------------------------------------------------


def moved(envelope: Envelope, payload: bytes = b"where it lies") -> Envelope:
    """As a demotion makes it: the same record with a pointer for a payload."""
    header = replace(envelope.header, flags=envelope.header.flags | Flags.POINTER)
    return replace(envelope, header=header, payload=payload, raw=None)


@pytest.mark.parametrize("lost", ["nothing", "request", "answer"])
async def test_relocation_leaves_version_and_ring_alone(
    warm: WarmMemory, control: CosmosControl, items: ContainerProxy, lost: str
) -> None:
    key = new_key()
    old = await stored(warm, key, {"a": 1})
    before = dict(await items.read_item(cosmos_id(key), cosmos_partition(key)))
    if lost != "nothing":
        control.drop(kinds=["patch"], count=1, after=lost == "answer")

    assert await warm.relocate(old, moved(old), deadline=soon())

    after = await items.read_item(cosmos_id(key), cosmos_partition(key))
    assert [after[name] for name in ("v", "w", "b", "ttl")] == [before[name] for name in ("v", "w", "b", "ttl")]
    envelope = await warm.read(key, deadline=soon())
    assert envelope is not None
    assert envelope.pointer
    assert envelope.payload == b"where it lies"


async def test_relocation_of_a_replaced_copy_does_nothing(warm: WarmMemory) -> None:
    key = new_key()
    old = await stored(warm, key, {"a": 1})
    new = await stored(warm, key, {"a": 2})

    assert not await warm.relocate(old, moved(old), deadline=soon())
    assert await warm.read(key, deadline=soon()) == new


async def test_relocation_after_a_delete_and_of_nothing_does_nothing(warm: WarmMemory, items: ContainerProxy) -> None:
    key = new_key()
    old = await stored(warm, key, {"a": 1})
    await warm.write(delete(key), deadline=soon())
    assert not await warm.relocate(old, moved(old), deadline=soon())
    await items.delete_item(cosmos_id(key), cosmos_partition(key))
    assert not await warm.relocate(old, moved(old), deadline=soon())

    with pytest.raises(InvalidArgument):
        await warm.relocate(sealed(key, 1), moved(old), deadline=soon())


# --- raw documents ---------------------------------------------------------------------------------------------------


async def test_documents_go_in_and_come_out(warm: WarmMemory) -> None:
    given = {"id": "p1", "pk": "user-7", "name": "Ada", "n": None}
    stored_as = await warm.upsert(given)
    assert given.keys() <= stored_as.keys()
    await warm.upsert({**given, "name": "Grace"})

    for found in (
        await warm.read("p1", "user-7"),
        await warm.read(item_id="p1", partition_key="user-7"),
        await warm.read("p1", ["", "user-7"]),
    ):
        assert found["name"] == "Grace"
    assert await warm.delete("p1", "user-7")
    assert not await warm.delete("p1", "user-7")
    with pytest.raises(NotFound):
        await warm.read("p1", "user-7")


async def test_document_without_partition_lies_under_its_id(warm: WarmMemory) -> None:
    await warm.upsert({"id": "alone", "x": 0})

    assert (await warm.read("alone", "alone"))["x"] == 0
    assert (await warm.read("alone"))["x"] == 0


async def test_documents_can_be_queried(warm: WarmMemory) -> None:
    for number in range(5):
        await warm.upsert({"id": f"q{number}", "pk": "q", "n": number})
    text = "SELECT VALUE c.n FROM c WHERE c.n >= @least"
    rows = [row async for row in warm.query(text, parameters={"@least": 2}, partition_key="q")]
    everywhere = [row async for row in warm.query("SELECT VALUE c.n FROM c WHERE c.n = 3")]

    assert sorted(rows) == [2, 3, 4]
    assert everywhere == [3]
    with pytest.raises(InvalidArgument):
        [row async for row in warm.query("SELEKT", partition_key="q")]


async def test_documents_and_records_never_meet(warm: WarmMemory) -> None:
    key = new_key()
    envelope = await stored(warm, key, "record")
    await warm.upsert({"id": key.name, "pk": key.scope, "value": "document"})
    await warm.upsert({"id": key.name, "tenant": key.tenant, "scope": key.scope, "value": "document"})

    assert await warm.read(key, deadline=soon()) == envelope
    page = await warm.scan(key.tenant, key.scope, "", limit=10, cursor=None, deadline=soon())
    assert [item.key for item in page.items] == [key]
    for call in (
        warm.upsert({"id": cosmos_id(key), "tenant": key.tenant, "scope": key.scope}),
        warm.read(cosmos_id(key), cosmos_partition(key)),
        warm.delete(cosmos_id(key), cosmos_partition(key)),
        warm.upsert({"id": "epoch", "pk": "~thermocline"}),
        warm.delete("epoch", "~thermocline"),
    ):
        with pytest.raises(InvalidArgument):
            await call


@pytest.mark.parametrize("item", [
    {}, {"id": 7}, {"id": ""}, {"id": "a", "tenant": "t"}, {"id": "a", "tenant": "t", "scope": 1}, {"id": "a/b"},
    {"id": "a", "ttl": 0}, {"id": "a", "x": float("nan")}, {"id": "a", "x": {1, 2}}, "text",
], ids=str)  # fmt: skip
async def test_impossible_documents_are_refused(warm: WarmMemory, item: Any) -> None:
    with pytest.raises(InvalidArgument):
        await warm.upsert(item)


async def test_document_with_a_lost_answer_is_there(warm: WarmMemory, control: CosmosControl) -> None:
    control.drop(kinds=["writes"], after=True, count=1)
    await warm.upsert({"id": "a", "pk": "lost"})

    assert (await warm.read("a", "lost"))["id"] == "a"


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
