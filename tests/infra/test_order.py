"""What Azure must build before what: a role before who acts by it, a key before what it encrypts, a container before what is given on it."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from tests.infra.built import of, snapshot

Snapshot = dict[str, Any]

ROLE: Final = "Microsoft.Authorization/roleAssignments"
SITE: Final = "Microsoft.Web/sites"
SUBSCRIPTION: Final = "Microsoft.EventGrid/systemTopics/eventSubscriptions"
DATA_ROLE: Final = "Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments"
VAULT: Final = "Microsoft.KeyVault/vaults"
ENCRYPTED: Final = (
    "Microsoft.Cache/redisEnterprise",
    "Microsoft.DocumentDB/databaseAccounts",
    "Microsoft.Storage/storageAccounts",
)
PROFILES: Final = ("dev", "team", "private", "regulated")


def before(built: Snapshot, path: str) -> set[str]:
    """The paths of everything that is there when the resource at ``path`` is made: a module is done when all in it is."""
    waits = {one["path"]: one["dependsOn"] for one in (*built["modules"], *built["resources"])}
    below: dict[str, set[str]] = {}
    for one in waits:
        for above in _places(one):
            below.setdefault(above, set()).add(one)
    found: set[str] = set()
    asked: set[str] = set()
    todo = {path}
    while todo:
        places = set(_places(todo.pop())) - asked
        asked |= places
        for waited in {waited for place in places for waited in waits.get(place, [])}:
            todo |= below.get(waited, set()) - found
            found |= below.get(waited, set())
    return found


def _places(path: str) -> list[str]:
    """The modules that hold it, and itself."""
    parts = path.replace("::", "/::").split("/")
    return ["/".join(parts[: depth + 1]).replace("/::", "::") for depth in range(len(parts))]


def late(built: Snapshot, user: dict[str, Any], needed: list[dict[str, Any]]) -> Iterator[str]:
    there = before(built, user["path"])
    yield from (f"{user['path']} does not wait for {one['path']}" for one in needed if one["path"] not in there)


def roles_on(built: Snapshot, place: str) -> list[dict[str, Any]]:
    return [one for one in of(built["resources"], ROLE) if one["scope"].lower().startswith(place.lower())]


def encrypted_after_the_key(built: Snapshot) -> Iterator[str]:
    (vault,) = of(built["resources"], VAULT)
    needed = [*of(built["resources"], f"{VAULT}/keys"), *roles_on(built, vault["id"])]
    users = [
        one for kind in ENCRYPTED for one in of(built["resources"], kind) if "-encryption-" in json.dumps(one["body"])
    ]
    for user in users:
        yield from late(built, user, needed)


def app_after_its_roles(built: Snapshot) -> Iterator[str]:
    """Functions takes the package, and the app its locks, as soon as the app is there."""
    (insights,) = of(built["resources"], "Microsoft.Insights/components")
    hosts = {one["name"]: one for one in of(built["resources"], "Microsoft.Storage/storageAccounts")}
    for site in of(built["resources"], SITE):
        app = site["body"]["tags"]["azd-service-name"].replace("-", "")
        (host,) = (one for name, one in hosts.items() if name.startswith(f"st{app}"))
        own = [one for one in roles_on(built, host["id"]) if "/events/" not in one["path"]]
        assert own
        yield from late(built, site, [*own, *roles_on(built, insights["id"])])


def events_after_their_way(built: Snapshot) -> Iterator[str]:
    """Event Grid asks, when a subscription is made, whether it may deliver."""
    topic = [one for one in of(built["resources"], ROLE) if "/events/" in one["path"]]
    places = [
        one
        for one in built["resources"]
        if one["name"].endswith(("/vault-events", "/vault-events-undelivered")) and not one["existing"]
    ]
    assert len(topic) == len(places) == 2
    for one in of(built["resources"], SUBSCRIPTION):
        yield from late(built, one, [*topic, *places])


def role_after_its_container(built: Snapshot) -> Iterator[str]:
    """A role on a container that is not there yet is refused."""
    containers = {
        one["name"].rsplit("/", 1)[-1]: one
        for one in of(built["resources"], "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers")
    }
    for one in of(built["resources"], DATA_ROLE):
        yield from late(built, one, [containers[one["body"]["properties"]["scope"].rsplit("/", 1)[-1]]])
    blobs = {
        one["id"]: one for one in of(built["resources"], "Microsoft.Storage/storageAccounts/blobServices/containers")
    }
    for one in of(built["resources"], ROLE):
        if one["scope"] in blobs:
            yield from late(built, one, [blobs[one["scope"]]])


ORDERS: Final = (encrypted_after_the_key, app_after_its_roles, events_after_their_way, role_after_its_container)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: str(order.__name__))
def test_the_order_holds(profile: str, order: Callable[[Snapshot], Iterator[str]]) -> None:
    assert list(order(snapshot(profile))) == []


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_waits_for_itself(profile: str) -> None:
    built = snapshot(profile)

    assert [one["path"] for one in built["resources"] if one["path"] in before(built, one["path"])] == []


def test_the_encrypted_services_are_found() -> None:
    found = json.dumps([one["body"] for kind in ENCRYPTED for one in of(snapshot("regulated")["resources"], kind)])

    assert found.count("/id-encryption-memory-") >= 6


BROKEN: Final = [
    (encrypted_after_the_key, "regulated", "resources/cosmos", "resources/vault"),
    (encrypted_after_the_key, "regulated", "resources/hosts[1]", "resources/vault"),
    (app_after_its_roles, "dev", "resources/functions[1]", "resources/hosts[1]"),
    (events_after_their_way, "team", "resources/events/subscription", "resources/events/maySetAside"),
    (events_after_their_way, "team", "resources/events", "resources/hosts[2]"),
    (role_after_its_container, "dev", "resources/cosmos/roles[0]", "resources/cosmos/shapes[2]"),
    (role_after_its_container, "dev", "resources/cold/containerRoles[0]", "resources/cold/stores[0]"),
]


@pytest.mark.parametrize(("order", "profile", "who", "what"), BROKEN)
def test_the_order_bites(order: Callable[[Snapshot], Iterator[str]], profile: str, who: str, what: str) -> None:
    built = snapshot(profile)
    for one in (*built["modules"], *built["resources"]):
        if one["path"] == who or one["path"].startswith(f"{who}/"):
            one["dependsOn"] = [path for path in one["dependsOn"] if path != what]

    assert any(who in words for words in order(built))
