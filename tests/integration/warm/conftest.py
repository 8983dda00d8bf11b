"""The warm tier in containers of each test's own, on a server whose faults, counters and clock the tests set."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.cosmos.aio import ContainerProxy, CosmosClient
from tests.integration.warm.items import DATABASE, OpenWarm

from thermocline.testing.conformance.samples import new_key, put, soon
from thermocline.testing.cosmos.control import CosmosControl
from thermocline.testing.rig import CosmosServer
from thermocline.tiers.warm import WarmMemory


@pytest.fixture
def container_name() -> str:
    return f"c{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def open_warm(own_cosmos: CosmosServer, control: CosmosControl, container_name: str) -> AsyncIterator[OpenWarm]:
    """Opens tiers on this test's container, made with the first."""
    opened: list[WarmMemory] = []

    async def open_it(**options: Any) -> WarmMemory:
        tier = WarmMemory(own_cosmos.url, DATABASE, container_name, key=own_cosmos.key, create=True, **options)
        opened.append(tier)
        await tier.connect()
        return tier

    yield open_it
    for tier in opened:
        await tier.close()


@pytest.fixture
async def warm(open_warm: OpenWarm, control: CosmosControl) -> WarmMemory:
    """A connected tier; the server's counters are at zero, and no fault is set."""
    tier = await open_warm()
    key = new_key()
    await tier.write(put(key, "v"), deadline=soon())
    await tier.read(key, deadline=soon())  # with the first session token: now the SDK has read the ranges, once
    control.reset("counters")
    return tier


@pytest.fixture
async def items(own_cosmos: CosmosServer, warm: WarmMemory, container_name: str) -> AsyncIterator[ContainerProxy]:
    """The test's container by the bare SDK, to look behind the tier's back."""
    async with CosmosClient(own_cosmos.url, own_cosmos.key) as client:
        yield client.get_database_client(DATABASE).get_container_client(container_name)
