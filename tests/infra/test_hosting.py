"""The Functions apps of every profile: a plan, an identity and a storage account of their own, no password, no plain HTTP, code where azd puts it."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.infra.built import ROOT, SNAPSHOTS, Break, Built, Resource, change, of, read, tag, without

APPS = set(json.loads((ROOT / "infra/contract.json").read_text(encoding="utf-8"))["apps"])
PLAN, SITE = "Microsoft.Web/serverfarms", "Microsoft.Web/sites"
CONFIG, PUBLISHING = f"{SITE}/config", f"{SITE}/basicPublishingCredentialsPolicies"
ACCOUNT = "Microsoft.Storage/storageAccounts"
CONTAINER = f"{ACCOUNT}/blobServices/containers"
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
AUTHENTICATION = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"


def each_app_is_hosted(built: Built) -> Iterator[str]:
    """Each app of the contract has one site, which azd finds by its tag."""
    found = sorted(str(tag(site, "azd-service-name")) for site in of(built, SITE))
    if found != sorted(APPS):
        yield f"sites are there for {found}, not for {sorted(APPS)}"


def plans(built: Built) -> Iterator[str]:
    """Flex Consumption takes one app for each plan; the app runs on the Python that its packages are built for."""
    flex = {one["id"] for one in of(built, PLAN) if one["body"]["sku"] == {"name": "FC1", "tier": "FlexConsumption"}}
    used: set[str] = set()
    for name, site in _sites(built):
        if site["serverFarmId"] not in flex:
            yield f"{name} is on no plan of Flex Consumption"
        if site["serverFarmId"] in used:
            yield f"{name} shares its plan"
        used.add(site["serverFarmId"])
        if site["functionAppConfig"]["runtime"] != {"name": "python", "version": "3.13"}:
            yield f"{name} has another runtime"


def identities(built: Built) -> Iterator[str]:
    """An app acts as one identity, which no other app has, also for its package and for Key Vault."""
    used: set[str] = set()
    for site in of(built, SITE):
        name, identity = site["name"], site["body"]["identity"]
        (own, *others) = identity["userAssignedIdentities"]
        if identity["type"] != "UserAssigned" or others:
            yield f"{name} has more than one identity"
        if own in used:
            yield f"{name} shares its identity"
        used.add(own)
        properties = site["body"]["properties"]
        storage = properties["functionAppConfig"]["deployment"]["storage"]["authentication"]
        if storage != {"type": "UserAssignedIdentity", "userAssignedIdentityResourceId": own}:
            yield f"{name} reads its package otherwise than by its identity"
        if properties["keyVaultReferenceIdentity"] != own:
            yield f"{name} reads secrets as somebody else"


def names_itself(built: Built) -> Iterator[str]:
    """Whatever the host or the app signs in to, it names its own identity there: with another's client id every sign-in fails."""
    paths = {one["id"]: one["path"] for one in of(built, IDENTITY)}
    settings = {one["name"]: one["body"]["properties"] for one in of(built, CONFIG)}
    for site in of(built, SITE):
        (own, *_) = site["body"]["identity"]["userAssignedIdentities"]
        if f"/id-{tag(site, 'azd-service-name')}-" not in own:
            yield f"{site['name']} acts as {own.rsplit('/', 1)[-1]}"
        mine = f"{paths[own]}.properties.clientId"
        told = {name: _text(value) for name, value in settings[f"{site['name']}/appsettings"].items()}
        asked = {name: text for name, text in told.items() if "client" in name.lower() or "clientId" in text}
        if {"AZURE_CLIENT_ID", "AzureWebJobsStorage__clientId", AUTHENTICATION} - asked.keys():
            yield f"{site['name']} does not say as whom it signs in"
        yield from (f"{site['name']}: {name} is another's" for name, text in asked.items() if mine not in text)


def transport(built: Built) -> Iterator[str]:
    """TLS 1.2 and nothing less, and no door that opens to a password."""
    closed = {one["name"] for one in of(built, PUBLISHING) if one["body"]["properties"]["allow"] is False}
    for name, site in _sites(built):
        if site["httpsOnly"] is not True:
            yield f"{name} answers plain HTTP"
        if {site["siteConfig"].get("minTlsVersion"), site["siteConfig"].get("scmMinTlsVersion")} - {"1.2", "1.3"}:
            yield f"{name} takes an old TLS"
        for door in ("ftp", "scm"):
            if f"{name}/{door}" not in closed:
                yield f"{name} takes a password at {door}"


def storage(built: Built) -> Iterator[str]:
    """The host's storage is one app's alone, is not the memory's, and has the container that the package is read from."""
    settings = {one["name"]: one["body"]["properties"] for one in of(built, CONFIG)}
    accounts = {one["name"] for one in of(built, ACCOUNT)}
    containers = {one["name"] for one in of(built, CONTAINER)}
    used: set[str] = set()
    for name, site in _sites(built):
        own = settings.get(f"{name}/appsettings", {})
        account = own.get("AzureWebJobsStorage__accountName")
        if account not in accounts:
            yield f"{name} has no storage account {account}"
        if account in used:
            yield f"{name} shares its storage account"
        used.add(str(account))
        if f"{account}/default/{own.get('BLOB_CONTAINER')}" in containers:
            yield f"{name} keeps its package beside the memory"
        if "AzureWebJobsStorage" in own or own.get("AzureWebJobsStorage__credential") != "managedidentity":
            yield f"{name} opens its storage otherwise than by its identity"
        package = _text(site["functionAppConfig"]["deployment"]["storage"]["value"])
        if not any(one.startswith(f"{account}/") and package.endswith(one.rsplit("/", 1)[1]) for one in containers):
            yield f"{name} reads its package from {package}, which is no container of {account}"


def ready(built: Built) -> Iterator[str]:
    """Where instances are spread over zones, those kept ready are at least two, as Azure asks."""
    spread = {one["id"] for one in of(built, PLAN) if one["body"]["properties"]["zoneRedundant"]}
    for name, site in _sites(built):
        for group in site["functionAppConfig"]["scaleAndConcurrency"]["alwaysReady"]:
            if site["serverFarmId"] in spread and group["instanceCount"] < 2:
                yield f"{name} keeps {group['instanceCount']} ready over several zones"


def _sites(built: Built) -> Iterator[tuple[str, Resource]]:
    for site in of(built, SITE):
        yield site["name"], site["body"]["properties"]


def _text(value: Any) -> str:
    """A value, or the expression that Azure will make it of, without the quotes around it."""
    return str(value["$ref"]).strip("'") if isinstance(value, dict) else str(value)


CHECKS = (each_app_is_hosted, plans, identities, names_itself, transport, storage, ready)


@pytest.fixture(params=SNAPSHOTS, ids=lambda path: path.stem)
def built(request: pytest.FixtureRequest) -> Built:
    path: Path = request.param
    return read(path)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_apps_are_hosted_well(built: Built, check: Callable[[Built], Iterator[str]]) -> None:
    assert list(check(built)) == []


def test_there_are_snapshots_to_check() -> None:
    assert [path.stem for path in SNAPSHOTS] == ["dev", "private", "regulated", "team"]


def same(kind: str, place: str, source: int = 1) -> Break:
    """Gives the first resource what another one has."""

    def act(built: Built) -> None:
        at: Any = of(built, kind)[source]["body"]
        for part in place.split("."):
            at = at[part]
        change(kind, place, copy.deepcopy(at))(built)

    return act


def spread_thin(built: Built) -> None:
    one = next(one for one in of(built, PLAN) if one["id"] == of(built, SITE)[0]["body"]["properties"]["serverFarmId"])
    one["body"]["properties"]["zoneRedundant"] = True
    change(SITE, f"{CONFIGURED}.scaleAndConcurrency.alwaysReady", [{"name": "http", "instanceCount": 1}])(built)


CONFIGURED = "properties.functionAppConfig"
PACKAGE = f"{CONFIGURED}.deployment.storage"
HOST = "properties.AzureWebJobsStorage"
BROKEN = [
    (each_app_is_hosted, without(SITE), "sites are there for"),
    (each_app_is_hosted, change(SITE, "tags.azd-service-name", None), "sites are there for"),
    (plans, change(PLAN, "sku", {"name": "EP1", "tier": "ElasticPremium"}), "on no plan"),
    (plans, same(SITE, "properties.serverFarmId"), "shares its plan"),
    (plans, change(SITE, f"{CONFIGURED}.runtime.version", "3.9"), "another runtime"),
    (identities, change(SITE, "identity.type", "SystemAssigned, UserAssigned"), "more than one identity"),
    (identities, same(SITE, "identity"), "shares its identity"),
    (identities, change(SITE, f"{PACKAGE}.authentication.type", "StorageAccountConnectionString"), "reads its package"),
    (identities, change(SITE, "properties.keyVaultReferenceIdentity", "SystemAssigned"), "as somebody else"),
    (names_itself, same(CONFIG, "properties.AZURE_CLIENT_ID"), "AZURE_CLIENT_ID is another's"),
    (names_itself, same(CONFIG, f"{HOST}__clientId"), "AzureWebJobsStorage__clientId is another's"),
    (names_itself, change(CONFIG, f"properties.{AUTHENTICATION}", None), "does not say as whom"),
    (names_itself, same(SITE, "identity"), "acts as"),
    (transport, change(SITE, "properties.httpsOnly", False), "plain HTTP"),
    (transport, change(SITE, "properties.siteConfig.minTlsVersion", "1.0"), "old TLS"),
    (transport, change(SITE, "properties.siteConfig.scmMinTlsVersion", None), "old TLS"),
    (transport, change(PUBLISHING, "properties.allow", True), "takes a password at ftp"),
    (transport, without(PUBLISHING, 1), "takes a password at scm"),
    (storage, same(CONFIG, f"{HOST}__accountName"), "shares its storage account"),
    (storage, change(CONFIG, f"{HOST}__accountName", "stother"), "no storage account stother"),
    (storage, change(CONFIG, f"{HOST}__credential", None), "otherwise than by its identity"),
    (storage, change(CONFIG, HOST, "AccountKey=x"), "otherwise than by its identity"),
    (storage, change(SITE, f"{PACKAGE}.value", "https://elsewhere/packages"), "no container of"),
    (ready, spread_thin, "keeps 1 ready"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "breaks", "told"), BROKEN)
def test_a_badly_hosted_app_is_seen(
    built: Built, check: Callable[[Built], Iterator[str]], breaks: Break, told: str
) -> None:
    broken = copy.deepcopy(built)
    breaks(broken)
    found = list(check(broken))
    assert any(told in word for word in found), found


def test_a_package_beside_the_memory_is_seen(built: Built) -> None:
    broken = copy.deepcopy(built)
    cold = next(one["name"].split("/")[0] for one in of(built, CONTAINER) if one["name"].endswith("/memory"))
    change(CONFIG, f"{HOST}__accountName", cold)(broken)
    assert any("beside the memory" in word for word in storage(broken))
