"""Every binding of every app finds what it names: settings, connection, container with the right partition key, queue, role. Each check is shown to bite."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.infra.built import ROOT, SNAPSHOTS, Built, of, read, tag

from thermocline.functions.settings import AppSettings, variable_of
from thermocline.testing.functions.indexing import loaded

APPS = ROOT / "apps"
CONTRACT: dict[str, Any] = json.loads((ROOT / "infra/contract.json").read_text(encoding="utf-8"))
BUILT_APPS = sorted(script.parent.name for script in APPS.glob("*/function_app.py"))
LEASES = ["/id"]  # what the trigger asks of its lease container


@dataclass(frozen=True)
class Trigger:
    """A function's trigger, as the worker hands it to the host."""

    function: str
    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Given:
    """What a deployment gives one app. A setting that only Azure can tell is no text, but counts as given."""

    settings: Mapping[str, Any]
    containers: Mapping[str, list[str]]
    """``database/container`` -> the paths of its partition key."""
    queues: frozenset[str]
    access: frozenset[tuple[str, str]]
    """(what the role is on, role) as in the contract."""


def triggers_of(folder: Path) -> list[Trigger]:
    with loaded(folder) as app:
        return [Trigger(one.name, one.trigger.type, dict(one.trigger.options)) for one in app.functions.values()]


def given_by_contract(app: str) -> Given:
    """What the contract promises the app, with the values that the library takes when it is told nothing."""
    defaults = AppSettings(env_file=None)
    told = {variable_of(name): getattr(defaults, name) for name in AppSettings.model_fields}
    settings: dict[str, Any] = {"COSMOS_DATABASE": CONTRACT["cosmos"]["database"], "COSMOS_CONTAINER": "state"}
    settings |= {name: told[name] for name in CONTRACT["settings"][app]}
    for connection in connections_of(app):
        settings |= dict.fromkeys(CONTRACT["settings"]["connections"][connection], "given")
    return Given(
        settings,
        {
            f"{CONTRACT['cosmos']['database']}/{name}": container["partitionKey"]["paths"]
            for name, container in CONTRACT["cosmos"]["containers"].items()
        },
        frozenset(CONTRACT["queues"].values()),
        frozenset((row["on"], row["role"]) for row in CONTRACT["apps"][app]["access"]),
    )


def connections_of(app: str) -> list[str]:
    """The connections that the app's roles are for: a queue of the host, the feed's leases."""
    access = {row["on"]: row["role"] for row in CONTRACT["apps"][app]["access"]}
    queues = any(row["role"] == "queueDataContributor" for row in CONTRACT["apps"][app]["access"])
    return [name for name, used in (("COSMOS", "cosmos/leases" in access), ("EVENTS", queues)) if used]


def given_by_snapshot(built: Built, app: str) -> Given:
    """What a profile's snapshot builds for the app; the roles are compared with the contract elsewhere."""
    sites = [one for one in of(built, "Microsoft.Web/sites") if tag(one, "azd-service-name") == app]
    assert len(sites) == 1, f"one site has the tag azd-service-name: {app}, not {len(sites)}"
    written = {one["name"]: one for one in of(built, "Microsoft.Web/sites/config")}
    settings = written[f"{sites[0]['name']}/appsettings"]["body"]["properties"]
    account = settings["AzureWebJobsStorage__accountName"]
    containers = of(built, "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers")
    queues = of(built, "Microsoft.Storage/storageAccounts/queueServices/queues")
    return Given(
        settings,
        {
            one["name"].split("/", 1)[1]: one["body"]["properties"]["resource"]["partitionKey"]["paths"]
            for one in containers
        },
        frozenset(one["name"].rsplit("/", 1)[1] for one in queues if one["name"].startswith(f"{account}/")),
        given_by_contract(app).access,
    )


def problems(triggers: list[Trigger], given: Given) -> list[str]:
    """What would keep a trigger from firing, in words; empty if nothing does."""
    found: list[str] = []
    used = {str(one.options["connection"]) for one in triggers if "connection" in one.options}
    for one in triggers:
        found += [f"{one.function}: {word}" for word in _missing(one, given)]
        if one.kind == "cosmosDBTrigger":
            found += [f"{one.function}: {word}" for word in _feed(one, given)]
        elif one.kind == "queueTrigger":
            found += [f"{one.function}: {word}" for word in _queue(one, given)]
    for name in CONTRACT["settings"]["connections"]:
        if name not in used and any(setting.startswith(f"{name}__") for setting in given.settings):
            found.append(f"the connection {name} is given, and no trigger uses it")
    return found


def _missing(trigger: Trigger, given: Given) -> Iterator[str]:
    known = {*CONTRACT["settings"]["memory"], *(name for app in CONTRACT["apps"] for name in CONTRACT["settings"][app])}
    for option, value in trigger.options.items():
        for name in re.findall("%([^%]+)%", str(value)):
            if name not in known:
                yield f"{option} reads {name}, which the contract does not know"
            if given.settings.get(name, "") == "":
                yield f"{option} reads {name}, which is not given"
    connection = trigger.options.get("connection")
    if connection is None:
        return
    settings = CONTRACT["settings"]["connections"].get(connection)
    if settings is None:
        yield f"the contract knows no connection {connection}"
        return
    for name in settings:
        if given.settings.get(name, "") == "":
            yield f"the connection {connection} lacks {name}"
    if connection in given.settings:
        yield f"the setting {connection} would be a connection string, with a key"


def _value(trigger: Trigger, option: str, given: Given) -> str:
    """An option with its settings filled in; one that is not given stays as it is, and so names nothing that exists."""
    text = str(trigger.options.get(option, ""))
    return re.sub("%([^%]+)%", lambda found: str(given.settings.get(found[1], found[0])), text)


def _feed(trigger: Trigger, given: Given) -> Iterator[str]:
    database = _value(trigger, "databaseName", given)
    feed, leases = (_value(trigger, name, given) for name in ("containerName", "leaseContainerName"))
    expected = {feed: CONTRACT["cosmos"]["containers"]["state"]["partitionKey"]["paths"], leases: LEASES}
    if feed == leases:
        yield f"it reads its own leases, in {feed}"
    for name, paths in expected.items():
        built = given.containers.get(f"{database}/{name}")
        if built is None:
            yield f"there is no container {database}/{name}"
        elif built != paths:
            yield f"the container {name} has the partition key {built}, not {paths}"
        if (f"cosmos/{name}", "cosmosDataContributor") not in given.access:
            yield f"the app has no role to write to {name}"
    if trigger.options.get("createLeaseContainerIfNotExists") in (True, "true", "True"):
        yield "it would make its lease container, for which no identity has a role"
    if _value(trigger, "leaseDatabaseName", given) not in ("", database):
        yield "its leases are in another database"


def _queue(trigger: Trigger, given: Given) -> Iterator[str]:
    name = _value(trigger, "queueName", given)
    for queue in (name, f"{name}-poison"):
        if queue not in given.queues:
            yield f"there is no queue {queue}"
    if ("host", "queueDataContributor") not in given.access:
        yield "the app has no role on its queues"


def ready_for_nobody(triggers: list[Trigger], built: Built, app: str) -> list[str]:
    """Groups that instances are kept ready for, and that the app does not have: paid for, and never used."""
    names = {f"function:{one.function}" for one in triggers if one.kind != "httpTrigger"}
    if any(one.kind == "httpTrigger" for one in triggers):
        names.add("http")
    kept: set[str] = set()
    for site in of(built, "Microsoft.Web/sites"):
        if tag(site, "azd-service-name") == app:
            scale = site["body"]["properties"]["functionAppConfig"]["scaleAndConcurrency"]
            kept |= {group["name"] for group in scale["alwaysReady"]}
    return sorted(kept - names)


def gateway(host: Mapping[str, Any]) -> bool:
    """Whether the Cosmos DB trigger speaks HTTPS alone: the network lets nothing else through."""
    mode = host.get("extensions", {}).get("cosmosDB", {}).get("connectionMode", "Gateway")
    return str(mode).lower() == "gateway"


@pytest.mark.parametrize("app", BUILT_APPS)
def test_the_contract_gives_each_trigger_what_it_names(app: str) -> None:
    triggers = triggers_of(APPS / app)
    assert triggers
    assert problems(triggers, given_by_contract(app)) == []


@pytest.mark.parametrize("app", BUILT_APPS)
@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
def test_each_profile_gives_each_trigger_what_it_names(snapshot: Path, app: str) -> None:
    built = read(snapshot)
    assert problems(triggers_of(APPS / app), given_by_snapshot(built, app)) == []


@pytest.mark.parametrize("app", BUILT_APPS)
@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
def test_instances_are_kept_ready_for_functions_that_exist(snapshot: Path, app: str) -> None:
    assert ready_for_nobody(triggers_of(APPS / app), read(snapshot), app) == []


def test_instances_kept_ready_for_nobody_are_seen() -> None:
    groups = [{"name": name, "instanceCount": 2} for name in ("http", "function:settle", "function:setle")]
    site = {
        "type": "Microsoft.Web/sites",
        "body": {
            "tags": {"azd-service-name": "memory-worker"},
            "properties": {"functionAppConfig": {"scaleAndConcurrency": {"alwaysReady": groups}}},
        },
    }
    triggers = [Trigger("settle", "cosmosDBTrigger", {})]
    assert ready_for_nobody(triggers, [site], "memory-worker") == ["function:setle", "http"]
    assert ready_for_nobody([*triggers, Trigger("health", "httpTrigger", {})], [site], "memory-worker") == [
        "function:setle"
    ]


@pytest.mark.parametrize("app", BUILT_APPS)
def test_the_cosmos_trigger_stays_with_https(app: str) -> None:
    assert gateway(json.loads((APPS / app / "host.json").read_text(encoding="utf-8")))


def test_direct_mode_would_be_seen() -> None:
    assert gateway({"version": "2.0"})
    assert not gateway({"extensions": {"cosmosDB": {"connectionMode": "Direct"}}})


def test_apps_and_contract_name_the_same_apps() -> None:
    assert set(BUILT_APPS) == set(CONTRACT["apps"])


# An app as it should be, and what goes wrong with it, one thing at a time.
GOOD = '''
import azure.functions as func

app = func.FunctionApp()


@app.cosmos_db_trigger(
    arg_name="documents", connection="COSMOS", database_name="%COSMOS_DATABASE%", container_name="%COSMOS_CONTAINER%",
    lease_container_name="%THERMOCLINE_LEASES_CONTAINER%", create_lease_container_if_not_exists=False,
)
def settle(documents: func.DocumentList) -> None:
    """Settle."""


@app.queue_trigger(arg_name="message", connection="EVENTS", queue_name="%THERMOCLINE_VAULT_EVENTS_QUEUE%")
def vault_event(message: func.QueueMessage) -> None:
    """Renew."""


@app.timer_trigger(arg_name="timer", schedule="%THERMOCLINE_SWEEP_SCHEDULE%")
def sweep(timer: func.TimerRequest) -> None:
    """Sweep."""
'''


def good(folder: Path, text: str = GOOD) -> list[Trigger]:
    folder.mkdir()
    (folder / "host.json").write_text('{"version": "2.0"}', encoding="utf-8")
    (folder / "function_app.py").write_text(text, encoding="utf-8")
    return triggers_of(folder)


def test_a_good_app_has_no_problem(tmp_path: Path) -> None:
    assert problems(good(tmp_path / "app"), given_by_contract("memory-worker")) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('connection="COSMOS"', 'connection="AZURE_COSMOS"', "knows no connection AZURE_COSMOS"),
        ("%COSMOS_CONTAINER%", "%COSMOS_FEED%", "COSMOS_FEED, which the contract does not know"),
        ("%COSMOS_CONTAINER%", "dead-letters-2", "no container memory/dead-letters-2"),
        ("%COSMOS_CONTAINER%", "leases", "reads its own leases"),
        ("%THERMOCLINE_LEASES_CONTAINER%", "dead-letters", "the partition key ['/tenant', '/scope'], not ['/id']"),
        ("%COSMOS_DATABASE%", "other", "no container other/state"),
        ("not_exists=False", "not_exists=True", "no identity has a role"),
        ("%THERMOCLINE_VAULT_EVENTS_QUEUE%", "events", "no queue events"),
        ("%THERMOCLINE_SWEEP_SCHEDULE%", "%SWEEP%", "SWEEP, which is not given"),
        ('connection="EVENTS"', 'connection="COSMOS"', "EVENTS is given, and no trigger uses it"),
    ],
)
def test_a_wrong_binding_is_seen(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    found = problems(good(tmp_path / "app", GOOD.replace(old, new)), given_by_contract("memory-worker"))
    assert any(told in word for word in found), found


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"settings": {"COSMOS__accountEndpoint": ""}}, "lacks COSMOS__accountEndpoint"),
        ({"settings": {"EVENTS__clientId": ""}}, "lacks EVENTS__clientId"),
        ({"settings": {"EVENTS": "AccountKey=x"}}, "a connection string, with a key"),
        ({"settings": {"THERMOCLINE_SWEEP_SCHEDULE": ""}}, "THERMOCLINE_SWEEP_SCHEDULE, which is not given"),
        ({"settings": {"COSMOS_DATABASE": "memories"}}, "no container memories/state"),
        ({"containers": {"memory/state": ["/tenant"]}}, "state has the partition key ['/tenant']"),
        ({"containers": {"memory/leases": ["/partitionKey"]}}, "leases has the partition key ['/partitionKey']"),
        ({"queues": frozenset({"vault-events"})}, "no queue vault-events-poison"),
        ({"access": frozenset({("cosmos/state", "cosmosDataReader")})}, "no role to write to state"),
        ({"access": frozenset({("cosmos/state", "cosmosDataContributor")})}, "no role on its queues"),
    ],
)
def test_a_deployment_that_lacks_something_is_seen(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    given = given_by_contract("memory-worker")
    merged: dict[str, Any] = {
        name: {**getattr(given, name), **value} if isinstance(value, dict) else value for name, value in changed.items()
    }
    found = problems(good(tmp_path / "app"), replace(given, **merged))
    assert any(told in word for word in found), found


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", ["queues", "containers"])
def test_a_snapshot_without_it_is_seen(tmp_path: Path, snapshot: Path, kind: str) -> None:
    built = read(snapshot)
    triggers = good(tmp_path / "app")
    assert problems(triggers, given_by_snapshot(built, "memory-worker")) == []
    less = [one for one in built if not one["type"].endswith(f"/{kind}")]
    assert problems(triggers, given_by_snapshot(less, "memory-worker")) != []
