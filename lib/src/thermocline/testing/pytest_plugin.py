"""pytest fixtures for real servers. Load it with ``pytest_plugins = ["thermocline.testing.pytest_plugin"]``.

A test that needs a server which cannot be had is skipped with the reason; with CI=true or THERMOCLINE_REQUIRE_ALL=1 it
fails. The servers are shared by the tests of a session (of one worker, under pytest-xdist): use `fresh_prefix` or
`unique_name` to keep out of each other's way, and start a server of your own in a test that breaks it.
With THERMOCLINE_TEST_DOCKER=1 the servers are containers.
"""

import contextlib
import importlib.util
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator

from thermocline.testing.extra import needed_by

with needed_by(__name__):
    import pytest

from thermocline.testing.proxy import ChaosProxy
from thermocline.testing.rig import Azurite, CosmosServer, KeyVaultServer, MissingPart, RedisCluster, RedisServer
from thermocline.testing.rig.container import docker_is_wanted
from thermocline.testing.rig.process import leftovers

REQUIRE_VARIABLE = "THERMOCLINE_REQUIRE_ALL"
REDIS_IMAGE = "redis:8.2"
AZURITE_IMAGE = "mcr.microsoft.com/azure-storage/azurite:3.36.0"


def skip_or_fail(reason: str) -> None:
    """Skip the running test, or fail it where everything has to be there. Never returns."""
    if os.environ.get("CI", "").lower() == "true" or os.environ.get(REQUIRE_VARIABLE) == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Turn a part that a fixture misses into a skip."""
    try:
        return (yield)
    except MissingPart as missing:
        skip_or_fail(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Turn a part that a test itself misses into a skip."""
    try:
        return (yield)
    except MissingPart as missing:
        skip_or_fail(str(missing))


@pytest.fixture(scope="session", autouse=True)
def no_server_left_behind() -> Iterator[None]:
    """Fail the session if a server of the rig outlives it. Set up before the servers, so torn down after them."""
    yield
    left = leftovers()
    assert left == [], f"servers outlived the tests: {left}"


@pytest.fixture(scope="session")
def redis_server(no_server_left_behind: None) -> Iterator[RedisServer]:
    """One real Redis."""
    with RedisServer(image=REDIS_IMAGE if docker_is_wanted() else None) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(no_server_left_behind: None) -> Iterator[RedisCluster]:
    """Three Redis masters that share the slots."""
    with RedisCluster(image=REDIS_IMAGE if docker_is_wanted() else None) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def azurite(no_server_left_behind: None) -> Iterator[Azurite]:
    """Blob, queue and table storage."""
    with Azurite(image=AZURITE_IMAGE if docker_is_wanted() else None) as server:
        yield server


@pytest.fixture(scope="session")
def cosmos_server(no_server_left_behind: None) -> Iterator[CosmosServer]:
    """Cosmos DB: the strict emulator, or what the environment asks for."""
    with CosmosServer() as server:
        yield server


@pytest.fixture(scope="session")
def key_vault(no_server_left_behind: None) -> Iterator[KeyVaultServer]:
    """Key Vault's secrets and a managed identity, over TLS."""
    with KeyVaultServer() as server:
        yield server


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """A function that makes names nobody else uses; of letters, digits and ``-``, fit for containers and databases."""
    return lambda kind: f"{kind}-{uuid.uuid4().hex[:16]}"


@pytest.fixture
def fresh_prefix(unique_name: Callable[[str], str]) -> str:
    """A prefix for this test's keys."""
    return unique_name("t") + "-"


MakeProxy = Callable[[str | int], Awaitable[ChaosProxy]]

if importlib.util.find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def chaos_proxy() -> AsyncIterator[MakeProxy]:
        """A function that puts a proxy in front of a server: ``proxy = await chaos_proxy(redis_server.url)``."""
        async with contextlib.AsyncExitStack() as proxies:

            async def make(upstream: str | int) -> ChaosProxy:
                return await proxies.enter_async_context(ChaosProxy(upstream))

            yield make

else:

    @pytest.fixture
    def chaos_proxy() -> None:
        """Missing: proxies live in an event loop."""
        raise MissingPart("needs an event loop: pip install pytest-asyncio")
