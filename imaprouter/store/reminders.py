"""Who was reminded of a letter that waits for an answer: once for each letter, claimed before it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from imaprouter.store.database import to_text
from imaprouter.store.rows import Tables


class Reminders(Tables):
    def claim(self, message_id: int, users: Sequence[int], now: datetime) -> list[int]:
        """Claim the one reminder of this letter; those of `users` who are to be told now.

        Nobody where anybody was told before, whoever is responsible today: only whom nothing was sent to is
        told after all. Nobody of a letter of the past. Call it inside `transaction()`.
        """
        known = self.of_message(message_id)
        wanted = [user for user in users if known.get(user) == "again"] if known else list(users)
        if not self._row("SELECT 1 FROM messages WHERE id = ? AND NOT past", (message_id,)):
            return []
        for user in wanted:
            self._execute(
                "INSERT INTO reminders (message_id, user_id, state, at) VALUES (?, ?, 'sending', ?)"
                " ON CONFLICT DO UPDATE SET state = 'sending', at = excluded.at",
                (message_id, user, to_text(now)),
            )
        return wanted

    def finish(
        self, message_id: int, user_id: int, state: Literal["sent", "refused", "unknown", "again"]
    ) -> None:
        """`again`: it is certain that nothing was sent."""
        self._execute(
            "UPDATE reminders SET state = ? WHERE message_id = ? AND user_id = ?",
            (state, message_id, user_id),
        )

    def of_message(self, message_id: int) -> dict[int, str]:
        """User id to the state of his reminder."""
        query = "SELECT user_id, state FROM reminders WHERE message_id = ?"
        return dict(self._rows(query, (message_id,)))
