"""Services as processes of their own: uvicorn, one worker."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:  # the parts of this folder's tests import each other as ``tests.integration.service.…``
    sys.path.insert(0, ROOT)

from tests.integration.service.served import Served  # noqa: E402


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
