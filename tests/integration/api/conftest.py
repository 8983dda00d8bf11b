"""The memory's routes in this process: an app over embedded tiers, an Entra of our own, and callers with tokens."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from thermocline.testing.entra import EntraServer, Signer

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:  # the parts of this folder's tests import each other as ``tests.integration.api.…``
    sys.path.insert(0, ROOT)

from tests.integration.api.desk import Desk  # noqa: E402


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture
async def entra(signer: Signer) -> AsyncIterator[EntraServer]:
    async with EntraServer(signer) as server:
        yield server


@pytest.fixture
async def desk(entra: EntraServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with Desk(entra, tmp_path / "home") as made:
        yield made
