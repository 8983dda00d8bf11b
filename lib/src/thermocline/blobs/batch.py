"""Many calls at once, each of which answers for itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from thermocline.errors import ThermoclineError

AT_ONCE: Final = 16  # calls of a batch under way at once

S = TypeVar("S")
R = TypeVar("R")


async def each(items: Sequence[S], ask: Callable[[S], Awaitable[R]]) -> list[R | ThermoclineError]:
    """Ask for each item, `AT_ONCE` of them at a time, and answer in their order; an error of ours is that item's answer."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(item: S) -> R | ThermoclineError:
        async with limit:
            try:
                return await ask(item)
            except ThermoclineError as error:
                return error

    return list(await asyncio.gather(*(one(item) for item in items)))


async def all_of(items: Sequence[S], ask: Callable[[S], Awaitable[R]]) -> list[R]:
    """As `each`; but where one failed, the first error is raised when all were asked."""
    answers: list[R] = []
    for answer in await each(items, ask):
        if isinstance(answer, ThermoclineError):
            raise answer
        answers.append(answer)
    return answers
