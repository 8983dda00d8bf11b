"""The command ``doctor``: reaches each configured tier, measures it, and says what is wrong and how to mend it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from thermocline.cli.options import Session, command
from thermocline.cli.probes import Address, Check, address_of, disk, reach
from thermocline.cli.terminal import Exit, Terminal, exit_code
from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.errors import (
    AccessDenied,
    ConfigurationError,
    ThermoclineError,
    TierDamaged,
    TierFull,
    TierUnavailable,
)
from thermocline.model import Key, MemoryTier
from thermocline.protocols import Tier
from thermocline.settings import MemorySettings
from thermocline.tiers.local.folder import FolderMemory
from thermocline.tiers.local.process import ProcessMemory
from thermocline.tiers.local.sqlite import SqliteMemory
from thermocline.wiring import builder

PINGS: Final = 20
_SLOW_MS: Final = {
    "hot": 25.0,
    "warm": 250.0,
    "warm_plus": 250.0,
    "cold": 2500.0,
}  # half of a visit's share of the deadline
_PROBE: Final = Key("thermocline-doctor", "probe", "probe")
_SKEW_MS: Final = 1000


def addresses(settings: MemorySettings) -> dict[str, Address | None]:
    """Where the configured services are said to be, by tier."""
    found: dict[str, Address | None] = {}
    address = settings.redis_address()
    if address is not None:
        found["hot"] = address_of("hot", address[0], "REDIS_URL" if settings.redis_url is not None else "REDIS_HOST")
    if settings.cosmos_account_uri is not None:
        found["warm"] = address_of("warm", settings.cosmos_account_uri, "COSMOS_ACCOUNT_URI")
    if settings.blob_account_url is not None:
        found["cold"] = address_of("cold", settings.blob_account_url, "BLOB_ACCOUNT_URL")
    if settings.table_account_url is not None:
        found["warm_plus"] = address_of("warm_plus", settings.table_account_url, "TABLE_ACCOUNT_URL")
    return found


class Examination:
    """Examines one tier, step by step, until one fails."""

    def __init__(self, name: MemoryTier, tier: Tier, *, write: bool) -> None:
        self.name = str(name)
        self.tier = tier
        self.checks: list[Check] = []
        self._write = write

    async def run(self) -> None:
        """Connect, measure, try a write. What went wrong is in ``checks``."""
        if not await self._step("connect", self.tier.connect, "connected, and configured as it must be"):
            return
        try:
            if not await self._measure():
                return
            self._clock()
            if isinstance(self.tier, SqliteMemory):
                tier = self.tier
                verified = await self._step(
                    "file", lambda: tier.verify(deadline=Deadline.after(600.0)), f"{tier.path} is sound"
                )
                if not verified:
                    return
        finally:
            await self.tier.close()
        if self._write and not isinstance(self.tier, ProcessMemory):
            await self._step("write", self._probe, "a record was written, read and deleted")

    async def _step(self, what: str, action: Callable[[], Coroutine[Any, Any, None]], found: str) -> bool:
        began = time.perf_counter()
        try:
            await action()
        except ThermoclineError as error:
            self.checks.append(
                Check(self.name, what, False, str(error), mend_of(error, what, self.tier), code=exit_code(error))
            )
            return False
        took = (time.perf_counter() - began) * 1000
        self.checks.append(Check(self.name, what, True, found, milliseconds=took))
        return True

    async def _measure(self) -> bool:
        taken: list[float] = []

        async def pings() -> None:
            for _ in range(PINGS):
                began = time.perf_counter()
                await self.tier.ping(deadline=Deadline.after(10.0))
                taken.append((time.perf_counter() - began) * 1000)

        if not await self._step("round trip", pings, ""):
            return False
        taken.sort()
        middle = taken[len(taken) // 2]
        found = f"{PINGS} round trips: median {middle:.2f} ms, longest {taken[-1]:.2f} ms"
        slow = middle > _SLOW_MS.get(self.name, _SLOW_MS["cold"])
        mend = "run in the service's own region, or raise the tier's deadline (docs/configuration.md)" if slow else ""
        self.checks[-1] = Check(self.name, "round trip", None if slow else True, found, mend, milliseconds=middle)
        return True

    def _clock(self) -> None:
        skew = getattr(self.tier, "skew_ms", 0)
        if abs(skew) > _SKEW_MS:
            found = f"this machine's clock differs from the service's by {skew / 1000:.0f} s"
            self.checks.append(
                Check(self.name, "clock", None, found, "set it by NTP; thermocline corrects for it meanwhile")
            )

    async def _probe(self) -> None:
        given: dict[str, Any] = {self.name: self.tier}
        value = f"written by thermocline doctor at {time.time_ns()}"
        async with MemoryClient(**given) as memory:
            await memory.set(_PROBE, value, ttl=timedelta(minutes=1))
            found = await memory.get(_PROBE)
            await memory.delete(_PROBE)
        if found != value:
            raise TierUnavailable("what was written is not what was read", tier=self.name)


def mend_of(error: ThermoclineError, what: str, tier: Tier) -> str:
    """What to do, where the error itself does not say it already."""
    if isinstance(error, ConfigurationError | TierDamaged | TierFull):
        return ""
    path = embedded_path(tier)
    if path is not None and isinstance(error, TierUnavailable):
        return f"look at {path}: what is above it must be folders, and this user must be able to write there; --home or THERMOCLINE_HOME gives another place"
    if isinstance(error, AccessDenied):
        return "this identity may read and not write: give it a role that may write" if what == "write" else ""
    return "look at the service's health and its network rules" if isinstance(error, TierUnavailable) else ""


def embedded_path(tier: Tier) -> Path | None:
    """Where an embedded tier keeps its data; None for one that has no disk."""
    return tier.path if isinstance(tier, SqliteMemory | FolderMemory) else None


@command
async def doctor(
    session: Session,
    no_write: Annotated[
        bool, typer.Option("--no-write", help="Do not write (and delete) a record to see whether that works.")
    ] = False,
) -> int:
    """Reach and measure each configured tier; say what is wrong and how to mend it."""
    settings = session.settings()
    made = builder(settings)
    where = addresses(settings)
    checks: list[Check] = []
    try:
        for name, tier in made.tiers().items():
            checks += await _examined(name, tier, where.get(str(name)), write=not no_write)
    finally:
        await made.close()
    failed = [check for check in checks if check.ok is False]
    code = failed[0].code if failed else int(Exit.OK)
    if session.terminal.as_json:
        session.terminal.document({"well": not failed, "checks": [_document(check) for check in checks]})
    else:
        _show(session.terminal, settings, checks)
    return code


async def _examined(name: MemoryTier, tier: Tier, address: Address | None, *, write: bool) -> list[Check]:
    checks: list[Check] = []
    if address is not None:
        checks += await reach(address, Exit.UNAVAILABLE)
        if not checks[-1].ok:
            return checks
    path = embedded_path(tier)
    if path is not None:
        checks.append(await asyncio.to_thread(disk, str(name), path))
    examination = Examination(name, tier, write=write)
    await examination.run()
    return checks + examination.checks


def _document(check: Check) -> dict[str, Any]:
    return {
        "tier": check.tier,
        "check": check.what,
        "ok": check.ok is not False,
        "warning": check.ok is None,
        "found": check.found,
        "mend": check.mend,
        "milliseconds": None if check.milliseconds is None else round(check.milliseconds, 3),
    }


def _show(terminal: Terminal, settings: MemorySettings, checks: list[Check]) -> None:
    if not settings.any_service():
        terminal.say(f"No service is configured: the embedded tiers, under {settings.home}")
    signs = {True: "ok", None: "warning", False: "WRONG"}
    rows = [
        (
            check.tier,
            check.what,
            signs[check.ok],
            "" if check.milliseconds is None else f"{check.milliseconds:.1f} ms",
            check.found,
        )
        for check in checks
    ]
    terminal.table("", ("tier", "check", "", "time", "found"), rows, numbers="time")
    for check in checks:
        if check.ok is not True and check.mend:
            terminal.say(f"{check.tier}, {check.what}: {check.mend}", style="yellow")
    wrong = list(dict.fromkeys(check.tier for check in checks if check.ok is False))
    if wrong:
        they = "it is" if len(wrong) == 1 else "they are"
        terminal.say(f"{', '.join(wrong)} cannot be used as {they}.", style="bold red")
    else:
        terminal.say("All is well.", style="bold green")
