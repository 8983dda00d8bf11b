"""One home of embedded tiers per test, on a clock that the test moves."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:  # the parts of this folder's tests import each other as ``tests.integration.moving.…``
    sys.path.insert(0, ROOT)

from tests.integration.moving.home import Home  # noqa: E402


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    home = Home(tmp_path)
    yield home
    await home.close()
