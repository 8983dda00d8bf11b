"""What the commands say and how they end: text for people, one JSON document for machines, exit codes that mean something."""

import base64
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Final, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from thermocline import errors

_WIDE: Final = 160  # columns of a table where stdout is no terminal


class Exit(IntEnum):
    """The exit codes, as docs/command-line.md has them."""

    OK = 0
    NOT_FOUND = 1
    USAGE = 2
    UNAVAILABLE = 3
    CORRUPT = 4
    CONFIGURATION = 5
    CONFLICT = 6


def exit_code(error: BaseException) -> Exit:
    """The exit code that an error stands for."""
    by_kind: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Exit], ...] = (
        (errors.ConfigurationError, Exit.CONFIGURATION),
        ((errors.CorruptRecord, errors.UnreadableRecord, errors.TierDamaged), Exit.CORRUPT),
        ((errors.TierUnavailable, errors.UnknownOutcome, errors.ClientClosed), Exit.UNAVAILABLE),
        (errors.Conflict, Exit.CONFLICT),
        ((errors.NotFound, KeyError), Exit.NOT_FOUND),
    )
    return next((code for kind, code in by_kind if isinstance(error, kind)), Exit.USAGE)


class Terminal:
    """Where a command writes. ``as_json``: one JSON document on stdout, and nothing else there; messages go to stderr in any case.

    Colour follows rich: none where stdout is no terminal, with NO_COLOR or with ``no_color``.
    """

    def __init__(self, *, as_json: bool = False, no_color: bool = False) -> None:
        self.as_json = as_json
        plain = True if no_color else None
        width = None if sys.stdout.isatty() else _WIDE
        self.out = Console(no_color=plain, highlight=False, soft_wrap=True, width=width)
        self.err = Console(no_color=plain, highlight=False, soft_wrap=True, stderr=True)

    @property
    def quiet(self) -> bool:
        """No progress: for machines, and where nobody watches."""
        return self.as_json or not self.err.is_terminal

    def say(self, text: str, *, style: str | None = None) -> None:
        """A line for people; not with ``--json``."""
        if not self.as_json:
            self.out.print(text, style=style, markup=False)

    def note(self, text: str, *, style: str | None = None) -> None:
        """A line beside the result, on stderr."""
        self.err.print(text, style=style, markup=False)

    def document(self, value: Any) -> None:
        """The result for machines."""
        sys.stdout.write(to_json(value) + "\n")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: str = "") -> None:
        """A table for people. ``numbers`` names the columns that are right-aligned, separated by commas."""
        right = set(numbers.split(","))
        table = Table(
            title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
        )
        for name in columns:
            table.add_column(name, justify="right" if name in right else "left", no_wrap=name in right, overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else str(cell).replace("[", r"\[") for cell in row))
        self.out.print(table, soft_wrap=False)

    def fail(self, error: BaseException) -> NoReturn:
        """Say what is wrong and end with its exit code."""
        code = exit_code(error)
        text = str(error) if not isinstance(error, KeyError) else f"there is no value under {error.args[0]!s}"
        if self.as_json:
            self.document({"error": text, "kind": type(error).__name__, "exit": int(code)})
        else:
            self.note(f"thermocline: {text}", style="red")
        raise typer.Exit(code)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON of any value that a record can hold: bytes as Base64, times in ISO 8601, the rest as text."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | str) or value is None:
        return value if not isinstance(value, IntEnum) else int(value)
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name if isinstance(name, str) else str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def size(number: float) -> str:
    """Bytes for people: 812 B, 1.4 MB (powers of ten)."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def counted(number: int, what: str) -> str:
    """A number of things for people: 1 record, 2 records."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def moment(at: datetime | None, *, zone: bool = False) -> str:
    """A time for people, in the machine's own zone (and with ``zone`` that zone's offset); empty for none."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S" + " %z" * zone)
