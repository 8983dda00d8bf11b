"""The host that the tests of `test_on_a_host.py` run on: ours, or the official one where THERMOCLINE_TEST_FUNCTIONS_HOST says so.

``func`` (or the path of that program, of Azure Functions Core Tools 4) starts the official host for each app, with Azurite as its storage; it needs
that program, a Python that has the library and azure-functions (that of `make functions-env`, else the first on PATH), and a way to the CDN of the
extension bundle. ``APP=http://host:port,…`` asks hosts that run already, with the settings that the tests give; apps that are not named are skipped.
"""

import asyncio
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.functions.runtime_313 import ENVIRONMENT

from thermocline.testing.functions import FunctionsProcess
from thermocline.testing.rig import Azurite
from thermocline.testing.rig.ports import free_port

VARIABLE = "THERMOCLINE_TEST_FUNCTIONS_HOST"
_PATIENCE = 180.0  # seconds for the official host, which may have to fetch its extensions


@dataclass(frozen=True)
class Host:
    """A host that serves one app. What it offers is the same for both: HTTP, and the admin endpoints."""

    url: str
    official: bool

    async def names(self) -> set[str]:
        """The functions that it found."""
        return {one["name"] for one in json.loads(await self._ask("GET", "/admin/functions"))}

    async def fire(self, name: str) -> None:
        """Fire a timer: the official host answers before it has run."""
        await self._ask("POST", f"/admin/functions/{name}", {"input": ""})

    async def _ask(self, method: str, path: str, body: Any = None) -> bytes:
        return await asyncio.to_thread(asked, method, self.url + path, body)


def asked(method: str, url: str, body: Any = None) -> bytes:
    """The body of an answer. Raises urllib's errors for any status but a success."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


@contextmanager
def host_of(folder: Path, settings: Mapping[str, str], azurite: Azurite, scratch: Path) -> Iterator[Host]:
    """The app of ``folder`` on the host under test."""
    wanted = os.environ.get(VARIABLE, "")
    if not wanted:
        with FunctionsProcess(folder, settings, strict=False) as host:
            yield Host(host.url, False)
    elif "=" in wanted:
        running = dict(one.split("=", 1) for one in wanted.split(","))
        if folder.name not in running:
            pytest.skip(f"{VARIABLE} names no host of {folder.name}")
        yield Host(running[folder.name].rstrip("/"), True)
    else:
        with official(wanted, folder, settings, azurite, scratch) as host_running:
            yield host_running


@contextmanager
def official(
    program: str, folder: Path, settings: Mapping[str, str], azurite: Azurite, scratch: Path
) -> Iterator[Host]:
    """``func start`` in a copy of the folder, until it answers; ended with all that it started."""
    if shutil.which(program) is None:
        pytest.fail(f"{VARIABLE} is {program}, which is no program here")
    home = scratch / folder.name
    leave = shutil.ignore_patterns(".python_packages", "wheels", "__pycache__", "local.settings.json")
    shutil.copytree(folder, home, ignore=leave)
    values = {
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "AzureWebJobsStorage": azurite.connection_string,
        **settings,
    }
    (home / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    port = free_port()
    log = scratch / f"{folder.name}.log"
    with log.open("w") as out:
        running = subprocess.Popen(
            [program, "start", "--port", str(port), "--verbose"],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=its_python(),
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + _PATIENCE
        while not _is_running(url):
            if running.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the official host did not start:\n{log.read_text()[-4000:]}", pytrace=False)
            time.sleep(0.5)
        yield Host(url, True)
    finally:
        os.killpg(running.pid, 15)
        running.wait(30)


def its_python() -> dict[str, str]:
    """Variables by which the official host finds the Python of `make functions-env`, where there is one."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        return dict(os.environ)
    path = f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "VIRTUAL_ENV": str(ENVIRONMENT)}


def _is_running(url: str) -> bool:
    try:
        return bool(json.loads(asked("GET", f"{url}/admin/host/status"))["state"] == "Running")
    except (OSError, ValueError, KeyError):
        return False
