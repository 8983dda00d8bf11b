"""One memory over every subset of tiers, embedded and on real services; a test opens as many clients on it as it needs."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.client.grounds import Embedded, Grounds, Services

from thermocline.testing.rig import Azurite, CosmosServer, RedisServer

SUBSETS = ["hot", "warm", "cold", "hot+warm", "hot+cold", "warm+cold", "hot+warm+cold"]
ALL = [f"{kind}:{tiers}" for kind in ("embedded", "services") for tiers in SUBSETS]


@pytest.fixture
def services(redis_server: RedisServer, cosmos_server: CosmosServer, azurite: Azurite) -> Services:
    return Services(redis_server.url, cosmos_server, azurite, f"t{uuid.uuid4().hex[:16]}")


async def _grounds(request: pytest.FixtureRequest, tmp_path: Path) -> Grounds:
    kind, _, tiers = request.param.partition(":")
    grounds: Grounds = request.getfixturevalue("services") if kind == "services" else Embedded(tmp_path, "tenant")
    await grounds.prepare(tiers.split("+"))
    return grounds


@pytest.fixture(params=ALL)
async def grounds(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Grounds]:
    """Every subset of the tiers."""
    grounds = await _grounds(request, tmp_path)
    yield grounds
    await grounds.close()


@pytest.fixture(params=[name for name in ALL if name.partition(":")[2] in ("hot", "warm", "cold", "hot+warm+cold")])
async def each(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Grounds]:
    """Each tier alone, and all three."""
    grounds = await _grounds(request, tmp_path)
    yield grounds
    await grounds.close()


@pytest.fixture(params=[name for name in ALL if ":hot+" in name])
async def above(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Grounds]:
    """Every subset in which hot stands above an authority."""
    grounds = await _grounds(request, tmp_path)
    yield grounds
    await grounds.close()


@pytest.fixture(params=["embedded:hot+warm+cold", "services:hot+warm+cold"])
async def whole(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Grounds]:
    """All three tiers."""
    grounds = await _grounds(request, tmp_path)
    yield grounds
    await grounds.close()


@pytest.fixture(params=["embedded:warm", "services:warm", "services:hot+warm"])
async def some(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Grounds]:
    """Where the subsets differ in nothing that the test looks at."""
    grounds = await _grounds(request, tmp_path)
    yield grounds
    await grounds.close()
