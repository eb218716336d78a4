"""Rule `thread`: In-Reply-To and References name a message whose deal is known."""

from __future__ import annotations

import re

from imaprouter.model import DealIndex, EntityType, Finding, KnownMessage, Letter, Question, Verdict
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.people import Relation, client_named, relation

# The Message-ID of a letter that the CRM sent (mail-internals 4). The number alone proves nothing: the index
# knows the whole id from the activity's SETTINGS.MESSAGE_HEADERS, and only an equal id counts.
_CRM_ID = re.compile(r"crm\.activity\.(\d{1,18})-[a-z0-9]{1,16}@")


def thread(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the deal (or lead) of the nearest ancestor that is known.

    A company or a contact counts only when a person chose it: as our own answer it meant 'no deal was found',
    which may have changed. A sender who is known as somebody else's client does not inherit a thread: an id
    can be quoted by anyone (imap.md 5).
    """
    parents = letter.envelope.parents
    if not parents:
        return Finding("thread", Verdict.NO_MATCH, (why("no_parents"),))
    unknown: list[Question] = []
    passed: dict[str, Reason] = {}
    for message_id in parents:
        known = index.known_message(message_id)
        if known is None:
            sent_by_crm = _CRM_ID.match(message_id)
            if sent_by_crm:
                unknown.append(Question("activity", sent_by_crm.group(1)))
            continue
        finding = _from_known(known, letter, index, policy)
        if isinstance(finding, Finding):
            return finding
        passed.setdefault(repr(finding), finding)
    reasons = tuple(passed.values()) or (why("unknown_parents"),)
    return Finding("thread", Verdict.NO_MATCH, reasons, unknown=tuple(unknown))


def _from_known(
    known: KnownMessage, letter: Letter, index: DealIndex, policy: RoutingPolicy
) -> Finding | Reason:
    """A finding, or why this ancestor does not count."""
    target = known.target
    if target.type not in (EntityType.DEAL, EntityType.LEAD) and known.source != "person":
        return why("thread_without_deal", target=target)
    if target.type is EntityType.DEAL:
        found = index.deal(target.id)
        if found and not found.active and policy.thread.closed_deal == "next_rule":
            return why("deal_closed", deal=target.id)
        if found and relation(letter, index, policy, found) is Relation.FOREIGN:
            reason = why("not_the_senders_deal", client=client_named(letter), deal=target.id)
            return Finding("thread", Verdict.REJECTED, (reason,), (target.id,))
    candidates = (target.id,) if target.type is EntityType.DEAL else ()
    return Finding(
        "thread", Verdict.MATCH, (why(f"thread_{known.source}", target=target),), candidates, target
    )
