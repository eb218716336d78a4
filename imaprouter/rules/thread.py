"""Rule `thread`: In-Reply-To and References name a message whose deal is known."""

from __future__ import annotations

import re

from imaprouter.model import DealIndex, EntityType, Finding, KnownMessage, Letter, Question, Verdict
from imaprouter.policy import RoutingPolicy
from imaprouter.rules.people import Relation, relation

# The Message-ID of a letter that the CRM sent (mail-internals 4). The number alone proves nothing: the index
# knows the whole id from the activity's SETTINGS.MESSAGE_HEADERS, and only an equal id counts.
_CRM_ID = re.compile(r"crm\.activity\.(\d{1,18})-[a-z0-9]{1,16}@")

_SOURCES = {
    "decision": "an earlier letter of the thread belongs to {target}",
    "person": "a person put an earlier letter of the thread into {target}",
    "portal": "it answers a letter that Bitrix24 sent from {target}",
}


def is_crm_id(message_id: str) -> bool:
    """Whether a canonical Message-ID has the form of the CRM's own; proves nothing about who wrote it."""
    return _CRM_ID.match(message_id) is not None


def thread(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the deal (or lead) of the nearest ancestor that is known.

    A company or a contact counts only when a person chose it: as our own answer it meant 'no deal was found',
    which may have changed. A sender who is known as somebody else's client does not inherit a thread: an id
    can be quoted by anyone (imap.md 5).
    """
    parents = letter.envelope.parents
    if not parents:
        return Finding("thread", Verdict.NO_MATCH, "no_parents", "it answers no message")
    unknown: list[Question] = []
    passed: list[str] = []
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
        passed.append(finding)
    detail = "; ".join(dict.fromkeys(passed)) or "none of the messages that it answers is known"
    return Finding(
        "thread",
        Verdict.NO_MATCH,
        "no_usable_parent" if passed else "unknown_parents",
        detail,
        unknown=tuple(unknown),
    )


def _from_known(
    known: KnownMessage, letter: Letter, index: DealIndex, policy: RoutingPolicy
) -> Finding | str:
    """A finding, or why this ancestor does not count."""
    target = known.target
    if target.type not in (EntityType.DEAL, EntityType.LEAD) and known.source != "person":
        return f"an earlier letter of the thread belongs to {target}, which names no deal"
    if target.type is EntityType.DEAL:
        found = index.deal(target.id)
        if found and not found.active and policy.thread.closed_deal == "next_rule":
            return f"deal {target.id} of the thread is closed"
        if found and relation(letter, index, policy.participants, found) is Relation.FOREIGN:
            return Finding(
                "thread",
                Verdict.REJECTED,
                "not_the_senders_deal",
                f"the thread belongs to deal {target.id}, but the sender is known as somebody else's client",
                candidates=(target.id,),
            )
    return Finding(
        "thread",
        Verdict.MATCH,
        f"thread_{known.source}",
        _SOURCES[known.source].format(target=target),
        candidates=(target.id,) if target.type is EntityType.DEAL else (),
        target=target,
    )
