"""What dictionaries do, in every kind of store."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.dictionaries.stores import KINDS, Store, stores

from thermocline.testing.rig import Azurite, CosmosServer, RedisServer

Opens = Callable[[str], AsyncIterator[Store]]


@pytest.fixture
def opens(
    tmp_path: Path,
    unique_name: Callable[[str], str],
    redis_server: RedisServer,
    cosmos_server: CosmosServer,
    azurite: Azurite,
) -> Opens:
    """A store of the test's own, by its kind."""
    return lambda kind: stores(kind, tmp_path, unique_name("dicts"), redis_server, cosmos_server, azurite)


@pytest_asyncio.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, opens: Opens) -> AsyncIterator[Store]:
    async for made in opens(request.param):
        yield made


@pytest_asyncio.fixture(params=["sqlite", "cosmos"])
async def both(request: pytest.FixtureRequest, opens: Opens) -> AsyncIterator[Store]:
    """The two that differ most: one stores what it is given, the other JSON as JSON."""
    async for made in opens(request.param):
        yield made


@pytest_asyncio.fixture
async def natively(opens: Opens) -> AsyncIterator[Store]:
    async for made in opens("cosmos"):
        yield made


@pytest_asyncio.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Store]:
    async for made in stores("sqlite", tmp_path, "embedded", None, None, None):
        yield made
