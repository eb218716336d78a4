"""Opening an SQLite file the one right way: WAL, busy timeout, migrations under a lock, versions, errors.

Contains no business logic and no table of ours.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from sqlite_utils import Database, Migrations

from imaprouter.errors import StoreDamaged, StoreError, StoreOutdated, StoreTooNew

SQLITE_VERSION = sqlite3.sqlite_version
# "IRtr": a foreign database is refused instead of being migrated.
APPLICATION_ID = 0x49527472
BUSY_SECONDS = 30

_RESTORE = "the journal: see 'imaprouter journal check', restore it; the index: the next start rebuilds it"
#: SQLite's words for a file that must not be gone on from, and what to do.
_DAMAGE = {
    "database disk image is malformed": _RESTORE,
    "file is not a database": f"if another program wrote it, choose another store.path; else, {_RESTORE}",
    # What a disk says after a failed sync tells nothing of what is on it.
    "disk I/O error": "look at the disk (dmesg), then run 'imaprouter journal check' before starting again",
}


def open_database(
    path: Path | Literal[":memory:"], migrations: Migrations, *, synchronous: Literal["FULL", "NORMAL"]
) -> Database:
    """Open and migrate the file at `path`, creating it with mode 0600.

    Raises StoreError for a foreign or unreadable file, StoreDamaged for a damaged one and StoreTooNew for one
    of a later version.
    One connection belongs to one thread.
    """
    with translated(path):
        if isinstance(path, Path):
            _create_private(path)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        try:
            database = Database(connection)
            _check_owner(database, path)
            database.enable_wal()
            database.execute(f"PRAGMA synchronous = {synchronous}")
            database.execute("PRAGMA foreign_keys = ON")
            _migrate(database, migrations, path)
        except BaseException:
            connection.close()
            raise
    return database


def open_readonly(path: Path, migrations: Migrations) -> Database:
    """Open the file at `path` without changing anything on the disk.

    Raises StoreError for a file that is not there, foreign, unreadable or damaged, StoreOutdated and
    StoreTooNew for one of another version.
    """
    with translated(path):
        path.stat()
        connection = connect_readonly(path)
        try:
            database = Database(connection)
            _check_owner(database, path)
            _refuse_newer(database, migrations, path)
            _refuse_older(database, migrations, path)
        except BaseException:
            connection.close()
            raise
    return database


def connect_readonly(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing on the disk, whatever the file holds."""
    # Without a log nobody has it open: 'immutable' keeps SQLite from making one, and leaving it behind.
    logs = (path.with_name(f"{path.name}-{end}") for end in ("wal", "journal"))
    mode = "mode=ro" if any(log.exists() for log in logs) else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS)


def damage(connection: sqlite3.Connection) -> str:
    """What SQLite's quick check finds wrong, '' for nothing; reads the whole file."""
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)").fetchall()]
    return "" if found == ["ok"] else "; ".join(found)


class reading:
    """One state of the database for all that is asked inside; nothing where a transaction is open already.

    Cheaper as well: outside of a transaction each query takes and gives back SQLite's locks.
    """

    __slots__ = ("_connection", "_path", "begun")

    def __init__(self, database: Database, path: Path | str) -> None:
        self._connection = database.conn
        self._path = path
        self.begun = False

    def __enter__(self) -> None:
        if not self._connection.in_transaction:
            with translated(self._path):
                self._connection.execute("BEGIN")
            self.begun = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.begun:
            self._connection.rollback()


@contextlib.contextmanager
def transaction(database: Database) -> Iterator[None]:
    """One write transaction that is sure of its reads.

    IMMEDIATE takes the write lock at once: a deferred one that reads first and writes later fails with
    'locked' as soon as another connection has written in between, whatever the busy timeout.
    """
    with translated(database_path(database)):
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            database.rollback()
            raise
        database.commit()


class translated:
    """Turn SQLite's errors into StoreError, once, at the edge.

    A class, because it stands around every query: a generator costs as much as the query itself.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.DatabaseError):
            raise _store_error(self._path, error) from error
        if isinstance(error, OSError):
            raise StoreError(
                f"{self._path}: {error.strerror or error}", advice="check the folder and its rights"
            ) from error


def _store_error(path: Path | str, error: sqlite3.DatabaseError) -> StoreError:
    damage = _DAMAGE.get(str(error))
    # Shared memory that cannot grow: the disk is full, and nothing was written.
    if damage and not getattr(error, "sqlite_errorname", "").startswith("SQLITE_IOERR_SHM"):
        return StoreDamaged(f"{path}: {error}", advice=damage)
    advice = {
        "malformed JSON": "another program or a damaged disk changed it: restore it from a backup",
        "database or disk is full": "make room on the disk; nothing that was confirmed is lost",
        "database is locked": "another program holds it; a backup should not lock it for so long",
    }.get(str(error), "")
    return StoreError(f"{path}: {error}", advice=advice)


def database_path(database: Database) -> str:
    """The file behind a connection, '' for one in memory."""
    return str(database.conn.execute("PRAGMA database_list").fetchone()[2])


def to_text(moment: datetime | None) -> str | None:
    """An aware datetime as ISO 8601 text in UTC, which sorts as time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds") if moment else None


def to_moment(text: str | None) -> datetime | None:
    """The reverse of `to_text`."""
    return datetime.fromisoformat(text) if text else None


def open_to_others(path: Path) -> list[Path]:
    """Which of a database's files others than their owner may read or write; Windows' modes do not say."""
    files = (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm")))
    return [each for each in files if os.name == "posix" and _mode(each) & 0o077]


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        # SQLite removes -wal and -shm when the last connection closes.
        return 0


def _create_private(path: Path) -> None:
    """Create the file for its owner alone, whatever the umask; SQLite gives its mode to -wal and -shm.

    Files of an older date are tightened: by copying, a restored backup comes with any mode. Where that is
    not allowed (another owner, a file system without modes) the service goes on, and `run` says so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        created = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            if os.name == "posix":
                os.fchmod(created, 0o600)
        finally:
            os.close(created)
    for each in open_to_others(path):
        with contextlib.suppress(OSError):
            each.chmod(0o600)


def _check_owner(database: Database, path: Path | str) -> None:
    # In this order: another connection may be creating our tables, and our id comes with them.
    tables = database.conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    owner = database.conn.execute("PRAGMA application_id").fetchone()[0]
    if owner != APPLICATION_ID and (owner or tables):
        raise StoreError(
            f"{path} is a database of another program", advice="choose another file as store.path"
        )


def _migrate(database: Database, migrations: Migrations, path: Path | str) -> None:
    _refuse_newer(database, migrations, path)
    if not migrations.pending(database):
        return
    # Under the write lock, because several processes may open a new file at once.
    database.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(database)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    except BaseException:
        database.rollback()
        raise
    database.commit()


def _refuse_older(database: Database, migrations: Migrations, path: Path) -> None:
    if migrations.pending(database):
        raise StoreOutdated(
            f"{path} was written by an earlier version",
            advice="'imaprouter run' brings it up to date; nothing is lost",
        )


def _refuse_newer(database: Database, migrations: Migrations, path: Path | str) -> None:
    """`pending` of an empty database is every migration that this version knows."""
    empty = Database(memory=True)
    known = {migration.name for migration in migrations.pending(empty)}
    empty.close()
    newer = [found.name for found in migrations.applied(database) if found.name not in known]
    if newer:
        raise StoreTooNew(
            f"{path} was written by a later version ({', '.join(newer)})", advice="update imaprouter"
        )
