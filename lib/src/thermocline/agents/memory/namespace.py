"""Canonical namespace keys, ``v1|svc=…|ten=…|ses=…|key=…``: a service's memory of a tenant's session, as one string.

In each part ``%``, ``|`` and ``=`` stand as ``%25``, ``%7C`` and ``%3D``, so that no two namespaces have one key; parts without these are written as
before. Such a string is a plain string to `MemoryClient`; `NamespaceContext.key` is the same namespace as a `Key`, which has the tenant's wall.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from thermocline.errors import InvalidKey
from thermocline.model import Key

NAMESPACE_VERSION: Final = "v1"
DEFAULT_TENANT_ID: Final = "public"
DEFAULT_SESSION_ID: Final = "anonymous"

_CODES: Final = {"%": "%25", "|": "%7C", "=": "%3D"}
_TEXTS: Final = {code: text for text, code in _CODES.items()}
_PART: Final = r"((?:[^%|=]|%25|%7C|%3D)+)"
_FORM: Final = re.compile(rf"v1\|svc={_PART}\|ten={_PART}\|ses={_PART}\|key={_PART}", re.DOTALL)
_SLASHED: Final = {"%": "%25", "/": "%2F"}
_SCOPE: Final = re.compile(r"((?:[^%/]|%25|%2F)+)/((?:[^%/]|%25|%2F)+)", re.DOTALL)


class PlainHot(Protocol):
    """What `read_hot_with_compatibility` needs of a hot tier."""

    async def get(self, key: str) -> Any: ...

    async def set(self, key: str, value: Any, ttl_seconds: Any = 900) -> None: ...


@dataclass(frozen=True, slots=True)
class NamespaceContext:
    """A service, a tenant and a session. Raises `InvalidKey` for a part that is empty or no string."""

    service: str
    tenant_id: str
    session_id: str

    def __post_init__(self) -> None:
        for name in ("service", "tenant_id", "session_id"):
            _check(name, getattr(self, name))

    def key(self, logical_key: str) -> Key:
        """The `Key` of a name in this namespace: its tenant is ``tenant_id``, its scope the service and the session, so that a session ends, and is
        listed and erased, as one. Raises `InvalidKey`."""
        return Key(self.tenant_id, _slashed(self.service) + "/" + _slashed(self.session_id), logical_key)


def resolve_namespace_context(
    request: Mapping[str, Any],
    service_name: str,
    *,
    default_tenant_id: str = DEFAULT_TENANT_ID,
    default_session_id: str = DEFAULT_SESSION_ID,
    session_fallback: str | None = None,
) -> NamespaceContext:
    """The namespace of a request: its ``tenant_id`` (or ``tenant``) and ``session_id`` (or ``session``), as they are; the defaults for what is missing or
    empty.

    The tenant of a request is what its sender claims: check it against who is signed in before you store by it.
    """
    tenant = _first(request.get("tenant_id"), request.get("tenant"), default_tenant_id)
    session = _first(request.get("session_id"), request.get("session"), session_fallback, default_session_id)
    return NamespaceContext(_first(service_name, "unknown-service"), tenant, session)


def build_canonical_memory_key(context: NamespaceContext, logical_key: str) -> str:
    """The canonical key of a name in a namespace. Raises `InvalidKey` for an empty one."""
    _check("logical_key", logical_key)
    parts = (context.service, context.tenant_id, context.session_id, logical_key)
    service, tenant, session, name = (re.sub("[%|=]", lambda found: _CODES[found[0]], part) for part in parts)
    return f"{NAMESPACE_VERSION}|svc={service}|ten={tenant}|ses={session}|key={name}"


def parse_canonical_memory_key(key: str) -> tuple[NamespaceContext, str]:
    """The namespace and the name of a canonical key. Raises `InvalidKey` for everything that `build_canonical_memory_key` does not make."""
    given: object = key
    found = _FORM.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise InvalidKey(
            f"{key!r:.120} is no canonical key: those are v1|svc=…|ten=…|ses=…|key=…, with %25, %7C and %3D for the signs %, | and ="
        )
    service, tenant, session, name = (
        re.sub("%25|%7C|%3D", lambda code: _TEXTS[code[0]], part) for part in found.groups()
    )
    return NamespaceContext(service, tenant, session), name


def canonical_name(key: Key) -> str | None:
    """The canonical key of a `Key` that `NamespaceContext.key` makes; None for any other. For ``LegacySource(name=canonical_name)``: agents that went over
    to `Key` find what they stored under the string."""
    found = _SCOPE.fullmatch(key.scope)
    if found is None:
        return None
    service, session = (part.replace("%2F", "/").replace("%25", "%") for part in found.groups())
    return build_canonical_memory_key(NamespaceContext(service, key.tenant, session), key.name)


async def read_hot_with_compatibility(
    hot_memory: PlainHot, canonical_key: str, legacy_keys: Iterable[str], *, ttl_seconds: float
) -> Any:
    """The value under the canonical key, or the first that stands under one of the older keys, which is then stored under the canonical one; None: neither."""
    value = await hot_memory.get(canonical_key)
    if value is not None:
        return value
    for key in legacy_keys:
        value = await hot_memory.get(key)
        if value is not None:
            await hot_memory.set(canonical_key, value, ttl_seconds=ttl_seconds)
            return value
    return None


def _slashed(part: str) -> str:
    return re.sub("[%/]", lambda found: _SLASHED[found[0]], part)


def _first(*given: Any) -> str:
    return next(str(value) for value in given if value is not None and str(value) != "")


def _check(what: str, part: object) -> None:
    if not isinstance(part, str) or not part:
        raise InvalidKey(f"a namespace's {what} is a string that is not empty, not {part!r:.80}")
