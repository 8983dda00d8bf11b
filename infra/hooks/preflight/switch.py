"""Whether what is wanted would replace, lock out or strand what holds data already. Reads what exists and compares what Azure cannot change in place."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra.hooks.preflight.arm import Arm
from infra.hooks.preflight.findings import Finding
from infra.hooks.preflight.region import plain
from infra.hooks.preflight.wants import PROFILES, Wants

_GROUP: Final = "2025-04-01"
_REDIS: Final = "2025-07-01"
_COSMOS: Final = "2025-10-15"
_STORAGE: Final = "2025-08-01"
_MOVE: Final = "go back to the profile that was built; or make a new azd environment with this one and move the data: docs/moving-data.md"


def stranded(wanted: Wants) -> Iterator[Finding]:
    """Another name, region or subscription than the last time: everything would be built anew and empty, beside the old."""
    built = wanted.variables.get("AZURE_RESOURCE_GROUP", "")
    if built and built != wanted.names.group:
        yield Finding(
            "stop",
            f"this environment was built as {built}, and would be built again, empty, as {wanted.names.group}:"
            " its name, region or subscription has changed",
            "set AZURE_ENV_NAME, AZURE_LOCATION and AZURE_SUBSCRIPTION_ID back; or make a new azd environment, and move the data (docs/moving-data.md)",
        )
    before = PROFILES.get(wanted.variables.get("AZURE_THERMOCLINE_BUILT", ""))
    if before is not None and before["developer"] and not wanted.settings["developer"]:
        yield Finding(
            "mind",
            f"the data roles of the developer, given by the profile before, stay: {wanted.profile} gives none, and a deployment takes none away",
            "delete them: docs/security.md, Moving to a stricter profile",
        )


def switched(arm: Arm, wanted: Wants) -> Iterator[Finding]:
    """Raises `CannotLookError`."""
    yield from stranded(wanted)
    named = wanted.names
    base = f"/subscriptions/{wanted.subscription}/resourceGroups/{named.group}"
    if arm.get(base, _GROUP) is None:
        return
    services = f"{base}/providers"
    redis = arm.get(f"{services}/Microsoft.Cache/redisEnterprise/{named.redis}", _REDIS)
    if redis is not None:
        yield from half_built(redis, wanted)
        yield from redis_switch(redis, wanted)
        yield from redis_growth(arm, f"{services}/Microsoft.Cache/redisEnterprise/{named.redis}", redis, wanted)
    database = arm.get(f"{services}/Microsoft.Cache/redisEnterprise/{named.redis}/databases/default", _REDIS)
    if database is not None:
        yield from database_switch(database)
    cosmos = arm.get(f"{services}/Microsoft.DocumentDB/databaseAccounts/{named.cosmos}", _COSMOS)
    if cosmos is not None:
        yield from half_built(cosmos, wanted)
        yield from cosmos_switch(cosmos, wanted)
    cold = arm.get(f"{services}/Microsoft.Storage/storageAccounts/{named.cold}", _STORAGE)
    if cold is not None:
        yield from storage_switch(cold, wanted, wanted.settings["storage"]["sku"])
    for name in named.hosts:
        host = arm.get(f"{services}/Microsoft.Storage/storageAccounts/{name}", _STORAGE)
        if host is not None:
            yield from storage_switch(host, wanted, wanted.settings["apps"]["hostSku"])


def half_built(found: Mapping[str, Any], wanted: Wants) -> Iterator[Finding]:
    """What Azure failed to make (no room, a key out of reach) keeps its name, and refuses every later deployment."""
    name, group = found["name"], wanted.names.group
    if found["properties"].get("resourceState") == "CreateFailed":
        yield Finding(
            "stop",
            f"Azure failed to make {name} the last time, and takes no change of it as it is now; it holds nothing",
            f"az redisenterprise delete --cluster-name {name} --resource-group {group}, then provision again; if it fails again, choose another size or region",
        )
    elif name == wanted.names.cosmos and found["properties"].get("provisioningState") == "Failed":
        yield Finding(
            "mind",
            f"{name} is in the state Failed, in which Azure takes no change of it",
            f"if it has never worked, az cosmosdb delete --name {name} --resource-group {group}, and provision again; if it holds data, ask Azure's support",
        )


def redis_switch(found: Mapping[str, Any], wanted: Wants) -> Iterator[Finding]:
    """Redis: a replica once given stays. Another key is possible in place, with an outage of hot."""
    properties = found["properties"]
    own = bool((properties.get("encryption") or {}).get("customerManagedKeyEncryption"))
    if own != wanted.settings["customerManagedKeys"]:
        yield Finding(
            "mind",
            f"{found['name']}: changing whose key encrypts Redis is a long maintenance, during which hot is away",
        )
    if properties.get("highAvailability") == "Enabled" and not wanted.settings["redis"]["highAvailability"]:
        yield _kept(found, "Redis has a replica, and Azure does not take it away")


def redis_growth(arm: Arm, path: str, found: Mapping[str, Any], wanted: Wants) -> Iterator[Finding]:
    """Whether Azure makes this Redis as large or as small as is wanted. Raises `CannotLookError`."""
    has, wants = found["sku"]["name"], wanted.settings["redis"]["sku"]
    if has == wants:
        return
    answer = arm.post(f"{path}/listSkusForScaling", _REDIS, {})
    offered = [one["name"] for one in answer["skus"]]
    if wants not in offered:
        yield Finding(
            "stop",
            f"{found['name']} is {has}, and Azure does not make it {wants} in place",
            f"set another size in infra/profiles.json: it may become {', '.join(offered) or 'nothing else'}. Or delete it and provision again:"
            " that loses copies, which are filled anew, and what routes keep in hot alone",
        )


def database_switch(found: Mapping[str, Any]) -> Iterator[Finding]:
    """Redis' database: how it is cut into shards."""
    policy = found["properties"].get("clusteringPolicy")
    if policy not in (None, "OSSCluster"):
        yield _kept(found, f"its clustering policy is {policy}, and cannot become OSSCluster")


def cosmos_switch(found: Mapping[str, Any], wanted: Wants) -> Iterator[Finding]:
    """Cosmos DB: mode, free tier, keys, zones and regions, backup."""
    properties, want = found["properties"], wanted.settings["cosmos"]
    serverless = "EnableServerless" in {one["name"] for one in properties.get("capabilities") or []}
    if serverless != (want["mode"] == "serverless"):
        yield _kept(
            found, f"it is {'serverless' if serverless else 'provisioned'}, and cannot become {want['mode']} in place"
        )
    if bool(properties.get("enableFreeTier")) != wanted.free_tier:
        yield Finding(
            "stop",
            f"{found['name']}: the free tier is chosen when the account is made",
            f"azd env set AZURE_COSMOS_FREE_TIER {str(not wanted.free_tier).lower()}",
        )
    own = bool(properties.get("keyVaultKeyUri"))
    if own != wanted.settings["customerManagedKeys"]:
        has, wants = ("your own key", "Microsoft's") if own else ("Microsoft's key", "your own")
        yield _kept(found, f"Cosmos DB is encrypted with {has}; {wants} is chosen when it is made")
    places = {plain(one["locationName"]): bool(one.get("isZoneRedundant")) for one in properties.get("locations") or []}
    if places.keys() != set(wanted.regions):
        yield Finding(
            "stop",
            f"{found['name']} is in {', '.join(sorted(places))}, and would be in {', '.join(wanted.regions)}: regions are not changed beside other things",
            "set AZURE_SECOND_LOCATION or the profile back; or add and remove regions alone first (az cosmosdb update --locations), then provision",
        )
    changed = [
        region for region, zones in places.items() if region in wanted.regions and zones != want["zoneRedundant"]
    ]
    if changed:
        yield _kept(found, f"zone redundancy in {', '.join(changed)} is chosen when the region is added")
    tier = ((properties.get("backupPolicy") or {}).get("continuousModeProperties") or {}).get("tier")
    if tier is not None and tier != want["backup"]:
        yield Finding(
            "stop",
            f"{found['name']}: its backup goes back {tier}, and would {want['backup']}; Azure changes that beside nothing else",
            f"az cosmosdb update --name {found['name']} --resource-group {wanted.names.group} --backup-policy-type Continuous"
            f" --continuous-tier {want['backup']}",
        )
    yield from _opened(found, wanted)


def storage_switch(found: Mapping[str, Any], wanted: Wants, sku: str) -> Iterator[Finding]:
    """Storage: zones cannot be had or lost by a deployment, and keys are not taken back unseen."""
    has = str((found.get("sku") or {}).get("name"))
    if ("ZRS" in has) != ("ZRS" in sku):
        yield _kept(
            found,
            f"its redundancy is {has}, and becomes {sku} by a conversion alone (az storage account migration start)",
        )
    source = (found["properties"].get("encryption") or {}).get("keySource", "Microsoft.Storage")
    own = source.lower() == "microsoft.keyvault"
    if own and not wanted.settings["customerManagedKeys"]:
        yield _kept(found, "it is encrypted with your own key, and would go back to Microsoft's")


def _opened(found: Mapping[str, Any], wanted: Wants) -> Iterator[Finding]:
    if found["properties"].get("publicNetworkAccess") == "Disabled" and not wanted.settings["private"]:
        yield Finding(
            "mind",
            f"the services are closed to the public network, and the profile {wanted.profile} opens them (still nobody comes in without a role)",
        )


def _kept(found: Mapping[str, Any], why: str) -> Finding:
    return Finding("stop", f"{found['name']}: {why}", _MOVE)
