"""Transcripts: JSON Lines, one turn each, of the demo's own or of the user's."""

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from thermocline.errors import InvalidArgument

MOST_TURNS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a conversation: what is stored (``role``, ``text`` and whatever else the line has), and the names of the documents attached to it."""

    line: int
    record: dict[str, Any]
    attach: tuple[str, ...] = field(default=())


def bundled() -> str:
    """The text of the transcript that comes with the package."""
    return files("thermocline.cli.demo").joinpath("transcript.jsonl").read_text(encoding="utf-8")


def load(path: Path | None) -> list[Turn]:
    """The turns of a file, or of the bundled transcript. Raises `InvalidArgument` that names the file and the line."""
    if path is None:
        return parse(bundled(), "the bundled transcript")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidArgument(f"{path}, line {line}: is no UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}; give a file of JSON lines") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> list[Turn]:
    """The turns of JSON Lines; empty lines are passed over. Raises `InvalidArgument` that names the line."""
    turns = [_turn(line, number, where) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not turns:
        raise InvalidArgument(
            f'{where} has no turns; each line is a JSON object such as {{"role": "user", "text": "…"}}'
        )
    if len(turns) > MOST_TURNS:
        raise InvalidArgument(f"{where} has {len(turns)} turns, and the demo takes at most {MOST_TURNS}; cut it")
    return turns


def _turn(line: str, number: int, where: str) -> Turn:
    place = f"{where}, line {number}"
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"{place}: is no JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise InvalidArgument(f"{place}: is nested too deeply") from error
    if not isinstance(record, dict):
        raise InvalidArgument(f'{place}: is no JSON object; write {{"role": "user", "text": "…"}}')
    if "text" not in record and "content" in record:  # as chat APIs call it
        record["text"] = record.pop("content")
    for name in ("role", "text"):
        if not isinstance(record.get(name), str):
            raise InvalidArgument(f"{place}: needs {name!r}, a string (instead of 'text', 'content' will do)")
    try:
        line.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{place}: holds a lone surrogate, which UTF-8 cannot hold") from error
    return Turn(number, record, _names(record.pop("attach", []), place, "attach"))


def _names(given: Any, place: str, what: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) and name for name in given):
        raise InvalidArgument(f"{place}: {what!r} is a list of file names")
    return tuple(given)


def check_recalls(turns: list[Turn], documents: set[str]) -> None:
    """Raises `InvalidArgument` for a line that recalls a document that was not attached by then."""
    seen: set[str] = set()
    for turn in turns:
        seen |= set(turn.attach)
        recalled = _names(turn.record.get("recall", []), f"line {turn.line}", "recall")
        for name in (*turn.attach, *recalled):
            if name not in documents:
                raise InvalidArgument(
                    f"line {turn.line}: there is no document {name!r}; give its folder with --attach, or take it out of the line"
                )
        for name in recalled:
            if name not in seen:
                raise InvalidArgument(
                    f"line {turn.line}: recalls {name!r} before any line attaches it; attach it there or earlier"
                )
