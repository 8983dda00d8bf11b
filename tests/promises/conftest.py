"""The promises are tested through the client, against real servers. Faults of Cosmos DB belong to a whole server, so this folder has its own."""

import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:  # the parts of this folder's tests import each other as ``tests.promises.…``
    sys.path.insert(0, ROOT)

from tests.promises.nursery import Nursery  # noqa: E402
from tests.promises.world import World  # noqa: E402

from thermocline.testing.cosmos.control import CosmosControl  # noqa: E402
from thermocline.testing.rig import Azurite, CosmosServer, RedisServer  # noqa: E402


@pytest.fixture(scope="session")
def own_cosmos() -> Iterator[CosmosServer]:
    with CosmosServer(kind="strict") as server:
        yield server


@pytest.fixture
def control(own_cosmos: CosmosServer) -> Iterator[CosmosControl]:
    control: CosmosControl = own_cosmos.control
    yield control
    control.reset("faults", "clock", "counters")


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
