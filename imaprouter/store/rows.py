"""What every table class shares: short queries, and values kept as JSON text. Contains no business logic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from sqlite_utils import Database

_Value = TypeVar("_Value")


class Tables:
    """Some tables of one connection."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._db.execute(query, tuple(values)).fetchall()

    def _row(self, query: str, values: Sequence[Any] = ()) -> Any | None:
        return self._db.execute(query, tuple(values)).fetchone()


class Facts(Tables):
    """Single values by name."""

    def get(self, name: str) -> str | None:
        row = self._row("SELECT value FROM facts WHERE name = ?", (name,))
        return str(row[0]) if row else None

    def set(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))


def dump(value: object) -> str:
    """A value of our model as JSON text."""
    return msgspec.json.encode(value).decode("utf-8")


def load(text: str, kind: type[_Value]) -> _Value:
    """The reverse of `dump`."""
    return msgspec.json.decode(text, type=kind)


def marks(values: Sequence[object]) -> str:
    """As many question marks as there are values."""
    return ",".join("?" * len(values))
