"""The same on every host: what is indexed, HTTP and timers. On the official one where THERMOCLINE_TEST_FUNCTIONS_HOST says so (tests/functions/hosts.py)."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from tests.functions.grounds import SAMPLE, bare, noted
from tests.functions.hosts import Host, host_of
from tests.functions.runtime_313 import ROOT

from thermocline.testing.entra.minting import AUDIENCE, TENANT
from thermocline.testing.functions.surroundings import COMMON
from thermocline.testing.rig import Azurite

APPS = sorted(path.parent for path in (ROOT / "apps").glob("*/function_app.py"))
NAMES = {
    "memory-worker": {"settle_changes", "sweep", "replay_dead_letters", "vault_event", "health"},
    "memory-api": {"http", "run_jobs"},
    "agent-sample": {"http"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module")
def sample(home: Path, azurite: Azurite) -> Iterator[Host]:
    with host_of(SAMPLE, bare(home), azurite, home) as host:
        yield host


async def test_a_request_and_its_answer(sample: Host) -> None:
    async with httpx.AsyncClient(base_url=sample.url) as http:
        answer = await http.post("/api/echo/a%20b/c/d?x=1&y=", content=b"body", headers={"X-Sample": "yes"})
        missing = await http.get("/api/nothing")
        broken = await http.get("/api/breaks")

    assert (answer.status_code, answer.headers["x-made"]) == (203, "here")
    told = answer.json()
    assert told["url"] == f"{sample.url}/api/echo/a%20b/c/d?x=1&y="
    assert (told["method"], told["route"], told["header"], told["body"]) == (
        "POST",
        {"name": "a b", "rest": "c/d"},
        "yes",
        "body",
    )
    assert told["query"] == {"x": "1"}
    assert (missing.status_code, broken.status_code) == (404, 500)
    assert "secret of the inside" not in broken.text


async def test_a_body_of_unknown_length_is_not_passed_on(sample: Host) -> None:
    """So a service must refuse one: it would take it for an empty one."""

    async with httpx.AsyncClient(base_url=sample.url) as http:
        answer = await http.post("/api/echo/a/b", content=parts())
        wrong = await http.delete("/api/echo/a/b")

    assert answer.json()["body"] == ""
    assert wrong.status_code == 404, "the host knows no 405"


async def test_what_looks_encoded_twice_arrives_decoded_twice(sample: Host) -> None:
    """So a name that holds ``%41`` cannot be said in a path: docs/functions.md."""
    async with httpx.AsyncClient(base_url=sample.url) as http:
        answer = await http.get("/api/echo/x%2541/r%2Fs")

    assert answer.json()["url"] == f"{sample.url}/api/echo/x%41/r%2Fs"


async def test_a_timer_is_fired(sample: Host, home: Path) -> None:
    await sample.fire("tick")
    await noted(home / "log", "tick")

    assert [json.loads(line)["what"] for line in (home / "log").read_text().splitlines()] == ["tick"]


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
async def test_every_app_is_found_whole_without_any_setting(app: Path, tmp_path: Path, azurite: Azurite) -> None:
    """And says what is missing."""
    with host_of(app, {}, azurite, tmp_path) as host:
        assert await host.names() == NAMES[app.name]
        answer = await got(host, "/api/health" if app.name == "memory-worker" else "/health")

    assert answer.status_code == 503
    assert answer.json()["status"] == "misconfigured"
    assert "REDIS_HOST" in answer.text or "THERMOCLINE_API_TENANTS" in answer.text


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
async def test_every_app_answers_over_the_embedded_tiers(app: Path, tmp_path: Path, azurite: Azurite) -> None:
    switched_off = {f"AzureWebJobs.{name}.Disabled": "true" for name in ("settle_changes", "vault_event")}
    signing = {"THERMOCLINE_API_AUDIENCE": AUDIENCE, "THERMOCLINE_API_TENANTS": TENANT}
    settings = {**COMMON, **switched_off, **signing, "THERMOCLINE_HOME": str(tmp_path / "home")}
    with host_of(app, settings, azurite, tmp_path) as host:
        answer = await got(host, "/api/health" if app.name == "memory-worker" else "/health")
        assert (await got(host, "/no/such/route")).status_code == 404
        if app.name != "memory-worker":
            async with httpx.AsyncClient(base_url=host.url, timeout=60) as http:
                refused = await http.post("/v1/batch", content=parts())
            assert (refused.status_code, refused.json()["title"]) == (411, "Length required")

    assert answer.headers["content-type"].startswith("application/json")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok"), answer.text


async def parts() -> AsyncIterator[bytes]:
    """A body whose length is not said beforehand."""
    yield b"body"


async def got(host: Host, path: str) -> httpx.Response:
    """The answer to a GET."""
    async with httpx.AsyncClient(base_url=host.url, timeout=60) as http:
        return await http.get(path)
