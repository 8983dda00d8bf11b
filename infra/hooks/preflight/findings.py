"""What a check has found, in plain words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Grade = Literal["stop", "mind", "unseen", "fine"]

_HEADS: Final[dict[Grade, str]] = {
    "stop": "STOP   ",
    "mind": "mind   ",
    "unseen": "unseen ",
    "fine": "ok     ",
}


@dataclass(frozen=True)
class Finding:
    """``stop``: provisioning would fail or lose data; ``mind``: it would not, and the operator should know; ``unseen``: it could not be looked at."""

    grade: Grade
    what: str
    do: str = ""

    def __str__(self) -> str:
        return f"{_HEADS[self.grade]}{self.what}" + (f"\n         -> {self.do}" if self.do else "")


def stops(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.grade == "stop"]
