"""The check before provisioning, against a small Resource Manager over HTTP, with an azd on PATH that gives a token."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from infra.hooks.preflight.arm import Arm, CannotLookError
from infra.hooks.preflight.findings import Finding, stops
from infra.hooks.preflight.naming import names, unique_string
from infra.hooks.preflight.region import providers
from infra.hooks.preflight.wants import PROFILES, wants
from infra.hooks.preprovision import look
from tests.infra.arm_server import SUBSCRIPTION, TOKEN, Cloud, serving
from tests.infra.built import ROOT

HOOK: Final = ROOT / "infra" / "hooks" / "preprovision.py"


def snapshot(profile: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "infra" / "snapshots" / f"{profile}.json").read_text(encoding="utf-8"))
    return found


def environment(profile: str, endpoint: str, **changed: str) -> dict[str, str]:
    """The azd environment of a snapshot's profile."""
    second = {"AZURE_SECOND_LOCATION": "germanywestcentral"} if profile == "regulated" else {}
    return {
        "AZURE_ENV_NAME": "memory",
        "AZURE_LOCATION": "swedencentral",
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_THERMOCLINE_PROFILE": profile,
        "AZURE_ALERT_EMAILS": "memory-operators@example.com",
        "AZURE_API_AUDIENCE": "api://memory",
        "AZURE_RESOURCE_MANAGER_ENDPOINT": endpoint,
        **second,
        **changed,
    }


@dataclass
class Azd:
    """An azd on PATH that knows the operator, and writes down what it is told to remember."""

    folder: Path

    @property
    def remembered(self) -> list[str]:
        notes = self.folder / "notes"
        return notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []


@pytest.fixture
def azd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Azd:
    program = tmp_path / "azd"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "if sys.argv[1:] == ['auth', 'token', '--output', 'json']:\n"
        f"    print(json.dumps({{'token': {TOKEN!r}, 'expiresOn': '2026-11-21T00:00:00Z'}}))\n"
        "elif sys.argv[1:3] == ['env', 'set']:\n"
        f"    open({str(tmp_path / 'notes')!r}, 'a').write(' '.join(sys.argv[3:]) + chr(10))\n"
        "else:\n"
        "    sys.exit(2)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    return Azd(tmp_path)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def endpoint(cloud: Cloud) -> Iterator[str]:
    with serving(cloud) as url:
        yield url


def told(findings: list[Finding], grade: str) -> str:
    return "\n".join(str(finding) for finding in findings if finding.grade == grade)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_subscription_that_has_everything_passes(profile: str, azd: Azd, endpoint: str, cloud: Cloud) -> None:
    found = look(environment(profile, endpoint))

    assert (told(found, "stop"), told(found, "unseen"), told(found, "mind")) == ("", "", "")
    assert len(cloud.asked) > 20


def _without_flex(cloud: Cloud) -> None:
    del cloud.flex["Sweden Central"]


def _flex_without_zones(cloud: Cloud) -> None:
    cloud.flex["Sweden Central"] = "LINUX;FLEXCONSUMPTION"


def _closed(cloud: Cloud) -> None:
    cloud.cosmos["swedencentral"]["isSubscriptionRegionAccessAllowedForRegular"] = False


def _second_closed(cloud: Cloud) -> None:
    cloud.cosmos["germanywestcentral"]["isSubscriptionRegionAccessAllowedForAz"] = False


def _no_zones(cloud: Cloud) -> None:
    cloud.cosmos["germanywestcentral"]["supportsAvailabilityZone"] = False


def _no_cosmos(cloud: Cloud) -> None:
    del cloud.cosmos["swedencentral"]


def _no_geo_zones(cloud: Cloud) -> None:
    del cloud.storage["Standard_GZRS"]


def _restricted(cloud: Cloud) -> None:
    cloud.storage["Standard_LRS"] = [{"type": "location", "reasonCode": "NotAvailableForSubscription"}]


def _contributor(cloud: Cloud) -> None:
    cloud.permissions = [
        {"actions": ["*"], "notActions": ["Microsoft.Authorization/*/Write", "Microsoft.Authorization/*/Delete"]}
    ]


def _role_giver(cloud: Cloud) -> None:
    _contributor(cloud)
    cloud.permissions += [{"actions": ["Microsoft.Authorization/roleAssignments/write", "*/read"], "notActions": []}]


def _reader(cloud: Cloud) -> None:
    cloud.permissions = [{"actions": ["*/read"], "notActions": []}]


def _vault_deleted(cloud: Cloud) -> None:
    cloud.deleted_vaults["kv-memory-akiio2eb"] = {"scheduledPurgeDate": "2027-02-19T00:00:00Z"}


def _vault_protected(cloud: Cloud) -> None:
    cloud.deleted_vaults["kv-memory-akiio2eb"] = {
        "scheduledPurgeDate": "2027-02-19T00:00:00Z",
        "purgeProtectionEnabled": True,
    }


TROUBLES: list[tuple[str, Callable[[Cloud], None], str]] = [
    (
        "dev",
        lambda cloud: cloud.unregistered.add("Microsoft.Cache"),
        "az provider register --namespace Microsoft.Cache",
    ),
    (
        "private",
        lambda cloud: cloud.unregistered.add("Microsoft.App"),
        "az provider register --namespace Microsoft.App",
    ),
    ("dev", lambda cloud: cloud.not_offered.add("Microsoft.Cache/redisEnterprise"), "not offered in swedencentral"),
    ("dev", _without_flex, "Flex Consumption plan of Functions is not offered in swedencentral"),
    ("regulated", _flex_without_zones, "with zone redundancy is not offered"),
    ("dev", _closed, "may not create Cosmos DB accounts in swedencentral"),
    ("regulated", _second_closed, "may not create Cosmos DB accounts in germanywestcentral with zones"),
    ("regulated", _no_zones, "Cosmos DB has no zones in germanywestcentral"),
    ("dev", _no_cosmos, "Cosmos DB is not offered in swedencentral"),
    ("regulated", _no_geo_zones, "kind Standard_GZRS are not offered"),
    ("dev", _restricted, "kind Standard_LRS are not offered"),
    ("dev", _contributor, "you may not do Microsoft.Authorization/roleAssignments/write"),
    ("regulated", _role_giver, "you may not do Microsoft.Authorization/locks/write"),
    ("dev", _reader, "you may not do Microsoft.Resources/deployments/write"),
    ("dev", lambda cloud: cloud.taken.add("stcoldakiio2eb"), "stcoldakiio2eb is not free: It is in use."),
    ("dev", lambda cloud: cloud.taken.add("stmemoryapiakiio2eb"), "stmemoryapiakiio2eb is not free"),
    ("dev", lambda cloud: cloud.taken.add("kv-memory-akiio2eb"), "kv-memory-akiio2eb is not free"),
    (
        "dev",
        lambda cloud: cloud.taken.add("func-memory-worker-memory-akiio2eb"),
        "func-memory-worker-memory-akiio2eb is not free",
    ),
    ("dev", lambda cloud: cloud.taken.add("cosmos-memory-akiio2eb"), "another Cosmos DB account has it"),
    ("dev", _vault_deleted, "az keyvault recover --name kv-memory-akiio2eb, or az keyvault purge"),
    ("regulated", _vault_protected, "protected against purging; or wait until 2027-02-19"),
]


@pytest.mark.parametrize(("profile", "trouble", "words"), TROUBLES)
def test_what_would_fail_stops_before_anything_is_built(
    profile: str, trouble: Callable[[Cloud], None], words: str, azd: Azd, endpoint: str, cloud: Cloud
) -> None:
    trouble(cloud)

    assert words in told(look(environment(profile, endpoint)), "stop")


def test_a_role_that_gives_roles_is_enough_without_locks(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    _role_giver(cloud)

    assert told(look(environment("team", endpoint)), "stop") == ""


def test_a_quota_that_is_nearly_used_up_is_told_and_stops_nothing(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    cloud.usages["Microsoft.Storage"][0]["currentValue"] = 247

    found = look(environment("dev", endpoint))

    assert "247 of 250 StorageAccounts are used" in told(found, "mind")
    assert stops(found) == []


def test_an_unknown_region_is_answered_with_those_there_are(azd: Azd, endpoint: str) -> None:
    found = told(look(environment("dev", endpoint, AZURE_LOCATION="westmars")), "stop")

    assert "knows no region westmars" in found
    assert "germanywestcentral" in found


OUT_OF_RANGE = [
    ({"AZURE_THERMOCLINE_PROFILE": "production"}, "there is no profile 'production'"),
    ({"AZURE_ENV_NAME": "Memory of all"}, "'Memory of all' cannot be part of the resources' names"),
    ({"AZURE_ENV_NAME": "memory--x"}, "cannot be part of the resources' names"),
    ({"AZURE_ENV_NAME": "thermocline-production"}, "2 to 12 small letters"),
    ({"AZURE_SUBSCRIPTION_ID": ""}, "AZURE_SUBSCRIPTION_ID is no subscription's id"),
    ({"AZURE_LOCATION": "Sweden Central"}, "AZURE_LOCATION 'Sweden Central' is no region's name"),
    ({"AZURE_ALERT_EMAILS": ""}, "AZURE_ALERT_EMAILS names nobody to tell"),
    ({"AZURE_ALERT_EMAILS": "a@example.com, b at example.com"}, "b at example.com is no e-mail address"),
    ({"AZURE_MONTHLY_BUDGET": "1e3"}, "AZURE_MONTHLY_BUDGET '1e3' is no whole number"),
    ({"AZURE_MONTHLY_BUDGET": "1000001"}, "is no whole number from 0 to 1000000"),
    ({"AZURE_BUDGET_START": "2026-11-21"}, "not the first day of a month"),
    ({"AZURE_COSMOS_FREE_TIER": "yes"}, "AZURE_COSMOS_FREE_TIER is 'yes'"),
    ({"AZURE_EMBEDDINGS": "1"}, "AZURE_EMBEDDINGS is '1'"),
    ({"AZURE_PRINCIPAL_TYPE": "Robot"}, "AZURE_PRINCIPAL_TYPE is 'Robot'"),
    ({"AZURE_API_TENANTS": "contoso.com"}, "contoso.com is no tenant's id"),
    ({"AZURE_GITHUB_SUBJECTS": "repo:a/b"}, "AZURE_GITHUB_SUBJECTS is no JSON list"),
    ({"AZURE_SECOND_LOCATION": ""}, "keeps a second copy of Cosmos DB"),
    ({"AZURE_SECOND_LOCATION": "swedencentral"}, "another region than AZURE_LOCATION"),
]


@pytest.mark.parametrize(("changed", "words"), OUT_OF_RANGE)
def test_what_is_out_of_range_stops_and_asks_azure_nothing(
    changed: dict[str, str], words: str, azd: Azd, endpoint: str, cloud: Cloud
) -> None:
    found = look(environment("regulated", endpoint, **changed))

    assert words in told(found, "stop")
    assert all(finding.do for finding in stops(found))
    assert cloud.asked == []


def test_what_is_set_for_nothing_is_told(azd: Azd, endpoint: str) -> None:
    found = look(environment("dev", endpoint, AZURE_SECOND_LOCATION="norwayeast", AZURE_API_AUDIENCE=""))

    assert "has one region: it is not used" in told(found, "mind")
    assert "memory-api and agent-sample will answer no call" in told(found, "mind")
    assert stops(found) == []


# --- what is there already -------------------------------------------------------------------------------------------

SWITCHES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("team", "dev"): ("redis-memory-akiio2eb: Redis has a replica",),
    ("private", "dev"): ("redis-memory-akiio2eb: Redis has a replica",),
    ("dev", "regulated"): (
        "redis-memory-akiio2eb: Redis is encrypted with Microsoft's key",
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


# --- what cannot be looked at ----------------------------------------------------------------------------------------


def test_what_may_not_be_read_is_said_and_stops_nothing(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    cloud.forbidden |= {"/providers/", "/locations", "/resourceGroups/"}

    found = look(environment("team", endpoint))

    assert stops(found) == []
    assert "your rights: Azure Resource Manager answers 403 AuthorizationFailed" in told(found, "unseen")
    assert told(found, "fine") == ""


def test_answers_that_nobody_understands_are_said_and_stop_nothing(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    cloud.garbled = True

    found = look(environment("dev", endpoint))

    assert stops(found) == []
    assert "names: Azure Resource Manager answers 200 with something that is no JSON" in told(found, "unseen")


def test_answers_of_another_shape_are_said_and_stop_nothing(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    cloud.usages["Microsoft.Storage"] = [{"count": 3}]

    found = look(environment("dev", endpoint))

    assert stops(found) == []
    assert "quotas: Azure's answer is not understood (KeyError" in told(found, "unseen")


def test_without_a_network_it_goes_on(azd: Azd) -> None:
    with serving(Cloud()) as endpoint:
        closed = endpoint

    found = look(environment("dev", closed))

    assert stops(found) == []
    assert "does not answer" in told(found, "unseen")


def test_without_a_sign_in_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    found = look(environment("dev", ""))

    assert "neither azd auth login nor az login gives a token" in told(found, "unseen")
    assert stops(found) == []


def test_the_token_goes_nowhere_without_tls() -> None:
    with pytest.raises(CannotLookError, match="is not https"):
        Arm(TOKEN, "http://management.example.com")


# --- the command -----------------------------------------------------------------------------------------------------


def run(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    given = {**variables, "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, str(HOOK)], env=given, cwd=HOOK.parent, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_hook_pins_the_budgets_month_once(azd: Azd, endpoint: str) -> None:
    first = run(environment("team", endpoint))
    again = run(environment("team", endpoint, AZURE_BUDGET_START="2026-11-01"))

    assert (first.returncode, again.returncode) == (0, 0), first.stdout + first.stderr
    assert len(azd.remembered) == 1
    name, month, *rest = azd.remembered[0].split()
    assert (name, month[7:], rest) == ("AZURE_BUDGET_START", "-01", ["--environment", "memory"])
    assert TOKEN not in first.stdout + first.stderr


def test_the_hook_stops_azd(azd: Azd, endpoint: str, cloud: Cloud) -> None:
    _reader(cloud)

    done = run(environment("dev", endpoint))

    assert done.returncode == 1
    assert "Nothing was built" in done.stdout
    assert azd.remembered == []


# --- what the hook knows of the Bicep --------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_the_hook_computes_the_names_that_the_bicep_gives(profile: str) -> None:
    built = {one["name"] for one in snapshot(profile)["resources"] if not one["existing"]}
    found = names(SUBSCRIPTION, "memory", "swedencentral")

    assert {found.group, found.redis, found.cosmos, found.cold, found.vault, *found.hosts, *found.sites} <= built


def test_a_name_is_cut_into_eights_as_azure_cuts_it() -> None:
    # worked out with the checker's own implementation, for ends of every length
    assert unique_string("a", "b") == "i3z4v3sp6aooa"
    assert len({unique_string("x" * length) for length in range(32)}) == 32


@pytest.mark.parametrize("profile", PROFILES)
def test_the_hook_asks_for_every_provider_that_the_bicep_uses(profile: str) -> None:
    used = {one["type"].split("/")[0] for one in snapshot(profile)["resources"]}
    wanted = wants(environment(profile, ""))
    implied = {"Microsoft.App"}  # the subnets of the apps are delegated to it

    assert used - set(providers(wanted)) == set()
    assert set(providers(wanted)) - used - implied - {"Microsoft.Consumption"} == set()
