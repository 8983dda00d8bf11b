"""The memory's routes in this process: an app over embedded tiers, an Entra of our own, and callers with tokens."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.api.desk import Desk

from thermocline.testing.entra import EntraServer, Signer


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
