from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.unit.feed.ground import Small

from thermocline import Key
from thermocline.errors import ThermoclineError, TierUnavailable


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Small]:
    made = Small(tmp_path)
    async with made.client:
        yield made


@pytest.fixture
def sick(small: Small) -> Callable[..., Callable[[], None]]:
    """Takes a key's shard away; what it returns brings it back."""

    def take(key: Key, error: ThermoclineError | None = None) -> Callable[[], None]:
        small.hot.sick[key] = error if error is not None else TierUnavailable("the shard is away", tier="hot")
        return small.hot.sick.clear

    return take
