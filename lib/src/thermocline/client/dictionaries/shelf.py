"""The dictionaries in one tier's notes: a note that describes each, its bytes in notes of `PART`, and one that names the latest."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

import msgspec

from thermocline.client.reads import Notebook
from thermocline.clock import Deadline
from thermocline.codec import LATEST, Dictionary, id_of, id_text
from thermocline.errors import Conflict, InvalidArgument, UnknownDictionary

PART: Final = 32_000  # bytes of one note; a note holds 32,768
FORMAT: Final = 1
_ROOT: Final = "dictionary/"
_OWN: Final = re.compile(r"([0-9a-f]{8})(?:\.|$)")
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class DictionaryInfo:
    """What is known of a stored dictionary. ``size`` in bytes, ``trained_ms`` since 1970, of ``samples`` values below ``scope`` (None: of the whole tenant)
    whose names begin with ``prefix``. ``shared_by``: in how many scopes each fragment of it stood at least; 1: it may hold what is one scope's alone.
    ``raw``, ``without``, ``packed``: bytes of values that it was not trained with: as they are, compressed without it and with it."""

    id: str
    tenant: str
    size: int
    sha256: str
    trained_ms: int
    samples: int
    shared_by: int
    raw: int
    without: int
    packed: int
    scope: str | None = None
    prefix: str = ""
    level: int = 3
    format: int = FORMAT

    @property
    def gain(self) -> float:
        """Which part of the stored bytes it saved: 0.5 is a half."""
        return 1 - self.packed / self.without if self.without else 0.0


class Shelf:
    """The dictionaries in one tier's notes."""

    def __init__(self, book: Notebook) -> None:
        self._book = book

    async def info(self, tenant: str, number: int, deadline: Deadline) -> DictionaryInfo | None:
        """None: there is none. Raises `UnknownDictionary` for a description that cannot be read, `TierUnavailable`."""
        note = await self._book.read(_name(tenant, number), deadline)
        if note is None:
            return None
        try:
            found = msgspec.json.decode(note.data, type=DictionaryInfo)
        except msgspec.MsgspecError as error:
            raise UnknownDictionary(f"what is kept of dictionary {id_text(number)} is damaged: {error}") from error
        if found.format != FORMAT or found.id != id_text(number):
            raise UnknownDictionary(
                f"what is kept of dictionary {id_text(number)} is of a newer format: upgrade this program"
            )
        return found

    async def read(self, tenant: str, number: int, deadline: Deadline) -> Dictionary | None:
        """None: there is none. Raises `UnknownDictionary` for one that is not whole, `TierUnavailable`."""
        info = await self.info(tenant, number, deadline)
        if info is None:
            return None
        names = _parts(tenant, number, info.sha256, info.size)
        parts = [await self._book.read(name, deadline) for name in names]
        content = b"".join(part.data for part in parts if part is not None)
        if hashlib.sha256(content).hexdigest() != info.sha256:
            raise UnknownDictionary(
                f"dictionary {info.id} is damaged: its bytes do not fit their checksum, or a part is missing"
            )
        made = Dictionary(content)
        if made.id != number:
            raise UnknownDictionary(f"the dictionary that is kept as {info.id} is {made}")
        return made

    async def write(self, dictionary: Dictionary, info: DictionaryInfo, deadline: Deadline) -> bool:
        """Store it, and name it the latest. False: it was there already. Its description is written last, so that half of one is none. Raises `Conflict` if
        another dictionary has this number."""
        tenant, number = info.tenant, dictionary.id
        there = await self.info(tenant, number, deadline)
        if there is not None and there.sha256 != dictionary.sha256:
            raise Conflict(
                f"another dictionary of this tenant has the number {dictionary} by chance: train again with other samples"
            )
        names = _parts(tenant, number, dictionary.sha256, len(dictionary.content))
        for place, name in enumerate(names):
            data = dictionary.content[place * PART : (place + 1) * PART]
            await self._book.call(self._book.notes.write_note, name, data, deadline=deadline)
        if there is None:
            data = msgspec.json.encode(info)
            await self._book.call(self._book.notes.write_note, _name(tenant, number), data, deadline=deadline)
        await self._book.call(self._book.notes.write_note, _latest(tenant), info.id.encode(), deadline=deadline)
        return there is None

    async def latest(self, tenant: str, deadline: Deadline) -> int | None:
        """The number of the one that was stored last; None: the tenant has none. Raises `UnknownDictionary` where the note that says so is damaged."""
        note = await self._book.read(_latest(tenant), deadline)
        try:
            return None if note is None else id_of(note.data.decode("ascii", "replace"))
        except InvalidArgument as error:
            raise UnknownDictionary(
                "the note that names a tenant's latest dictionary is damaged: a new training writes it anew"
            ) from error

    async def ids(self, tenant: str, deadline: Deadline) -> list[int]:
        """All of a tenant; also those of which only parts are there, as a training or a removal that was killed leaves them."""
        names = await self._names(tenant, deadline)
        return [*dict.fromkeys(int(found[1], 16) for name in names if (found := _OWN.match(name)))]

    async def _names(self, tenant: str, deadline: Deadline) -> list[str]:
        """What is behind the folder in the names of its notes."""
        prefix, found, cursor = _folder(tenant), list[str](), None
        while True:
            names, cursor = await self._book.call(
                self._book.notes.list_notes, prefix, limit=_PAGE, cursor=cursor, deadline=deadline
            )
            found += [name.removeprefix(prefix) for name in names]
            if cursor is None:
                return found

    async def remove(self, tenant: str, number: int, deadline: Deadline) -> bool:
        """First what leads to it; then each part, also one that nothing leads to. Repeated, it goes on where it was killed. False: nothing was there."""
        folder, own = _folder(tenant), id_text(number)
        gone = sorted(name for name in await self._names(tenant, deadline) if name[:8] == own)
        latest = await self._book.read(_latest(tenant), deadline)
        if gone and latest is not None and latest.data == own.encode():
            gone.insert(0, LATEST)
        for name in gone:
            await self._book.call(self._book.notes.delete_note, folder + name, deadline=deadline)
        return bool(gone)

    async def holds(self, tenant: str, scope: str | None, number: int, deadline: Deadline) -> str:
        """In words, what a dictionary may hold of what was erased; empty: nothing."""
        try:
            info = await self.info(tenant, number, deadline)
        except UnknownDictionary as error:
            return str(error)
        if info is None:
            parts = f"parts of dictionary {id_text(number)} are left of a training or a removal that was cut short"
            return f"{parts}: remove them (thermocline dictionary remove)"
        if scope is not None and (info.shared_by > 1 or info.scope not in (None, scope)):
            return ""
        if scope is None:
            holds = f"holds fragments of the tenant's values that {info.shared_by} scopes shared"
        else:
            holds = "was trained with shared_by=1, and may hold fragments of the scope's values"
        return f"dictionary {info.id} {holds}: remove it once no record needs it (thermocline dictionary remove)"


def _folder(tenant: str) -> str:
    return f"{_ROOT}{hashlib.sha256(tenant.encode()).hexdigest()[:40]}/"  # a tenant may have any characters


def _name(tenant: str, number: int) -> str:
    return _folder(tenant) + id_text(number)


def _latest(tenant: str) -> str:
    return _folder(tenant) + LATEST


def _parts(tenant: str, number: int, sha256: str, size: int) -> list[str]:
    """With the digest in the name: two dictionaries of one number do not share parts."""
    return [f"{_name(tenant, number)}.{sha256[:16]}.{place}" for place in range(-(-size // PART))]
