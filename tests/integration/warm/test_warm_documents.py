"""Raw documents: what the code that WarmMemory replaces did, beside the cascade's records."""

from typing import Any

import pytest
from tests.integration.warm.items import stored

from thermocline.errors import InvalidArgument, NotFound
from thermocline.keys import cosmos_id, cosmos_partition
from thermocline.testing.conformance.samples import new_key, soon
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.tiers.warm import WarmMemory

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


@pytest.mark.parametrize("spelt", ["./{}", "x/../{}", "{}/", "\\{}", "{}?x", "{}#x", "../docs/{}"])
async def test_no_other_spelling_leads_to_the_records_of_the_cascade(warm: WarmMemory, spelt: str) -> None:
    """With a key the signature would not fit; an Entra token signs no path."""
    key = new_key()
    await stored(warm, key, "a record")
    name = spelt.format(cosmos_id(key))

    with pytest.raises(InvalidArgument):
        await warm.read(name, cosmos_partition(key))
    with pytest.raises(InvalidArgument):
        await warm.delete(name, cosmos_partition(key))
    with pytest.raises(InvalidArgument):
        await warm.upsert({"id": name, "tenant": key.tenant, "scope": key.scope})
    assert await warm.read(key, deadline=soon()) is not None


async def test_document_that_looks_like_a_record_is_in_no_listing(warm: WarmMemory) -> None:
    key = new_key()
    await stored(warm, key, "a record")
    record = {"f": 0, "u": 1, "l": 1, "e": {"x": 0, "m": 0}}
    forged = {"tenant": key.tenant, "scope": key.scope, "r": record}
    await warm.upsert({"id": "one", "n": key.name + "1", "v": 5, **forged})
    await warm.upsert({"id": "two", "n": key.name + "2", "v": "no version", **forged})

    page = await warm.scan(key.tenant, key.scope, "", limit=10, cursor=None, deadline=soon())
    assert [line.key for line in page.items] == [key]


async def test_document_whose_pk_is_none_lies_under_its_id(warm: WarmMemory) -> None:
    await warm.upsert({"id": "alone", "pk": None, "x": 0})
    assert (await warm.read("alone"))["x"] == 0
