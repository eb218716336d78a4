"""What would become of a letter, against where its activity is bound and what people made of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from imaprouter import plan
from imaprouter.model import Binding, Decision, Target


class Verdict(StrEnum):
    #: It is bound where we would bind it.
    AGREES = "agrees"
    WOULD_MOVE = "would_move"
    #: We would have bound it elsewhere, but a person has bound it: it stays.
    PERSON = "person"
    #: A person would be asked.
    REVIEW = "review"
    #: We would leave it as it is, or ignore it.
    LEFT = "left"
    #: Bitrix24 has no activity of it, or none that can be read.
    NONE = "none"


class Hit(StrEnum):
    """What we decided, against what a person chose."""

    RIGHT = "right"
    WRONG = "wrong"
    #: We would have asked.
    ASKED = "asked"
    #: We would have left it as Bitrix24 had bound it.
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Truth:
    """Where a person put a letter, and how that is known."""

    target: Target
    #: He answered us, he overruled us, or the order of the bindings shows that he bound it later.
    source: Literal["answered", "overruled", "order"]


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    truth: Truth | None = None
    hit: Hit | None = None


def judged(
    decision: Decision,
    bound: Sequence[Binding] | None,
    unwanted_leads: frozenset[int] = frozenset(),
    *,
    by_hand: bool = False,
    truth: Truth | None = None,
) -> Judgement:
    """`bound` None: there is no activity. `by_hand`: a person changed what it is bound to."""
    return Judgement(_verdict(decision, bound, unwanted_leads, by_hand), truth, _hit(decision, truth))


def _verdict(
    decision: Decision, bound: Sequence[Binding] | None, unwanted_leads: frozenset[int], by_hand: bool
) -> Verdict:
    if decision.target is None and not decision.review:
        return Verdict.LEFT
    if bound is None:
        return Verdict.NONE
    if decision.target is None or decision.review:
        return Verdict.REVIEW
    if not plan.steps(decision.target, bound, unwanted_leads):
        return Verdict.AGREES
    return Verdict.PERSON if by_hand else Verdict.WOULD_MOVE


def _hit(decision: Decision, truth: Truth | None) -> Hit | None:
    if truth is None:
        return None
    if decision.review:
        return Hit.ASKED
    if decision.target is None:
        return Hit.LEFT
    return Hit.RIGHT if decision.target == truth.target else Hit.WRONG


@dataclass(slots=True)
class Row:
    """One line of the table: what the letters came to that one rule decided."""

    decided: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    hits: Counter[Hit] = field(default_factory=Counter)

    def count(self, judgement: Judgement) -> None:
        self.decided += 1
        self.verdicts[judgement.verdict] += 1
        if judgement.hit:
            self.hits[judgement.hit] += 1

    def values(self) -> dict[str, int]:
        """Every column with its number."""
        verdicts = {verdict.value: self.verdicts[verdict] for verdict in Verdict}
        return {"decided": self.decided, **verdicts, **{f"truth_{hit}": self.hits[hit] for hit in Hit}}


class Table:
    """The rows of the rules, and the last one, of all letters."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.total = Row()

    def count(self, rule: str, judgement: Judgement) -> None:
        self.rows.setdefault(rule, Row()).count(judgement)
        self.total.count(judgement)

    def named(self) -> Iterable[tuple[str, Row]]:
        """The rules in alphabetical order."""
        return sorted(self.rows.items())
