"""Rule `thread`: In-Reply-To and References name a message whose deal is known, or a hint leads to one.

In-Reply-To, then References from their end: the nearest ancestor on record whose deal counts decides; the
deals of others are named beside it. An ancestor that does not count (it belongs to somebody else's deal, or
to none) hides no good one behind it.

Only when no ancestor on record decides, hints are asked: first, nearest first, those of letters that answer
an ancestor which nobody saw, then Outlook's conversation. A hint is evidence about others' letters, and
anybody can quote an id. It therefore counts only
- for a sender who belongs to the deal's client, or shares his corporate domain, and
- where subject, sender and recipients do not say otherwise: each other rule finds nothing, that very deal, or
  several deals that fit equally with that deal among them. A policy's choice among those ('latest') is no
  evidence; that the addressed employee has none of the client's deals is.
From whom hints are learned is decided when a letter is recorded (`store.threads`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from imaprouter.model import (
    Considered,
    Deal,
    DealIndex,
    EntityType,
    Finding,
    KnownMessage,
    Letter,
    Question,
    Standing,
    Target,
    Verdict,
    deal,
    sorted_ids,
)
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.address import address
from imaprouter.rules.marker import marker
from imaprouter.rules.participants import evidence_alone, participants
from imaprouter.rules.people import (
    Relation,
    client_addresses,
    client_named,
    is_anothers,
    relation,
    relation_to_lead,
)

# The Message-ID of a letter that the CRM sent (mail-internals 4). The number alone proves nothing: the index
# knows the whole id from the activity's SETTINGS.MESSAGE_HEADERS, and number and code have to be equal.
_CRM_ID = re.compile(r"crm\.activity\.(\d{1,18})-[a-z0-9]{1,16}@")


def is_crm_id(message_id: str) -> bool:
    """Whether a canonical Message-ID has the form of the CRM's own; proves nothing about who wrote it."""
    return _CRM_ID.match(message_id) is not None


def thread(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the deal (or lead) of the nearest ancestor that is known, else the deal of a hint.

    A company or a contact counts only when a person chose it: as our own answer it meant 'no deal was found',
    which may have changed. A sender who is known as somebody else's client does not inherit a thread: an id
    can be quoted by anyone (imap.md 5). Only where a person put a letter of that very sender there, he does.
    """
    weighed = _Weighed()
    unseen: list[str] = []
    for message_id in letter.envelope.parents:
        known = _known(message_id, index, weighed)
        if known:
            _weigh(known, letter, index, policy, weighed)
        else:
            unseen.append(message_id)
    if not weighed.matched:
        weighed_already: set[Target] = set()
        for hint in _hints(unseen, letter.envelope.conversation, index):
            if hint.target not in weighed_already:
                _weigh_hint(hint, letter, index, policy, weighed)
                weighed_already.add(hint.target)
            if weighed.matched:
                break
    return _concluded(weighed, answers=bool(letter.envelope.parents))


@dataclass(slots=True)
class _Weighed:
    """What the ancestors of one letter came to, each nearest first."""

    matched: dict[Target, Reason] = field(default_factory=dict)
    #: Deals of somebody else's client.
    rejected: list[int] = field(default_factory=list)
    #: A lead, a company or a contact that is not the sender's.
    foreign: bool = False
    #: An id of the CRM's own whose code is not that of the letter.
    wrong_code: bool = False
    #: Why the others do not count.
    refused: list[Reason] = field(default_factory=list)
    lost: dict[Target, Reason] = field(default_factory=dict)
    unknown: list[Question] = field(default_factory=list)

    def refuse(self, target: Target, reason: Reason) -> None:
        self.refused.append(reason)
        self.lost.setdefault(target, reason)


def _concluded(weighed: _Weighed, *, answers: bool) -> Finding:
    refused = tuple({repr(reason): reason for reason in weighed.refused}.values())
    unknown = tuple(dict.fromkeys(weighed.unknown))
    lost = tuple(
        Considered(target, Standing.LOST, reason)
        for target, reason in weighed.lost.items()
        if target not in weighed.matched
    )
    if weighed.matched:
        target, *others = weighed.matched
        contradiction = (why("thread_contradicts", targets=others),) if others else ()
        won = Considered(target, Standing.CHOSEN, weighed.matched[target])
        further = (
            Considered(each, Standing.LOST, why("thread_contradicts", targets=[each])) for each in others
        )
        return Finding(
            "thread",
            Verdict.MATCH,
            (weighed.matched[target], *contradiction, *refused),
            sorted_ids(found.id for found in weighed.matched if found.type is EntityType.DEAL),
            target,
            unknown,
            (won, *further, *lost),
        )
    if weighed.rejected or weighed.foreign or weighed.wrong_code:
        candidates = sorted_ids(weighed.rejected)
        return Finding("thread", Verdict.REJECTED, refused, candidates, unknown=unknown, considered=lost)
    reasons = refused or (why("unknown_parents" if answers else "no_parents"),)
    return Finding("thread", Verdict.NO_MATCH, reasons, unknown=unknown, considered=lost)


def _known(message_id: str, index: DealIndex, weighed: _Weighed) -> KnownMessage | None:
    """What is known of an ancestor; of a letter of the CRM the id may be cut behind its '@' (peers.md F5)."""
    known = index.known_message(message_id)
    by_crm = _CRM_ID.match(message_id)
    if known or not by_crm:
        return known
    sent = index.sent_letter(int(by_crm[1]))
    if sent is None:
        weighed.unknown.append(Question("activity", by_crm[1]))
    elif sent.message_id.startswith(message_id):
        return sent
    else:
        weighed.wrong_code = True
        weighed.refused.append(why("wrong_crm_id", activity=by_crm[1]))
    return None


def _weigh(
    known: KnownMessage, letter: Letter, index: DealIndex, policy: RoutingPolicy, weighed: _Weighed
) -> None:
    target = known.target
    if target.type is EntityType.LEAD:
        followed = _of_lead(target, letter, index, policy, weighed)
        if followed is None:
            return
        target = followed
    if target.type not in (EntityType.DEAL, EntityType.LEAD) and known.source != "person":
        weighed.refuse(target, why("thread_without_deal", target=target))
        return
    if target.type in (EntityType.COMPANY, EntityType.CONTACT):
        strange = known.parties.isdisjoint(client_addresses(letter, index, policy))
        if strange and is_anothers(letter, index, policy, target):
            weighed.foreign = True
            client = client_named(letter)
            weighed.refuse(target, why("hint_not_the_clients", target=target, client=client))
            return
    if target.type is EntityType.DEAL:
        found = index.deal(target.id)
        if found is None or found.recurring:
            if found is None:
                weighed.unknown.append(Question("deal", str(target.id)))
            weighed.refuse(target, why("recurring_template" if found else "no_such_deal", deal=target.id))
            return
        if _is_closed(found, policy):
            weighed.refuse(target, why("deal_closed", deal=target.id))
            return
        foreign = relation(letter, index, policy, found) is Relation.FOREIGN
        # Whoever wrote the letter that a person put here may go on, though the CRM knows him as another's.
        if foreign and known.parties.isdisjoint(client_addresses(letter, index, policy)):
            weighed.rejected.append(target.id)
            client = client_named(letter)
            weighed.refuse(target, why("not_the_senders_deal", client=client, deal=target.id))
            return
    weighed.matched.setdefault(target, why(f"thread_{known.source}", target=target))


def _of_lead(
    target: Target, letter: Letter, index: DealIndex, policy: RoutingPolicy, weighed: _Weighed
) -> Target | None:
    """The lead while it is open, then the one deal that was made of it."""
    lead = index.lead(target.id)
    if lead and not lead.active:
        contacts = (lead.contact_id,) if lead.contact_id else ()
        companies = (lead.company_id,) if lead.company_id else ()
        made = [found for found in index.deals_of(contacts, companies) if found.lead_id == lead.id]
        made = [found for found in made if found.active] or made
        if len(made) == 1:
            return deal(made[0].id)
    if lead is None or not lead.active:
        weighed.refuse(target, why("thread_without_deal", target=target))
        return None
    if relation_to_lead(letter, index, policy, lead) is Relation.FOREIGN:
        weighed.foreign = True
        client = client_named(letter)
        weighed.refuse(target, why("hint_not_the_clients", target=target, client=client))
        return None
    return target


def _hints(unseen: Sequence[str], conversation: str, index: DealIndex) -> Iterator[KnownMessage]:
    yield from filter(None, map(index.weak_message, unseen))
    known = index.known_conversation(conversation) if conversation else None
    if known:
        yield known


def _weigh_hint(
    hint: KnownMessage, letter: Letter, index: DealIndex, policy: RoutingPolicy, weighed: _Weighed
) -> None:
    target = hint.target
    if target.type is not EntityType.DEAL:
        return
    found = index.deal(target.id)
    if found is None:
        weighed.unknown.append(Question("deal", str(target.id)))
        weighed.lost.setdefault(target, why("no_such_deal", deal=target.id))
    elif found.recurring:
        weighed.refuse(target, why("recurring_template", deal=target.id))
    elif _is_closed(found, policy):
        weighed.refuse(target, why("deal_closed", deal=target.id))
    elif relation(letter, index, policy, found) not in (Relation.OWN, Relation.SAME_DOMAIN):
        client = client_named(letter)
        weighed.refuse(target, why("hint_not_the_clients", target=target, client=client))
    elif _outweighed(target, letter, index, policy):
        weighed.refuse(target, why("hint_outweighed", target=target))
    else:
        weighed.matched[target] = why(f"thread_{hint.source}", target=target)


def _outweighed(target: Target, letter: Letter, index: DealIndex, policy: RoutingPolicy) -> bool:
    """Whether any other rule speaks against this deal, the participants policy's choices left aside."""
    strict = evidence_alone(policy)
    said = [rule(letter, index, strict) for name, rule in _OTHERS.items() if name in policy.rules]
    return any(_contradicts(finding, target) for finding in (*said, participants(letter, index, strict)))


_OTHERS = {"marker": marker, "address": address}


def _contradicts(finding: Finding, target: Target) -> bool:
    if finding.verdict is Verdict.MATCH:
        return finding.target != target
    return finding.verdict is Verdict.AMBIGUOUS and target.id not in finding.candidates


def _is_closed(found: Deal, policy: RoutingPolicy) -> bool:
    return not found.active and policy.thread.closed_deal == "next_rule"
