"""Rule `participants`: the client's active deals, narrowed by the employees that the letter is addressed to.

client's address ─► contacts, companies ─► active deals (in the alias's pipeline, not younger than the letter)
                                               │
        employees addressed? ── yes ─► those for which one of them speaks ─ none ─► no_responsible
                             └─ no ──► all of them ──────────────────────── none ─► no_active_deal
                                               │
                                 one ─► that deal      several ─► several_deals

Which deals count, and who speaks for one, is `candidates`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from imaprouter.address import split_tag
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
    Verdict,
    deal,
    sorted_ids,
)
from imaprouter.policy import ParticipantsPolicy, RoutingPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.candidates import Case, few
from imaprouter.rules.people import client_addresses, known_clients
from imaprouter.rules.trust import doubt

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def participants(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match by who wrote to whom; what no evidence settles goes as the participants policy says."""
    if letter.envelope.nature in (Nature.BOUNCE, Nature.AUTO_REPLY):
        return _no_match(why("not_a_letter"))
    doubted = doubt(letter, policy.trust)
    if doubted:
        return _no_match(doubted)
    asked = client_addresses(letter, index, policy)
    clients = known_clients(asked, letter, index)
    if not clients:
        reason = why("unknown_client", clients=asked) if asked else why("no_client")
        spellings = dict.fromkeys((*asked, *(split_tag(email)[0] for email in asked)))
        return _no_match(reason, tuple(Question("client", email) for email in spellings))
    case = Case.of(letter, index, policy, clients)
    if not case.client.contacts and not case.client.companies:
        return _by_lead(case.client)
    shared = [client.email for client in clients if _is_shared(client)]
    if shared and policy.participants.shared_address == "review":
        return _ambiguous([why("shared_address", client=shared[0])], case.considered)
    return _by_deals(case, policy.participants)


def _is_shared(client: Client) -> bool:
    """Several people or companies have the address; a contact and his own company are one client."""
    if len(client.contacts) > 1 or len(client.companies) > 1:
        return True
    employers = {number for contact in client.contacts for number in contact.company_ids}
    return bool(client.contacts) and any(company.id not in employers for company in client.companies)


def _by_deals(case: Case, policy: ParticipantsPolicy) -> Finding:
    if not case.active:
        return _without_active_deal(case, policy)
    reasons = case.whose_deals()
    narrowing = case.addressed or (case.own if case.spoken_for(case.own) else {})
    speaking = case.spoken_for(narrowing) if narrowing else case.active
    if not speaking:
        reasons.append(why("no_responsible", people=few(sorted(case.addressed))))
        reasons += case.why_not((), narrowing)
        return _as_client(case, policy.no_responsible, reasons, case.considered)
    fit = case.closest(speaking)
    reasons += case.who_speaks(narrowing, fit)
    lost = case.why_not(fit, narrowing)
    if len(fit) == 1:
        return _match([*reasons, *lost], deal(fit[0].id), case.considered)
    return _several(case, fit, policy, reasons, lost)


def _several(
    case: Case, fit: list[Deal], policy: ParticipantsPolicy, reasons: list[Reason], lost: list[Reason]
) -> Finding:
    candidates = sorted_ids(found.id for found in fit)
    if policy.several_deals == "latest":
        # As the portal ranks open deals (mail-internals 2.4); last_activity_at would follow our own bindings.
        latest = max(fit, key=_recency)
        earlier = few(number for number in candidates if number != latest.id)
        reasons = [*reasons, why("latest_deal", deal=latest.id), why("changed_earlier", deals=earlier), *lost]
        return _match(reasons, deal(latest.id), candidates)
    reasons = [*reasons, why("several_deals", deals=few(candidates)), *lost]
    if policy.several_deals == "company":
        return _as_client(case, "company", reasons, candidates)
    return _ambiguous(reasons, candidates)


def _without_active_deal(case: Case, policy: ParticipantsPolicy) -> Finding:
    client = case.client.email
    if case.pipelines:
        reason = why("no_active_deal_in_pipeline", client=client, pipelines=sorted(case.pipelines))
    else:
        reason = why("no_active_deal_then" if case.considered else "no_active_deal", client=client)
    reasons = [reason, *case.why_not((), {})]
    closed = case.closed
    candidates = sorted_ids((*case.considered, *(found.id for found in closed)))
    if policy.no_active_deal == "last_closed_deal":
        if closed:
            people = case.addressed or case.own
            addressed = [found for found in closed if any(case.role(user, found) for user in people.values())]
            closed = addressed or closed
            if not _is_one_clients(closed, case.client):
                several = why("several_deals", deals=few(sorted_ids(found.id for found in closed)))
                return _ambiguous([*reasons, several], candidates)
            last = max(closed, key=_recency)
            return _match([*reasons, why("last_closed_deal", deal=last.id)], deal(last.id), candidates)
        return _as_client(case, "company", reasons, candidates)
    return _as_client(case, policy.no_active_deal, reasons, candidates)


def _is_one_clients(deals: list[Deal], client: Client) -> bool:
    """All of one company, or without any all of one contact."""
    companies = {found.company_id for found in deals}
    if len(companies - {None}) > 1:
        return False
    if None not in companies:
        return True
    return any(all(number in found.contact_ids for found in deals) for number in client.contact_ids)


def _as_client(case: Case, choice: str, reasons: list[Reason], candidates: tuple[int, ...]) -> Finding:
    """The policy's answer when no deal can be named: the client himself, nothing, or a person's choice."""
    if choice == "leave":
        return Finding("participants", Verdict.MATCH, (*reasons, why("left")), candidates)
    if choice == "review":
        return _ambiguous(reasons, candidates)
    companies, contacts = case.client.company_ids, case.client.contact_ids
    if choice == "company" and len(companies) == 1:
        return _match(reasons, Target(EntityType.COMPANY, companies[0]), candidates)
    if len(contacts) == 1:
        return _match(reasons, Target(EntityType.CONTACT, contacts[0]), candidates)
    if not contacts and len(companies) == 1:
        return _match(reasons, Target(EntityType.COMPANY, companies[0]), candidates)
    if len(case.clients) > 1:
        who = why("several_clients", clients=[client.email for client in case.clients])
    else:
        who = why("shared_address", client=case.client.email)
    return _ambiguous([*reasons, who], candidates)


def _by_lead(client: Client) -> Finding:
    active = [lead for lead in client.leads if lead.active]
    if len(active) == 1:
        reason = why("only_lead", client=client.email, lead=active[0].id)
        return _match([reason], Target(EntityType.LEAD, active[0].id), ())
    return _no_match(why("several_leads" if active else "closed_leads", client=client.email))


def _match(reasons: list[Reason], target: Target, candidates: tuple[int, ...]) -> Finding:
    return Finding("participants", Verdict.MATCH, tuple(reasons), candidates, target)


def _ambiguous(reasons: list[Reason], candidates: tuple[int, ...]) -> Finding:
    return Finding("participants", Verdict.AMBIGUOUS, tuple(reasons), candidates)


def _no_match(reason: Reason, unknown: tuple[Question, ...] = ()) -> Finding:
    return Finding("participants", Verdict.NO_MATCH, (reason,), unknown=unknown)


def _recency(found: Deal) -> tuple[datetime, datetime, int]:
    return (found.modified_at or _LONG_AGO, found.created_at or _LONG_AGO, found.id)
