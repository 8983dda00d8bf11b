"""What the client's verbs answer with."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, TypeVar, final

from thermocline.errors import ThermoclineError
from thermocline.model import Authority, Envelope, Key, MemoryTier

Value = TypeVar("Value")


@final
class NotGiven:
    """The type of `NOT_GIVEN`: a parameter that was left out, where None has a meaning of its own."""

    _only: "NotGiven | None" = None

    def __new__(cls) -> "NotGiven":
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> bool:
        raise TypeError("NOT_GIVEN is neither true nor false; compare it with `is`")


NOT_GIVEN: Final = NotGiven()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a read came back with inside the client: a live envelope, or None for a key that has no value."""

    envelope: Envelope | None
    tier: MemoryTier
    version: int = 0
    stale: bool = False
    bound: str = ""
    asked: bool = True  # False: hot did not know, and the rules forbid to ask below


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What happened to a write.

    ``version``: the one it took effect as; 0 of a delete or touch that found nothing to act on (``found`` is then False). ``durable``: the authority is
    one that survives the loss of Redis (P2). ``hot``: hot was told, so that every client sees the write from now on; else ``hot_until`` is the moment
    until which others may still see the old value. Both are True/None where no hot tier is involved.
    """

    key: Key
    version: int
    authority: Authority
    durable: bool
    found: bool = True
    hot: bool = True
    hot_until: datetime | None = None
    expires: datetime | None = None


class Batch(dict[Any, Value], Generic[Value]):
    """The answers of a batch: a dictionary of the keys (as they were given) that have a value. The others are in ``missing`` or in ``errors``: one
    sick key or shard does not lose the others' results (P8)."""

    __slots__ = ("errors", "missing", "not_asked")

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[Any] = []
        self.errors: dict[Any, ThermoclineError] = {}
        self.not_asked: list[Any] = []  # with read_fallback=False: hot had no value, and nobody else was asked

    def raise_errors(self) -> "Batch[Value]":
        """Itself, or an ExceptionGroup of all errors where there are any."""
        if self.errors:
            raise ExceptionGroup(f"{len(self.errors)} keys of the batch failed", list(self.errors.values()))
        return self


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of `MemoryClient.list`: the keys, and the cursor of the next page (None: this was the last)."""

    items: list["ListedKey"] = field(default_factory=list)
    cursor: str | None = None

    def __iter__(self) -> Iterator["ListedKey"]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A live key. ``tier`` is where its payload lies, ``raw_size`` the value's bytes before compression, ``size`` those that the authority holds: of
    a payload in cold, its pointer's."""

    key: Key
    version: int
    tier: MemoryTier
    size: int
    raw_size: int
    expires: datetime | None = None
    modified: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
