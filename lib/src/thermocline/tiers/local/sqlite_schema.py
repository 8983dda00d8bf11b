"""The tables of `SqliteMemory`'s file, and how those of an older file become them. All of it runs in a transaction of the caller's."""

import sqlite3
from pathlib import Path
from typing import Final

from thermocline.errors import ConfigurationError, UnreadableRecord

SCHEMA_VERSION: Final = 2
APPLICATION: Final = 0x54434D31  # "TCM1", in the file's header

_NOTES: Final = "CREATE TABLE notes (name TEXT PRIMARY KEY, data BLOB NOT NULL, etag TEXT NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID"

SCHEMA: Final = (
    """CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL, scope TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, format INTEGER NOT NULL, flags INTEGER NOT NULL,
        expires_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL, purge_ms INTEGER NOT NULL,
        size INTEGER NOT NULL, raw_size INTEGER NOT NULL, tags TEXT, writes TEXT NOT NULL,
        record BLOB NOT NULL, moves INTEGER NOT NULL DEFAULT 0)""",
    "CREATE UNIQUE INDEX records_key ON records (tenant, scope, name)",
    "CREATE INDEX records_due ON records (purge_ms) WHERE purge_ms > 0",
    _NOTES,
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

# What makes the next version of a file of this one. A program of the older version that has the file open goes on well, and opens it no more.
_STEPS: Final = {
    1: ("ALTER TABLE records ADD COLUMN moves INTEGER NOT NULL DEFAULT 0", _NOTES),
}


def found_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema's version in the file; 0: it is empty, to be furnished. Raises `ConfigurationError` for another program's file, `UnreadableRecord` for
    one of a newer version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == 0 and version == 0 and tables == 0:
        return 0
    if application != APPLICATION or type(version) is not int or version < 1:
        raise ConfigurationError(f"{path} is another program's database, and was left as it is; give another path")
    if version > SCHEMA_VERSION:
        raise UnreadableRecord(
            f"{path} was written by a newer version (schema {version}; this one knows {SCHEMA_VERSION}): upgrade this program"
        )
    return version


def furnish(connection: sqlite3.Connection, version: int) -> None:
    """Make the tables of this version from those of ``version``; 0: from nothing."""
    if version == 0:
        for statement in SCHEMA:
            connection.execute(statement)
        return
    for old in range(version, SCHEMA_VERSION):
        for statement in _STEPS[old]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
