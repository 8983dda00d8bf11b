"""`NotesConformance`: the library's own small documents, out of reach of every key (P9)."""

import asyncio
from datetime import timedelta
from typing import Any, Protocol

import pytest

from thermocline.clock import Clock, Deadline
from thermocline.errors import InvalidArgument
from thermocline.model import Key
from thermocline.protocols import Census, Note, Notes, Versions
from thermocline.testing.clocks import ManualClock
from thermocline.testing.conformance.base import cancelled_after
from thermocline.testing.conformance.capabilities import Capability, needs
from thermocline.testing.conformance.samples import new_key, new_word, put, soon
from thermocline.testing.conformance.versions_base import VersionsBase

MOST_BYTES = 32_768
LONGEST = 200
NAMES = [
    "a",
    "0",
    ".",
    "..",
    "-",
    "_",
    "/",
    "//",
    "a/",
    "/a",
    "a//b",
    "../../x",
    "./a",
    "a/../b",
    "a.b",
    "a-b",
    "a_b",
    "con",
    "-rf",
    "tc1/h/t/s/n",
    "tc1.",
    "ends.",
    "x" * 150,
]
NO_NAMES = ["", "A", "ä", "a b", "a\\b", "a%2fb", "a\x00", "a\n", "~", "a:b", "*", "x" * (LONGEST + 1)]


class Noting(Versions, Notes, Protocol):
    """An authority with a place for notes."""


class NotesConformance(VersionsBase):
    """Give it ``tier``, a `Versions` that has `Notes` too. Each test's names are its own, below a word that no other test has."""

    async def use(self, tier: Any, deadline: Deadline) -> object:
        return await tier.read_note(f"{new_word()}/none", deadline=deadline)

    async def write(self, tier: Notes, name: str, data: bytes, **options: Any) -> Note:
        """Write a note that has to be taken."""
        note = await tier.write_note(name, data, deadline=soon(), **options)
        assert note is not None, f"{name!r} should be written"
        assert (note.name, note.data) == (name, data)
        return note

    async def names(self, tier: Notes, prefix: str, *, limit: int = 100) -> list[str]:
        """All pages of a listing."""
        names: list[str] = []
        cursor = None
        for _ in range(1_000):
            page, cursor = await tier.list_notes(prefix, limit=limit, cursor=cursor, deadline=soon())
            assert len(page) <= limit
            names += page
            if cursor is None:
                return names
        pytest.fail("a listing should end")

    # --- one note ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("data", [b"", b"\x00", b"{}", bytes(range(256)) * 128], ids=len)
    async def test_data_comes_back_as_it_went_in(self, tier: Noting, data: bytes) -> None:
        name = f"{new_word()}/data"
        written = await self.write(tier, name, data)

        assert await tier.read_note(name, deadline=soon()) == written

    async def test_note_that_is_not_there_is_none(self, tier: Noting) -> None:
        name = f"{new_word()}/none"

        assert await tier.read_note(name, deadline=soon()) is None
        assert await tier.delete_note(name, deadline=soon()) is False

    @pytest.mark.parametrize("name", NAMES, ids=repr)
    async def test_any_allowed_name_will_do(self, tier: Noting, name: str) -> None:
        word = new_word()
        for whole in (f"{word}{name}", f"{word}/{name}", f"{word}{name}/z"):
            await self.write(tier, whole, whole.encode())

        for whole in (f"{word}{name}", f"{word}/{name}", f"{word}{name}/z"):
            note = await tier.read_note(whole, deadline=soon())
            assert note is not None
            assert note.data == whole.encode()
        assert await self.names(tier, word) == sorted({f"{word}{name}", f"{word}/{name}", f"{word}{name}/z"})

    async def test_names_begin_with_what_they_like(self, tier: Noting) -> None:
        """Dots and slashes too, which lead out of no folder."""
        for start in (".", "..", "/", "../", "../../", "-", "_", "//", "./"):
            name = start + new_word()
            await self.write(tier, name, b"x")
            assert (await self.names(tier, name)) == [name]
            assert await tier.delete_note(name, deadline=soon())

    async def test_longest_name(self, tier: Noting) -> None:
        word = new_word()
        for filler in ("x", ".", "/", "_"):
            name = word + filler * (LONGEST - len(word))
            await self.write(tier, name, filler.encode())
            assert await self.names(tier, name) == [name]

    @pytest.mark.parametrize("name", NO_NAMES, ids=lambda name: repr(name)[:20])
    async def test_other_names_are_refused(self, tier: Noting, name: str) -> None:
        for call in (
            tier.read_note(name, deadline=soon()),
            tier.write_note(name, b"x", deadline=soon()),
            tier.delete_note(name, deadline=soon()),
        ):
            with pytest.raises(InvalidArgument):
                await call

    async def test_data_above_the_bound_is_refused(self, tier: Noting) -> None:
        name = f"{new_word()}/big"
        await self.write(tier, name, b"x" * MOST_BYTES)

        with pytest.raises(InvalidArgument):
            await tier.write_note(name, b"y" * (MOST_BYTES + 1), deadline=soon())

        note = await tier.read_note(name, deadline=soon())
        assert note is not None
        assert note.data == b"x" * MOST_BYTES

    async def test_each_write_changes_the_etag(self, tier: Noting) -> None:
        """Of the same data too, and over removal."""
        name = f"{new_word()}/n"
        seen = set()
        for _ in range(4):
            seen.add((await self.write(tier, name, b"same")).etag)
        await tier.delete_note(name, deadline=soon())
        seen.add((await self.write(tier, name, b"same")).etag)

        assert len(seen) == 5

    async def test_deleted_note_is_gone(self, tier: Noting) -> None:
        name = f"{new_word()}/n"
        await self.write(tier, name, b"x")

        assert await tier.delete_note(name, deadline=soon()) is True
        assert await tier.read_note(name, deadline=soon()) is None
        assert await tier.delete_note(name, deadline=soon()) is False
        assert await self.names(tier, name) == []

    # --- conditions --------------------------------------------------------------------------------------------------

    async def test_write_under_the_right_etag_takes_effect(self, tier: Noting) -> None:
        name = f"{new_word()}/n"
        first = await self.write(tier, name, b"1", if_absent=True)
        second = await self.write(tier, name, b"2", if_etag=first.etag)

        assert await tier.read_note(name, deadline=soon()) == second

    async def test_write_under_another_etag_is_none(self, tier: Noting) -> None:
        name = f"{new_word()}/n"
        first = await self.write(tier, name, b"1")
        second = await self.write(tier, name, b"2")

        assert await tier.write_note(name, b"3", if_etag=first.etag, deadline=soon()) is None
        assert await tier.delete_note(name, if_etag=first.etag, deadline=soon()) is False
        assert await tier.read_note(name, deadline=soon()) == second

    async def test_etag_of_what_is_gone_is_none(self, tier: Noting) -> None:
        name = f"{new_word()}/n"
        first = await self.write(tier, name, b"1")
        await tier.delete_note(name, if_etag=first.etag, deadline=soon())

        assert await tier.write_note(name, b"2", if_etag=first.etag, deadline=soon()) is None
        assert await tier.delete_note(name, if_etag=first.etag, deadline=soon()) is False
        assert await tier.read_note(name, deadline=soon()) is None

    async def test_if_absent_holds_once(self, tier: Noting) -> None:
        name = f"{new_word()}/n"
        first = await self.write(tier, name, b"", if_absent=True)

        assert await tier.write_note(name, b"2", if_absent=True, deadline=soon()) is None
        assert await tier.read_note(name, deadline=soon()) == first
        await tier.delete_note(name, deadline=soon())
        await self.write(tier, name, b"3", if_absent=True)

    async def test_conditions_that_exclude_each_other_are_refused(self, tier: Noting) -> None:
        with pytest.raises(InvalidArgument):
            await tier.write_note(f"{new_word()}/n", b"", if_etag="x", if_absent=True, deadline=soon())

    async def test_one_of_many_creators_takes_effect(self, tier: Noting) -> None:
        name = f"{new_word()}/n"
        answers = await asyncio.gather(
            *(tier.write_note(name, b"%d" % number, if_absent=True, deadline=soon()) for number in range(8))
        )

        winners = [answer for answer in answers if answer is not None]
        assert len(winners) == 1
        assert await tier.read_note(name, deadline=soon()) == winners[0]

    async def test_optimistic_writers_lose_no_count(self, tier: Noting) -> None:
        name = f"{new_word()}/counter"
        await self.write(tier, name, b"0")

        async def count() -> None:
            while True:
                note = await tier.read_note(name, deadline=soon())
                assert note is not None
                new = b"%d" % (int(note.data) + 1)
                if await tier.write_note(name, new, if_etag=note.etag, deadline=soon()) is not None:
                    return

        await asyncio.gather(*(count() for _ in range(6)))

        counted = await tier.read_note(name, deadline=soon())
        assert counted is not None
        assert counted.data == b"6"

    # --- listings ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_listing_is_in_order_and_by_prefix(self, tier: Noting, limit: int) -> None:
        word = new_word()
        names = [f"{word}{end}" for end in ("", "/a", "/a.", "/a/", "/a/b", "/a-b", "/a_b", "/ab", "/b", "0", "z", ".")]
        for name in names:
            await self.write(tier, name, b"x")

        assert await self.names(tier, word, limit=limit) == sorted(names)
        for prefix in ("/", "/a", "/a/", "/a.", "/c", "0"):
            expected = sorted(name for name in names if name.startswith(word + prefix))
            assert await self.names(tier, word + prefix, limit=limit) == expected

    async def test_everything_is_listed_by_no_prefix(self, tier: Noting) -> None:
        name = f"{new_word()}/n"
        await self.write(tier, name, b"x")

        found = await self.names(tier, "")

        assert name in found
        assert found == sorted(found)

    async def test_what_is_there_throughout_is_listed_once(self, tier: Noting) -> None:
        word = new_word()
        steady = [f"{word}/{number:02}" for number in range(0, 12, 2)]
        for number in range(12):
            await self.write(tier, f"{word}/{number:02}", b"x")
        seen: list[str] = []
        cursor = None
        for turn in range(100):
            page, cursor = await tier.list_notes(word, limit=2, cursor=cursor, deadline=soon())
            seen += page
            if cursor is None:
                break
            await tier.delete_note(f"{word}/{turn * 2 + 1:02}", deadline=soon())
            await self.write(tier, steady[turn % len(steady)], b"y")

        assert sorted(name for name in seen if name in steady) == steady

    @pytest.mark.parametrize("cursor", ["", "x", "null", "💥", "e30="])
    async def test_cursor_that_was_never_given_out_is_refused(self, tier: Noting, cursor: str) -> None:
        with pytest.raises(InvalidArgument):
            await tier.list_notes(new_word(), limit=1, cursor=cursor, deadline=soon())

    async def test_cursor_belongs_to_its_prefix(self, tier: Noting) -> None:
        word = new_word()
        for number in range(4):
            await self.write(tier, f"{word}/{number}", b"x")
        _, cursor = await tier.list_notes(word, limit=1, cursor=None, deadline=soon())
        assert cursor is not None

        with pytest.raises(InvalidArgument):
            await tier.list_notes(f"{word}/", limit=1, cursor=cursor, deadline=soon())

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_page_without_room_is_refused(self, tier: Noting, limit: int) -> None:
        with pytest.raises(InvalidArgument):
            await tier.list_notes("", limit=limit, cursor=None, deadline=soon())

    # --- time, processes, keys ---------------------------------------------------------------------------------------

    async def test_note_lasts_at_least_as_long_as_was_asked(self, tier: Noting, clock: Clock) -> None:
        word = new_word()
        for name, lasting in (("hour", timedelta(hours=1)), ("ever", None), ("first", timedelta(seconds=1))):
            await self.write(tier, f"{word}/{name}", b"x", lasting=lasting)
        await self.write(tier, f"{word}/first", b"y")  # now without an end
        if isinstance(clock, ManualClock):
            clock.advance(3_599)
        await self.write(tier, f"{word}/other", b"x")

        for name in ("hour", "ever", "first", "other"):
            assert await tier.read_note(f"{word}/{name}", deadline=soon()) is not None, name

    @pytest.mark.parametrize("lasting", [timedelta(0), timedelta(seconds=-1)], ids=str)
    async def test_lifetime_of_no_time_is_refused(self, tier: Noting, lasting: timedelta) -> None:
        with pytest.raises(InvalidArgument):
            await tier.write_note(f"{new_word()}/n", b"x", lasting=lasting, deadline=soon())

    @needs(Capability.PERSISTENCE)
    async def test_another_instance_reads_and_takes_over(self, tier: Noting) -> None:
        name = f"{new_word()}/n"
        written = await self.write(tier, name, b"kept")
        second: Any = await self.reopen(tier)
        try:
            assert await second.read_note(name, deadline=soon()) == written
            newer = await self.write(second, name, b"newer", if_etag=written.etag)
        finally:
            await second.close()

        assert await tier.read_note(name, deadline=soon()) == newer
        assert await tier.write_note(name, b"late", if_etag=written.etag, deadline=soon()) is None

    async def test_cancelled_write_happened_or_not(self, tier: Noting) -> None:
        """P10."""
        for turns in (0, 1, 2, 3, 5, 8, 13, 21):
            name = f"{new_word()}/n"
            first = await self.write(tier, name, b"first")
            await cancelled_after(turns, tier.write_note(name, b"second", if_etag=first.etag, deadline=soon()))
            note = await tier.read_note(name, deadline=soon())
            assert note is not None
            assert note.data in (b"first", b"second")

    async def test_no_key_reaches_a_note_and_no_note_a_key(self, tier: Noting) -> None:
        """P9: with names that were made to look like the other's place."""
        word = new_word()
        notes = [word, f"tc1/h/{word}/s/n", f"../{word}", f"{word}/s/n", f"tc1.{word}", f"n/{word}"]
        for name in notes:
            await self.write(tier, name, b"note")
        reaching = [
            Key(tenant, scope, name)
            for tenant in (word, "tc1", "notes", "..", "~notes")
            for scope in (word, "s", "n", "notes", "..", "thermocline")
            for name in (*notes, "n", f"note/{word}", f"tc1.note.{word}", f"../../n/{word}")
        ]
        assert await tier.read_many(reaching, deadline=soon()) == [None] * len(reaching)
        for key in reaching[:: len(reaching) // 12]:
            own = Key(f"{word}{key.tenant}", key.scope, key.name)  # other tests' keys are left alone
            await self.took(tier, put(own, "record"))

        for name in notes:
            note = await tier.read_note(name, deadline=soon())
            assert note is not None
            assert note.data == b"note"
        assert await self.names(tier, word) == sorted(name for name in notes if name.startswith(word))

    async def test_notes_are_in_no_listing_and_no_census(self, tier: Noting) -> None:
        key = new_key()
        word = new_word()
        await self.took(tier, put(key))
        for name in (word, f"{word}/s/n"):
            await self.write(tier, name, b"note")

        page = await tier.scan(key.tenant, key.scope, "", limit=10, cursor=None, deadline=soon())
        assert [item.key for item in page.items] == [key]
        cursor = None
        while isinstance(tier, Census):
            inventory = await tier.census(limit=100, cursor=cursor, deadline=soon())
            assert not any(word in str(stored.key) for stored in inventory.items)
            assert not any(word in damaged for damaged in inventory.damaged)
            cursor = inventory.cursor
            if cursor is None:
                break
