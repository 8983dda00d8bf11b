"""A request's body: JSON, an object, in time and not too large; and that it does not claim to be another's."""

import asyncio
import json
import math
from typing import Any, Final, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request

from thermocline.agents.service.caller import Caller

_DIGITS: Final = 18  # of a content-length: Python itself refuses to read very long numbers


async def read_object(request: Request, *, most: int, seconds: float) -> dict[str, Any]:
    """The JSON object that was sent, of at most ``most`` bytes within ``seconds``. Raises `HTTPException`: 400, 408, 413, 415, 422."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise HTTPException(415, "Send JSON, with the header content-type: application/json.")
    value = parsed(await read_bytes(request, most=most, seconds=seconds), once=True)
    if not isinstance(value, dict):
        raise HTTPException(422, "The body is to be a JSON object.")
    return value


async def read_bytes(request: Request, *, most: int, seconds: float) -> bytes:
    """The whole body. Raises `HTTPException`: 408, 413, 415."""
    for coding in request.headers.getlist("content-encoding"):
        if coding.strip().lower() not in ("", "identity"):  # nobody would know later what was stored
            raise HTTPException(
                415, "Send the body as it is, without content-encoding.", {"accept-encoding": "identity"}
            )
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, most)
    except TimeoutError:
        raise HTTPException(408, f"The body did not arrive within {seconds:g} seconds.") from None


def parsed(body: bytes, *, once: bool = False) -> Any:
    """The JSON value that a body is. Raises `HTTPException` (400) for what is none, or holds what can be neither stored nor answered.

    ``once``: a name may be in an object once only: of a command that says two things, whoever looked at it on its way may have read the other.
    """
    try:
        text = body.decode("utf-8-sig")  # by ourselves: json would take UTF-16 too, and half a surrogate pair as bytes
        unique = _unique if once else None
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=unique)
        if b"\\ud" in body.lower():  # half a surrogate pair can be neither stored nor answered
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # ValueError: also what is no UTF-8
        raise HTTPException(400, "The body is no JSON.") from None
    return value


async def _read(request: Request, most: int) -> bytes:
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and (len(told) > _DIGITS or int(told) > most):
        _too_large(most)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            _too_large(most)
    return bytes(body)


def _too_large(most: int) -> NoReturn:
    raise HTTPException(413, f"The body may have {most:,} bytes at most.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name that is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is beyond what a number holds")
    return number


def split(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The intent (``default`` if none is named), and what the agent is asked: the body's ``payload`` if it has one, else all of it. A payload that is no object
    becomes ``{"query": …}``."""
    intent = body.get("intent", "default")
    if not isinstance(intent, str):
        raise HTTPException(422, "The intent is to be a string.")
    payload = body.get("payload", body)
    return intent, payload if isinstance(payload, dict) else {"query": str(payload)}


TENANT = ("tenant_id", "tenant")
SESSION = ("session_id", "session")


def of_body(asked: dict[str, Any]) -> Caller:
    """Who the request says it is. Raises `InvalidKey` for what no key can hold."""
    tenant, session = _first(asked, TENANT), _first(asked, SESSION)
    return Caller(
        scope=None if session is None else str(session), **({} if tenant is None else {"tenant": str(tenant)})
    )


def check_claims(asked: dict[str, Any], caller: Caller | None) -> None:
    """Refuse what claims to be another's (403)."""
    for name in TENANT:
        if _is_given(asked, name) and (caller is None or asked[name] != caller.tenant):
            raise HTTPException(
                403,
                f"The tenant is not taken from the body: leave out {name}."
                if caller is None
                else f"The {name} is not the caller's.",
            )
    if caller is None or caller.scope is None:
        return
    for name in SESSION:
        if _is_given(asked, name) and asked[name] != caller.scope:
            raise HTTPException(403, f"The {name} is not the caller's.")


def signed(asked: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """The request under the caller's tenant, and session if the scope is known: for agents that read these in it."""
    known = {"tenant_id": caller.tenant} | ({} if caller.scope is None else {"session_id": caller.scope})
    return {**asked, **known}


def _first(asked: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((asked[name] for name in names if _is_given(asked, name)), None)


def _is_given(asked: dict[str, Any], name: str) -> bool:
    return asked.get(name) is not None and asked[name] != ""
