"""The id that belongs together what was done for one request: in logs, in spans, and on the way to Cosmos DB, Blob and Table Storage."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from thermocline.errors import InvalidArgument

HEADER: Final = "x-ms-client-request-id"
"""By which Azure's services log a request; `correlation_id` is sent as this."""

MOST: Final = 128  # characters
_FIT: Final = re.compile(r"[A-Za-z0-9._:/@+=-]{1,128}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")

_given: ContextVar[str | None] = ContextVar("thermocline_correlation", default=None)


@contextmanager
def correlation(correlation_id: str | None = None, *, traceparent: str | None = None) -> Iterator[str]:
    """Everything inside the block, and the tasks that it starts, is done under this correlation id.

    ``correlation_id``: up to 128 letters, digits and ``._:/@+=-``. Else the trace id of ``traceparent``, the header of W3C Trace Context
    (https://www.w3.org/TR/trace-context/), if it is a valid one. Else a random one of 32 hexadecimal digits. Raises `InvalidArgument` for an id that
    no header could carry.
    """
    found = correlation_id
    if found is None:
        found = trace_id_of(traceparent) or secrets.token_hex(16)
    given: object = found
    if not isinstance(given, str) or _FIT.fullmatch(given) is None:
        raise InvalidArgument(f"a correlation id is up to {MOST} letters, digits and ._:/@+=-, not {given!r:.80}")
    token = _given.set(found)
    try:
        yield found
    finally:
        _given.reset(token)


def correlation_id() -> str | None:
    """The correlation id of the current task: the one that was set, or within a call that is traced the trace's; None: there is none."""
    return _given.get()


@contextmanager
def follow(trace_id: str | None) -> Iterator[None]:
    """Inside the block the trace id is the correlation id, unless there is one already."""
    if trace_id is None or _given.get() is not None:
        yield
        return
    token = _given.set(trace_id)
    try:
        yield
    finally:
        _given.reset(token)


def correlate(headers: Any) -> None:
    """Put the correlation id, if there is one, among the headers of a request to an Azure service."""
    found = _given.get()
    if found is not None:
        headers[HEADER] = found


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id of a ``traceparent`` header; None for what is none, as the standard asks."""
    match = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if match is None or traceparent is None or traceparent.startswith("ff") or not match.group(1).strip("0"):
        return None
    return match.group(1)
