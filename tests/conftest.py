"""Fixtures of all tests: the servers of the public rig. And Hypothesis' settings: no example is judged by the clock, since a machine of two cores looks away
for longer than its 200 ms now and then."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import CosmosServer

ROOT = str(Path(__file__).parents[1])
if ROOT not in sys.path:  # tests import their parts as ``tests.…``, and ``benchmarks.…``, wherever pytest was started
    sys.path.insert(0, ROOT)

settings.register_profile("busy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

pytest_plugins = ["thermocline.testing.pytest_plugin", "pytester"]


@pytest.fixture(scope="session", autouse=True)
def no_child_left_behind() -> Iterator[None]:
    """No process that any test started outlives the session, whether the rig knows it or not."""
    yield
    left = [child for child in psutil.Process().children(recursive=True) if not _belongs_to_python(child)]
    assert left == [], f"processes outlived the tests: {left}"


def _belongs_to_python(process: psutil.Process) -> bool:
    """The helpers of multiprocessing live as long as the interpreter, by design."""
    try:
        return any("multiprocessing." in word for word in process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return True


@pytest.fixture(scope="session")
def own_cosmos(no_server_left_behind: None) -> Iterator[CosmosServer]:
    """A strict emulator for who sets the faults, counters, clock or account of a whole server: by `control`, or else puts them back himself."""
    with CosmosServer(kind="strict") as server:
        yield server


@pytest.fixture
def control(own_cosmos: CosmosServer) -> Iterator[CosmosControl]:
    control: CosmosControl = own_cosmos.control
    yield control
    control.reset("faults", "clock", "counters")
    control.account(consistency="Session", multi_write=False, regions={})


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[object], None]:
    """Prints a report though the test passes."""

    def it(report: object) -> None:
        with capsys.disabled():
            print(f"\n{report}")

    return it
