"""What the callers of a schedule do, at random, and how each answer is handed to the judge."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from tests.schedules.truth import NOTHING

from thermocline.client import WriteResult
from thermocline.errors import ClientClosed, Conflict, TierUnavailable, UnknownOutcome
from thermocline.model import Hit, Key, Unavailable
from thermocline.protocols import Verb

if TYPE_CHECKING:
    from tests.schedules.world import Member, Schedule

_SLEEPS = (0.0, 0.001, 0.003, 0.01, 0.02, 0.06, 2.0, 8.0)
_LIFETIMES = (0.002, 0.01, 0.05, 1.0, 60.0)
_SOMETIMES = {
    "get": 0.1,
    "get_many": 0.15,
    "delete": 0.12,
    "touch": 0.12,
    "increment": 0.2,
    "update": 0.1,
    "put_many": 0.1,
    "put_if_version": 0.06,
    "put_if_absent": 0.05,
    "restart": 0.04,
}


def choose_menu(rng: random.Random) -> dict[str, float]:
    """What the callers of one schedule do, and how often. Each schedule does only a few things: so they meet more often."""
    always = {"put": rng.choice((0.2, 0.6)), "lookup": 0.3}
    return always | {name: weight for name, weight in _SOMETIMES.items() if rng.random() < 0.4}


class Actor:
    """One caller: a few operations one after the other, some of them cancelled."""

    def __init__(self, schedule: "Schedule", member: "Member") -> None:
        self.schedule = schedule
        self.member = member
        self.random = schedule.random
        self.truth = schedule.truth
        self.seen: dict[Key, int] = {}

    async def work(self, calls: int) -> None:
        for _ in range(calls):
            if self.random.random() < self.schedule.leisure:
                await asyncio.sleep(self.random.choice(_SLEEPS))
            self.schedule.operations += 1
            operation = self._pick()
            if operation != self.restart and self.random.random() < 0.12:
                await self._cancelled(operation)
            else:
                await self._judged(operation)

    async def _cancelled(self, operation: Callable[[], Awaitable[None]]) -> None:
        """Begin it, and cancel it after some steps."""
        task = asyncio.get_running_loop().create_task(self._judged(operation, cancelled=True), name="cancelled")
        for _ in range(self.random.randint(0, 6)):
            await asyncio.sleep(self.random.choice((0.0, 0.0, 0.001)))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and task.exception() is not None:
            self.truth.problem(f"a cancelled call raised {task.exception()!r}")

    async def _judged(self, operation: Callable[[], Awaitable[None]], *, cancelled: bool = False) -> None:
        """Only errors that may be there are let through."""
        life = self.member.life
        restarted = self.member.closing
        self.truth.note("client", self.member.identity, "begins", getattr(operation, "__name__", ""))
        try:
            await operation()
        except (TierUnavailable, UnknownOutcome) as error:
            restarted = restarted or self.member.closing or self.member.life != life
            if not self.schedule.world.errors and not restarted:
                self.truth.problem(f"{operation}: nothing was wrong, but it raised {error!r}")
        except ClientClosed as error:
            if not (restarted or self.member.closing or self.member.life != life):
                self.truth.problem(f"{operation}: {error!r}, and its client was not closed")
        except asyncio.CancelledError:
            if cancelled:
                raise
            self.truth.problem(f"{operation}: it was cancelled, and nobody had cancelled it")
        except Exception as error:  # noqa: BLE001 - whatever comes out is to be judged
            self.truth.problem(f"{operation}: {error!r}")

    # --- operations --------------------------------------------------------------------------------------------------

    def _pick(self) -> Callable[[], Awaitable[None]]:
        menu = self.schedule.menu
        choice = self.random.random() * sum(menu.values())
        for name, weight in menu.items():
            choice -= weight
            if choice < 0:
                operation: Callable[[], Awaitable[None]] = getattr(self, name)
                return operation
        return self.lookup

    @property
    def _client(self) -> Any:
        return self.member.client

    def _key(self) -> Key:
        return self.random.choice(self.schedule.keys)

    def _options(self) -> dict[str, Any]:
        if self.schedule.world.timeouts and self.random.random() < 0.1:
            return {"timeout": self.random.choice((0.001, 0.004, 0.02, 0.3))}
        return {}

    def _lifetime(self) -> float | None:
        return self.random.choice(_LIFETIMES) if self.random.random() < 0.25 else None

    async def lookup(self) -> None:
        key, who = self._key(), self.member.identity
        required = self.truth.required(who, key)
        outcome = await self._client.lookup(key, **self._options())
        self.truth.looked_up(who, key, required, outcome)
        if isinstance(outcome, Hit):
            self.seen[key] = outcome.version
        elif isinstance(outcome, Unavailable):
            raise outcome.error

    async def get(self) -> None:
        key, who = self._key(), self.member.identity
        required = self.truth.required(who, key)
        value = await self._client.get(key, default=NOTHING, **self._options())
        self.truth.got(who, key, required, value)

    async def get_many(self) -> None:
        keys, who = [*self.schedule.keys, self.schedule.counter], self.member.identity
        required = {key: self.truth.required(who, key) for key in keys}
        batch = await self._client.get_many(keys, **self._options())
        for key in keys:
            if key in batch:
                self.truth.got(who, key, required[key], batch[key])
            elif key in batch.missing:
                self.truth.got(who, key, required[key], NOTHING)
        for error in batch.errors.values():
            raise error

    async def put(self) -> None:
        await self._put({})

    async def put_if_version(self) -> None:
        key = self._key()
        if key in self.seen:
            await self._put({"if_version": self.seen[key]}, key)

    async def put_if_absent(self) -> None:
        await self._put({"if_absent": True})

    async def _put(self, condition: dict[str, Any], key: Key | None = None) -> None:
        key = self._key() if key is None else key
        value, who = self.schedule.value(), self.member.identity
        begin = self.truth.clock.monotonic()
        try:
            result = await self._client.set(key, value, ttl=self._lifetime(), **condition, **self._options())
        except Conflict:
            if not condition:
                raise
            self.truth.refused(key, begin, condition.get("if_version"), condition.get("if_absent", False))
        else:
            self.truth.wrote(who, key, result.version, value)
            self.seen[key] = result.version

    async def put_many(self) -> None:
        who = self.member.identity
        values = {key: self.schedule.value() for key in self.schedule.keys}
        batch = await self._client.set_many(values, ttl=self._lifetime(), **self._options())
        for key, result in batch.items():
            self.truth.wrote(who, key, result.version, values[key])
        for error in batch.errors.values():
            raise error

    async def delete(self) -> None:
        key, who, begin = self._key(), self.member.identity, self.truth.clock.monotonic()
        result: WriteResult = await self._client.delete(key, **self._options())
        if result.found:
            self.truth.wrote(who, key, result.version)
        else:
            self.truth.found_nothing(key, begin, Verb.DELETE)

    async def touch(self) -> None:
        key, who, begin = self._key(), self.member.identity, self.truth.clock.monotonic()
        result: WriteResult = await self._client.touch(key, ttl=self._lifetime(), **self._options())
        if result.found:
            self.truth.wrote(who, key, result.version)
        else:
            self.truth.found_nothing(key, begin, Verb.TOUCH)

    async def update(self) -> None:
        key, who = self._key(), self.member.identity
        try:
            value = await self._client.update(
                key, lambda there: self.schedule.value(on=0 if there is None else there["n"]), **self._options()
            )
        except Conflict:
            if not self.schedule.world.timeouts:
                raise  # only where there was no time to try again
            return
        for commit in self.truth.log[key]:
            if not commit.envelope.tombstone and self.truth.value_of(commit) == value:
                self.truth.acknowledge(who, key, commit.version)
                return
        self.truth.problem(f"{key}: an update returned {value!r}, which was never stored")

    async def increment(self) -> None:
        key, who = self.schedule.counter, self.member.identity
        try:
            total = await self._client.increment(key, **self._options())
        except Conflict:
            if not self.schedule.world.timeouts:
                raise
            return
        log = self.truth.log[key]
        if total > len(log) or self.truth.value_of(log[total - 1]) != total:
            self.truth.problem(
                f"{key}: an increment returned {total}, and the authority holds {[self.truth.value_of(c) for c in log]}"
            )
            return
        self.truth.acknowledge(who, key, log[total - 1].version)

    async def restart(self) -> None:
        await self.schedule.restart(self.member)
