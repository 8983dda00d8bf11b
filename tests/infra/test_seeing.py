"""What is seen of the memory: alerts and workbook ask for metrics that the library emits, with attributes that these have, and each alert has a runbook."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thermocline.telemetry import ATTRIBUTES, METRICS

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "bicep" / "alerts"
RUNBOOKS = ROOT / "docs" / "runbooks"
BOOK = (ROOT / "bicep/workbook/workbook.json").read_text(encoding="utf-8")
CONTRACT = json.loads((ROOT / "infra/contract.json").read_text(encoding="utf-8"))["metrics"]
SNAPSHOTS = sorted((ROOT / "infra" / "snapshots").glob("*.json"))
EMITTED = {metric.name: metric for metric in METRICS.values()}
PLACE = re.compile(r"__[A-Z_]+__")
_METRIC = re.compile(r"thermocline\.[a-z_]+(?:\.[a-z_]+)*")


def data(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ALERTS / f"{name}.json").read_text(encoding="utf-8"))["alerts"]
    return found


LOGS = data("log-alerts")
OWN = data("metric-alerts")


def queries_of(book: str) -> Iterator[str]:
    for item in json.loads(book)["items"]:
        if item["type"] == 3:
            yield item["content"]["query"]
        for parameter in item["content"].get("parameters", []) if item["type"] == 9 else []:
            if "query" in parameter:
                yield parameter["query"]


def asked(query: str) -> set[str]:
    """The metrics that a query names: what stands in quotes, and is no attribute."""
    quoted = {word for word in re.findall(r"'([^']*)'", query) if _METRIC.fullmatch(word)}
    return quoted - set(ATTRIBUTES)


def read(query: str) -> set[str]:
    """The attributes that it reads."""
    return set(re.findall(r"Properties\['([^']+)'\]", query))


def complaints(query: str) -> list[str]:
    """What is wrong with a query, in words."""
    found = [f"{name} is no metric of the library" for name in sorted(asked(query) - set(EMITTED))]
    metrics = [EMITTED[name] for name in asked(query) if name in EMITTED]
    found += [
        f"{attribute} is no attribute of {', '.join(sorted(asked(query)))}"
        for attribute in sorted(read(query))
        if not any(attribute in metric.attributes for metric in metrics)
    ]
    bare = re.sub(r"'[^']*'", "''", query)
    if query.count("'") % 2 or any(bare.count(a) != bare.count(b) for a, b in ("()", "[]", "{}")):
        found.append("a quote or bracket is never closed")
    return found


ALL = [
    *(("\n".join(one["query"]), f"alert {one['name']}") for one in LOGS),
    *((query, "workbook") for query in queries_of(BOOK)),
]


def test_the_contract_is_what_alerts_and_workbook_use() -> None:
    contract = {name for names in CONTRACT.values() for name in names}
    used = {name for query, _ in ALL for name in asked(query)}

    assert contract - set(EMITTED) == set(), "in the contract, and not emitted"
    assert used == contract


@pytest.mark.parametrize(("query", "where"), ALL)
def test_queries_ask_for_what_the_library_emits(query: str, where: str) -> None:
    assert complaints(query) == [], where


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("thermocline.hits", "thermocline.hit", "thermocline.hit is no metric"),
        ("thermocline.request_units", "thermocline.requestunits", "thermocline.requestunits is no metric"),
        ("thermocline.breaker.state", "thermocline.breaker", "thermocline.breaker is no metric"),
        ("Properties['thermocline.verb']", "Properties['verb']", "verb is no attribute"),
        (
            "Properties['thermocline.tier']",
            "Properties['thermocline.quantile']",
            "thermocline.quantile is no attribute",
        ),
        ("sum(Sum)", "sum(Sum", "never closed"),
    ],
)
def test_a_broken_query_is_seen(old: str, new: str, says: str) -> None:
    assert any(old in query for query, _ in ALL)
    found = [told for query, _ in ALL if old in query for told in complaints(query.replace(old, new))]
    assert any(told.startswith(says) or told.endswith(says) for told in found), found


def test_counters_are_summed_and_gauges_are_not() -> None:
    """`Sum` of a gauge is its value times `ItemCount`: added up over minutes it says nothing."""
    gauges = {name for name, metric in EMITTED.items() if metric.kind.value == "gauge"}
    for query, where in ALL:
        for name in asked(query):
            alone = asked(query) == {name}
            if name in gauges:
                assert "Sum / ItemCount" in query, (where, name)
            elif alone:
                assert re.search(r"sum(?:if)?\(Sum", query), (where, name)


# --- alerts ----------------------------------------------------------------------------------------------------------


def misplaced(one: dict[str, Any]) -> list[str]:
    """What is wrong with an alert beside its query."""
    found = []
    if not (RUNBOOKS / f"{one['runbook']}.md").is_file():
        found.append(f"there is no docs/runbooks/{one['runbook']}.md")
    if one["severity"] not in (1, 2, 3):
        found.append("severity is 1 to 3")
    if minutes(one["window"]) < minutes(one["every"]):
        found.append("what happens between two windows is not looked at")
    if not one["description"].endswith("."):
        found.append("the description is no sentence")
    if "query" in one:
        last = "\n".join(one["query"][-3:])
        found += [
            f"the query has no column {column}"
            for column in (one["measure"], *one["dimensions"])
            if not re.search(rf"\b{column}\b", last)
        ]
        if one["window"] not in ("PT5M", "PT10M", "PT15M", "PT30M", "PT45M", "PT1H", "PT2H", "P1D"):
            found.append("Azure has no such window")
    return found


def minutes(duration: str) -> int:
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?", duration)
    assert found is not None, duration
    days, hours, rest = (int(part or 0) for part in found.groups())
    return days * 1440 + hours * 60 + rest


@pytest.mark.parametrize("one", [*LOGS, *OWN], ids=lambda one: str(one["name"]))
def test_each_alert_is_whole_and_has_its_runbook(one: dict[str, Any]) -> None:
    assert misplaced(one) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("runbook", "look-at-it"),
        ("severity", 0),
        ("every", "P1D"),
        ("measure", "unheard_of"),
        ("dimensions", ["Region"]),
        ("window", "PT7M"),
    ],
)
def test_an_alert_that_is_not_whole_is_seen(field: str, value: object) -> None:
    one = next(copy.deepcopy(one) for one in LOGS if one["name"] == "latency")
    assert misplaced(one) == []
    one[field] = value
    assert misplaced(one) != []


def test_names_are_unlike_and_the_readme_has_them() -> None:
    names = [one["name"] for one in (*LOGS, *OWN)]
    readme = (ALERTS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w-]+)` \| (\d) \| ([^|]+) \| \[([\w-]+)\]", readme, re.M)

    assert len(set(names)) == len(names)
    assert [(name, int(severity), title, runbook) for name, severity, title, runbook in listed] == [
        (one["name"], one["severity"], one["title"], one["runbook"]) for one in (*LOGS, *OWN)
    ]


def test_what_issue_6_wants_to_be_told_of_is() -> None:
    used = {name for one in LOGS for name in asked("\n".join(one["query"]))}

    assert {
        "thermocline.hits",
        "thermocline.tier.duration",
        "thermocline.breaker.state",
        "thermocline.recovery.queue",
        "thermocline.feed.lag",
        "thermocline.feed.set_aside",
        "thermocline.pool.in_use",
    } <= used
    assert {one["on"] for one in OWN} == {"redis", "cosmos", "blob", "vault"}


def test_a_hot_partition_is_not_averaged_away() -> None:
    """Cosmos DB tells of each range of each container; the mean of all is low while one is at its limit."""
    one = next(one for one in OWN if one["name"] == "cosmos-request-units")
    assert one["dimensions"] == {"CollectionName": ["*"], "PartitionKeyRangeId": ["*"]}


# --- workbook --------------------------------------------------------------------------------------------------------


def test_the_workbook_is_one() -> None:
    book = json.loads(BOOK)
    names = [item["name"] for item in book["items"]]

    assert book["version"] == "Notebook/1.0"
    assert len(set(names)) == len(names)
    assert {item["type"] for item in book["items"]} == {1, 3, 9, 10}
    for item in book["items"]:
        if item["type"] in (3, 10):
            assert item["content"]["title"]
            assert item["content"]["timeContextFromParameter"] == "TimeRange"
    given = {one["name"] for item in book["items"] if item["type"] == 9 for one in item["content"]["parameters"]}
    assert set(re.findall(r"\{(\w+)(?::\w+)?\}", "".join(queries_of(BOOK)))) == given


def test_its_places_are_those_that_the_bicep_fills_in() -> None:
    bicep = (ROOT / "bicep/workbook/main.bicep").read_text(encoding="utf-8")

    assert set(PLACE.findall(BOOK)) == set(PLACE.findall(bicep))
    assert not re.search(r"/subscriptions/[0-9a-f]{8}", BOOK), "the id of somebody's resource"


# --- as it is deployed -----------------------------------------------------------------------------------------------


def built(snapshot: Path, kind: str) -> list[dict[str, Any]]:
    resources = json.loads(snapshot.read_text(encoding="utf-8"))["resources"]
    return [one["body"] for one in resources if one["type"].lower() == f"microsoft.insights/{kind}".lower()]


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
def test_alerts_of_a_profile_are_these_and_lead_to_their_runbooks(snapshot: Path) -> None:
    logs, own, events = (built(snapshot, kind) for kind in ("scheduledQueryRules", "metricAlerts", "activityLogAlerts"))
    if snapshot.stem == "dev":
        assert (logs, own, events) == ([], [], [])
        return
    asked_for = ["\n".join(one["query"]) for one in LOGS]
    assert [one["properties"]["criteria"]["allOf"][0]["query"] for one in logs] == asked_for
    metrics = [one["properties"]["criteria"]["allOf"][0]["metricName"] for one in own]
    assert metrics == [one["metric"] for one in OWN]
    for one in (*logs, *own, *events):
        found = re.search(r"runbook: \S*docs/runbooks/([\w-]+)\.md$", one["properties"]["description"])
        assert found is not None, one["name"]
        assert (RUNBOOKS / f"{found[1]}.md").is_file()
        assert json.dumps(one["properties"]["actions"]).count("actionGroups/") == 1, "somebody is told"


def quota_untold(logs: list[dict[str, Any]], gigabytes: int) -> bool:
    """Whether the workspace could stop to take logs, which blinds every alert on them, and nobody would hear of it."""
    told = any(
        one["properties"]["criteria"]["allOf"][0]["query"].startswith("_LogOperation\n")
        and one["properties"]["severity"] == 1
        for one in logs
    )
    return bool(logs) and gigabytes != -1 and not told


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
def test_where_alerts_may_go_blind_that_is_told(snapshot: Path) -> None:
    resources = json.loads(snapshot.read_text(encoding="utf-8"))["resources"]
    (workspace,) = (one["body"] for one in resources if one["type"] == "Microsoft.OperationalInsights/workspaces")
    gigabytes = workspace["properties"]["workspaceCapping"]["dailyQuotaGb"]
    logs = built(snapshot, "scheduledQueryRules")

    assert not quota_untold(logs, gigabytes)
    others = [one for one in logs if not one["name"].endswith("-log-quota")]
    assert quota_untold(others, gigabytes) is (snapshot.stem in ("team", "private"))


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
def test_the_workbook_of_a_profile_is_filled_in(snapshot: Path) -> None:
    (book,) = built(snapshot, "workbooks")
    text = book["properties"]["serializedData"]

    assert PLACE.findall(text) == []
    assert len(json.loads(text)["items"]) == len(json.loads(BOOK)["items"])
    assert text.count("/subscriptions/") >= BOOK.count("__WORKSPACE_ID__")
