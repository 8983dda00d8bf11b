"""The database file behind `SqliteMemory`: connections, schema, transactions. All of it blocks; the tier calls it in its executor.

Three connections: one writes, one reads, one watches. The writing one also answers `data_version`, which does not move by its own commits. So a
commit of this process costs its hot entries nothing, and any other process' commit is noticed. The watching one answers while the writing one
waits for a lock. See docs/adrs/0005-embedded-tiers.md.
"""

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from thermocline.clock import Deadline
from thermocline.errors import (
    AccessDenied,
    ClientClosed,
    ConfigurationError,
    ThermoclineError,
    TierDamaged,
    TierTimeout,
)
from thermocline.tiers.local.sqlite_errors import TIER, code_of, map_error
from thermocline.tiers.local.sqlite_schema import SCHEMA_VERSION, found_version, furnish

_OPEN_WAIT: Final = 5.0  # seconds to wait for another process that is creating the file
_LOOK_WAIT: Final = 0.025  # seconds that the event loop waits for a commit under way before it assumes a foreign one
_PRIVATE_FOLDER: Final = 0o700  # what people said to an agent is nobody else's to read
_PRIVATE_FILE: Final = 0o600  # SQLite gives its log the same


class SqliteFile:
    """Opens, and creates, one database file. Safe to use from several threads: each connection has a lock of its own."""

    def __init__(self, path: Path, *, max_bytes: int | None, power_safe: bool) -> None:
        self.path: Final = path
        self._max_bytes = max_bytes
        self._synchronous = "FULL" if power_safe else "NORMAL"
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._held: int | None = None  # data_version, while the file's write lock is ours: nobody else can commit
        self._watcher: sqlite3.Connection | None = None
        self._watch_lock = threading.Lock()
        self._waiting: int | None = (
            None  # data_version, while we wait for another process that holds the file's write lock
        )
        self._watched = 0  # the watching connection's data_version, as of the last look while waiting
        self._unsure = 0  # how often a look had to assume a foreign commit, or saw one while waiting
        self._inode = (0, 0)

    # --- opening and closing ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Idempotent. Raises `ConfigurationError`, `AccessDenied`, `TierDamaged`, `UnreadableRecord`; leaves a file that is not ours as it is."""
        with self._write_lock, self._read_lock:
            if self._writer is not None:
                return
            self._prepare_place()
            opened: list[sqlite3.Connection] = []
            try:
                _make_private(self.path)
                for _ in range(3):
                    opened.append(self._connect())
                    if len(opened) == 1:
                        self._create(opened[0])
                opened[0].execute("PRAGMA busy_timeout = 0")  # it waits where it is said: see _begin
                for connection in opened[1:]:
                    connection.execute("PRAGMA query_only = 1")
                opened[2].execute("PRAGMA busy_timeout = 0")
                status = self.path.stat()
            except sqlite3.Error as error:
                raise map_error(error, str(self.path)) from error
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise _denied(self.path) from error
                raise ConfigurationError(f"{self.path} cannot be opened: {error.strerror}") from error
            else:
                self._writer, self._reader, self._watcher = opened
                self._inode = (status.st_dev, status.st_ino)
                self._unsure += 1  # what was committed while we were closed is unknown
            finally:
                if self._writer is None:
                    for connection in opened:
                        connection.close()

    def close(self) -> None:
        with self._write_lock, self._read_lock, self._watch_lock:
            try:
                for connection in (self._watcher, self._reader, self._writer):
                    if connection is not None:
                        connection.close()
            except sqlite3.Error as error:
                raise map_error(error, str(self.path)) from error
            finally:
                self._watcher = self._reader = self._writer = None

    def _prepare_place(self) -> None:
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
            if self.path.is_dir():
                raise ConfigurationError(f"{self.path} is a folder; give the path of a file")
            exists = self.path.exists()
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigurationError(f"{folder} is not a folder; give another path for the database") from error
        except PermissionError as error:
            raise AccessDenied(
                f"{folder} cannot be made or entered: {error.strerror}", tier=TIER, sent=False
            ) from error
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self.path} cannot be a database's path: {error}") from error
        for place in (folder, self.path) if exists else (folder,):
            if not os.access(place, os.W_OK):
                raise _denied(place)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_OPEN_WAIT, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            connection.execute("PRAGMA trusted_schema = 0")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("PRAGMA secure_delete = 1")  # what is overwritten or deleted leaves no bytes in the file
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")  # one view of the file: another process may be furnishing it just now
        try:
            found_version(connection, self.path)
        finally:
            _roll_back(connection)
        _switch_to_wal(connection, self.path)
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = found_version(connection, self.path)
            if version < SCHEMA_VERSION:
                furnish(connection, version)
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        if self._max_bytes is not None:
            page = connection.execute("PRAGMA page_size").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {max(8, self._max_bytes // page)}")

    def check(self, deadline: Deadline) -> None:
        """One cheap read, and whether the path still names the file that was opened."""
        with self.reading(deadline) as connection:
            connection.execute("SELECT 1 FROM records LIMIT 1").fetchone()
        try:
            status = self.path.stat()
        except OSError as error:
            raise TierDamaged(
                f"{self.path} has vanished while it was open: {error.strerror}", tier=TIER, sent=False
            ) from error
        if (status.st_dev, status.st_ino) != self._inode:
            raise TierDamaged(
                f"{self.path} was replaced while it was open; close and connect again to use the new file",
                tier=TIER,
                sent=False,
            )

    # --- reading and writing -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self, deadline: Deadline) -> Iterator[sqlite3.Connection]:
        """The reading connection, outside a transaction. sqlite3's errors come out as ours."""
        with self._locked(self._read_lock, deadline):
            connection = self._reader
            if connection is None:
                raise ClientClosed(f"{self.path} is not connected")
            try:
                yield connection
            except sqlite3.Error as error:
                raise map_error(error, str(self.path)) from error

    @contextlib.contextmanager
    def transaction(self, deadline: Deadline) -> Iterator["Transaction"]:
        """A write transaction: `Transaction.commit` makes it count, anything else undoes it."""
        with self._locked(self._write_lock, deadline):
            connection = self._writer
            if connection is None:
                raise ClientClosed(f"{self.path} is not connected")
            transaction = Transaction(self, connection)
            try:
                self._begin(connection, deadline)
                self._held = _data_version(connection)
                yield transaction
            except sqlite3.Error as error:
                raise self._after(error, connection, transaction) from error
            finally:
                self._undo(connection)

    def _begin(self, connection: sqlite3.Connection, deadline: Deadline) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not code_of(error).startswith("BUSY"):
                raise
        else:
            return
        with self._watch_lock:
            self._watched = _data_version(self._watching())
        # In this order: a commit between the two is seen by both, and counts twice rather than not at all.
        self._waiting = _data_version(connection)
        try:
            connection.execute(f"PRAGMA busy_timeout = {int(min(deadline.remaining() * 1000, 2**31 - 1))}")
            connection.execute("BEGIN IMMEDIATE")
        finally:
            self._waiting = None
            connection.execute("PRAGMA busy_timeout = 0")

    def _undo(self, connection: sqlite3.Connection) -> None:
        self._held = None  # first: a rollback gives the lock up
        try:
            _roll_back(connection)
        except sqlite3.Error as error:
            raise map_error(error, str(self.path)) from error

    def _after(
        self, error: sqlite3.Error, connection: sqlite3.Connection, transaction: "Transaction"
    ) -> ThermoclineError:
        """What a failed transaction is called. It certainly had no effect, unless the disk failed while it was being committed."""
        code = code_of(error)
        certain = not transaction.committing or not code.startswith("IOERR") or code == "IOERR_WRITE"
        self._undo(connection)
        if code in ("FULL", "IOERR_WRITE"):
            # Room in the log is made by moving it into the database; that this may fail as well is no news.
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return map_error(error, str(self.path), sent=not certain)

    @contextlib.contextmanager
    def _locked(self, lock: threading.Lock, deadline: Deadline) -> Iterator[None]:
        if not lock.acquire(timeout=min(deadline.remaining(), threading.TIMEOUT_MAX)):
            raise TierTimeout(f"{self.path} is busy with another call", tier=TIER, sent=False)
        try:
            yield
        finally:
            lock.release()

    # --- the fence of an embedded hot tier ---------------------------------------------------------------------------

    def data_version(self) -> int:
        """A number that is another one than before if any other connection may have committed since. For the event loop's thread: about 3 µs,
        25 ms at most while a commit is under way.

        While we hold the file's write lock, nobody else can commit, and the number that was read after it was taken is exact. While we are not in a
        transaction, SQLite is asked. While we wait for the lock, we commit nothing, and the watching connection sees nothing but foreign commits.
        While our commit takes longer than these 25 ms, a foreign one is assumed.
        """
        writer, held, waiting = self._writer, self._held, self._waiting
        if writer is None:
            raise ClientClosed(f"{self.path} is not connected")
        if (
            held is not None and writer.in_transaction
        ):  # a statement that fails may end the transaction before we hear of it
            return held + (self._unsure << 32)
        if waiting is not None:
            return self._look_beside(waiting)
        if self._write_lock.acquire(timeout=_LOOK_WAIT):
            try:
                if self._writer is None:
                    raise ClientClosed(f"{self.path} is not connected")
                return _data_version(self._writer) + (self._unsure << 32)
            except sqlite3.Error as error:
                raise map_error(error, str(self.path)) from error
            finally:
                self._write_lock.release()
        self._unsure += 1
        return self._unsure << 32

    def _look_beside(self, waiting: int) -> int:
        """What to answer while we wait. Should the wait have ended meanwhile, our own commit may be taken for a foreign one, never the reverse."""
        with self._watch_lock:
            try:
                now = _data_version(self._watching())
            except sqlite3.Error:  # it was locked out as well: a foreign commit is assumed
                now = -1
            if now < 0 or now != self._watched:
                self._watched = now
                self._unsure += 1
            return waiting + (self._unsure << 32)

    def _watching(self) -> sqlite3.Connection:
        if self._watcher is None:
            raise ClientClosed(f"{self.path} is not connected")
        return self._watcher

    def own_commit_begins(self) -> None:
        self._held = None


class Transaction:
    """One write transaction under way."""

    __slots__ = ("_connection", "_file", "committing")

    def __init__(self, file: SqliteFile, connection: sqlite3.Connection) -> None:
        self._file = file
        self._connection = connection
        self.committing = False

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def commit(self) -> None:
        self.committing = True
        self._file.own_commit_begins()  # before the lock is given up, or a look might miss the next commit of another
        self._connection.execute("COMMIT")


def _make_private(path: Path) -> None:
    """Make an empty file for the owner alone, unless there is one. No descriptor of the file itself is ever closed here: that would take away, from all
    connections of this process, the locks that keep another process from removing the log under them (sqlite.org/howtocorrupt.html, 2.2)."""
    if path.exists():
        return
    made = path.with_name(f".{path.name[:100]}.{os.urandom(6).hex()}")
    os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE))
    try:
        os.link(made, path)
    except FileExistsError:
        pass  # another was faster
    except OSError:  # a file system without hard links: nobody of this process has the new file open yet, but for a race of two first opens
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE_FILE))
    finally:
        made.unlink(missing_ok=True)


def _denied(place: Path) -> AccessDenied:
    return AccessDenied(
        f"{place} cannot be written; give this user write access to the file and its folder", tier=TIER, sent=False
    )


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _switch_to_wal(connection: sqlite3.Connection, path: Path) -> None:
    for attempt in range(20):
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            # SQLite does not wait here when two open a new file at once. A transaction does wait, for the other to be done.
            if not code_of(error).startswith("BUSY") or attempt == 19:
                raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            continue
        if mode != "wal":
            raise ConfigurationError(
                f"{path} is on a file system without shared memory ({mode} instead of WAL); put it on a local disk"
            )
        return
