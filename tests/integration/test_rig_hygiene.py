"""The rig leaves nothing behind: not when its process is killed, and not in a pytest session."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from thermocline.testing.rig import RedisServer
from thermocline.testing.rig.process import leftovers

OWNER = """
import json, os, signal, sys
from thermocline.testing.rig import Azurite, CosmosServer, RedisCluster, RedisServer
servers = [RedisServer(), Azurite()]
for server in servers:
    server.start()
cluster = RedisCluster()
cluster.start()
cosmos = CosmosServer(kind="strict")
pids = []
if sys.argv[1:] != ["fork"]:  # the emulator watches only its pipe
    cosmos.start()
    pids = [cosmos.process.pid]
killed = RedisServer()
killed.start()
servers += [*cluster.nodes]
said = {"pids": [*pids, *(server.pid for server in servers)]}
said["directories"] = [str(s.directory) for s in [*servers, killed]]
killed.kill()
said["forked"] = os.fork() if sys.argv[1:] == ["fork"] else -1
if said["forked"] != 0:
    print(json.dumps(said), flush=True)
signal.pause()
"""


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process that has servers of its own, and what it says about them."""
    arguments: list[str] = getattr(request, "param", [])
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("owner", [[], ["fork"]], indirect=True, ids=["alone", "with a child that holds its pipes"])
def test_servers_and_directories_go_when_their_owner_is_killed(
    owner: tuple[subprocess.Popen[str], dict[str, Any]],
) -> None:
    process, said = owner
    everything = [one for one in psutil.Process(process.pid).children(recursive=True) if one.pid != said["forked"]]
    assert {one.pid for one in everything} > set(said["pids"])
    # Five servers with their supervisors, the supervisor of the one whose server had been killed, Cosmos DB.
    assert len(everything) == 5 * 2 + 1 + (1 if said["forked"] < 0 else 0)
    assert all(Path(directory).is_dir() for directory in said["directories"])
    os.kill(process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(everything, timeout=30)
    assert alive == []
    assert not any(Path(directory).exists() for directory in said["directories"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: prctl(PR_SET_PDEATHSIG)")
def test_a_server_goes_with_its_supervisor() -> None:
    server = RedisServer()
    server.start()
    process = psutil.Process(server.pid)
    supervisor = process.parent()
    assert supervisor is not None
    supervisor.kill()
    process.wait(30)
    assert not server.running
    server.start()
    assert server.pid != process.pid
    server.stop()


def test_leftovers_names_what_runs() -> None:
    with RedisServer() as server:
        supervisor = psutil.Process(server.pid).ppid()
        assert any(line.startswith(f"{supervisor}:") and "redis-server" in line for line in leftovers())
    assert not any(line.startswith(f"{supervisor}:") for line in leftovers())


def _run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str, **variables: str) -> pytest.RunResult:
    for name in ("CI", "THERMOCLINE_REQUIRE_ALL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    pytester.makeconftest('pytest_plugins = ["thermocline.testing.pytest_plugin"]')
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-ra")


NEEDS_REDIS = """
from thermocline.testing.rig import RedisServer

def test_by_fixture(redis_server):
    assert redis_server.running

def test_by_hand():
    with RedisServer():
        pass
"""


def test_a_missing_part_skips_and_says_what_it_needs(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _run(pytester, monkeypatch, NEEDS_REDIS, THERMOCLINE_REDIS_SERVER="/nowhere")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*needs redis-server: *"])


@pytest.mark.parametrize("variable", [{"CI": "true"}, {"THERMOCLINE_REQUIRE_ALL": "1"}])
def test_a_missing_part_fails_where_all_is_required(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, variable: dict[str, str]
) -> None:
    result = _run(pytester, monkeypatch, NEEDS_REDIS, THERMOCLINE_REDIS_SERVER="/nowhere", **variable)
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["*needs redis-server: *"])


def test_a_server_left_running_fails_the_session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
    from thermocline.testing.rig import RedisServer
    left = RedisServer()

    def test_that_forgets():
        left.start()

    def test_that_does_not(redis_server):
        assert redis_server.running
    """
    result = _run(pytester, monkeypatch, source)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*servers outlived the tests*redis-server*"])
