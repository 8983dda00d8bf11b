"""Listing keys from the authority, page by page."""

from typing import Any

from thermocline.client.engine import Engine
from thermocline.client.result import ListedKey, Listing
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument
from thermocline.model import DEFAULT_TENANT, Key, MemoryTier, instant, plain_scopes
from thermocline.policy import Plan
from thermocline.protocols import Listed, Page


class Listings:
    """The listing verb of one client."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def page(
        self, prefix: str, *, scope: str | None, tenant: str | None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Listing:
        given: Any = (prefix, "" if cursor is None else cursor)
        if not isinstance(given[0], str) or not isinstance(given[1], str):
            raise InvalidArgument(f"prefix and cursor are strings, not {prefix!r:.80} and {cursor!r:.80}")
        if type(limit) is not int or not 1 <= limit <= 1000:
            raise InvalidArgument(f"limit is a number from 1 to 1,000, not {limit!r}")
        tenant = DEFAULT_TENANT if tenant is None else tenant
        if scope is not None:
            page = await self._scan(tenant, scope, prefix, limit, cursor, deadline)
            return Listing([_listed(item, tier) for item, tier in page[0]], page[1])
        if tenant != DEFAULT_TENANT:
            raise InvalidArgument(
                "name the scope whose keys to list; only plain strings of the default tenant have none"
            )
        return await self._plain(prefix, limit, cursor, deadline)

    async def _plain(self, prefix: str, limit: int, cursor: str | None, deadline: Deadline) -> Listing:
        """Plain strings lie in 256 scopes: one after the other, the cursor says in which."""
        scopes = plain_scopes()
        at, inner = 0, None
        if cursor is not None:
            scope, bar, rest = cursor.partition("|")
            if not bar or scope not in scopes:
                raise InvalidArgument("this cursor is not one of a listing of plain strings; start again without it")
            at, inner = scopes.index(scope), rest or None
        items: list[ListedKey] = []
        while at < len(scopes):
            found, inner = await self._scan(DEFAULT_TENANT, scopes[at], prefix, limit - len(items), inner, deadline)
            items += [_listed(item, tier) for item, tier in found]
            if inner is None:
                at += 1
            if len(items) >= limit:
                break
        return Listing(items, None if at >= len(scopes) else f"{scopes[at]}|{inner or ''}")

    async def _scan(
        self, tenant: str, scope: str, prefix: str, limit: int, cursor: str | None, deadline: Deadline
    ) -> tuple[list[tuple[Listed, MemoryTier]], str | None]:
        """One page. Where the routes know several authorities, they are listed one after the other; the cursor says which."""
        routes = self._engine.routes
        authorities = sorted({plan.authority: plan for plan in routes.plans()}.items())
        at, inner = _place(cursor, [stamp.name for stamp, _ in authorities])
        found: list[tuple[Listed, MemoryTier]] = []
        while True:
            stamp, plan = authorities[at]
            page = await self._ask(plan, tenant, scope, prefix, limit - len(found), inner, deadline)
            now = self._engine.now_ms()
            found += [
                (item, MemoryTier.COLD if item.pointer else plan.tier)
                for item in page.items
                if not 0 < item.expires_ms <= now and routes.route(item.key).authority == stamp
            ]
            inner = page.cursor
            if inner is None and at + 1 < len(authorities):
                at += 1
            elif inner is None:
                return found, None
            if len(found) >= limit or inner is not None:
                return found, inner if len(authorities) == 1 else f"{authorities[at][0].name}!{inner or ''}"

    async def _ask(
        self, plan: Plan, tenant: str, scope: str, prefix: str, limit: int, cursor: str | None, deadline: Deadline
    ) -> Page:
        Key(tenant, scope, prefix or "*")  # refuses what no key can have
        authority = self._engine.authority(plan.authority)

        async def scan(*, deadline: Deadline) -> Page:
            return await authority.scan(tenant, scope, prefix, limit=limit, cursor=cursor, deadline=deadline)

        return await self._engine.guards[plan.tier].call("list", scan, deadline=deadline, times=4)


def _place(cursor: str | None, names: list[str]) -> tuple[int, str | None]:
    """At which authority a listing goes on, and the cursor there."""
    if len(names) == 1 or cursor is None:
        return 0, cursor
    name, bar, rest = cursor.partition("!")
    if not bar or name not in names:
        raise InvalidArgument("this cursor is not one of a listing with these routes; start again without it")
    return names.index(name), rest or None


def _listed(item: Listed, tier: MemoryTier) -> ListedKey:
    return ListedKey(
        key=item.key,
        version=item.version,
        tier=tier,
        size=item.size,
        raw_size=item.raw_size,
        expires=instant(item.expires_ms),
        modified=instant(item.modified_ms),
        tags=item.tags or {},
    )
