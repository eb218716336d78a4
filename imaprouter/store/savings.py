"""Missing messages, and how far the portal was asked to make their activities: one call at a time of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from imaprouter.store.database import to_text
from imaprouter.store.rows import Tables, marks

Stand = Literal["looked", "seen", "asking", "asked", "unknown", "refused", "vain", "settled"]
#: The activity was asked for, and may have been made.
CLAIMED: tuple[Stand, ...] = ("asking", "asked", "unknown")
# It is missing, and neither of the past nor under a question that the portal may answer.
_MISSING = (
    "m.state = 'missing' AND m.same_as IS NULL AND NOT m.past AND NOT m.open_questions"
    " AND NOT EXISTS (SELECT 1 FROM activities a WHERE a.message_id = m.id)"
)


@dataclass(frozen=True, slots=True)
class Saving:
    """How far one message has come."""

    state: Stand
    mail_id: int | None
    tries: int


class Savings(Tables):
    def due(self, recorded_since: datetime, now: datetime, farthest: datetime, limit: int) -> list[int]:
        """Missing messages that are to be looked at, oldest first, recorded since then.

        A next look beyond `farthest` was set by a clock that was wrong, and is due too.
        """
        rows = self._rows(
            "SELECT m.id FROM messages m LEFT JOIN savings s ON s.message_id = m.id"
            f" WHERE {_MISSING} AND m.recorded_at >= ?"
            " AND (s.state IS NULL OR s.next_at <= ? OR s.next_at > ?) ORDER BY m.id LIMIT ?",
            (to_text(recorded_since), to_text(now), to_text(farthest), limit),
        )
        return [number for (number,) in rows]

    def get(self, message_id: int) -> Saving | None:
        row = self._row("SELECT state, mail_id, tries FROM savings WHERE message_id = ?", (message_id,))
        return Saving(*row) if row else None

    def claimed(self, message_ids: Sequence[int]) -> bool:
        """Whether the activity of one of these was asked for."""
        return bool(
            self._rows(
                f"SELECT 1 FROM savings WHERE message_id IN ({marks(message_ids)})"
                f" AND state IN ({marks(CLAIMED)}) LIMIT 1",
                (*message_ids, *CLAIMED),
            )
        )

    def claim(self, message_id: int, mail_id: int, now: datetime, look_at: datetime) -> bool:
        """Claim the call, which comes next; False when the message is not missing any more.

        Call it inside `transaction()`.
        """
        changed = self._execute(
            "UPDATE savings SET state = 'asking', mail_id = ?, tries = tries + 1, at = ?, next_at = ?"
            " WHERE message_id = ?"
            f" AND EXISTS (SELECT 1 FROM messages m WHERE m.id = savings.message_id AND {_MISSING})",
            (mail_id, to_text(now), to_text(look_at), message_id),
        )
        return changed.rowcount == 1

    def note(
        self,
        message_id: int,
        state: Stand,
        now: datetime,
        next_at: datetime | None,
        *,
        mail_id: int | None = None,
    ) -> None:
        """How far the message has come. `mail_id` None keeps the one on record."""
        self._execute(
            "INSERT INTO savings (message_id, state, mail_id, at, next_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET state = excluded.state, at = excluded.at,"
            " next_at = excluded.next_at, mail_id = coalesce(excluded.mail_id, mail_id)",
            (message_id, state, mail_id, to_text(now), to_text(next_at)),
        )

    def put_off(self, message_id: int, now: datetime, next_at: datetime) -> None:
        """Look later; how far it has come stays."""
        self._execute(
            "INSERT INTO savings (message_id, state, at, next_at) VALUES (?, 'looked', ?, ?)"
            " ON CONFLICT DO UPDATE SET next_at = excluded.next_at"
            " WHERE state NOT IN ('refused', 'vain', 'settled')",
            (message_id, to_text(now), to_text(next_at)),
        )

    def release(self, message_id: int, next_at: datetime) -> None:
        """Give a claim back: it is certain that nothing was executed."""
        self._execute(
            "UPDATE savings SET state = 'seen', tries = tries - 1, next_at = ? WHERE message_id = ?",
            (to_text(next_at), message_id),
        )
