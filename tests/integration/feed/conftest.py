"""The change feed against real servers: a container of each test's own, its feed read by the official SDK, and its dead letters."""

import uuid
from collections.abc import AsyncIterator

import pytest
from tests.integration.feed.world import FeedWorld

from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer


@pytest.fixture
async def world(
    redis_server: RedisServer, own_cosmos: CosmosServer, azurite: Azurite, control: CosmosControl
) -> AsyncIterator[FeedWorld]:
    world = FeedWorld(redis_server.url, own_cosmos, azurite, f"f{uuid.uuid4().hex[:16]}")
    yield world
    await world.close()
