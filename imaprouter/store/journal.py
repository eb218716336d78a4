"""The journal file: what happened and cannot be made again, as groups of tables on one connection.

One object is one connection and belongs to one thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from imaprouter.store.activities import Activities, Traces, Undos
from imaprouter.store.answers import Answers, Questions
from imaprouter.store.database import (
    damage,
    database_path,
    open_database,
    open_readonly,
    transaction,
    translated,
)
from imaprouter.store.figures import Figures
from imaprouter.store.folders import Folders
from imaprouter.store.journal_schema import migrations
from imaprouter.store.messages import Messages
from imaprouter.store.parts import Incidents, Parts
from imaprouter.store.past import Past
from imaprouter.store.reminders import Reminders
from imaprouter.store.reports import Reports
from imaprouter.store.rows import Facts
from imaprouter.store.savings import Savings
from imaprouter.store.transfers import Transfers

#: Pages that a connection may keep, in KiB: a batch of letters does not fit into SQLite's 2,000, and is
#: written and read again while it still changes.
_CACHE = 16_384


class Journal:
    def __init__(self, path: Path | Literal[":memory:"], *, readonly: bool = False) -> None:
        """`readonly` changes nothing on the disk; StoreOutdated then for a file of an earlier version."""
        if readonly and isinstance(path, Path):
            self._db = open_readonly(path, migrations)
        else:
            # What was confirmed must survive a power cut: FULL.
            self._db = open_database(path, migrations, synchronous="FULL")
        with translated(database_path(self._db)):
            self._db.execute(f"PRAGMA cache_size = -{_CACHE}")
        self.folders = Folders(self._db)
        self.messages = Messages(self._db)
        self.past = Past(self._db)
        self.activities = Activities(self._db)
        self.traces = Traces(self._db)
        self.undos = Undos(self._db)
        self.transfers = Transfers(self._db)
        self.answers = Answers(self._db)
        self.questions = Questions(self._db)
        self.reminders = Reminders(self._db)
        self.savings = Savings(self._db)
        self.reports = Reports(self._db)
        self.parts = Parts(self._db)
        self.incidents = Incidents(self._db)
        self.figures = Figures(self._db)
        self.facts = Facts(self._db)

    def damage(self) -> str:
        """What is wrong with the file, '' for nothing; reads all of it. Raises StoreError."""
        with translated(database_path(self._db)):
            return damage(self._db.conn)

    def rest(self) -> None:
        """Nothing is to be done for a while: give back the memory that a batch needed."""
        with translated(database_path(self._db)):
            self._db.execute("PRAGMA shrink_memory")

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is kept, or nothing."""
        with transaction(self._db):
            yield
