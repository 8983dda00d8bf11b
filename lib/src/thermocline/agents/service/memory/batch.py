"""Many records in one request: ``POST /v1/batch``. Each operation has an answer of its own (P8); of one key they happen in the order given."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from thermocline.agents.service import body, problems
from thermocline.agents.service.memory.answering import json_of, moment, of_write, told
from thermocline.agents.service.memory.asking import BASE64, LONGEST_SECONDS, MEDIA_TYPE, Ask, refuse_strangers
from thermocline.agents.service.memory.records import found
from thermocline.agents.service.memory_api import READ, WRITE
from thermocline.client import NOT_GIVEN
from thermocline.client.result import NotGiven
from thermocline.codec import TAG_BYTES, TAGS
from thermocline.errors import ThermoclineError
from thermocline.model import MAX_VERSION, Hit, Key

MOST: Final = 100  # operations of a batch
AT_ONCE: Final = 16  # keys that are worked on at the same time
ANSWER_BYTES: Final = (
    32 * 2**20
)  # of the values in one answer, which is in memory as a whole; what does not go in is answered 413
_KEY: Final = ("op", "scope", "name")
_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "get": _KEY,
    "delete": (*_KEY, "if_version"),
    "put": (*_KEY, "value", "base64", "media_type", "ttl", "tags", "if_version", "if_absent"),
}


async def batch(ask: Ask) -> Response:
    """All of it is checked before any of it is done."""
    ask.query()
    given = await body.read_object(ask.request, most=ask.most, seconds=ask.seconds)
    refuse_strangers(given, ask.caller, known=("operations",))
    operations = given.get("operations")
    if not isinstance(operations, list) or not 1 <= len(operations) <= MOST:
        raise HTTPException(422, f"operations is a list of 1 to {MOST} operations.")
    keys = [_checked(at, one, ask) for at, one in enumerate(operations)]
    if any(one["op"] != "get" for one in operations):
        ask.caller.need(WRITE)
    ask.caller.need(READ, WRITE)
    return Response(
        b'{"results":[' + b",".join(await _all(ask, operations, keys)) + b"]}",
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )


async def _all(ask: Ask, operations: list[dict[str, Any]], keys: list[Key]) -> list[bytes]:
    answers: list[bytes] = [b""] * len(operations)
    room = ANSWER_BYTES
    places: dict[Key, list[int]] = {}
    for at, key in enumerate(keys):
        places.setdefault(key, []).append(at)
    gate = asyncio.Semaphore(AT_ONCE)

    async def of_key(key: Key, order: list[int]) -> None:
        nonlocal room
        async with gate:
            for at in order:
                if room < 0 and operations[at]["op"] == "get":
                    answers[at] = _no_room()
                    continue
                found = await _one(ask, operations[at], key)
                room -= len(found)
                answers[at] = found if room >= 0 or operations[at]["op"] != "get" else _no_room()

    async with asyncio.TaskGroup() as group:
        for key, order in places.items():
            group.create_task(of_key(key, order))
    return answers


async def _one(ask: Ask, operation: dict[str, Any], key: Key) -> bytes:
    conditional = operation.get("if_version") is not None or operation.get("if_absent") is True
    try:
        match operation["op"]:
            case "get":
                return await _get(ask, key)
            case "put":
                return _line(200, **await _put(ask, key, operation))
            case _:
                await ask.memory.delete(key, if_version=operation.get("if_version"))
                return _line(204)
    except (ThermoclineError, HTTPException, TimeoutError) as error:
        problem = told(error, conditional=conditional)
        problems.note(error, "an operation of a batch", problem["status"])
        return _line(problem["status"], problem=problem)


async def _get(ask: Ask, key: Key) -> bytes:
    answer = found(await ask.memory.lookup(key))
    if answer.error is not None:
        raise answer.error
    if answer.hit is None:
        return _line(404)
    value, told_of = answer.hit.value, _about(answer.hit)
    if isinstance(value, bytes):
        kind = answer.hit.record.media_type
        return _line(200, **told_of, media_type=kind, base64=base64.b64encode(value).decode())
    raw = json_of(value)
    return _line(200, **told_of)[:-1] + b',"value":' + raw + b"}"


def _about(hit: Hit) -> dict[str, Any]:
    record = hit.record
    return {
        "version": record.version,
        "tier": str(hit.tier),
        "modified": moment(record.modified),
        "expires": moment(record.expires),
        "tags": dict(record.tags),
    }


async def _put(ask: Ask, key: Key, operation: dict[str, Any]) -> dict[str, Any]:
    encoded = operation.get("base64")
    value = operation["value"] if encoded is None else base64.b64decode(encoded, validate=True)
    ttl: int | NotGiven | None = operation.get("ttl", NOT_GIVEN)
    written = await ask.memory.set(
        key,
        value,
        ttl=ttl,
        tags=operation.get("tags"),
        media_type=operation.get("media_type"),
        if_version=operation.get("if_version"),
        if_absent=operation.get("if_absent") is True,
    )
    return of_write(written)


def _no_room() -> bytes:
    said = f"The values of a batch's answer have {ANSWER_BYTES:,} bytes at most: ask for this one alone, or in another batch."
    return _line(413, problem=told(HTTPException(413, said)))


def _line(status: int, **more: Any) -> bytes:
    return json.dumps({"status": status, **more}, ensure_ascii=False, separators=(",", ":")).encode()


# --- what an operation must be ---------------------------------------------------------------------------------------


def _checked(at: int, operation: object, ask: Ask) -> Key:
    """Its key. Raises `HTTPException` (422, 403) and `InvalidKey`."""
    place = f"operations[{at}]"
    kind = operation.get("op") if isinstance(operation, dict) else None
    if not isinstance(operation, dict) or not isinstance(kind, str) or kind not in _KNOWN:
        raise _wrong(place, "must be an object whose op is get, put or delete")
    refuse_strangers(operation, ask.caller, known=_KNOWN[kind])
    scope, name = operation.get("scope"), operation.get("name")
    if not isinstance(scope, str) or not isinstance(name, str):
        raise _wrong(place, "must have a scope and a name, both strings")
    if "if_version" in operation and not _whole(operation, "if_version", MAX_VERSION):
        raise _wrong(place, "has an if_version that is no version")
    if kind == "put":
        _check_put(place, operation)
    return ask.key(scope, name)


def _check_put(place: str, operation: dict[str, Any]) -> None:
    if ("value" in operation) == ("base64" in operation):
        raise _wrong(place, "must have a value, or bytes in base64: one of the two")
    if "base64" in operation:
        _check_bytes(place, operation)
    elif "media_type" in operation:
        raise _wrong(place, "has a media_type, which goes with base64: a value is JSON")
    if operation.get("ttl") is not None and not _whole(operation, "ttl", LONGEST_SECONDS):
        raise _wrong(place, f"has a ttl that is no number of seconds from 1 to {LONGEST_SECONDS}, nor null")
    labels = operation.get("tags", {})
    if not isinstance(labels, dict) or not all(isinstance(one, str) for one in labels.values()):
        raise _wrong(place, "has tags that are no object of strings")
    if len(labels) > TAGS or "" in labels:
        raise _wrong(place, f"has tags without a name, or more than {TAGS}")
    if any(len(text.encode()) > TAG_BYTES for text in (*labels, *labels.values())):
        raise _wrong(place, f"has a tag with more than {TAG_BYTES} bytes")
    if not isinstance(operation.get("if_absent", False), bool):
        raise _wrong(place, "has an if_absent that is neither true nor false")
    if "if_absent" in operation and "if_version" in operation:
        raise _wrong(place, "has if_version and if_absent, which exclude each other")


def _check_bytes(place: str, operation: dict[str, Any]) -> None:
    text, kind = operation["base64"], operation.get("media_type", "application/octet-stream")
    if not isinstance(text, str) or BASE64.fullmatch(text) is None:
        raise _wrong(place, "has base64 that is none")
    if not isinstance(kind, str) or len(kind) > 255 or MEDIA_TYPE.fullmatch(kind) is None:
        raise _wrong(place, "has a media_type that is none")


def _whole(operation: dict[str, Any], name: str, most: int) -> bool:
    """Whether it is a whole number from 1; one that is written as 5.0 is, and becomes 5."""
    number = operation[name]
    if isinstance(number, float) and number.is_integer():
        operation[name] = number = int(number)
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= most


def _wrong(place: str, what: str) -> HTTPException:
    return HTTPException(422, f"{place} {what}.")
