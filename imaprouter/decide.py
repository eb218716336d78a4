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
from imaprouter.rules import RULES
from imaprouter.rules.people import employees
from imaprouter.rules.thread import is_crm_id


def decide(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Decision:
    """Decide where `letter` belongs. Never raises for what a message says."""
    barred = _no_client_letter(letter, index, policy)
    if barred:
        return _concluded(barred, (barred,), Outcome.IGNORE)
    if letter.outgoing and is_crm_id(canonical_id(letter.envelope.message_id)):
        chosen = _finding("sent_from_crm", "it was written in the CRM: whoever wrote it chose the deal")
        return _concluded(chosen, (chosen,), Outcome.LEAVE)
    trail = tuple(RULES[name](letter, index, policy) for name in policy.rules)
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
    last = _fallback(letter)
    outcome = Outcome.IGNORE if last.code == "machine_names_nothing" else Outcome.LEAVE
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
        return _finding(
            "employee_wrote", f"{who} is an employee: Bitrix24 makes no activity of a colleague's letter"
        )
    return None


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
    words = ", ".join(f"{rule} says deal {number}" for rule, number in named)
    answer = "the stronger rule wins" if policy.on_conflict == "order" else "a person decides"
    return Finding("conflict", Verdict.AMBIGUOUS, "conflict", f"{words}: {answer}", candidates=deals)


_MACHINES = {
    Nature.BOUNCE: "a bounce that names no known message",
    Nature.AUTO_REPLY: "an automatic reply that names no known message",
    # Shops on the same platform write such mail too: only what nobody knows is ignored (mail-internals 1.8).
    Nature.SYSTEM: "a notification of Bitrix24 that concerns no known client",
}


def _fallback(letter: Letter) -> Finding:
    machine = _MACHINES.get(letter.envelope.nature)
    if machine:
        return _finding("machine_names_nothing", machine)
    return _finding("nothing_known", "no rule knows a client or a deal: left as Bitrix24 made it")


def _finding(code: str, detail: str) -> Finding:
    return Finding("fallback", Verdict.MATCH, code, detail)


def _concluded(finding: Finding, trail: tuple[Finding, ...], outcome: Outcome) -> Decision:
    return Decision(
        outcome=outcome,
        rule=finding.rule,
        reason=finding.detail,
        code=finding.code,
        trail=trail,
        target=finding.target,
        candidates=finding.candidates,
    )
