"""What was written, kept beside the memory, so that every value that it gives back can be compared."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from thermocline.cli.demo.agent import learn
from thermocline.cli.terminal import to_json


@dataclass(frozen=True, slots=True)
class Gone:
    """In place of a value: there must be none."""


GONE: Final = Gone()


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not as it was written. ``when``: in the conversation, or in which of the checks at the end."""

    name: str
    when: str
    what: str


@dataclass(slots=True)
class Ledger:
    """By name the digest of what must be there. It never reads the memory."""

    expected: dict[str, str | Gone] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)  # SHA-256 by the document's name
    profile: dict[str, Any] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    compared: int = 0

    def learned(self, turn: dict[str, Any]) -> None:
        """The profile must be what its pure function makes of this turn."""
        self.profile = learn(self.profile, turn)
        self.expected["profile"] = digest_of(self.profile)

    def stored(self, values: dict[str, Any], gone: list[str]) -> None:
        self.expected |= {name: digest_of(value) for name, value in values.items()}
        self.expected |= dict.fromkeys(gone, GONE)

    def compare(self, name: str, found: Any, when: str) -> None:
        """Compare a value (`GONE` for none) with what was written."""
        self.compared += 1
        wanted = self.expected.get(name, GONE)
        has = found if isinstance(found, Gone) else digest_of(found)
        if has == wanted:
            return
        if isinstance(has, Gone):
            what = "is missing"
        elif isinstance(wanted, Gone):
            what = "is there, and was deleted"
        else:
            what = f"is another value: {to_json(found)[:120]}"
        self.differences.append(Difference(name, when, what))

    def compare_document(self, name: str, sha256: str | None, when: str) -> None:
        """Compare a document's SHA-256 (None: there is none) with that of its file."""
        self.compared += 1
        if sha256 != self.documents.get(name):
            what = "is missing" if sha256 is None else f"has other bytes (SHA-256 {sha256[:16]}…)"
            self.differences.append(Difference(f"document/{name}", when, what))

    def failed(self, name: str, error: Exception, when: str) -> None:
        """A value that could not be read at all."""
        self.compared += 1
        self.differences.append(Difference(name, when, f"cannot be read: {error}"))


def digest_of(value: Any) -> str:
    """A digest that differs where values do, in kind too; the order of a dictionary's keys does not count."""
    return hashlib.sha256(_canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{_canonical(name)}:{_canonical(inner)}" for name, inner in value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return f"{type(value).__name__} {value!r}"
