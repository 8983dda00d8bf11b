"""One client for each process of an app: made with the first event, shared, made again after a failure, closed."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from thermocline import MemoryClient, MemorySettings, telemetry
from thermocline.errors import ConfigurationError, TierUnavailable
from thermocline.functions.needs import WORKER, AppNeeds, Need
from thermocline.functions.process import PROCESS, AppProcess
from thermocline.functions.worker import Worker
from thermocline.settings import variables
from thermocline.wiring import connect

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = json.loads((ROOT / "infra" / "contract.json").read_text(encoding="utf-8"))
APP = ROOT / "apps" / "memory-worker"
NOTHING = AppNeeds("an-app")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in MemorySettings.model_fields:
        for variable in variables(name):
            monkeypatch.delenv(variable, raising=False)
    for variable in (*CONTRACT["settings"]["host"], *CONTRACT["settings"]["memory-worker"], "COSMOS", "EVENTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THERMOCLINE_HOME", str(tmp_path / "home"))


class Making:
    """Connects the embedded tiers; how often, and failing as often as ``failures`` say."""

    def __init__(self, *failures: Exception) -> None:
        self.calls = 0
        self.go = asyncio.Event()
        self.go.set()
        self._failures = [*failures]

    async def __call__(self, settings: MemorySettings) -> MemoryClient:
        self.calls += 1
        await self.go.wait()
        if self._failures:
            raise self._failures.pop(0)
        return await connect(settings)


# --- the client --------------------------------------------------------------------------------------------------------


async def test_concurrent_events_share_one_client(at_home: None) -> None:
    making = Making()
    making.go.clear()
    process = AppProcess(making)
    waiting = [asyncio.create_task(process.client()) for _ in range(10)]
    await asyncio.sleep(0)
    making.go.set()

    clients = {id(client) for client in await asyncio.gather(*waiting)}

    assert len(clients) == making.calls == 1
    assert id(await process.client()) in clients
    await process.close()


async def test_after_a_failed_start_the_next_event_tries_anew(at_home: None) -> None:
    making = Making(TierUnavailable("away", tier="warm"))
    making.go.clear()
    process = AppProcess(making)
    waiting = [asyncio.create_task(process.client()) for _ in range(3)]
    await asyncio.sleep(0)
    making.go.set()
    failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in failed] == [TierUnavailable] * 3
    assert making.calls == 1

    assert await (await process.client()).get("key") is None
    assert making.calls == 2
    await process.close()


async def test_an_event_that_is_cancelled_leaves_the_start_to_the_others(at_home: None) -> None:
    making = Making()
    making.go.clear()
    process = AppProcess(making)
    first, second = asyncio.create_task(process.client()), asyncio.create_task(process.client())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    making.go.set()

    assert await (await second).get("key") is None
    assert making.calls == 1
    await process.close()


async def test_a_start_that_failed_with_nobody_waiting_is_not_the_next_events_failure(at_home: None) -> None:
    making = Making(TierUnavailable("away", tier="warm"))
    making.go.clear()
    process = AppProcess(making)
    gone = asyncio.create_task(process.client())
    await asyncio.sleep(0)
    starting = process._starting
    assert starting is not None
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    making.go.set()
    await asyncio.wait([starting])

    assert await (await process.client()).get("key") is None
    assert making.calls == 2
    await process.close()


async def test_close_closes_what_is_kept_and_the_client_and_the_next_event_makes_a_new_one(at_home: None) -> None:
    closed: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self.name = name

        async def close(self) -> None:
            closed.append(self.name)

    process = AppProcess(Making())
    first = await process.client()
    process.keep(Part("one"))
    process.keep(Part("two"))

    await process.close()
    await process.close()

    assert closed == ["two", "one"]
    second = await process.client()
    assert second is not first
    assert await second.get("key") is None
    await process.close()


async def test_a_start_under_way_is_ended_by_close(at_home: None) -> None:
    making = Making()
    making.go.clear()
    process = AppProcess(making)
    waiting = asyncio.create_task(process.client())
    await asyncio.sleep(0)

    await process.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_each_event_loop_has_its_own(at_home: None) -> None:
    process = AppProcess(Making())

    async def use() -> int:
        client = await process.client()
        await client.set("key", 1)
        await process.close()
        return id(client)

    assert asyncio.run(use()) != 0
    assert asyncio.run(use()) != 0


async def test_an_apps_disk_is_no_memory_unless_the_settings_say_so() -> None:
    making = Making()

    with pytest.raises(ConfigurationError, match="THERMOCLINE_HOME"):
        await AppProcess(making).client()

    assert making.calls == 0


async def test_telemetry_that_cannot_be_is_no_reason_to_stop(
    at_home: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING", "not a connection string")
    process = AppProcess(Making())

    assert await (await process.client()).get("key") is None
    assert "telemetry is off" in caplog.text
    await process.close()


async def test_telemetry_is_sent_once_as_the_managed_identity(at_home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, object]] = []
    monkeypatch.setattr(telemetry, "configure", lambda **wanted: given.append(wanted))
    monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=x")
    monkeypatch.setenv("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "Authorization=AAD;ClientId=an-id")
    process = AppProcess(Making())

    await process.client()
    await process.close()
    await process.client()
    await process.close()

    (once,) = given
    assert once["azure_monitor"] is True
    assert type(once["credential"]).__name__ == "ManagedIdentityCredential"


# --- health -------------------------------------------------------------------------------------------------------------


async def test_health_of_an_app_that_is_well(at_home: None) -> None:
    process = AppProcess(Making())

    found = await process.health(NOTHING)

    assert (found.ready, found.status) == (True, 200)
    assert (found.document["app"], found.document["status"]) == ("an-app", "ok")
    assert json.loads(json.dumps(found.document))["memory"]["tiers"].keys() == {"hot", "warm", "cold"}
    await process.close()


async def test_many_probes_are_one_look_at_the_tiers(at_home: None) -> None:
    process = AppProcess(Making())
    found = await asyncio.gather(*(process.health(NOTHING) for _ in range(20)))

    pings = {one.document["memory"]["tiers"]["warm"]["ping_ms"] for one in found}
    assert len(pings) == 1
    await process.close()


async def test_health_tells_of_missing_variables_and_makes_nothing() -> None:
    making = Making()
    needs = AppNeeds("an-app", services=(Need(("ONE_OF", "TWO_OF"), "a reason"),))

    found = await AppProcess(making).health(needs)

    assert (found.status, found.document["status"]) == (503, "misconfigured")
    assert found.document["missing"] == [{"variable": "ONE_OF or TWO_OF", "why": "a reason"}]
    assert making.calls == 0


async def test_health_while_the_memory_cannot_be_reached(at_home: None) -> None:
    found = await AppProcess(Making(TierUnavailable("nobody answers there", tier="warm"))).health(NOTHING)

    assert (found.status, found.document["status"]) == (503, "down")
    assert found.document["memory"]["reasons"] == ["nobody answers there"]


async def test_health_of_the_worker_over_the_embedded_tiers(at_home: None) -> None:
    """As `make functions` runs it: where THERMOCLINE_HOME alone is set, no service is missing."""
    process = AppProcess(Making())

    found = await Worker(process).health()

    assert (found.ready, found.document["missing"], found.document["wrong"]) == (True, [], [])
    await process.close()


def test_nothing_is_made_by_an_import() -> None:
    assert PROCESS._client is None
    assert PROCESS._starting is None


# --- the worker's needs, its limits and its page -------------------------------------------------------------------------


def test_the_workers_needs_are_those_of_the_contract() -> None:
    settings = CONTRACT["settings"]
    for connection in WORKER.connections:
        prefix = connection.prefix
        named = [f"{prefix}__{part}" for part in (connection.address, "credential", "clientId")]
        assert settings["connections"][prefix] == named
    assert {*settings["connections"]} == {connection.prefix for connection in WORKER.connections}
    assert {*WORKER.bound} <= {*settings["memory"], *settings["memory-worker"]}


def test_a_managed_identity_needs_its_id() -> None:
    (cosmos, _) = WORKER.connections
    given = {"COSMOS__accountEndpoint": "https://x", "COSMOS__credential": "managedIdentity"}

    assert [need.variables for need in cosmos.missing(given)] == [("COSMOS__clientId",)]
    assert cosmos.missing({**given, "COSMOS__clientId": "id"}) == []
    assert cosmos.missing({"COSMOS": "AccountEndpoint=…"}) == []


def test_every_setting_that_a_trigger_names_is_a_need() -> None:
    named = re.findall(r'"%(\w+)%"', (APP / "function_app.py").read_text(encoding="utf-8"))

    assert set(named) == set(WORKER.bound)


def test_the_sample_of_local_settings_lacks_nothing() -> None:
    sample = json.loads((APP / "local.settings.sample.json").read_text(encoding="utf-8"))["Values"]

    assert WORKER.missing(sample) == []
    assert {*CONTRACT["settings"]["memory-worker"]} <= {*sample}


def test_every_limit_of_the_host_has_its_reason_on_the_page() -> None:
    host = json.loads((APP / "host.json").read_text(encoding="utf-8"))
    page = (APP / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| [^|]{20,} \|$", page, re.MULTILINE))

    assert set(rows) == {*limits(host)}
    for name, value in limits(host).items():
        if not isinstance(value, dict):
            assert rows[name] == f"`{value}`", name


def limits(part: dict[str, object], path: str = "") -> dict[str, object]:
    """The settings of the file by their path; of the bundle its version, and sampling as one."""
    found: dict[str, object] = {}
    for name, value in part.items():
        if name == "version" and not path:
            continue
        if name == "extensionBundle":
            assert isinstance(value, dict)
            found[name] = value["version"]
        elif isinstance(value, dict) and name != "samplingSettings":
            found |= limits(value, f"{path}{name}.")
        else:
            found[path + name] = value
    return found


async def test_the_pages_worker_of_ones_own_is_one(at_home: None, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (APP / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    page: dict[str, object] = {}
    exec(block, page)
    worker = page["WORKER"]
    assert isinstance(worker, Worker)

    assert (await worker.health()).ready
    assert await (await worker._process.client()).get("key") is None
    await worker._process.close()
