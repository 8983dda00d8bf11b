"""One home of embedded tiers per test, on a clock that the test moves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.moving.home import Home


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    home = Home(tmp_path)
    yield home
    await home.close()
