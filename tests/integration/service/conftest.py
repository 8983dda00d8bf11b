"""Services as processes of their own: uvicorn, one worker."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from tests.integration.service.served import Served


@pytest.fixture(scope="session")
def desk(no_server_left_behind: None) -> Iterator[Served]:
    """The embedded desk, without callers."""
    with Served("embedded") as server:
        yield server


@pytest.fixture(scope="session")
def desk_of_callers(no_server_left_behind: None) -> Iterator[Served]:
    """The embedded desk that asks who calls."""
    with Served("of_callers") as server:
        yield server


@pytest.fixture
async def http(desk: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with desk.client() as client:
        yield client


@pytest.fixture
async def callers(desk_of_callers: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with desk_of_callers.client() as client:
        yield client
