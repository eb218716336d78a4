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
from imaprouter.rules.address import categories
from imaprouter.rules.people import client_addresses, employees, find_client
from imaprouter.rules.wording import deals_named, listed

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def participants(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match by who wrote to whom; what no evidence settles goes as the participants policy says."""
    if letter.envelope.nature in (Nature.BOUNCE, Nature.AUTO_REPLY):
        return _no_match(
            "not_a_letter", f"a machine wrote it ({letter.envelope.nature}): its sender says nothing"
        )
    if not letter.outgoing and not letter.envelope.from_is_clear:
        return _no_match("from_unclear", "From can be read in two ways and is not trusted")
    asked = client_addresses(letter, index, policy.participants)
    client = find_client(asked, letter, index)
    if client is None:
        who = listed(asked) or "nobody on the client's side"
        unknown = tuple(Question("client", email) for email in asked)
        return _no_match("unknown_client", f"{who} is not known in the CRM", unknown)
    if not client.contacts and not client.companies:
        return _by_lead(client)
    if policy.participants.shared_address == "review" and len(client.contacts) + len(client.companies) > 1:
        detail = f"{client.email} belongs to several contacts or companies"
        return Finding("participants", Verdict.AMBIGUOUS, "shared_address", detail)
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
    has = f"{client.email} is a client of {deals_named(active)}"
    ids = sorted_ids(found.id for found in active)
    if case.addressed:
        fit = case.closest(case.of_responsibles(case.addressed))
        people = listed(case.addressed)
        if not fit:
            detail = f"{has}; {people} is responsible for none of them"
            return _as_client(case, policy.no_responsible, "no_responsible", detail, ids)
        why = f"; {people} is responsible for {deals_named(fit)}"
    else:
        his = case.of_responsibles(case.own)
        fit = case.closest(his or active)
        why = f"; {listed(case.own)} is responsible for {deals_named(fit)}" if his else ""
    if len(fit) == 1:
        code = "responsible_addressed" if why else "only_active_deal"
        return _match(code, has + why, deal(fit[0].id), ids)
    return _several(case, fit, policy, has + why)


def _several(case: _Case, fit: list[Deal], policy: ParticipantsPolicy, has: str) -> Finding:
    candidates = sorted_ids(found.id for found in fit)
    if policy.several_deals == "latest":
        # As the portal ranks open deals (mail-internals 2.4); last_activity_at would follow our own bindings.
        latest = max(fit, key=_recency)
        return _match("latest_deal", f"{has}; deal {latest.id} was changed last", deal(latest.id), candidates)
    if policy.several_deals == "company":
        return _as_client(case, "company", "several_deals", f"{has}, which fit equally", candidates)
    detail = f"{has}, which fit equally"
    return Finding("participants", Verdict.AMBIGUOUS, "several_deals", detail, candidates=candidates)


def _without_active_deal(case: _Case, policy: ParticipantsPolicy) -> Finding:
    where = f" in pipeline {listed(map(str, sorted(case.pipelines)))}" if case.pipelines else ""
    detail = f"{case.client.email} has no active deal{where}"
    closed = sorted_ids(found.id for found in case.deals)
    if policy.no_active_deal == "last_closed_deal":
        if case.deals:
            last = max(case.deals, key=_recency)
            return _match(
                "last_closed_deal", f"{detail}; deal {last.id} was closed last", deal(last.id), closed
            )
        return _as_client(case, "company", "no_active_deal", detail, closed)
    return _as_client(case, policy.no_active_deal, "no_active_deal", detail, closed)


def _as_client(case: _Case, choice: str, code: str, detail: str, candidates: tuple[int, ...]) -> Finding:
    """The policy's answer when no deal can be named: the client himself, nothing, or a person's choice."""
    if choice == "leave":
        return Finding("participants", Verdict.MATCH, code, f"{detail}: left as it is", candidates=candidates)
    if choice == "review":
        return Finding("participants", Verdict.AMBIGUOUS, code, detail, candidates=candidates)
    companies, contacts = case.client.company_ids, case.client.contact_ids
    if choice == "company" and len(companies) == 1:
        return _match(code, detail, Target(EntityType.COMPANY, companies[0]), candidates)
    if len(contacts) == 1:
        return _match(code, detail, Target(EntityType.CONTACT, contacts[0]), candidates)
    if not contacts and len(companies) == 1:
        return _match(code, detail, Target(EntityType.COMPANY, companies[0]), candidates)
    detail = f"{detail}, and the address belongs to several contacts or companies"
    return Finding("participants", Verdict.AMBIGUOUS, code, detail, candidates=candidates)


def _by_lead(client: Client) -> Finding:
    active = [lead for lead in client.leads if lead.active]
    if len(active) == 1:
        detail = f"{client.email} is known only by lead {active[0].id}"
        return _match("only_lead", detail, Target(EntityType.LEAD, active[0].id), ())
    if active:
        return _no_match("several_leads", f"{client.email} is known by several open leads")
    return _no_match("closed_leads", f"{client.email} is known only by closed leads")


def _match(code: str, detail: str, target: Target, candidates: tuple[int, ...]) -> Finding:
    return Finding("participants", Verdict.MATCH, code, detail, candidates=candidates, target=target)


def _no_match(code: str, detail: str, unknown: tuple[Question, ...] = ()) -> Finding:
    return Finding("participants", Verdict.NO_MATCH, code, detail, unknown=unknown)


def _recency(found: Deal) -> tuple[datetime, datetime, int]:
    return (found.modified_at or _LONG_AGO, found.created_at or _LONG_AGO, found.id)
