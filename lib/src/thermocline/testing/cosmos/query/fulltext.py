"""Full-text predicates and the parts of BM25. Words are runs of letters and digits, lower-cased; there is no stemming."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from thermocline.testing.cosmos.query.values import UNDEFINED

_WORD: Final = re.compile(r"\w+")
K1: Final = 1.2
B: Final = 0.75


def words(text: Any) -> list[str]:
    """The words of a text or of an array of texts."""
    if isinstance(text, list):
        return [w for t in text if isinstance(t, str) for w in _WORD.findall(t.lower())]
    return _WORD.findall(text.lower()) if isinstance(text, str) else []


def occurrences(found: Sequence[str], term: str) -> int:
    """How often a word, or a phrase of words, occurs."""
    wanted = words(term)
    if not wanted:
        return 0
    n = len(wanted)
    return sum(list(found[i : i + n]) == wanted for i in range(len(found) - n + 1))


def _contains(combine: Callable[[Any], bool]) -> Callable[..., Any]:
    def run(text: Any, *terms: Any) -> Any:
        if not isinstance(text, (str, list)) or not all(isinstance(t, str) for t in terms):
            return UNDEFINED
        found = words(text)
        return combine(occurrences(found, t) > 0 for t in terms)

    return run


def score(text: Any, terms: Sequence[str], documents: int, total_words: int, hits: Sequence[int]) -> float:
    """BM25 of a text: `hits` says in how many of all documents each term occurs."""
    found = words(text)
    if not found or documents == 0:
        return 0.0
    average = max(total_words / documents, 1e-9)
    result = 0.0
    for term, in_documents in zip(terms, hits, strict=True):
        frequency = occurrences(found, term)
        weight = math.log(1 + (documents - in_documents + 0.5) / (in_documents + 0.5))
        result += weight * frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * len(found) / average))
    return result


FUNCTIONS: Final[dict[str, tuple[int, int, Callable[..., Any]]]] = {
    "FULLTEXTCONTAINS": (2, 2, _contains(any)),
    "FULLTEXTCONTAINSANY": (2, 1000, _contains(any)),
    "FULLTEXTCONTAINSALL": (2, 1000, _contains(all)),
    "_FULLTEXTSCORE": (5, 5, score),  # only in rewritten queries
    "_FULLTEXTWORDCOUNT": (1, 1, lambda text: len(words(text))),
}
