"""The journal's own condition report: how each part of the service fares, and what people were told of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from imaprouter.alerts import Incident, Kind, Occasion, Trouble
from imaprouter.standing import Part, PartKind, Pulse
from imaprouter.store.database import to_moment, to_text
from imaprouter.store.rows import Tables, marks

Fate = Literal["sent", "refused", "unknown"]


class Parts(Tables):
    def all(self) -> dict[Part, Pulse]:
        rows = self._rows(
            "SELECT kind, mailbox, folder, worked_at, heard_at, failing_since, error, error_type, error_at"
            " FROM parts"
        )
        return {Part(PartKind(row[0]), row[1], row[2]): _pulse(row[3:]) for row in rows}

    def works(self, part: Part, now: datetime, *, heard: bool = True) -> None:
        """The part is at work; `heard` says that its server answered just now."""
        self._execute(
            "INSERT INTO parts (kind, mailbox, folder, worked_at, heard_at) VALUES (?1, ?2, ?3, ?4, ?5)"
            " ON CONFLICT DO UPDATE SET worked_at = ?4, heard_at = coalesce(?5, heard_at),"
            " failing_since = NULL",
            (*_key(part), to_text(now), to_text(now) if heard else None),
        )

    def fails(self, part: Part, error: str, error_type: str, now: datetime) -> None:
        """The part failed; since when without a break stays on record."""
        self._execute(
            "INSERT INTO parts (kind, mailbox, folder, failing_since, error, error_type, error_at)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?4) ON CONFLICT DO UPDATE SET"
            " failing_since = coalesce(failing_since, ?4), error = ?5, error_type = ?6, error_at = ?4",
            (*_key(part), to_text(now), error, error_type),
        )


class Incidents(Tables):
    def open(self) -> list[Incident]:
        """Those that are not over, oldest first."""
        return self._incidents("ended_at IS NULL", ())

    def live(self, ended_after: datetime) -> list[Incident]:
        """Those that are not over, and those that ended after that time."""
        return self._incidents("ended_at IS NULL OR ended_at > ?", (to_text(ended_after),))

    def begin(self, trouble: Trouble, now: datetime) -> None:
        """Call it, like `count` and `end`, inside `transaction()`."""
        self._execute(
            "INSERT OR IGNORE INTO incidents (kind, subject, since, count, detail, opened_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                trouble.kind,
                trouble.subject,
                to_text(trouble.since),
                trouble.count,
                trouble.detail,
                to_text(now),
            ),
        )

    def count(self, incident: Incident) -> None:
        """Note its present number of messages."""
        self._execute("UPDATE incidents SET count = ? WHERE id = ?", (incident.trouble.count, incident.id))

    def end(self, incident: Incident, now: datetime) -> None:
        self._execute("UPDATE incidents SET ended_at = ? WHERE id = ?", (to_text(now), incident.id))

    def claim(self, incident: Incident, user_id: int, occasion: Occasion, now: datetime) -> bool:
        """Claim the one notification of this person on this occasion; False when it was claimed before."""
        cursor = self._execute(
            "INSERT OR IGNORE INTO alerts (incident_id, user_id, occasion, state, at)"
            " VALUES (?, ?, ?, 'sending', ?)",
            (incident.id, user_id, occasion, to_text(now)),
        )
        return cursor.rowcount == 1

    def finish(self, incident: Incident, user_id: int, occasion: Occasion, fate: Fate) -> None:
        self._execute(
            "UPDATE alerts SET state = ? WHERE incident_id = ? AND user_id = ? AND occasion = ?",
            (fate, incident.id, user_id, occasion),
        )

    def release(self, incident: Incident, user_id: int, occasion: Occasion) -> None:
        """Give a claim back: it is certain that nothing was sent."""
        self._execute(
            "DELETE FROM alerts WHERE incident_id = ? AND user_id = ? AND occasion = ?",
            (incident.id, user_id, occasion),
        )

    def _incidents(self, where: str, values: Sequence[Any]) -> list[Incident]:
        rows = self._rows(
            "SELECT id, kind, subject, since, count, detail, ended_at FROM incidents"
            f" WHERE {where} ORDER BY id",
            values,
        )
        told = self._told([row[0] for row in rows])
        return [
            Incident(
                id=row[0],
                trouble=Trouble(Kind(row[1]), datetime.fromisoformat(row[3]), row[2], row[4], row[5]),
                ended_at=to_moment(row[6]),
                told_begin=told.get((row[0], "begin"), frozenset()),
                told_end=told.get((row[0], "end"), frozenset()),
            )
            for row in rows
        ]

    def _told(self, numbers: Sequence[int]) -> dict[tuple[int, str], frozenset[int]]:
        rows = self._rows(
            f"SELECT incident_id, occasion, user_id FROM alerts WHERE incident_id IN ({marks(numbers)})",
            numbers,
        )
        told: dict[tuple[int, str], frozenset[int]] = {}
        for number, occasion, user_id in rows:
            told[number, occasion] = told.get((number, occasion), frozenset()) | {user_id}
        return told


def _key(part: Part) -> tuple[str, str, str]:
    return part.kind, part.mailbox, part.folder


def _pulse(row: Sequence[Any]) -> Pulse:
    return Pulse(to_moment(row[0]), to_moment(row[1]), to_moment(row[2]), row[3], row[4], to_moment(row[5]))
