"""Values in and out of the command line: JSON or text or bytes; from an argument, a file or standard input; to the terminal or a file."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from thermocline.cli.terminal import Terminal, size, to_json
from thermocline.errors import InvalidArgument

Form = Literal["auto", "json", "text", "bytes"]
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_value(argument: str | None, file: Path | None, form: Form) -> Any:
    """The value that a command was given. ``auto``: JSON if it is JSON, else text, else (not UTF-8) bytes. Raises `InvalidArgument`."""
    if argument is not None and file is not None:
        raise InvalidArgument("give the value as an argument or by --file, not both")
    if argument is not None and argument != "-":
        return _formed(os.fsencode(argument), form)
    if file is not None and str(file) != "-":
        try:
            return _formed(file.read_bytes(), form)
        except OSError as error:
            raise InvalidArgument(f"{file} cannot be read: {error.strerror}") from error
    if argument is None and file is None and sys.stdin.isatty():
        raise InvalidArgument("there is no value: give it as an argument, by --file FILE, or on standard input")
    return _formed(sys.stdin.buffer.read(), form)


def _formed(data: bytes, form: Form) -> Any:
    if form == "bytes":
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if form == "auto":
            return data
        raise InvalidArgument("the value is no UTF-8 text; store it as it is with --bytes") from error
    if form == "text":
        return text
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        if form == "json":
            raise InvalidArgument(f"the value is no JSON ({error}); store it as text with --text") from error
        return text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that it is there as a whole or not at all. Raises `InvalidArgument`."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be written: {error.strerror}") from error


def as_bytes(value: Any) -> bytes:
    """A value as a file holds it: bytes as they are, text in UTF-8, anything else as JSON."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else (to_json(value, indent=2) + "\n").encode()


def show_value(terminal: Terminal, value: Any) -> None:
    """Write a value to standard output. Raises `InvalidArgument` for bytes that would spoil a terminal."""
    if isinstance(value, bytes):
        if terminal.out.is_terminal:
            raise InvalidArgument(f"the value is {size(len(value))} of binary data; write it with --output FILE")
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    text = value if isinstance(value, str) else to_json(value, indent=2 if terminal.out.is_terminal else None)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def lifetime(text: str) -> float | None:
    """Seconds of ``90``, ``90s``, ``15m``, ``2h``, ``7d``, ``500ms``; None of ``never``. Raises `InvalidArgument`."""
    if text == "never":
        return None
    number = text.rstrip("msdh")
    unit = text[len(number) :] or "s"
    try:
        return float(number) * _UNITS[unit]
    except (ValueError, KeyError) as error:
        raise InvalidArgument(f"{text!r} is no lifetime; write 90s, 15m, 2h, 7d or never") from error


def tags_of(given: list[str]) -> dict[str, str] | None:
    """Tags of ``name=value`` words. Raises `InvalidArgument`."""
    tags: dict[str, str] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidArgument(f"a tag is name=value, not {word!r}")
        tags[name] = value
    return tags or None
