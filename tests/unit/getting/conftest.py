"""The parts of this folder's tests import each other as ``tests.unit.getting.…``, wherever pytest was started."""

import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from tests.unit.getting.ground import Run, on_virtual_time  # noqa: E402


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a test's coroutine on a ground of its own, in virtual time."""
    return partial(on_virtual_time, tmp_path)
