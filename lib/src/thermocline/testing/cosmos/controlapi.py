"""`/_control/…`: faults, clock, counters, ranges, principals. JSON in and out, no authorization, loopback only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from thermocline.testing.cosmos.auth import parse_grant
from thermocline.testing.cosmos.failures import ServiceError, bad_request
from thermocline.testing.cosmos.faults import parse_fault
from thermocline.testing.cosmos.resources import CONSISTENCY
from thermocline.testing.cosmos.service import Service

Handler = Callable[[Service, Any], Any]


async def answer(service: Service, request: web.BaseRequest, body: bytes) -> web.Response:
    """One control request."""
    name = request.rel_url.path.removeprefix("/_control/").strip("/")
    handler = _HANDLERS.get((request.method, name))
    try:
        if handler is None:
            raise ServiceError(404, f"There is no control {request.method} {name}.")
        given = msgspec.json.decode(body) if body else dict(request.rel_url.query)
        result = handler(service, given)
        return web.Response(body=msgspec.json.encode(result), content_type="application/json")
    except ServiceError as e:
        status, message = e.status, e.message
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as e:
        status, message = 400, f"The control request is malformed: {e!r}"
    return web.Response(status=status, body=msgspec.json.encode({"message": message}), content_type="application/json")


def _add_fault(service: Service, given: Any) -> Any:
    return {"number": service.faults.add(parse_fault(given))}


def _clear_faults(service: Service, given: Any) -> Any:
    number = given.get("number")
    return {"cleared": service.faults.clear(None if number is None else int(number))}


def _release(service: Service, given: Any) -> Any:
    return {"released": service.faults.release(int(given["number"]))}


def _clock(service: Service, given: Any) -> Any:
    unknown = given.keys() - {"advance", "freeze", "resume", "reset"}
    if unknown:
        raise bad_request(f"The clock has no {min(unknown)!r}.")
    if given.get("reset"):
        service.clock.reset()
    if given.get("freeze"):
        service.clock.freeze()
    if "advance" in given:
        service.clock.advance(float(given["advance"]))
    if given.get("resume"):
        service.clock.resume()
    return {"now": service.clock.now()}


def _stats(service: Service, given: Any) -> Any:
    last = int(given.get("last", 50))
    return {
        "requests": sum(service.counts.values()),
        "kinds": dict(service.counts),
        "statuses": dict(service.statuses),
        "charge": service.charge,
        "last": list(service.log)[-last:] if last else [],
    }


def _reset(service: Service, given: Any) -> Any:
    parts = set(given.get("what", ["counters"]))
    unknown = parts - {"counters", "faults", "clock", "data", "principals"}
    if unknown:
        raise bad_request(f"There is no {min(unknown)!r} to reset.")
    if "counters" in parts:
        service.reset_counters()
    if "faults" in parts:
        service.faults.clear()
    if "clock" in parts:
        service.clock.reset()
    if "principals" in parts:
        service.guard.principals.clear()
    if "data" in parts:
        service.account.databases.clear()
    return {}


def _split(service: Service, given: Any) -> Any:
    container = service.account.database(given["database"]).container(given["container"])
    pair = container.split(str(given["range"]))
    return {"ranges": [r.id for r in pair]}


def _principals(service: Service, given: Any) -> Any:
    for principal, grants in given.items():
        service.guard.principals[principal] = [parse_grant(g) for g in grants]
    return {}


def _account(service: Service, given: Any) -> Any:
    unknown = given.keys() - {"consistency", "multi_write", "keys_disabled", "aad", "key", "regions"}
    if unknown:
        raise bad_request(f"The account has no {min(unknown)!r}.")
    if given.get("consistency", "Session") not in CONSISTENCY:
        raise bad_request(f"The consistency must be one of {CONSISTENCY}.")
    if given.get("aad", "any") not in ("off", "any", "roles"):
        raise bad_request("aad must be off, any or roles.")
    service.settings.regions = dict(given.get("regions", service.settings.regions))
    service.settings.consistency = given.get("consistency", service.settings.consistency)
    service.settings.multi_write = bool(given.get("multi_write", service.settings.multi_write))
    service.guard.keys_disabled = bool(given.get("keys_disabled", service.guard.keys_disabled))
    service.guard.aad = given.get("aad", service.guard.aad)
    service.guard.key = given.get("key", service.guard.key)
    return {}


_HANDLERS: Final[dict[tuple[str, str], Handler]] = {
    ("GET", "ping"): lambda service, given: {"ok": True},
    ("GET", "faults"): lambda service, given: [f.shown() for f in service.faults.rules],
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "release"): _release,
    ("GET", "clock"): lambda service, given: {"now": service.clock.now()},
    ("POST", "clock"): _clock,
    ("GET", "stats"): _stats,
    ("POST", "reset"): _reset,
    ("POST", "split"): _split,
    ("POST", "principals"): _principals,
    ("POST", "account"): _account,
}
