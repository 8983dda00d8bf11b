"""Fixtures of the tests of Functions apps."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.functions.grounds import Ground, grounds

from thermocline.testing.rig import Azurite, CosmosServer


@pytest.fixture
async def ground(
    cosmos_server: CosmosServer, azurite: Azurite, tmp_path: Path, unique_name: Callable[[str], str]
) -> AsyncIterator[Ground]:
    """The sample app's surroundings."""
    async with grounds(cosmos_server, azurite, tmp_path, unique_name) as made:
        yield made
