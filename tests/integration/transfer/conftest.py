"""The homes of one test."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:  # the parts of this folder's tests import each other as ``tests.integration.transfer.…``
    sys.path.insert(0, ROOT)

from tests.integration.transfer.homes import Homes  # noqa: E402

from thermocline.testing.rig import Azurite, CosmosServer  # noqa: E402


@pytest.fixture
async def homes(
    tmp_path: Path, cosmos_server: CosmosServer, azurite: Azurite, unique_name: Callable[[str], str]
) -> AsyncIterator[Homes]:
    async with AsyncExitStack() as stack:
        yield Homes(tmp_path, stack, cosmos_server, azurite, unique_name("transfer"))
