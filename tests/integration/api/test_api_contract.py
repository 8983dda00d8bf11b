"""The contract under generated requests: schemathesis against the app's own OpenAPI, over HTTP, with a fixed seed."""

import asyncio
import sys
from pathlib import Path

import httpx
import pytest
from tests.integration.api.process import ServedApi

from thermocline.testing.entra import TENANT, EntraServer

CONFIG = Path(__file__).with_name("schemathesis.toml")
COMMAND = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run"]


@pytest.mark.timeout(300)
async def test_generated_requests_meet_the_contract(
    entra: EntraServer, tmp_path: Path, no_server_left_behind: None
) -> None:
    """Valid and invalid ones, of every operation: no 500, every status as documented, nothing invalid accepted, nobody without a token let in."""
    server = ServedApi(entra.url, tmp_path / "home")
    await asyncio.to_thread(server.start)
    try:
        token = entra.token(TENANT, roles=["Memory.ReadWrite", "Memory.Erase"])
        options = [
            "--checks",
            "all",
            "--seed",
            "20",
            "--max-examples",
            "50",
            "--generation-database",
            "none",
            "--no-color",
        ]
        run = await asyncio.create_subprocess_exec(
            *COMMAND,
            f"{server.url}/openapi.json",
            *options,
            "-H",
            f"Authorization: Bearer {token}",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await run.communicate()
        text = said.decode(errors="replace")

        assert run.returncode == 0, text[-6000:]
        assert "13 selected / 13 total" in text, text[-3000:]
        assert "Stateful" in text
    finally:
        await asyncio.to_thread(server.stop)


async def test_the_document_says_every_route_and_verb(entra: EntraServer, tmp_path: Path) -> None:
    from tests.integration.api.desk import Desk

    desk = Desk(entra, tmp_path / "home")
    http = await desk.http(None)
    async with desk:
        document = (await http.get("/openapi.json")).json()
        said = {
            (path, verb.upper())
            for path, verbs in document["paths"].items()
            for verb in verbs
            if path.startswith("/v1")
        }
        routed = set()
        for route in desk.app.routes:
            path, methods = getattr(route, "path", ""), getattr(route, "methods", None) or set()
            # Starlette takes HEAD wherever it takes GET; where the document has none it is answered 405
            routed |= {(path, method) for method in methods if method != "HEAD" or path == "/v1/record"}

        routed = {one for one in routed if one[0].startswith("/v1")}
        assert said == routed
        for path, verbs in document["paths"].items():
            for verb, operation in verbs.items():
                if path.startswith("/v1"):
                    assert operation["security"] == [{"entra": []}], (path, verb)
                    assert {"401", "403", "503", "500"} <= operation["responses"].keys()


async def test_an_app_with_an_agent_has_both(entra: EntraServer, tmp_path: Path) -> None:
    from typing import Any

    from thermocline import Agent, EntraTokens, MemoryApi, MemorySettings, build_service_app
    from thermocline.agents import bearer_caller
    from thermocline.testing.entra import AUDIENCE

    class Keeper(Agent):
        async def handle(self, request: dict[str, Any]) -> Any:
            await self.own.set("note", request["note"])
            return {"scope": self.own.scope}

    tokens = EntraTokens(AUDIENCE, [TENANT], authority=entra.url)
    settings = MemorySettings(env_file=None, home=tmp_path / "home")
    app = build_service_app(
        "both", Keeper, memory_api=MemoryApi(tokens, watch=None), caller=bearer_caller(tokens), memory_settings=settings
    )
    token = entra.token(TENANT, roles=["Memory.Read"])
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://x", headers={"authorization": f"Bearer {token}"}
        ) as http,
    ):
        scope = (await http.post("/invoke", json={"note": "tea"})).json()["scope"]
        read = await http.get("/v1/record", params={"scope": scope, "name": "note"})
        paths = (await http.get("/openapi.json")).json()["paths"]

        assert (await http.get("/v1/stats")).json()["memory"]["warm"], "of one tenant the memory's figures are its own"

    assert read.json() == "tea"
    assert {"/invoke", "/v1/record", "/ready"} <= paths.keys()
