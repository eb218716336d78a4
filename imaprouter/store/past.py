"""The journal's letters of the past: which are on record, looked for in the portal, still to be bound.

What is recorded as past stays so: nobody is ever told of it, also when the service goes on with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imaprouter.address import canonical_id
from imaprouter.model import EntityType, Result, State, Target
from imaprouter.store.folders import Folder
from imaprouter.store.messages import SEEN, UNSEEN, Messages, StoredMessage
from imaprouter.store.rows import marks

_HAS_ACTIVITY = "EXISTS (SELECT 1 FROM activities a WHERE a.message_id = m.id)"
_TO_BIND = f"m.past = {SEEN} AND m.state = 'waiting' AND {_HAS_ACTIVITY}"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class History:
    """What a journal knows of one activity."""

    #: We wrote, or may have written, to it.
    written: bool
    #: A person decided about its message, or took our change back; `chosen` is what, if that is clear.
    by_person: bool
    #: Our own decision asked for a person.
    asked: bool
    chosen: Target | None


class Past(Messages):
    def uids(self, folder: Folder) -> frozenset[int]:
        """Every UID of the folder's present epoch that is on record."""
        query = "SELECT uid FROM messages WHERE folder_id = ? AND epoch = ?"
        return frozenset(uid for (uid,) in self._rows(query, (folder.id, folder.epoch)))

    def with_uid(self, folder: Folder, uid: int) -> int | None:
        """The journal id of one message of the folder's present epoch."""
        query = "SELECT id FROM messages WHERE folder_id = ? AND epoch = ? AND uid = ?"
        row = self._row(query, (folder.id, folder.epoch, uid))
        return int(row[0]) if row else None

    def unseen(self, limit: int) -> list[StoredMessage]:
        """Letters whose activity is still to be looked for, oldest first."""
        return self._messages(f"m.past = {UNSEEN} ORDER BY m.internal_second, m.id LIMIT ?", (limit,))

    def count_unseen(self) -> int:
        return self._count(f"m.past = {UNSEEN}")

    def saw(self, numbers: Sequence[int]) -> None:
        """Their activities were looked for: what was to be done where there is none is not to be done."""
        self._execute(
            f"UPDATE messages AS m SET past = {SEEN} WHERE m.id IN ({marks(numbers)})", tuple(numbers)
        )
        self._execute(
            "UPDATE messages AS m SET state = 'missing',"
            " note = CASE note WHEN '' THEN 'Bitrix24 has no activity of it' ELSE note END"
            f" WHERE m.id IN ({marks(numbers)}) AND m.state IN ('waiting', 'review') AND NOT {_HAS_ACTIVITY}",
            tuple(numbers),
        )

    def to_bind(self, limit: int, *, newest_first: bool) -> list[StoredMessage]:
        """Letters whose activity is known and not corrected."""
        order = "DESC" if newest_first else "ASC"
        where = f"{_TO_BIND} ORDER BY m.internal_second {order}, m.id {order} LIMIT ?"
        return self._messages(where, (limit,))

    def count_to_bind(self) -> int:
        return self._count(_TO_BIND)

    def count_unfinished(self) -> int:
        """Letters whose correction is begun and not confirmed."""
        return self._count("m.past > 0 AND m.state = 'paired'")

    def take_observed(self, since: datetime | None) -> int:
        """Letters that were only observed are to be bound; nobody is told of them. Returns how many."""
        changed = self._execute(
            f"UPDATE messages AS m SET past = {SEEN}, state = 'waiting', result = NULL, settled_at = NULL,"
            " note = '' WHERE m.state = 'settled' AND m.result = 'observed' AND m.internal_second >= ?",
            (_second(since),),
        )
        return changed.rowcount

    def each(self, since: datetime | None) -> Iterator[StoredMessage]:
        """Every letter of the past that arrived since then, oldest first; one that was met again, once."""
        second, number = _second(since), 0
        while page := self._messages(
            "m.past > 0 AND m.same_as IS NULL AND (m.internal_second, m.id) > (?, ?)"
            " ORDER BY m.internal_second, m.id LIMIT ?",
            (second, number, _PAGE),
        ):
            yield from page
            second, number = int(page[-1].internal_date.timestamp()), page[-1].id

    def tally(self, since: datetime | None) -> dict[tuple[State, Result | None], int]:
        """How the letters of the past that arrived since then stand."""
        rows = self._rows(
            "SELECT state, result, count(*) FROM messages WHERE past > 0 AND same_as IS NULL"
            " AND internal_second >= ? GROUP BY state, result",
            (_second(since),),
        )
        return {(State(row[0]), Result(row[1]) if row[1] else None): row[2] for row in rows}

    def settle(self, message: StoredMessage, result: Result, now: datetime) -> None:
        """Nothing is to be done for it."""
        self.set_state(message.id, State.SETTLED, now, result=result)

    def follow_people(self, *, all_letters: bool = False) -> int:
        """Letters that answer one that a person put somewhere, or an answer to it, are to be decided again.

        Returns how many. Only letters whose activity is known, unless `all_letters`: others are not moved.
        """
        followed: set[str] = set()
        numbers = []
        for message in self.each(None):
            answers = not followed.isdisjoint(message.envelope.parents)
            if answers or message.person_target:
                followed.add(canonical_id(message.envelope.message_id))
                followed.discard("")
            if answers:
                numbers.append(message.id)
        return sum(
            self._execute(
                "UPDATE messages AS m SET open_questions = 1 WHERE m.id = ? AND m.person_type IS NULL"
                f" AND (m.state IN ('waiting', 'review') OR m.result = 'left') AND (? OR {_HAS_ACTIVITY})",
                (number, all_letters),
            ).rowcount
            for number in numbers
        )

    def history(self, activity_ids: Iterable[int]) -> dict[int, History]:
        """What is on record of these activities; nothing of those that are not."""
        numbers = tuple(activity_ids)
        rows = self._rows(
            "SELECT a.id, EXISTS (SELECT 1 FROM writes w WHERE w.activity_id = a.id AND w.kind <> 'notice'),"
            " m.person_type IS NOT NULL OR coalesce(m.result IN ('person', 'undone'), 0),"
            " coalesce(json_extract(m.decision, '$.review'), 0), m.person_type, m.person_id"
            " FROM activities a LEFT JOIN messages m ON m.id = a.message_id"
            f" WHERE a.id IN ({marks(numbers)})",
            numbers,
        )
        return {
            row[0]: History(
                written=bool(row[1]),
                by_person=bool(row[2]),
                asked=bool(row[3]),
                chosen=Target(EntityType(row[4]), row[5]) if row[4] else None,
            )
            for row in rows
        }

    def written(self, activity_ids: Iterable[int]) -> dict[int, History]:
        """`history` without what people said: of a letter's copy, that is still to be carried out."""
        found = self.history(activity_ids)
        return {number: replace(each, by_person=False, chosen=None) for number, each in found.items()}

    def known_activities(self, numbers: Sequence[int]) -> frozenset[int]:
        """Those of these activities that are on record."""
        found: set[int] = set()
        for start in range(0, len(numbers), _PAGE):
            some = numbers[start : start + _PAGE]
            query = f"SELECT id FROM activities WHERE id IN ({marks(some)})"
            found.update(number for (number,) in self._rows(query, some))
        return frozenset(found)

    def forget(self, activity_ids: Collection[int]) -> None:
        """Activities for which there is no letter."""
        self._db.conn.executemany(
            "DELETE FROM activities WHERE id = ? AND message_id IS NULL",
            ((number,) for number in activity_ids),
        )

    def _count(self, where: str) -> int:
        return int(self._rows(f"SELECT count(*) FROM messages m WHERE {where}")[0][0])


def _second(since: datetime | None) -> int:
    return int(since.timestamp()) if since else -(2**62)
