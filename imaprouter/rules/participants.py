"""Rule `participants`: the client's active deals, narrowed by the employees that the letter is addressed to.

client's address ─► contacts, companies ─► active deals (in the alias's pipeline)
                                               │
        employees addressed? ── yes ─► those whose responsible is one of them ─ none ─► no_responsible
                             └─ no ──► all of them ─────────────────────────── none ─► no_active_deal
                                               │
                                 one ─► that deal      several ─► several_deals
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from imaprouter.model import (
    Client,
    Deal,
    DealIndex,
    EntityType,
    Finding,
    Letter,
    Nature,
    Question,
    Target,
    User,
    Verdict,
    deal,
    sorted_ids,
)
from imaprouter.policy import ParticipantsPolicy, RoutingPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.address import categories
from imaprouter.rules.people import client_addresses, employees, find_client

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def participants(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match by who wrote to whom; what no evidence settles goes as the participants policy says."""
    if letter.envelope.nature in (Nature.BOUNCE, Nature.AUTO_REPLY):
        return _no_match(why("not_a_letter"))
    if not letter.outgoing and not letter.envelope.from_is_clear:
        return _no_match(why("from_unclear"))
    asked = client_addresses(letter, index, policy.participants)
    client = find_client(asked, letter, index)
    if client is None:
        reason = why("unknown_client", clients=asked) if asked else why("no_client")
        return _no_match(reason, tuple(Question("client", email) for email in asked))
    if not client.contacts and not client.companies:
        return _by_lead(client)
    if policy.participants.shared_address == "review" and len(client.contacts) + len(client.companies) > 1:
        return Finding("participants", Verdict.AMBIGUOUS, (why("shared_address", client=client.email),))
    return _by_deals(_Case.of(letter, index, policy, client), policy.participants)


@dataclass(frozen=True, slots=True)
class _Case:
    """One client's deals and the employees that the letter is addressed to."""

    client: Client
    #: Active and closed, of the pipelines that count.
    deals: tuple[Deal, ...]
    pipelines: frozenset[int]
    #: By address; an own address of the mailbox that is a user's narrows, but never excludes.
    addressed: dict[str, User]
    own: dict[str, User]

    @classmethod
    def of(cls, letter: Letter, index: DealIndex, policy: RoutingPolicy, client: Client) -> _Case:
        envelope = letter.envelope
        pipelines = categories(letter, policy.address)
        deals = index.deals_of(client.contact_ids, client.company_ids)
        people = (
            [address.email for address in envelope.writers + envelope.sender]
            if letter.outgoing
            else envelope.recipients
        )
        staff = employees(people, index, policy.participants)
        return cls(
            client,
            tuple(found for found in deals if not pipelines or found.category_id in pipelines),
            pipelines,
            {email: user for email, user in staff.items() if email not in letter.own_addresses},
            {email: user for email, user in staff.items() if email in letter.own_addresses},
        )

    @property
    def active(self) -> list[Deal]:
        return [found for found in self.deals if found.active]

    def of_responsibles(self, people: dict[str, User]) -> list[Deal]:
        ids = {user.id for user in people.values()}
        return [found for found in self.active if found.responsible_id in ids]

    def closest(self, deals: Sequence[Deal]) -> list[Deal]:
        """Deals of the very contact or company with the address, before those of the contact's company."""
        contacts, companies = set(self.client.contact_ids), {company.id for company in self.client.companies}
        direct = [
            found for found in deals if contacts & set(found.contact_ids) or found.company_id in companies
        ]
        return direct or list(deals)


def _by_deals(case: _Case, policy: ParticipantsPolicy) -> Finding:
    client, active = case.client, case.active
    if not active:
        return _without_active_deal(case, policy)
    ids = sorted_ids(found.id for found in active)
    reasons = [why("client_of", client=client.email, deals=ids)]
    if case.addressed:
        fit = case.closest(case.of_responsibles(case.addressed))
        if not fit:
            reasons.append(why("no_responsible", people=case.addressed))
            return _as_client(case, policy.no_responsible, reasons, ids)
    else:
        his = case.of_responsibles(case.own)
        fit = case.closest(his or active)
    responsible = case.addressed or (case.own if his else {})
    if responsible:
        reasons.append(
            why("responsible_addressed", people=responsible, deals=sorted_ids(found.id for found in fit))
        )
    if len(fit) == 1:
        return _match(reasons, deal(fit[0].id), ids)
    return _several(case, fit, policy, reasons)


def _several(case: _Case, fit: list[Deal], policy: ParticipantsPolicy, reasons: list[Reason]) -> Finding:
    candidates = sorted_ids(found.id for found in fit)
    if policy.several_deals == "latest":
        # As the portal ranks open deals (mail-internals 2.4); last_activity_at would follow our own bindings.
        latest = max(fit, key=_recency)
        return _match([*reasons, why("latest_deal", deal=latest.id)], deal(latest.id), candidates)
    reasons = [*reasons, why("several_deals", deals=candidates)]
    if policy.several_deals == "company":
        return _as_client(case, "company", reasons, candidates)
    return Finding("participants", Verdict.AMBIGUOUS, tuple(reasons), candidates)


def _without_active_deal(case: _Case, policy: ParticipantsPolicy) -> Finding:
    if case.pipelines:
        reason = why("no_active_deal_in_pipeline", client=case.client.email, pipelines=sorted(case.pipelines))
    else:
        reason = why("no_active_deal", client=case.client.email)
    closed = sorted_ids(found.id for found in case.deals)
    if policy.no_active_deal == "last_closed_deal":
        if case.deals:
            last = max(case.deals, key=_recency)
            return _match([reason, why("last_closed_deal", deal=last.id)], deal(last.id), closed)
        return _as_client(case, "company", [reason], closed)
    return _as_client(case, policy.no_active_deal, [reason], closed)


def _as_client(case: _Case, choice: str, reasons: list[Reason], candidates: tuple[int, ...]) -> Finding:
    """The policy's answer when no deal can be named: the client himself, nothing, or a person's choice."""
    if choice == "leave":
        return Finding("participants", Verdict.MATCH, (*reasons, why("left")), candidates)
    if choice == "review":
        return Finding("participants", Verdict.AMBIGUOUS, tuple(reasons), candidates)
    companies, contacts = case.client.company_ids, case.client.contact_ids
    if choice == "company" and len(companies) == 1:
        return _match(reasons, Target(EntityType.COMPANY, companies[0]), candidates)
    if len(contacts) == 1:
        return _match(reasons, Target(EntityType.CONTACT, contacts[0]), candidates)
    if not contacts and len(companies) == 1:
        return _match(reasons, Target(EntityType.COMPANY, companies[0]), candidates)
    shared = why("shared_address", client=case.client.email)
    return Finding("participants", Verdict.AMBIGUOUS, (*reasons, shared), candidates)


def _by_lead(client: Client) -> Finding:
    active = [lead for lead in client.leads if lead.active]
    if len(active) == 1:
        reason = why("only_lead", client=client.email, lead=active[0].id)
        return _match([reason], Target(EntityType.LEAD, active[0].id), ())
    return _no_match(why("several_leads" if active else "closed_leads", client=client.email))


def _match(reasons: list[Reason], target: Target, candidates: tuple[int, ...]) -> Finding:
    return Finding("participants", Verdict.MATCH, tuple(reasons), candidates, target)


def _no_match(reason: Reason, unknown: tuple[Question, ...] = ()) -> Finding:
    return Finding("participants", Verdict.NO_MATCH, (reason,), unknown=unknown)


def _recency(found: Deal) -> tuple[datetime, datetime, int]:
    return (found.modified_at or _LONG_AGO, found.created_at or _LONG_AGO, found.id)
