"""The workbook's queries, executed over rows as Azure Monitor keeps them: each answers, and says what its title says."""

import json
import re
from pathlib import Path
from typing import Any

import duckdb_kql
import pytest
from tests.infra.test_alerts_fire import Workspace

BOOK = json.loads((Path(__file__).parents[2] / "bicep/workbook/workbook.json").read_text(encoding="utf-8"))
QUERIES: dict[str, str] = {item["name"]: item["content"]["query"] for item in BOOK["items"] if item["type"] == 3}
CHOSEN = {
    "Role": "",
    "TimeRange:grain": "5m",
    "TimeRange:startISO": "2026-11-21T00:00:00Z",
    "TimeRange:endISO": "2026-11-21T02:00:00Z",
    "PriceHot": "0.1",
    "PriceUnits": "2",
    "PriceRequests": "0.05",
}


@pytest.fixture
def workspace() -> Workspace:
    """A minute's figures: of a pipeline that `configure` made (the histogram), and of a program's own (counters in its place)."""
    made = Workspace()
    made.metric("tier.duration", 2.0, "hot", count=1000, verb="get", outcome="ok")
    made.metric("tier.duration", 1.0, "hot", count=20, verb="get", outcome="unavailable")
    made.metric("tier.calls", 500, "warm", verb="read", outcome="ok")
    made.metric("tier.time", 25.0, "warm", verb="read", outcome="ok")
    for tier, verb, quantile, seconds in (
        ("hot", "get", 0.5, 0.001),
        ("hot", "get", 0.99, 0.02),
        ("warm", "read", 0.99, 0.4),
    ):
        made.metric("tier.latency", seconds, tier, verb=verb, outcome="ok", quantile=quantile)
    counted = {"hits": 300, "reads": 1000, "promotions": 3, "demotions": 2, "writes": 5, "throttled": 1, "corrupt": 1}
    for name, amount in (counted | {"unavailable": 4, "bytes.raw": 4e6, "bytes.stored": 1e6}).items():
        made.metric(name, amount, "hot")
    made.metric("request_units", 3e6, "warm", verb="read")
    made.metric("requests", 20_000, "cold")
    for name, value, tier in (("recovery.queue", 7, "client"), ("breaker.state", 2, "warm"), ("feed.lag", 9, "client")):
        made.metric(name, 2 * value, tier, count=2)  # a gauge's Sum is its value times ItemCount
    for name in ("feed.settled", "feed.set_aside"):
        made.metric(name, 6, "client")
    made.metric("pool.in_use", 25, "hot")
    made.metric("pool.limit", 50, "hot")
    made.request("settle_changes")
    made.request("settle_changes", success=False, code="500")
    return made


def answer(workspace: Workspace, name: str, **chosen: str) -> list[dict[str, Any]]:
    """The rows that a tile shows."""
    query = re.sub(r"\{(\w+(?::\w+)?)\}", lambda found: (CHOSEN | chosen)[found[1]], QUERIES[name])
    cursor = duckdb_kql.query(workspace.connection, query)
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def only(rows: list[dict[str, Any]], **of: object) -> dict[str, Any]:
    (row,) = [row for row in rows if of.items() <= row.items()]
    return row


@pytest.mark.parametrize("name", QUERIES)
def test_each_tile_answers_and_is_empty_where_there_is_nothing(workspace: Workspace, name: str) -> None:
    assert answer(workspace, name) != []
    if name != "cost":  # it has a row for each tier, whatever was used
        assert answer(Workspace(), name) == []


def test_calls_are_counted_whichever_pipeline_sent_them(workspace: Workspace) -> None:
    rows = answer(workspace, "verbs")

    hot, warm = only(rows, tier="hot", verb="get"), only(rows, tier="warm", verb="read")
    assert (hot["calls"], hot["unanswered"], hot["p50_ms"], hot["p99_ms"]) == (1020, 20, 1.0, 20.0)
    assert (warm["calls"], warm["unanswered"], warm["mean_ms"], warm["p99_ms"]) == (500, 0, 50.0, 400.0)


def test_figures_are_what_the_titles_say(workspace: Workspace) -> None:
    assert only(answer(workspace, "hit-rate"), tier="hot")["percent"] == 30.0
    assert only(answer(workspace, "pools"))["percent"] == 50.0
    assert only(answer(workspace, "bytes"), tier="hot")["stored_percent"] == 25.0
    assert only(answer(workspace, "breakers"))["state"] == 2.0
    assert only(answer(workspace, "recovery-queue"))["keys"] == 7.0
    assert only(answer(workspace, "feed-lag"))["seconds"] == 9.0
    assert only(answer(workspace, "functions"), OperationName="settle_changes")["failed"] == 1


def test_cost_is_units_times_prices(workspace: Workspace) -> None:
    costs = {row["tier"]: row["cost"] for row in answer(workspace, "cost")}
    assert costs == {"hot": pytest.approx(0.2), "warm": pytest.approx(6.0), "cold": pytest.approx(0.1)}


def test_a_program_can_be_chosen(workspace: Workspace) -> None:
    assert answer(workspace, "hit-rate", Role="memory-api") != []
    assert answer(workspace, "hit-rate", Role="agent-sample") == []
