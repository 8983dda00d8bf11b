"""Records over HTTP: one, a list, many."""

import base64
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from tests.integration.api.desk import Desk

from thermocline import Key
from thermocline.agents.service.memory.batch import ANSWER_BYTES
from thermocline.testing.entra import TENANT

ADA = {"scope": "user/42", "name": "profile"}
PROBLEM = "application/problem+json"


@pytest.fixture
async def http(desk: Desk) -> httpx.AsyncClient:
    return await desk.http()


async def test_json_comes_back_as_json_under_its_version(http: httpx.AsyncClient, desk: Desk) -> None:
    written = await http.put("/v1/record", params=ADA, json={"name": "Ada", "n": [1, 2.5, None]})
    read = await http.get("/v1/record", params=ADA)

    assert written.status_code == 200
    assert written.json()["durable"]
    assert read.json() == {"name": "Ada", "n": [1, 2.5, None]}
    assert read.headers["etag"] == written.headers["etag"] == f'"{written.json()["version"]}"'
    assert read.headers["content-type"] == "application/json"
    assert await desk.app.state.memory.get(Key(TENANT, "user/42", "profile")) == {"name": "Ada", "n": [1, 2.5, None]}


@pytest.mark.parametrize("value", [None, 0, "", {}, [], False, "text", 1.5, 2**70], ids=repr)
async def test_any_json_is_a_value(http: httpx.AsyncClient, value: object) -> None:
    body, kind = json.dumps(value), {"content-type": "application/json; charset=utf-8"}
    assert (await http.put("/v1/record", params=ADA, content=body, headers=kind)).status_code == 200

    read = await http.get("/v1/record", params=ADA)
    assert (read.status_code, read.json()) == (200, value)


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", "text/plain; charset=latin-1", "text/csv"])
async def test_anything_else_is_bytes_of_that_type(http: httpx.AsyncClient, desk: Desk, kind: str) -> None:
    for body in (b"", bytes(range(256))):
        await http.put("/v1/record", params=ADA, content=body, headers={"content-type": kind})
        read = await http.get("/v1/record", params=ADA)

        assert (read.content, read.headers["content-type"]) == (body, kind)
        assert read.headers["x-content-type-options"] == "nosniff"
        assert await desk.app.state.memory.get(Key(TENANT, "user/42", "profile")) == body


@pytest.mark.parametrize(
    "name", ["..", ".", "a/b", "//", "ä ö\n\0", "a+b&c=d%2F", "📚", "?#;", "x" * 4096], ids=lambda name: repr(name)[:20]
)
async def test_any_legal_key_can_be_said(http: httpx.AsyncClient, desk: Desk, name: str) -> None:
    query = {"scope": f"user/../{name[:100]}", "name": name}
    await http.put("/v1/record", params=query, json=1)

    assert (await http.get("/v1/record", params=query)).json() == 1
    assert await desk.app.state.memory.get(Key(TENANT, query["scope"], name)) == 1


async def test_a_record_that_is_not_there(http: httpx.AsyncClient) -> None:
    missing = await http.get("/v1/record", params=ADA)
    head = await http.head("/v1/record", params=ADA)
    gone = await http.delete("/v1/record", params=ADA)

    assert (missing.status_code, missing.headers["content-type"]) == (404, PROBLEM)
    assert head.status_code == 404
    assert gone.status_code == 204


async def test_head_says_what_get_says_without_the_value(http: httpx.AsyncClient) -> None:
    await http.put("/v1/record", params=ADA, json="value", headers={"memory-tags": "class=a%26b&x="})
    head, get = await http.head("/v1/record", params=ADA), await http.get("/v1/record", params=ADA)

    assert head.content == b""
    for name in ("etag", "content-length", "content-type", "memory-tags", "memory-expires"):
        assert head.headers[name] == get.headers[name]
    assert get.headers["memory-tags"] == "class=a%26b&x="


async def test_a_lifetime_and_none(http: httpx.AsyncClient) -> None:
    before = datetime.now(UTC)
    await http.put("/v1/record", params=ADA, json=1, headers={"memory-ttl": "3600"})
    ends = datetime.fromisoformat((await http.get("/v1/record", params=ADA)).headers["memory-expires"])
    await http.put("/v1/record", params=ADA, json=1, headers={"memory-ttl": "never"})

    assert timedelta(minutes=59) < ends - before < timedelta(minutes=62)
    assert (await http.get("/v1/record", params=ADA)).headers["memory-expires"] == "never"


async def test_a_write_with_a_condition_happens_or_says_412(http: httpx.AsyncClient) -> None:
    first = await http.put("/v1/record", params=ADA, json=1, headers={"if-none-match": "*"})
    again = await http.put("/v1/record", params=ADA, json=2, headers={"if-none-match": "*"})
    second = await http.put("/v1/record", params=ADA, json=3, headers={"if-match": first.headers["etag"]})
    late = await http.put("/v1/record", params=ADA, json=4, headers={"if-match": first.headers["etag"]})
    not_gone = await http.delete("/v1/record", params=ADA, headers={"if-match": first.headers["etag"]})

    assert [one.status_code for one in (first, again, second, late, not_gone)] == [200, 412, 200, 412, 412]
    assert late.headers["etag"] == second.headers["etag"]
    assert (await http.get("/v1/record", params=ADA)).json() == 3
    assert (
        await http.delete("/v1/record", params=ADA, headers={"if-match": second.headers["etag"]})
    ).status_code == 204
    assert (await http.get("/v1/record", params=ADA)).status_code == 404


async def test_a_reader_who_has_it_already(http: httpx.AsyncClient) -> None:
    mark = (await http.put("/v1/record", params=ADA, json=1)).headers["etag"]

    known = await http.get("/v1/record", params=ADA, headers={"if-none-match": mark})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", mark)
    await http.put("/v1/record", params=ADA, json=2)
    assert (await http.get("/v1/record", params=ADA, headers={"if-none-match": mark})).json() == 2


async def test_what_a_program_stored_that_json_has_no_form_for(http: httpx.AsyncClient, desk: Desk) -> None:
    memory, key = desk.app.state.memory, Key(TENANT, "user/42", "profile")
    await memory.set(key, {"at": datetime(2026, 1, 2, tzinfo=UTC), "sum": Decimal("1.10"), "raw": b"x", "set": {1}})
    shown = await http.get("/v1/record", params=ADA)
    await memory.set(key, {(1, 2): 3})
    unsayable = await http.get("/v1/record", params=ADA)
    of_many = await http.post("/v1/batch", json={"operations": [{"op": "get", **ADA}]})

    assert shown.json() == {"at": "2026-01-02T00:00:00Z", "sum": "1.10", "raw": "eA==", "set": [1]}
    assert unsayable.status_code == 406
    assert of_many.json()["results"][0]["status"] == 406


# --- lists -----------------------------------------------------------------------------------------------------------


async def test_a_list_page_by_page(http: httpx.AsyncClient) -> None:
    names = [f"note/{n:02}" for n in range(7)]
    for name in (*names, "other"):
        await http.put("/v1/record", params={"scope": "user/42", "name": name}, json=name)

    found: list[str] = []
    query = {"scope": "user/42", "prefix": "note/", "limit": "3"}
    while True:
        page = (await http.get("/v1/records", params=query)).json()
        found += [one["name"] for one in page["items"]]
        assert len(page["items"]) <= 3
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]

    assert sorted(found) == names
    assert (await http.get("/v1/records", params={"scope": "user/42"})).json()["items"][0]["version"] > 0


async def test_a_cursor_is_of_one_listing(http: httpx.AsyncClient, desk: Desk) -> None:
    from tests.integration.api.desk import OTHER

    for n in range(3):
        await http.put("/v1/record", params={"scope": "s", "name": str(n)}, json=n)
    cursor = (await http.get("/v1/records", params={"scope": "s", "limit": 1})).json()["cursor"]
    other = await desk.http(OTHER)

    for client, query in (
        (http, {"scope": "t", "cursor": cursor}),
        (other, {"scope": "s", "cursor": cursor}),
        (http, {"scope": "s", "cursor": "nonsense"}),
    ):
        assert (await client.get("/v1/records", params=query)).status_code == 422


# --- batches ---------------------------------------------------------------------------------------------------------


async def test_a_batch_answers_each_operation(http: httpx.AsyncClient) -> None:
    await http.put("/v1/record", params=ADA, json="old")
    answer = await http.post(
        "/v1/batch",
        json={
            "operations": [
                {"op": "get", **ADA},
                {"op": "put", **ADA, "value": {"n": 1}, "tags": {"a": "b"}, "ttl": 60.0},
                {"op": "get", **ADA},
                {"op": "put", **ADA, "value": 2, "if_absent": True},
                {"op": "put", "scope": "s", "name": "raw", "base64": "AP8=", "media_type": "image/png"},
                {"op": "get", "scope": "s", "name": "raw"},
                {"op": "get", "scope": "s", "name": "none"},
                {"op": "delete", "scope": "s", "name": "raw"},
                {"op": "get", "scope": "s", "name": "raw"},
                {"op": "put", "scope": "s", "name": "deep", "value": _deep(400)},
            ]
        },
    )
    found = answer.json()["results"]

    assert answer.status_code == 200
    assert [one["status"] for one in found] == [200, 200, 200, 412, 200, 200, 404, 204, 404, 422]
    assert found[0]["value"] == "old"
    assert (found[2]["value"], found[2]["tags"], found[2]["version"]) == ({"n": 1}, {"a": "b"}, found[1]["version"])
    assert found[2]["expires"] is not None
    assert base64.b64decode(found[5]["base64"]) == b"\0\xff"
    assert found[5]["media_type"] == "image/png"
    assert found[3]["problem"]["status"] == 412


def _deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


KEY = {"scope": "s", "name": "n"}


@pytest.mark.parametrize(
    "operations",
    [
        [],
        {},
        [1],
        [{"op": "touch", **KEY}],
        [{"op": ["get"], **KEY}],
        [{"op": "get", "scope": "s"}],
        [{"op": "get", "scope": "", "name": "n"}],
        [{"op": "get", "scope": 1, "name": "n"}],
        [{"op": "get", **KEY, "value": 1}],
        [{"op": "put", **KEY}],
        [{"op": "put", **KEY, "value": 1, "base64": ""}],
        [{"op": "put", **KEY, "value": 1, "media_type": "a/b"}],
        [{"op": "put", **KEY, "base64": "A"}],
        [{"op": "put", **KEY, "base64": "AAAA="}],
        [{"op": "put", **KEY, "base64": 1}],
        [{"op": "put", **KEY, "base64": "", "media_type": "a/b\r\nx: y"}],
        [{"op": "put", **KEY, "value": 1, "ttl": 0}],
        [{"op": "put", **KEY, "value": 1, "ttl": 1.5}],
        [{"op": "put", **KEY, "value": 1, "ttl": True}],
        [{"op": "put", **KEY, "value": 1, "tags": {"a": 1}}],
        [{"op": "put", **KEY, "value": 1, "tags": {"": "a"}}],
        [{"op": "put", **KEY, "value": 1, "tags": {"a": "ä" * 129}}],
        [{"op": "put", **KEY, "value": 1, "if_version": 0}],
        [{"op": "put", **KEY, "value": 1, "if_version": 1, "if_absent": True}],
        [{"op": "delete", **KEY, "if_absent": True}],
        [{"op": "get", **KEY}] * 101,
    ],
    ids=lambda one: str(one)[:60],
)
async def test_a_batch_that_cannot_be_is_refused_as_a_whole(http: httpx.AsyncClient, operations: object) -> None:
    if isinstance(operations, list) and 0 < len(operations) <= 100:
        operations = [{"op": "put", "scope": "s", "name": "first", "value": 1}, *operations]

    assert (await http.post("/v1/batch", json={"operations": operations})).status_code == 422
    assert (await http.get("/v1/records", params={"scope": "s"})).json()["items"] == [], "nothing of it was done"


async def test_a_batchs_answer_has_a_bound(desk: Desk) -> None:
    """Its values are in memory all at once, together with those of every other request."""
    http, memory = await desk.http(), desk.app.state.memory
    for n in range(3):
        await memory.set(Key(TENANT, "large", f"r{n}"), bytes(ANSWER_BYTES // 3))
    asked = [{"op": "get", "scope": "large", "name": f"r{n}"} for n in range(3)]
    put = {"op": "put", "scope": "large", "name": "r9", "value": 1}

    found = (await http.post("/v1/batch", json={"operations": [*asked, *asked, put]})).json()["results"]

    assert [one["status"] for one in found].count(200) == 3, (
        "two values in Base64 have room, and what is written always"
    )
    assert [one["problem"]["status"] for one in found if one["status"] != 200] == [413] * 4
    assert found[-1]["status"] == 200
    assert (await http.get("/v1/record", params={"scope": "large", "name": "r2"})).status_code == 200


async def test_a_long_name_is_said_in_a_batch(http: httpx.AsyncClient) -> None:
    name = "x" * 16_384
    answer = await http.post(
        "/v1/batch",
        json={
            "operations": [
                {"op": "put", "scope": "s", "name": name, "value": 1},
                {"op": "get", "scope": "s", "name": name},
            ]
        },
    )

    assert [one["status"] for one in answer.json()["results"]] == [200, 200]
    assert (await http.get("/v1/record", params={"scope": "s", "name": name})).status_code in (414, 422)
