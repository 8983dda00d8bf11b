"""Invoking one function with what the official converters make of an event."""

import asyncio
import contextvars
import json
import logging
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any, Final

from thermocline.testing.extra import needed_by
from thermocline.testing.functions.errors import InvocationFailed
from thermocline.testing.functions.indexing import Function, converter

with needed_by(__name__, "functions,service,testing"):
    import azure.functions as func
    from azure.functions.meta import Datum

_log: Final = logging.getLogger(__name__)
_local: Final = threading.local()


@dataclass(frozen=True)
class Attempt:
    """Which try of an event it is, for the function's context. ``limit`` -1: without end."""

    count: int = 0
    limit: int = 0


@dataclass(frozen=True)
class Answer:
    """An HTTP function's answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class _Trace:
    """No trace comes in from outside."""

    trace_parent = ""
    trace_state = ""
    attributes: Final[Mapping[str, str]] = {}


@dataclass(frozen=True)
class _Retry:
    retry_count: int
    max_retry_count: int
    exception: None = None


class _Context(func.Context):
    """What a function gets as ``context``."""

    def __init__(self, function: Function, attempt: Attempt) -> None:
        self._function = function
        self._id = str(uuid.uuid4())
        self._retry = _Retry(attempt.count, attempt.limit)
        self._trace = _Trace()

    @property
    def invocation_id(self) -> str:
        return self._id

    @property
    def thread_local_storage(self) -> Any:
        return _local

    @property
    def function_name(self) -> str:
        return self._function.name

    @property
    def function_directory(self) -> str:
        return str(self._function.folder)

    @property
    def trace_context(self) -> Any:
        return self._trace

    @property
    def retry_context(self) -> Any:
        return self._retry


async def invoke(function: Function, data: Datum, metadata: Mapping[str, Datum], attempt: Attempt | None = None) -> Any:
    """Call the function with the event that ``data`` holds. Raises InvocationFailed, with its error as the cause, if it raises.

    An async function runs on this loop, another one in a thread, as in the worker.
    """
    context = _Context(function, attempt or Attempt())
    try:
        arguments: dict[str, Any] = {
            name: converter(kind).decode(data, trigger_metadata=metadata) for name, kind in function.inputs.items()
        }
        if function.wants_context:
            arguments["context"] = context
        if function.is_async:
            result = await function.call(**arguments)
        else:
            run = contextvars.copy_context().run
            result = await asyncio.get_running_loop().run_in_executor(None, lambda: run(function.call, **arguments))
        if result is not None and function.returns is None:
            raise RuntimeError(f"{function.name} has no binding for what it returns, and returned {result!r:.80}")
    except Exception as error:
        _log.warning("%s failed: %s: %s", function.name, type(error).__name__, error)
        raise InvocationFailed(f"{function.name} failed: {type(error).__name__}: {error}") from error
    return result


async def invoke_timer(function: Function) -> None:
    """Fire a timer, as if it were due now."""
    now = datetime.now(UTC)
    event = {
        "IsPastDue": False,
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": {
            "Last": (now - timedelta(minutes=5)).isoformat(),
            "Next": (now + timedelta(minutes=5)).isoformat(),
            "LastUpdated": now.isoformat(),
        },
    }
    await invoke(function, Datum(json.dumps(event), "json"), {})


async def invoke_documents(function: Function, documents: list[Any], attempt: Attempt | None = None) -> None:
    """Hand over a batch of the change feed."""
    await invoke(function, Datum(json.dumps(documents), "json"), {}, attempt)


async def invoke_message(
    function: Function,
    body: bytes,
    *,
    dequeue_count: int = 1,
    id: str = "",
    pop_receipt: str = "",
    expires: str = "",
    inserted: str = "",
) -> None:
    """Hand over a message of a storage queue. Times as ISO 8601; empty ones are left out."""
    given: dict[str, Any] = {"Id": id or str(uuid.uuid4()), "DequeueCount": dequeue_count, "PopReceipt": pop_receipt}
    metadata = {name: Datum(value, "int" if isinstance(value, int) else "string") for name, value in given.items()}
    for name, value in (("ExpirationTime", expires), ("InsertionTime", inserted)):
        if value:
            metadata[name] = Datum(value, "string")
    await invoke(function, Datum(body, "bytes"), metadata)


async def invoke_http(
    function: Function,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    parameters: Mapping[str, str],
    body: bytes,
) -> Answer:
    """Have an HTTP function answer a request. An error of the function is a 500 without its text, as of the official host."""
    value = {
        "method": Datum(method, "string"),
        "url": Datum(url, "string"),
        "headers": _strings(headers),
        "query": _strings(query),
        "params": _strings(parameters),
        "body": Datum(body, "bytes"),
    }
    try:
        result = await invoke(function, Datum(value, "http"), {})
    except InvocationFailed:
        return Answer(500)
    try:
        made = converter("http").encode(result, expected_type=None)
    except NotImplementedError:
        _log.warning("%s answered a request with %r, which is no HttpResponse", function.name, type(result).__name__)
        return Answer(500)
    if made.type == "string":
        return Answer(200, (("content-type", "text/plain; charset=utf-8"),), made.value.encode())
    told = made.value
    headers_out = [(name, datum.value) for name, datum in told["headers"].items()]
    headers_out += [("set-cookie", _cookie(cookie)) for cookie in told["cookies"] or ()]
    return Answer(int(told["status_code"].value), tuple(headers_out), told["body"].value)


def _strings(values: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def _cookie(cookie: SimpleCookie) -> str:
    return "; ".join(morsel.OutputString() for morsel in cookie.values())
