"""The network of the profiles without public access: every service has a door in it, names lead to the doors, and nothing else comes in or goes out."""

import copy
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.infra.built import SNAPSHOTS, Break, Built, Resource, change, of, one_of, read, without

# A part of a service -> the zones that its endpoint must write its address to.
ZONES = {
    "account": {"privatelink.openai.azure.com"},
    "azuremonitor": {
        "privatelink.monitor.azure.com",
        "privatelink.oms.opinsights.azure.com",
        "privatelink.ods.opinsights.azure.com",
        "privatelink.agentsvc.azure-automation.net",
        "privatelink.blob.core.windows.net",
    },
    "blob": {"privatelink.blob.core.windows.net"},
    "queue": {"privatelink.queue.core.windows.net"},
    "redisEnterprise": {"privatelink.redis.azure.net"},
    "sites": {"privatelink.azurewebsites.net"},
    "Sql": {"privatelink.documents.azure.com"},
    "table": {"privatelink.table.core.windows.net"},
    "vault": {"privatelink.vaultcore.azure.net"},
}
GROUPS = {
    "Microsoft.Cache/redisEnterprise": "redisEnterprise",
    "Microsoft.DocumentDB/databaseAccounts": "Sql",
    "Microsoft.KeyVault/vaults": "vault",
    "Microsoft.Web/sites": "sites",
    "Microsoft.CognitiveServices/accounts": "account",
    "Microsoft.Insights/privateLinkScopes": "azuremonitor",
}
# What is built in a storage account -> the part that must have a door.
PARTS = {"blobServices/containers": "blob", "queueServices/queues": "queue", "tableServices/tables": "table"}
# Outgoing: the services' doors, and what has no door. All of it over TLS.
TAGS = {"AzureActiveDirectory", "AzureMonitor"}
PORTS = {"443", "10000", "8500-8599"}


def subnets(built: Built) -> dict[str, Resource]:
    network = one_of(built, "Microsoft.Network/virtualNetworks")
    return {
        f"{network['id']}/subnets/{one['name']}": one["properties"] for one in network["body"]["properties"]["subnets"]
    }


def is_delegated(subnet: Resource) -> bool:
    return [one["properties"]["serviceName"] for one in subnet.get("delegations", [])] == ["Microsoft.App/environments"]


def sites_in_the_network(built: Built) -> Iterator[str]:
    """Each app has a delegated subnet that no other app uses."""
    taken: set[str] = set()
    for site in of(built, "Microsoft.Web/sites"):
        subnet = site["body"]["properties"].get("virtualNetworkSubnetId")
        if subnet is None:
            yield f"{site['name']} is in no network"
        elif not is_delegated(subnets(built).get(subnet, {})):
            yield f"the subnet of {site['name']} is not delegated to Flex Consumption"
        elif subnet in taken:
            yield f"{site['name']} shares its subnet with another app"
        taken.add(str(subnet))


def subnets_in_order(built: Built) -> Iterator[str]:
    """Subnets lie in the network, apart from each other, under rules, without an implicit way out."""
    network = one_of(built, "Microsoft.Network/virtualNetworks")["body"]["properties"]
    (space,) = (ipaddress.IPv4Network(one) for one in network["addressSpace"]["addressPrefixes"])
    seen: list[Any] = []
    for name, subnet in subnets(built).items():
        name = name.rsplit("/", 1)[1]
        block = ipaddress.IPv4Network(subnet["addressPrefix"])
        if not block.subnet_of(space) or any(block.overlaps(other) for other in seen):
            yield f"the addresses of {name} lie outside or are taken"
        if "_" in name:
            yield f"{name}: Flex Consumption takes no underscore in a subnet's name"
        if subnet.get("defaultOutboundAccess") is not False:
            yield f"{name} has an implicit way to the internet"
        if "networkSecurityGroup" not in subnet:
            yield f"{name} is under no rules"
        if not is_delegated(subnet) and subnet.get("privateEndpointNetworkPolicies") != "NetworkSecurityGroupEnabled":
            yield f"{name}: the rules do not hold for endpoints"
        seen.append(block)


def doors(built: Built) -> dict[tuple[str, str], Resource]:
    """(ID of a service, part) -> its endpoint."""
    found = {}
    for endpoint in of(built, "Microsoft.Network/privateEndpoints"):
        for link in endpoint["body"]["properties"]["privateLinkServiceConnections"]:
            for group in link["properties"]["groupIds"]:
                found[link["properties"]["privateLinkServiceId"], group] = endpoint
    return found


def doors_needed(built: Built) -> Iterator[tuple[str, str]]:
    for kind, group in GROUPS.items():
        for one in of(built, kind):
            yield one["id"], group
    for account in of(built, "Microsoft.Storage/storageAccounts"):
        for part, group in PARTS.items():
            if any(one["name"].startswith(f"{account['name']}/") for one in of(built, f"{account['type']}/{part}")):
                yield account["id"], group


def doors_of_services(built: Built) -> Iterator[str]:
    """Each service, and each part of a storage account that is used, has an endpoint, whose names are known in the network."""
    found = doors(built)
    groups = {
        one["name"].rsplit("/", 1)[0]: one
        for one in of(built, "Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    }
    for service, group in doors_needed(built):
        name = service.rsplit("/", 1)[1]
        endpoint = found.get((service, group))
        if endpoint is None:
            yield f"{name} has no door for {group}"
            continue
        if is_delegated(subnets(built).get(endpoint["body"]["properties"]["subnet"]["id"], {"delegations": []})):
            yield f"the door of {name} is in an app's subnet"
        records = groups.get(endpoint["name"])
        configs = [] if records is None else records["body"]["properties"]["privateDnsZoneConfigs"]
        written = {one["properties"]["privateDnsZoneId"].rsplit("/", 1)[1] for one in configs}
        if written != ZONES[group]:
            yield f"the door of {name} writes its address to {sorted(written)}, not to {sorted(ZONES[group])}"


def zones_in_the_network(built: Built) -> Iterator[str]:
    """Each zone that a door writes to exists and is asked by the network; none takes names of machines."""
    zones = {one["name"] for one in of(built, "Microsoft.Network/privateDnsZones")}
    network = one_of(built, "Microsoft.Network/virtualNetworks")["id"]
    links = {
        one["name"].rsplit("/", 1)[0]: one for one in of(built, "Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    }
    for zone in set().union(*(ZONES[group] for _, group in doors_needed(built))):
        if zone not in zones:
            yield f"there is no zone {zone}"
            continue
        link = links.get(zone, {}).get("body", {}).get("properties", {})
        if link.get("virtualNetwork", {}).get("id") != network:
            yield f"the network does not ask {zone}"
        elif link.get("registrationEnabled") is not False:
            yield f"{zone} takes names of machines"


def rules(built: Built) -> Iterator[str]:
    """Nothing comes in from the internet, and out go only the services' ports, to the doors and the named service tags."""
    groups = {
        one["id"]: one["body"]["properties"]["securityRules"]
        for one in of(built, "Microsoft.Network/networkSecurityGroups")
    }
    endpoints = [one["addressPrefix"] for one in subnets(built).values() if not is_delegated(one)]
    for name, subnet in subnets(built).items():
        name = name.rsplit("/", 1)[1]
        written = [one["properties"] for one in groups.get(subnet.get("networkSecurityGroup", {}).get("id"), [])]
        for direction in ("Inbound", "Outbound"):
            ordered = sorted((one for one in written if one["direction"] == direction), key=lambda one: one["priority"])
            if len({one["priority"] for one in ordered}) != len(ordered):
                yield f"{name}: two rules have one priority"
            if not ordered or ordered[-1]["access"] != "Deny":
                yield f"{name}: what no rule names is let through ({direction})"
            for rule in ordered:
                if rule["access"] == "Allow":
                    yield from (f"{name}: {word}" for word in _allowed(rule, endpoints))


def _allowed(rule: Resource, endpoints: list[str]) -> Iterator[str]:
    ports = set(rule.get("destinationPortRanges", [])) | {rule.get("destinationPortRange", "443")}
    if rule["protocol"] != "Tcp" or not ports <= PORTS:
        yield f"{sorted(ports)} over {rule['protocol']} are let through"
    target = rule["destinationAddressPrefix"]
    if rule["direction"] == "Outbound" and not (target in endpoints or (target in TAGS and ports == {"443"})):
        yield f"calls to {target} are let through"
    if rule["direction"] == "Inbound":
        sources = rule.get("sourceAddressPrefixes", [rule.get("sourceAddressPrefix")])
        for source in sources:
            if source in ("*", "Internet", None) or not _private(source):
                yield f"callers from {source} are let in"


def _private(source: str) -> bool:
    block = ipaddress.IPv4Network(source)
    return block.is_private or block.subnet_of(ipaddress.IPv4Network("100.64.0.0/10"))  # RFC 6598 counts as neither


def one_way_out(built: Built) -> Iterator[str]:
    """Apps go out by the one address of ours; no public address belongs to anything else."""
    address, gateway = (one_of(built, f"Microsoft.Network/{kind}") for kind in ("publicIPAddresses", "natGateways"))
    if gateway["body"]["properties"]["publicIpAddresses"] != [{"id": address["id"]}]:
        yield "the gateway has another address"
    for name, subnet in subnets(built).items():
        if is_delegated(subnet) and subnet.get("natGateway") != {"id": gateway["id"]}:
            yield f"{name.rsplit('/', 1)[1]} has no way out for tokens"


def telemetry(built: Built) -> Iterator[str]:
    """Workspace and Application Insights are in the private link scope, which lets through nothing else."""
    scope = one_of(built, "Microsoft.Insights/privateLinkScopes")
    if set(scope["body"]["properties"]["accessModeSettings"].values()) != {"PrivateOnly"}:
        yield "the scope lets telemetry go to other workspaces"
    linked = {
        one["body"]["properties"]["linkedResourceId"]
        for one in of(built, "Microsoft.Insights/privateLinkScopes/scopedResources")
    }
    for kind in ("Microsoft.OperationalInsights/workspaces", "Microsoft.Insights/components"):
        for one in of(built, kind):
            if one["id"] not in linked:
                yield f"{one['name']} is not in the scope"
            for way in ("publicNetworkAccessForIngestion", "publicNetworkAccessForQuery"):
                if one["body"]["properties"].get(way) != "Disabled":
                    yield f"{one['name']}: {way} is open"


CHECKS: tuple[Callable[[Built], Iterator[str]], ...] = (
    sites_in_the_network, subnets_in_order, doors_of_services, zones_in_the_network, rules, one_way_out, telemetry,
)  # fmt: skip


WITH_NETWORK = [path for path in SNAPSHOTS if '"Microsoft.Network/virtualNetworks"' in path.read_text(encoding="utf-8")]


@pytest.fixture(params=WITH_NETWORK, ids=lambda path: path.stem)
def built(request: pytest.FixtureRequest) -> Built:
    path: Path = request.param
    return read(path)


def test_the_profiles_without_public_access_have_a_network() -> None:
    assert [path.stem for path in WITH_NETWORK] == ["private", "regulated"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_network_holds(built: Built, check: Callable[[Built], Iterator[str]]) -> None:
    assert list(check(built)) == []


def into_an_app_subnet(built: Built) -> None:
    name = next(name for name, subnet in subnets(built).items() if is_delegated(subnet))
    of(built, DOOR)[0]["body"]["properties"]["subnet"]["id"] = name


NETWORK, GROUP = "Microsoft.Network/virtualNetworks", "Microsoft.Network/networkSecurityGroups"
SITE, DOOR, LINK = (
    "Microsoft.Web/sites",
    "Microsoft.Network/privateEndpoints",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
)
CONNECTION = "privateLinkServiceConnections.0.properties"
BROKEN = [
    (sites_in_the_network, change(SITE, "properties.virtualNetworkSubnetId", None), "in no network"),
    (sites_in_the_network, change(SITE, "properties.virtualNetworkSubnetId", "/subnets/other"), "not delegated"),
    (sites_in_the_network, change(NETWORK, "properties.subnets.1.properties.delegations", []), "not delegated"),
    (subnets_in_order, change(NETWORK, "properties.subnets.1.properties.addressPrefix", "10.71.0.0/26"), "lie outside or are taken"),
    (subnets_in_order, change(NETWORK, "properties.subnets.1.properties.addressPrefix", "10.99.0.0/26"), "lie outside or are taken"),
    (subnets_in_order, change(NETWORK, "properties.subnets.1.name", "memory_api"), "no underscore"),
    (subnets_in_order, change(NETWORK, "properties.subnets.1.properties.defaultOutboundAccess", True), "implicit way"),
    (subnets_in_order, change(NETWORK, "properties.subnets.2.properties.networkSecurityGroup", None), "under no rules"),
    (subnets_in_order, change(NETWORK, "properties.subnets.0.properties.privateEndpointNetworkPolicies", "Disabled"), "do not hold"),
    (doors_of_services, without(DOOR), "has no door"),
    (doors_of_services, change(DOOR, f"properties.{CONNECTION}.groupIds", ["file"]), "has no door"),
    (doors_of_services, into_an_app_subnet, "in an app's subnet"),
    (doors_of_services, without(f"{DOOR}/privateDnsZoneGroups"), "writes its address to []"),
    (zones_in_the_network, without("Microsoft.Network/privateDnsZones"), "there is no zone"),
    (zones_in_the_network, without(LINK), "does not ask"),
    (zones_in_the_network, change(LINK, "properties.registrationEnabled", True), "names of machines"),
    (rules, change(NETWORK, "properties.subnets.1.properties.networkSecurityGroup.id", "/other"), "what no rule names"),
    (rules, change(GROUP, "properties.securityRules.-1.properties.access", "Allow"), "let through"),
    (rules, change(GROUP, "properties.securityRules.1.properties.destinationAddressPrefix", "*"), "calls to * are let through"),
    (rules, change(GROUP, "properties.securityRules.1.properties.destinationPortRanges", ["0-65535"]), "0-65535"),
    (rules, change(GROUP, "properties.securityRules.2.properties.destinationAddressPrefix", "Internet"), "calls to Internet"),
    (rules, change(GROUP, "properties.securityRules.2.properties.priority", 100), "one priority"),
    (rules, change(GROUP, "properties.securityRules.0.properties.sourceAddressPrefixes", ["0.0.0.0/0"], 1), "callers from 0.0.0.0/0"),
    (rules, change(GROUP, "properties.securityRules.0.properties.sourceAddressPrefixes", ["Internet"], 1), "callers from Internet"),
    (one_way_out, change(NETWORK, "properties.subnets.1.properties.natGateway", None), "no way out"),
    (one_way_out, change("Microsoft.Network/natGateways", "properties.publicIpAddresses", []), "another address"),
    (telemetry, without("Microsoft.Insights/privateLinkScopes/scopedResources"), "not in the scope"),
    (telemetry, change("Microsoft.Insights/privateLinkScopes", "properties.accessModeSettings.ingestionAccessMode", "Open"), "other workspaces"),
    (telemetry, change("Microsoft.Insights/components", "properties.publicNetworkAccessForIngestion", "Enabled"), "is open"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "breaks", "told"), BROKEN)
def test_a_broken_network_is_seen(
    built: Built, check: Callable[[Built], Iterator[str]], breaks: Break, told: str
) -> None:
    broken = copy.deepcopy(built)
    breaks(broken)
    found = list(check(broken))
    assert any(told in word for word in found), found
