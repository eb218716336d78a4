"""Findings of the rules become one decision. Pure: index and policy come in, nothing is changed.

The strongest rule that finds anything decides; there are no points to add up. Two answers of one rule are a
question for a person, never a choice; two rules that name different deals are named as a conflict.
"""

from __future__ import annotations

from dataclasses import replace

from imaprouter.address import canonical_id
from imaprouter.model import (
    DealIndex,
    Decision,
    EntityType,
    Finding,
    Letter,
    Nature,
    Outcome,
    Verdict,
    sorted_ids,
)
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import IMPLIED, Reason, why
from imaprouter.rules import RULES
from imaprouter.rules.people import employees
from imaprouter.rules.thread import is_crm_id
from imaprouter.rules.trust import doubt, refutation


def decide(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Decision:
    """Decide where `letter` belongs. Never raises for what a message says."""
    barred = _no_client_letter(letter, index, policy) or _loop(letter, policy)
    if barred:
        return _concluded(barred, (barred,), Outcome.IGNORE)
    if letter.outgoing and is_crm_id(canonical_id(letter.envelope.message_id)):
        chosen = _finding(why("sent_from_crm"))
        return _concluded(chosen, (chosen,), Outcome.LEAVE)
    trail = tuple(RULES[name](letter, index, policy) for name in policy.rules)
    doubted = _refuted(letter, trail, policy)
    if doubted:
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
    last = _fallback(letter, policy)
    outcome = Outcome.IGNORE if letter.envelope.nature in _MACHINES else Outcome.LEAVE
    return _concluded(last, (*trail, last), outcome)


def _no_client_letter(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding | None:
    """Why Bitrix24 never makes an activity of this letter (mail-internals 1.8, point 11)."""
    if letter.outgoing:
        return None
    writers = [address.email for address in letter.envelope.writers]
    staff = employees(writers, index, policy.participants)
    house = [email for email in writers if email in letter.house_addresses]
    if staff or house:
        who = next(iter(staff), "") or house[0]
        return _finding(why("employee_wrote", person=who))
    return None


def _refuted(letter: Letter, trail: tuple[Finding, ...], policy: RoutingPolicy) -> Finding | None:
    """What our server has against the sender, for a person to look at, with the deals that the rules name."""
    reason = refutation(letter, policy.trust)
    if reason is None:
        return None
    named = (finding for finding in trail if finding.verdict in (Verdict.MATCH, Verdict.AMBIGUOUS))
    deals = sorted_ids(number for finding in named for number in finding.candidates)
    return Finding("fallback", Verdict.AMBIGUOUS, (reason,), deals)


def _loop(letter: Letter, policy: RoutingPolicy) -> Finding | None:
    """Two desks that answer each other; whoever writes: people do not exchange so many letters in an hour."""
    limit = policy.loop.limit
    if not limit or letter.recent <= limit:
        return None
    return Finding("loop", Verdict.MATCH, (why("loop", limit=limit),))


def _conflict(trail: tuple[Finding, ...], policy: RoutingPolicy) -> Finding | None:
    """Two rules that name different deals, as a finding of its own."""
    named = [
        (finding.rule, finding.target.id)
        for finding in trail
        if finding.verdict is Verdict.MATCH and finding.target and finding.target.type is EntityType.DEAL
    ]
    deals = sorted_ids(number for _, number in named)
    if len(deals) < 2:
        return None
    said = [why("rule_says", rule=rule, deal=number) for rule, number in named]
    answer = why("stronger_wins" if policy.on_conflict == "order" else "person_decides")
    return Finding("conflict", Verdict.AMBIGUOUS, (*said, answer), deals)


# Shops on the portal's platform write 'system' mail too: only what nobody knows is ignored.
_MACHINES = {
    Nature.BOUNCE: "bounce_names_nothing",
    Nature.AUTO_REPLY: "auto_reply_names_nothing",
    Nature.SYSTEM: "system_names_nothing",
}


def _fallback(letter: Letter, policy: RoutingPolicy) -> Finding:
    machine = _MACHINES.get(letter.envelope.nature)
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
