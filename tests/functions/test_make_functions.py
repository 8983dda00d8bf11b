"""What `make functions` runs: every app in its own process, told how to set its functions off, and all of it gone after Ctrl-C."""

import asyncio
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from tests.functions.runtime_313 import ROOT, clean_environment

from thermocline import connect
from thermocline.settings import FileSettings

APPS = sorted(path.parent.name for path in (ROOT / "apps").glob("*/function_app.py"))


@dataclass
class Running:
    """The command, ready, and what it said."""

    process: asyncio.subprocess.Process
    lines: list[str]

    def url(self, app: str) -> str:
        return next(line.split()[1] for line in self.lines if line.startswith(f"{app} "))

    def told(self, function: str) -> str:
        return next(line.split(maxsplit=1)[1] for line in self.lines if line.startswith(f"  {function} "))


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[Running]:
    """``python -m thermocline.testing.functions`` on free ports, until it is ready; ended by Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "thermocline.testing.functions", "--port", "0", *options),
        cwd=ROOT,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async for line in process.stdout:
            lines.append(line.decode().rstrip())
            if lines[-1].startswith("READY"):
                break
        else:
            raise AssertionError("it ended:\n" + "\n".join(lines))
        yield Running(process, lines)
    finally:
        if process.returncode is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            rest = (await process.stdout.read()).decode()
            assert await process.wait() == 0, rest
            assert [child for child in children if child.is_running()] == [], rest


async def test_all_apps_run_over_the_embedded_tiers(tmp_path: Path) -> None:
    async with running("--home", str(tmp_path)) as all_of_it, httpx.AsyncClient(timeout=30) as http:
        for app in APPS:
            path = "api/health" if app == "memory-worker" else "health"
            answer = await http.get(f"{all_of_it.url(app)}/{path}")
            assert (answer.status_code, answer.json()["status"]) == (200, "ok"), answer.text

        assert all_of_it.told("settle_changes").startswith("is off: it needs SERVICES=1")
        command = re.fullmatch(r"curl -X (\w+) (\S+)", all_of_it.told("sweep"))
        assert command is not None
        answer = await http.request(command[1], command[2])
        assert answer.status_code == 202, answer.text


async def test_over_services_the_feed_tells_hot_of_what_it_was_not_told(tmp_path: Path) -> None:
    async with (
        running("--services", "--home", str(tmp_path), "memory-worker") as all_of_it,
        httpx.AsyncClient() as http,
    ):
        assert all_of_it.told("settle_changes") == "listens"
        answer = await http.get(all_of_it.told("health"), timeout=30)
        assert (answer.status_code, answer.json()["status"]) == (200, "ok"), answer.text

        file = tmp_path / "services.env"
        lines = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith("REDIS")]
        (tmp_path / "blind.env").write_text("".join(lines))  # a writer that does not know of hot
        async with (
            await connect(FileSettings(env_file=file)) as reader,
            await connect(FileSettings(env_file=tmp_path / "blind.env")) as blind,
        ):
            await reader.set("key", 1)
            assert await reader.get("key") == 1
            await blind.set("key", 2)
            while await reader.get("key") != 2:  # noqa: ASYNC110 - an hour, without the feed
                await asyncio.sleep(0.01)


async def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    async def said(*options: str) -> str:
        command = (sys.executable, "-m", "thermocline.testing.functions", *options)
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, cwd=ROOT)
        _, told = await process.communicate()
        assert process.returncode == 1
        return told.decode()

    assert "there is no app nothing" in await said("nothing")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} is taken" in await said("--port", port, "memory-worker")
    assert "holds no folder with a function_app.py" in await said("--folder", str(tmp_path))
