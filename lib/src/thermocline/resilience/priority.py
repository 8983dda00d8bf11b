"""Work that nobody waits for, told to a service that can put it behind the rest."""

from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

Result = TypeVar("Result")

_background: ContextVar[bool] = ContextVar("thermocline_background", default=False)


def is_background() -> bool:
    """Whether what is being done now is work that nobody waits for: a sweep, an export, a prefetch, a refresh."""
    return _background.get()


async def in_background(work: Awaitable[Result]) -> Result:
    """The result of ``work``, whose requests, and those of the tasks that it starts, have low priority."""
    token = _background.set(True)
    try:
        return await work
    finally:
        _background.reset(token)
