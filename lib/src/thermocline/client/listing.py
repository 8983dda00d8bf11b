"""Listing keys from the authority, page by page."""

from typing import Any

from thermocline.client.engine import Engine
from thermocline.client.result import ListedKey, Listing
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument
from thermocline.model import DEFAULT_TENANT, Key, MemoryTier, instant, plain_scopes
from thermocline.protocols import Listed, Page


class Listings:
    """The listing verb of one client."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def page(
        self, prefix: str, *, scope: str | None, tenant: str | None, limit: int, cursor: str | None, deadline: Deadline
    ) -> Listing:
        given: Any = (prefix, cursor or "")
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
        engine = self._engine
        plan = engine.routes.route(Key(tenant, scope, prefix or "*"))
        authority, guard = engine.authority(plan.authority), engine.guards[plan.tier]

        async def scan(*, deadline: Deadline) -> Page:
            return await authority.scan(tenant, scope, prefix, limit=limit, cursor=cursor, deadline=deadline)

        page = await guard.call("list", scan, deadline=deadline, times=4)
        now = engine.now_ms()
        live = [item for item in page.items if not 0 < item.expires_ms <= now]
        return [(item, MemoryTier.COLD if item.pointer else plan.tier) for item in live], page.cursor


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
