"""`infra/contract.json` is what code and infrastructure agree on: the library and the apps on one side, every profile's snapshot on the other."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from tests.infra.built import Break, Built, built_by, change, contract, of, snapshot, tag, without

from thermocline.functions.api import BODY_BYTES
from thermocline.functions.settings import AppSettings, variable_of
from thermocline.letters import LASTING
from thermocline.settings import MemorySettings, variables
from thermocline.telemetry.names import METRICS
from thermocline.tiers.warm import letters, shape

Contract = dict[str, Any]
PROFILES: Final = ("dev", "team", "private", "regulated")
APPS: Final = ("memory-worker", "memory-api", "agent-sample")


# --- the library and the contract ------------------------------------------------------------------------------------


def library_differs(agreed: Contract) -> Iterator[str]:
    """Where the library's own words are not the contract's."""
    containers = agreed["cosmos"]["containers"]
    state, dead = containers["state"], containers["dead-letters"]
    wanted = {
        "partition key of state": (tuple(state["partitionKey"]["paths"]), shape.PATHS),
        "kind of state's key": (state["partitionKey"]["kind"], "MultiHash"),
        "TTL of state": (state["defaultTtl"], shape.DEFAULT_TTL),
        "indexing of state": (state["indexingPolicy"], shape.INDEXING),
        "partition key of dead letters": (tuple(dead["partitionKey"]["paths"]), shape.PATHS),
        "TTL of dead letters": (dead["defaultTtl"], round(LASTING.total_seconds())),
        "indexing of dead letters": (dead["indexingPolicy"], letters.INDEXING),
        "partition key of leases": (tuple(containers["leases"]["partitionKey"]["paths"]), ("/id",)),
        "database": (agreed["cosmos"]["database"], MemorySettings.model_fields["cosmos_database"].default),
        "container of blobs": (agreed["cold"]["containers"], [MemorySettings.model_fields["blob_container"].default]),
        "table": (agreed["cold"]["tables"], [MemorySettings.model_fields["table_name"].default]),
        "queue of events": (agreed["queues"]["vaultEvents"], AppSettings.model_fields["vault_events_queue"].default),
        "container of leases": ("leases", AppSettings.model_fields["leases_container"].default),
        "container of dead letters": ("dead-letters", AppSettings.model_fields["dead_letters_container"].default),
    }
    yield from (f"{what}: {said!r} and {is_so!r}" for what, (said, is_so) in wanted.items() if said != is_so)
    memory = {variable for name in MemorySettings.model_fields for variable in variables(name)}
    of_apps = {variable_of(name) for name in AppSettings.model_fields}
    given = agreed["settings"]
    yield from (f"MemorySettings reads no {name}" for name in given["memory"] if name not in memory)
    yield from (f"AppSettings reads no {name} of {app}" for app in APPS for name in given[app] if name not in of_apps)
    yield from (f"no app is given {name}" for name in sorted(of_apps - {name for app in APPS for name in given[app]}))
    yield from (f"nothing reads the output {name}" for name in agreed["outputs"] if name not in memory | of_apps)
    emitted = {metric.name for metric in METRICS.values()}
    yield from (
        f"the library emits no {name}" for names in agreed["metrics"].values() for name in names if name not in emitted
    )


def test_the_library_keeps_the_contract() -> None:
    assert list(library_differs(contract())) == []


def put(path: str, value: Any) -> Callable[[Contract], None]:
    def act(agreed: Contract) -> None:
        *way, last = path.split("/")
        at: Any = agreed
        for part in way:
            at = at[part]
        at[last] = value

    return act


@pytest.mark.parametrize(
    ("change_it", "words"),
    [
        (put("cosmos/containers/state/partitionKey/paths", ["/tenant", "/user"]), "partition key of state"),
        (put("cosmos/containers/state/partitionKey/kind", "Hash"), "kind of state's key"),
        (put("cosmos/containers/state/defaultTtl", None), "TTL of state"),
        (put("cosmos/containers/state/indexingPolicy/excludedPaths", []), "indexing of state"),
        (put("cosmos/containers/dead-letters/partitionKey/paths", ["/id"]), "partition key of dead letters"),
        (put("cosmos/containers/dead-letters/defaultTtl", 86400), "TTL of dead letters"),
        (put("cosmos/containers/leases/partitionKey/paths", ["/pk"]), "partition key of leases"),
        (put("cosmos/database", "agents"), "database"),
        (put("cold/containers", ["cold"]), "container of blobs"),
        (put("queues/vaultEvents", "events"), "queue of events"),
        (put("settings/memory", ["REDIS_HOSTNAME"]), "MemorySettings reads no REDIS_HOSTNAME"),
        (put("settings/memory-worker", ["THERMOCLINE_SWEEPS"]), "AppSettings reads no THERMOCLINE_SWEEPS"),
        (put("settings/memory-api", []), "no app is given THERMOCLINE_JOBS_SCHEDULE"),
        (put("outputs", ["REDIS_HOSTNAME"]), "nothing reads the output REDIS_HOSTNAME"),
        (put("metrics/pool", ["thermocline.pool.used"]), "the library emits no thermocline.pool.used"),
    ],
)
def test_a_change_on_one_side_alone_is_caught(change_it: Callable[[Contract], None], words: str) -> None:
    agreed = contract()
    change_it(agreed)

    assert any(one.startswith(words) for one in library_differs(agreed))


# --- the snapshots and the contract ----------------------------------------------------------------------------------


def stores_differ(agreed: Contract, built: Built) -> Iterator[str]:
    """Databases, containers, tables and queues that a profile builds otherwise than agreed."""
    database = "Microsoft.DocumentDB/databaseAccounts/sqlDatabases"
    for one in of(built, database):
        if one["name"].split("/")[-1] != agreed["cosmos"]["database"]:
            yield f"the database {one['name']}"
    found = {
        one["name"].split("/")[-1]: one["body"]["properties"]["resource"] for one in of(built, f"{database}/containers")
    }
    if found.keys() != agreed["cosmos"]["containers"].keys():
        yield f"the containers are {sorted(found)}"
    for name, wanted in agreed["cosmos"]["containers"].items():
        is_built = {key: found.get(name, {}).get(key) for key in ("partitionKey", "defaultTtl", "indexingPolicy")}
        yield from (f"{name}: {key} is {value}" for key, value in is_built.items() if value != wanted[key])
    storage = "Microsoft.Storage/storageAccounts"
    for kind, wanted_names in (
        (
            f"{storage}/blobServices/containers",
            {*agreed["cold"]["containers"], "app-package", "vault-events-undelivered"},
        ),
        (f"{storage}/tableServices/tables", set(agreed["cold"]["tables"])),
        (f"{storage}/queueServices/queues", set(agreed["queues"].values())),
    ):
        names = {one["name"].split("/")[-1] for one in of(built, kind)}
        if names != wanted_names:
            yield f"{kind}: {sorted(names)} instead of {sorted(wanted_names)}"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_builds_the_stores_that_are_agreed(profile: str) -> None:
    assert list(stores_differ(contract(), built_by(profile))) == []


CONTAINER: Final = "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers"


@pytest.mark.parametrize(
    "break_it",
    [
        change(CONTAINER, "properties.resource.partitionKey.paths", ["/tenant"], -1),
        change(CONTAINER, "properties.resource.partitionKey.kind", "Hash", -1),
        change(CONTAINER, "properties.resource.defaultTtl", None, -1),
        change(CONTAINER, "properties.resource.indexingPolicy.excludedPaths", [], -1),
        without(CONTAINER),
        without("Microsoft.Storage/storageAccounts/queueServices/queues", 1),
        without("Microsoft.Storage/storageAccounts/tableServices/tables"),
        without("Microsoft.Storage/storageAccounts/blobServices/containers"),
    ],
)
def test_a_store_that_is_built_otherwise_is_caught(break_it: Break) -> None:
    built = built_by("dev")
    break_it(built)

    assert list(stores_differ(contract(), built)) != []


# --- settings --------------------------------------------------------------------------------------------------------


def settings_of(built: Built, app: str) -> dict[str, Any]:
    (site,) = [one for one in of(built, "Microsoft.Web/sites") if tag(one, "azd-service-name") == app]
    configs = {one["name"]: one["body"]["properties"] for one in of(built, "Microsoft.Web/sites/config")}
    found: dict[str, Any] = configs[f"{site['name']}/appsettings"]
    return found


def agreed_settings(agreed: Contract, app: str) -> set[str]:
    given = agreed["settings"]
    bindings = (
        [name for connection in given["connections"].values() for name in connection] if app == "memory-worker" else []
    )
    return {*given["memory"], *given[app], *given["host"], *given["identity"], *bindings}


def settings_differ(agreed: Contract, built: Built) -> Iterator[str]:
    """Settings that an app is given and nobody agreed on, and the other way round."""
    for app in APPS:
        found, wanted = set(settings_of(built, app)), agreed_settings(agreed, app)
        yield from (f"{app} is given {name}" for name in sorted(found - wanted))
        yield from (f"{app} is not given {name}" for name in sorted(wanted - found))


@pytest.mark.parametrize("profile", PROFILES)
def test_every_app_is_given_what_is_agreed_and_no_more(profile: str) -> None:
    assert list(settings_differ(contract(), built_by(profile))) == []


@pytest.mark.parametrize(
    "break_it",
    [
        change("Microsoft.Web/sites/config", "properties.REDIS_URL", "x"),
        change("Microsoft.Web/sites/config", "properties.AZURE_CLIENT_ID", None, 2),
    ],
)
def test_a_setting_too_many_or_too_few_is_caught(break_it: Break) -> None:
    built = built_by("dev")
    break_it(built)

    assert len(list(settings_differ(contract(), built))) == 1


# What Azure alone knows, as it would tell it.
TOLD: Final = {
    "cluster.properties.hostName": "redis-memory-akiio2eb.swedencentral.redis.azure.net",
    "account.properties.documentEndpoint": "https://cosmos-memory-akiio2eb.documents.azure.com:443/",
    "primaryEndpoints.blob": "https://stcoldakiio2eb.blob.core.windows.net/",
    "primaryEndpoints.queue": "https://stmemoryworkerakiio2eb.queue.core.windows.net/",
    "primaryEndpoints.table": "https://stcoldakiio2eb.table.core.windows.net/",
    "vault.properties.vaultUri": "https://kv-memory-akiio2eb.vault.azure.net/",
    "properties.clientId": "55555555-5555-5555-5555-555555555555",
    "properties.ConnectionString": "InstrumentationKey=66666666-6666-6666-6666-666666666666;IngestionEndpoint=https://in.example/",
}


def as_azure_tells(value: Any) -> str:
    if isinstance(value, str):
        return value
    for end, text in TOLD.items():
        if value["$ref"].rstrip("'}").endswith(end):
            return text
    return (
        f"https://{value['$ref'].split('/')[1]}.example" if "defaultHostName" in value["$ref"] else str(value["$ref"])
    )


def clean(monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str]) -> None:
    for name in list(os.environ):
        if name.startswith(("THERMOCLINE_", "REDIS_", "COSMOS_", "BLOB_", "TABLE_", "KEY_VAULT_", "AZURE_")):
            monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("app", APPS)
def test_an_app_reads_what_it_is_given(app: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the very classes that read it: nothing is refused, the schedules are the library's own, and Redis is signed in to by token."""
    given = {name: as_azure_tells(value) for name, value in settings_of(built_by("dev"), app).items()}
    clean(monkeypatch, given)

    memory, own = MemorySettings.load(env_file=None), AppSettings.load(env_file=None)
    untouched = AppSettings.model_construct()

    assert memory.resolve_redis_url() == "rediss://redis-memory-akiio2eb.swedencentral.redis.azure.net:10000"
    assert memory.redis_by_token()
    assert (memory.cosmos_container, memory.blob_container) == ("state", "memory")
    told_otherwise = {"api_audience", "api_tenants"}
    assert own.model_dump(exclude=told_otherwise) == untouched.model_dump(exclude=told_otherwise)
    assert own.api_tenants == (() if app == "memory-worker" else ("11111111-1111-1111-1111-111111111111",))


@pytest.mark.parametrize("profile", PROFILES)
def test_the_host_takes_no_larger_body_than_the_app(profile: str) -> None:
    """It reads a body before the app can look at its token."""
    for app in APPS:
        assert int(settings_of(built_by(profile), app)["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"]) == BODY_BYTES


def env_get_values(outputs: Mapping[str, Any]) -> str:
    """As `azd env get-values` prints an environment: its own variables and the outputs, in quotes."""
    own = {
        "AZURE_ENV_NAME": "memory",
        "AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000000",
        "AZURE_BUDGET_START": "2026-11-01",
    }
    return "".join(f'{name}="{as_azure_tells(value)}"\n' for name, value in {**own, **outputs}.items())


@pytest.mark.parametrize("profile", PROFILES)
def test_the_outputs_are_a_working_env_file(profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean(monkeypatch, {})
    file = tmp_path / ".env"
    file.write_text(env_get_values(snapshot(profile)["outputs"]), encoding="utf-8")

    settings = MemorySettings.load(file)

    assert settings.redis_by_token()
    assert settings.cosmos_account_uri == TOLD["account.properties.documentEndpoint"]
    assert settings.blob_account_url == TOLD["primaryEndpoints.blob"]
    assert settings.table_account_url == TOLD["primaryEndpoints.table"]
    assert settings.key_vault_uri == TOLD["vault.properties.vaultUri"]
    assert AppSettings.load(file).dead_letters_container == "dead-letters"


def outputs_differ(agreed: Contract, outputs: Mapping[str, Any]) -> Iterator[str]:
    """Outputs are what is agreed, and for azd and people: where it is and what was built."""
    others = {
        name
        for name in outputs
        if name.startswith("AZURE_") or re.fullmatch("(MEMORY_API|MEMORY_WORKER|AGENT_SAMPLE)_URL", name)
    }
    yield from (
        f"nobody agreed on the output {name}" for name in outputs if name not in others | set(agreed["outputs"])
    )
    yield from (f"there is no output {name}" for name in agreed["outputs"] if name not in outputs)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_outputs_are_those_agreed(profile: str) -> None:
    outputs = snapshot(profile)["outputs"]

    assert list(outputs_differ(contract(), outputs)) == []
    assert list(outputs_differ(contract(), {**outputs, "COSMOS_KEY": "x"})) == [
        "nobody agreed on the output COSMOS_KEY"
    ]
    assert list(outputs_differ(contract(), {name: one for name, one in outputs.items() if name != "REDIS_HOST"})) != []
