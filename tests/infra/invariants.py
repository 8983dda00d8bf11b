"""What must hold of what a profile builds: small functions over a snapshot's resources, each of which yields what is wrong in words."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.infra.built import Built, Resource, of

Invariant = Callable[[Built], Iterator[str]]

REDIS: Final = "Microsoft.Cache/redisEnterprise"
DATABASE: Final = f"{REDIS}/databases"
COSMOS: Final = "Microsoft.DocumentDB/databaseAccounts"
CONTAINER: Final = f"{COSMOS}/sqlDatabases/containers"
STORAGE: Final = "Microsoft.Storage/storageAccounts"
BLOBS: Final = f"{STORAGE}/blobServices"
VAULT: Final = "Microsoft.KeyVault/vaults"
KEY: Final = f"{VAULT}/keys"
SITE: Final = "Microsoft.Web/sites"
PLAN: Final = "Microsoft.Web/serverfarms"
CONFIG: Final = f"{SITE}/config"
DOORS: Final = f"{SITE}/basicPublishingCredentialsPolicies"
INSIGHTS: Final = "Microsoft.Insights/components"
WORKSPACE: Final = "Microsoft.OperationalInsights/workspaces"
OPENAI: Final = "Microsoft.CognitiveServices/accounts"
IDENTITY: Final = "Microsoft.ManagedIdentity/userAssignedIdentities"
LOCK: Final = "Microsoft.Authorization/locks"
DIAGNOSTICS: Final = "Microsoft.Insights/diagnosticSettings"
BUDGET: Final = "Microsoft.Consumption/budgets"
ACTIONS: Final = "Microsoft.Insights/actionGroups"
POLICY: Final = f"{STORAGE}/managementPolicies"
GROUP: Final = "Microsoft.Resources/resourceGroups"


def properties(resource: Resource) -> dict[str, Any]:
    found: dict[str, Any] = resource["body"].get("properties", {})
    return found


def must(built: Built, kind: str, **wanted: Any) -> Iterator[str]:
    """Each resource of the type has these properties; a path has its dots written as ``__``."""
    for one in of(built, kind):
        for path, value in wanted.items():
            at: Any = properties(one)
            for part in path.split("__"):
                at = at.get(part) if isinstance(at, dict) else None
            if at != value:
                yield f"{one['name']}: {path.replace('__', '.')} is {at!r}, not {value!r}"


def cold(built: Built) -> Resource:
    """The account of cold memory: the one that has a lifecycle policy."""
    (policy,) = of(built, POLICY)
    name = policy["name"].split("/")[0]
    return next(one for one in of(built, STORAGE) if one["name"] == name)


# --- every profile ---------------------------------------------------------------------------------------------------


def no_keys(built: Built) -> Iterator[str]:
    """Nothing can be opened with a key, a password or a shared signature."""
    yield from must(built, DATABASE, accessKeysAuthentication="Disabled")
    yield from must(built, COSMOS, disableLocalAuth=True, disableKeyBasedMetadataWriteAccess=True)
    yield from must(built, STORAGE, allowSharedKeyAccess=False, isLocalUserEnabled=False)
    yield from must(built, VAULT, enableRbacAuthorization=True)
    yield from must(built, INSIGHTS, DisableLocalAuth=True)
    yield from must(built, WORKSPACE, features__disableLocalAuth=True)
    yield from must(built, OPENAI, disableLocalAuth=True)
    yield from must(built, DOORS, allow=False)
    for site in of(built, SITE):
        closed = {one["name"] for one in of(built, DOORS)}
        yield from (
            f"{site['name']} takes passwords at {way}"
            for way in ("ftp", "scm")
            if f"{site['name']}/{way}" not in closed
        )
        if site["body"]["identity"]["type"] != "UserAssigned":
            yield f"{site['name']} has no identity of its own"


def tls(built: Built) -> Iterator[str]:
    """TLS 1.2 or later, and nothing in the clear."""
    yield from must(built, REDIS, minimumTlsVersion="1.2")
    yield from must(built, DATABASE, clientProtocol="Encrypted")
    yield from must(built, COSMOS, minimalTlsVersion="Tls12")
    yield from must(built, STORAGE, minimumTlsVersion="TLS1_2", supportsHttpsTrafficOnly=True)
    yield from must(built, SITE, httpsOnly=True, siteConfig__minTlsVersion="1.2", siteConfig__scmMinTlsVersion="1.2")


def no_anonymous_blobs(built: Built) -> Iterator[str]:
    yield from must(built, STORAGE, allowBlobPublicAccess=False, allowCrossTenantReplication=False)
    yield from must(built, f"{BLOBS}/containers", publicAccess="None")


_SECRET_SETTING: Final = re.compile(r"(KEY|PASSWORD|SECRET|SAS|TOKEN|CONNECTION_?STRING)$", re.IGNORECASE)
_SECRET_CALL: Final = re.compile(
    r"\blist(Keys|Secrets|ConnectionStrings|AccountSas|ServiceSas|Credentials|HostKeys)?\(|getSecret\(|primaryKey|secondaryKey",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(r"AccountKey=|SharedAccessSignature|[?&]sig=|password=", re.IGNORECASE)
_NO_SECRET: Final = "APPLICATIONINSIGHTS_CONNECTION_STRING"


def no_secrets(built: Built) -> Iterator[str]:
    """No key or secret is read, written or named in what is built."""
    for one in built:
        text = json.dumps(one["body"])
        for pattern in (_SECRET_CALL, _SECRET_TEXT):
            yield from (f"{one['name']}: {found.group()}" for found in pattern.finditer(text))
    for one in of(built, CONFIG):
        yield from (
            f"{one['name']} gives {name}"
            for name in properties(one)
            if _SECRET_SETTING.search(name) and name != _NO_SECRET
        )


# What can send its logs or metrics to a workspace. Application Insights does not: its categories are the telemetry itself, which is in the workspace already.
DIAGNOSED: Final = (
    REDIS,
    DATABASE,
    COSMOS,
    STORAGE,
    BLOBS,
    f"{STORAGE}/queueServices",
    f"{STORAGE}/tableServices",
    VAULT,
    SITE,
    PLAN,
    WORKSPACE,
    OPENAI,
    "Microsoft.EventGrid/systemTopics",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/publicIPAddresses",
    "Microsoft.Network/virtualNetworks",
)


def diagnosed(built: Built) -> Iterator[str]:
    """Everything that can tell what happens to it tells it to the one workspace."""
    (workspace,) = of(built, WORKSPACE)
    told = {one["scope"]: one for one in of(built, DIAGNOSTICS)}
    for kind in DIAGNOSED:
        for one in of(built, kind):
            setting = told.get(one["id"])
            if setting is None:
                yield f"{one['name']} ({kind}) has no diagnostic setting"
            elif properties(setting)["workspaceId"] != workspace["id"]:
                yield f"{one['name']} tells another workspace"
            elif not [
                part
                for part in (*properties(setting).get("logs", []), *properties(setting).get("metrics", []))
                if part["enabled"]
            ]:
                yield f"{one['name']} tells nothing"


def tagged(built: Built) -> Iterator[str]:
    """Whatever has a region has the tags, so that costs and owners can be told apart."""
    for one in built:
        if not one["existing"] and "location" in one["body"]:
            missing = {"application", "azd-env-name", "profile"} - set(one["body"].get("tags", {}))
            if missing:
                yield f"{one['name']} ({one['type']}) lacks the tags {sorted(missing)}"


# Azure's rules for names, by type: what the whole last part must look like.
NAMES: Final = {
    GROUP: r"[\w.()-]{1,90}",
    REDIS: r"(?=.{1,60}$)[A-Za-z0-9](-?[A-Za-z0-9])*",
    f"{DATABASE}/accessPolicyAssignments": r"[A-Za-z0-9]{1,60}",
    COSMOS: r"(?=.{3,44}$)[a-z0-9](-?[a-z0-9])*",
    CONTAINER: r"[^/\\#?]{1,255}",
    STORAGE: r"[a-z0-9]{3,24}",
    f"{BLOBS}/containers": r"(?=.{3,63}$)[a-z0-9](-?[a-z0-9])*",
    f"{STORAGE}/queueServices/queues": r"(?=.{3,63}$)[a-z0-9](-?[a-z0-9])*",
    f"{STORAGE}/tableServices/tables": r"[A-Za-z][A-Za-z0-9]{2,62}",
    VAULT: r"(?=.{3,24}$)[A-Za-z](-?[A-Za-z0-9])*",
    KEY: r"[A-Za-z0-9-]{1,127}",
    SITE: r"(?=.{2,60}$)[A-Za-z0-9](-?[A-Za-z0-9])*",
    PLAN: r"[A-Za-z0-9-]{1,60}",
    IDENTITY: r"[A-Za-z0-9][\w-]{2,127}",
    WORKSPACE: r"(?=.{4,63}$)[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]",
    INSIGHTS: r"[\w.()-]{1,255}",
    ACTIONS: r"[^:<>+/&%\\?]{1,260}",
    BUDGET: r"[\w-]{1,63}",
    OPENAI: r"(?=.{2,64}$)[A-Za-z0-9][\w-]*[A-Za-z0-9]",
    "Microsoft.EventGrid/systemTopics": r"[A-Za-z0-9-]{3,50}",
    "Microsoft.Network/virtualNetworks": r"(?=.{2,64}$)[A-Za-z0-9][\w.-]*\w",
    "Microsoft.Network/privateEndpoints": r"(?=.{2,64}$)[A-Za-z0-9][\w.-]*\w",
    "Microsoft.Insights/privateLinkScopes": r"[\w.()-]{1,255}",
    "Microsoft.Insights/scheduledQueryRules": r"[^*<>%{}&:\\?/#|]{1,260}",
    "Microsoft.Insights/metricAlerts": r"[^*#&+:<>?@%{}\\/|]{1,260}",
}


def named(built: Built) -> Iterator[str]:
    """Names keep Azure's rules, and no two resources are one."""
    seen: set[str] = set()
    for one in built:
        if one["existing"]:
            continue
        last = one["name"].rsplit("/", 1)[-1]
        if one["type"] in NAMES and re.fullmatch(NAMES[one["type"]], last) is None:
            yield f"{last} is no name for {one['type']}"
        if one["id"].lower() in seen:
            yield f"{one['id']} is there twice"
        seen.add(one["id"].lower())


def kept(built: Built) -> Iterator[str]:
    """What was deleted by mistake can be had back; one region has the word."""
    yield from must(built, COSMOS, backupPolicy__type="Continuous", enableMultipleWriteLocations=False)
    yield from must(built, COSMOS, consistencyPolicy__defaultConsistencyLevel="Session")
    yield from must(built, VAULT, enableSoftDelete=True, softDeleteRetentionInDays=90)
    yield from must(built, BLOBS, deleteRetentionPolicy__enabled=True, containerDeleteRetentionPolicy__enabled=True)
    yield from must(built, BLOBS, deleteRetentionPolicy__allowPermanentDelete=False)
    memory = cold(built)["name"]
    for one in of(built, BLOBS):
        if one["name"].startswith(f"{memory}/") and not properties(one).get("isVersioningEnabled"):
            yield f"{memory} keeps no versions"


def payloads_stay(built: Built) -> Iterator[str]:
    """Lifecycle rules move payloads to what is readable at once, and never delete one."""
    for one in of(built, POLICY):
        for rule in properties(one)["policy"]["rules"]:
            for action in rule["definition"]["actions"].get("baseBlob", {}):
                if action not in ("tierToCool", "tierToCold"):
                    yield f"{rule['name']}: {action}"


# --- by what a profile promises --------------------------------------------------------------------------------------


def watched(built: Built) -> Iterator[str]:
    """Alerts reach somebody, and a budget gives notice at 50, 80 and 100 % and of a forecast."""
    for kind in ("Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts"):
        if not of(built, kind):
            yield f"there is no alert of the type {kind}"
    (group,) = of(built, ACTIONS)
    if not properties(group).get("emailReceivers"):
        yield "alerts reach nobody"
    if len(of(built, BUDGET)) != 1:
        yield "there is not one budget"
    for one in of(built, BUDGET):
        notices = {
            (notice["thresholdType"], notice["threshold"])
            for notice in properties(one)["notifications"].values()
            if notice["enabled"]
        }
        wanted = {("Actual", 50), ("Actual", 80), ("Actual", 100), ("Forecasted", 100)}
        yield from (f"no notice at {missing}" for missing in sorted(wanted - notices))
        if not all(
            notice["contactEmails"] or notice["contactGroups"] for notice in properties(one)["notifications"].values()
        ):
            yield "a notice of the budget reaches nobody"


def closed(built: Built) -> Iterator[str]:
    """Nothing answers on the public network."""
    for kind in (REDIS, COSMOS, STORAGE, VAULT, SITE, OPENAI):
        yield from must(built, kind, publicNetworkAccess="Disabled")
    for kind in (STORAGE, VAULT):
        yield from must(built, kind, networkAcls__defaultAction="Deny")
    for kind in (WORKSPACE, INSIGHTS):
        yield from must(built, kind, publicNetworkAccessForIngestion="Disabled", publicNetworkAccessForQuery="Disabled")


def own_keys(built: Built) -> Iterator[str]:
    """Everything that holds data is encrypted with a key of the vault, which rotates and cannot be purged."""
    yield from must(built, VAULT, enablePurgeProtection=True)
    identity = {one["id"] for one in of(built, IDENTITY) if "-encryption-" in one["name"]}
    for kind in (REDIS, COSMOS, STORAGE):
        for one in of(built, kind):
            found, key = properties(one), None
            if kind == REDIS:
                key = (found.get("encryption") or {}).get("customerManagedKeyEncryption")
            elif kind == COSMOS:
                key = found.get("keyVaultKeyUri")
            elif found["encryption"]["keySource"] == "Microsoft.Keyvault":
                key = found["encryption"]["keyvaultproperties"]
            if not key:
                yield f"{one['name']} is encrypted with Microsoft's key"
            if not identity & set(one["body"].get("identity", {}).get("userAssignedIdentities", {})):
                yield f"{one['name']} lacks the identity that may use its key"
    for one in of(built, KEY):
        actions = {
            action["action"]["type"] for action in properties(one).get("rotationPolicy", {}).get("lifetimeActions", [])
        }
        if actions != {"rotate", "notify"}:
            yield f"the key {one['name']} does not rotate, or nobody is told before it ends"


def zones(built: Built) -> Iterator[str]:
    """A zone may fail."""
    yield from must(built, REDIS, highAvailability="Enabled")
    yield from must(built, PLAN, zoneRedundant=True)
    for one in of(built, COSMOS):
        yield from (
            f"{place['locationName']} is in one zone"
            for place in properties(one)["locations"]
            if not place["isZoneRedundant"]
        )
    for one in of(built, STORAGE):
        if "ZRS" not in one["body"]["sku"]["name"]:
            yield f"{one['name']} is in one zone"


def two_regions(built: Built) -> Iterator[str]:
    """A region may fail: Cosmos DB has a second, the first one writes, and cold memory is copied too."""
    for one in of(built, COSMOS):
        places = sorted(properties(one)["locations"], key=lambda place: place["failoverPriority"])
        if len({place["locationName"] for place in places}) != 2:
            yield f"{one['name']} is not in two regions"
        if places[0]["locationName"] != one["body"]["location"]:
            yield f"{one['name']} does not write where the rest is"
    if cold(built)["body"]["sku"]["name"] not in ("Standard_GZRS", "Standard_GRS"):
        yield "cold memory is in one region"


def locked(built: Built) -> Iterator[str]:
    """Nobody deletes what holds data without taking a lock away first."""
    locks = {one["scope"] for one in of(built, LOCK) if properties(one)["level"] == "CanNotDelete"}
    for one in (
        *of(built, REDIS),
        *of(built, COSMOS),
        cold(built),
        *of(built, VAULT),
        *of(built, WORKSPACE),
        *of(built, INSIGHTS),
    ):
        if one["id"] not in locks:
            yield f"{one['name']} has no lock"


def logged_for_a_year(built: Built) -> Iterator[str]:
    """Who read and who wrote is known for a year, and nothing is dropped on a busy day."""
    yield from must(built, WORKSPACE, retentionInDays=365, workspaceCapping__dailyQuotaGb=-1)
    settings = {
        one["scope"]: {log.get("category") for log in properties(one).get("logs", [])} for one in of(built, DIAGNOSTICS)
    }
    for kind, category in ((COSMOS, "DataPlaneRequests"), (BLOBS, "StorageRead")):
        for one in of(built, kind):
            if one["name"].startswith(("cosmos-", cold(built)["name"])) and category not in settings.get(
                one["id"], set()
            ):
                yield f"{one['name']} does not log {category}"


EVERY: Final[tuple[Invariant, ...]] = (
    no_keys,
    tls,
    no_anonymous_blobs,
    no_secrets,
    diagnosed,
    tagged,
    named,
    kept,
    payloads_stay,
)
OF_PROFILE: Final[dict[str, tuple[Invariant, ...]]] = {
    "dev": EVERY,
    "team": (*EVERY, watched),
    "private": (*EVERY, watched, closed),
    "regulated": (*EVERY, watched, closed, own_keys, zones, two_regions, locked, logged_for_a_year),
}


# --- from one profile to another -------------------------------------------------------------------------------------

# What holds data, and what of it Azure never changes in place (paths in the body).
IMMUTABLE: Final = {
    REDIS: ("location", "properties.encryption", "identity.type"),
    DATABASE: ("properties.clusteringPolicy",),
    COSMOS: (
        "location",
        "kind",
        "properties.locations",
        "properties.capabilities",
        "properties.enableFreeTier",
        "properties.keyVaultKeyUri",
        "properties.backupPolicy",
    ),
    f"{COSMOS}/sqlDatabases": (),
    CONTAINER: ("properties.resource.partitionKey",),
    STORAGE: ("location", "kind", "sku.name", "properties.isHnsEnabled", "properties.encryption.services"),
    f"{BLOBS}/containers": (),
    f"{STORAGE}/tableServices/tables": (),
    VAULT: ("location", "properties.tenantId", "properties.softDeleteRetentionInDays"),
    IDENTITY: ("location",),
}


def _at(body: Any, path: str) -> Any:
    for part in path.split("."):
        body = body.get(part) if isinstance(body, dict) else None
    return body


def moves_in_place(before: Built, after: Built) -> Iterator[str]:
    """Whatever holds data before is there after, under the same id, and alike where Azure changes nothing in place."""
    for kind, paths in IMMUTABLE.items():
        there = {one["id"].lower(): one for one in of(after, kind)}
        for one in of(before, kind):
            found = there.get(one["id"].lower())
            if found is None:
                yield f"{one['name']} ({kind}) would be left behind"
                continue
            for path in paths:
                was, is_now = _at(one["body"], path), _at(found["body"], path)
                if was != is_now:
                    yield f"{one['name']}: {path} would change from {was!r} to {is_now!r}"
