"""The two HTTP apps as Functions serve them: through the worker's middleware, with nothing but settings."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from thermocline.functions.process import PROCESS
from thermocline.testing.entra import AUDIENCE, TENANT, EntraServer
from thermocline.testing.functions import FunctionsHost, InvocationFailed

APPS = Path(__file__).parents[3] / "apps"
OTHER = "33333333-3333-4333-8333-333333333333"
ADA = {"scope": "user/42", "name": "a/..//ä %2F"}


def _settings(entra: EntraServer, home: Path) -> dict[str, str]:
    return {
        "THERMOCLINE_HOME": str(home),
        "THERMOCLINE_API_AUDIENCE": AUDIENCE,
        "THERMOCLINE_API_TENANTS": f"{TENANT}, {OTHER}",
        "THERMOCLINE_API_AUTHORITY": entra.url,
        "THERMOCLINE_JOBS_SCHEDULE": "30 * * * * *",
    }


@pytest.fixture
async def api(entra: EntraServer, tmp_path: Path) -> AsyncIterator[FunctionsHost]:
    async with FunctionsHost(APPS / "memory-api", _settings(entra, tmp_path / "home")) as host:
        yield host


def _http(host: FunctionsHost, entra: EntraServer, tenant: str = TENANT, user: str = "user") -> httpx.AsyncClient:
    roles = ["Memory.ReadWrite", "Memory.Erase"]
    token = entra.token(tenant, roles=roles, user=user)
    return httpx.AsyncClient(base_url=host.url, headers={"authorization": f"Bearer {token}"}, timeout=60)


async def test_the_routes_through_the_workers_middleware(api: FunctionsHost, entra: EntraServer) -> None:
    async with _http(api, entra) as http, _http(api, entra, OTHER) as theirs:
        written = await http.put("/v1/record", params=ADA, json={"n": 1}, headers={"if-none-match": "*"})
        again = await http.put("/v1/record", params=ADA, json={"n": 2}, headers={"if-none-match": "*"})
        raw = await http.put(
            "/v1/record", params={"scope": "s", "name": "raw"}, content=b"\0\xff", headers={"content-type": "image/png"}
        )
        read = await http.get("/v1/record", params=ADA)
        head = await http.head("/v1/record", params=ADA)
        known = await http.get("/v1/record", params=ADA, headers={"if-none-match": read.headers["etag"]})
        batch = await http.post("/v1/batch", json={"operations": [{"op": "get", **ADA}]})
        page = await http.get("/v1/records", params={"scope": "user/42"})
        gone = await http.delete("/v1/record", params={"scope": "s", "name": "raw"})

        assert [one.status_code for one in (written, again, raw, read, head, known, batch, page, gone)] == [
            200, 412, 200, 200, 200, 304, 200, 200, 204
        ]  # fmt: skip
        assert read.json() == batch.json()["results"][0]["value"] == {"n": 1}
        assert head.headers["etag"] == read.headers["etag"] == written.headers["etag"]
        assert again.headers["content-type"] == "application/problem+json"
        assert [one["name"] for one in page.json()["items"]] == [ADA["name"]]
        assert (await theirs.get("/v1/record", params=ADA)).status_code == 404


async def test_what_is_refused_is_refused_there_too(api: FunctionsHost, entra: EntraServer) -> None:
    async with _http(api, entra) as http, httpx.AsyncClient(base_url=api.url) as stranger:
        answers = {
            401: await stranger.get("/v1/stats"),
            403: await http.get("/v1/stats", params={"tenant": OTHER}),
            404: await http.get("/nothing"),
            405: await http.patch("/v1/record", params=ADA),
            413: await http.put("/v1/record", params=ADA, json="x" * (9 * 2**20)),
            415: await http.put("/v1/record", params=ADA, content=b"x"),
        }

        for status, answer in answers.items():
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
        assert sorted(answers[405].headers["allow"].split(", ")) == ["DELETE", "GET", "HEAD", "PUT"]
        assert answers[401].headers["www-authenticate"] == "Bearer"
        bad_path = await http.get("/v1/%FF/x")
        assert (bad_path.status_code, bad_path.headers["content-type"]) == (400, "application/problem+json")
        assert bad_path.json()["status"] == 400


async def test_jobs_and_their_timer(api: FunctionsHost, entra: EntraServer) -> None:
    async with _http(api, entra) as http:
        await http.put("/v1/record", params=ADA, json={"n": 1})
        begun = await http.post("/v1/exports", json={"scope": "user/42"})
        assert begun.status_code == 202
        await api.fire("run_jobs")
        job = (await http.get(begun.headers["location"])).json()

        assert job["state"] == "done"
        lines = (await http.get(job["result"])).text.splitlines()
        assert json.loads(lines[1])["value"] == {"n": 1}
        assert len(lines) == 3


async def test_health_says_how_it_is(api: FunctionsHost) -> None:
    async with httpx.AsyncClient(base_url=api.url) as http:
        found, ready = await http.get("/health"), await http.get("/ready")
        document = (await http.get("/openapi.json")).json()

    assert (found.status_code, found.json()["status"], found.json()["missing"]) == (200, "ok", [])
    assert ready.json()["status"] == "ready"
    assert (document["openapi"], "/v1/record" in document["paths"]) == ("3.1.0", True)


async def test_one_client_serves_requests_and_timers(api: FunctionsHost, entra: EntraServer) -> None:
    async with _http(api, entra) as http:
        await http.put("/v1/record", params=ADA, json=1)
        await api.fire("run_jobs")
        figures = (await PROCESS.client()).stats()

    assert figures["warm"]["writes"] >= 1, "what the request wrote was counted by the process' one client"


@pytest.mark.parametrize("app", ["memory-api", "agent-sample"])
@pytest.mark.parametrize("missing", ["THERMOCLINE_API_TENANTS", "THERMOCLINE_API_AUDIENCE"])
async def test_without_a_setting_nothing_is_open_and_health_names_it(
    entra: EntraServer, tmp_path: Path, app: str, missing: str
) -> None:
    settings = _settings(entra, tmp_path / "home") | {missing: ""}
    async with FunctionsHost(APPS / app, settings) as host, _http(host, entra) as http:
        health = await http.get("/health")
        refused = await (http.get("/v1/stats") if app == "memory-api" else http.post("/invoke", json={}))

    assert (health.status_code, health.json()["status"]) == (503, "misconfigured")
    assert [one["variable"] for one in health.json()["missing"]] == [missing]
    assert refused.status_code == 503
    assert missing in refused.json()["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THERMOCLINE_API_TENANTS", "contoso.com"),
        ("THERMOCLINE_API_AUTHORITY", "http://login.microsoftonline.com"),
        ("THERMOCLINE_HOME", ""),
        ("COSMOS_KEY", "c2VjcmV0LWtleQ=="),
    ],
)
async def test_a_wrong_setting_is_told_on_every_page(entra: EntraServer, tmp_path: Path, name: str, value: str) -> None:
    settings = _settings(entra, tmp_path / "home") | {name: value}
    async with FunctionsHost(APPS / "memory-api", settings) as host, _http(host, entra) as http:
        health, refused = await http.get("/health"), await http.get("/v1/stats")
        with pytest.raises(InvocationFailed):
            await host.fire("run_jobs")

    assert health.status_code == refused.status_code == 503
    assert health.json()["status"] == "misconfigured"
    for text in (health.text, refused.json()["detail"]):
        assert "c2VjcmV0" not in text
    if value:
        assert name in refused.json()["detail"] or "authority" in refused.json()["detail"]


# --- agent-sample ----------------------------------------------------------------------------------------------------


async def test_the_agent_remembers_each_caller(entra: EntraServer, tmp_path: Path) -> None:
    async with FunctionsHost(APPS / "agent-sample", _settings(entra, tmp_path / "home")) as host:
        async with _http(host, entra, user="ann") as ann, _http(host, entra, user="bob") as bob:
            first = await ann.post("/invoke", json={"query": "I like tea"})
            second = await ann.post("/invoke", json={"query": "and rain"})
            other = await bob.post("/invoke", json={"query": "hello"})
        async with _http(host, entra, OTHER, user="ann") as elsewhere, httpx.AsyncClient(base_url=host.url) as stranger:
            namesake = await elsewhere.post("/invoke", json={"query": "x"})
            refused = await stranger.post("/invoke", json={"query": "x"})
            claimed = await elsewhere.post("/invoke", json={"query": "x", "tenant": TENANT})

    assert first.json() == {"visits": 1, "told": ["I like tea"]}
    assert second.json() == {"visits": 2, "told": ["I like tea", "and rain"]}
    assert other.json() == {"visits": 1, "told": ["hello"]}
    assert namesake.json()["visits"] == 1
    assert (refused.status_code, claimed.status_code) == (401, 403)


async def test_the_agents_memory_outlasts_its_process(entra: EntraServer, tmp_path: Path) -> None:
    for visits in (1, 2):
        async with (
            FunctionsHost(APPS / "agent-sample", _settings(entra, tmp_path / "home")) as host,
            _http(host, entra) as http,
        ):
            assert (await http.post("/invoke", json={"query": "x"})).json()["visits"] == visits


async def test_a_token_without_the_role_is_refused(entra: EntraServer, tmp_path: Path) -> None:
    async with FunctionsHost(APPS / "agent-sample", _settings(entra, tmp_path / "home")) as host:
        token = entra.token(TENANT, roles=["Memory.Read"])
        async with httpx.AsyncClient(base_url=host.url, headers={"authorization": f"Bearer {token}"}) as http:
            refused = await http.post("/invoke", json={"query": "x"})

    assert refused.status_code == 403
    assert "Memory.ReadWrite" in refused.headers["www-authenticate"]
