"""Rule `marker`: a deal in the subject: `#123`, a signed `#123-7K4Q`, Bitrix24's own `[CRM:501-ABC123]`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice

from imaprouter.marker_signature import verifies
from imaprouter.model import (
    Considered,
    DealIndex,
    EntityType,
    Finding,
    Letter,
    Nature,
    Question,
    Standing,
    Verdict,
    deal,
    sorted_ids,
)
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.participants import evidence_alone, participants
from imaprouter.rules.people import Relation, client_named, relation
from imaprouter.rules.subject import Doubt, as_read, numbers

# What Bitrix24 puts into subjects and bodies of letters that it sends (mail-internals 4).
_OF_CRM = re.compile(r"\[(?:crm|msg):(?P<activity>\d{1,18})-(?P<code>[a-z0-9]{6})\]", re.IGNORECASE)
# Numbers that are weighed of one subject, signed ones first; whoever writes more makes work.
_MOST_NUMBERS = 50
_MACHINES = frozenset({Nature.BOUNCE, Nature.AUTO_REPLY, Nature.LIST})


def marker(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the one deal that the subject names and whose client may have written the letter.

    A signed marker is trusted from anyone, Bitrix24's own from anyone but another deal's client; with a wrong
    signature they are rejected. A bare number counts when the deal exists and `routing.marker.sender_check`
    lets the sender name it; where it may number something else, only when it is the sender's own deal, and
    as a rank only when who is addressed tells of no other. Several deals: the one that belongs to the sender,
    else ambiguous.
    """
    weighed = _Weighed()
    subject = letter.envelope.subject
    _weigh_crm_markers(as_read(subject), letter, index, policy, weighed)
    least = Doubt.OTHER if letter.envelope.nature in _MACHINES else Doubt.NONE
    for number, check, doubt in islice(numbers(subject, policy), _MOST_NUMBERS):
        _weigh_number(number, check, max(doubt, least), letter, index, policy, weighed)
    return _concluded(weighed, client_named(letter))


@dataclass(slots=True)
class _Weighed:
    """What the markers of one subject came to."""

    accepted: dict[int, tuple[Relation, Reason]] = field(default_factory=dict)
    #: Signed, or Bitrix24's own.
    proven: dict[int, tuple[Relation, Reason]] = field(default_factory=dict)
    rejected: list[int] = field(default_factory=list)
    #: A mark of Bitrix24 that is wrong names no deal.
    wrong_mark: bool = False
    refused: list[Reason] = field(default_factory=list)
    lost: dict[int, Reason] = field(default_factory=dict)
    unknown: list[Question] = field(default_factory=list)

    def refuse(self, number: int, reason: Reason, *, rejected: bool = False) -> None:
        """The deal does not count; `rejected`: it would, were it not for a failed check."""
        self.refused.append(reason)
        self.lost.setdefault(number, reason)
        if rejected:
            self.rejected.append(number)


def _concluded(weighed: _Weighed, client: str) -> Finding:
    unknown = tuple(weighed.unknown)
    refused = tuple({repr(reason): reason for reason in weighed.refused}.values())
    named = weighed.accepted | weighed.proven
    lost = [
        Considered(deal(number), Standing.LOST, reason)
        for number, reason in weighed.lost.items()
        if number not in named
    ]
    if not named:
        if not refused:
            return Finding("marker", Verdict.NO_MATCH, (why("no_marker"),))
        verdict = Verdict.REJECTED if weighed.rejected or weighed.wrong_mark else Verdict.NO_MATCH
        rejected = sorted_ids(weighed.rejected)
        return Finding("marker", verdict, refused, rejected, unknown=unknown, considered=tuple(lost))
    candidates = sorted_ids(named)
    chosen = _choose(named)
    if chosen is None:
        reasons = (why("several_markers", deals=candidates), *refused)
        fit = [Considered(deal(number), Standing.OPEN, named[number][1]) for number in candidates]
        return Finding(
            "marker", Verdict.AMBIGUOUS, reasons, candidates, unknown=unknown, considered=(*fit, *lost)
        )
    others = [
        Considered(deal(number), Standing.LOST, why("not_the_clients_deal", client=client, deal=number))
        for number in candidates
        if number != chosen
    ]
    won = Considered(deal(chosen), Standing.CHOSEN, named[chosen][1])
    reasons = (named[chosen][1], *refused)
    return Finding("marker", Verdict.MATCH, reasons, candidates, deal(chosen), unknown, (won, *others, *lost))


def _choose(named: dict[int, tuple[Relation, Reason]]) -> int | None:
    """The only one, or the only one that belongs to the sender."""
    own = [number for number, (standing, _) in named.items() if standing is Relation.OWN]
    chosen = own if len(named) > 1 else list(named)
    return chosen[0] if len(chosen) == 1 else None


def _weigh_number(
    number: int,
    check: str,
    doubt: Doubt,
    letter: Letter,
    index: DealIndex,
    policy: RoutingPolicy,
    weighed: _Weighed,
) -> None:
    found = index.deal(number)
    if check and not verifies(number, check, policy.marker.secret):
        weighed.refuse(number, why("wrong_signature", deal=number), rejected=True)
    elif found is None:
        weighed.unknown.append(Question("deal", str(number)))
        weighed.refuse(number, why("no_such_deal", deal=number))
    elif found.recurring:
        weighed.refuse(number, why("recurring_template", deal=number))
    elif not found.active and policy.marker.closed_deal == "next_rule":
        weighed.refuse(number, why("deal_closed", deal=number))
    elif check:
        weighed.proven[number] = (relation(letter, index, policy, found), why("signed_marker", deal=number))
    else:
        standing = relation(letter, index, policy, found)
        client = client_named(letter)
        if doubt and (
            standing not in (Relation.OWN, Relation.SAME_DOMAIN)
            or (doubt is Doubt.RANK and _other_is_meant(number, letter, index, policy))
        ):
            weighed.refuse(number, why("counts_something_else", deal=number))
        elif _may_name(standing, policy):
            weighed.accepted[number] = (standing, why("marker", deal=number))
        else:
            code = "not_the_senders_deal" if standing is Relation.FOREIGN else "not_the_clients_deal"
            weighed.refuse(number, why(code, client=client, deal=number), rejected=True)


def _other_is_meant(number: int, letter: Letter, index: DealIndex, policy: RoutingPolicy) -> bool:
    """Whether the addressed employees tell of another deal."""
    meant = participants(letter, index, evidence_alone(policy)).target
    return meant is not None and meant.type is EntityType.DEAL and meant.id != number


def _weigh_crm_markers(
    subject: str, letter: Letter, index: DealIndex, policy: RoutingPolicy, weighed: _Weighed
) -> None:
    for hit in _OF_CRM.finditer(subject):
        activity = int(hit["activity"])
        sent = index.sent_letter(activity)
        if sent is None:
            weighed.unknown.append(Question("activity", str(activity)))
            weighed.refused.append(why("no_such_letter", activity=activity))
        elif not sent.message_id.startswith(f"crm.activity.{activity}-{hit['code'].lower()}@"):
            weighed.wrong_mark = True
            weighed.refused.append(why("wrong_crm_marker", activity=activity))
        elif sent.target.type is EntityType.DEAL:
            _weigh_sent_from(sent.target.id, letter, index, policy, weighed)


def _weigh_sent_from(
    number: int, letter: Letter, index: DealIndex, policy: RoutingPolicy, weighed: _Weighed
) -> None:
    found = index.deal(number)
    standing = relation(letter, index, policy, found) if found else Relation.UNKNOWN
    if found and found.recurring:
        weighed.refuse(number, why("recurring_template", deal=number))
    elif found and not found.active and policy.marker.closed_deal == "next_rule":
        weighed.refuse(number, why("deal_closed", deal=number))
    elif standing is Relation.FOREIGN:
        foreign = why("not_the_senders_deal", client=client_named(letter), deal=number)
        weighed.refuse(number, foreign, rejected=True)
    else:
        weighed.proven[number] = (standing, why("crm_marker", deal=number))


def _may_name(standing: Relation, policy: RoutingPolicy) -> bool:
    check = policy.marker.sender_check
    if check == "off":
        return True
    if check == "related":
        return standing is not Relation.FOREIGN
    return standing in (Relation.OWN, Relation.SAME_DOMAIN)
