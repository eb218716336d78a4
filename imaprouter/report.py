"""What a report counts: one row for each period and mailbox. Pure.

What a message counts as is told by `store.reports`, which counts; here days become periods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Literal, get_args

from imaprouter.policy import RuleName

By = Literal["day", "week", "month"]

#: What a decision may name as its rule; reports show them in this order.
RULES: tuple[str, ...] = (*get_args(RuleName), "conflict", "loop", "fallback")


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages, each counted once; the names are those of the columns."""

    #: Letters of people outside, by themselves or through a list; those of employees are none.
    received: int = 0
    #: Bounces, automatic replies and notifications that came in.
    machines: int = 0
    sent: int = 0
    #: Rule to decisions, of every message; only rules that decided something.
    decided: Mapping[str, int] = field(default_factory=dict)
    #: Decisions whose trail names a conflict, whichever rule won.
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

    def __add__(self, other: Counts) -> Counts:
        decided = dict(Counter(self.decided) + Counter(other.decided))
        numbers = {name: getattr(self, name) + getattr(other, name) for name in NUMBERS}
        return Counts(**numbers, decided=decided)


#: The columns that are one number.
NUMBERS = tuple(column.name for column in fields(Counts) if column.name != "decided")


@dataclass(frozen=True, slots=True)
class Tally:
    """Some of what one mailbox got or sent on one day."""

    day: date
    mailbox: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Row:
    #: As ISO 8601 writes it: 2026-11-24, 2026-W48, 2026-11.
    period: str
    mailbox: str
    counts: Counts


def period(day: date, by: By) -> str:
    """The period that the day lies in. A week belongs to the year of its Thursday."""
    if by == "week":
        year, week, _ = day.isocalendar()
        return f"{year:04}-W{week:02}"
    return day.isoformat() if by == "day" else day.isoformat()[:7]


def rows(tallies: Iterable[Tally], by: By) -> list[Row]:
    """One row for each period and mailbox of which anything is told, oldest first, then by mailbox."""
    found: dict[tuple[str, str], Counts] = {}
    for tally in tallies:
        key = (period(tally.day, by), tally.mailbox)
        found[key] = found.get(key, Counts()) + tally.counts
    return [Row(*key, counts) for key, counts in sorted(found.items(), key=lambda item: item[0])]


def total(some: Iterable[Row]) -> Counts:
    return sum((row.counts for row in some), Counts())


def rules(some: Iterable[Row]) -> tuple[str, ...]:
    """RULES, and after them what an earlier version may have named besides."""
    further = {rule for row in some for rule in row.counts.decided} - set(RULES)
    return (*RULES, *sorted(further))
