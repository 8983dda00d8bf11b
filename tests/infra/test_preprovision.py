"""The check before provisioning, against a small Resource Manager over HTTP, with an azd on PATH that gives a token."""

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from infra.hooks.preflight.arm import Arm, CannotLookError
from infra.hooks.preflight.budget import budget_start
from infra.hooks.preflight.findings import stops
from infra.hooks.preflight.naming import names, unique_string
from infra.hooks.preflight.region import providers
from infra.hooks.preflight.wants import PROFILES, wants
from infra.hooks.preprovision import look
from tests.infra.arm_server import SUBSCRIPTION, TOKEN, Cloud, serving
from tests.infra.built import ROOT, snapshot
from tests.infra.operating import Azd, environment, told

HOOK: Final = ROOT / "infra" / "hooks" / "preprovision.py"


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
    month = azd.remembered[0].split()[1]
    again = run(environment("team", endpoint, AZURE_BUDGET_START=month))
    none = run(environment("dev", endpoint))

    assert (first.returncode, again.returncode, none.returncode) == (0, 0, 0), first.stdout + first.stderr
    assert len(azd.remembered) == 1
    name, month, *rest = azd.remembered[0].split()
    assert (name, month[7:], rest) == ("AZURE_BUDGET_START", "-01", ["--environment", "memory"])
    assert TOKEN not in first.stdout + first.stderr


START: Final = [
    pytest.param("dev", {}, False, None, id="no budget"),
    pytest.param("dev", {"AZURE_MONTHLY_BUDGET": "50"}, False, "2027-03-01", id="a budget of one's own"),
    pytest.param("team", {"AZURE_MONTHLY_BUDGET": "0"}, False, None, id="none by wish"),
    pytest.param("team", {}, False, "2027-03-01", id="a new one"),
    pytest.param(
        "team", {"AZURE_BUDGET_START": "2026-11-01"}, False, "2027-03-01", id="pinned long before it is built"
    ),
    pytest.param("team", {"AZURE_BUDGET_START": "2027-06-01"}, False, "2027-06-01", id="of a later month"),
    pytest.param("team", {"AZURE_BUDGET_START": "2026-11-01"}, True, "2026-11-01", id="the second run"),
    pytest.param("team", {}, True, "2026-11-01", id="an environment made anew"),
]


@pytest.mark.parametrize(("profile", "changed", "there", "start"), START)
def test_a_budget_begins_when_azure_takes_it_and_then_stays(
    profile: str, changed: dict[str, str], there: bool, start: str | None, endpoint: str, cloud: Cloud
) -> None:
    if there:
        cloud.build(snapshot("team")["resources"])
    wanted = wants(environment(profile, endpoint, **changed))

    assert budget_start(Arm(TOKEN, endpoint), wanted, dt.date(2027, 3, 17)) == start


def test_without_a_look_the_pinned_month_stays(endpoint: str, cloud: Cloud) -> None:
    cloud.forbidden = {"Microsoft.Consumption/budgets"}
    pinned = wants(environment("team", endpoint, AZURE_BUDGET_START="2026-11-01"))

    assert budget_start(Arm(TOKEN, endpoint), pinned, dt.date(2027, 3, 17)) == "2026-11-01"
    assert budget_start(None, pinned, dt.date(2027, 3, 17)) == "2026-11-01"
    assert budget_start(None, wants(environment("team", endpoint)), dt.date(2027, 3, 17)) == "2027-03-01"


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
    assert (found.budget in built) == (profile != "dev")


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
