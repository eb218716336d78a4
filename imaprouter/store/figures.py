"""How many messages of the journal stand where, and how far each folder has come: figures, no messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from imaprouter.model import State
from imaprouter.standing import Observed, Tally
from imaprouter.store.database import to_moment, to_text
from imaprouter.store.rows import Tables, marks


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a folder has been read."""

    cursor: int
    last_uid: int | None
    last_arrived_at: datetime | None
    last_recorded_at: datetime | None


class Figures(Tables):
    def tallies(self) -> tuple[tuple[str, Tally], ...]:
        """Messages that are not settled, by state, with the time at which the oldest was recorded."""
        states = [state.value for state in State if state is not State.SETTLED]
        rows = self._rows(
            f"SELECT state, count(*), min(recorded_at) FROM messages WHERE state IN ({marks(states)})"
            " GROUP BY state",
            states,
        )
        found = {row[0]: _tally(row[1:]) for row in rows}
        return tuple((state, found.get(state, Tally())) for state in states)

    def overdue(self, recorded_before: datetime) -> Tally:
        """Messages that wait for a person since before that time; of past ones nobody is told."""
        row = self._row(
            "SELECT count(*), min(recorded_at) FROM messages WHERE state = 'review' AND recorded_at < ?"
            " AND NOT past",
            (to_text(recorded_before),),
        )
        return _tally(row) if row else Tally()

    def missing(self) -> tuple[tuple[date, Tally], ...]:
        """Messages whose activity is missing, by the day of their record, in UTC; no past ones."""
        rows = self._rows(
            "SELECT substr(recorded_at, 1, 10) AS day, count(*), min(recorded_at) FROM messages"
            " WHERE state = 'missing' AND NOT past GROUP BY day ORDER BY day"
        )
        return tuple((date.fromisoformat(row[0]), _tally(row[1:])) for row in rows)

    def observed(self) -> Observed:
        """What would have been changed, as the notes of observed messages say (`binder.correction`)."""
        found = {
            verb: dict(
                self._rows(
                    "SELECT CASE WHEN person_type IS NULL THEN json_extract(decision, '$.rule')"
                    " ELSE 'person' END AS rule, count(*) FROM messages"
                    " WHERE state = 'settled' AND result = 'observed' AND note LIKE ? GROUP BY rule",
                    (f"would {verb} %",),
                )
            )
            for verb in ("move", "bind", "unbind")
        }
        numbers = {verb: sum(rules.values()) for verb, rules in found.items()}
        rules = sum((Counter(rules) for rules in found.values()), Counter[str]())
        return Observed(numbers["move"], numbers["bind"], numbers["unbind"], dict(sorted(rules.items())))

    def observed_messages(self) -> Iterator[tuple[int, str, str, str]]:
        """(id, subject, rule, note) of each message for which something would have been done, by id."""
        query = (
            "SELECT id, json_extract(envelope, '$.subject'), json_extract(decision, '$.rule'), note"
            " FROM messages WHERE id > ? AND state = 'settled' AND result = 'observed' ORDER BY id LIMIT 500"
        )
        last = 0
        while rows := self._rows(query, (last,)):
            yield from rows
            last = rows[-1][0]

    def progress(self, mailbox: str, folder: str) -> Progress | None:
        """None for a folder that was never opened."""
        known = self._row(
            "SELECT id, epoch, cursor FROM folders WHERE mailbox = ? AND name = ?", (mailbox, folder)
        )
        if known is None:
            return None
        last = self._row(
            "SELECT uid, internal_date, recorded_at FROM messages WHERE folder_id = ? AND epoch = ?"
            " ORDER BY uid DESC LIMIT 1",
            known[:2],
        ) or (None, None, None)
        return Progress(known[2], last[0], to_moment(last[1]), to_moment(last[2]))

    def refused(self, since: datetime) -> int:
        """Writes that the portal refused for want of a right."""
        row = self._row(
            "SELECT count(*) FROM writes WHERE at >= ? AND outcome LIKE '%access_denied%'", (to_text(since),)
        )
        return int(row[0]) if row else 0


def _tally(row: Sequence[Any]) -> Tally:
    return Tally(int(row[0]), to_moment(row[1]))
