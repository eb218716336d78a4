"""What people decided: answers from the command line, and bindings that somebody changed in Bitrix24."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from imaprouter.model import Activity, Binding, EntityType, Target
from imaprouter.store.database import to_text
from imaprouter.store.rows import Tables, load, marks


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's answer that the binder has not taken up yet; no target means 'leave it as it is'."""

    message_id: int
    target: Target | None


@dataclass(frozen=True, slots=True)
class Watched:
    """An activity of which nothing is to be done any more, and what was bound when it was read last."""

    activity_id: int
    message_id: int
    #: None: they were never read.
    bindings: tuple[Binding, ...] | None
    #: The owner at the first poll, where it was right and so nothing was read.
    owner: Binding | None = None


class Answers(Tables):
    def give(self, message_id: int, target: Target | None, now: datetime) -> None:
        """Write an answer down; a second one replaces the first."""
        self._execute(
            "INSERT OR REPLACE INTO assignments (message_id, target_type, target_id, at) VALUES (?, ?, ?, ?)",
            (message_id, target.type if target else None, target.id if target else None, to_text(now)),
        )

    def open(self) -> list[Answer]:
        """Answers to take up, oldest first."""
        query = "SELECT message_id, target_type, target_id FROM assignments ORDER BY at, message_id"
        rows = self._rows(query)
        return [Answer(row[0], Target(EntityType(row[1]), row[2]) if row[1] else None) for row in rows]

    def take_up(self, message_id: int) -> None:
        """The answer has become the message's target."""
        self._execute("DELETE FROM assignments WHERE message_id = ?", (message_id,))

    def choose(self, message_id: int, target: Target) -> None:
        """A person's choice for this message; our own decision stays beside it."""
        self._execute(
            "UPDATE messages SET person_type = ?, person_id = ?, open_questions = 0 WHERE id = ?",
            (target.type, target.id, message_id),
        )

    def withdraw(self, message_id: int) -> None:
        """A person's choice that cannot be carried out is none."""
        self._execute("UPDATE messages SET person_type = NULL, person_id = NULL WHERE id = ?", (message_id,))

    def unread(self, limit: int) -> list[Watched]:
        """Activities that wait for a person and whose bindings were never read."""
        never = "a.next_attempt_at IS NULL AND a.settled_at IS NULL"
        return self._watched(f"{never} ORDER BY a.id LIMIT ?", limit)

    def of_activities(self, activity_ids: list[int]) -> list[Watched]:
        """Of these activities those that are ours and under no correction now."""
        return self._watched(
            f"a.settled_at IS NOT NULL AND a.id IN ({marks(activity_ids)}) ORDER BY a.id", *activity_ids
        )

    def asked(self, after: int, limit: int) -> list[Watched]:
        """Activities of messages that wait for a person, by id, above `after`."""
        waiting = "(SELECT id FROM messages WHERE state = 'review')"
        return self._watched(
            f"a.settled_at IS NOT NULL AND a.message_id IN {waiting} AND a.id > ? ORDER BY a.id LIMIT ?",
            after,
            limit,
        )

    def has_activities(self) -> bool:
        """Whether there is anything to watch."""
        return self._row("SELECT 1 FROM activities WHERE settled_at IS NOT NULL LIMIT 1") is not None

    def _watched(self, where: str, *values: object) -> list[Watched]:
        rows = self._rows(
            "SELECT a.id, a.message_id, a.last_bindings, a.activity, m.result = 'already_right'"
            " FROM activities a JOIN messages m ON m.id = a.message_id"
            f" WHERE {where}",
            values,
        )
        return [_as_watched(*row) for row in rows]


def _as_watched(
    number: int, message_id: int, last_bindings: str | None, activity: str, already_right: int | None
) -> Watched:
    if last_bindings is not None:
        return Watched(number, message_id, load(last_bindings, _BINDINGS))
    return Watched(number, message_id, None, load(activity, Activity).owner if already_right else None)


class Questions(Tables):
    """Whom we asked to decide: at most once for each message and person, claimed before it is sent."""

    def unasked(self, recorded_since: datetime, within: timedelta, limit: int) -> list[int]:
        """Messages that wait for a person and of which nobody was asked, or not everybody could be.

        Their activity is known. Past mail is left out: what is on record as such, what was recorded before
        that time, or arrived longer before it was recorded than `within`.
        """
        rows = self._rows(
            "SELECT m.id FROM messages m WHERE m.state = 'review' AND NOT m.past AND m.recorded_at >= ?"
            " AND CAST(strftime('%s', m.recorded_at) AS INTEGER) - m.internal_second <= ?"
            " AND EXISTS (SELECT 1 FROM activities a WHERE a.message_id = m.id AND a.settled_at IS NOT NULL)"
            " AND NOT EXISTS (SELECT 1 FROM questions q WHERE q.message_id = m.id AND q.state <> 'again'"
            " AND NOT EXISTS (SELECT 1 FROM questions o WHERE o.message_id = m.id AND o.state = 'again'))"
            " ORDER BY m.id LIMIT ?",
            (to_text(recorded_since), int(within.total_seconds()), limit),
        )
        return [number for (number,) in rows]

    def claim(self, message_id: int, user_id: int, now: datetime) -> bool:
        """Claim the one question to this person; False when it was claimed before."""
        cursor = self._execute(
            "INSERT INTO questions (message_id, user_id, state, at) VALUES (?, ?, 'sending', ?)"
            " ON CONFLICT DO UPDATE SET state = 'sending', at = excluded.at WHERE state = 'again'",
            (message_id, user_id, to_text(now)),
        )
        return cursor.rowcount == 1

    def finish(
        self,
        message_id: int,
        user_id: int,
        state: Literal["sent", "refused", "unknown", "nobody", "again"],
    ) -> None:
        """`again`: it is certain that nothing was sent."""
        self._execute(
            "UPDATE questions SET state = ? WHERE message_id = ? AND user_id = ?",
            (state, message_id, user_id),
        )

    def of_message(self, message_id: int) -> dict[int, str]:
        """User id to the state of the question to him."""
        query = "SELECT user_id, state FROM questions WHERE message_id = ? AND user_id <> 0"
        return dict(self._rows(query, (message_id,)))


_BINDINGS = tuple[Binding, ...]
