"""Whether the subscription and the region have what is wanted: providers, services, redundancy, room in the quotas."""

from collections.abc import Iterator
from typing import Any, Final

from infra.hooks.preflight.arm import Arm, CannotLookError
from infra.hooks.preflight.findings import Finding
from infra.hooks.preflight.naming import APPS
from infra.hooks.preflight.wants import Wants

PROVIDERS: Final = "2021-04-01"
_STORAGE: Final = "2025-08-01"
_COSMOS: Final = "2025-10-15"
_WEB: Final = "2025-03-01"
_NETWORK: Final = "2025-07-01"

# Provider -> types whose regions are looked up. tests/infra holds the list against the snapshots.
_ALWAYS: Final = {
    "Microsoft.Authorization": (),
    "Microsoft.Cache": ("redisEnterprise",),
    "Microsoft.DocumentDB": ("databaseAccounts",),
    "Microsoft.EventGrid": ("systemTopics",),
    "Microsoft.Insights": ("components",),
    "Microsoft.KeyVault": ("vaults",),
    "Microsoft.ManagedIdentity": ("userAssignedIdentities",),
    "Microsoft.OperationalInsights": ("workspaces",),
    "Microsoft.Resources": (),
    "Microsoft.Storage": ("storageAccounts",),
    "Microsoft.Web": ("sites", "serverFarms"),
}
_BUDGET: Final = {"Microsoft.Consumption": ()}
_PRIVATE: Final = {
    "Microsoft.App": ("managedEnvironments",),
    "Microsoft.Network": ("virtualNetworks", "privateEndpoints"),
}
_EMBEDDINGS: Final = {"Microsoft.CognitiveServices": ("accounts",)}


def providers(wanted: Wants) -> dict[str, tuple[str, ...]]:
    """The resource providers of what is wanted, each with the types whose regions matter."""
    found: dict[str, tuple[str, ...]] = {**_ALWAYS, **_BUDGET}
    if wanted.settings["private"]:
        found |= _PRIVATE
    if wanted.embeddings:
        found |= _EMBEDDINGS
    return found


def plain(region: str) -> str:
    """``Sweden Central`` and ``swedencentral`` are one region."""
    return region.replace(" ", "").lower()


def registered(arm: Arm, wanted: Wants) -> Iterator[Finding]:
    """Each provider's registration, and whether its services are offered in the region."""
    for provider, types in providers(wanted).items():
        try:
            known = arm.get(f"/subscriptions/{wanted.subscription}/providers/{provider}", PROVIDERS)
        except CannotLookError as error:
            yield Finding("unseen", f"whether {provider} is registered: {error}")
            continue
        state = "NotRegistered" if known is None else known.get("registrationState", "")
        if state not in ("Registered", "Registering"):
            yield Finding(
                "stop",
                f"the resource provider {provider} is not registered in the subscription",
                f"az provider register --namespace {provider} --wait (once; it takes the right Microsoft.Resources/subscriptions/providers/register)",
            )
            continue
        offered = {one["resourceType"].lower(): one.get("locations", []) for one in known.get("resourceTypes", [])}
        for name in types:
            regions = {plain(region) for region in offered.get(name.lower(), [])}
            if wanted.location not in regions:
                yield Finding(
                    "stop",
                    f"{provider}/{name} is not offered in {wanted.location}",
                    f"choose one of: {', '.join(sorted(regions)) or 'no region at all'}",
                )


def flex_plan(arm: Arm, wanted: Wants) -> Iterator[Finding]:
    """Functions' Flex Consumption has regions of its own, and fewer with zones."""
    answer = arm.listed(
        f"/subscriptions/{wanted.subscription}/providers/Microsoft.Web/geoRegions", _WEB, sku="FlexConsumption"
    )
    zones = wanted.settings["apps"]["zoneRedundant"]
    regions = {
        plain(one["name"])
        for one in answer
        if not zones or "FCZONEREDUNDANCY" in one["properties"].get("orgDomain", "").split(";")
    }
    if wanted.location not in regions:
        kind = "the Flex Consumption plan with zone redundancy" if zones else "the Flex Consumption plan of Functions"
        yield Finding(
            "stop", f"{kind} is not offered in {wanted.location}", f"choose one of: {', '.join(sorted(regions))}"
        )


def storage_kinds(arm: Arm, wanted: Wants) -> Iterator[Finding]:
    """Redundancy that the region does not have."""
    answer = arm.listed(f"/subscriptions/{wanted.subscription}/providers/Microsoft.Storage/skus", _STORAGE)
    offered = {
        one["name"]
        for one in answer
        if one.get("kind") == "StorageV2"
        and wanted.location in {plain(region) for region in one.get("locations", [])}
        and not one.get("restrictions")
    }
    for sku in sorted({wanted.settings["storage"]["sku"], wanted.settings["apps"]["hostSku"]} - offered):
        yield Finding(
            "stop",
            f"storage accounts of kind {sku} are not offered to this subscription in {wanted.location}",
            f"choose another region, or one of {', '.join(sorted(offered))} in infra/profiles.json",
        )


def cosmos_regions(arm: Arm, wanted: Wants) -> Iterator[Finding]:
    """Cosmos DB may be closed to a subscription in a busy region, and needs zones where the profile does."""
    zones = wanted.settings["cosmos"]["zoneRedundant"]
    for region in wanted.regions:
        found = arm.get(
            f"/subscriptions/{wanted.subscription}/providers/Microsoft.DocumentDB/locations/{region}", _COSMOS
        )
        if found is None:
            yield Finding("stop", f"Cosmos DB is not offered in {region}", "choose another region")
            continue
        told = found["properties"]
        if zones and not told.get("supportsAvailabilityZone", False):
            yield Finding("stop", f"Cosmos DB has no zones in {region}", "choose a region with zones")
        allowed = told.get(
            "isSubscriptionRegionAccessAllowedForAz" if zones else "isSubscriptionRegionAccessAllowedForRegular", True
        )
        if not allowed:
            yield Finding(
                "stop",
                f"the subscription may not create Cosmos DB accounts in {region}{' with zones' if zones else ''}",
                "ask for access to the region (a support request of the type quota), or choose another one",
            )


def room(arm: Arm, wanted: Wants) -> Iterator[Finding]:
    """Quotas that Azure tells. It does not tell those of Redis and Cosmos DB before something is built."""
    base = f"/subscriptions/{wanted.subscription}/providers"
    needed = {
        ("storage", "StorageAccounts", 1 + len(APPS)): (
            f"{base}/Microsoft.Storage/locations/{wanted.location}/usages",
            _STORAGE,
        )
    }
    if wanted.settings["private"]:
        needed[("network", "VirtualNetworks", 1)] = (
            f"{base}/Microsoft.Network/locations/{wanted.location}/usages",
            _NETWORK,
        )
    for (kind, name, count), (path, version) in needed.items():
        for usage in arm.listed(path, version):
            if usage["name"]["value"] == name and usage["currentValue"] + count > usage["limit"]:
                yield Finding(
                    "mind",
                    f"{usage['currentValue']} of {usage['limit']} {name} are used in {wanted.location}, and a first deployment makes {count}",
                    f"if this is the first deployment, ask for a higher {kind} quota, or remove what is not used",
                )


def region_exists(arm: Arm, wanted: Wants) -> Iterator[Finding]:
    """Whether there is such a region at all."""
    known: list[dict[str, Any]] = arm.listed(f"/subscriptions/{wanted.subscription}/locations", "2022-12-01")
    names = {one["name"] for one in known}
    for region in dict.fromkeys((wanted.location, *wanted.regions)):
        if region not in names:
            yield Finding("stop", f"the subscription knows no region {region}", f"one of: {', '.join(sorted(names))}")
