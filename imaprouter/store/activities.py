"""The journal's activities: which message each belongs to, how far its correction has come, what was sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from imaprouter.audit import UNDO, Fields, Kind, Reversal, Selection, Write
from imaprouter.model import Activity, Binding, Direction
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


# Activities read at a time when all are wanted.
_PORTION = 500
_ACTIVITY_COLUMNS = (
    "activity, message_id, first_seen_at, first_bindings, unwanted_leads, last_bindings, attempts, "
    "next_attempt_at, settled_at"
)


class Activities(Tables):
    def add(self, activities: Iterable[Activity], now: datetime) -> int:
        """Remember activities that the portal showed; returns how many were new.

        What reports need of a letter that went out is kept for good, whether or not it has a message.
        """
        activities = tuple(activities)
        self._db.conn.executemany(
            "INSERT OR IGNORE INTO portal_letters (activity_id, second, message_id, subject, people)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                (each.id, int(at.timestamp()), each.message_id, each.subject, dump(sorted(each.to | each.cc)))
                for each in activities
                if each.direction is Direction.OUTGOING
                and each.completed
                and (at := each.start_time or each.created_at)
            ),
        )
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

    def get(self, activity_id: int) -> PairedActivity | None:
        """An activity that belongs to a message."""
        found = self._activities("id = ? AND message_id IS NOT NULL", (activity_id,))
        return found[0] if found else None

    def of_message(self, message_id: int) -> list[PairedActivity]:
        return self._activities("message_id = ? ORDER BY id", (message_id,))

    def newest_of(self, mailbox: str) -> Activity | None:
        """The newest activity that belongs to a message of the mailbox."""
        found = self._activities(
            "id = (SELECT a.id FROM activities a JOIN messages m ON m.id = a.message_id"
            " WHERE m.mailbox = ? ORDER BY a.id DESC LIMIT 1)",
            (mailbox,),
        )
        return found[0].activity if found else None

    def each(self) -> Iterator[PairedActivity]:
        """Every activity that belongs to a message, by id; a portion at a time."""
        last = 0
        while found := self._activities(
            "id > ? AND message_id IS NOT NULL ORDER BY id LIMIT ?", (last, _PORTION)
        ):
            yield from found
            last = found[-1].activity.id

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
        # What was to be put back is decided anew.
        self._execute(
            "UPDATE undos SET finished_at = ? WHERE activity_id = ? AND finished_at IS NULL",
            (to_text(at), activity_id),
        )

    def take_back(self, activity_id: int) -> None:
        """It is being undone: nothing is due any more, and what is bound on the way is nobody's choice."""
        self._execute(
            "UPDATE activities SET next_attempt_at = NULL, settled_at = NULL, last_bindings = NULL"
            " WHERE id = ?",
            (activity_id,),
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

    def begin_write(
        self,
        message_id: int | None,
        activity_id: int,
        step: str,
        now: datetime,
        *,
        kind: Kind = Kind.BINDINGS,
        before: tuple[Binding, ...] | Fields | None = None,
        after: tuple[Binding, ...] | Fields | None = None,
        rule: str = "",
        why: str = "",
        request: tuple[str, Mapping[str, Any]] | None = None,
    ) -> int:
        """Write down what is about to be sent; returns the number under which its outcome is noted.

        `message_id` is None for an activity that is no message's.
        """
        cursor = self._execute(
            "INSERT INTO writes (at, message_id, activity_id, step, outcome, kind, before, after, rule, why,"
            " request) VALUES (?, ?, ?, ?, 'sent', ?, ?, ?, ?, ?, ?)",
            (
                to_text(now),
                message_id,
                activity_id,
                step,
                kind,
                None if before is None else dump(before),
                None if after is None else dump(after),
                rule,
                why,
                None if request is None else dump({"method": request[0], "params": request[1]}),
            ),
        )
        return int(cursor.lastrowid or 0)

    def finish_write(self, number: int, outcome: str) -> None:
        self._execute("UPDATE writes SET outcome = ? WHERE id = ?", (outcome, number))

    def steps_of(self, activity_id: int) -> list[Write]:
        """What was sent, or may have been sent, for this activity since it was opened last, oldest first."""
        return self._writes("w.activity_id = ? AND w.id > a.writes_before", activity_id)

    def of_activity(self, activity_id: int) -> list[Write]:
        """Everything that was ever sent, or may have been, for this activity, oldest first."""
        return self._writes("w.activity_id = ?", activity_id)

    def writes(self, message_id: int) -> list[Write]:
        return self._writes("w.message_id = ?", message_id)

    def changed(self, selection: Selection) -> list[int]:
        """The activities of which we changed, or may have changed, bindings in a selected write; by id."""
        where, values = ["kind = 'bindings' AND rule <> ?"], [str(UNDO)]
        for condition, value in (
            ("message_id = ?", selection.message_id),
            ("activity_id = ?", selection.activity_id),
            ("at >= ?", to_text(selection.since)),
            ("rule = ?", selection.rule),
        ):
            if value is not None:
                where.append(condition)
                values.append(str(value))
        query = f"SELECT DISTINCT activity_id FROM writes WHERE {' AND '.join(where)} ORDER BY activity_id"
        return [number for (number,) in self._rows(query, values)]

    def _writes(self, where: str, number: int) -> list[Write]:
        return [_write(row) for row in self._rows(f"{_WRITES} WHERE {where} ORDER BY w.id", (number,))]


class Undos(Tables):
    """What is taken back: written down before it begins, so that it can be gone on with."""

    def begin(self, activity_id: int, message_id: int | None, reversal: Reversal, now: datetime) -> None:
        self._execute(
            "INSERT INTO undos (activity_id, message_id, reversal, begun_at) VALUES (?, ?, ?, ?)",
            (activity_id, message_id, dump(reversal), to_text(now)),
        )

    def unfinished(self, activity_id: int) -> Reversal | None:
        """Where it is to go back to, by an undo that was begun and is not done."""
        row = self._row(
            "SELECT reversal FROM undos WHERE activity_id = ? AND finished_at IS NULL", (activity_id,)
        )
        return load(row[0], Reversal) if row else None

    def finish(self, activity_id: int, now: datetime) -> None:
        self._execute(
            "UPDATE undos SET finished_at = ? WHERE activity_id = ? AND finished_at IS NULL",
            (to_text(now), activity_id),
        )


# A write of an earlier version has what the correction found and left, where that is still known.
_WRITES = """
SELECT w.id, w.at, w.activity_id, w.kind, w.step, w.outcome,
    coalesce(w.before, CASE WHEN w.kind = 'bindings' AND w.id > a.writes_before THEN a.first_bindings END),
    coalesce(w.after, CASE WHEN w.kind = 'bindings' AND w.id > a.writes_before THEN a.last_bindings END),
    w.rule, w.why, w.request
FROM writes w LEFT JOIN activities a ON a.id = w.activity_id
"""


def _write(row: Any) -> Write:
    return Write(
        id=row[0],
        at=datetime.fromisoformat(row[1]),
        activity_id=row[2],
        kind=Kind(row[3]),
        step=row[4],
        outcome=row[5],
        before=_state(row[6]),
        after=_state(row[7]),
        rule=row[8],
        why=row[9],
        request=row[10] or "",
    )


def _state(text: str | None) -> tuple[Binding, ...] | Fields | None:
    if text is None:
        return None
    return load(text, dict[str, int | str]) if text.startswith("{") else load(text, tuple[Binding, ...])


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
