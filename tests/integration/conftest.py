from collections.abc import Callable

import pytest


@pytest.fixture
def tenant(unique_name: Callable[[str], str]) -> str:
    """Of this test alone: Redis is shared."""
    return unique_name("tenant")
