"""Is a file what was written to it? Quick looks before a start, and everything that `journal check` looks at.

Makes no file, and works while a service runs. `examine` reads only; the look before a start rolls back what a
crash has left half written.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlite_utils import Database, Migrations

from imaprouter.audit import Reversal
from imaprouter.errors import StoreDamaged, StoreError
from imaprouter.model import Activity, Binding, Decision, Envelope
from imaprouter.store import database
from imaprouter.store.database import APPLICATION_ID, BUSY_SECONDS, translated
from imaprouter.store.journal_schema import migrations

_RESTORE = "stop the service and restore the journal from a backup; keep this file, most of it can be read"
#: Problems of one kind that are named; the rest is counted.
_MOST = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    #: What to do; empty when nothing is wrong.
    advice: str = ""


def damage(path: Path) -> str:
    """What is wrong with the structure of a database file; '' when nothing is, or when there is none."""
    if not path.exists() or not path.stat().st_size:
        return ""
    try:
        with translated(path), closing(_open(path)) as connection:
            return database.damage(connection)
    except StoreDamaged as error:
        return error.message


def refuse_damaged(journal: Path) -> None:
    """Raises StoreDamaged with advice when the journal's structure is damaged."""
    found = damage(journal)
    if found:
        raise StoreDamaged(
            f"the journal is damaged: {found}", advice=f"see 'imaprouter journal check'; {_RESTORE}"
        )


def set_aside_damaged(index: Path) -> Path | None:
    """Rename a damaged index and its -wal and -shm, so that a new one can be made; the name it has now."""
    if not damage(index):
        return None
    name = f"{index.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    for suffix in ("-wal", "-shm", ""):
        path = index.with_name(index.name + suffix)
        if path.exists():
            path.rename(index.with_name(name + suffix))
    return index.with_name(name)


def examine(journal: Path) -> list[Check]:
    """Every check of the journal; those that another one makes impossible are left out."""
    if not journal.exists():
        advice = "a first start makes it; if there was one, look at store.path"
        return [Check("file", False, f"{journal} does not exist", advice)]
    checks = [_mode(journal)]
    try:
        with translated(journal), closing(database.connect_readonly(journal)) as connection:
            return checks + list(_contents(connection))
    except StoreDamaged as error:
        return [*checks, Check("integrity", False, error.message, _RESTORE)]
    except StoreError as error:
        if "readonly" not in error.message:
            raise
        advice = "start the service: it rolls back what a crash left half written"
        return [*checks, Check("integrity", False, "a write was broken off", advice)]


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)


def _mode(journal: Path) -> Check:
    bits = stat.S_IMODE(journal.stat().st_mode)
    if database.open_to_others(journal):
        advice = f"it holds addresses and subjects: chmod 600 {journal}"
        return Check("mode", False, f"others may use {journal}: mode {bits:04o}", advice)
    return Check("mode", True, f"mode {bits:04o}")


def _contents(connection: sqlite3.Connection) -> Iterator[Check]:
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner != APPLICATION_ID:
        yield Check("schema", False, "another program wrote this file", "choose another store.path")
        return
    schema = _schema(connection, migrations)
    yield schema
    integrity = _named("integrity", [line for (line,) in connection.execute("PRAGMA integrity_check(100)")])
    yield integrity
    if not (schema.ok and integrity.ok):
        return
    yield _named("references", list(_dangling(connection)))
    yield _named("values", list(_unreadable(connection)))


def _schema(connection: sqlite3.Connection, known: Migrations) -> Check:
    with closing(Database(memory=True)) as empty:
        names = {migration.name for migration in known.pending(empty)}
    applied = {migration.name for migration in known.applied(Database(connection))}
    if applied - names:
        later = ", ".join(sorted(applied - names))
        return Check("schema", False, f"written by a later version ({later})", "update imaprouter")
    if names - applied:
        return Check("schema", False, "written by an earlier version", "start the service: it is updated")
    return Check("schema", True, f"version {len(applied)}")


def _named(name: str, problems: list[str]) -> Check:
    if problems in ([], ["ok"]):
        return Check(name, True, "ok")
    more = f"; and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
    return Check(name, False, "; ".join(problems[:_MOST]) + more, _RESTORE)


def _dangling(connection: sqlite3.Connection) -> Iterator[str]:
    """Rows that point to what is not there."""
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} names a row of {parent} that does not exist"
    behind = connection.execute(
        "SELECT m.id, f.name FROM messages m JOIN folders f ON f.id = m.folder_id AND f.epoch = m.epoch"
        " WHERE m.uid > f.cursor"
    )
    for number, folder in behind:
        yield f"message {number} lies behind the cursor of {folder}"
    unpaired = connection.execute(
        "SELECT id FROM messages WHERE state = 'paired' AND NOT EXISTS"
        " (SELECT 1 FROM activities a WHERE a.message_id = messages.id)"
    )
    for (number,) in unpaired:
        yield f"message {number} is paired with no activity"


_VALUES: tuple[tuple[str, str, object], ...] = (
    ("messages", "envelope", Envelope),
    ("messages", "decision", Decision),
    ("activities", "activity", Activity),
    ("activities", "first_bindings", tuple[Binding, ...]),
    ("activities", "last_bindings", tuple[Binding, ...]),
    ("undos", "reversal", Reversal),
)


def _unreadable(connection: sqlite3.Connection) -> Iterator[str]:
    """Values that this version cannot read."""
    for table, column, kind in _VALUES:
        decoder = msgspec.json.Decoder(kind)
        query = f"SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL"
        for number, text in connection.execute(query):
            try:
                decoder.decode(text)
            except (msgspec.DecodeError, TypeError) as error:
                yield f"{column} of row {number} of {table}: {error}"
