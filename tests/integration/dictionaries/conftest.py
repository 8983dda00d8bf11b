"""What dictionaries do, in every kind of store."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.dictionaries.stores import KINDS, Store, stores

from thermocline.testing.rig import Azurite, CosmosServer, RedisServer


@pytest_asyncio.fixture(params=KINDS)
async def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    unique_name: Callable[[str], str],
    redis_server: RedisServer,
    cosmos_server: CosmosServer,
    azurite: Azurite,
) -> AsyncIterator[Store]:
    async for made in stores(request.param, tmp_path, unique_name("dicts"), redis_server, cosmos_server, azurite):
        yield made


@pytest_asyncio.fixture(params=["sqlite", "cosmos"])
async def both(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    unique_name: Callable[[str], str],
    redis_server: RedisServer,
    cosmos_server: CosmosServer,
    azurite: Azurite,
) -> AsyncIterator[Store]:
    """The two that differ most: one stores what it is given, the other JSON as JSON."""
    async for made in stores(request.param, tmp_path, unique_name("dicts"), redis_server, cosmos_server, azurite):
        yield made


@pytest_asyncio.fixture
async def natively(
    unique_name: Callable[[str], str],
    tmp_path: Path,
    redis_server: RedisServer,
    cosmos_server: CosmosServer,
    azurite: Azurite,
) -> AsyncIterator[Store]:
    async for made in stores("cosmos", tmp_path, unique_name("dicts"), redis_server, cosmos_server, azurite):
        yield made


@pytest_asyncio.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Store]:
    async for made in stores("sqlite", tmp_path, "embedded", None, None, None):
        yield made


@pytest.fixture
def tenant(unique_name: Callable[[str], str]) -> str:
    """Of this test alone: Redis is shared."""
    return unique_name("tenant")
