"""Every app under the worker's own runtime on Python 3.13, as Azure runs it: found whole with no setting at all, and its functions called."""

from pathlib import Path
from typing import Any

import pytest
from tests.functions.runtime_313 import ROOT, under_runtime

from thermocline.testing.entra.minting import AUDIENCE, TENANT
from thermocline.testing.functions.surroundings import COMMON

APPS = ROOT / "apps"
FUNCTIONS = {
    "memory-worker": {
        "settle_changes": ["cosmosDBTrigger"],
        "sweep": ["timerTrigger"],
        "replay_dead_letters": ["timerTrigger"],
        "vault_event": ["queueTrigger"],
        "health": ["httpTrigger", "http"],
    },
    "memory-api": {"http": ["httpTrigger", "http"], "run_jobs": ["timerTrigger"]},
    "agent-sample": {"http": ["httpTrigger", "http"]},
}


def asked(path: str) -> dict[str, object]:
    return {"url": f"http://localhost{path}", "params": {"route": path.strip("/")}}


@pytest.mark.parametrize("app", sorted(FUNCTIONS))
def test_it_is_indexed_and_says_what_is_missing(app: str) -> None:
    worker = app == "memory-worker"
    events: list[dict[str, Any]] = [
        {"function": "health" if worker else "http", "http": asked("/api/health" if worker else "/health")}
    ]
    told = under_runtime(APPS / app, events)

    assert told["functions"] == FUNCTIONS[app]
    assert told["python"] == "3.13"
    assert told["results"][0]["status"] == 503
    assert '"misconfigured"' in told["results"][0]["body"].replace(" ", "")


def test_the_worker_runs_each_function(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = [
        {"function": "health", "http": asked("/api/health")},
        {"function": "sweep"},
        {"function": "replay_dead_letters"},
        {"function": "settle_changes", "documents": []},
        {"function": "vault_event", "queue": "no event"},
    ]
    health, *done, refused = under_runtime(APPS / "memory-worker", events, embedded(tmp_path))["results"]

    assert health["status"] == 200, health
    assert done == [{"ok": True}] * 3
    assert "InvalidArgument" in refused["error"]


@pytest.mark.parametrize("app", ["memory-api", "agent-sample"])
def test_the_apps_with_routes_run_each_function(app: str, tmp_path: Path) -> None:
    timers = [{"function": name} for name, kinds in FUNCTIONS[app].items() if kinds == ["timerTrigger"]]
    events: list[dict[str, Any]] = [
        {"function": "http", "http": asked("/health")},
        {"function": "http", "http": asked("/no/such/route")},
        *timers,
    ]
    health, missing, *done = under_runtime(APPS / app, events, embedded(tmp_path))["results"]

    assert health["status"] == 200, health
    assert missing["status"] == 404
    assert done == [{"ok": True}] * len(timers)


def embedded(tmp_path: Path) -> dict[str, str]:
    signing = {"THERMOCLINE_API_AUDIENCE": AUDIENCE, "THERMOCLINE_API_TENANTS": TENANT}
    return {**COMMON, **signing, "THERMOCLINE_HOME": str(tmp_path / "home")}
