"""A bug for the harness to find: the journal is opened with synchronous=NORMAL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database, Migrations

from faults.planted.marking import mark, plant
from imaprouter.cli import main
from imaprouter.store import database, journal
from imaprouter.store.activities import Traces

_finish_notice = Traces.finish_notice


def _normal(path: Path | Literal[":memory:"], migrations: Migrations, **_: Any) -> Database:
    return database.open_database(path, migrations, synchronous="NORMAL")


def _marked(
    self: Traces, message_id: int, user_id: int, state: Literal["sent", "refused", "unknown"]
) -> None:
    mark()
    _finish_notice(self, message_id, user_id, state)


if __name__ == "__main__":
    plant(((journal, "open_database", _normal), (Traces, "finish_notice", _marked)))
    main()
