"""Rule `address`: a tag in a recipient's address names the deal; an alias narrows to a pipeline."""

from __future__ import annotations

import re

from imaprouter.address import portal_id, split_tag
from imaprouter.model import (
    Considered,
    DealIndex,
    Finding,
    Letter,
    Question,
    Standing,
    Verdict,
    deal,
    sorted_ids,
)
from imaprouter.policy import AddressPolicy, RoutingPolicy
from imaprouter.reasons import why
from imaprouter.rules.people import Relation, client_named, relation

# Nobody writes to more deals at once; whoever does makes work.
_MOST_TAGS = 20


def address(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the deal that `sales+d123@company.ru` names, when it exists and is not somebody else's.

    The part before the tag must be one of the mailbox's own addresses; with no mailbox configured (replay)
    any recipient will do.
    """
    tagged = _tagged_deals(letter, policy.address)
    if not tagged:
        narrowing = sorted(categories(letter, policy.address))
        narrows = (why("alias_narrows", pipelines=narrowing),) if narrowing else ()
        return Finding("address", Verdict.NO_MATCH, (why("no_tag"), *narrows))
    missing = [number for number in tagged if index.deal(number) is None]
    unknown = tuple(Question("deal", str(number)) for number in missing)
    named = [found for found in map(index.deal, tagged) if found]
    templates = [found.id for found in named if found.recurring]
    existing = [found for found in named if not found.recurring]
    usable = [found for found in existing if relation(letter, index, policy, found) is not Relation.FOREIGN]
    refused = {number: why("no_such_deal", deal=number) for number in missing}
    refused |= {number: why("recurring_template", deal=number) for number in templates}
    refused |= {
        found.id: why("not_the_senders_deal", client=client_named(letter), deal=found.id)
        for found in existing
        if found not in usable
    }
    lost = tuple(Considered(deal(number), Standing.LOST, reason) for number, reason in refused.items())
    by_tag = {found.id: why("plus_tag", address=tagged[found.id], deal=found.id) for found in usable}
    standing = Standing.CHOSEN if len(usable) == 1 else Standing.OPEN
    considered = (*(Considered(deal(number), standing, by_tag[number]) for number in sorted(by_tag)), *lost)
    if len(usable) == 1:
        (number,) = by_tag
        reasons = (by_tag[number], *refused.values())
        return Finding("address", Verdict.MATCH, reasons, (number,), deal(number), unknown, considered)
    if usable:
        reasons = (why("several_tags", deals=sorted_ids(by_tag)), *refused.values())
        verdict, candidates = Verdict.AMBIGUOUS, sorted_ids(by_tag)
    else:
        reasons = tuple(refused.values())
        verdict = Verdict.REJECTED if existing else Verdict.NO_MATCH
        candidates = sorted_ids(found.id for found in existing)
    return Finding("address", verdict, reasons, candidates, unknown=unknown, considered=considered)


def categories(letter: Letter, policy: AddressPolicy) -> frozenset[int]:
    """Pipelines to which the recipient aliases narrow the candidates; empty means no narrowing."""
    if not policy.category:
        return frozenset()
    written = letter.envelope.recipients
    recipients = {split_tag(email)[0] for email in written} | set(written)
    return frozenset(category for alias, category in policy.category.items() if alias in recipients)


def _tagged_deals(letter: Letter, policy: AddressPolicy) -> dict[int, str]:
    """Deal number to the address that names it."""
    found: dict[int, str] = {}
    if not policy.plus_tag:
        return found
    for email in letter.envelope.recipients:
        base, tag = split_tag(email)
        hit = re.fullmatch(policy.plus_tag, tag, re.IGNORECASE) if tag else None
        if hit and (not letter.own_addresses or base in letter.own_addresses):
            number = portal_id(hit.group("deal"))
            if number:
                found.setdefault(number, email)
        if len(found) == _MOST_TAGS:
            break
    return found
