"""What the journal tells about many messages at once, one by one as reports count them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from imaprouter.correspondence import Written, topic_of
from imaprouter.model import Address, EntityType, Nature, Outcome, Result, State, Target
from imaprouter.report import Entry, Kind
from imaprouter.store.database import to_moment, translated
from imaprouter.store.rows import Tables, load

_DAY = 86_400
_EPOCH = date(1970, 1, 1)
# What the server could not hand over was never read, and nothing was decided of it (arrival.unreadable).
_EACH = """
SELECT m.id, m.internal_second, m.mailbox, f.name, m.direction = 'outgoing', m.seen, m.state, m.result,
    m.person_type, m.person_id, m.message_id, m.envelope, m.decision,
    (SELECT min(json_extract(a.activity, '$.created_at')) FROM activities a WHERE a.message_id = m.id)
FROM messages m JOIN folders f ON f.id = m.folder_id
WHERE m.same_as IS NULL AND NOT (m.fingerprint = '' AND m.size = 0)
    AND m.internal_second BETWEEN ? AND ? ORDER BY m.internal_second, m.id
"""
_BEGINNING, _END = -(10**14), 10**14


@dataclass(frozen=True, slots=True)
class _Read:
    """What is read of an envelope."""

    subject: str = ""
    from_: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    parents: tuple[str, ...] = ()
    other_ids: tuple[str, ...] = ()
    nature: Nature = Nature.CLIENT


@dataclass(frozen=True, slots=True)
class _Rule:
    rule: str


@dataclass(frozen=True, slots=True)
class _Decided:
    """What is read of a decision."""

    outcome: Outcome
    rule: str
    trail: tuple[_Rule, ...] = ()
    target: Target | None = None
    review: bool = False


class Reports(Tables):
    def entries(
        self, first: date | None, last: date | None, sent_folders: Collection[tuple[str, str]] = ()
    ) -> Iterator[tuple[Entry, Written]]:
        """The messages that arrived from the local day `first` to `last`, both included; None: no end.

        Each as it counts and as it may answer or be answered. What lies in one of the `sent_folders`
        (mailbox, name) was sent, whoever stands in From. A mail that was met again is one, in two mailboxes
        it is two. By arrival.
        """
        # No local day is more than a day away from UTC's: the index narrows, the day decides.
        since = _second(first) - _DAY if first else _BEGINNING
        until = _second(last) + 2 * _DAY if last else _END
        with translated(self._path):
            for row in self._db.execute(_EACH, (since, until)):
                entry, written = _entry(row, sent_folders)
                if (first is None or entry.day >= first) and (last is None or entry.day <= last):
                    yield entry, written

    def sent_by_portal(self, first: date | None) -> Iterator[Written]:
        """The letters that the portal shows as sent since the local day `first`, as they may answer.

        Those that lie in Sent as well are among them. What each answers is not told over REST.
        """
        since = _second(first) - _DAY if first else _BEGINNING
        query = "SELECT second, message_id, subject, people FROM portal_letters WHERE second >= ?"
        for second, message_id, subject, people in self._rows(query, (since,)):
            yield Written(
                number=0,
                ours=True,
                at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second),
                ids=frozenset({message_id} - {""}),
                parents=frozenset(),
                people=load(people, frozenset[str]),
                topic=topic_of(subject),
            )


def _entry(row: tuple[object, ...], sent_folders: Collection[tuple[str, str]]) -> tuple[Entry, Written]:
    number, second, mailbox, folder, outgoing, seen, state, result, kind, person, message_id, *texts = row
    envelope, decision = load(str(texts[0]), _Read), load(str(texts[1]), _Decided)
    made_at = to_moment(str(texts[2])) if texts[2] else None
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(str(second)))
    ours = bool(outgoing) or (mailbox, folder) in sent_folders
    target = Target(EntityType(str(kind)), int(str(person))) if kind else None
    people = envelope.to + envelope.cc if ours else envelope.reply_to + envelope.from_
    addresses = tuple(dict.fromkeys(address.email for address in people))
    entry = Entry(
        number=int(str(number)),
        kind=_kind(ours, envelope, decision),
        at=at,
        day=_local_day(at),
        mailbox=str(mailbox),
        client=next(iter(addresses), ""),
        subject=envelope.subject,
        target=target if kind or result == Result.PERSON or decision.review else decision.target,
        rule=decision.rule,
        conflict=any(finding.rule == "conflict" for finding in decision.trail),
        unseen=not seen,
        state=State(str(state)),
        result=Result(str(result)) if result else None,
        asked=decision.review,
        chosen=bool(kind) or result == Result.PERSON,
        otherwise=target != decision.target,
        delay=max(made_at - at, timedelta()) if made_at else None,
    )
    written = Written(
        number=entry.number,
        ours=ours,
        at=at,
        ids=frozenset(one for one in (str(message_id), *envelope.other_ids) if one),
        parents=frozenset(envelope.parents),
        people=frozenset(addresses),
        topic=topic_of(envelope.subject),
    )
    return entry, written


def _kind(ours: bool, envelope: _Read, decision: _Decided) -> Kind:
    if ours:
        return Kind.SENT
    if envelope.nature not in (Nature.CLIENT, Nature.LIST):
        return Kind.MACHINE
    # An employee's letter is the only one of a person that the last of all rules ignores.
    colleagues = decision.outcome is Outcome.IGNORE and decision.rule == "fallback"
    return Kind.COLLEAGUES if colleagues else Kind.RECEIVED


def _local_day(moment: datetime) -> date:
    """The day by the time zone of this machine, which may lie outside of all calendars."""
    try:
        return moment.astimezone().date()
    except (OverflowError, ValueError, OSError):
        return moment.date()


def _second(day: date) -> int:
    return (day - _EPOCH).days * _DAY
