"""What the journal knows of threads: ids of letters on record, and hints from letters that answer others.

A hint is learned from few letters only, since an id can be quoted by anyone (imap.md 5): the participants
rule, which trusts the sender, must have counted the deal among those of his client (for our own letters: of
the recipients'). Nothing is learned from a stranger's letter, from one of a colleague whom the CRM does not
know, or from a machine's.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from imaprouter.address import canonical_id
from imaprouter.model import Decision, EntityType, Envelope, KnownMessage, Target
from imaprouter.store.rows import Tables, load

#: Of a long thread the nearest and the oldest ids are kept: programs cut References in the middle.
_MOST_ANCESTORS = 50
#: A shorter local part may be a counter, which two hosts can share.
_CUT_LOCAL_PART = 16
_LAST_CHARACTER = "\U0010ffff"

# `message_id <> ''` makes the partial index usable: SQLite cannot conclude it from a bound value.
#: Journal ids of the messages with this canonical id, or with it as a further one.
CLAIMED = (
    "SELECT id FROM messages WHERE message_id = ?1 AND message_id <> ''"
    " UNION SELECT message_id FROM other_ids WHERE other_id = ?1"
)
_TARGETS = "m.target_type, m.target_id, m.person_type, m.person_id"
_HAS_TARGET = "(m.target_type IS NOT NULL OR m.person_type IS NOT NULL)"

#: Every query of this module, for checking that none of them reads a whole table.
QUERIES = {
    "claims": (
        f"SELECT {_TARGETS}, m.id FROM messages m WHERE m.id IN ({CLAIMED}) AND {_HAS_TARGET}"
        " AND (?1 NOT LIKE 'crm.activity.%' OR m.direction = 'outgoing')"
        " ORDER BY coalesce(m.settled_at, m.recorded_at) DESC, m.id DESC"
    ),
    "seen": f"{CLAIMED} LIMIT 1",
    "begun": (
        "SELECT DISTINCT message_id FROM messages"
        " WHERE message_id > ?1 AND message_id < ?2 AND message_id <> '' LIMIT 2"
    ),
    "answers": (
        f"SELECT DISTINCT {_TARGETS} FROM weak_ids w JOIN messages m ON m.id = w.message_id"
        f" WHERE w.ancestor = ?1 AND {_HAS_TARGET}"
    ),
    "conversation": (
        f"SELECT DISTINCT {_TARGETS} FROM messages m"
        f" WHERE m.conversation = ?1 AND m.conversation <> '' AND {_HAS_TARGET}"
    ),
}


class Threads(Tables):
    def known_message(self, message_id: str) -> KnownMessage | None:
        """What earlier letters say of a canonical Message-ID; a person's choice before our decision.

        Anybody can send a mail with somebody else's Message-ID (imap.md 4): an id under which different
        mails have different targets proves nothing, and only our own letter has an id of the CRM's. An id
        that a gateway cut behind its '@' is the one id on record that begins so.
        """
        # The cheap question first: most ids that a letter quotes are on no record.
        if not self._row(QUERIES["seen"], (message_id,)):
            message_id = self._whole(message_id)
            if not message_id:
                return None
        rows = self._rows(QUERIES["claims"], (message_id,))
        chosen = next((row for row in rows if row[2]), None)
        if chosen:
            target = Target(EntityType(chosen[2]), chosen[3])
            return KnownMessage(message_id, target, "person", self._parties(chosen[4]))
        agreed = _agreed(rows)
        return KnownMessage(message_id, agreed, "decision") if agreed else None

    def weak_message(self, message_id: str) -> KnownMessage | None:
        """The deal of all letters that answer this message, which itself is not on record (peers.md F1).

        A person's choice comes before our decisions; where they disagree, nothing is known.
        """
        if self._row(QUERIES["seen"], (message_id,)):
            return None
        return _hint(message_id, self._rows(QUERIES["answers"], (message_id,)), "weak")

    def known_conversation(self, conversation: str) -> KnownMessage | None:
        """As `weak_message`, of an Outlook conversation."""
        return _hint(conversation, self._rows(QUERIES["conversation"], (conversation,)), "conversation")

    def _parties(self, number: int) -> frozenset[str]:
        """The addresses between which message `number` went."""
        row = self._row("SELECT envelope FROM messages WHERE id = ?", (number,))
        if row is None:
            return frozenset()
        envelope = load(row[0], Envelope)
        return frozenset((*(writer.email for writer in envelope.writers), *envelope.recipients))

    def _whole(self, message_id: str) -> str:
        """The one id on record that this one is the beginning of, '' when there is none, or several."""
        local, at, _ = message_id.partition("@")
        if not at or len(local) < _CUT_LOCAL_PART:
            return ""
        found = self._rows(QUERIES["begun"], (message_id, message_id + _LAST_CHARACTER))
        return str(found[0][0]) if len(found) == 1 else ""

    def _learn(
        self, number: int, envelope: Envelope, others: Sequence[str], seen: Container[str], *, hints: bool
    ) -> None:
        """Remember under which ids message `number` is known, and what it hints at for later letters.

        `others` are its `other_ids`; `seen` holds those of its ancestors that are on record.
        """
        self._put_ids("other_ids", "other_id", number, others)
        if hints:
            unseen = [one for one in _kept(envelope.parents) if one not in seen]
            self._put_ids("weak_ids", "ancestor", number, unseen)

    def _learn_again(self, number: int, envelope: Envelope, own: str, *, hints: bool) -> None:
        """As `_learn`, of message `number` with the canonical id `own`, which was decided before."""
        ancestors = _kept(envelope.parents)
        self._forget_ids(number, ancestors)
        seen = {one for one in ancestors if self._row(QUERIES["seen"], (one,))}
        self._learn(number, envelope, other_ids(envelope, own), seen, hints=hints)
        self._execute(
            "UPDATE messages SET conversation = ? WHERE id = ?",
            (envelope.conversation if hints else "", number),
        )

    def _put_ids(self, table: str, column: str, number: int, ids: Sequence[str]) -> None:
        if not ids:
            return
        self._db.conn.executemany(
            f"INSERT OR IGNORE INTO {table} ({column}, message_id) VALUES (?, ?)",
            ((one, number) for one in ids),
        )

    def _forget_ids(self, number: int, ancestors: Iterable[str]) -> None:
        self._db.conn.executemany(
            "DELETE FROM weak_ids WHERE ancestor = ? AND message_id = ?",
            ((one, number) for one in ancestors),
        )


def other_ids(envelope: Envelope, own: str) -> list[str]:
    """The further ids of a letter in canonical form, without its `own`."""
    ids = dict.fromkeys(canonical_id(written) for written in envelope.other_ids)
    return [one for one in ids if one and one != own]


def may_hint(decision: Decision) -> bool:
    """Whether the sender is the client of the deal, or of the deals between which a person has to choose."""
    of_client = [found for found in decision.trail if found.rule == "participants"]
    counted = {number for found in of_client for number in found.candidates}
    counted |= {
        found.target.id for found in of_client if found.target and found.target.type is EntityType.DEAL
    }
    if decision.review:
        return bool(counted)
    target = decision.target
    return target is not None and target.type is EntityType.DEAL and target.id in counted


def _kept(ancestors: tuple[str, ...]) -> tuple[str, ...]:
    named = tuple(one for one in ancestors if one)
    if len(named) <= _MOST_ANCESTORS:
        return named
    half = _MOST_ANCESTORS // 2
    return named[:half] + named[-half:]


def _hint(name: str, rows: list[Any], source: str) -> KnownMessage | None:
    by_people = [row for row in rows if row[2]]
    target = _agreed([(row[2], row[3]) for row in by_people]) if by_people else _agreed(rows)
    if target is None or target.type is not EntityType.DEAL:
        return None
    return KnownMessage(name, target, source)


def _agreed(rows: Iterable[Any]) -> Target | None:
    """The one target that all of these rows begin with."""
    targets = {Target(EntityType(row[0]), row[1]) for row in rows}
    return targets.pop() if len(targets) == 1 else None
