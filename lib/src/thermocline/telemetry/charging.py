"""For which of a tier's verbs a request is sent, so that what the service charges can be told by verb."""

from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Final, TypeVar

Result = TypeVar("Result")

OTHER: Final = "other"
"""What no verb of a client asked for: connecting, a ping, a tier that is called directly."""

_verb: ContextVar[str] = ContextVar("thermocline_charged_to", default=OTHER)


def charged_to() -> str:
    """The verb that the current task's requests are charged to."""
    return _verb.get()


async def charge_to(verb: str, call: Awaitable[Result]) -> Result:
    """The call's result; its requests, and those of the tasks that it starts, are charged to ``verb``."""
    token = _verb.set(verb)
    try:
        return await call
    finally:
        _verb.reset(token)
