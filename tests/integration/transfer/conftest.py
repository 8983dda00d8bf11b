"""The homes of one test."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.integration.transfer.homes import Homes

from thermocline.testing.rig import Azurite, CosmosServer


@pytest.fixture
async def homes(
    tmp_path: Path, cosmos_server: CosmosServer, azurite: Azurite, unique_name: Callable[[str], str]
) -> AsyncIterator[Homes]:
    async with AsyncExitStack() as stack:
        yield Homes(tmp_path, stack, cosmos_server, azurite, unique_name("transfer"))
