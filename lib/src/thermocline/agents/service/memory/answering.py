"""What is answered: records, and what went wrong in the words of HTTP."""

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.responses import Response

from thermocline.agents.service import problems
from thermocline.client.result import WriteResult
from thermocline.codec import shown_json
from thermocline.errors import (
    Conflict,
    Forgotten,
    InvalidArgument,
    NotSerialisable,
    RoleMissing,
    TokenRefused,
    TooLarge,
)
from thermocline.model import Hit, Record

SAFE: Final = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox; default-src 'none'"}
"""With what others have stored: a browser that is led here runs nothing of it."""


def moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def etag(version: int) -> str:
    return f'"{version}"'


def of_record(hit: Hit, *, head: bool) -> Response:
    """The value under its media type: bytes as they are, everything else as JSON."""
    record = hit.record
    body, kind = _body(record)
    told = {
        "etag": etag(record.version),
        "memory-tier": str(hit.tier),
        "memory-modified": moment(record.modified),
        "memory-expires": moment(record.expires) or "never",
        "memory-tags": urlencode(record.tags, quote_via=quote) if record.tags else None,
    }
    headers = {name: value for name, value in told.items() if value is not None}
    headers |= {"cache-control": "no-store", "content-length": str(len(body)), **SAFE}
    headers["content-type"] = kind  # here, for a Response that is told a text's media type adds a charset of its own
    return Response(b"" if head else body, 200, headers)


def _body(record: Record) -> tuple[bytes, str]:
    if isinstance(record.value, bytes):
        return record.value, record.media_type if record.media_type else "application/octet-stream"
    return json_of(record.value), "application/json"


def json_of(value: Any) -> bytes:
    """The value as JSON. Raises `HTTPException` (406) for one that JSON cannot say."""
    try:
        return shown_json(value)
    except NotSerialisable:
        raise HTTPException(
            406, "The value holds what JSON cannot say; it was stored by a program in Python."
        ) from None


def of_write(written: WriteResult) -> dict[str, Any]:
    """What happened to a write, for a batch's answer and a single one's."""
    return {
        "version": written.version,
        "durable": written.durable,
        "hot": written.hot,
        "hot_until": moment(written.hot_until),
        "expires": moment(written.expires),
    }


def http_error(error: Exception, *, conditional: bool = False) -> Exception:
    """The same error as one that says its status where the memory's routes have more to say than `problems`."""
    match error:
        case RoleMissing():
            challenge = f'Bearer error="insufficient_scope", scope="{" ".join(error.roles)}"'
            return HTTPException(403, str(error), {"www-authenticate": challenge})
        case TokenRefused():
            return HTTPException(401, str(error), {"www-authenticate": 'Bearer error="invalid_token"'})
        case Forgotten():
            return HTTPException(409, "The scope was erased while this was written. Nothing was written.")
        case Conflict() if conditional:
            known = {"etag": etag(error.version)} if error.version else {}
            return HTTPException(412, "The record is not as the condition says. Nothing was written.", known)
        case TooLarge():
            return HTTPException(413, _said(error))
        case InvalidArgument() | NotSerialisable():
            return HTTPException(422, _said(error))
        case _:
            return error


def _said(error: Exception) -> str:
    """These speak of what the caller gave."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:400]}."


def told(error: Exception, *, conditional: bool = False) -> dict[str, Any]:
    """The problem of one operation of a batch."""
    found, _ = problems.problem(http_error(error, conditional=conditional))
    return found
