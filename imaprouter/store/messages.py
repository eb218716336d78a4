"""The journal's messages: what arrived, what was decided and why, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from imaprouter.address import canonical_id, portal_id
from imaprouter.copies import are_copies, letter_key
from imaprouter.model import (
    Decision,
    Direction,
    EntityType,
    Envelope,
    Nature,
    Result,
    State,
    Target,
)
from imaprouter.store.batch import Batches, Keys, OnRecord, keys_of
from imaprouter.store.database import to_moment, to_text
from imaprouter.store.folders import Folder
from imaprouter.store.rows import dump, load, marks
from imaprouter.store.threads import CLAIMED, Threads, may_hint, other_ids


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message as it goes into the journal."""

    uid: int
    direction: Direction
    envelope: Envelope
    decision: Decision
    internal_date: datetime
    size: int
    seen: bool
    state: State
    result: Result | None = None
    note: str = ""
    open_questions: bool = False
    same_as: int | None = None
    #: The two parties of the letter; '' when they are not known, which keeps what is on record.
    pair_key: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What went between two parties within an hour."""

    letters: int = 0
    #: Whether one of them was stopped as part of a loop.
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as the journal holds it."""

    id: int
    mailbox: str
    folder: str
    epoch: int
    uidvalidity: int
    uid: int
    direction: Direction
    envelope: Envelope
    decision: Decision
    internal_date: datetime
    size: int
    seen: bool
    state: State
    result: Result | None
    note: str
    same_as: int | None
    person_target: Target | None
    recorded_at: datetime
    settled_at: datetime | None
    #: It came before the watch: nobody is told of it.
    past: bool = False

    @property
    def target(self) -> Target | None:
        """Where it belongs: a person's choice before our decision; None where it was left to a person."""
        if self.result in (Result.PERSON, Result.UNDONE):
            return self.person_target
        return self.person_target or self.decision.target

    @property
    def waits_for_person(self) -> bool:
        return self.decision.review and self.person_target is None


_MESSAGE_COLUMNS = (
    "m.id, m.mailbox, f.name, m.epoch, m.uidvalidity, m.uid, m.direction, m.envelope, m.decision, "
    "m.internal_date, m.size, m.seen, m.state, m.result, m.note, m.same_as, m.person_type, m.person_id, "
    "m.recorded_at, m.settled_at, m.past"
)
_HOUR = 3600
#: Of a letter of the past: its activity is still to be looked for, or that was done.
UNSEEN, SEEN = 1, 2
#: By the Date too: mail that was moved to a new server has arrived within one hour, but was not written so.
EXCHANGE = f"""
SELECT count(*), max(json_extract(decision, '$.rule') = 'loop') FROM (
    SELECT decision FROM messages WHERE pair_key = ?1 AND pair_key <> ''
    AND internal_second BETWEEN ?2 - {_HOUR} AND ?2 AND mailbox = ?3 AND same_as IS NULL
    AND (?4 IS NULL OR date_second IS NULL OR abs(date_second - ?4) <= {_HOUR})
    ORDER BY internal_second DESC LIMIT ?5)
"""
# SQLite's limit of values in one statement was 999 for long.
_MANY = 400
# Messages read at a time when all are wanted.
_PORTION = 500
# Copies of one mail reach their mailboxes within two days, in seconds.
_APART = 2 * 86_400
# What follows from a decision, unless a person has chosen.
_STANDING = frozenset({"state", "result", "note", "settled_at"})
# Whoever decides again has read the message earlier: somebody may have opened it since.
_CHANGES = {"seen": "seen = max(seen, :seen)"}
_HAS_ACTIVITY = "EXISTS (SELECT 1 FROM activities a WHERE a.message_id = m.id)"
_PAIRED = f"m.same_as IS NULL AND {_HAS_ACTIVITY}"
# A missing one is still paired when its activity comes after all, and one that was left, to see where people
# put it; what the portal is still to be asked about is not decided yet. The unary plus keeps SQLite from
# preferring the index by state to that by second.
_UNPAIRED = (
    "(+m.state IN ('waiting', 'review', 'missing') OR (+m.state = 'settled' AND m.result = 'left'))"
    f" AND NOT m.open_questions AND NOT {_HAS_ACTIVITY}"
)


class Messages(Threads, Batches):
    def add(
        self,
        folder: Folder,
        message: NewMessage,
        now: datetime,
        on_record: OnRecord | None = None,
        *,
        past: bool = False,
    ) -> int:
        """Record a message with its decision; returns its journal id. Call it inside `transaction()`.

        `on_record` knows of the batch that the message belongs to, and then of the message too.
        `past`: it came before the watch (`store.past`).
        """
        if on_record is None:
            on_record = self.on_record(folder, (keys_of(message.uid, message.envelope, message.pair_key),))
        keys = on_record.letters[message.uid]
        hints = _hints(message)
        values = {
            "folder_id": folder.id,
            "epoch": folder.epoch,
            "uidvalidity": folder.uidvalidity,
            "uid": message.uid,
            "mailbox": folder.mailbox,
            "recorded_at": to_text(now),
            "past": int(past) and (UNSEEN if may_have_activity(message) else SEEN),
            "conversation": message.envelope.conversation if hints else "",
            "pair_key": message.pair_key,
            **_decided(message, keys, now),
        }
        cursor = self._execute(_insert(tuple(values)), tuple(values.values()))
        number = int(cursor.lastrowid or 0)
        others = other_ids(message.envelope, keys.message_id)
        on_record.add(keys, others)
        self._learn(number, message.envelope, others, on_record.ids, hints=hints)
        return number

    def has_uid(self, folder: Folder, uid: int) -> bool:
        query = "SELECT 1 FROM messages WHERE folder_id = ? AND epoch = ? AND uid = ?"
        return self._row(query, (folder.id, folder.epoch, uid)) is not None

    def same_mail(
        self, mailbox: str, fingerprint: str, internal_date: datetime, size: int
    ) -> StoredMessage | None:
        """The message that this one is, met before under another folder, epoch or UID.

        The portal goes by header, INTERNALDATE and size (mail-internals 1.4); so do we. A redelivered copy
        differs in at least one and is a message of its own.
        """
        found = self._messages(
            "m.mailbox = ? AND m.fingerprint = ? AND m.internal_date = ? AND m.size = ? AND m.same_as IS NULL"
            " ORDER BY m.id LIMIT 1",
            (mailbox, fingerprint, to_text(internal_date), size),
        )
        return found[0] if found else None

    def exchange(
        self, mailbox: str, pair_key: str, arrived: datetime, date: datetime | None, most: int
    ) -> Exchange:
        """What is on record of these two parties in this mailbox for the hour up to `arrived`.

        Only the latest `most` letters are looked at. `date` is the Date header of the letter that has come.
        """
        written = int(date.timestamp()) if date else None
        row = self._row(EXCHANGE, (pair_key, int(arrived.timestamp()), mailbox, written, most))
        return Exchange(row[0], bool(row[1])) if row else Exchange()

    def same_mail_before(
        self, folder: Folder, fingerprint: str, internal_date: datetime, size: int
    ) -> StoredMessage | None:
        """The message that this one was before the folder was renumbered; each is found once."""
        found = self._messages(
            "m.mailbox = ? AND m.fingerprint = ? AND m.internal_date = ? AND m.size = ?"
            " AND m.folder_id = ? AND m.epoch < ? ORDER BY m.id LIMIT 1",
            (folder.mailbox, fingerprint, to_text(internal_date), size, folder.id, folder.epoch),
        )
        return found[0] if found else None

    def move_to_epoch(self, message_id: int, folder: Folder, uid: int) -> None:
        """The message has a new UID in this folder's current epoch. Call it inside `transaction()`.

        Where that UID could not be read before, this message takes its place.
        """
        self._execute(
            "DELETE FROM messages WHERE folder_id = ? AND epoch = ? AND uid = ? AND state = 'unreadable'",
            (folder.id, folder.epoch, uid),
        )
        self._execute(
            "UPDATE messages SET folder_id = ?, epoch = ?, uidvalidity = ?, uid = ? WHERE id = ?",
            (folder.id, folder.epoch, folder.uidvalidity, uid, message_id),
        )

    def redecide(
        self, message_id: int, message: NewMessage, now: datetime, *, settled_too: bool = False
    ) -> None:
        """Replace the decision of a message, of a settled one only with `settled_too`.

        Where a person has chosen, only the decision beside his choice changes.
        """
        keys = keys_of(message.uid, message.envelope, message.pair_key)
        values = _decided(message, keys, now)
        if message.pair_key:
            values["pair_key"] = message.pair_key
        chosen = "person_type IS NOT NULL"
        changes = ", ".join(
            f"{name} = CASE WHEN {chosen} THEN {name} ELSE :{name} END"
            if name in _STANDING
            else _CHANGES.get(name, f"{name} = :{name}")
            for name in values
        )
        changed = self._execute(
            f"UPDATE messages SET {changes} WHERE id = :id AND (state <> 'settled' OR :settled_too)",
            {**values, "id": message_id, "settled_too": settled_too},
        )
        # An answer that comes too late is no open question either.
        self._execute(
            "UPDATE messages SET open_questions = 0 WHERE id = ? AND state = 'settled'", (message_id,)
        )
        if changed.rowcount:
            self._learn_again(message_id, message.envelope, keys.message_id, hints=_hints(message))

    def copies(self, mailbox: str, envelope: Envelope, arrived: datetime) -> list[StoredMessage]:
        """The same mail in other mailboxes, by Message-ID or, where a relay rewrote it, by what it says.

        Anybody can send another letter with the Message-ID of this one, and robots count from one again: a
        copy is by the same writer and has the same Date.
        """
        second = int(arrived.timestamp())
        found = self._messages(
            "m.mailbox <> ? AND m.same_as IS NULL AND m.internal_second BETWEEN ? AND ? AND m.id IN"
            " (SELECT id FROM messages WHERE message_id = ? AND message_id <> ''"
            " UNION SELECT id FROM messages WHERE letter_key = ? AND letter_key <> '') ORDER BY m.id",
            (
                mailbox,
                second - _APART,
                second + _APART,
                canonical_id(envelope.message_id),
                letter_key(envelope),
            ),
        )
        return [copy for copy in found if are_copies(copy.envelope, envelope)]

    def decide_again(self, message_id: int) -> None:
        """Something new is known of a message that nobody decided about: the binder decides it again."""
        self._execute(
            "UPDATE messages SET open_questions = 1 WHERE id = ? AND person_type IS NULL AND ("
            "state IN ('waiting', 'paired', 'review', 'missing')"
            " OR (state = 'settled' AND result IN ('moved', 'already_right', 'left', 'observed')))",
            (message_id,),
        )

    def unreadable_uids(self, folder: Folder) -> dict[int, int]:
        """UID to journal id of the messages that this folder's server could not hand over."""
        query = "SELECT uid, id FROM messages WHERE folder_id = ? AND epoch = ? AND state = 'unreadable'"
        return dict(self._rows(query, (folder.id, folder.epoch)))

    def unopened_uids(self, folder: Folder, arrived_since: datetime, limit: int) -> list[int]:
        """UIDs of the folder's newest messages that nobody had opened (`\\Seen`) when that was last known."""
        rows = self._rows(
            "SELECT uid FROM messages INDEXED BY messages_unopened WHERE folder_id = ? AND epoch = ?"
            " AND NOT seen AND internal_second >= ? AND state <> 'unreadable' ORDER BY uid DESC LIMIT ?",
            (folder.id, folder.epoch, int(arrived_since.timestamp()), limit),
        )
        return sorted(uid for (uid,) in rows)

    def opened(self, folder: Folder, uids: Iterable[int]) -> None:
        """Somebody has opened these messages. Call it inside `transaction()`."""
        self._db.conn.executemany(
            "UPDATE messages SET seen = 1 WHERE folder_id = ? AND epoch = ? AND uid = ?",
            ((folder.id, folder.epoch, uid) for uid in uids),
        )

    def get(self, message_id: int) -> StoredMessage | None:
        found = self._messages("m.id = ?", (message_id,))
        return found[0] if found else None

    def by_reference(self, reference: str) -> list[StoredMessage]:
        """By journal id (digits only) or by Message-ID, also one that a gateway replaced."""
        if reference.isascii() and reference.isdigit():
            return self._messages("m.id = ?", (portal_id(reference),))
        key = canonical_id(reference)
        return self._messages(f"m.id IN ({CLAIMED}) ORDER BY m.id", (key,)) if key else []

    def in_states(self, *states: State, limit: int = -1) -> list[StoredMessage]:
        """Messages in any of these states, oldest first."""
        return self._messages(
            f"m.state IN ({marks(states)}) ORDER BY m.recorded_at, m.id LIMIT ?", (*states, limit)
        )

    def open_questions(self, limit: int) -> list[StoredMessage]:
        """Messages whose decision the portal may complete, oldest first."""
        return self._messages("m.open_questions ORDER BY m.id LIMIT ?", (limit,))

    def unpaired_near(self, seconds: Iterable[int]) -> list[StoredMessage]:
        """Messages without an activity whose Date or INTERNALDATE is within a second of these (Unix time)."""
        return self._near(seconds, _UNPAIRED)

    def paired_near(self, seconds: Iterable[int]) -> list[StoredMessage]:
        """Messages with an activity, as `unpaired_near`."""
        return self._near(seconds, _PAIRED)

    def _near(self, seconds: Iterable[int], condition: str) -> list[StoredMessage]:
        wanted = sorted({second + offset for second in seconds for offset in (-1, 0, 1)})
        found: dict[int, StoredMessage] = {}
        for start in range(0, len(wanted), _MANY):
            some = wanted[start : start + _MANY]
            for column in ("date_second", "internal_second"):
                near = self._messages(f"{condition} AND m.{column} IN ({marks(some)})", some)
                found.update((message.id, message) for message in near)
        return [found[number] for number in sorted(found)]

    def expired(self, begin: datetime, end: datetime, limit: int) -> list[StoredMessage]:
        """Waiting messages that were not recorded between the two and still have no activity.

        Whether one of the past has any is not the service's question.
        """
        return self._messages(
            f"{_UNPAIRED} AND m.state = 'waiting' AND NOT m.past AND m.recorded_at NOT BETWEEN ? AND ?"
            " ORDER BY m.id LIMIT ?",
            (to_text(begin), to_text(end), limit),
        )

    def has_earlier(self, message: StoredMessage) -> bool:
        """Whether an earlier message of its mailbox has its Message-ID."""
        found = self._row(
            "SELECT 1 FROM messages WHERE message_id = ? AND message_id != '' AND mailbox = ? AND id < ?",
            (canonical_id(message.envelope.message_id), message.mailbox, message.id),
        )
        return found is not None

    def earliest_unpaired(self) -> datetime | None:
        """INTERNALDATE of the oldest message that waits for its activity, past letters apart."""
        row = self._row(
            "SELECT min(m.internal_date) FROM messages m"
            f" WHERE m.state IN ('waiting', 'review') AND NOT m.past AND NOT {_HAS_ACTIVITY}"
        )
        return to_moment(row[0]) if row else None

    def count_unpaired(self) -> int:
        """How many messages wait for their activity, past letters apart."""
        row = self._row(
            "SELECT count(*) FROM messages m"
            f" WHERE m.state IN ('waiting', 'review') AND NOT m.past AND NOT {_HAS_ACTIVITY}"
        )
        return int(row[0]) if row else 0

    def waits_since(self, recorded_after: datetime) -> bool:
        """Whether a message recorded after that waits for its activity, or for an answer of the portal."""
        asked = self._row("SELECT 1 FROM messages WHERE open_questions LIMIT 1")
        waiting = self._row(
            "SELECT 1 FROM messages m WHERE m.state IN ('waiting', 'review') AND m.recorded_at > ?"
            f" AND NOT m.past AND NOT {_HAS_ACTIVITY} LIMIT 1",
            (to_text(recorded_after),),
        )
        return asked is not None or waiting is not None

    def set_state(
        self,
        message_id: int,
        state: State,
        now: datetime,
        *,
        result: Result | None = None,
        note: str = "",
        person_target: Target | None = None,
    ) -> None:
        """Where the message stands now.

        A person's choice is remembered for the thread; where it is not clear what he chose, or ours was taken
        back, the thread inherits nothing of this message any more, not even what he chose before.
        """
        self._execute(
            "UPDATE messages SET state = ?, result = ?, note = ?, settled_at = ?,"
            " person_type = coalesce(?, person_type), person_id = coalesce(?, person_id) WHERE id = ?",
            (
                state,
                result,
                note,
                to_text(now) if state is State.SETTLED else None,
                person_target.type if person_target else None,
                person_target.id if person_target else None,
                message_id,
            ),
        )
        if result in (Result.PERSON, Result.UNDONE) and person_target is None:
            self._execute(
                "UPDATE messages SET target_type = NULL, target_id = NULL, person_type = NULL,"
                " person_id = NULL, open_questions = 0 WHERE id = ?",
                (message_id,),
            )

    def set_note(self, message_id: int, note: str) -> None:
        self._execute("UPDATE messages SET note = ? WHERE id = ?", (note, message_id))

    def every(self) -> Iterator[StoredMessage]:
        """Every message, by id; a portion at a time, so that a writer need not wait."""
        last = 0
        while found := self._messages("m.id > ? ORDER BY m.id LIMIT ?", (last, _PORTION)):
            yield from found
            last = found[-1].id

    def count(self) -> int:
        return int(self._rows("SELECT count(*) FROM messages")[0][0])

    def _messages(self, where: str, values: Sequence[Any]) -> list[StoredMessage]:
        query = (
            f"SELECT {_MESSAGE_COLUMNS} FROM messages m JOIN folders f ON f.id = m.folder_id WHERE {where}"
        )
        return [_message(row) for row in self._rows(query, values)]


def may_have_activity(message: NewMessage) -> bool:
    """Whether a newly decided message is one of which Bitrix24 may have made an activity."""
    return message.state is not State.SETTLED or message.result is Result.LEFT


@cache
def _insert(names: tuple[str, ...]) -> str:
    return f"INSERT INTO messages ({', '.join(names)}) VALUES ({marks(names)})"


def _decided(message: NewMessage, keys: Keys, now: datetime) -> dict[str, object]:
    """The columns that come of reading and deciding."""
    envelope = message.envelope
    target = _inheritable(message)
    return {
        "direction": message.direction,
        "same_as": message.same_as,
        "message_id": keys.message_id,
        "fingerprint": keys.fingerprint,
        "letter_key": keys.letter_key,
        "internal_date": to_text(message.internal_date),
        "internal_second": int(message.internal_date.timestamp()),
        "date_second": int(envelope.date.timestamp()) if envelope.date else None,
        "size": message.size,
        "seen": int(message.seen),
        "envelope": dump(envelope),
        "decision": dump(message.decision),
        "target_type": target.type if target else None,
        "target_id": target.id if target else None,
        "open_questions": int(message.open_questions),
        "state": message.state,
        "result": message.result,
        "note": message.note,
        "settled_at": to_text(now) if message.state is State.SETTLED else None,
    }


def _inheritable(message: NewMessage) -> Target | None:
    """A machine's letter and an open question never become evidence for later letters."""
    return message.decision.target if _leads(message) and not message.decision.review else None


def _hints(message: NewMessage) -> bool:
    """Whether letters that answer the same unseen message may follow this one."""
    return _leads(message) and may_hint(message.decision)


def _leads(message: NewMessage) -> bool:
    machine = message.envelope.nature in (Nature.BOUNCE, Nature.AUTO_REPLY, Nature.SYSTEM)
    return not machine and not message.same_as


def _message(row: Any) -> StoredMessage:
    return StoredMessage(
        id=row[0],
        mailbox=row[1],
        folder=row[2],
        epoch=row[3],
        uidvalidity=row[4],
        uid=row[5],
        direction=Direction(row[6]),
        envelope=load(row[7], Envelope),
        decision=load(row[8], Decision),
        internal_date=datetime.fromisoformat(row[9]),
        size=row[10],
        seen=bool(row[11]),
        state=State(row[12]),
        result=Result(row[13]) if row[13] else None,
        note=row[14],
        same_as=row[15],
        person_target=Target(EntityType(row[16]), row[17]) if row[16] else None,
        recorded_at=datetime.fromisoformat(row[18]),
        settled_at=to_moment(row[19]),
        past=bool(row[20]),
    )
