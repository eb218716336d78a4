"""The journal's activities: which message each belongs to, how far its correction has come, what was sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from imaprouter.model import Activity, Binding
from imaprouter.store.database import to_moment, to_text
from imaprouter.store.rows import Tables, dump, load


@dataclass(frozen=True, slots=True)
class PairedActivity:
    """An activity that belongs to a message, and how far its correction has come."""

    activity: Activity
    message_id: int
    first_seen_at: datetime
    first_bindings: tuple[Binding, ...] | None
    unwanted_leads: frozenset[int]
    last_bindings: tuple[Binding, ...] | None
    attempts: int
    next_attempt_at: datetime | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Write:
    at: datetime
    activity_id: int
    step: str
    outcome: str

    def is_done(self, activity_id: int) -> bool:
        """Whether the portal confirmed this step of this activity."""
        return self.activity_id == activity_id and self.outcome == "done"


_ACTIVITY_COLUMNS = (
    "activity, message_id, first_seen_at, first_bindings, unwanted_leads, last_bindings, attempts, "
    "next_attempt_at, settled_at"
)


class Activities(Tables):
    def add(self, activities: Iterable[Activity], now: datetime) -> int:
        """Remember activities that the portal showed; returns how many were new."""
        before = self._db.conn.total_changes
        self._db.conn.executemany(
            "INSERT OR IGNORE INTO activities (id, activity, first_seen_at) VALUES (?, ?, ?)",
            ((activity.id, dump(activity), to_text(now)) for activity in activities),
        )
        return self._db.conn.total_changes - before

    def unpaired(self, *, not_within: tuple[datetime, datetime] | None = None) -> list[Activity]:
        """Activities that no message was found for, by id; only those not first seen between two moments."""
        query = "SELECT activity FROM activities INDEXED BY activities_unpaired WHERE message_id IS NULL"
        if not_within:
            begin, end = map(to_text, not_within)
            rows = self._rows(f"{query} AND first_seen_at NOT BETWEEN ? AND ? ORDER BY id", (begin, end))
        else:
            rows = self._rows(f"{query} ORDER BY id")
        return [load(row[0], Activity) for row in rows]

    def drop_unpaired(self, seen_before: datetime) -> None:
        """Forget activities for which no message came."""
        self._execute(
            "DELETE FROM activities WHERE message_id IS NULL AND first_seen_at < ?", (to_text(seen_before),)
        )

    def assign(self, activity_id: int, message_id: int, *, due: datetime | None) -> None:
        """The activity is this message's; `due` is the first attempt, None: a person decides."""
        self._execute(
            "UPDATE activities SET message_id = ?, next_attempt_at = ? WHERE id = ?",
            (message_id, to_text(due), activity_id),
        )

    def due(self, now: datetime, limit: int, *, farthest: datetime) -> list[PairedActivity]:
        """Paired activities whose next attempt is due, longest waiting first.

        What lies beyond `farthest` was put there by a clock that was wrong, and is due too.
        """
        return self._activities(
            "(next_attempt_at <= ? OR next_attempt_at > ?) AND message_id IS NOT NULL"
            " ORDER BY next_attempt_at, id LIMIT ?",
            (to_text(now), to_text(farthest), limit),
        )

    def of_message(self, message_id: int) -> list[PairedActivity]:
        return self._activities("message_id = ? ORDER BY id", (message_id,))

    def next_attempt(self) -> datetime | None:
        row = self._row("SELECT min(next_attempt_at) FROM activities WHERE next_attempt_at IS NOT NULL", ())
        return to_moment(row[0]) if row else None

    def schedule(self, activity_id: int, at: datetime) -> None:
        """Count an attempt and set the time of the one after it, before this one touches the world."""
        self._execute(
            "UPDATE activities SET attempts = attempts + 1, next_attempt_at = ? WHERE id = ?",
            (to_text(at), activity_id),
        )

    def note_first_bindings(
        self, activity_id: int, bindings: Sequence[Binding], unwanted_leads: frozenset[int]
    ) -> None:
        """What the portal had bound before we changed anything: written once, never overwritten."""
        self._execute(
            "UPDATE activities SET first_bindings = ?, unwanted_leads = ?"
            " WHERE id = ? AND first_bindings IS NULL",
            (dump(tuple(bindings)), dump(sorted(unwanted_leads)), activity_id),
        )

    def reopen(self, activity_id: int, at: datetime) -> None:
        """There is something to do again: a person answered. What is bound now counts as bound first."""
        self._begin_anew(activity_id, at, first_bindings="NULL")

    def resume(self, activity_id: int, at: datetime) -> None:
        """There is something to do again, and nobody but us has decided: what we left counts as bound first.

        So a person's change since then is still told from our own (`plan.touched_by_others`).
        """
        self._begin_anew(activity_id, at, first_bindings="coalesce(last_bindings, first_bindings)")

    def _begin_anew(self, activity_id: int, at: datetime, *, first_bindings: str) -> None:
        """What was written until now says nothing of what comes."""
        self._execute(
            "UPDATE activities SET next_attempt_at = ?, settled_at = NULL, attempts = 0,"
            f" first_bindings = {first_bindings},"
            " writes_before = (SELECT coalesce(max(id), 0) FROM writes WHERE activity_id = activities.id)"
            " WHERE id = ?",
            (to_text(at), activity_id),
        )

    def unschedule(self, activity_id: int) -> None:
        """Nothing is to be done for this activity until somebody says otherwise."""
        self._execute("UPDATE activities SET next_attempt_at = NULL WHERE id = ?", (activity_id,))

    def settle(self, activity_id: int, bindings: Sequence[Binding] | None, now: datetime) -> None:
        """Nothing is left to do for this activity."""
        self._execute(
            "UPDATE activities SET next_attempt_at = NULL, settled_at = ?, last_bindings = ? WHERE id = ?",
            (to_text(now), None if bindings is None else dump(tuple(bindings)), activity_id),
        )

    def _activities(self, where: str, values: Sequence[Any]) -> list[PairedActivity]:
        query = f"SELECT {_ACTIVITY_COLUMNS} FROM activities WHERE {where}"
        return [_paired(row) for row in self._rows(query, values)]


class Traces(Tables):
    """Notifications, at most one per message and person, and every call that may have changed the portal."""

    def claim_notice(self, message_id: int, user_id: int, now: datetime) -> bool:
        """Claim the one notification of this person about this message; False when it was claimed before."""
        cursor = self._execute(
            "INSERT OR IGNORE INTO notices (message_id, user_id, state, at) VALUES (?, ?, 'sending', ?)",
            (message_id, user_id, to_text(now)),
        )
        return cursor.rowcount == 1

    def finish_notice(
        self, message_id: int, user_id: int, state: Literal["sent", "refused", "unknown"]
    ) -> None:
        self._execute(
            "UPDATE notices SET state = ? WHERE message_id = ? AND user_id = ?", (state, message_id, user_id)
        )

    def notices(self, message_id: int) -> dict[int, str]:
        """User id to the state of his notification."""
        return dict(self._rows("SELECT user_id, state FROM notices WHERE message_id = ?", (message_id,)))

    def release_notice(self, message_id: int, user_id: int) -> None:
        """Give a claim back: it is certain that nothing was sent."""
        self._execute("DELETE FROM notices WHERE message_id = ? AND user_id = ?", (message_id, user_id))

    def begin_write(self, message_id: int, activity_id: int, step: str, now: datetime) -> int:
        """Write down what is about to be sent; returns the number under which its outcome is noted."""
        cursor = self._execute(
            "INSERT INTO writes (at, message_id, activity_id, step, outcome) VALUES (?, ?, ?, ?, 'sent')",
            (to_text(now), message_id, activity_id, step),
        )
        return int(cursor.lastrowid or 0)

    def finish_write(self, number: int, outcome: str) -> None:
        self._execute("UPDATE writes SET outcome = ? WHERE id = ?", (outcome, number))

    def steps_of(self, activity_id: int) -> list[Write]:
        """What was sent, or may have been sent, for this activity since it was opened last, oldest first."""
        rows = self._rows(
            "SELECT at, activity_id, step, outcome FROM writes WHERE activity_id = ?1"
            " AND id > (SELECT writes_before FROM activities WHERE id = ?1) ORDER BY id",
            (activity_id,),
        )
        return [Write(datetime.fromisoformat(row[0]), *row[1:]) for row in rows]

    def writes(self, message_id: int) -> list[Write]:
        rows = self._rows(
            "SELECT at, activity_id, step, outcome FROM writes WHERE message_id = ? ORDER BY id",
            (message_id,),
        )
        return [Write(datetime.fromisoformat(row[0]), *row[1:]) for row in rows]


def _paired(row: Any) -> PairedActivity:
    return PairedActivity(
        activity=load(row[0], Activity),
        message_id=row[1],
        first_seen_at=datetime.fromisoformat(row[2]),
        first_bindings=load(row[3], tuple[Binding, ...]) if row[3] is not None else None,
        unwanted_leads=load(row[4], frozenset[int]),
        last_bindings=load(row[5], tuple[Binding, ...]) if row[5] is not None else None,
        attempts=row[6],
        next_attempt_at=to_moment(row[7]),
        settled_at=to_moment(row[8]),
    )
