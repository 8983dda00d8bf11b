"""`export` gives out all that is held of a scope, as lines that people and programs can read, and says when it is not whole."""

import base64
import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.integration.rights.ground import Ground, key

from thermocline import InvalidArgument, LegacySource, MemoryClient, MemoryTier, Route
from thermocline.client.rights import export as exporting
from thermocline.clock import Deadline
from thermocline.protocols import PlainCopy

LARGE = random.Random(7).randbytes(200_000)


async def lines_of(memory: MemoryClient, **given: Any) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in memory.export(**given)]


async def test_values_of_every_kind_come_out_with_their_metadata(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    values: dict[str, Any] = {
        "text": "größe",
        "none": None,
        "empty": {},
        "json": {"likes": ["tea", 1, 2.5, True]},
        "bytes": b"\x00\xff",
        "large": LARGE,
        "only-hot:draft": "dear",
    }
    written = {name: await memory.set(key(name, tenant=tenant), value) for name, value in values.items()}
    await memory.set(key("typed", tenant=tenant), (Decimal("1.10"), uuid.UUID(int=1)))
    ends = datetime.now(UTC) + timedelta(hours=1)
    await memory.set(key("tagged", tenant=tenant), "x", ttl=3600, tags={"class": "profile"}, media_type="text/plain")
    await memory.set(key("late", tenant=tenant), "expired", ttl=0.001)
    await memory.set(key("gone", tenant=tenant), "deleted")
    await memory.delete(key("gone", tenant=tenant))

    first, *records, last = await lines_of(memory, scope="user/42", tenant=tenant)

    assert first["thermocline_export"] == 1
    assert (first["tenant"], first["scope"]) == (tenant, "user/42")
    assert last == {"records": len(records), "damaged": []}
    found = {line["key"]["name"]: line for line in records}
    assert set(found) == {*values, "typed", "tagged"}
    for name in ("text", "none", "empty", "json", "only-hot:draft"):
        assert found[name]["value"] == values[name]
        assert found[name]["version"] == written[name].version
    for name in ("bytes", "large"):
        assert base64.b64decode(found[name]["base64"]) == values[name]
    assert found["large"]["tier"] == "cold"
    assert found["only-hot:draft"]["authority"] == "hot"
    assert "1.10" in found["typed"]["shown"]
    assert found["tagged"]["tags"] == {"class": "profile"}
    assert found["tagged"]["media_type"] == "text/plain"
    assert abs(datetime.fromisoformat(found["tagged"]["expires"]) - ends) < timedelta(seconds=30)


async def test_a_large_value_comes_in_parts(ground: Ground, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "INLINE", 50_000)
    monkeypatch.setattr(exporting, "PART", 60_000)
    memory = await ground.client()
    await memory.set(key("large", tenant=tenant), LARGE)

    lines = await lines_of(memory, scope="user/42", tenant=tenant)

    parts = [line for line in lines if "part" in line]
    assert lines[1]["parts"] == len(parts) == 4
    assert b"".join(base64.b64decode(part["base64"]) for part in parts) == LARGE


async def test_a_tenants_export_has_all_its_scopes_and_nobody_elses(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    for scope, wall in (("a", tenant), ("b/c", tenant), ("a", tenant + "x")):
        for n in range(3):
            await memory.set(key(f"n{n}", scope, wall), n)

    lines = await lines_of(memory, tenant=tenant)

    assert lines[-1]["records"] == 6
    assert {(line["key"]["tenant"], line["key"]["scope"]) for line in lines[1:-1]} == {(tenant, "a"), (tenant, "b/c")}


async def test_more_than_a_page_comes_out_once_each(ground: Ground, tenant: str) -> None:
    memory = await ground.client()
    await memory.set_many({key(f"n{n:04}", tenant=tenant): n for n in range(230)})

    lines = await lines_of(memory, scope="user/42", tenant=tenant)

    assert sorted(line["value"] for line in lines[1:-1]) == list(range(230))


@pytest.mark.parametrize("given", [{}, {"scope": ""}, {"tenant": "", "scope": "s"}])
async def test_an_export_of_nothing_in_particular_is_refused(ground: Ground, given: dict[str, Any]) -> None:
    memory = await ground.client()
    with pytest.raises(InvalidArgument):
        await lines_of(memory, **given)


@pytest.mark.parametrize("tier", ["hot", "cold"])
async def test_what_one_tier_alone_holds_comes_out_too(ground: Ground, tenant: str, tier: str) -> None:
    memory = await ground.client()
    await memory.set(key("note", tenant=tenant), {"of": "Ada"}, tier=tier)
    await memory.set(key("note", "user/421", tenant), {"of": "Grace"}, tier=tier)

    lines = await lines_of(memory, scope="user/42", tenant=tenant)

    assert [(line["key"]["name"], line["value"], line["tier"]) for line in lines[1:-1]] == [
        ("note", {"of": "Ada"}, tier)
    ]
    assert lines[-1] == {"records": 1, "damaged": []}


async def test_what_an_export_could_not_search_is_said(ground: Ground, tenant: str) -> None:
    memory = await ground.client(routes=[Route("old:", legacy=LegacySource(cold=OldCopies()))])
    lines = await lines_of(memory, scope="user/42", tenant=tenant)
    assert "legacy route" in lines[-1]["unsearched"][0]


class OldCopies:
    """A place with old copies, and none in it."""

    tier = MemoryTier.COLD
    stats: Any = None
    connected = True

    async def connect(self) -> None: ...

    async def close(self) -> None: ...

    async def ping(self, *, deadline: Deadline) -> None: ...

    async def plain_get(self, name: str, *, deadline: Deadline) -> PlainCopy | None:
        return None

    async def plain_delete(self, name: str, *, deadline: Deadline) -> bool:
        return False
