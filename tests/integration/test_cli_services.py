"""demo, stat and doctor on real servers: Redis, Azurite and the strict Cosmos server, well and broken."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.cosmos import CosmosClient, PartitionKey
from azure.storage.blob import AccountSasPermissions, BlobServiceClient, ResourceTypes, generate_account_sas
from typer.testing import CliRunner

from thermocline import HotMemory, Key, MemoryClient
from thermocline.cli.app import app
from thermocline.protocols import Announce
from thermocline.resilience import Budget
from thermocline.testing.conformance.samples import soon
from thermocline.testing.rig import Azurite, CosmosServer, RedisCluster, RedisServer
from thermocline.tiers.cold import ColdMemory
from thermocline.tiers.warm import WarmMemory

Done = subprocess.CompletedProcess[str]
DATABASE = "cli"
PATIENT = Budget(call=timedelta(minutes=1), warm=timedelta(seconds=15), cold=timedelta(seconds=30))


def run(*words: str, folder: Path, **variables: str) -> Done:
    """A command in this process, in a thread with an event loop of its own, so that what it leaves open is seen here; the demo, and what has variables, as
    a process."""
    if words[0] != "demo" and not variables:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(run_here, words, folder).result()
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        [sys.executable, "-m", "thermocline.cli", *words],
        capture_output=True,
        text=True,
        timeout=110,
        env={**kept, "THERMOCLINE_HOME": str(folder / "home"), **variables},
        cwd=folder,
        check=False,
    )


def run_here(words: tuple[str, ...], folder: Path) -> Done:
    none = folder / "empty.env"
    none.touch()
    words = (*words, "--home", str(folder / "home"), "--env-file", str(none))
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(words, result.exit_code, result.stdout, result.stderr)


def sas(azurite: Azurite, **permissions: bool) -> str:
    """The blob endpoint with a SAS in it, for all of the account."""
    given = permissions or dict.fromkeys(("read", "write", "delete", "list", "add", "create"), True)
    signature = generate_account_sas(
        azurite.account,
        azurite.key,
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(**given),
        datetime.now(UTC) + timedelta(hours=1),
    )
    return f"{azurite.blob_url}?{signature}"


@dataclass(frozen=True)
class Place:
    """Three services and a container of this test's in each."""

    redis: RedisServer
    cosmos: CosmosServer
    azurite: Azurite
    name: str

    @property
    def warm(self) -> list[str]:
        words = ["--cosmos-account-uri", self.cosmos.url, "--cosmos-key", self.cosmos.key]
        return [*words, "--cosmos-database", DATABASE, "--cosmos-container", self.name]

    @property
    def cold(self) -> list[str]:
        return ["--blob-account-url", sas(self.azurite), "--blob-container", self.name]

    @property
    def all(self) -> list[str]:
        return ["--redis-url", self.redis.url, *self.warm, *self.cold]


@pytest.fixture
def place(
    redis_server: RedisServer, own_cosmos: CosmosServer, azurite: Azurite, unique_name: Callable[[str], str]
) -> Iterator[Place]:
    yield Place(redis_server, own_cosmos, azurite, unique_name("cli"))
    own_cosmos.control.reset("faults")


@pytest.fixture
async def made(place: Place) -> Place:
    """The containers exist."""
    async with WarmMemory(place.cosmos.url, DATABASE, place.name, key=place.cosmos.key, create=True):
        pass
    async with ColdMemory.from_connection_string(place.azurite.connection_string, place.name, create=True):
        pass
    return place


def wrong(result: Done) -> list[dict[str, Any]]:
    """The checks of ``doctor --json`` that failed."""
    return [check for check in json.loads(result.stdout)["checks"] if not check["ok"]]


# --- demo ------------------------------------------------------------------------------------------------------------


async def test_the_demo_loses_nothing_on_services_and_leaves_nothing_there(place: Place, tmp_path: Path) -> None:
    result = run("demo", "--create", "--json", *place.all, folder=tmp_path)

    assert result.returncode == 0, result.stderr + result.stdout
    told = json.loads(result.stdout)
    assert told["differences"] == []
    assert told["outage"]["stopped"].startswith("the port that leads to it was shut")
    assert told["outage"]["hot_calls_failed"] > 0
    assert told["outage"]["settled"] is True
    assert told["stats"]["warm"]["request_units"] > 0
    assert told["where"]["hot"].startswith("Redis at 127.0.0.1")
    assert "sig=" not in result.stdout
    assert await live_names(place) == []


async def live_names(place: Place) -> list[str]:
    """The names of all live records in the warm container, whatever their scope."""
    with CosmosClient(place.cosmos.url, place.cosmos.key) as client:
        items = client.get_database_client(DATABASE).get_container_client(place.name).read_all_items()
        scopes = {(item["tenant"], item["scope"]) for item in items if item["tenant"] != ""}
    assert scopes != set()
    warm = WarmMemory(place.cosmos.url, DATABASE, place.name, key=place.cosmos.key)
    async with MemoryClient(warm=warm, budget=PATIENT) as memory:
        return [item.key.name for tenant, scope in scopes for item in await memory.list(tenant=tenant, scope=scope)]


def test_the_demo_mixes_services_with_embedded_tiers(redis_server: RedisServer, tmp_path: Path) -> None:
    talk = tmp_path / "talk.jsonl"
    talk.write_text("\n".join(json.dumps({"role": "user", "text": f"turn {n}"}) for n in range(70)))

    result = run("demo", "--transcript", str(talk), "--redis-url", redis_server.url, folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert "Redis at 127.0.0.1" in result.stdout
    assert "SQLite" in result.stdout


def test_the_demo_refuses_a_cluster_in_plain_words(redis_cluster: RedisCluster, tmp_path: Path) -> None:
    result = run("demo", "--redis-url", redis_cluster.url, folder=tmp_path)

    assert result.returncode == 3
    assert "a single server and no cluster" in result.stderr


# --- stat ------------------------------------------------------------------------------------------------------------


def rows(result: Done) -> list[tuple[str, str, str]]:
    return [(row["tier"], row["what"], row["state"]) for row in json.loads(result.stdout)["tiers"]]


async def test_stat_asks_each_tier(made: Place, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(random.Random(3).randbytes(300_000))
    assert run("set", "small", "1", "--ttl", "1h", *made.all, folder=tmp_path).returncode == 0
    assert run("set", "large", "--file", str(large), *made.all, folder=tmp_path).returncode == 0

    small = run("stat", "small", "--json", *made.all, folder=tmp_path)
    big = run("stat", "large", "--json", *made.all, folder=tmp_path)
    missing = run("stat", "missing", "--json", *made.all, folder=tmp_path)
    table = run("stat", "large", *made.all, folder=tmp_path)

    assert (small.returncode, big.returncode, missing.returncode) == (0, 0, 1)
    assert rows(small) == [("hot", "entry", "a value"), ("warm", "record", "a value")]
    versions = {row["version"] for row in json.loads(small.stdout)["tiers"]}
    assert len(versions) == 1
    assert all(row["expires"] is not None for row in json.loads(small.stdout)["tiers"])
    assert rows(big) == [
        ("hot", "entry", "a value"),
        ("warm", "record", "a pointer"),
        ("cold", "payload", "whole, digest right"),
    ]
    assert {row["raw_size"] for row in json.loads(big.stdout)["tiers"][:2]} == {300_000}
    assert rows(missing) == [("hot", "entry", "absent"), ("warm", "record", "absent")]
    assert "payload: tc1/" in table.stdout


async def test_stat_tells_a_marker_from_a_value(made: Place, tmp_path: Path) -> None:
    key = Key("default", made.name, "busy")
    hot = HotMemory(made.redis.url)
    await hot.connect()
    await hot.operate(Announce(key, "writer", 60_000), deadline=soon())
    await hot.close()

    result = run("stat", "busy", "--scope", made.name, "--json", *made.all, folder=tmp_path)

    assert rows(result)[0] == ("hot", "entry", "announced (writers: 1), floor 0")
    assert result.returncode == 1


async def test_stat_says_so_where_versions_differ(made: Place, tmp_path: Path) -> None:
    run("set", "key", "1", "--scope", made.name, *made.all, folder=tmp_path)
    run("set", "key", "2", "--scope", made.name, *made.warm, *made.cold, folder=tmp_path)  # by somebody without hot

    result = run("stat", "key", "--scope", made.name, *made.all, folder=tmp_path)

    assert result.returncode == 0
    assert "different versions" in result.stdout


async def test_stat_finds_a_damaged_payload(made: Place, tmp_path: Path) -> None:
    key = Key("default", made.name, "large")
    warm = WarmMemory(made.cosmos.url, DATABASE, made.name, key=made.cosmos.key)
    cold = ColdMemory.from_connection_string(made.azurite.connection_string, made.name)
    async with MemoryClient(warm=warm, cold=cold, budget=PATIENT) as memory:
        await memory.set(key, random.Random(4).randbytes(300_000))
    with BlobServiceClient.from_connection_string(made.azurite.connection_string) as account:
        container = account.get_container_client(made.name)
        (name,) = [name for name in container.list_blob_names() if "large" in name]
        blob = container.get_blob_client(name)
        metadata = blob.get_blob_properties().metadata
        blob.upload_blob(b"x" * 300_000, overwrite=True, metadata=metadata)

    result = run("stat", "large", "--scope", made.name, *made.warm, *made.cold, folder=tmp_path)
    quick = run("stat", "large", "--scope", made.name, "--quick", *made.warm, *made.cold, folder=tmp_path)

    assert result.returncode == 4
    assert "does not have the content that its name says" in result.stderr
    assert quick.returncode == 0


async def test_stat_shows_the_tiers_that_answer_beside_one_that_does_not(made: Place, tmp_path: Path) -> None:
    words = ["--redis-url", "redis://127.0.0.1:1", *made.warm]
    run("set", "key", "1", *made.warm, folder=tmp_path)

    result = run("stat", "key", "--json", *words, folder=tmp_path)

    assert result.returncode == 3
    assert rows(result)[-1] == ("warm", "record", "a value")
    assert json.loads(result.stdout)["tiers"][0]["error"] == "TierUnavailable"


# --- doctor ----------------------------------------------------------------------------------------------------------


async def test_doctor_finds_all_well(made: Place, tmp_path: Path) -> None:
    result = run("doctor", "--json", *made.all, folder=tmp_path)

    assert result.returncode == 0, result.stdout
    checks = json.loads(result.stdout)["checks"]
    assert {(check["tier"], check["check"]) for check in checks} >= {
        (tier, what) for tier in ("hot", "warm", "cold") for what in ("name", "port", "connect", "round trip", "write")
    }
    assert all(check["milliseconds"] > 0 for check in checks if check["check"] == "round trip")
    assert "All is well" in run("doctor", *made.all, folder=tmp_path).stdout


async def test_doctor_names_what_is_wrong_with_cosmos(made: Place, tmp_path: Path) -> None:
    with CosmosClient(made.cosmos.url, made.cosmos.key) as client:
        database = client.get_database_client(DATABASE)
        database.create_container(f"{made.name}-pk", PartitionKey("/pk"), default_ttl=-1)
        database.create_container(
            f"{made.name}-ttl", PartitionKey(["/tenant", "/scope"], kind="MultiHash"), default_ttl=60
        )
    base = ["--cosmos-account-uri", made.cosmos.url, "--cosmos-database", DATABASE]
    key = ["--cosmos-key", made.cosmos.key]
    cases = [
        ([*base, *key, "--cosmos-container", "nowhere"], 5, "has no container"),
        ([*base, *key, "--cosmos-container", f"{made.name}-pk"], 5, "partitioned by /pk"),
        ([*base, *key, "--cosmos-container", f"{made.name}-ttl"], 5, "defaultTtl of 60"),
        ([*base, "--cosmos-key", "d3Jvbmc=", "--cosmos-container", made.name], 3, "is it this account's key"),
    ]
    for words, code, told in cases:
        result = run("doctor", "--json", *words, folder=tmp_path)
        assert result.returncode == code, (words, result.stdout, result.stderr)
        assert [(check["tier"], check["check"]) for check in wrong(result)] == [("warm", "connect")]
        assert told in wrong(result)[0]["found"]


async def test_doctor_names_the_missing_role(made: Place, tmp_path: Path) -> None:
    refusal = "Request blocked by Auth: principal does not have required RBAC permissions"
    made.cosmos.control.inject("status", status=403, substatus=5302, message=refusal, kinds=("create", "patch"))

    result = run("doctor", "--json", *made.warm, folder=tmp_path)

    assert result.returncode == 3
    assert wrong(result)[0]["check"] == "write"
    assert "Cosmos DB Built-in Data Contributor" in wrong(result)[0]["found"]


async def test_doctor_names_what_is_wrong_with_blob_storage(made: Place, tmp_path: Path) -> None:
    reader = ["--blob-account-url", sas(made.azurite, read=True, list=True), "--blob-container", made.name]
    forged = ["--blob-account-url", sas(made.azurite)[:-8] + "AAAAAAA%3D", "--blob-container", made.name]
    nowhere = ["--blob-account-url", sas(made.azurite), "--blob-container", "nowhere"]

    for words, code, check, told in (
        (reader, 3, "write", "Storage Blob Data Contributor"),
        (forged, 3, "connect", "SAS"),
        (nowhere, 5, "connect", "there is no container 'nowhere'"),
    ):
        result = run("doctor", "--json", *words, folder=tmp_path)
        assert result.returncode == code, result.stdout + result.stderr
        assert wrong(result)[0]["check"] == check
        assert told in wrong(result)[0]["found"]
        assert "sig=" not in result.stdout + result.stderr


def test_doctor_names_a_wrong_password_of_redis(tmp_path: Path) -> None:
    with RedisServer(password="right") as server:
        result = run("doctor", "--json", "--redis-url", f"redis://:wrong@127.0.0.1:{server.port}", folder=tmp_path)
        well = run("doctor", "--json", "--redis-url", server.url, folder=tmp_path)

    assert (result.returncode, well.returncode) == (3, 0)
    assert "the credential is missing or wrong" in wrong(result)[0]["found"]
    assert "wrong@" not in result.stdout + result.stderr


def test_doctor_tells_name_port_and_certificate_apart(tmp_path: Path) -> None:
    with CosmosServer(kind="strict", tls=True) as server:
        words = ["--cosmos-account-uri", server.url, "--cosmos-key", server.key]
        untrusted = run("doctor", "--json", *words, folder=tmp_path)
        assert server.ca_file is not None
        trusted = run("doctor", "--json", *words, folder=tmp_path, SSL_CERT_FILE=str(server.ca_file))
        port = server.url.rsplit(":", 1)[1].strip("/")
        plain = run("doctor", "--json", "--redis-url", f"redis://127.0.0.1:{port}", folder=tmp_path)
    with RedisServer() as redis:
        no_tls = run("doctor", "--json", "--redis-url", f"rediss://127.0.0.1:{redis.port}", folder=tmp_path)
    closed = run("doctor", "--json", "--redis-url", "redis://127.0.0.1:1", folder=tmp_path)
    unknown = run("doctor", "--json", "--redis-url", "redis://no-such-host.invalid", folder=tmp_path)

    assert [check["check"] for check in wrong(untrusted)] == ["TLS"]
    assert "SSL_CERT_FILE" in wrong(untrusted)[0]["mend"]
    assert "TLS" not in [check["check"] for check in wrong(trusted)]
    assert wrong(trusted)[0]["check"] == "connect"  # the container is missing, no more
    assert wrong(plain)[0]["check"] == "connect"
    assert [check["check"] for check in wrong(no_tls)] == ["TLS"]
    assert [(check["check"], "nobody listens" in check["found"]) for check in wrong(closed)] == [("port", True)]
    assert [check["check"] for check in wrong(unknown)] == ["name"]
    assert "REDIS_URL" in wrong(unknown)[0]["mend"]
    assert {result.returncode for result in (untrusted, plain, no_tls, closed, unknown)} == {3}
