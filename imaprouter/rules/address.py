"""Rule `address`: a tag in a recipient's address names the deal; an alias narrows to a pipeline."""

from __future__ import annotations

import re

from imaprouter.address import portal_id, split_tag
from imaprouter.model import DealIndex, Finding, Letter, Question, Verdict, deal, sorted_ids
from imaprouter.policy import AddressPolicy, RoutingPolicy
from imaprouter.rules.people import Relation, relation
from imaprouter.rules.wording import listed


def address(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the deal that `sales+d123@company.ru` names, when it exists and is not somebody else's.

    The part before the tag must be one of the mailbox's own addresses; with no mailbox configured (replay)
    any recipient will do.
    """
    tagged = _tagged_deals(letter, policy.address)
    if not tagged:
        narrowing = categories(letter, policy.address)
        detail = "no recipient address carries a deal number"
        if narrowing:
            pipelines = listed(map(str, sorted(narrowing)))
            detail += f"; an alias narrows the candidates to pipeline {pipelines}"
        return Finding("address", Verdict.NO_MATCH, "no_tag", detail)
    unknown = tuple(Question("deal", str(number)) for number in tagged if index.deal(number) is None)
    existing = [found for found in map(index.deal, tagged) if found]
    usable = [
        found
        for found in existing
        if relation(letter, index, policy.participants, found) is not Relation.FOREIGN
    ]
    if len(usable) == 1:
        number = usable[0].id
        return Finding(
            "address",
            Verdict.MATCH,
            "plus_tag",
            f"the address {tagged[number]} names deal {number}",
            candidates=(number,),
            target=deal(number),
            unknown=unknown,
        )
    if usable:
        numbers = sorted_ids(found.id for found in usable)
        detail = f"the recipients name deals {listed(map(str, numbers))}"
        return Finding("address", Verdict.AMBIGUOUS, "several_tags", detail, candidates=numbers)
    numbers = sorted_ids(tagged)
    if existing:
        detail = f"the address names deal {listed(map(str, numbers))}, which is somebody else's"
        return Finding("address", Verdict.REJECTED, "not_the_senders_deal", detail, candidates=numbers)
    detail = f"deal {listed(map(str, numbers))} does not exist"
    return Finding("address", Verdict.NO_MATCH, "no_such_deal", detail, unknown=unknown)


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
