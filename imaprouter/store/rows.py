"""What every table class shares: short queries, and values kept as JSON text. Contains no business logic."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from sqlite_utils import Database

from imaprouter.errors import StoreError
from imaprouter.store.database import database_path, translated

_Value = TypeVar("_Value")


class Tables:
    """Some tables of one connection."""

    def __init__(self, database: Database) -> None:
        self._db = database
        # Queries go past sqlite_utils, whose tracing costs each of them.
        self._ask = database.conn.execute
        self._path = database_path(database)

    def _execute(self, query: str, values: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement; outside of a transaction it is committed at once. Raises StoreError."""
        with translated(self._path):
            return self._db.execute(query, values)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with translated(self._path):
            return self._ask(query, values).fetchall()

    def _row(self, query: str, values: Sequence[Any] = ()) -> Any | None:
        with translated(self._path):
            return self._ask(query, values).fetchone()


class Facts(Tables):
    """Single values by name."""

    def get(self, name: str) -> str | None:
        row = self._row("SELECT value FROM facts WHERE name = ?", (name,))
        return str(row[0]) if row else None

    def set(self, name: str, value: str) -> None:
        with translated(self._path):
            self._db.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))


def dump(value: object) -> str:
    """A value of our model as JSON text."""
    return msgspec.json.encode(value).decode("utf-8")


def load(text: str, kind: type[_Value]) -> _Value:
    """The reverse of `dump`. StoreError for a text of another shape."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        shown = kind.__name__ if isinstance(kind, type) else str(kind)
        raise StoreError(
            f"the journal holds a {shown} that cannot be read: {error}; it begins {text[:60]!r}",
            advice="another program or a damaged disk changed it: restore the journal from a backup",
        ) from error


def marks(values: Sequence[object]) -> str:
    """As many question marks as there are values."""
    return ",".join("?" * len(values))
