"""Making a dictionary of samples, and measuring what it is worth. Pure; takes seconds for some megabytes, so run it in a thread.

Whatever stands in a dictionary stays when the sample it came from is erased. So by default only fragments go in that values of many scopes have in common:
`shared_fragments` finds them by counting, in how many scopes each run of words stands. A dictionary is then composed of the fragments that save most, and
zstd adds its statistics, which are counts of bytes and lengths and hold no text. With ``shared_by=1`` zstd chooses freely (its COVER algorithm), which packs
some percent better and copies whatever pays.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thermocline.codec.compress import compress
from thermocline.codec.dictionary import SIZE_LEAST, SIZE_MOST, Dictionary
from thermocline.errors import InvalidArgument

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RUN: Final = 8  # tokens: each run of so many in a dictionary stood in the values of ``shared_by`` scopes
_LEAST_FRAGMENT: Final = 4  # bytes; a match of zstd costs about three
_HEADER: Final = 512  # bytes that zstd's header and statistics may take of a dictionary
_LEAST_CONTENT: Final = 128  # what zstd asks for
LEAST_SAMPLES: Final = 20
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_\x80-\xff]+|[^A-Za-z0-9_\x80-\xff]+")
"""Words, and what stands between them. No byte of a UTF-8 character is cut from the others."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A serialised value, and the scope that it belongs to."""

    scope: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes of the same values: as they are, compressed without a dictionary, and with it."""

    raw: int
    without: int
    packed: int

    @property
    def gain(self) -> float:
        """Which part of the bytes stored without the dictionary it saves: 0.5 is a half."""
        return 1 - self.packed / self.without if self.without else 0.0


def train(samples: Sequence[Sample], *, size: int, shared_by: int, level: int) -> Dictionary:
    """A dictionary of at most ``size`` bytes for values like these. Deterministic. ``shared_by``: in the values of how many scopes at least a run of
    `RUN` words and separators must stand to go into it. Raises `InvalidArgument` where the samples are too few, or have too little in common."""
    if not SIZE_LEAST <= size <= SIZE_MOST:
        raise InvalidArgument(f"a dictionary has {SIZE_LEAST} to {SIZE_MOST} bytes, not {size}")
    if len(samples) < LEAST_SAMPLES:
        raise InvalidArgument(
            f"{len(samples)} samples are too few to train a dictionary: at least {LEAST_SAMPLES} are needed"
        )
    raws = [sample.raw for sample in samples]
    try:
        if shared_by <= 1:
            return Dictionary(zstd.train_dict(raws, size).dict_content)
        content = _composed(shared_fragments(samples, shared_by), size - _HEADER)
        if len(content) < _LEAST_CONTENT:
            scopes = len({sample.scope for sample in samples})
            raise InvalidArgument(
                f"the values of {scopes} scopes have only {len(content)} bytes of fragments that {shared_by} of them share, too little for a dictionary: take"
                " samples of more scopes, or lower shared_by (what that means for erasing: docs/dictionaries.md)"
            )
        made = zstd.finalize_dict(zstd.ZstdDict(content, is_raw=True), raws, size, level)
    except zstd.ZstdError as error:
        raise InvalidArgument(f"no dictionary can be made of these samples: {error}") from error
    return Dictionary(made.dict_content)


def measure(dictionary: Dictionary, raws: Sequence[bytes], *, level: int, threshold: int) -> Measured:
    """What these values take. Without: as a codec of this ``level`` and ``threshold`` stores them; with: the smaller of packed and raw."""
    without = sum(len(raw) if len(raw) < threshold else len(compress(raw, "zstd", level)[1]) for raw in raws)
    packed = sum(min(len(raw), len(dictionary.compress(raw, level))) for raw in raws)
    return Measured(sum(map(len, raws)), without, packed)


def shared_fragments(samples: Sequence[Sample], shared_by: int) -> dict[bytes, int]:
    """The longest runs of words and separators of which every `RUN` in a row (or all, of a shorter run) stand in values of ``shared_by`` scopes, and how
    often each was met.

    Runs of one token are counted first, then those of two both of whose halves are common enough, and so on: a run can only be shared if its parts are.
    """
    tokens: list[list[bytes]] = [_TOKEN.findall(sample.raw) for sample in samples]
    reach = [
        [0] * len(row) for row in tokens
    ]  # by place: of how many tokens the longest shared run is that begins there
    names: dict[bytes, int] = {}
    grams = [[names.setdefault(token, len(names)) for token in row] for row in tokens]
    for length in range(1, RUN + 1):
        common = _common(samples, grams, shared_by)
        if not common:
            break
        pairs: dict[tuple[int, int], int] = {}
        longer = []
        for row, reached in zip(grams, reach, strict=True):
            for place, gram in enumerate(row):
                if gram in common:
                    reached[place] = length
            made = [-1] * len(row)
            for place in range(len(row) - length):
                one, other = row[place], row[place + 1]
                if one in common and other in common:
                    made[place] = pairs.setdefault((one, other), len(pairs))
            longer.append(made)
        grams = longer
    found: dict[bytes, int] = {}
    for words, reached in zip(tokens, reach, strict=True):
        for first, behind in _runs(reached):
            fragment = b"".join(words[first:behind])
            found[fragment] = found.get(fragment, 0) + 1
    return found


def _common(samples: Sequence[Sample], grams: Sequence[Sequence[int]], shared_by: int) -> set[int]:
    """Which of them stand in values of so many scopes."""
    scopes: dict[int, set[str]] = {}
    common: set[int] = set()
    for sample, row in zip(samples, grams, strict=True):
        for gram in row:
            if gram < 0 or gram in common:
                continue
            seen = scopes.setdefault(gram, set())
            seen.add(sample.scope)
            if len(seen) >= shared_by:
                common.add(gram)
                del scopes[gram]
    return common


def _runs(reached: Sequence[int]) -> list[tuple[int, int]]:
    """The first place of each run, and the one behind its last."""
    runs = []
    place = 0
    while place < len(reached):
        length = reached[place]
        if length == 0:
            place += 1
            continue
        last = place
        if length == RUN:
            while last + 1 < len(reached) and reached[last + 1] == RUN:
                last += 1
        runs.append((place, last + length))
        place = last + length
    return runs


def _composed(fragments: dict[bytes, int], size: int) -> bytes:
    """Fragments of ``size`` bytes in all, those that save most; the best ones last, where a match is cheapest to name."""
    worth = sorted(fragments.items(), key=lambda item: (-item[1] * (len(item[0]) - _LEAST_FRAGMENT + 1), item[0]))
    content = b""
    for fragment, _ in worth:
        if len(fragment) >= _LEAST_FRAGMENT and len(content) + len(fragment) <= size and fragment not in content:
            content = fragment + content
    return content
