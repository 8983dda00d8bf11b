"""Who asks: the tenant and the scope of a request, and the memory that follows it (P9)."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from thermocline.client import MemoryClient, ScopedMemory
from thermocline.errors import InvalidArgument
from thermocline.model import DEFAULT_TENANT, Key


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is, as the service knows by itself: from a token, a certificate, a gateway's header. ``scope``, as ``user/42``; None: the agent's own
    scope, which all callers of the tenant share. Raises `InvalidKey` for what no key can hold."""

    tenant: str = DEFAULT_TENANT
    scope: str | None = None

    def __post_init__(self) -> None:
        Key(self.tenant, "scope" if self.scope is None else self.scope, "name")


_asking: ContextVar[Caller | None] = ContextVar("thermocline_caller", default=None)


def current_caller() -> Caller | None:
    """Whose request the current task works on; None: no request's, or of a service without ``caller``."""
    return _asking.get()


@contextmanager
def asking(caller: Caller | None) -> Iterator[None]:
    """Inside the block, and in the tasks that it starts, this is who asks."""
    token = _asking.set(caller)
    try:
        yield
    finally:
        _asking.reset(token)


class CallersMemory(ScopedMemory):
    """The scope of whoever asks. Outside of a request nobody does: it raises `InvalidArgument` rather than mix callers in a scope of all."""

    __slots__ = ("_shared",)

    def __init__(self, client: MemoryClient, *, scope: str) -> None:
        self._client = client
        self._shared = scope
        Key(DEFAULT_TENANT, scope, "name")

    def __repr__(self) -> str:
        return "<CallersMemory>"

    @property
    def tenant(self) -> str:  # type: ignore[override]
        return _now().tenant

    @property
    def scope(self) -> str:  # type: ignore[override]
        found = _now().scope
        return self._shared if found is None else found


def _now() -> Caller:
    found = _asking.get()
    if found is None:
        raise InvalidArgument(
            "`own` is the memory of the caller of a request, and no request is under way here; name a key, as agent.memory.get(Key(…))"
        )
    return found
