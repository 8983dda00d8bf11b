"""Groups measured into a part's result."""

import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from benchmarks.report import lines
from benchmarks.results import Result
from benchmarks.rounds import Group

Instead = Callable[[Group], Awaitable[None]]
_instead: list[Instead] = []


def do_instead(what: Instead) -> None:
    """From now on ``what`` is done with each group, and nothing is measured."""
    _instead.append(what)


def say(what: str) -> None:
    """Progress, on the error stream: the other is for figures."""
    print(f"measuring: {what}", file=sys.stderr, flush=True)


async def measure(groups: list[Group], into: Result) -> None:
    """Each group; its lines are added."""
    if _instead:
        for group in groups:
            await _instead[-1](group)
        return
    for group in groups:
        say(group.title)
        await group.measure()
    into.lines += lines(groups)


async def measured(part: str, groups: AbstractAsyncContextManager[list[Group]]) -> Result:
    """A part that is nothing but groups."""
    result = Result(part)
    async with groups as made:
        await measure(made, result)
    return result
