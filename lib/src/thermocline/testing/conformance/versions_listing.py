"""Listings: live keys of one scope by prefix, page by page, each exactly once, and of no one else (P9)."""

from collections.abc import Iterable

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.errors import InvalidArgument, TierTimeout
from thermocline.model import Key
from thermocline.protocols import Effect, Listed, Versions
from thermocline.testing.conformance.samples import delete, new_key, new_word, put, soon
from thermocline.testing.conformance.versions_base import VersionsBase

PREFIXES = [
    "",
    "a",
    "A",
    "ä",
    "e",
    "e\u0301",
    "%",
    "_",
    "*",
    "?",
    "[a",
    "\\",
    "'",
    '"',
    "/",
    "..",
    "a/",
    "\x00",
    "~",
    "{",
    "日",
]


class VersionListing(VersionsBase):
    async def listed(self, tier: Versions, scope: Key, prefix: str = "", *, limit: int = 100) -> list[Listed]:
        """All pages of a listing of ``scope``'s tenant and scope."""
        items: list[Listed] = []
        cursor = None
        for _ in range(1_000):
            page = await tier.scan(scope.tenant, scope.scope, prefix, limit=limit, cursor=cursor, deadline=soon())
            assert len(page.items) <= limit
            items += page.items
            cursor = page.cursor
            if cursor is None:
                return items
        pytest.fail("a listing should end")

    async def fill(self, tier: Versions, scope: Key, names: Iterable[str]) -> None:
        writes = [put(Key(scope.tenant, scope.scope, name), name) for name in names]
        answers = await tier.write_many(writes, deadline=soon())
        assert all(getattr(answer, "effect", answer) is Effect.TOOK for answer in answers), answers

    async def test_empty_scope_is_an_empty_page(self, tier: Versions) -> None:
        assert await self.listed(tier, new_key()) == []

    async def test_listing_says_what_lies_there(self, tier: Versions, clock: Clock) -> None:
        key = new_key()
        expires = clock.wall_ms() + 3_600_000
        version = await self.took(tier, put(key, "x" * 50_000, expires_ms=expires))

        [item] = await self.listed(tier, key)

        envelope = await self.read(tier, key)
        assert (item.key, item.version, item.expires_ms, item.pointer) == (key, version, expires, False)
        assert item.modified_ms == envelope.header.modified_ms
        assert item.raw_size == envelope.header.raw_length >= 50_000
        assert item.size > 0

    @pytest.mark.parametrize("limit", [1, 3, 7, 100])
    async def test_pages_hold_every_key_once(self, tier: Versions, limit: int) -> None:
        scope = new_key()
        names = [f"name/{number:02}" for number in range(10)]
        await self.fill(tier, scope, names)

        items = await self.listed(tier, scope, limit=limit)

        assert sorted(item.key.name for item in items) == names
        assert {(item.key.tenant, item.key.scope) for item in items} == {(scope.tenant, scope.scope)}

    async def test_prefix_is_taken_by_code_point(self, tier: Versions) -> None:
        """Case counts, no character is a wildcard, and nothing is normalised."""
        scope = new_key()
        names = sorted(
            {start + end for start in PREFIXES[1:] for end in ("", "x", "/y")} | {"x" * 3_000, "x" * 3_000 + "y"}
        )
        await self.fill(tier, scope, names)

        for prefix in (*PREFIXES, "x" * 2_000, "x" * 3_000, "x" * 3_000 + "z"):
            found = sorted(item.key.name for item in await self.listed(tier, scope, prefix, limit=20))
            assert found == [name for name in names if name.startswith(prefix)], f"prefix {prefix[:20]!r}"

    async def test_dead_keys_are_absent(self, tier: Versions, clock: Clock) -> None:
        scope = new_key()
        names = ["deleted", "expired", "live", "revived"]
        keys = {name: Key(scope.tenant, scope.scope, name) for name in names}
        await self.fill(tier, scope, names)
        await self.took(tier, delete(keys["deleted"]))
        await self.took(tier, put(keys["expired"], expires_ms=clock.wall_ms() - 1_000))
        await self.took(tier, delete(keys["revived"]))
        await self.took(tier, put(keys["revived"], expires_ms=clock.wall_ms() + 3_600_000))

        assert sorted(item.key.name for item in await self.listed(tier, scope)) == ["live", "revived"]

    async def test_key_that_is_there_throughout_appears_once(self, tier: Versions) -> None:
        """While others come and go between the pages, and it is itself overwritten."""
        scope = new_key()
        steady = [f"k{number:02}" for number in range(0, 30, 2)]
        fleeting = [f"k{number:02}" for number in range(1, 30, 2)]
        await self.fill(tier, scope, steady + fleeting)

        seen: list[str] = []
        cursor = None
        for turn in range(1_000):
            page = await tier.scan(scope.tenant, scope.scope, "k", limit=4, cursor=cursor, deadline=soon())
            seen += [item.key.name for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break
            for name in fleeting[turn % 5 :: 5]:
                await self.took(tier, delete(Key(scope.tenant, scope.scope, name)))
            await self.fill(tier, scope, [f"k{turn:02}-new", f"ka-{turn}", *steady[turn % 3 :: 3]])

        assert cursor is None
        assert sorted(name for name in seen if name in steady) == steady
        assert len(seen) == len(set(seen))

    async def test_cursor_belongs_to_its_listing(self, tier: Versions) -> None:
        scope = new_key()
        await self.fill(tier, scope, [f"ab{number}" for number in range(8)])
        page = await tier.scan(scope.tenant, scope.scope, "a", limit=2, cursor=None, deadline=soon())
        cursor = page.cursor
        assert cursor is not None

        for tenant, other, prefix in (
            (scope.tenant, scope.scope, "ab"),
            (scope.tenant, scope.scope, ""),
            (scope.tenant, scope.scope + "x", "a"),
            (scope.tenant + "x", scope.scope, "a"),
        ):
            with pytest.raises(InvalidArgument):
                await tier.scan(tenant, other, prefix, limit=2, cursor=cursor, deadline=soon())

    @pytest.mark.parametrize("cursor", ["", "x", "0", "%00", "e30=", "null", "💥", "A" * 5_000])
    async def test_cursor_that_was_never_given_out_is_refused(self, tier: Versions, cursor: str) -> None:
        scope = new_key()
        await self.fill(tier, scope, ["a", "b"])

        with pytest.raises(InvalidArgument):
            await tier.scan(scope.tenant, scope.scope, "", limit=1, cursor=cursor, deadline=soon())

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_page_without_room_is_refused(self, tier: Versions, limit: int) -> None:
        with pytest.raises(InvalidArgument):
            await tier.scan("t", "s", "", limit=limit, cursor=None, deadline=soon())

    async def test_listing_past_its_deadline_is_a_timeout(self, tier: Versions, clock: Clock) -> None:
        with pytest.raises(TierTimeout):
            await tier.scan("t", "s", "", limit=1, cursor=None, deadline=Deadline.after(-1, clock))

    async def test_no_tenant_lists_anothers_keys(self, tier: Versions) -> None:
        """P9: with names, scopes and prefixes that were made to reach across."""
        word = new_word()
        victim = Key(f"v{word}", "user/1", "secret")
        await self.took(tier, put(victim, "secret"))
        attackers = [
            (f"v{word}/user", "1"), (f"v{word}", "user"), (f"v{word}", "user/"), (f"v{word}", "user/1/"), (f"v{word}", "user/*"),
            (f"v{word[:-1]}", "user/1"), (f"v{word}%", "user/1"), (f"v{word[:-1]}?", "user/1"), ("*", "user/1"), (f"v{word}", "%"),
            (f"V{word}", "user/1"), (f"v{word}", "USER/1"), (f"v{word}' OR 1=1 --", "user/1"), (f"v{word}\x00", "user/1"),
            (f"x/../v{word}", "user/1"), ("..", f"v{word}/user/1"), (f"v{word}}}{{", "user/1"), (f"v{word} ", "user/1"),
        ]  # fmt: skip

        for tenant, scope in attackers:
            for prefix in ("", "s", "secret", "%", "*", "../", "1/secret", "/", "\\"):
                page = await tier.scan(tenant, scope, prefix, limit=50, cursor=None, deadline=soon())
                assert page.items == [], f"{tenant!r} / {scope!r} / {prefix!r} reaches {page.items}"
        assert [item.key for item in await self.listed(tier, victim)] == [victim]
