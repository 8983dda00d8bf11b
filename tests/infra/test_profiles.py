"""Each profile keeps what it promises, and each check of it is shown to bite."""

import copy
from typing import Any, Final

import pytest
from tests.infra import invariants as inv
from tests.infra.built import ROOT, Break, Built, change, of, read, without
from tests.infra.invariants import Invariant, moves_in_place

PROFILES: Final = ("dev", "team", "private", "regulated")
KEPT: Final = [(profile, check) for profile in PROFILES for check in inv.OF_PROFILE[profile]]


def built_by(profile: str) -> Built:
    return read(ROOT / "infra" / "snapshots" / f"{profile}.json")


def in_another_place(kind: str, path: str, value: Any) -> Break:
    """Changes the last resource of the type."""
    return change(kind, path, value, -1)


@pytest.mark.parametrize(("profile", "check"), KEPT, ids=lambda one: getattr(one, "__name__", one))
def test_the_profile_keeps_it(profile: str, check: Invariant) -> None:
    assert list(check(built_by(profile))) == []


def double(built: Built) -> None:
    built.append(copy.deepcopy(of(built, inv.STORAGE)[0]))


def reader_of_keys(built: Built) -> None:
    settings = of(built, inv.CONFIG)[0]["body"]["properties"]
    settings["BLOB_ACCOUNT_URL"] = {"$ref": "listKeys('x', '2025-08-01').keys[0].value"}


def signed_url(built: Built) -> None:
    of(built, inv.CONFIG)[1]["body"]["properties"]["BLOB_ACCOUNT_URL"] = "https://x.example/?sv=2025&sig=abc"


def no_lifetime_actions(built: Built) -> None:
    del of(built, inv.KEY)[0]["body"]["properties"]["rotationPolicy"]


def deletes_payloads(built: Built) -> None:
    rules = of(built, inv.POLICY)[0]["body"]["properties"]["policy"]["rules"]
    rules[0]["definition"]["actions"]["baseBlob"]["delete"] = {"daysAfterModificationGreaterThan": 365}


def archives_payloads(built: Built) -> None:
    rules = of(built, inv.POLICY)[0]["body"]["properties"]["policy"]["rules"]
    rules[0]["definition"]["actions"]["baseBlob"]["tierToArchive"] = {"daysAfterModificationGreaterThan": 180}


def no_versions(built: Built) -> None:
    memory = inv.cold(built)["name"]
    blobs = next(one for one in of(built, inv.BLOBS) if one["name"].startswith(memory))
    blobs["body"]["properties"]["isVersioningEnabled"] = False


def fails_over_to_itself(built: Built) -> None:
    for place in of(built, inv.COSMOS)[0]["body"]["properties"]["locations"]:
        place["failoverPriority"] = 1 - place["failoverPriority"]


def cold_here_alone(built: Built) -> None:
    inv.cold(built)["body"]["sku"]["name"] = "Standard_ZRS"


def lock_of(kind: str) -> Break:
    def act(built: Built) -> None:
        target = of(built, kind)[0]["id"]
        built.remove(next(one for one in of(built, inv.LOCK) if one["scope"] == target))

    return act


def untold(kind: str) -> Break:
    def act(built: Built) -> None:
        target = of(built, kind)[-1]["id"]
        built.remove(next(one for one in of(built, inv.DIAGNOSTICS) if one["scope"] == target))

    return act


def tells_nothing(built: Built) -> None:
    setting = of(built, inv.DIAGNOSTICS)[0]["body"]["properties"]
    setting["logs"] = [{"categoryGroup": "allLogs", "enabled": False}]
    setting["metrics"] = []


BROKEN: Final[list[tuple[Invariant, str, Break]]] = [
    (inv.no_keys, "dev", change(inv.DATABASE, "properties.accessKeysAuthentication", "Enabled")),
    (inv.no_keys, "dev", change(inv.COSMOS, "properties.disableLocalAuth", None)),
    (inv.no_keys, "dev", change(inv.COSMOS, "properties.disableKeyBasedMetadataWriteAccess", False)),
    (inv.no_keys, "dev", in_another_place(inv.STORAGE, "properties.allowSharedKeyAccess", True)),
    (inv.no_keys, "dev", change(inv.VAULT, "properties.enableRbacAuthorization", False)),
    (inv.no_keys, "dev", change(inv.INSIGHTS, "properties.DisableLocalAuth", False)),
    (inv.no_keys, "dev", change(inv.WORKSPACE, "properties.features.disableLocalAuth", False)),
    (inv.no_keys, "dev", in_another_place(inv.DOORS, "properties.allow", True)),
    (inv.no_keys, "dev", without(inv.DOORS)),
    (inv.no_keys, "dev", change(inv.SITE, "identity.type", "SystemAssigned")),
    (inv.tls, "dev", change(inv.REDIS, "properties.minimumTlsVersion", "1.0")),
    (inv.tls, "dev", change(inv.DATABASE, "properties.clientProtocol", "Plaintext")),
    (inv.tls, "dev", change(inv.COSMOS, "properties.minimalTlsVersion", "Tls11")),
    (inv.tls, "dev", in_another_place(inv.STORAGE, "properties.supportsHttpsTrafficOnly", False)),
    (inv.tls, "dev", change(inv.SITE, "properties.httpsOnly", False)),
    (inv.tls, "dev", in_another_place(inv.SITE, "properties.siteConfig.scmMinTlsVersion", "1.0")),
    (inv.no_anonymous_blobs, "dev", change(inv.STORAGE, "properties.allowBlobPublicAccess", True)),
    (inv.no_anonymous_blobs, "dev", in_another_place(f"{inv.BLOBS}/containers", "properties.publicAccess", "Blob")),
    (inv.no_secrets, "dev", change(inv.CONFIG, "properties.COSMOS_KEY", "x")),
    (
        inv.no_secrets,
        "dev",
        in_another_place(inv.CONFIG, "properties.AzureWebJobsStorage", "DefaultEndpointsProtocol=https;AccountKey=x"),
    ),
    (inv.no_secrets, "dev", reader_of_keys),
    (inv.no_secrets, "dev", signed_url),
    (inv.diagnosed, "dev", untold(inv.COSMOS)),
    (inv.diagnosed, "dev", untold(inv.BLOBS)),
    (inv.diagnosed, "private", untold("Microsoft.Network/networkSecurityGroups")),
    (inv.diagnosed, "dev", change(inv.DIAGNOSTICS, "properties.workspaceId", "/another", -1)),
    (inv.diagnosed, "dev", tells_nothing),
    (inv.tagged, "dev", change(inv.COSMOS, "tags.profile", None)),
    (inv.tagged, "dev", change(inv.GROUP, "tags", {})),
    (inv.named, "dev", double),
    (inv.kept, "dev", change(inv.COSMOS, "properties.backupPolicy.type", "Periodic")),
    (inv.kept, "dev", change(inv.COSMOS, "properties.enableMultipleWriteLocations", True)),
    (inv.kept, "dev", change(inv.COSMOS, "properties.consistencyPolicy.defaultConsistencyLevel", "Eventual")),
    (inv.kept, "dev", change(inv.VAULT, "properties.enableSoftDelete", False)),
    (inv.kept, "dev", change(inv.BLOBS, "properties.deleteRetentionPolicy.enabled", False)),
    (inv.kept, "dev", change(inv.BLOBS, "properties.deleteRetentionPolicy.allowPermanentDelete", True)),
    (inv.kept, "dev", no_versions),
    (inv.payloads_stay, "dev", deletes_payloads),
    (inv.payloads_stay, "dev", archives_payloads),
    (inv.watched, "team", without(inv.BUDGET)),
    (inv.watched, "team", change(inv.BUDGET, "properties.notifications.actual80", None)),
    (inv.watched, "team", change(inv.BUDGET, "properties.notifications.forecast100.threshold", 120)),
    (inv.watched, "team", change(inv.ACTIONS, "properties.emailReceivers", [])),
    (inv.closed, "private", change(inv.REDIS, "properties.publicNetworkAccess", "Enabled")),
    (inv.closed, "private", change(inv.COSMOS, "properties.publicNetworkAccess", None)),
    (inv.closed, "private", in_another_place(inv.STORAGE, "properties.networkAcls.defaultAction", "Allow")),
    (inv.closed, "private", change(inv.VAULT, "properties.publicNetworkAccess", "Enabled")),
    (inv.closed, "private", change(inv.SITE, "properties.publicNetworkAccess", "Enabled", 1)),
    (inv.closed, "private", change(inv.WORKSPACE, "properties.publicNetworkAccessForQuery", "Enabled")),
    (inv.own_keys, "regulated", change(inv.VAULT, "properties.enablePurgeProtection", None)),
    (inv.own_keys, "regulated", change(inv.REDIS, "properties.encryption", None)),
    (inv.own_keys, "regulated", change(inv.COSMOS, "properties.keyVaultKeyUri", None)),
    (inv.own_keys, "regulated", in_another_place(inv.STORAGE, "properties.encryption.keySource", "Microsoft.Storage")),
    (inv.own_keys, "regulated", change(inv.COSMOS, "identity", {"type": "None"})),
    (inv.own_keys, "regulated", no_lifetime_actions),
    (inv.zones, "regulated", change(inv.COSMOS, "properties.locations.1.isZoneRedundant", False)),
    (inv.zones, "regulated", in_another_place(inv.STORAGE, "sku.name", "Standard_LRS")),
    (inv.zones, "regulated", change(inv.PLAN, "properties.zoneRedundant", False)),
    (inv.zones, "regulated", change(inv.REDIS, "properties.highAvailability", "Disabled")),
    (inv.two_regions, "regulated", change(inv.COSMOS, "properties.locations.1.locationName", "swedencentral")),
    (inv.two_regions, "regulated", fails_over_to_itself),
    (inv.two_regions, "regulated", cold_here_alone),
    (inv.locked, "regulated", lock_of(inv.COSMOS)),
    (inv.locked, "regulated", lock_of(inv.VAULT)),
    (inv.locked, "regulated", change(inv.LOCK, "properties.level", "ReadOnly")),
    (inv.logged_for_a_year, "regulated", change(inv.WORKSPACE, "properties.retentionInDays", 90)),
    (inv.logged_for_a_year, "regulated", change(inv.WORKSPACE, "properties.workspaceCapping.dailyQuotaGb", 10)),
    (inv.logged_for_a_year, "regulated", untold(inv.COSMOS)),
]


@pytest.mark.parametrize(("check", "profile", "break_it"), BROKEN)
def test_the_check_bites(check: Invariant, profile: str, break_it: Break) -> None:
    built = built_by(profile)
    break_it(built)

    assert list(check(built)) != []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (inv.STORAGE, "stmemoryworkerinproduction"),
        (inv.VAULT, "kv-memory--akiio2eb"),
        (inv.COSMOS, "Cosmos-memory"),
        (inv.REDIS, "redis-memory-"),
        (inv.SITE, "func-" + "x" * 60),
    ],
)
def test_a_name_against_azures_rules_is_caught(kind: str, name: str) -> None:
    built = built_by("dev")
    of(built, kind)[0]["name"] = name

    assert list(inv.named(built)) == [f"{name} is no name for {kind}"]


def test_every_check_is_shown_to_bite() -> None:
    shown = {check for check, _, _ in BROKEN}

    assert {check.__name__ for checks in inv.OF_PROFILE.values() for check in checks if check not in shown} == set()


# --- from one profile to another -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [("dev", "team"), ("dev", "private"), ("team", "private")])
def test_a_step_up_replaces_nothing_that_holds_data(before: str, after: str) -> None:
    assert list(moves_in_place(built_by(before), built_by(after))) == []


@pytest.mark.parametrize(
    "break_it",
    [
        change(inv.CONTAINER, "properties.resource.partitionKey.paths", ["/tenant"]),
        change(inv.COSMOS, "properties.capabilities", [{"name": "EnableServerless"}]),
        change(inv.COSMOS, "properties.backupPolicy.continuousModeProperties.tier", "Continuous30Days"),
        change(inv.STORAGE, "sku.name", "Standard_ZRS"),
        change(inv.DATABASE, "properties.clusteringPolicy", "EnterpriseCluster"),
        change(inv.REDIS, "location", "norwayeast"),
        without(inv.COSMOS),
        without(inv.IDENTITY, 1),
        without(f"{inv.STORAGE}/tableServices/tables"),
    ],
)
def test_a_step_that_would_replace_data_is_caught(break_it: Break) -> None:
    after = built_by("team")
    break_it(after)

    assert list(moves_in_place(built_by("dev"), after)) != []


def test_the_step_to_regulated_is_none() -> None:
    assert list(moves_in_place(built_by("team"), built_by("regulated"))) != []
