"""What `export` and `forget` do, on the embedded tiers and on the services."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.rights.ground import Ground, grounds

from thermocline.testing.rig import Azurite, CosmosServer, RedisServer


@pytest_asyncio.fixture(params=["embedded", "services"])
async def ground(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    unique_name: Callable[[str], str],
    redis_server: RedisServer,
    cosmos_server: CosmosServer,
    azurite: Azurite,
) -> AsyncIterator[Ground]:
    async for made in grounds(request.param, tmp_path, unique_name("rights"), redis_server, cosmos_server, azurite):
        yield made
