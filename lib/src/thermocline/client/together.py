"""Work on many things, a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


async def together(items: Sequence[Item], work: Callable[[Item], Awaitable[object]], *, at_once: int) -> None:
    """``await work(item)`` for each, ``at_once`` of them side by side and begun in their order. What one raises ends the others, and is raised."""
    if len(items) <= 1 or at_once == 1:
        for item in items:
            await work(item)
        return
    left = iter(items)

    async def hand() -> None:
        for item in left:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(items))):
                group.create_task(hand())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


def chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """The items in their order, ``size`` at a time."""
    return [items[at : at + size] for at in range(0, len(items), size)]
