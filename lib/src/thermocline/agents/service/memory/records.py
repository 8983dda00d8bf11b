"""One record, and the list of a scope's: ``/v1/record`` and ``/v1/records``."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from thermocline.agents.service import body
from thermocline.agents.service.memory.answering import etag, moment, of_record, of_write
from thermocline.agents.service.memory.asking import Ask, conditions, is_json, lifetime, media_type, tags, unless
from thermocline.agents.service.problems import json_response
from thermocline.client.result import ListedKey
from thermocline.errors import ConfigurationError
from thermocline.model import Corrupt, Hit, Key, Miss, Outcome, Unavailable

PAGE: Final = 100  # keys of a listing's page, if nothing else is asked for
LONGEST_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup came back with: a hit, or what is to be raised."""

    hit: Hit | None
    error: Exception | None = None


def found(outcome: Outcome) -> Found:
    """An outage and a damaged record are errors; a miss is none."""
    match outcome:
        case Hit():
            return Found(outcome)
        case Miss():
            return Found(None)
        case Unavailable() | Corrupt():
            return Found(None, outcome.error)
        case _:
            return Found(None, ConfigurationError("the memory's rules forbid to ask below hot (read_fallback=False)"))


async def read(ask: Ask) -> Response:
    """GET and HEAD."""
    key, known = _key(ask), unless(ask.request)
    answer = found(await ask.memory.lookup(key))
    if answer.error is not None:
        raise answer.error
    if answer.hit is None:
        raise HTTPException(404, "There is no record of this scope and name.")
    if known == answer.hit.version:
        return Response(None, 304, {"etag": etag(answer.hit.version), "cache-control": "no-store"})
    return of_record(answer.hit, head=ask.request.method == "HEAD")


async def write(ask: Ask) -> Response:
    """PUT."""
    key, kind = _key(ask), media_type(ask.request)
    version, absent = conditions(ask.request)
    ttl, labels = lifetime(ask.request), tags(ask.request)
    data = await body.read_bytes(ask.request, most=ask.most, seconds=ask.seconds)
    value, stored_as = (body.parsed(data), None) if is_json(kind) else (data, kind)
    written = await ask.memory.set(
        key, value, ttl=ttl, tags=labels, media_type=stored_as, if_version=version, if_absent=absent
    )
    return json_response(of_write(written), headers={"etag": etag(written.version)})


async def remove(ask: Ask) -> Response:
    """DELETE: afterwards there is no value, whether there was one or not."""
    key = _key(ask)
    version, absent = conditions(ask.request)
    if absent:
        raise HTTPException(400, "If-None-Match does not go with DELETE.")
    await ask.memory.delete(key, if_version=version)
    return Response(None, 204, {"cache-control": "no-store"})


async def listed(ask: Ask) -> Response:
    """GET of the list."""
    given = ask.query(needed=("scope",), allowed=("prefix", "cursor", "limit"))
    limit = _limit(given.get("limit"))
    page = await ask.memory.list(
        given.get("prefix", ""), scope=given["scope"], tenant=ask.caller.tenant, limit=limit, cursor=given.get("cursor")
    )
    return json_response({"items": [_item(one) for one in page], "cursor": page.cursor})


def _key(ask: Ask) -> Key:
    given = ask.query(needed=("scope", "name"))
    return ask.key(given["scope"], given["name"])


def _limit(given: str | None) -> int:
    if given is None:
        return PAGE
    if not (given.isascii() and given.isdigit() and len(given) <= 4 and 1 <= int(given) <= LONGEST_PAGE):
        raise HTTPException(422, f"limit is a number from 1 to {LONGEST_PAGE:,}.")
    return int(given)


def _item(one: ListedKey) -> dict[str, Any]:
    return {
        "name": one.key.name,
        "version": one.version,
        "tier": str(one.tier),
        "bytes": one.raw_size,
        "modified": moment(one.modified),
        "expires": moment(one.expires),
        "tags": dict(one.tags),
    }
