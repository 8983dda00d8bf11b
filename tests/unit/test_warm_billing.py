"""What a request to Cosmos DB is billed as, and how it is counted."""

from typing import Any

import pytest

from thermocline.telemetry import Stats
from thermocline.tiers.warm.billing import Billed, billed, billed_in_batch

ITEMS = "https://a.documents.azure.com/dbs/d/colls/c/docs/"
ITEM = ITEMS + "tc1.k/"
QUERY = {"x-ms-documentdb-isquery": "true"}


@pytest.mark.parametrize(
    ("method", "url", "asked", "status", "expected"),
    [
        ("GET", ITEM, {}, 200, "read"),
        ("GET", ITEM, {}, 404, "missing"),
        ("POST", ITEMS, {}, 201, "create"),
        ("POST", ITEMS, {}, 409, "refused"),
        ("POST", ITEMS, {"x-ms-documentdb-is-upsert": "true"}, 200, "replace"),
        ("POST", ITEMS, {"x-ms-documentdb-is-upsert": "true"}, 201, "create"),
        ("PATCH", ITEM, {}, 200, "patch"),
        ("PATCH", ITEM, {}, 412, "refused"),
        ("PATCH", ITEM, {}, 404, "missing"),
        ("PUT", ITEM, {}, 200, "replace"),
        ("DELETE", ITEM, {}, 204, "delete"),
        ("POST", ITEMS, QUERY, 200, "query"),
        ("POST", ITEMS, {"x-ms-cosmos-is-query-plan-request": "True"}, 200, "query"),
        ("GET", ITEMS, {"A-IM": "Incremental Feed"}, 200, "query"),
        ("POST", ITEMS, {"x-ms-cosmos-is-batch-request": "True"}, 207, "refused"),
        ("GET", ITEM, {}, 429, "throttled"),
        ("GET", "https://a.documents.azure.com/", {}, 200, "metadata"),
        ("GET", "https://a.documents.azure.com/dbs/d/colls/c/pkranges/", {}, 304, "metadata"),
    ],
)
def test_a_request_and_its_answer(method: str, url: str, asked: dict[str, Any], status: int, expected: str) -> None:
    done = billed(method, url, asked, status, {}, 700)
    assert done is not None
    assert done.operation == expected


def test_rows_and_sizes() -> None:
    assert billed("POST", ITEMS, QUERY, 200, {"x-ms-item-count": "12"}, 700) == Billed("query", 700, 12)
    assert billed("GET", ITEM, {}, 200, {}, 700) == Billed("read", 700)


def test_a_batch_is_its_operations() -> None:
    assert billed("POST", ITEMS, {"x-ms-cosmos-is-batch-request": "True"}, 200, {}, 700) is None
    operations: list[tuple[Any, ...]] = [("create", ({},)), ("patch", ("id", []), {})]
    assert billed_in_batch(operations, [{}, {}], {"Content-Length": "700"}) == [
        Billed("create", 350),
        Billed("patch", 350),
    ]
    assert [one.size for one in billed_in_batch(operations, ["x" * 97, "y" * 97], {})] == [100, 100], "sent in chunks"


def test_clients_counts_add_up() -> None:
    one, other = Stats(), Stats()
    one.operated("warm", "read", 3000)
    one.operated("warm", "query", 100, rows=3)
    other.operated("warm", "read", 2500)
    other.operated("cold", "delete")
    one.added_to(other)
    one.operated("warm", "read", 3000)
    found = other.snapshot()
    assert found["warm"]["operations"] == {
        "query": {"1": {"count": 1, "bytes": 100, "rows": 3}},
        "read": {"4": {"count": 2, "bytes": 5500}},
    }
    assert found["cold"]["operations"] == {"delete": {"1": {"count": 1, "bytes": 0}}}
