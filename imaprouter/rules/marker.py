"""Rule `marker`: a deal number in the subject, such as `#123`."""

from __future__ import annotations

import re
from functools import lru_cache

from imaprouter.address import portal_id
from imaprouter.model import Deal, DealIndex, Finding, Letter, Question, Verdict, deal, sorted_ids
from imaprouter.policy import RoutingPolicy
from imaprouter.rules.people import Relation, relation
from imaprouter.rules.wording import deals_named, listed


def marker(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the one deal whose number the subject carries and whose client may have written the letter.

    A number counts only when the deal exists and `routing.marker.sender_check` lets the sender name it.
    Several such deals: the one that belongs to the sender, else ambiguous.
    """
    numbers = _numbers(letter.envelope.subject, policy.marker.patterns)
    if not numbers:
        return Finding("marker", Verdict.NO_MATCH, "no_marker", "no marker in the subject")

    accepted: dict[int, Relation] = {}
    refused: list[str] = []
    rejected: list[int] = []
    unknown: list[Question] = []
    for number in numbers:
        found = index.deal(number)
        if found is None:
            refused.append(f"deal {number} does not exist")
            unknown.append(Question("deal", str(number)))
        elif not found.active and policy.marker.closed_deal == "next_rule":
            refused.append(f"deal {number} is closed")
        else:
            standing = relation(letter, index, policy.participants, found)
            if _may_name(standing, policy):
                accepted[number] = standing
            else:
                rejected.append(number)
                refused.append(f"{_sender(letter)} {standing.value}, not of deal {number}")

    chosen = _choose(accepted)
    if chosen is not None:
        return Finding(
            "marker",
            Verdict.MATCH,
            "marker",
            f"the subject names deal {chosen}" + (f"; {listed(refused)}" if refused else ""),
            candidates=sorted_ids(accepted),
            target=deal(chosen),
            unknown=tuple(unknown),
        )
    if accepted:
        named = deals_named(Deal(number) for number in sorted(accepted))
        return Finding(
            "marker",
            Verdict.AMBIGUOUS,
            "several_markers",
            f"the subject names {named}, and the sender does not tell which is meant",
            candidates=sorted_ids(accepted),
            unknown=tuple(unknown),
        )
    return Finding(
        "marker",
        Verdict.REJECTED if rejected else Verdict.NO_MATCH,
        "not_the_senders_deal" if rejected else "no_such_open_deal",
        listed(refused),
        candidates=sorted_ids(rejected),
        unknown=tuple(unknown),
    )


def _numbers(subject: str, patterns: tuple[str, ...]) -> tuple[int, ...]:
    """Deal numbers in the order in which the subject names them."""
    hits = [
        (hit.start(), portal_id(hit.group("deal")))
        for pattern in map(_compiled, patterns)
        for hit in pattern.finditer(subject)
        if hit.group("deal")
    ]
    return tuple(dict.fromkeys(number for _, number in sorted(hits) if number > 0))


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _may_name(standing: Relation, policy: RoutingPolicy) -> bool:
    check = policy.marker.sender_check
    if check == "off":
        return True
    if check == "related":
        return standing is not Relation.FOREIGN
    return standing in (Relation.OWN, Relation.SAME_DOMAIN)


def _choose(accepted: dict[int, Relation]) -> int | None:
    if len(accepted) == 1:
        return next(iter(accepted))
    own = [number for number, standing in accepted.items() if standing is Relation.OWN]
    return own[0] if len(own) == 1 else None


def _sender(letter: Letter) -> str:
    if letter.outgoing:
        return "the recipient"
    return letter.envelope.writers[0].email if letter.envelope.writers else "the sender"
