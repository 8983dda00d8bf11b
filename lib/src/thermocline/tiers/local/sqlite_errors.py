"""The one door from sqlite3's errors to ours."""

import sqlite3
from collections.abc import Callable
from typing import Final

from thermocline.errors import (
    AccessDenied,
    ClientClosed,
    ConfigurationError,
    ThermoclineError,
    TierDamaged,
    TierFull,
    TierTimeout,
    TierUnavailable,
    TooLarge,
)

TIER: Final = "warm"

_BUSY: Final = "another process or connection holds {path} locked; try again, or give the call more time"
_FULL: Final = (
    "{path} cannot grow: its disk, a quota, a file size limit or its max_bytes is full; free space or raise the limit"
)
_DAMAGED: Final = (
    "{path} is damaged or no database of ours; nothing in it was changed. Restore it from a backup, or move it away to begin anew; "
    "`sqlite3 FILE .recover` may save what is readable"
)
_DENIED: Final = (
    "{path} or its folder cannot be written; give this user write access to the file, its -wal and -shm, and the folder"
)
_MISSING: Final = (
    "{path} cannot be opened; check that its folder exists, is on a local disk, and that a file can be made there"
)
_DISK: Final = "{path} could not be read or written; look at the disk and the system's log"
_INTERNAL: Final = "SQLite refused a statement on {path}"

# By SQLite's primary result code, as its name without SQLITE_ (https://sqlite.org/rescode.html).
KINDS: Final[dict[str, tuple[type[ThermoclineError], str]]] = {
    "BUSY": (TierTimeout, _BUSY),
    "LOCKED": (TierTimeout, _BUSY),
    "PROTOCOL": (TierTimeout, _BUSY),
    "INTERRUPT": (TierTimeout, "a statement on {path} did not end in time"),
    "FULL": (TierFull, _FULL),
    "TOOBIG": (TooLarge, "a record is larger than SQLite holds (1 GB); store it in cold"),
    "CORRUPT": (TierDamaged, _DAMAGED),
    "NOTADB": (TierDamaged, _DAMAGED),
    "FORMAT": (TierDamaged, _DAMAGED),
    "ERROR": (TierDamaged, _DAMAGED),  # "no such table" and the like
    "SCHEMA": (TierDamaged, _DAMAGED),
    "MISMATCH": (TierDamaged, _DAMAGED),
    "CONSTRAINT": (TierDamaged, _DAMAGED),
    "READONLY": (AccessDenied, _DENIED),
    "PERM": (AccessDenied, _DENIED),
    "AUTH": (AccessDenied, _DENIED),
    "CANTOPEN": (ConfigurationError, _MISSING),
    "IOERR": (TierUnavailable, _DISK),
    "NOLFS": (TierUnavailable, "{path} is larger than this system can address"),
    "NOMEM": (TierUnavailable, "there is no memory left to work on {path}"),
    "ABORT": (TierUnavailable, _INTERNAL),
    "EMPTY": (TierUnavailable, _INTERNAL),
    "INTERNAL": (TierUnavailable, _INTERNAL),
    "MISUSE": (TierUnavailable, _INTERNAL),
    "NOTFOUND": (TierUnavailable, _INTERNAL),
    "RANGE": (TierUnavailable, _INTERNAL),
    "NOTICE": (TierUnavailable, _INTERNAL),
    "WARNING": (TierUnavailable, _INTERNAL),
}

# Extended codes that say something else than their primary code.
EXTENDED: Final[dict[str, tuple[type[ThermoclineError], str]]] = {
    "IOERR_WRITE": (TierFull, _FULL),  # EFBIG (a file size limit) and EDQUOT (a quota) come as this
    "IOERR_SHMSIZE": (TierFull, _FULL),
    "IOERR_NOMEM": KINDS["NOMEM"],
    "IOERR_CORRUPTFS": (TierDamaged, _DAMAGED),
    "IOERR_DATA": (TierDamaged, _DAMAGED),
    "IOERR_AUTH": (AccessDenied, _DENIED),
    "IOERR_ACCESS": (AccessDenied, _DENIED),
}

# By exception class, where SQLite gave no code: the module's own complaints.
CLASSES: Final[dict[type[Exception], tuple[type[ThermoclineError], str]]] = {
    sqlite3.Warning: (TierUnavailable, _INTERNAL),
    sqlite3.Error: (TierUnavailable, _INTERNAL),
    sqlite3.InterfaceError: (TierUnavailable, _INTERNAL),
    sqlite3.DatabaseError: (TierUnavailable, _INTERNAL),
    sqlite3.DataError: KINDS["TOOBIG"],
    sqlite3.OperationalError: (TierDamaged, _DAMAGED),  # text that is no UTF-8
    sqlite3.IntegrityError: (TierDamaged, _DAMAGED),
    sqlite3.InternalError: (TierUnavailable, _INTERNAL),
    sqlite3.ProgrammingError: (ClientClosed, "{path} was closed meanwhile"),
    sqlite3.NotSupportedError: (TierUnavailable, _INTERNAL),
}


def code_of(error: sqlite3.Error) -> str:
    """SQLite's extended result code by name, without ``SQLITE_``; empty if there is none."""
    return str(getattr(error, "sqlite_errorname", "") or "").removeprefix("SQLITE_")


def map_error(error: sqlite3.Error, path: str, *, sent: bool = False) -> ThermoclineError:
    """Our error for one of sqlite3. ``sent``: whether a write may have taken effect all the same."""
    code = code_of(error)
    kind, text = (
        EXTENDED.get(code) or KINDS.get(code.partition("_")[0]) or CLASSES.get(type(error)) or CLASSES[sqlite3.Error]
    )
    message = f"{text.format(path=path)} (SQLite: {error}{', ' + code if code else ''})"
    if issubclass(kind, TierUnavailable):
        return kind(message, tier=TIER, sent=sent)
    plain: Callable[[str], ThermoclineError] = kind
    return plain(message)
