"""The profiles that `thermocline cost` reckons with are those that the infrastructure builds: held against the committed snapshots."""

import copy
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from thermocline.cost.bill import bill
from thermocline.cost.prices import list_prices
from thermocline.cost.profiles import PROFILES, profile
from thermocline.cost.workload import Workload

SNAPSHOTS = Path(__file__).parents[2] / "infra" / "snapshots"
Body = dict[str, Any]


def snapshot(name: str) -> Body:
    found: Body = json.loads((SNAPSHOTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def built(of: Body, kind: str) -> list[Body]:
    """What is built of a type: the bodies."""
    return [
        one["body"]
        for one in of["resources"]
        if one["type"] == kind and not one["existing"] and one["condition"] is not False
    ]


def parts(name: str, of: Body) -> Body:
    """The fixed parts of a snapshot, named as `Profile` names them."""
    account = built(of, "Microsoft.DocumentDB/databaseAccounts")[0]["properties"]
    database = built(of, "Microsoft.DocumentDB/databaseAccounts/sqlDatabases")[0]["properties"]
    redis = built(of, "Microsoft.Cache/redisEnterprise")[0]
    cold = next(one for one in built(of, "Microsoft.Storage/storageAccounts") if one["name"].startswith("stcold"))
    apps = [one["properties"]["functionAppConfig"]["scaleAndConcurrency"] for one in built(of, "Microsoft.Web/sites")]
    rules = built(of, "Microsoft.Insights/scheduledQueryRules")
    often = Counter(one["properties"]["evaluationFrequency"] for one in rules)
    assert all(f"alerts.logs.{every}" in list_prices().prices for every in often)
    ready = {sum(int(group["instanceCount"]) for group in one.get("alwaysReady") or []) for one in apps}
    workspace = built(of, "Microsoft.OperationalInsights/workspaces")[0]["properties"]
    assert len({one["instanceMemoryMB"] for one in apps}) == 1
    return {
        "name": name,
        "max_throughput": database["options"]["autoscaleSettings"]["maxThroughput"],
        "regions": len(account["locations"]),
        "backup": account["backupPolicy"]["continuousModeProperties"]["tier"],
        "redis": redis["sku"]["name"],
        "high_availability": redis["properties"]["highAvailability"] == "Enabled",
        "storage": cold["sku"]["name"],
        "apps": len(apps),
        "memory_mb": apps[0]["instanceMemoryMB"],
        "always_ready": max(ready),
        "retention_days": workspace["retentionInDays"],
        "endpoints": len(built(of, "Microsoft.Network/privateEndpoints")),
        "zones": len(built(of, "Microsoft.Network/privateDnsZones")),
        "gateways": len(built(of, "Microsoft.Network/natGateways")),
        "addresses": len(built(of, "Microsoft.Network/publicIPAddresses")),
        "log_alerts": dict(often),
        "metric_alerts": len(built(of, "Microsoft.Insights/metricAlerts")),
        "keys": len(built(of, "Microsoft.KeyVault/vaults/keys")),
    }


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_what_the_infrastructure_builds(name: str) -> None:
    assert asdict(profile(name)) == parts(name, snapshot(name))


def _scaled(of: Body) -> None:
    built(of, "Microsoft.DocumentDB/databaseAccounts/sqlDatabases")[0]["properties"]["options"]["autoscaleSettings"][
        "maxThroughput"
    ] *= 2


def _one_node(of: Body) -> None:
    built(of, "Microsoft.Cache/redisEnterprise")[0]["properties"]["highAvailability"] = "Disabled"


def _an_endpoint_more(of: Body) -> None:
    of["resources"].append(next(one for one in of["resources"] if one["type"] == "Microsoft.Network/privateEndpoints"))


@pytest.mark.parametrize("change", [_scaled, _one_node, _an_endpoint_more])
def test_a_change_of_the_infrastructure_shows(change: Callable[[Body], None]) -> None:
    of = copy.deepcopy(snapshot("regulated"))
    change(of)
    assert asdict(profile("regulated")) != parts("regulated", of)


BILLED = {
    "Microsoft.Cache/redisEnterprise",
    "Microsoft.DocumentDB/databaseAccounts",
    "Microsoft.Insights/metricAlerts",
    "Microsoft.Insights/scheduledQueryRules",
    "Microsoft.KeyVault/vaults",
    "Microsoft.KeyVault/vaults/keys",
    "Microsoft.Network/natGateways",
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateEndpoints",
    "Microsoft.Network/publicIPAddresses",
    "Microsoft.OperationalInsights/workspaces",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.Web/sites",
}
FREE = {
    "Microsoft.Authorization",
    "Microsoft.Cache/redisEnterprise/databases",
    "Microsoft.Consumption/budgets",
    "Microsoft.DocumentDB/databaseAccounts/",
    "Microsoft.EventGrid",  # a hundred thousand operations a month are free
    "Microsoft.Insights/actionGroups",
    "Microsoft.Insights/activityLogAlerts",
    "Microsoft.Insights/components",  # billed by its workspace
    "Microsoft.Insights/diagnosticSettings",  # the same
    "Microsoft.Insights/privateLinkScopes",
    "Microsoft.Insights/workbooks",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/privateDnsZones/",
    "Microsoft.Network/privateEndpoints/",
    "Microsoft.Network/virtualNetworks",
    "Microsoft.Resources",
    "Microsoft.Storage/storageAccounts/",
    "Microsoft.Web/serverfarms",  # a Flex plan is billed by its app's work
    "Microsoft.Web/sites/",
}


@pytest.mark.parametrize("name", PROFILES)
def test_nothing_is_built_that_nobody_has_thought_of_the_price_of(name: str) -> None:
    types = {
        one["type"] for one in snapshot(name)["resources"] if not one["existing"] and one["condition"] is not False
    }
    assert {kind for kind in types if kind not in BILLED and not any(kind.startswith(free) for free in FREE)} == set()


@pytest.mark.parametrize("name", PROFILES)
def test_the_budget_is_above_what_is_paid_for_nothing(name: str) -> None:
    idle = bill(profile(name), Workload(), list_prices()).fixed
    budgets = built(snapshot(name), "Microsoft.Consumption/budgets")
    assert all(one["properties"]["amount"] > idle for one in budgets)
    assert (name == "dev") == (not budgets)
