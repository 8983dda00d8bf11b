"""A profile over what is there already: a second run and a step up pass, what would replace data or leave it behind is stopped before."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from infra.hooks.preflight.findings import Finding
from infra.hooks.preflight.wants import PROFILES
from infra.hooks.preprovision import look
from tests.infra.arm_server import Cloud
from tests.infra.built import snapshot
from tests.infra.operating import Azd, environment, told

SWITCHES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("team", "dev"): ("redis-memory-akiio2eb: Redis has a replica",),
    ("private", "dev"): ("redis-memory-akiio2eb: Redis has a replica",),
    ("dev", "regulated"): (
        "cosmos-memory-akiio2eb: Cosmos DB is encrypted with Microsoft's key",
        "regions are not changed beside other things",
        "zone redundancy in swedencentral is chosen when the region is added",
        "its backup goes back Continuous7Days",
        "stcoldakiio2eb: its redundancy is Standard_LRS",
        "stmemoryworkerakiio2eb: its redundancy is Standard_LRS",
    ),
    ("regulated", "team"): (
        "Cosmos DB is encrypted with your own key",
        "stcoldakiio2eb: it is encrypted with your own key",
        "its backup goes back Continuous30Days",
    ),
}
ALLOWED: Final = [
    *((one, one) for one in PROFILES),
    ("dev", "team"),
    ("dev", "private"),
    ("team", "private"),
    ("private", "team"),
]


def switch(cloud: Cloud, endpoint: str, before: str, after: str) -> list[Finding]:
    built = snapshot(before)
    cloud.build(built["resources"])
    return look(
        environment(
            after,
            endpoint,
            AZURE_RESOURCE_GROUP=built["outputs"]["AZURE_RESOURCE_GROUP"],
            AZURE_THERMOCLINE_BUILT=built["outputs"]["AZURE_THERMOCLINE_BUILT"],
        )
    )


@pytest.mark.parametrize(("before", "after"), ALLOWED)
def test_a_second_run_and_a_step_up_pass(before: str, after: str, azd: Azd, endpoint: str, cloud: Cloud) -> None:
    found = switch(cloud, endpoint, before, after)

    assert (told(found, "stop"), told(found, "unseen")) == ("", "")


@pytest.mark.parametrize(("before", "after"), SWITCHES)
def test_a_switch_that_would_replace_data_stops(before: str, after: str, azd: Azd, endpoint: str, cloud: Cloud) -> None:
    found = told(switch(cloud, endpoint, before, after), "stop")

    assert [words for words in SWITCHES[(before, after)] if words not in found] == []
    assert "thermocline migrate" in found or "moving-data.md" in found


def test_a_size_that_azure_does_not_give_in_place_stops(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    cloud.sizes = ["Balanced_B3"]

    assert "is Balanced_B0, and Azure does not make it Balanced_B1 in place" in told(
        switch(cloud, endpoint, "dev", "team"), "stop"
    )


def test_what_azure_failed_to_make_is_told_before_it_fails_again(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    cloud.build(snapshot("dev")["resources"])
    for path, one in cloud.resources.items():
        if path.endswith("/redisenterprise/redis-memory-akiio2eb"):
            one["properties"] = {**one["properties"], "provisioningState": "Failed", "resourceState": "CreateFailed"}
        if path.endswith("/databaseaccounts/cosmos-memory-akiio2eb"):
            one["properties"] = {**one["properties"], "provisioningState": "Failed"}
    found = look(environment("dev", endpoint))

    assert "az redisenterprise delete --cluster-name redis-memory-akiio2eb" in told(found, "stop")
    assert "cosmos-memory-akiio2eb is in the state Failed" in told(found, "mind")
    assert "cosmos" not in told(found, "stop"), "an account with data must not be deleted on a word of ours"


def test_a_redis_that_failed_to_grow_works_on(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    cloud.build(snapshot("dev")["resources"])
    for path, one in cloud.resources.items():
        if path.endswith("/redisenterprise/redis-memory-akiio2eb"):
            one["properties"] = {**one["properties"], "provisioningState": "Failed", "resourceState": "ScalingFailed"}

    assert told(look(environment("dev", endpoint)), "stop") == ""


def test_a_key_for_redis_is_told_and_stops_nothing(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    found = switch(cloud, endpoint, "dev", "regulated")

    assert "changing whose key encrypts Redis" in told(found, "mind")
    assert "redis-" not in told(found, "stop")


def test_roles_that_stay_and_doors_that_open_are_told(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    assert "the data roles of the developer" in told(switch(cloud, endpoint, "team", "private"), "mind")
    cloud.resources.clear()
    assert "the profile team opens them" in told(switch(cloud, endpoint, "private", "team"), "mind")


@pytest.mark.parametrize(
    "changed", [{"AZURE_LOCATION": "norwayeast"}, {"AZURE_ENV_NAME": "other"}], ids=["another region", "another name"]
)
def test_an_environment_that_would_be_built_anew_beside_its_data_stops(
    changed: dict[str, str], azd: Azd, endpoint: str
) -> None:
    found = look(environment("dev", endpoint, AZURE_RESOURCE_GROUP="rg-memory-akiio2eb", **changed))

    assert "would be built again, empty" in told(found, "stop")


def _serverless(account: dict[str, Any]) -> None:
    account["capabilities"] = [{"name": "EnableServerless"}]


def _free(account: dict[str, Any]) -> None:
    account["enableFreeTier"] = True


def _elsewhere(account: dict[str, Any]) -> None:
    account["locations"] = [{"locationName": "Norway East", "failoverPriority": 0, "isZoneRedundant": False}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_serverless, "it is serverless, and cannot become autoscale"),
        (_free, "AZURE_COSMOS_FREE_TIER true"),
        (_elsewhere, "is in norwayeast, and would be in swedencentral"),
    ],
)
def test_an_account_that_was_made_otherwise_stops(
    change: Callable[[dict[str, Any]], None], words: str, azd: Azd, endpoint: str, cloud: Cloud
) -> None:
    cloud.build(snapshot("dev")["resources"])
    account = next(body for path, body in cloud.resources.items() if path.endswith("/cosmos-memory-akiio2eb"))
    change(account["properties"])

    assert words in told(look(environment("dev", endpoint)), "stop")


def test_a_redis_that_is_cut_otherwise_stops(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    cloud.build(snapshot("dev")["resources"])
    database = next(body for path, body in cloud.resources.items() if path.endswith("/databases/default"))
    database["properties"]["clusteringPolicy"] = "EnterpriseCluster"

    assert "cannot become OSSCluster" in told(look(environment("dev", endpoint)), "stop")
