from functools import partial
from pathlib import Path

import pytest
from tests.unit.getting.ground import Ground, Run
from tests.unit.virtual import on_virtual_time


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a test's coroutine on a ground of its own, in virtual time."""
    return partial(on_virtual_time, partial(Ground, tmp_path))
