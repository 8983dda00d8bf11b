"""`CensusConformance`: counting all that an authority holds, page by page, while others write (and of no one else: P9)."""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.codec import Codec
from thermocline.errors import InvalidArgument
from thermocline.keys import payload_path
from thermocline.model import Envelope, Key, Pointer
from thermocline.protocols import Census, Effect, Inventory, Stored, Verb, Versions, Write
from thermocline.testing.conformance.capabilities import Capability, needs
from thermocline.testing.conformance.samples import (
    FALSY,
    NASTY_NAMES,
    delete,
    new_id,
    new_key,
    new_word,
    put,
    sealed,
    soon,
)
from thermocline.testing.conformance.versions_base import VersionsBase

HOUR_MS = 3_600_000
MOST_PAGES = 20_000


class Counted(Versions, Census, Protocol):
    """An authority with a census."""


class CensusConformance(VersionsBase):
    """Give it ``tier``, a `Versions` that is a `Census` too. Other tests' records may lie in the same store.

    ``damage(tier, key)`` changes the record from outside so that the census cannot read it (`Capability.DAMAGE`); ``reopen(tier)`` gives another instance
    on the same store (`Capability.PERSISTENCE`), which the suite closes.
    """

    async def use(self, tier: Any, deadline: Deadline) -> object:
        key = new_key()
        return await tier.census(tenant=key.tenant, scope=key.scope, limit=1, cursor=None, deadline=deadline)

    async def page(
        self, tier: Census, tenant: str | None, scope: str | None, *, limit: int = 100, cursor: str | None = None
    ) -> Inventory:
        page = await tier.census(tenant=tenant, scope=scope, limit=limit, cursor=cursor, deadline=soon())
        assert len(page.items) <= limit
        return page

    async def counted(
        self,
        tier: Census,
        tenant: str | None,
        scope: str | None = None,
        *,
        limit: int = 100,
        cursor: str | None = None,
    ) -> list[Stored]:
        """All pages from ``cursor`` on. None of them may have damage."""
        items: list[Stored] = []
        for _ in range(MOST_PAGES):
            page = await self.page(tier, tenant, scope, limit=limit, cursor=cursor)
            assert page.damaged == [] or tenant is None  # other tests may have left some
            items += page.items
            cursor = page.cursor
            if cursor is None:
                return items
            await asyncio.sleep(0)  # others get their turn between the pages, where a tier answers without ever waiting
        pytest.fail("a census should end")

    async def fill(self, tier: Versions, keys: Iterable[Key]) -> None:
        answers = await tier.write_many([put(key, key.name[:50]) for key in keys], deadline=soon())
        assert all(getattr(answer, "effect", answer) is Effect.TOOK for answer in answers), answers

    # --- what it says ------------------------------------------------------------------------------------------------

    async def test_empty_scope_has_nothing(self, tier: Counted) -> None:
        key = new_key()

        assert await self.counted(tier, key.tenant, key.scope) == []
        assert await self.counted(tier, key.tenant) == []

    async def test_record_is_told_as_it_lies_there(self, tier: Counted, clock: Clock) -> None:
        key = new_key()
        expires = clock.wall_ms() + HOUR_MS
        given = sealed(key, "x" * 50_000, expires_ms=expires, media_type="text/x-own", tags={"colour": "blue"})
        await self.took(tier, Write(Verb.PUT, new_id(), given))

        [found] = await self.counted(tier, key.tenant, key.scope)

        envelope = await self.read(tier, key)
        assert (found.key, found.media_type, dict(found.tags)) == (key, "text/x-own", {"colour": "blue"})
        assert _told(found) == _told(envelope)
        assert found.header.raw_length >= 50_000
        assert found.size > 0
        assert found.pointer is None

    async def test_dead_records_are_counted(self, tier: Counted, clock: Clock) -> None:
        """As long as the tier holds them, and it holds them for the grace T."""
        live = new_key("live")
        deleted, expired = (Key(live.tenant, live.scope, name) for name in ("deleted", "expired"))
        await self.fill(tier, [live, deleted])
        gone = await self.took(tier, delete(deleted))
        over = await self.took(tier, put(expired, expires_ms=clock.wall_ms() - 1_000))

        found = {stored.key: stored.header for stored in await self.counted(tier, live.tenant, live.scope)}

        assert found.keys() == {live, deleted, expired}
        assert found[deleted].flags & 1
        assert found[deleted].version == gone
        assert found[expired].version == over
        assert found[expired].expired(clock.wall_ms())
        assert not found[live].flags

    async def test_falsy_values_are_counted(self, tier: Counted) -> None:
        scope = new_key()
        keys = {name: Key(scope.tenant, scope.scope, name) for name in FALSY}
        for name, key in keys.items():
            await self.took(tier, put(key, FALSY[name]))

        assert _names(await self.counted(tier, scope.tenant, scope.scope)) == sorted(FALSY)

    async def test_payload_in_cold_is_told_by_its_pointer(self, tier: Counted, clock: Clock) -> None:
        key = new_key()
        digest = "ab" * 32
        pointer = Pointer(payload_path(key, digest), digest, 777_777, clock.wall_ms())
        envelope = Codec().point(sealed(key, "x" * 9_000), pointer)
        await self.took(tier, Write(Verb.PUT, new_id(), envelope))

        [found] = await self.counted(tier, key.tenant, key.scope)

        assert found.pointer == pointer
        assert found.size == 777_777

    async def test_any_name_comes_back_whole(self, tier: Counted) -> None:
        scope = new_key()
        keys = [Key(scope.tenant, scope.scope, name) for name in NASTY_NAMES.values()]
        await self.fill(tier, keys)

        found = await self.counted(tier, scope.tenant, scope.scope, limit=4)

        assert {stored.key for stored in found} == set(keys)

    @pytest.mark.parametrize("part", ["/", "a/b", "..", "ü" * 400, "%00", "\x00", "{x}", "a|b", '"', "'", "A"])
    async def test_any_tenant_and_scope_will_do(self, tier: Counted, part: str) -> None:
        word = new_word()
        for key in (Key(part + word, part, "n"), Key(f"t{word}", part + word, "n")):
            await self.fill(tier, [key])
            assert [stored.key for stored in await self.counted(tier, key.tenant, key.scope)] == [key]
            assert [stored.key for stored in await self.counted(tier, key.tenant)] == [key]

    # --- pages -------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("limit", [1, 3, 7, 100])
    async def test_pages_hold_every_record_of_a_scope(self, tier: Counted, limit: int) -> None:
        scope = new_key()
        keys = [Key(scope.tenant, scope.scope, f"name/{number:02}") for number in range(10)]
        await self.fill(tier, keys)

        found = await self.counted(tier, scope.tenant, scope.scope, limit=limit)

        assert {stored.key for stored in found} == set(keys)

    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_pages_hold_every_record_of_a_tenant(self, tier: Counted, limit: int) -> None:
        tenant = new_key().tenant
        keys = [Key(tenant, f"s/{scope}", f"n{name}") for scope in ("a", "b", "a/b", "ä") for name in range(3)]
        await self.fill(tier, keys)

        found = await self.counted(tier, tenant, limit=limit)

        assert {stored.key for stored in found} == set(keys)

    async def test_whole_store_holds_every_tenant(self, tier: Counted) -> None:
        keys = [Key(new_key(str(tenant)).tenant, f"s{scope}", "n") for tenant in range(4) for scope in range(3)]
        await self.fill(tier, keys)

        found = await self.counted(tier, None, limit=50)

        assert {stored.key for stored in found} >= set(keys)

    async def test_what_is_there_throughout_appears(self, tier: Counted) -> None:
        """While others come and go between the pages, and it is itself overwritten."""
        scope = new_key()
        steady = [Key(scope.tenant, scope.scope, f"k{number:02}") for number in range(0, 30, 2)]
        fleeting = [Key(scope.tenant, scope.scope, f"k{number:02}") for number in range(1, 30, 2)]
        await self.fill(tier, steady + fleeting)

        seen: set[Key] = set()
        cursor = None
        for turn in range(1_000):
            page = await self.page(tier, scope.tenant, scope.scope, limit=4, cursor=cursor)
            seen |= {stored.key for stored in page.items}
            cursor = page.cursor
            if cursor is None:
                break
            for key in fleeting[turn % 5 :: 5]:
                await self.took(tier, delete(key))
            new = [Key(scope.tenant, scope.scope, f"k{turn:02}-new"), Key(scope.tenant, scope.scope, f"ka-{turn}")]
            await self.fill(tier, [*new, *steady[turn % 3 :: 3]])

        assert cursor is None
        assert seen >= set(steady)

    async def test_writer_who_never_rests_hides_nothing(self, tier: Counted) -> None:
        """Overwriting the same records all the time makes a census neither miss any nor end early."""
        tenant = new_key().tenant
        keys = [Key(tenant, f"s{number % 3}", f"n{number:02}") for number in range(24)]
        await self.fill(tier, keys)
        done = asyncio.Event()

        async def write_on() -> int:
            rounds = 0
            while not done.is_set():
                for key in keys[rounds % 2 :: 2]:
                    await self.took(tier, put(key, rounds))
                rounds += 1
                await asyncio.sleep(0)  # a tier may answer without ever waiting
            return rounds

        writer = asyncio.create_task(write_on())
        try:
            for _ in range(3):
                found = await self.counted(tier, tenant, limit=2)
                assert {stored.key for stored in found} == set(keys)
        finally:
            done.set()
            rounds = await writer
        assert rounds > 0

    @needs(Capability.PERSISTENCE)
    async def test_cursor_outlives_the_process(self, tier: Counted) -> None:
        """What another instance continues, it completes."""
        tenant = new_key().tenant
        keys = [Key(tenant, f"s{number % 2}", f"n{number:02}") for number in range(12)]
        await self.fill(tier, keys)
        first = await self.page(tier, tenant, None, limit=5)
        assert first.cursor is not None

        second: Any = await self.reopen(tier)
        try:
            rest = await self.counted(second, tenant, limit=5, cursor=first.cursor)
        finally:
            await second.close()

        assert {stored.key for stored in [*first.items, *rest]} == set(keys)
        assert len(rest) < len(keys)

    async def test_cursor_belongs_to_its_census(self, tier: Counted) -> None:
        scope = new_key()
        await self.fill(tier, [Key(scope.tenant, scope.scope, f"ab{number}") for number in range(8)])
        for tenant, part in ((scope.tenant, scope.scope), (scope.tenant, None)):
            cursor = (await self.page(tier, tenant, part, limit=2)).cursor
            assert cursor is not None

            for other in (
                (scope.tenant, scope.scope),
                (scope.tenant, None),
                (None, None),
                (scope.tenant, scope.scope + "x"),
                (scope.tenant + "x", scope.scope),
                (scope.tenant + "x", None),
            ):
                if other != (tenant, part):
                    with pytest.raises(InvalidArgument):
                        await self.page(tier, *other, limit=2, cursor=cursor)

    @pytest.mark.parametrize("cursor", ["", "x", "0", "%00", "e30=", "null", "💥", "A" * 5_000])
    async def test_cursor_that_was_never_given_out_is_refused(self, tier: Counted, cursor: str) -> None:
        key = new_key()
        await self.fill(tier, [key])
        for tenant, scope in ((key.tenant, key.scope), (key.tenant, None), (None, None)):
            with pytest.raises(InvalidArgument):
                await self.page(tier, tenant, scope, cursor=cursor)

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_page_without_room_is_refused(self, tier: Counted, limit: int) -> None:
        with pytest.raises(InvalidArgument):
            await tier.census(tenant="t", scope="s", limit=limit, cursor=None, deadline=soon())

    @pytest.mark.parametrize(("tenant", "scope"), [(None, "s"), ("", None), ("t", ""), ("t" * 2_000, None)])
    async def test_scope_needs_its_tenant_and_both_are_of_a_key(
        self, tier: Counted, tenant: str | None, scope: str | None
    ) -> None:
        with pytest.raises(InvalidArgument):
            await tier.census(tenant=tenant, scope=scope, limit=1, cursor=None, deadline=soon())

    # --- tenants and damage ------------------------------------------------------------------------------------------

    async def test_no_tenant_counts_anothers_records(self, tier: Counted) -> None:
        """P9: with tenants and scopes that were made to reach across."""
        word = new_word()
        victim = Key(f"v{word}", "user/1", "secret")
        await self.fill(tier, [victim, Key(f"v{word}", "user/2", "other")])
        tenants = [
            f"v{word[:-1]}", f"v{word}x", f"v{word}/user", f"v{word}/", f"v{word}%", f"v{word[:-1]}?", "*", "%", f"V{word}",
            f"v{word}\x00", f"v{word}' OR 1=1 --", f"x/../v{word}", "..", f"v{word} ", f"v{word}}}{{", f"v{word}~",
        ]  # fmt: skip
        scopes = [
            "user",
            "user/",
            "user/1/",
            "user/*",
            "%",
            "USER/1",
            "user/1\x00",
            "user/1/secret",
            "user/1' --",
            "..",
        ]

        for tenant in tenants:
            for scope in (None, "user/1", "1"):
                assert await self.counted(tier, tenant, scope) == [], f"{tenant!r} / {scope!r}"
        for scope in scopes:
            assert await self.counted(tier, victim.tenant, scope) == [], f"{scope!r}"
        assert [stored.key for stored in await self.counted(tier, victim.tenant, victim.scope)] == [victim]

    async def test_tenants_that_look_alike_are_apart(self, tier: Counted) -> None:
        word = new_word()
        keys = [Key(word + end, "s", "n") for end in ("", "t", "T", "t ", "t/s", "t\x00", "té", "te\u0301", "t~", "%")]
        await self.fill(tier, keys)

        for key in keys:
            assert [stored.key for stored in await self.counted(tier, key.tenant)] == [key]

    @needs(Capability.DAMAGE)
    @pytest.mark.parametrize("limit", [1, 2, 100])
    async def test_damaged_record_is_named_and_ends_nothing(self, tier: Counted, limit: int) -> None:
        scope = new_key()
        keys = [Key(scope.tenant, scope.scope, f"n{number}") for number in range(5)]
        for key in keys:
            await self.took(tier, put(key, b"some value" * 10))
        await self.damage(tier, keys[2])

        items, damaged = [], []
        cursor = None
        while True:
            page = await self.page(tier, scope.tenant, scope.scope, limit=limit, cursor=cursor)
            items += page.items
            damaged += page.damaged
            cursor = page.cursor
            if cursor is None:
                break

        assert _names(items) == ["n0", "n1", "n3", "n4"]
        assert len(damaged) == 1
        assert "n2" in damaged[0]


def _names(items: Iterable[Stored]) -> list[str]:
    return sorted(stored.key.name for stored in items)


def _told(record: Stored | Envelope) -> tuple[object, ...]:
    """What is the same in every representation: a tier may keep a value in a form of its own, of another size."""
    header = record.header
    return (
        header.flags,
        header.authority,
        header.version,
        header.expires_ms,
        header.created_ms,
        header.modified_ms,
        header.raw_length,
        dict(record.tags),
        record.media_type,
    )
