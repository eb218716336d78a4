"""Findings of the rules become one decision. Pure: index and policy come in, nothing is changed.

The strongest rule that finds anything decides; there are no points to add up. Two answers of one rule are a
question for a person, never a choice; two rules that name different deals are named as a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from imaprouter.address import canonical_id, split_tag
from imaprouter.model import (
    Considered,
    Deal,
    DealIndex,
    Decision,
    EntityType,
    Envelope,
    Finding,
    Letter,
    Nature,
    Outcome,
    Standing,
    User,
    Verdict,
    deal,
    sorted_ids,
)
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import IMPLIED, Reason, why
from imaprouter.rules import RULES
from imaprouter.rules.people import (
    claimed_clients,
    client_addresses,
    client_named,
    employees,
    known_clients,
    merged,
)
from imaprouter.rules.thread import is_crm_id
from imaprouter.rules.trust import doubt, refutation

_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")


class _Asked(dict[_Key, _Answer]):
    """Answers by key, each asked for once."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[_Key], _Answer]) -> None:
        self._ask = ask

    def __missing__(self, key: _Key) -> _Answer:
        answer = self[key] = self._ask(key)
        return answer


class _Remembering:
    """An index that is asked each question once for one letter.

    The rules ask for every writer and recipient again with every deal that is named: a letter of thousands
    of each would ask millions of times. Which of them are employees is asked for all at once.
    """

    def __init__(self, index: DealIndex, letter: Letter) -> None:
        self._index = index
        self.reading = index.reading
        self.deal = _Asked(index.deal).__getitem__
        self.client = _Asked(index.client).__getitem__
        self.company = _Asked(index.company).__getitem__
        self.contact = _Asked(index.contact).__getitem__
        self.lead = _Asked(index.lead).__getitem__
        self.user = _Asked(index.user).__getitem__
        self.known_message = _Asked(index.known_message).__getitem__
        self.weak_message = _Asked(index.weak_message).__getitem__
        self.known_conversation = _Asked(index.known_conversation).__getitem__
        self.sent_letter = _Asked(index.sent_letter).__getitem__
        employees: _Asked[str, User | None] = _Asked(index.user_by_email)
        addresses = _spellings(letter.envelope)
        employees.update(dict.fromkeys(addresses))
        employees.update(index.users_by_email(addresses))
        self.user_by_email = employees.__getitem__
        self._deals: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[Deal, ...]] = {}

    def users(self, user_ids: Sequence[int]) -> tuple[User, ...]:
        return self._index.users(user_ids)

    def users_by_email(self, emails: Sequence[str]) -> dict[str, User]:
        return self._index.users_by_email(emails)

    def deals_of(self, contact_ids: Sequence[int], company_ids: Sequence[int]) -> tuple[Deal, ...]:
        key = tuple(contact_ids), tuple(company_ids)
        if key not in self._deals:
            self._deals[key] = self._index.deals_of(*key)
        return self._deals[key]


def _spellings(envelope: Envelope) -> tuple[str, ...]:
    """Every address in a letter, with and without its plus-tag."""
    emails = [address.email for address in envelope.reply_to + envelope.from_ + envelope.sender]
    emails += envelope.recipients
    return tuple(dict.fromkeys([*emails, *(split_tag(email)[0] for email in emails if "+" in email)]))


def decide(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Decision:
    """Decide where `letter` belongs. Never raises for what a message says."""
    with index.reading():
        return _decided(letter, _Remembering(index, letter), policy)


def _decided(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Decision:
    refuted = refutation(letter, policy.trust)
    barred = (None if refuted else _no_client_letter(letter, index, policy)) or _loop(letter, policy)
    if barred:
        if barred.rule == "loop" and letter.envelope.nature is Nature.CLIENT:
            return _looked_at(barred, letter, index, policy)
        return _set_aside(barred, letter, index, policy)
    if letter.outgoing and is_crm_id(canonical_id(letter.envelope.message_id)):
        chosen = _finding(why("sent_from_crm"))
        return _concluded(chosen, (chosen,), Outcome.LEAVE)
    trail = tuple(RULES[name](letter, index, policy) for name in policy.rules)
    if refuted:
        doubted = Finding("fallback", Verdict.AMBIGUOUS, (refuted,), _named(trail))
        return replace(_concluded(doubted, (*trail, doubted), Outcome.LEAVE), review=True)
    conflict = _conflict(trail, policy)
    if conflict:
        trail = (*trail, conflict)
        if policy.on_conflict == "review":
            return replace(_concluded(conflict, trail, Outcome.LEAVE), review=True)
    for finding in trail:
        if finding.verdict is Verdict.AMBIGUOUS and finding is not conflict:
            return replace(_concluded(finding, trail, Outcome.LEAVE), review=True)
        if finding.verdict is Verdict.MATCH:
            outcome = Outcome(finding.target.type) if finding.target else Outcome.LEAVE
            return _concluded(finding, trail, outcome)
    claim = _unproven_claim(letter, index, policy)
    if claim:
        return replace(_concluded(claim, (*trail, claim), Outcome.LEAVE), review=True)
    last = _fallback(letter, trail, policy)
    outcome = Outcome.IGNORE if letter.envelope.nature in _MACHINES else Outcome.LEAVE
    return _concluded(last, (*trail, last), outcome)


def is_colleagues(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> bool:
    """Whether an employee wrote this letter to us: Bitrix24 makes no activity of it."""
    return not letter.outgoing and bool(_colleagues(letter, index, policy))


def _colleagues(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> list[str]:
    """The addresses among the writers' that belong to employees or to connected mailboxes."""
    writers = [address.email for address in letter.envelope.writers]
    staff = employees(writers, index, policy.participants)
    return [*staff, *(email for email in writers if email in letter.house_addresses)]


def _no_client_letter(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding | None:
    """Why Bitrix24 never makes an activity of this letter (mail-internals 1.8, points 9 and 11)."""
    if letter.envelope.nature is Nature.NOTIFICATION:
        return _finding(why("own_notification"))
    if letter.outgoing:
        return None
    staff = _colleagues(letter, index, policy)
    return _finding(why("employee_wrote", person=staff[0])) if staff else None


def _set_aside(barred: Finding, letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Decision:
    """Nothing is done for it; where it forwards a client's letter, the trail says where that one belongs."""
    theirs = _forwarded(letter, index, policy)
    if theirs is None:
        return _concluded(barred, (barred,), Outcome.IGNORE)
    inner = decide(theirs, index, policy)
    reasons = [*barred.reasons, why("forwards", client=client_named(theirs))]
    if inner.target:
        reasons.append(why("forwarded_belongs", target=inner.target))
    told = replace(barred, reasons=tuple(reasons), candidates=inner.candidates)
    trail = tuple(replace(finding, unknown=()) for finding in inner.trail)
    return _concluded(told, (*trail, told), Outcome.IGNORE)


def _forwarded(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Letter | None:
    """The client's letter that a colleague forwards as an attachment, however often it was forwarded.

    Of several the first by somebody whom the CRM knows.
    """
    outside = [
        theirs
        for theirs in (
            Letter(envelope, letter.own_addresses, letter.house_addresses)
            for envelope in letter.envelope.forwarded
        )
        if theirs.envelope.from_ and _no_client_letter(theirs, index, policy) is None
    ]
    known = (each for each in outside if known_clients(client_addresses(each, index, policy), each, index))
    return next(known, outside[0] if outside else None)


def _loop(letter: Letter, policy: RoutingPolicy) -> Finding | None:
    """Two desks that answer each other: people do not exchange so many letters in an hour."""
    limit = policy.loop.limit
    if not limit or letter.recent <= limit:
        return None
    return Finding("loop", Verdict.MATCH, (why("loop", limit=limit),))


def _looked_at(looping: Finding, letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Decision:
    """A person looks: robots that order and people who send scans write as often. The portal is not asked."""
    trail = tuple(replace(RULES[name](letter, index, policy), unknown=()) for name in policy.rules)
    shown = replace(looping, verdict=Verdict.AMBIGUOUS, candidates=_named(trail))
    return replace(_concluded(shown, (*trail, shown), Outcome.LEAVE), review=True)


def _named(trail: tuple[Finding, ...]) -> tuple[int, ...]:
    """The deals that the rules name, or between which they cannot choose."""
    return sorted_ids(
        one.target.id
        for finding in trail
        for one in finding.considered
        if one.target.type is EntityType.DEAL and one.standing is not Standing.LOST
    )


def _conflict(trail: tuple[Finding, ...], policy: RoutingPolicy) -> Finding | None:
    """Two rules that name different deals, or the participants exclude a named one: a finding of its own.

    What the participants policy picked among deals that fit equally contradicts none of those.
    """
    named = [
        (finding.rule, finding.target.id)
        for finding in trail
        if finding.verdict is Verdict.MATCH and finding.target and finding.target.type is EntityType.DEAL
    ]
    by_others = {number for rule, number in named if rule != "participants"}
    people = next((finding for finding in trail if finding.rule == "participants"), None)
    against: list[Reason] = []
    if people and len(by_others) == 1:
        codes = {reason.code for reason in people.reasons}
        (number,) = by_others
        if codes & _PICKED and number in people.candidates:
            named = [(rule, own) for rule, own in named if rule != "participants"]
        elif _excludes(people, codes, number):
            against = [reason for reason in people.reasons if reason.code in _EXCLUDING]
    deals = sorted_ids(number for _, number in named)
    if len(deals) < 2 and not against:
        return None
    if against and people:
        deals = sorted_ids((*deals, *people.candidates))
    said = [why("rule_says", rule=rule, deal=number) for rule, number in named]
    answer = why("stronger_wins" if policy.on_conflict == "order" else "person_decides")
    return Finding("conflict", Verdict.AMBIGUOUS, (*said, *against, answer), deals)


# Codes of the participants' answers: a policy's pick, and what a conflict says of an exclusion.
_PICKED = frozenset({"latest_deal", "last_closed_deal"})
_EXCLUDING = frozenset({"client_of", "no_responsible", "several_deals"})


def _excludes(people: Finding, codes: set[str], number: int) -> bool:
    """Whether writer and recipients rule this deal out without naming another."""
    if people.target and people.target.type is EntityType.DEAL:
        return False
    if "no_responsible" in codes:
        return number in people.candidates
    return "several_deals" in codes and number not in people.candidates


# Shops on the portal's platform write 'system' mail too: only what nobody knows is ignored.
_MACHINES = {
    Nature.BOUNCE: "bounce_names_nothing",
    Nature.AUTO_REPLY: "auto_reply_names_nothing",
    Nature.SYSTEM: "system_names_nothing",
}


def _unproven_claim(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding | None:
    """A letter in the name of a client, and nothing proves that it is his: a person looks.

    Bitrix24 believes Reply-To and From, and has bound it to that client's last deal.
    """
    clients = [] if letter.envelope.nature in _MACHINES else claimed_clients(letter, index, policy)
    if not clients:
        return None
    client = merged(clients)
    doubted = doubt(letter, policy.trust) or why("reply_to_not_proven", client=client.email)
    deals = [found.id for found in index.deals_of(client.contact_ids, client.company_ids) if found.active]
    open_to = tuple(Considered(deal(number), Standing.OPEN, doubted) for number in deals)
    return Finding("fallback", Verdict.AMBIGUOUS, (doubted,), sorted_ids(deals), considered=open_to)


def _fallback(letter: Letter, trail: tuple[Finding, ...], policy: RoutingPolicy) -> Finding:
    machine = _MACHINES.get(letter.envelope.nature)
    rejected = next((finding for finding in trail if finding.verdict is Verdict.REJECTED), None)
    if machine and rejected:
        return Finding("fallback", Verdict.MATCH, rejected.reasons)
    doubted = None if machine else doubt(letter, policy.trust)
    said = why(machine or "nothing_known")
    return Finding("fallback", Verdict.MATCH, (said, doubted) if doubted else (said,))


def _finding(reason: Reason) -> Finding:
    return Finding("fallback", Verdict.MATCH, (reason,))


def _concluded(finding: Finding, trail: tuple[Finding, ...], outcome: Outcome) -> Decision:
    return Decision(
        outcome=outcome,
        rule=finding.rule,
        reasons=tuple(reason for reason in finding.reasons if reason.code not in IMPLIED),
        trail=trail,
        target=finding.target,
        candidates=finding.candidates,
    )
