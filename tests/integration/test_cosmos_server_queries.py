"""Queries, pages and feeds of the Cosmos server, through the official SDK.

They run on any endpoint: on `THERMOCLINE_TEST_COSMOS_URL` and `_KEY` if these are set (Microsoft's emulator), else on our server
with one and with two physical ranges.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from azure.cosmos import PartitionKey
from azure.cosmos import exceptions as ex
from azure.cosmos.aio import ContainerProxy, CosmosClient, DatabaseProxy

from thermocline.testing.cosmos.process import CosmosProcess

EXTERNAL = os.environ.get("THERMOCLINE_TEST_COSMOS_URL")


@pytest.fixture(scope="module", params=[1] if EXTERNAL else [1, 2], ids=lambda n: f"ranges{n}")
def endpoint(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    if EXTERNAL:
        yield EXTERNAL, os.environ["THERMOCLINE_TEST_COSMOS_KEY"]
        return
    with CosmosProcess.start(ranges=request.param) as server:
        yield server.url, server.key


@pytest.fixture
async def database(endpoint: tuple[str, str]) -> AsyncIterator[DatabaseProxy]:
    name = "queries-" + uuid.uuid4().hex[:8]
    async with CosmosClient(*endpoint, enable_endpoint_discovery=False, retry_total=0) as client:
        database = await client.create_database(name)
        try:
            yield database
        finally:
            await client.delete_database(name)


@pytest.fixture
async def box(database: DatabaseProxy) -> ContainerProxy:
    return await database.create_container("c", PartitionKey(["/tenant", "/scope"]), default_ttl=-1)


async def ask(c: ContainerProxy, sql: str, *, key: Any = None, **parameters: Any) -> list[Any]:
    named = [{"name": "@" + k, "value": v} for k, v in parameters.items()]
    scope = {} if key is None else {"partition_key": key}
    return [row async for row in c.query_items(sql, parameters=named, **scope)]


async def refusal(c: ContainerProxy, sql: str, key: Any = ("t", "s")) -> int:
    with pytest.raises(ex.CosmosHttpResponseError) as refused:
        await ask(c, sql, key=list(key))
    assert refused.value.status_code is not None
    return refused.value.status_code


async def fill(c: ContainerProxy, names: list[str], scope: str = "s", tenant: str = "t", **fields: Any) -> None:
    for n, name in enumerate(names):
        await c.create_item({"id": name, "n": name, "number": n, "tenant": tenant, "scope": scope, **fields})


async def test_a_listing_by_prefix_is_paged_in_order_while_others_write(box: ContainerProxy) -> None:
    await fill(box, [f"note/{i:02}".replace("/", "~") for i in range(10)])
    await fill(box, [f"other~{i}" for i in range(5)])
    sql = "SELECT c.id, c.n, c.number FROM c WHERE STARTSWITH(c.n, @p) ORDER BY c.n"
    parameters: list[dict[str, object]] = [{"name": "@p", "value": "note~"}]
    seen: list[str] = []
    token: str | None = None
    for page_number in range(20):
        pager = box.query_items(sql, parameters=parameters, partition_key=["t", "s"], max_item_count=3).by_page(token)
        page = [row async for row in await anext(pager)]
        assert len(page) <= 3
        seen += [row["id"] for row in page]
        token = pager.continuation_token  # type: ignore[attr-defined]
        if token is None:
            break
        if page_number == 0:
            await box.delete_item("note~00", ["t", "s"])  # already seen: nothing may be skipped for it
            await fill(box, ["note~00b"])  # before the place where the page ended: not repeated, not shown
            await fill(box, ["note~05b"])  # behind it: shown
            await box.upsert_item({"id": "note~09", "n": "note~09", "number": 99, "tenant": "t", "scope": "s"})
    assert seen == sorted([f"note~{i:02}" for i in range(10)] + ["note~05b"])


async def test_pages_without_an_order_neither_repeat_nor_skip(box: ContainerProxy) -> None:
    await fill(box, [f"i{i}" for i in range(9)])
    sql = "SELECT VALUE c.id FROM c WHERE c.number >= 0"
    first = box.query_items(sql, partition_key=["t", "s"], max_item_count=4).by_page()
    seen: list[Any] = [row async for row in await anext(first)]
    token = first.continuation_token  # type: ignore[attr-defined]
    await box.delete_item(seen[0], ["t", "s"])
    rest = box.query_items(sql, partition_key=["t", "s"], max_item_count=4).by_page(token)
    seen += [row async for page in rest async for row in page]
    assert sorted(seen) == [f"i{i}" for i in range(9)]


@pytest.mark.parametrize("order", ["ORDER BY c.number", "ORDER BY c.number DESC", "ORDER BY c.grade", ""])
@pytest.mark.parametrize("limit", ["", "OFFSET 3 LIMIT 5"])
async def test_pages_put_together_are_the_whole_answer(box: ContainerProxy, order: str, limit: str) -> None:
    grades: list[Any] = [None, True, False, 3, 1.5, "b", "a", [1], {"x": 1}, "undefined", 3]
    for n, grade in enumerate(grades):
        grade_field = {} if grade == "undefined" else {"grade": grade}
        await box.create_item({"id": f"i{n}", "number": n % 4, "tenant": "t", "scope": "s", **grade_field})
    sql = f"SELECT VALUE c.id FROM c {order} {limit}"
    whole = await ask(box, sql, key=["t", "s"])
    assert len(set(whole)) == len(whole) == (5 if limit else 11)
    for size in (1, 2, 4):
        pages = box.query_items(sql, partition_key=["t", "s"], max_item_count=size).by_page()
        assert [row async for page in pages async for row in page] == whole


async def test_order_across_types(box: ContainerProxy) -> None:
    values: list[Any] = ["b", 2, None, [1], {"k": 1}, True, "a", -1, False]
    for n, value in enumerate(values):
        await box.create_item({"id": f"i{n}", "value": value, "tenant": "t", "scope": "s"})
    await box.create_item({"id": "absent", "tenant": "t", "scope": "s"})
    found = await ask(box, "SELECT c.id, c['value'] AS v FROM c ORDER BY c['value']", key=["t", "s"])
    assert found[0] == {"id": "absent"}
    assert [row["v"] for row in found[1:]] == [None, False, True, -1, 2, "a", "b", [1], {"k": 1}]


async def test_a_prefix_of_the_key_finds_all_its_scopes_and_no_others(box: ContainerProxy) -> None:
    for scope in range(12):
        await fill(box, [f"{scope}-{i}" for i in range(2)], scope=f"s{scope}")
    await fill(box, ["foreign"], tenant="t2")
    assert len(await ask(box, "SELECT VALUE c.id FROM c", key=["t"])) == 24
    assert await ask(box, "SELECT VALUE c.id FROM c", key=["t2"]) == ["foreign"]
    assert await ask(box, "SELECT VALUE COUNT(1) FROM c", key=["t"]) == [24]
    assert await ask(box, "SELECT VALUE c.id FROM c WHERE c.number = 1", key=["absent"]) == []


async def test_read_items_of_one_partition_finds_nothing(box: ContainerProxy) -> None:
    """The SDK compares the first path with the whole key; the service answers that query as it stands."""
    await fill(box, ["a", "b"])
    await fill(box, ["c"], scope="s2")
    same = await box.read_items([("a", ["t", "s"]), ("b", ["t", "s"])])
    assert list(same) == []
    several = await box.read_items([("a", ["t", "s"]), ("c", ["t", "s2"])])
    assert [i["id"] for i in several] == ["a", "c"]
    sql = "SELECT VALUE c.id FROM c WHERE c.id IN ('b', @a, 'none')"
    assert await ask(box, sql, key=["t", "s"], a="a") == ["a", "b"]


async def test_what_needs_merging_over_partitions(database: DatabaseProxy) -> None:
    c = await database.create_container("spread", PartitionKey("/p"))
    for n in range(20):
        await c.create_item({"id": str(n), "p": f"p{n}", "v": n, "colour": "rgb"[n % 3], "even": n % 2 == 0})
    assert sorted(await ask(c, "SELECT VALUE c.v FROM c WHERE c.even")) == list(range(0, 20, 2))
    assert await ask(c, "SELECT VALUE c.v FROM c ORDER BY c.v DESC") == list(range(19, -1, -1))
    assert await ask(c, "SELECT TOP 3 VALUE c.v FROM c ORDER BY c.v") == [0, 1, 2]
    assert await ask(c, "SELECT c.id, c.v FROM c WHERE c.v > @v ORDER BY c.v", v=17) == [
        {"id": "18", "v": 18},
        {"id": "19", "v": 19},
    ]
    assert await ask(c, "SELECT VALUE c.v FROM c ORDER BY c.v OFFSET 5 LIMIT 3") == [5, 6, 7]
    assert sorted(await ask(c, "SELECT DISTINCT VALUE c.colour FROM c")) == ["b", "g", "r"]
    for aggregate, expected in (("COUNT", 20), ("SUM", 190), ("MIN", 0), ("MAX", 19), ("AVG", 9.5)):
        assert await ask(c, f"SELECT VALUE {aggregate}(c.v) FROM c") == [expected]
    assert len(await ask(c, "SELECT VALUE c.v FROM c OFFSET 2 LIMIT 7")) == 7


async def test_several_order_by_properties_need_their_composite_index(database: DatabaseProxy) -> None:
    policy: dict[str, Any] = {
        "compositeIndexes": [[{"path": "/a", "order": "ascending"}, {"path": "/b", "order": "descending"}]],
        "excludedPaths": [{"path": "/secret/*"}],
    }
    c = await database.create_container("composite", PartitionKey("/p"), indexing_policy=policy)
    for a, b in ((1, 1), (0, 1), (1, 2), (0, 2)):
        await c.create_item({"id": f"{a}{b}", "p": "x", "a": a, "b": b})
    assert await ask(c, "SELECT VALUE c.id FROM c ORDER BY c.a ASC, c.b DESC", key="x") == ["02", "01", "12", "11"]
    assert await ask(c, "SELECT VALUE c.id FROM c ORDER BY c.a DESC, c.b ASC", key="x") == ["11", "12", "01", "02"]
    for bad in ("c.a, c.b", "c.b DESC, c.a ASC", "c.secret", "c.a + 1"):
        with pytest.raises(ex.CosmosHttpResponseError) as refused:
            await ask(c, f"SELECT * FROM c ORDER BY {bad}", key="x")
        assert refused.value.status_code == 400


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT VALUE 1 FROM c WHERE c.absent = 1", []),
        ("SELECT VALUE 1 FROM c WHERE c.absent != 1", []),
        ("SELECT VALUE 1 FROM c WHERE NOT (c.absent = 1)", []),
        ("SELECT VALUE 1 FROM c WHERE c.absent = 1 OR c.v = 3", [1]),
        ("SELECT VALUE 1 FROM c WHERE c.nothing = null", [1]),
        ("SELECT VALUE 1 FROM c WHERE c.v = '3'", []),
        ("SELECT VALUE 1 FROM c WHERE c.v < 'a'", []),
        ("SELECT VALUE c.absent ?? 'else' FROM c", ["else"]),
        ("SELECT VALUE c.absent FROM c", []),
        ("SELECT VALUE {'a': c.absent, 'b': c.v} FROM c", [{"b": 3}]),
        ("SELECT VALUE [c.absent, c.v] FROM c", [[3]]),
        ("SELECT c.v, c.deep.er, c.list[1], 1 + 1 FROM c", [{"v": 3, "er": 1, "$1": "y", "$2": 2}]),
        ("SELECT VALUE c.v > 2 ? 'big' : 'small' FROM c", ["big"]),
        ("SELECT VALUE c.v / 2 FROM c", [1.5]),
        ("SELECT VALUE c.v / 0 FROM c", []),
        ("SELECT VALUE 'a' || 'b' FROM c", ["ab"]),
        ("SELECT VALUE x FROM x IN c.list", ["x", "y"]),
        ("SELECT VALUE {'v': c.v, 'x': x} FROM c JOIN x IN c.list WHERE x != 'x'", [{"v": 3, "x": "y"}]),
        ("SELECT VALUE COUNT(1) FROM c JOIN x IN c.list JOIN y IN c.list", [4]),
        ("SELECT VALUE 1 FROM c WHERE EXISTS(SELECT VALUE x FROM x IN c.list WHERE x = 'y')", [1]),
        ("SELECT VALUE 1 FROM c WHERE EXISTS(SELECT VALUE x FROM x IN c.list WHERE x = 'z')", []),
        ("SELECT VALUE ARRAY(SELECT VALUE UPPER(x) FROM x IN c.list) FROM c", [["X", "Y"]]),
        ("SELECT VALUE (SELECT VALUE COUNT(1) FROM x IN c.list) FROM c", [2]),
        ("SELECT VALUE t.x FROM c JOIN (SELECT VALUE {'x': x} FROM x IN c.list) AS t", ["x", "y"]),
        ("SELECT VALUE ARRAY_CONTAINS(c.objects, {'a': 1}) FROM c", [False]),
        ("SELECT VALUE ARRAY_CONTAINS(c.objects, {'a': 1}, true) FROM c", [True]),
        ("SELECT VALUE ARRAY_CONTAINS(c.list, 1) FROM c", [False]),
        ("SELECT VALUE STARTSWITH('Ab', 'a') FROM c", [False]),
        ("SELECT VALUE STARTSWITH('Ab', 'a', true) FROM c", [True]),
        ("SELECT VALUE 'a_c' LIKE 'a!_%' ESCAPE '!' FROM c", [True]),
        ("SELECT VALUE 'abc' LIKE 'a!_%' ESCAPE '!' FROM c", [False]),
        ("SELECT VALUE SUBSTRING('abcdef', 2, 3) FROM c", ["cde"]),
        ("SELECT VALUE REGEXMATCH('abc', '^A.C$', 'i') FROM c", [True]),
        ("SELECT VALUE ROUND(-2.5) FROM c", [-3]),
        ("SELECT VALUE ARRAY_SLICE([1, 2, 3], -2, 1) FROM c", [[2]]),
        ("SELECT VALUE DateTimeToTimestamp('2026-11-21T00:00:00Z') FROM c", [1795219200000]),
        ("SELECT VALUE IS_DEFINED(c.absent) = false AND IS_NULL(c.nothing) AND IS_NUMBER(c.v) FROM c", [True]),
        ("SELECT VALUE c.v BETWEEN 3 AND 3 FROM c", [True]),
        ("SELECT VALUE c.v NOT IN (1, 2) FROM c", [True]),
        ("SELECT VALUE c['list'][0] FROM root c", ["x"]),
        ("SELECT VALUE SUM(c.absent) FROM c", [0]),
        ("SELECT VALUE MAX(c.absent) FROM c", []),
        ("SELECT VALUE FullTextContains(c.text, 'FOX') FROM c", [True]),
        ("SELECT VALUE FullTextContainsAll(c.text, 'fox', 'hen') FROM c", [False]),
        ("SELECT VALUE FullTextContainsAny(c.text, 'hen', 'quick fox') FROM c", [True]),
    ],
)
async def test_expressions(box: ContainerProxy, sql: str, expected: list[Any]) -> None:
    await box.create_item(
        {
            "id": "x", "tenant": "t", "scope": "s", "v": 3, "nothing": None, "list": ["x", "y"], "deep": {"er": 1},
            "objects": [{"a": 1, "b": 2}], "text": "The quick fox",
        }
    )  # fmt: skip
    assert await ask(box, sql, key=["t", "s"]) == expected


async def test_group_by_in_one_partition(box: ContainerProxy) -> None:
    await fill(box, ["a", "b", "c"], kind="x")
    await fill(box, ["d"], kind="y")
    await fill(box, ["e"])
    sql = "SELECT c.kind, COUNT(1) AS n, MAX(c.number) AS most FROM c GROUP BY c.kind"
    found = await ask(box, sql, key=["t", "s"])
    assert sorted(found, key=lambda row: row.get("kind", "")) == [
        {"n": 1, "most": 0},
        {"kind": "x", "n": 3, "most": 2},
        {"kind": "y", "n": 1, "most": 0},
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT",
        "SELECT * FROM c WHERE",
        "SELECT * FROM c WHERE c.v == 1",
        "SELECT * FROM c WHERE c.v = 1 LIMIT 5",
        "SELECT * FROM c HAVING COUNT(1) > 1",
        "SELECT * FROM c WHERE NO_SUCH_FUNCTION(c.v)",
        "SELECT * FROM c WHERE udf.mine(c.v)",
        "SELECT * FROM c WHERE STARTSWITH(c.v)",
        "SELECT d.id FROM c",
        "SELECT c.value FROM c",
        "SELECT c.v, COUNT(1) FROM c",
        "SELECT COUNT(1), c.v FROM c GROUP BY c.w",
        "SELECT * FROM c JOIN x IN c.list",
        "SELECT * FROM c WHERE COUNT(1) = 1",
        "SELECT c.v AS a, c.w AS a FROM c",
        "SELECT TOP 1 * FROM c OFFSET 0 LIMIT 1",
        "SELECT * FROM c WHERE c.v = @absent",
        "SELECT * FROM c WHERE c.s = 'open",
        "SELECT * FROM c; DROP TABLE c",
        "DELETE FROM c",
        "SELECT * FROM c ORDER BY c.a, c.b",
        "SELECT * FROM c ORDER BY 1",
    ],
)
async def test_what_is_not_understood_is_400(box: ContainerProxy, sql: str) -> None:
    await fill(box, ["a"], v=1)
    assert await refusal(box, sql) == 400


async def test_the_nearest_vectors_over_all_partitions(database: DatabaseProxy) -> None:
    embeddings = [{"path": "/e", "dataType": "float32", "distanceFunction": "cosine", "dimensions": 2}]
    policy: dict[str, Any] = {
        "excludedPaths": [{"path": "/e/*"}],
        "vectorIndexes": [{"path": "/e", "type": "flat"}],
    }
    c = await database.create_container(
        "vectors",
        PartitionKey("/p"),
        indexing_policy=policy,
        vector_embedding_policy={"vectorEmbeddings": embeddings},
    )
    for n, e in enumerate(([1, 0], [0, 1], [0.9, 0.1], [-1, 0], [0.7, 0.7])):
        await c.create_item({"id": str(n), "p": f"p{n}", "e": e})
    sql = "SELECT TOP 3 c.id, VectorDistance(c.e, @q) AS score FROM c ORDER BY VectorDistance(c.e, @q)"
    found = await ask(c, sql, q=[1, 0])
    assert [row["id"] for row in found] == ["0", "2", "4"]
    assert found[0]["score"] == pytest.approx(1.0)
    nearest = (
        "SELECT TOP 1 VALUE c.id FROM c ORDER BY VectorDistance(c.e, @q, false, {'distanceFunction': 'euclidean'})"
    )
    assert await ask(c, nearest, q=[0, 1]) == ["1"]


async def test_hybrid_search_ranks_by_both(database: DatabaseProxy) -> None:
    policy = {"defaultLanguage": "en-US", "fullTextPaths": [{"path": "/text", "language": "en-US"}]}
    embeddings = [{"path": "/e", "dataType": "float32", "distanceFunction": "cosine", "dimensions": 2}]
    c = await database.create_container(
        "hybrid",
        PartitionKey("/p"),
        full_text_policy=policy,
        vector_embedding_policy={"vectorEmbeddings": embeddings},
    )
    texts = ["red fox", "fox fox fox", "brown bear", "grey wolf and fox in a long winter night"]
    for n, text in enumerate(texts):
        await c.create_item({"id": str(n), "p": f"p{n}", "text": text, "e": [1, n]})
    by_text = await ask(c, "SELECT TOP 2 VALUE c.id FROM c ORDER BY RANK FullTextScore(c.text, 'fox')")
    assert by_text == ["1", "0"]
    both = "SELECT TOP 2 VALUE c.id FROM c ORDER BY RANK RRF(FullTextScore(c.text, 'fox'), VectorDistance(c.e, [1, 0]))"
    assert (await ask(c, both))[0] in ("0", "1")
    assert len(await ask(c, both)) == 2


async def test_the_change_feed_by_range_sees_each_item_once_at_its_last_change(box: ContainerProxy) -> None:
    for scope in range(6):
        await fill(box, ["a", "b"], scope=f"s{scope}")
    await box.patch_item("a", ["t", "s3"], [{"op": "set", "path": "/x", "value": 1}])
    await box.delete_item("b", ["t", "s3"])
    states: list[str] = []
    seen: list[dict[str, Any]] = []
    async for part in box.read_feed_ranges():
        pages = box.query_items_change_feed(start_time="Beginning", feed_range=part, max_item_count=3).by_page()
        lsns = []
        async for page in pages:
            items = [i async for i in page]
            seen += items
            lsns += [i["_lsn"] for i in items]
        assert lsns == sorted(lsns)
        states.append(box.client_connection.last_response_headers["etag"])
    assert sorted((i["scope"], i["id"]) for i in seen) == sorted(
        (f"s{s}", i) for s in range(6) for i in "ab" if (s, i) != (3, "b")
    )
    assert next(i for i in seen if (i["scope"], i["id"]) == ("s3", "a"))["x"] == 1
    await fill(box, ["new"], scope="s5")
    later = [i["id"] for state in states async for i in box.query_items_change_feed(continuation=state)]
    assert later == ["new"]


async def test_the_items_of_a_batch_share_their_place_in_the_feed(box: ContainerProxy) -> None:
    body: list[Any] = [("create", ({"id": f"i{i}", "tenant": "t", "scope": "s"},)) for i in range(4)]
    await box.execute_item_batch(body, ["t", "s"])
    feed = box.query_items_change_feed(start_time="Beginning", partition_key=["t", "s"], max_item_count=2)
    items = [i async for i in feed]
    assert [i["id"] for i in items] == ["i0", "i1", "i2", "i3"]
    assert len({i["_lsn"] for i in items}) == 1


async def test_the_databases_and_containers_can_be_listed(endpoint: tuple[str, str], database: DatabaseProxy) -> None:
    await database.create_container("one", PartitionKey("/p"))
    assert [c["id"] async for c in database.list_containers()] == ["one"]
    async with CosmosClient(*endpoint, enable_endpoint_discovery=False) as client:
        assert database.id in [d["id"] async for d in client.list_databases()]
