"""What goes wrong, as problem JSON (RFC 9457): a status, words, and the correlation id by which the log tells the rest. Nothing of the inside: no message of an
error, no key, no address; what an `HTTPException` says is said on purpose."""

import json
import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from thermocline import telemetry
from thermocline.errors import (
    ClientClosed,
    Conflict,
    InvalidArgument,
    TierUnavailable,
    UnknownOutcome,
)

log = logging.getLogger("thermocline.agents")

MEDIA_TYPE: Final = "application/problem+json"

Told = dict[str, Any]


def problem(error: BaseException) -> tuple[Told, dict[str, str]]:
    """The problem's members, and the headers that go with it."""
    if isinstance(error, HTTPException):
        detail: object = error.detail  # FastAPI's takes anything that JSON holds
        told = {"detail": detail} if isinstance(detail, str) else {"detail": "", "errors": detail}
        return _told(error.status_code, None, **told), dict(error.headers or {})
    if isinstance(error, RequestValidationError):
        wrong = [{"in": [str(part) for part in one["loc"]], "what": one["msg"]} for one in error.errors()]
        return _told(
            422, None, detail="Something that the service needs of a request is missing or wrong.", errors=wrong
        ), {}
    if isinstance(error, BaseExceptionGroup):
        return _of_group(error)
    if isinstance(error, TierUnavailable):
        seconds = 1.0 if error.retry_after is None else error.retry_after
        why = f"The {error.tier} tier of the memory cannot be asked now. Try again."
        return _told(503, "Memory unavailable", detail=why, tier=error.tier), {
            "retry-after": str(max(1, round(seconds)))
        }
    return _of_class(error), {}


def _of_class(error: BaseException) -> Told:
    for kind, status, title, detail in _KNOWN:
        if isinstance(error, kind):
            return _told(status, title, detail=detail)
    return _told(500, None, detail="The service failed. The log has more under the correlation id.")


_KNOWN: Final[tuple[tuple[type[Exception], int, str, str], ...]] = (
    (
        UnknownOutcome,
        503,
        "Outcome unknown",
        "The memory may or may not have taken a write. Look before you repeat the request.",
    ),
    (
        Conflict,
        409,
        "Conflict",
        "What the agent wanted to change was changed meanwhile. Nothing was written over it; try again.",
    ),
    (
        InvalidArgument,
        422,
        "Refused by the memory",
        "A name, value or argument that the agent gave its memory cannot be used: empty, too long, too large or of a wrong kind.",
    ),
    (ClientClosed, 503, "Not running", "The service is starting or ending. Try again."),
    (TimeoutError, 504, "Too slow", "The service did not answer in time."),
    (ClientDisconnect, 400, "Gone", "The request ended before its body did."),
)


def _of_group(group: BaseExceptionGroup[BaseException]) -> tuple[Told, dict[str, str]]:
    """Of tasks that failed together: the outage, if there is nothing worse among them."""
    found = [problem(error) for error in _leaves(group)]
    return max(found, key=lambda one: (one[0]["status"] == 500, one[0]["status"]))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _told(status: int, title: str | None, **more: Any) -> Told:
    try:
        named = HTTPStatus(status).phrase if title is None else title
    except ValueError:
        named = "Problem"
    told: Told = {"type": "about:blank", "title": named, "status": status, **more}
    found = telemetry.correlation_id()
    return told if found is None else {**told, "correlation_id": found}


def note(error: BaseException, what: str, status: int) -> None:
    """Log what the answer leaves out: an unforeseen error with its traceback, an outage in a line, the sender's own mistakes not at all."""
    kind = type(error).__name__
    if status == 500:
        log.error("%s failed: %s", what, kind, exc_info=error)
    elif status > 500:
        log.warning("%s could not be done: %s: %s", what, kind, telemetry.without_secrets(str(error)))


def answer(error: BaseException, what: str) -> Response:
    """The response to a request that failed; logged."""
    told, headers = problem(error)
    note(error, what, told["status"])
    return json_response(told, status=told["status"], headers=headers, media_type=MEDIA_TYPE)


def json_response(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = "application/json"
) -> Response:
    kept = {"cache-control": "no-store", **(headers if headers is not None else {})}
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, status, kept, media_type)
