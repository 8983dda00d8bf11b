"""How demanding a request looks, from 0 to 1: by that an agent chooses between its small and its large model. A cheap guess; replace it by overriding
`BaseRetailAgent._assess_complexity`."""

from collections.abc import Mapping
from typing import Any, Final

_WORDS: Final = 50  # of a query that counts as demanding by its length alone
_MARKS: Final = (" and ", " or ", " because ", " why ", " compare ", "?", ";")


def assess_complexity(request: Mapping[str, Any]) -> float:
    """The score of a request, by its ``query`` (else all of it): its length, what it asks at once, and 0.2 for ``requires_multi_tool``."""
    text = str(request["query"] if request.get("query") is not None else request)
    by_length = len(text.split()) / _WORDS
    padded = f" {text.lower()} "
    by_marks = 0.1 * sum(mark in padded for mark in _MARKS)
    by_tools = 0.2 if request.get("requires_multi_tool") is True else 0.0
    return min(1.0, by_length + by_marks + by_tools)
