"""The library's log records as JSON, one line each."""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from thermocline.telemetry.correlating import correlation_id

LOGGER: Final = "thermocline"  # all loggers of the library are below it

_SECRETS: Final = re.compile(
    r"""(?ix)
    (?P<before>  # a name, as of a setting, a parameter or a part of a connection string
        (?: (?:account|access|instrumentation|api|master)[_-]?key | password | passwd | pwd | secret | token
          | (?: \b | %26 ) sig
          | (?-i: \b [A-Z][A-Z0-9_]* _KEY )
        )
        ["']? \s* (?: [=:] | %3d ) \s*
    )
    (?P<value> " [^"]* "? | ' [^']* '? | (?: (?:Bearer|Basic|SharedKey) \s+ )? [^\s"';&,]+ )
  | (?P<scheme> \b (?:Bearer|Basic|SharedKey|SharedKeyLite) \s+ ) [^\s"',]+
  | (?P<command> (?-i: \b AUTH ) \s+ ) \S+ (?: \s+ \S+ )?
  | (?P<user> :// [^/\s:@]* : ) [^/\s]+ (?= @ )
    """
)


def without_secrets(text: str) -> str:
    """The text without what looks like a key, a password, a token or a signature."""
    return _SECRETS.sub(_blotted, text)


def _blotted(found: re.Match[str]) -> str:
    before, quote = found["before"], (found["value"] or "")[:1]
    if before is not None:
        return f"{before}{quote}***{quote}" if quote in ("'", '"') else f"{before}***"
    return f"{found['scheme'] or found['command'] or found['user']}***"


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record: ``time`` (UTC), ``level``, ``logger``, ``message``, and where there are any ``correlation_id``, ``trace_id``,
    ``span_id``.

    Of an exception ``error`` (its class, and those that caused it) and ``at`` (where it was raised): its message may name a key, so it is left out. What looks
    like a secret in the message is blotted out.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        correlated = correlation_id()
        if correlated is not None:
            line["correlation_id"] = correlated
        line |= _span()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["error"] = _classes(error)
            frames = traceback.extract_tb(error.__traceback__)
            if frames:
                line["at"] = f"{frames[-1].name}:{frames[-1].lineno}"
        return json.dumps(line, ensure_ascii=False)


def _classes(error: BaseException) -> list[str]:
    found: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(found) < 10:
        found.append(type(seen).__name__)
        seen = seen.__cause__
    return found


def _span() -> dict[str, str]:
    """The ids of the current span, if the program has loaded OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import trace

    ids = trace.get_current_span().get_span_context()
    return {"trace_id": f"{ids.trace_id:032x}", "span_id": f"{ids.span_id:016x}"} if ids.is_valid else {}


class JsonLogs:
    """The handler on the library's logger while it is installed; the records then go nowhere else."""

    def __init__(self, stream: TextIO | None) -> None:
        self._handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
        self._handler.setFormatter(JsonFormatter())
        logger = logging.getLogger(LOGGER)
        self._propagated = logger.propagate
        logger.addHandler(self._handler)
        logger.propagate = False

    def remove(self) -> None:
        logger = logging.getLogger(LOGGER)
        logger.removeHandler(self._handler)
        logger.propagate = self._propagated
