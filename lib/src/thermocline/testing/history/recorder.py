"""Writing a history down as it happens, and reading it back."""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from thermocline.testing.history.events import Event, Fault, History, Outcome, Verb

_FIELDS = {field.name: field.default for field in fields(Event)}


class Recorder:
    """The file of one process: a line for the beginning of each write, a line for the end of each operation.

    Each line is one ``write`` to a file that was opened for appending, so a process that is killed loses at most its last line. Raises OSError.
    """

    def __init__(self, path: Path, client: str) -> None:
        self.client = client
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._numbers = 0

    def read(self, verb: Verb, key: str) -> Event:
        """A read begins now."""
        return Event(self.client, verb, key, time.monotonic(), Outcome.FAILED, begin_ms=time.time_ns() // 1_000_000)

    def write(
        self,
        verb: Verb,
        key: str,
        *,
        value: str = "",
        ttl_ms: int = 0,
        if_version: int | None = None,
        if_absent: bool = False,
    ) -> Event:
        """A write begins now; until `end` says otherwise its outcome is unknown."""
        self._numbers += 1
        event = Event(
            self.client,
            verb,
            key,
            time.monotonic(),
            Outcome.UNKNOWN,
            number=self._numbers,
            begin_ms=time.time_ns() // 1_000_000,
            value=value,
            ttl_ms=ttl_ms,
            if_version=if_version,
            if_absent=if_absent,
        )
        self._line(self._told(event))
        return event

    def end(self, event: Event, outcome: Outcome) -> None:
        """It ends now, with the fields that the caller has filled in."""
        event.outcome = outcome
        event.end = time.monotonic()
        event.end_ms = time.time_ns() // 1_000_000
        self._line(self._told(event))

    def settled(self) -> None:
        """The recovery queue of this process is empty now."""
        self._line({"settled": time.monotonic(), "client": self.client})

    def _told(self, event: Event) -> dict[str, Any]:
        """What is not as the field's default says."""
        return {name: value for name, default in _FIELDS.items() if (value := getattr(event, name)) != default}

    def _line(self, words: dict[str, Any]) -> None:
        os.write(self._file, json.dumps(words, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_history(paths: Iterable[Path], faults: Iterable[Fault] = ()) -> History:
    """The history of several processes, in the order in which their operations began. A last line that was cut off is left out.
    Raises OSError, and ValueError for a file that no recorder wrote."""
    history = History(faults=list(faults))
    for path in paths:
        _read_file(path, history)
    history.events.sort(key=lambda event: event.begin)
    return history


def _read_file(path: Path, history: History) -> None:
    begun: dict[int, Event] = {}
    *lines, _ = path.read_bytes().split(
        b"\n"
    )  # behind the last newline: nothing, or what a killed process began to write
    for line in lines:
        words = json.loads(line)
        if "settled" in words:
            history.settled.setdefault(words["client"], []).append(words["settled"])
            continue
        event = Event(**words | {"verb": Verb(words["verb"]), "outcome": Outcome(words["outcome"])})
        before = begun.pop(event.number, None)
        if before is None:
            history.events.append(event)
            if event.number:
                begun[event.number] = event
            continue
        for name in _FIELDS:
            setattr(before, name, getattr(event, name))
