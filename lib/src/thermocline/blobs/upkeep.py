"""What the tiers share that play `Census`, `Purges` and `Notes`: what they are given is checked, cursors are made, and a record is told. Pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from thermocline.codec import Codec
from thermocline.cursors import pack_place, unpack_place
from thermocline.errors import CorruptRecord, InvalidArgument, ThermoclineError, TooLarge, UnreadableRecord
from thermocline.model import Envelope, Flags, Header, Key
from thermocline.protocols import Inventory, Stored, Verb, Write

NOTE_BYTES: Final = 32_768
NOTE_NAME: Final = 200  # characters
_NOTE: Final = re.compile(r"[a-z0-9._/-]*")
_CODEC: Final = Codec()


# --- records ---------------------------------------------------------------------------------------------------------


def check_census(tenant: str | None, scope: str | None, limit: int) -> None:
    """Raise `InvalidArgument` (`InvalidKey`) for a scope without its tenant, parts that no key has, and a page without room."""
    if tenant is None and scope is not None:
        raise InvalidArgument("a census of a scope needs the scope's tenant")
    if tenant is not None:
        Key(tenant, "x" if scope is None else scope, "x")
    check_limit(limit)


def check_limit(limit: int) -> None:
    """Raise `InvalidArgument` for what is no number of records from 1 to 2**31 - 1."""
    if type(limit) is not int or not 0 < limit < 2**31:
        raise InvalidArgument(f"a limit is a whole number from 1 to 2**31 - 1, not {limit!r}")


def check_move(old: Envelope, new: Envelope) -> None:
    """Raise `InvalidArgument` for what is no relocation: the copy has its mark, both are the same version of one live key, and no time differs."""
    if old.etag is None or old.key != new.key:
        raise InvalidArgument("relocate takes an envelope as it was read from this tier, and one of the same key")
    if old.tombstone or new.tombstone or _lasting(old.header) != _lasting(new.header):
        raise InvalidArgument(f"{old.key}: relocate changes where a payload lies, and neither version nor times")


def _lasting(header: Header) -> tuple[int, ...]:
    return (header.version, header.authority, header.expires_ms, header.created_ms, header.modified_ms)


def check_atomic(writes: Sequence[Write], most: int) -> None:
    """Raise `InvalidArgument` for writes that cannot be taken as one."""
    if len(writes) > most:
        raise InvalidArgument(f"at most {most} writes can be one here, not {len(writes)}: write them in several parts")
    keys = {write.key for write in writes}
    if len(keys) < len(writes):
        raise InvalidArgument(
            "writes that are taken as one have different keys: leave the earlier one of the same key out"
        )
    if len({(key.tenant, key.scope) for key in keys}) > 1:
        raise InvalidArgument("writes that are taken as one are of one tenant and one scope")
    for write in writes:
        if write.if_absent and (write.if_version is not None or write.verb is not Verb.PUT):
            raise InvalidArgument("if_absent goes with a put, and not with if_version")


def stored_of(envelope: Envelope) -> Stored:
    """The record as a census tells it. Raises `CorruptRecord` for a pointer that cannot be read."""
    pointer = _CODEC.pointer_of(envelope) if envelope.pointer else None
    return Stored(
        envelope.key,
        envelope.header,
        len(envelope.payload) if pointer is None else pointer.size,
        pointer,
        envelope.tags,
        envelope.media_type,
        envelope.etag,
    )


def died_ms(header: Header) -> int:
    """When the record was deleted or will have expired, in ms since 1970; of one that was written already expired, when it was written. 0: never."""
    if header.flags & Flags.TOMBSTONE:
        return header.modified_ms
    return max(header.expires_ms, header.modified_ms) if header.expires_ms else 0


def census_of(
    answers: Iterable[tuple[str, Stored | ThermoclineError | None]],
    tenant: str | None,
    scope: str | None,
    cursor: str | None,
) -> Inventory:
    """A census's page of what was answered for each place, which is named for those that are damaged. None: nothing of ours. Raises what kept a
    record from being read."""
    inventory = Inventory([], cursor)
    for where, found in answers:
        if isinstance(found, CorruptRecord | UnreadableRecord):
            inventory.damaged.append(f"{where}: {found}")
        elif isinstance(found, ThermoclineError):
            raise found
        elif found is not None and tenant in (None, found.key.tenant) and scope in (None, found.key.scope):
            inventory.items.append(found)
    return inventory


def pack_census(tenant: str | None, scope: str | None, place: str) -> str:
    """The cursor of a census that goes on behind ``place``."""
    return pack_place(("census", tenant, scope, None), place)


def unpack_census(tenant: str | None, scope: str | None, cursor: str) -> str:
    """The place. Raises `InvalidArgument` for what is no cursor, or one of another census or listing."""
    return unpack_place(("census", tenant, scope, None), cursor)


# --- notes -----------------------------------------------------------------------------------------------------------


def check_note(name: str, data: bytes = b"", *, lasting: timedelta | None = None) -> None:
    """Raise `InvalidArgument` (`TooLarge`) for a name, data or lifetime that no note has."""
    given: Any = (name, data, lasting)
    if not isinstance(given[0], str) or not name or _NOTE.fullmatch(name) is None:
        raise InvalidArgument(f"a note's name has 1 to {NOTE_NAME} characters of a-z 0-9 . _ - /, unlike {name!r}")
    if len(name) > NOTE_NAME:
        raise TooLarge(f"a note's name has at most {NOTE_NAME} characters, not {len(name)}")
    if not isinstance(given[1], bytes):
        raise InvalidArgument(f"a note's data are bytes, not {type(given[1]).__name__}")
    if len(data) > NOTE_BYTES:
        raise TooLarge(f"a note holds at most {NOTE_BYTES} bytes, not {len(data)}")
    if given[2] is not None and (not isinstance(given[2], timedelta) or given[2] <= timedelta(0)):
        raise InvalidArgument(f"a note lasts for a timedelta of more than zero, or None for ever, not {lasting!r}")


def check_note_conditions(if_etag: str | None, if_absent: bool) -> None:
    """Raise `InvalidArgument` for conditions that exclude each other."""
    if if_etag is not None and if_absent:
        raise InvalidArgument("if_absent does not go with if_etag: a note that is there is not absent")


def check_notes(prefix: str, limit: int) -> None:
    """Raise `InvalidArgument` for a prefix that no note's name has, and a page without room."""
    given: Any = prefix
    if not isinstance(given, str) or _NOTE.fullmatch(prefix) is None:
        raise InvalidArgument(f"notes' names hold a-z 0-9 . _ - / only: none begins with {prefix!r}")
    check_limit(limit)


def note_until_ms(lasting: timedelta | None, now_ms: int) -> int:
    """Until when a note is kept, in ms since 1970, rounded up; 0: for ever."""
    return 0 if lasting is None else now_ms - -lasting // timedelta(milliseconds=1)


def pack_notes(prefix: str, last: str) -> str:
    """The cursor of a listing of notes that goes on behind the name ``last``."""
    return pack_place(("notes", prefix), last)


def unpack_notes(prefix: str, cursor: str) -> str:
    """The last name. Raises `InvalidArgument` for what is no cursor, or one of another listing."""
    return unpack_place(("notes", prefix), cursor)
