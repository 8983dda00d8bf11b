"""Dead letters: documents of the change feed that could not be settled in hot, set aside with their cause so that the feed goes on.

A letter holds what tells of which key and version it was, and never the record's value. There is one a document: a later failure of the same document
takes the place of the earlier one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

from thermocline.clock import Deadline
from thermocline.errors import CorruptRecord, InvalidArgument, InvalidKey
from thermocline.model import MAX_VERSION, Key

LASTING: Final = timedelta(days=30)  # infra/contract.json: the defaultTtl of the container
NOWHERE: Final = ("", "~unknown")  # tenant and scope of what does not tell its own
PAGE: Final = 100  # letters of a page, at most 1,000
_TEXT: Final = 1000  # characters that are kept of a text of which nothing is known
_LONGEST: Final = 1000  # a page's
_YEAR_10000: Final = 253_402_300_800_000  # ms since 1970: no date has one


class Cause(StrEnum):
    """Why a document was set aside."""

    CORRUPT = "corrupt"  # its key or version cannot be read: somebody has to mend it, or drop the letter
    UNREADABLE = "unreadable"  # ... and it is of a newer format: upgrade the worker
    UNAVAILABLE = "unavailable"  # hot did not take it: it is replayed by itself


@dataclass(frozen=True, slots=True)
class Letter:
    """``key`` None, ``version`` 0: it cannot be told. ``partition``: the tenant and scope where it is filed. ``attempts``: how often it was tried.
    ``document`` is the outline of what came (`outline`). ``etag``: the store's mark of the letter that was read."""

    id: str
    cause: Cause
    error: str
    key: Key | None
    partition: tuple[str, str]
    version: int
    attempts: int
    set_aside_ms: int
    document: Mapping[str, Any]
    etag: str | None = field(default=None, compare=False)

    def fields(self) -> dict[str, Any]:
        """All but the id and the mark, for JSON."""
        return {
            "cause": self.cause.value,
            "error": self.error,
            "n": None if self.key is None else self.key.name,
            "v": self.version,
            "attempts": self.attempts,
            "at": self.set_aside_ms,
            "document": dict(self.document),
        }


@dataclass(frozen=True, slots=True)
class LetterPage:
    """One page, in the order of the ids. ``cursor`` None: the last one."""

    letters: list[Letter]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters: all, or those of a cause, a tenant, a scope of it. Raises `InvalidArgument` for a scope without its tenant."""

    cause: Cause | None = None
    tenant: str | None = None
    scope: str | None = None

    def __post_init__(self) -> None:
        if self.scope is not None and self.tenant is None:
            raise InvalidArgument("letters of a scope need the scope's tenant")

    def takes(self, letter: Letter) -> bool:
        tenant, scope = letter.partition
        return self.cause in (None, letter.cause) and self.tenant in (None, tenant) and self.scope in (None, scope)

    @property
    def named(self) -> tuple[str | None, ...]:
        """For cursors, which belong to one filter."""
        return ("letters", None if self.cause is None else self.cause.value, self.tenant, self.scope)


@runtime_checkable
class Letters(Protocol):
    """A place for them. All methods raise only `thermocline.errors`, and may be sent again."""

    async def connect(self) -> None:
        """Connect, and check that the place fits. Idempotent. Raises `ConfigurationError`, `TierUnavailable`."""
        ...

    async def close(self) -> None: ...

    async def put(self, letter: Letter, *, deadline: Deadline) -> None:
        """Store it, in place of an earlier one of the same id, for `LASTING`."""
        ...

    async def read(self, letter_id: str, *, deadline: Deadline) -> Letter | None: ...

    async def page(
        self, wanted: LetterFilter, *, limit: int = PAGE, cursor: str | None = None, deadline: Deadline
    ) -> LetterPage:
        """What stays throughout comes exactly once. A cursor of another filter is `InvalidArgument`."""
        ...

    async def drop(self, letter: Letter, *, deadline: Deadline) -> bool:
        """Remove exactly the letter that was read; False: it was replaced meanwhile, or is gone."""
        ...

    async def discard(self, letter_id: str, *, deadline: Deadline) -> bool:
        """Remove the letter of this id whatever it holds, also a damaged one; False: there is none."""
        ...


@runtime_checkable
class HasLetters(Protocol):
    """A tier that has a place for letters beside it."""

    def letters(self, container: str) -> Letters:
        """That place, in a container of this name; not connected."""
        ...


def check_page(limit: int) -> None:
    """Raise `InvalidArgument` for a page without room."""
    if type(limit) is not int or not 1 <= limit <= _LONGEST:
        raise InvalidArgument(f"a page has 1 to {_LONGEST} letters, not {limit!r}")


def letter_id(document: Mapping[str, Any]) -> str:
    """Of a document: 40 hexadecimal digits of the SHA-256 of its partition and id. Always the same for the same document."""
    told = [*partition_of(document), str(document.get("id"))]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:40]


def partition_of(document: Mapping[str, Any]) -> tuple[str, str]:
    """The document's tenant and scope, where a key can have them."""
    tenant, scope = document.get("tenant"), document.get("scope")
    try:
        Key(tenant, scope, "x")  # type: ignore[arg-type]  # whatever it is
    except InvalidKey:
        return NOWHERE
    return str(tenant), str(scope)


_TOLD: Final = ("id", "tenant", "scope", "n", "v", "c", "ttl", "_ts", "_lsn", "_etag")
_HEADER: Final = ("z", "f", "a", "s", "c", "d", "t", "l", "u", "h", "k")


def outline(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a letter keeps of a document: the fields that the library knows, without the value and the tags. Of text a thousand characters at most."""
    told = {name: _short(document[name]) for name in _TOLD if name in document}
    r = document.get("r")
    if isinstance(r, Mapping):
        told["r"] = {name: _short(r[name]) for name in _HEADER if name in r}
    elif r is not None:
        told["r"] = f"no record but {type(r).__name__}"
    return told


def clean(text: str, most: int = _TEXT) -> str:
    """Text that every store takes: cut, and without what UTF-8 cannot hold."""
    return text[:most].encode(errors="replace").decode()


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if abs(value) <= MAX_VERSION else f"the number {str(value)[:50]}"  # nor is NaN
    return f"no text or number but {type(value).__name__}"


def letter_of(letter: str, tenant: str, scope: str, fields: Mapping[str, Any], etag: str | None) -> Letter:
    """The letter of what `Letter.fields` gave. Raises `CorruptRecord` for one that was written by other means."""
    try:
        name, version, at = fields["n"], fields["v"], fields["at"]
        whole = [int(number) for number in (version, fields["attempts"], at)]
        if not 0 <= whole[0] <= MAX_VERSION or not 0 <= whole[2] < _YEAR_10000:
            raise ValueError("its version or time is none")
        return Letter(
            id=letter,
            cause=Cause(fields["cause"]),
            error=str(fields["error"]),
            key=None if name is None else Key(tenant, scope, name),
            partition=(tenant, scope),
            version=whole[0],
            attempts=whole[1],
            set_aside_ms=whole[2],
            document=dict(fields["document"]),
            etag=etag,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptRecord(f"the dead letter {letter} is damaged: drop it by its id ({error!r:.200})") from error
