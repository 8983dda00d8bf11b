"""The app's start and end: what is made, in which order it is closed, and what fails."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.service.desks import Broken, Clerk, OldClerk
from tests.integration.service.served import ROOT

from thermocline import (
    Agent,
    AgentBuilder,
    MemoryBuilder,
    MemorySettings,
    ProcessMemory,
    SqliteMemory,
    build_service_app,
)
from thermocline.agents import ModelTarget
from thermocline.agents.service import life
from thermocline.errors import ClientClosed, ConfigurationError
from thermocline.model import MemoryTier
from thermocline.tiers.local.folder import FolderMemory


def settings(tmp_path: Path) -> MemorySettings:
    return MemorySettings(env_file=None, home=tmp_path / "home")


def asking(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://desk")


async def test_the_memory_is_made_at_the_start_and_closed_at_the_end_each_time(tmp_path: Path) -> None:
    order: list[str] = []

    @asynccontextmanager
    async def around(app: Any) -> AsyncIterator[dict[str, Any]]:
        await app.state.memory.set("before", 1)
        order.append("in")
        yield {"given": 17}
        await app.state.memory.set("after", 2)
        order.append("out")

    app = build_service_app("desk", Clerk, memory_settings=settings(tmp_path), lifespan=around)
    memories = []
    for _ in range(2):
        async with app.router.lifespan_context(app) as state:
            assert state == {"given": 17}
            memories.append(app.state.memory)
            assert app.state.agent.memory is app.state.memory
        with pytest.raises(ClientClosed):
            await memories[-1].get("before")

    assert order == ["in", "out"] * 2
    assert memories[0] is not memories[1]


@pytest.mark.parametrize("where", ["start", "end"])
async def test_a_lifespan_that_fails_leaves_nothing_open(tmp_path: Path, where: str) -> None:
    app = build_service_app("desk", Clerk, memory_settings=settings(tmp_path), lifespan=lambda app: Broken(where))

    with pytest.raises(ValueError, match="the lifespan cannot"):
        async with app.router.lifespan_context(app):
            assert where == "end"
    with pytest.raises(ClientClosed):
        await app.state.memory.get("before")


class Stubborn(Agent):
    """Cannot start, or cannot end."""

    where = "start"

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        return request

    async def __aenter__(self) -> "Stubborn":
        await super().__aenter__()
        if self.where == "start":
            raise ValueError("this agent cannot begin")
        return self

    async def __aexit__(self, *error: Any) -> None:
        await super().__aexit__(*error)
        raise ValueError("this agent cannot end")


class Ending(Stubborn):
    where = "end"


@pytest.mark.parametrize("kind", [Stubborn, Ending])
async def test_an_agent_that_fails_leaves_nothing_open(tmp_path: Path, kind: type[Stubborn]) -> None:
    app = build_service_app("desk", kind, memory_settings=settings(tmp_path))

    with pytest.raises(ValueError, match="this agent cannot"):
        async with app.router.lifespan_context(app):
            assert kind is Ending
    with pytest.raises(ClientClosed):
        await app.state.memory.get("before")


async def test_an_old_agents_failed_work_in_the_background_is_raised_at_the_end(tmp_path: Path) -> None:
    app = build_service_app("desk", OldClerk, memory_settings=settings(tmp_path))

    async def fails() -> None:
        raise ValueError("in the background")

    with pytest.raises(ExceptionGroup, match="work in the background failed"):
        async with app.router.lifespan_context(app):
            app.state.agent._schedule_background(fails())
    with pytest.raises(ClientClosed):
        await app.state.memory.get("before")


async def test_without_its_lifespan_a_service_says_that_it_does_not_run(tmp_path: Path) -> None:
    app = build_service_app("desk", Clerk, memory_settings=settings(tmp_path))
    async with asking(app) as http:
        alive, ready, asked = await http.get("/health"), await http.get("/ready"), await http.post("/invoke", json={})

    assert (alive.status_code, ready.status_code, asked.status_code) == (200, 503, 503)
    assert asked.json()["title"] == "Not running"


async def test_tiers_settings_and_builders_make_the_memory(tmp_path: Path) -> None:
    hot, warm = ProcessMemory(), SqliteMemory(tmp_path / "warm.sqlite3")
    slow = MemorySettings(env_file=None, hot_deadline_ms=77)
    made: list[MemoryBuilder] = []

    def builder() -> MemoryBuilder:
        made.append(MemoryBuilder().with_cold(FolderMemory(tmp_path / "cold")))
        return made[-1]

    of_tiers = build_service_app("desk", Clerk, hot_memory=hot, warm_memory=warm, memory_settings=slow)
    async with of_tiers.router.lifespan_context(of_tiers):
        memory = of_tiers.state.memory
        assert (memory.hot, memory.warm, memory.cold) == (hot, warm, None)
        assert memory._engine.budget.seconds(MemoryTier.HOT) == 0.077
    of_builder = build_service_app("desk", Clerk, memory_builder=builder)
    async with of_builder.router.lifespan_context(of_builder):
        assert of_builder.state.memory.hot is None
        assert len(made) == 1


async def test_reasons_can_be_kept_inside(tmp_path: Path) -> None:
    app = build_service_app("desk", Clerk, memory_settings=settings(tmp_path), ready_reasons=False)
    async with app.router.lifespan_context(app), asking(app) as http:
        told = (await http.get("/ready")).json()

    assert told["memory"] == {"verdict": "ok", "tiers": {"hot": "ok", "warm": "ok", "cold": "ok"}}


async def test_many_probes_ask_the_tiers_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_FRESH", 3600.0)

    class Counting(ProcessMemory):
        pings = 0

        async def ping(self, **options: Any) -> None:
            self.pings += 1
            await super().ping(**options)

    hot = Counting()
    app = build_service_app("desk", Clerk, hot_memory=hot, warm_memory=SqliteMemory(tmp_path / "warm.sqlite3"))
    async with app.router.lifespan_context(app), asking(app) as http:
        before = hot.pings
        answers = await asyncio.gather(*(http.get("/ready") for _ in range(50)))
        answers.append(await http.get("/ready"))
        once = hot.pings
        monkeypatch.setattr(life, "_FRESH", -1.0)
        await http.get("/ready")

    assert {answer.status_code for answer in answers} == {200}
    assert (once, hot.pings) == (before + 1, before + 2)


async def test_the_builder_and_models_reach_the_agent(tmp_path: Path) -> None:
    async def model(**asked: Any) -> dict[str, Any]:
        return {"response": "yes"}

    small = ModelTarget("small", "m", model)

    async def weather(place: str) -> str:
        return f"sun in {place}"

    def more(builder: AgentBuilder[Any]) -> None:
        builder.with_tool("weather", weather)

    app = build_service_app("desk", Clerk, memory_settings=settings(tmp_path), slm_config=small, agent_setup=more)
    async with app.router.lifespan_context(app):
        assert app.state.agent.config.slm is small
        assert await app.state.agent.call_tool("weather", place="Vigo") == "sun in Vigo"
        assert sorted(app.state.agent.tools) == ["memory_read", "memory_write", "weather"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"service_name": ""}, "service_name .* is a string"),
        ({"agent_class": dict}, "subclass of thermocline.agents.Agent"),
        ({"slm_config": "gpt"}, "slm_config is a thermocline.agents.ModelTarget"),
        ({"llm_config": 5}, "llm_config is a thermocline.agents.ModelTarget"),
        ({"max_body_bytes": 0}, "max_body_bytes"),
        ({"max_body_bytes": True}, "max_body_bytes"),
        ({"request_timeout": 0}, "request_timeout is a timedelta or a number of seconds"),
        ({"request_timeout": "1"}, "request_timeout is a timedelta or a number of seconds"),
        ({"ready_timeout": float("nan")}, "ready_timeout .* longer than zero and at most a day"),
        ({"ready_timeout": timedelta(days=2)}, "ready_timeout .* longer than zero and at most a day"),
        ({"caller": lambda: None, "trust_body": True}, "not both"),
        ({"memory_builder": MemoryBuilder(), "hot_memory": ProcessMemory()}, "not both"),
        ({"memory_builder": MemoryBuilder(), "memory_settings": MemorySettings(env_file=None)}, "not both"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, dict) else None,  # the workers must agree on the names
)
def test_what_cannot_work_is_refused_when_the_app_is_made(arguments: dict[str, Any], words: str) -> None:
    given: Any = {"service_name": "desk", "agent_class": Clerk, **arguments}

    with pytest.raises(ConfigurationError, match=words):
        build_service_app(**given)


@pytest.mark.parametrize("answer", [None, 5])
async def test_a_builder_that_is_none_fails_the_start(answer: Any) -> None:
    app = build_service_app("desk", Clerk, memory_builder=lambda: answer)

    with pytest.raises(ConfigurationError, match="memory_builder is to answer with a MemoryBuilder"):
        async with app.router.lifespan_context(app):
            raise AssertionError("it began")


async def test_a_caller_that_is_none_is_the_services_mistake(tmp_path: Path) -> None:
    app = build_service_app("desk", Clerk, memory_settings=settings(tmp_path), caller=lambda: "acme")
    async with app.router.lifespan_context(app), asking(app) as http:
        answer = await http.post("/invoke", json={})

    assert answer.status_code == 500
    assert "acme" not in answer.text


def test_a_process_whose_lifespan_fails_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--factory", "--port", "0"]
    ended = subprocess.run(
        [*command, "tests.integration.service.desks:that_fails_at_start"],
        cwd=tmp_path,
        env={**os.environ, "THERMOCLINE_HOME": str(tmp_path / "home"), "PYTHONWARNINGS": "always::ResourceWarning"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert "the lifespan cannot begin" in ended.stderr
    assert "was not closed" not in ended.stderr


def test_without_fastapi_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None; sys.modules['starlette'] = None\n"
        "import thermocline\n"
        "class A(thermocline.Agent):\n async def handle(self, request): return {}\n"
        "try: thermocline.build_service_app('a', A)\n"
        "except thermocline.ConfigurationError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout

    assert said.strip() == 'build_service_app needs FastAPI: pip install "thermocline[service]"'


def test_importing_the_agents_does_not_load_fastapi() -> None:
    code = "import sys, thermocline.agents; thermocline.agents.build_service_app; print('fastapi' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout

    assert said.strip() == "False"
