"""What a report counts: a row for each period and mailbox, manager, deal or client. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Literal, get_args

from imaprouter.model import Result, State, Target
from imaprouter.policy import RuleName

By = Literal["day", "week", "month"]
Per = Literal["mailbox", "manager", "deal", "client"]

#: What a decision may name as its rule; reports show them in this order.
RULES: tuple[str, ...] = (*get_args(RuleName), "conflict", "loop", "fallback")

#: Letters that wait for an answer longest, which a report names one by one.
WORST = 10


class Kind(StrEnum):
    """What a message counts as."""

    #: Of people outside, by themselves or through a list.
    RECEIVED = "received"
    #: Bounces, automatic replies and notifications that came in.
    MACHINE = "machine"
    SENT = "sent"
    #: Of an employee to the mailbox: a decision, and nothing else.
    COLLEAGUES = "colleagues"


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the journal, as far as it counts."""

    number: int
    kind: Kind
    #: When the mail server got it.
    at: datetime
    #: The local day of `at`.
    day: date
    mailbox: str
    #: The client's address: who wrote it, or to whom we did; '' when unknown.
    client: str
    subject: str
    #: Where it belongs; None where nobody has said so.
    target: Target | None
    rule: str
    #: Its trail names a conflict, whichever rule won.
    conflict: bool
    #: Nobody has opened it yet (`\\Seen`), as far as the journal knows: some minutes ago, of the last month.
    unseen: bool
    state: State
    result: Result | None
    #: A person was asked.
    asked: bool
    #: A person has said where it belongs.
    chosen: bool
    #: What he said is not what we had decided.
    otherwise: bool
    #: From the arrival of the mail to its activity in Bitrix24; None without one.
    delay: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took, of those that it has happened to; None for none of them."""

    median: timedelta | None = None
    #: Of a hundred, the one with only ten, or five, behind it.
    high: timedelta | None = None
    worst: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages, each counted once; the names are those of the columns."""

    received: int = 0
    #: Of those received, the ones that nobody has opened.
    not_seen: int = 0
    replied: int = 0
    #: Received and not replied to until now.
    unanswered: int = 0
    machines: int = 0
    sent: int = 0
    #: Rule to decisions, of every message; only rules that decided something.
    decided: Mapping[str, int] = field(default_factory=dict)
    conflicts: int = 0
    moved: int = 0
    already_right: int = 0
    #: Waiting for a person now.
    review: int = 0
    missing: int = 0
    failed: int = 0
    #: We had decided, and a person chose something else.
    overruled: int = 0
    #: We had asked, and a person chose.
    answered: int = 0
    #: From a client's letter to the reply; `high` is the 90th percentile.
    reply: Spread = Spread()
    #: From a client's letter that nobody has replied to until now; `high` is the 90th percentile.
    waiting: Spread = Spread()
    #: From the arrival of a mail to its activity in Bitrix24; `high` is the 95th percentile.
    delay: Spread = Spread()


#: The columns that are one number, and those that are durations.
NUMBERS = tuple(name for name, column in Counts.__dataclass_fields__.items() if column.type == "int")
SPREADS: Mapping[str, str] = {"reply": "p90", "waiting": "p90", "delay": "p95"}


@dataclass(frozen=True, slots=True)
class Group:
    """Whose messages a row counts."""

    name: str
    #: In the CRM; None for a mailbox or an address.
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    #: As ISO 8601 writes it: 2026-11-24, 2026-W48, 2026-11.
    period: str
    group: Group
    counts: Counts


@dataclass(frozen=True, slots=True)
class Report:
    per: Per
    #: Oldest first, then by name.
    rows: tuple[Row, ...]
    total: Counts
    #: Letters that wait for an answer longest.
    worst: tuple[Entry, ...]
    #: Until when letters have waited.
    now: datetime


def period(day: date, by: By) -> str:
    """The period that the day lies in. A week belongs to the year of its Thursday."""
    if by == "week":
        year, week, _ = day.isocalendar()
        return f"{year:04}-W{week:02}"
    return day.isoformat() if by == "day" else day.isoformat()[:7]


def report(
    entries: Iterable[Entry],
    replied: Mapping[int, datetime],
    *,
    by: By,
    per: Per,
    group: Callable[[Entry], Group],
    now: datetime,
) -> Report:
    """Count messages. `replied`: when each letter was answered first, by number (correspondence.answers)."""
    entries = tuple(entries)
    grouped: dict[tuple[str, Group], list[Entry]] = defaultdict(list)
    for entry in entries:
        grouped[period(entry.day, by), group(entry)].append(entry)
    rows = (Row(when, whose, count(some, replied, now)) for (when, whose), some in grouped.items())
    return Report(
        per=per,
        rows=tuple(sorted(rows, key=lambda row: (row.period, row.group.name, row.group.id or 0))),
        total=count(entries, replied, now),
        worst=tuple(unanswered(entries, replied)[:WORST]),
        now=now,
    )


def unanswered(entries: Iterable[Entry], replied: Mapping[int, datetime]) -> list[Entry]:
    """The letters of clients that nobody has replied to, longest waiting first."""
    waiting = [entry for entry in entries if entry.kind == Kind.RECEIVED and entry.number not in replied]
    return sorted(waiting, key=lambda entry: (entry.at, entry.number))


def count(entries: Sequence[Entry], replied: Mapping[int, datetime], now: datetime) -> Counts:
    """One row's columns."""
    received = [entry for entry in entries if entry.kind == Kind.RECEIVED]
    waiting = unanswered(received, replied)
    kinds = Counter(entry.kind for entry in entries)
    states = Counter(entry.state for entry in entries)
    results = Counter(entry.result for entry in entries)
    replies = [replied[entry.number] - entry.at for entry in received if entry.number in replied]
    return Counts(
        received=len(received),
        not_seen=sum(entry.unseen for entry in received),
        replied=len(received) - len(waiting),
        unanswered=len(waiting),
        machines=kinds[Kind.MACHINE],
        sent=kinds[Kind.SENT],
        decided=dict(Counter(entry.rule for entry in entries)),
        conflicts=sum(entry.conflict for entry in entries),
        moved=results[Result.MOVED],
        already_right=results[Result.ALREADY_RIGHT],
        review=states[State.REVIEW],
        missing=states[State.MISSING],
        failed=states[State.FAILED],
        overruled=sum(entry.chosen and not entry.asked and entry.otherwise for entry in entries),
        answered=sum(entry.chosen and entry.asked for entry in entries),
        reply=_spread(replies, 90),
        waiting=_spread([max(now - entry.at, timedelta()) for entry in waiting], 90),
        delay=_spread([entry.delay for entry in entries if entry.delay is not None], 95),
    )


def _spread(durations: Iterable[timedelta], high: int) -> Spread:
    """Median and percentile by nearest rank: each is a duration that really occurred."""
    ranked = sorted(durations)
    if not ranked:
        return Spread()
    return Spread(_ranked(ranked, 50), _ranked(ranked, high), ranked[-1])


def _ranked(ranked: Sequence[timedelta], percent: int) -> timedelta:
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


def rules(some: Iterable[Row]) -> tuple[str, ...]:
    """RULES, and after them what an earlier version may have named besides."""
    further = {rule for row in some for rule in row.counts.decided} - set(RULES)
    return (*RULES, *sorted(further))
