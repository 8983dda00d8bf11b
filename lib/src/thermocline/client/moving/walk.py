"""What is there to move: the records of a selection, page by page from the authorities' own census."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from thermocline.client.engine import Engine
from thermocline.client.reads import Reads, load_reads, notebook
from thermocline.errors import ConfigurationError, InvalidArgument
from thermocline.lifetimes import lifetime_ms
from thermocline.model import DEFAULT_TENANT, Authority, Key
from thermocline.protocols import Census, Inventory, Stored

PAGE: Final = 500  # records of one page of a census: a larger query costs less per record
TOGETHER: Final = 100  # records that are read by one call: in cold a record has up to a megabyte in its head
_SHARES: Final = 8.0  # of the authority's share of a call: a page of a census is no read of one key

Span = timedelta | float | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records: all that is given has to hold. Times in ms, 0: not asked for; ``above`` in stored bytes, -1: not asked for."""

    tenant: str | None = None
    scope: str | None = None
    prefix: str = ""
    older_ms: int = 0
    idle_ms: int = 0
    above: int = -1

    @classmethod
    def of(
        cls,
        tenant: str | None,
        scope: str | None,
        prefix: str,
        older_than: Span,
        idle_for: Span,
        larger_than: int | None,
    ) -> "Selection":
        """Checked. A scope without a tenant is one of the default tenant. Raises `InvalidArgument`."""
        given: Any = (prefix, larger_than)
        if not isinstance(given[0], str):
            raise InvalidArgument(f"prefix is a string, not {type(prefix).__name__}")
        if larger_than is not None and (type(given[1]) is not int or larger_than < 0):
            raise InvalidArgument(f"larger_than is a whole number of bytes, at least 0, not {larger_than!r}")
        if scope is not None and tenant is None:
            tenant = DEFAULT_TENANT
        if tenant is not None:
            Key(tenant, scope if scope is not None else "*", prefix or "*")
        return cls(
            tenant,
            scope,
            prefix,
            lifetime_ms(older_than, "older_than"),
            lifetime_ms(idle_for, "idle_for"),
            -1 if larger_than is None else larger_than,
        )

    @property
    def everything(self) -> bool:
        """Whether it names no record by anything."""
        return self == Selection()

    def holds(self, stored: Stored, now_ms: int, reads: Reads) -> bool:
        """Whether a live record is one of these."""
        written = stored.header.modified_ms
        return (
            stored.key.name.startswith(self.prefix)
            and (not self.older_ms or written <= now_ms - self.older_ms)
            and stored.size > self.above
            and (not self.idle_ms or idle(stored, self.idle_ms, now_ms, reads))
        )


def idle(stored: Stored, idle_ms: int, now_ms: int, reads: Reads) -> bool:
    """Whether nobody wrote the record for so long, and no client that saves its reads read it (docs/moving-data-between-tiers.md has the error bounds)."""
    since = now_ms - idle_ms
    return stored.header.modified_ms <= since and not reads.since(stored.key, since)


def live(stored: Stored, now_ms: int) -> bool:
    """Whether the record can be returned at ``now_ms``."""
    return not stored.header.flags & 1 and not stored.header.expired(now_ms)


def counted(engine: Engine) -> dict[Authority, Census]:
    """The routes' authorities that can count what they hold, the default's first."""
    stamps = dict.fromkeys(plan.authority for plan in engine.routes.plans())
    tiers = {stamp: engine.authorities[stamp] for stamp in stamps}
    return {stamp: tier for stamp, tier in tiers.items() if isinstance(tier, Census)}


async def page_of(
    engine: Engine, stamp: Authority, *, tenant: str | None, scope: str | None, cursor: str | None, limit: int = PAGE
) -> Inventory:
    """One page of an authority's census."""
    tier = engine.authorities[stamp]
    if not isinstance(tier, Census):
        raise ConfigurationError(f"{tier.tier} cannot count what it holds: it is no protocols.Census")
    guard = engine.guards[tier.tier]
    deadline = engine.budget.call(guard.share * _SHARES + 5)
    census: Callable[..., Any] = tier.census

    async def ask(*, deadline: Any) -> Inventory:
        found: Inventory = await census(tenant=tenant, scope=scope, limit=limit, cursor=cursor, deadline=deadline)
        return found

    return await guard.call("census", ask, deadline=deadline, times=_SHARES)


async def pages(engine: Engine, selection: Selection) -> AsyncGenerator[tuple[Authority, Inventory], None]:
    """All pages of the selection's scope, tenant or store, from every authority of the routes. Raises `ConfigurationError` if none can count."""
    authorities = counted(engine)
    if not authorities:
        raise ConfigurationError(
            "no authority of this client can count what it holds (protocols.Census): name the keys"
        )
    for stamp in authorities:
        cursor: str | None = None
        while True:
            page = await page_of(engine, stamp, tenant=selection.tenant, scope=selection.scope, cursor=cursor)
            yield stamp, page
            cursor = page.cursor
            if cursor is None:
                break


async def reads_for(engine: Engine, idle_ms: int) -> Reads:
    """What was saved of the reads of that time; empty where it is not asked for, or nobody saves them."""
    book = notebook(engine) if idle_ms else None
    return Reads() if book is None else await load_reads(engine, book, engine.now_ms() - idle_ms)
