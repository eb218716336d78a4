"""The journal's transfers: how far one that was broken off had come, and the new activities rules look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from imaprouter.store.database import to_text
from imaprouter.store.rows import Tables, dump, load, marks
from imaprouter.timelines import Fate, News


@dataclass(frozen=True, slots=True)
class Begun:
    """A transfer that was begun and is not complete."""

    begun_at: datetime
    #: Every source up to this id is done.
    position: int
    counts: dict[Fate, int]


class Transfers(Tables):
    def begun(self, request: str) -> Begun | None:
        row = self._row("SELECT begun_at, position, counts FROM transfers WHERE request = ?", (request,))
        if row is None:
            return None
        return Begun(datetime.fromisoformat(row[0]), row[1], load(row[2], dict[Fate, int]))

    def reach(self, request: str, position: int, counts: dict[Fate, int], now: datetime) -> None:
        """Every source up to this one is done."""
        self._execute(
            "INSERT INTO transfers (request, begun_at, position, counts) VALUES (?1, ?2, ?3, ?4)"
            " ON CONFLICT DO UPDATE SET position = ?3, counts = ?4",
            (request, to_text(now), position, dump(counts)),
        )

    def end(self, request: str) -> None:
        """It is complete, or is to begin anew."""
        self._execute("DELETE FROM transfers WHERE request = ?", (request,))

    def add_news(self, some: Iterable[News]) -> None:
        """Remember new activities, each once."""
        for news in some:
            self._execute(
                "INSERT OR IGNORE INTO transfer_news (id, news) VALUES (?, ?)", (news.id, dump(news))
            )

    def open_news(self, limit: int) -> list[News]:
        """Activities that no rule has looked at, oldest first."""
        query = "SELECT news FROM transfer_news WHERE looked_at IS NULL ORDER BY id LIMIT ?"
        return [load(row[0], News) for row in self._rows(query, (limit,))]

    def looked_at(self, numbers: Sequence[int], now: datetime) -> None:
        self._execute(
            f"UPDATE transfer_news SET looked_at = ? WHERE id IN ({marks(numbers)})", (to_text(now), *numbers)
        )

    def forget_news(self, below: int) -> None:
        """Drop what was looked at and is not asked for again."""
        self._execute("DELETE FROM transfer_news WHERE looked_at IS NOT NULL AND id < ?", (below,))
