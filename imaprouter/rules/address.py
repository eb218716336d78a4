"""Rule `address`: a tag in a recipient's address names the deal; an alias narrows to a pipeline."""

from __future__ import annotations

import re

from imaprouter.address import portal_id, split_tag
from imaprouter.model import DealIndex, Finding, Letter, Question, Verdict, deal, sorted_ids
from imaprouter.policy import AddressPolicy, RoutingPolicy
from imaprouter.reasons import why
from imaprouter.rules.people import Relation, client_named, relation


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
    refused = [why("no_such_deal", deal=number) for number in (*missing, *templates)] + [
        why("not_the_senders_deal", client=client_named(letter), deal=found.id)
        for found in existing
        if found not in usable
    ]
    candidates = sorted_ids(found.id for found in usable)
    if len(usable) == 1:
        number = usable[0].id
        reasons = (why("plus_tag", address=tagged[number], deal=number), *refused)
        return Finding("address", Verdict.MATCH, reasons, candidates, deal(number), unknown)
    if usable:
        reasons = (why("several_tags", deals=candidates), *refused)
        return Finding("address", Verdict.AMBIGUOUS, reasons, candidates, unknown=unknown)
    verdict = Verdict.REJECTED if existing else Verdict.NO_MATCH
    return Finding("address", verdict, tuple(refused), sorted_ids(d.id for d in existing), unknown=unknown)


def categories(letter: Letter, policy: AddressPolicy) -> frozenset[int]:
    """Pipelines to which the recipient aliases narrow the candidates; empty means no narrowing."""
    recipients = {split_tag(email)[0] for email in letter.envelope.recipients} | set(
        letter.envelope.recipients
    )
    return frozenset(category for alias, category in policy.category.items() if alias in recipients)


def _tagged_deals(letter: Letter, policy: AddressPolicy) -> dict[int, str]:
    """Deal number to the address that names it."""
    found: dict[int, str] = {}
    if not policy.plus_tag:
        return found
    for email in letter.envelope.recipients:
        base, tag = split_tag(email)
        hit = re.fullmatch(policy.plus_tag, tag) if tag else None
        if hit and (not letter.own_addresses or base in letter.own_addresses):
            number = portal_id(hit.group("deal"))
            if number:
                found.setdefault(number, email)
    return found
