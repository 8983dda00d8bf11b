"""The promises are tested through the client, against real servers."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.promises.nursery import Nursery
from tests.promises.world import World

from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer


@pytest.fixture
async def world(
    redis_server: RedisServer, own_cosmos: CosmosServer, azurite: Azurite, control: CosmosControl
) -> AsyncIterator[World]:
    world = World(redis_server.url, own_cosmos, azurite, f"p{uuid.uuid4().hex[:16]}")
    yield world
    await world.close()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Makes client processes that a test kills."""
    with Nursery() as nursery:
        yield nursery
