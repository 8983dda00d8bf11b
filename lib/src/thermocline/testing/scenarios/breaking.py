"""What scenarios break. Each takes the stage and how long the fault lasts (seconds), and mends what it broke, also when it is cancelled."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from thermocline.testing.proxy import ChaosProxy, http_refusal
from thermocline.testing.rig import RedisServer
from thermocline.testing.scenarios.model import Break
from thermocline.testing.scenarios.stage import Stage

HOUR = 3600.0


# --- Redis -----------------------------------------------------------------------------------------------------------


async def kill_redis(stage: Stage, seconds: float) -> None:
    """SIGKILL; it comes back at the end, empty."""
    redis = stage.redis
    await asyncio.to_thread(redis.kill)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(redis.start)


async def restart_redis_empty(stage: Stage, seconds: float) -> None:
    """Again and again: at once, and without its data."""
    for _ in range(3):
        await asyncio.to_thread(stage.redis.restart, keep_data=False)
        await asyncio.sleep(seconds / 3)


async def roll_redis_back(stage: Stage, seconds: float) -> None:
    """It crashes, and comes back with what it held a while ago."""
    await asyncio.to_thread(stage.redis.snapshot)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(stage.redis.kill)
    await asyncio.to_thread(stage.redis.start)


async def fail_over(stage: Stage, seconds: float) -> None:
    """A master of the cluster dies, its replica takes over, and it comes back as a replica."""
    cluster = stage.cluster
    assert cluster is not None, "the scenario needs no cluster"
    master = stage.random.choice(cluster.nodes)
    await asyncio.to_thread(master.kill)
    try:
        await asyncio.to_thread(cluster.wait_until_promoted, master)
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(cluster.start)


async def fill_redis(stage: Stage, seconds: float) -> None:
    """Redis has no room for any more entries, and evicts none."""
    await asyncio.to_thread(leave_room, stage.redis, 0)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(leave_room, stage.redis, None)


def leave_room(redis: RedisServer, room: int | None) -> None:
    """Until its next start it may have so many bytes besides those that it has now; None: no end."""
    with redis.connection() as connection:
        used = int(connection.fields("INFO", "memory")["used_memory"])
        connection.call("CONFIG", "SET", "maxmemory-clients", "0")
        connection.call("CONFIG", "SET", "maxmemory", 0 if room is None else max(1, used + room))


# --- the ways to the tiers ---------------------------------------------------------------------------------------------


def through(name: str, how: Callable[[ChaosProxy], Any]) -> Break:
    """Break all clients' way to ``redis``, ``cosmos`` or ``blob``."""

    async def broken(stage: Stage, seconds: float) -> None:
        proxy = stage.proxies[name]
        how(proxy)
        try:
            await asyncio.sleep(seconds)
        finally:
            proxy.restore()

    return broken


def slow(proxy: ChaosProxy) -> None:
    proxy.delay(requests=timedelta(milliseconds=30), answers=timedelta(milliseconds=10))


def blackhole(proxy: ChaosProxy) -> None:
    proxy.blackhole(requests=True)


def busy(proxy: ChaosProxy) -> None:
    """Nine of ten requests are answered with 503 by something before the server."""
    proxy.answer(http_refusal(503, "Server Busy", headers={"x-ms-error-code": "ServerBusy"}), share=0.9)


# --- Cosmos DB ---------------------------------------------------------------------------------------------------------


def cosmos(how: Callable[[Any, int], int]) -> Break:
    """A fault of the server itself; ``how`` takes its control and a seed."""

    async def broken(stage: Stage, seconds: float) -> None:
        async with _in_force(stage, how):
            await asyncio.sleep(seconds)

    return broken


@asynccontextmanager
async def _in_force(stage: Stage, how: Callable[[Any, int], int]) -> AsyncIterator[None]:
    control = stage.control
    number = await asyncio.to_thread(how, control, stage.random.randrange(2**31))
    try:
        yield
    finally:
        await asyncio.to_thread(control.clear, number)


async def lose_region(stage: Stage, seconds: float) -> None:
    """First it answers 503 to everything, and then nothing at all."""
    for how in ("unavailable", "silent"):
        async with _in_force(stage, lambda control, _, how=how: control.lose_region(how)):  # type: ignore[misc]
            await asyncio.sleep(seconds / 2)


# --- Blob Storage, disks ---------------------------------------------------------------------------------------------------


async def fill_disk(stage: Stage, seconds: float) -> None:
    """No file of the client processes may grow, as on a disk that is full."""
    for client in stage.apart:
        await client.tell("room", 4096)
    try:
        await asyncio.sleep(seconds)
    finally:
        for client in stage.apart:
            await client.tell("room", 0)


# --- clocks, loops -------------------------------------------------------------------------------------------------------


async def turn_clients_clock(stage: Stage, seconds: float) -> None:
    """One client's wall clock jumps an hour forwards, then two back, then is right again."""
    clock = stage.here[0].clock
    try:
        for jump in (HOUR, -2 * HOUR):
            clock.jump(jump)
            await asyncio.sleep(seconds / 2)
    finally:
        clock.ahead_ms = 0


async def turn_servers_clock(stage: Stage, seconds: float) -> None:
    """Cosmos DB's own clock jumps an hour forwards, then two back."""
    control = stage.control
    try:
        for jump in (HOUR, -2 * HOUR):
            await asyncio.to_thread(control.advance, jump)
            await asyncio.sleep(seconds / 2)
    finally:
        await asyncio.to_thread(control.reset, "clock")


async def stall(stage: Stage, seconds: float) -> None:
    """The event loops of the client processes are held up, for up to a second at a time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        for client in stage.apart:
            await client.tell("stall", stage.random.uniform(0.1, 1.0) * min(1.0, left))
        await asyncio.sleep(min(left, stage.random.uniform(0.2, 1.5)))


# --- all at once -----------------------------------------------------------------------------------------------------------


async def everything(stage: Stage, seconds: float) -> None:
    """Redis swallows all requests, the region is gone, and nobody listens at the blob service."""
    redis, blob = stage.proxies["redis"], stage.proxies["blob"]
    blackhole(redis)
    blob.refuse()
    blob.cut()
    try:
        async with _in_force(stage, lambda control, _: control.lose_region("unavailable")):
            await asyncio.sleep(seconds)
    finally:
        redis.restore()
        blob.restore()
