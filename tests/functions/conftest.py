"""Fixtures of the tests of Functions apps."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:  # the parts of this folder's tests import each other as ``tests.functions.…``
    sys.path.insert(0, ROOT)

from tests.functions.grounds import Ground, grounds  # noqa: E402

from thermocline.testing.rig import Azurite, CosmosServer  # noqa: E402


@pytest.fixture
async def ground(
    cosmos_server: CosmosServer, azurite: Azurite, tmp_path: Path, unique_name: Callable[[str], str]
) -> AsyncIterator[Ground]:
    """The sample app's surroundings."""
    async with grounds(cosmos_server, azurite, tmp_path, unique_name) as made:
        yield made
