"""A tier on Azure Storage, and the same through a proxy that breaks its connections."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.integration.storage.stores import Blobs, Rows, Store, Tier

from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite

MakeProxy = Callable[[str | int], Awaitable[ChaosProxy]]


@pytest.fixture(params=["blobs", "rows"])
def store(request: pytest.FixtureRequest, azurite: Azurite, unique_name: Callable[[str], str]) -> Store:
    name = unique_name("s")
    if request.param == "rows":
        return Rows(azurite, name)
    return Blobs(azurite, name, "obstore" if request.param == "blobs over obstore" else "sdk")


@pytest.fixture
async def direct(store: Store) -> AsyncIterator[Tier]:
    async with store.direct() as tier:
        yield tier


@pytest.fixture
async def proxy(store: Store, chaos_proxy: MakeProxy) -> ChaosProxy:
    return await chaos_proxy(store.url)


@pytest.fixture
async def behind(store: Store, direct: Tier, proxy: ChaosProxy) -> AsyncIterator[Tier]:
    """What `direct` reaches, through the proxy."""
    async with store.behind(proxy.url) as tier:
        yield tier
