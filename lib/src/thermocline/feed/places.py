"""Where dead letters are kept: in a container of Cosmos DB beside the memory's, or, with the embedded tiers, among the library's notes."""

import json
import zlib
from typing import Final

from thermocline.client import MemoryClient
from thermocline.clock import Deadline
from thermocline.cursors import pack_place, unpack_place
from thermocline.errors import ConfigurationError, CorruptRecord
from thermocline.letters import (
    LASTING,
    PAGE,
    HasLetters,
    Letter,
    LetterFilter,
    LetterPage,
    Letters,
    check_page,
    letter_of,
)
from thermocline.protocols import Notes

CONTAINER: Final = "dead-letters"
_PREFIX: Final = "letters/"
_LONGEST: Final = 1_000_000  # bytes of a letter; nothing that is written here comes near it


def letters_of(client: MemoryClient, container: str = CONTAINER) -> Letters:
    """The place for the dead letters of this memory; not connected. Raises `ConfigurationError` where there is none."""
    tiers: tuple[object, ...] = (client.warm, client.cold)
    for tier in tiers:
        if isinstance(tier, HasLetters):
            return tier.letters(container)
    for tier in tiers:
        if isinstance(tier, Notes):
            return NoteLetters(tier)
    raise ConfigurationError("dead letters need a place: a warm tier, as Cosmos DB or SQLite")


def needs_hot(client: MemoryClient) -> None:
    """Raise `ConfigurationError` for a client without hot: nothing could be told there, yet the feed would be marked as read and letters as settled."""
    if client.hot is None:
        raise ConfigurationError(
            "this memory has no hot tier (REDIS_HOST or REDIS_URL), so what the change feed says would be told to nobody: name it first"
        )


class NoteLetters:
    """Plays `Letters` on a tier that plays `Notes`. Each letter is a note ``letters/`` id: zlib of JSON."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    async def connect(self) -> None:
        """The tier is connected by its client."""

    async def close(self) -> None:
        """The tier is closed by its client."""

    async def put(self, letter: Letter, *, deadline: Deadline) -> None:
        tenant, scope = letter.partition
        data = zlib.compress(json.dumps({"tenant": tenant, "scope": scope, **letter.fields()}).encode())
        await self._notes.write_note(_PREFIX + letter.id, data, lasting=LASTING, deadline=deadline)

    async def read(self, letter_id: str, *, deadline: Deadline) -> Letter | None:
        note = await self._notes.read_note(_PREFIX + letter_id, deadline=deadline)
        if note is None:
            return None
        try:
            unpacked = zlib.decompressobj()
            fields = json.loads(unpacked.decompress(note.data, _LONGEST))
            return letter_of(letter_id, str(fields["tenant"]), str(fields["scope"]), fields, note.etag)
        except (zlib.error, ValueError, TypeError, KeyError) as error:
            raise CorruptRecord(f"the dead letter {letter_id} is damaged: drop it by its id") from error

    async def page(
        self, wanted: LetterFilter, *, limit: int = PAGE, cursor: str | None = None, deadline: Deadline
    ) -> LetterPage:
        """A page may be short and still have a cursor. A letter that is damaged is passed over."""
        check_page(limit)
        place = None if cursor is None else unpack_place(wanted.named, cursor)
        names, following = await self._notes.list_notes(_PREFIX, limit=limit, cursor=place, deadline=deadline)
        letters = []
        for name in names:
            try:
                letter = await self.read(name.removeprefix(_PREFIX), deadline=deadline)
            except CorruptRecord:
                continue
            if letter is not None and wanted.takes(letter):
                letters.append(letter)
        return LetterPage(letters, None if following is None else pack_place(wanted.named, following))

    async def drop(self, letter: Letter, *, deadline: Deadline) -> bool:
        return await self._notes.delete_note(_PREFIX + letter.id, if_etag=letter.etag, deadline=deadline)

    async def discard(self, letter_id: str, *, deadline: Deadline) -> bool:
        note = await self._notes.read_note(_PREFIX + letter_id, deadline=deadline)
        if note is None:
            return False
        return await self._notes.delete_note(_PREFIX + letter_id, if_etag=note.etag, deadline=deadline)
