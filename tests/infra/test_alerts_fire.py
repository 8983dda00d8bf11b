"""The log alerts' queries, executed over rows as Azure Monitor keeps them: each fires when it should, and not otherwise.

KQL is run on DuckDB by the package duckdb-kql, since the service's own engine cannot be had.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb_kql
import pytest

ROOT = Path(__file__).parents[2]
ALERTS = {
    one["name"]: one
    for one in json.loads((ROOT / "bicep/alerts/log-alerts.json").read_text(encoding="utf-8"))["alerts"]
}
TABLES = {
    "AppMetrics": "TimeGenerated TIMESTAMP, Name VARCHAR, Sum DOUBLE, Min DOUBLE, Max DOUBLE, ItemCount INTEGER, Properties JSON, AppRoleName VARCHAR,"
    " AppRoleInstance VARCHAR",
    "AppRequests": "TimeGenerated TIMESTAMP, Success BOOLEAN, ResultCode VARCHAR, DurationMs DOUBLE, OperationName VARCHAR, AppRoleName VARCHAR",
    "AzureDiagnostics": "TimeGenerated TIMESTAMP, ResourceProvider VARCHAR, OperationName VARCHAR",
    "AZKVAuditLogs": "TimeGenerated TIMESTAMP, OperationName VARCHAR",
    "_LogOperation": "TimeGenerated TIMESTAMP, Category VARCHAR, Operation VARCHAR, Level VARCHAR, Detail VARCHAR",
}
OVER = "Data collection stopped due to daily limit of free data reached. Ingestion status = OverQuota"
AGAIN = "Data collection resumed. Ingestion status = RespectQuota"


class Workspace:
    """A Log Analytics workspace's tables. Minutes are those before now."""

    def __init__(self) -> None:
        self.connection = duckdb_kql.connect()
        for name, columns in TABLES.items():
            self.connection.sql(f"CREATE TABLE {name} ({columns})")
        self.now = datetime.now(UTC).replace(tzinfo=None)

    def metric(self, name: str, total: float, tier: str, *, minutes: float = 1, count: int = 1, **more: object) -> None:
        given = {"tier": tier, **more}
        properties = json.dumps({f"thermocline.{key}": str(value) for key, value in given.items()})
        row = [self._at(minutes), f"thermocline.{name}", total, None, None, count, properties, "memory-api", "i1"]
        self._insert("AppMetrics", row)

    def request(self, function: str, *, success: bool = True, code: str = "0", minutes: float = 1) -> None:
        self._insert("AppRequests", [self._at(minutes), success, code, 5.0, function, "memory-worker"])

    def vault(self, operation: str) -> None:
        self._insert("AzureDiagnostics", [self._at(1), "MICROSOFT.KEYVAULT", operation])

    def operation(self, detail: str, *, minutes: float = 1, category: str = "Ingestion", operation: str = "") -> None:
        """A row of the workspace about itself; by default named as Microsoft's page on such rows names those of the quota."""
        self._insert(
            "_LogOperation", [self._at(minutes), category, operation or "Data collection Status", "Warning", detail]
        )

    def _at(self, minutes: float) -> datetime:
        return self.now - timedelta(minutes=minutes)

    def _insert(self, table: str, row: list[object]) -> None:
        self.connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def fires(self, name: str) -> bool:
        """As the rule would judge one evaluation: some row's measure is beyond the threshold."""
        alert = ALERTS[name]
        cursor = duckdb_kql.query(self.connection, "\n".join(alert["query"]))
        columns = [column[0] for column in cursor.description]
        assert {alert["measure"], *alert["dimensions"]} <= set(columns)
        found = [row[columns.index(alert["measure"])] for row in cursor.fetchall()]
        values = [value for value in found if value is not None]
        if alert["operator"] == "LessThan":
            return any(value < alert["threshold"] for value in values)
        return any(value > alert["threshold"] for value in values)


def hits(of: int, reads: int) -> Callable[[Workspace], None]:
    def fill(workspace: Workspace) -> None:
        workspace.metric("hits", of, "hot")
        workspace.metric("reads", reads, "hot")
        workspace.metric("hits", 10 * reads, "warm")
        workspace.metric("reads", 10 * reads, "warm")

    return fill


def latency(answered: int, p99: float, unanswered: int = 0, waited: float = 0.0) -> Callable[[Workspace], None]:
    def fill(workspace: Workspace) -> None:
        for outcome, count, seconds in (("ok", answered, p99), ("unavailable", unanswered, waited)):
            if count:
                workspace.metric("tier.duration", count * seconds, "hot", count=count, verb="get", outcome=outcome)
                workspace.metric("tier.latency", seconds, "hot", verb="get", outcome=outcome, quantile=0.99)
                workspace.metric("tier.latency", 9.0, "hot", verb="get", outcome=outcome, quantile=0.5)

    return fill


def own_pipeline(calls: int, p99: float, unanswered: int = 0) -> Callable[[Workspace], None]:
    """As a program's own MeterProvider sends durations: counters in place of the histogram."""

    def fill(workspace: Workspace) -> None:
        for outcome, count in (("ok", calls), ("unavailable", unanswered)):
            workspace.metric("tier.calls", count, "warm", verb="read", outcome=outcome)
            workspace.metric("tier.time", count * p99, "warm", verb="read", outcome=outcome)
            workspace.metric("tier.latency", p99, "warm", verb="read", outcome=outcome, quantile=0.99)

    return fill


def gauge(name: str, tier: str, *values: tuple[float, float]) -> Callable[[Workspace], None]:
    """Pairs of minutes before now, and the value then."""

    def fill(workspace: Workspace) -> None:
        for minutes, value in values:
            workspace.metric(name, value, tier, minutes=minutes)

    return fill


def pool(used: int, most: int) -> Callable[[Workspace], None]:
    def fill(workspace: Workspace) -> None:
        for minutes in (1, 2, 3, 4):
            workspace.metric("pool.in_use", used, "hot", minutes=minutes)
            workspace.metric("pool.limit", most, "hot", minutes=minutes)

    return fill


def feed(*functions: str, written: float = 20) -> Callable[[Workspace], None]:
    def fill(workspace: Workspace) -> None:
        workspace.metric("writes", 10, "warm", minutes=written)
        for function in functions:
            workspace.request(function, minutes=3)

    return fill


def requests(failed: int, well: int, code: str) -> Callable[[Workspace], None]:
    def fill(workspace: Workspace) -> None:
        for number in range(failed + well):
            workspace.request("http", success=number >= failed, code=code if number < failed else "200")

    return fill


def vault(operation: str) -> Callable[[Workspace], None]:
    return lambda workspace: workspace.vault(operation)


def workspace_told(*told: tuple[float, str], category: str = "Ingestion") -> Callable[[Workspace], None]:
    """Pairs of minutes before now, and what the workspace said of itself then."""

    def fill(workspace: Workspace) -> None:
        for minutes, detail in told:
            workspace.operation(detail, minutes=minutes, category=category)

    return fill


def resumed_by_name(workspace: Workspace) -> None:
    workspace.operation(OVER, minutes=600, operation="Data collection stopped")
    workspace.operation("", operation="Data collection resumed")


NEARLY = "Ingestion status = ApproachingQuota"
TOO_FAST = "The data ingestion volume rate crossed the threshold in your workspace: 700.00 MB per one minute and data has been dropped."

CASES: list[tuple[str, str, Callable[[Workspace], None], bool]] = [
    ("hit-rate", "three in ten", hits(300, 1000), True),
    ("hit-rate", "nine in ten", hits(900, 1000), False),
    ("hit-rate", "hardly any reads", hits(3, 10), False),
    ("latency", "within the bound", latency(1000, 0.02), False),
    ("latency", "answers are slow", latency(1000, 0.08), True),
    ("latency", "two in a hundred run out of time", latency(1000, 0.02, 20, 0.055), True),
    ("latency", "one in two hundred does", latency(1000, 0.02, 5, 0.055), False),
    ("latency", "hardly any calls", latency(50, 0.2), False),
    ("latency", "of a program's own pipeline", own_pipeline(1000, 0.8), True),
    ("latency", "of a program's own pipeline, quick", own_pipeline(1000, 0.1), False),
    ("latency", "of a program's own pipeline, hardly any calls", own_pipeline(50, 0.8), False),
    ("breaker-open", "for five minutes", gauge("breaker.state", "warm", *((n, 2) for n in range(1, 6))), True),
    ("breaker-open", "now and then", gauge("breaker.state", "warm", (1, 2), (2, 0), (3, 1), (4, 2), (5, 0)), False),
    ("recovery-queue", "grows", gauge("recovery.queue", "client", (12, 100), (2, 5000)), True),
    ("recovery-queue", "is full, and stays so", gauge("recovery.queue", "client", (12, 10000), (2, 10000)), True),
    ("recovery-queue", "of a process that has just begun", gauge("recovery.queue", "client", (2, 5000)), True),
    ("recovery-queue", "becomes smaller", gauge("recovery.queue", "client", (12, 5000), (2, 300)), False),
    ("recovery-queue", "a few keys", gauge("recovery.queue", "client", (12, 0), (2, 7)), False),
    ("feed-lag", "all the time", gauge("feed.lag", "client", (1, 400), (5, 420), (9, 440)), True),
    ("feed-lag", "one batch", gauge("feed.lag", "client", (1, 400), (5, 3)), False),
    ("feed-stopped", "no batch", feed(), True),
    ("feed-stopped", "other functions only", feed("sweep", "vault_event"), True),
    ("feed-stopped", "batches come", feed("settle_changes"), False),
    ("feed-stopped", "by their longer name", feed("Functions.settle_changes"), False),
    ("feed-stopped", "written just now", feed(written=2), False),
    ("feed-set-aside", "one", gauge("feed.set_aside", "client", (1, 1)), True),
    ("pool-exhausted", "full", pool(50, 50), True),
    ("pool-exhausted", "half full", pool(25, 50), False),
    ("damaged-records", "in warm", gauge("corrupt", "warm", (1, 1)), True),
    ("damaged-records", "in hot", gauge("corrupt", "hot", (1, 1)), False),
    ("functions-failing", "three in ten", requests(3, 7, "503"), True),
    ("functions-failing", "callers' mistakes", requests(3, 7, "404"), False),
    ("secret-near-expiry", "near its end", vault("SecretNearExpiryEventGridNotification"), True),
    ("secret-near-expiry", "read", vault("SecretGet"), False),
    ("log-quota", "reached", workspace_told((10, OVER)), True),
    ("log-quota", "reached hours ago", workspace_told((700, NEARLY), (600, OVER), (5, TOO_FAST)), True),
    ("log-quota", "its category in lower case", workspace_told((10, OVER), category="ingestion"), True),
    ("log-quota", "reached on the second day too", workspace_told((1400, OVER), (900, AGAIN), (10, OVER)), True),
    ("log-quota", "a new day has begun", workspace_told((600, OVER), (10, AGAIN)), False),
    ("log-quota", "a new day has begun, by the operation's name", resumed_by_name, False),
    ("log-quota", "nearly reached", workspace_told((10, NEARLY)), False),
    ("log-quota", "other limits", workspace_told((10, TOO_FAST)), False),
    ("log-quota", "of another category", workspace_told((10, OVER), category="Agent"), False),
]


@pytest.mark.parametrize(("name", "what", "fill", "fires"), CASES, ids=lambda one: one if isinstance(one, str) else "")
def test_it_fires_when_it_should(name: str, what: str, fill: Callable[[Workspace], None], fires: bool) -> None:
    workspace = Workspace()
    fill(workspace)

    assert workspace.fires(name) is fires, what


@pytest.mark.parametrize("name", ALERTS)
def test_nothing_fires_where_there_is_nothing(name: str) -> None:
    assert not Workspace().fires(name)


def test_every_alert_is_tried_both_ways() -> None:
    quiet = {name for name, _, _, fires in CASES if not fires}
    assert {name for name, _, _, fires in CASES if fires} == set(ALERTS)
    assert quiet == set(ALERTS) - {"feed-set-aside"}  # one document is one too many
