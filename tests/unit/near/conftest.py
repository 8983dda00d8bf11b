from collections.abc import AsyncIterator

import pytest
from tests.unit.near.ground import Ground


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """Connected; it has heard all so far."""
    made = Ground()
    async with made.client:
        made.beat()
        yield made
