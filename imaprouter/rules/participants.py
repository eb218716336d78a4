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

from dataclasses import replace
from datetime import datetime

from imaprouter.address import split_tag
from imaprouter.model import (
    Client,
    Considered,
    Deal,
    DealIndex,
    EntityType,
    Finding,
    Letter,
    Nature,
    Question,
    Standing,
    Target,
    User,
    Verdict,
    deal,
    sorted_ids,
)
from imaprouter.policy import ParticipantsPolicy, RoutingPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.candidates import LONG_AGO, Case, closing, few
from imaprouter.rules.people import client_addresses, known_clients
from imaprouter.rules.trust import doubt

# Of so many deals a sentence says who is responsible.
_MOST_NAMED = 5


def evidence_alone(policy: RoutingPolicy) -> RoutingPolicy:
    """The policy without its choices among deals that fit equally, or when none does: they prove nothing."""
    undecided = replace(
        policy.participants, several_deals="review", no_responsible="leave", no_active_deal="leave"
    )
    return replace(policy, participants=undecided)


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
        said = [why("shared_address", client=shared[0]), *case.held_by(case.active[:_MOST_NAMED])]
        shown = case.fitting(case.active, {}) + case.lost(case.active, {})
        return _ambiguous(said, case.all_active, shown)
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
        answer = policy.no_responsible
        shown = case.fitting(case.active, {}) + case.lost(case.active, {}) if answer == "review" else ()
        shown = shown or case.lost((), narrowing)
        return _as_client(case, answer, reasons, case.all_active, shown)
    fit = case.closest(speaking)
    reasons += case.who_speaks(narrowing, fit)
    lost = case.why_not(fit, narrowing)
    if len(fit) == 1:
        shown = (case.chosen(fit[0], narrowing), *case.lost(fit, narrowing))
        return _match([*reasons, *lost], deal(fit[0].id), case.all_active, shown)
    return _several(case, fit, policy, reasons, narrowing)


def _several(
    case: Case, fit: list[Deal], policy: ParticipantsPolicy, reasons: list[Reason], people: dict[str, User]
) -> Finding:
    candidates = sorted_ids(found.id for found in fit)
    lost, shown_lost = case.why_not(fit, people), case.lost(fit, people)
    if policy.several_deals == "latest":
        # As the portal ranks open deals (mail-internals 2.4); last_activity_at would follow our own bindings.
        latest = max(fit, key=_recency)
        won = why("latest_deal", deal=latest.id)
        earlier = [number for number in candidates if number != latest.id]
        shown = (_won(latest, won), *_dropped("changed_earlier", earlier), *shown_lost)
        reasons = [*reasons, won, why("changed_earlier", deals=few(earlier)), *lost]
        return _match(reasons, deal(latest.id), candidates, shown)
    held = [] if people else case.held_by(fit[:_MOST_NAMED])
    reasons = [*reasons, why("several_deals", deals=few(candidates)), *held, *lost]
    if policy.several_deals == "company":
        dropped = tuple(
            Considered(deal(number), Standing.LOST, why("several_deals", deals=few(candidates)))
            for number in candidates
        )
        return _as_client(case, "company", reasons, candidates, dropped + shown_lost)
    return _ambiguous(reasons, candidates, case.fitting(fit, people) + shown_lost)


def _without_active_deal(case: Case, policy: ParticipantsPolicy) -> Finding:
    client = case.client.email
    if case.pipelines:
        reason = why("no_active_deal_in_pipeline", client=client, pipelines=sorted(case.pipelines))
    else:
        reason = why("no_active_deal_then" if case.all_active else "no_active_deal", client=client)
    reasons = [reason, *case.why_not((), {})]
    closed = case.closed
    candidates = sorted_ids((*case.all_active, *(found.id for found in closed)))
    if policy.no_active_deal == "last_closed_deal":
        if closed:
            people = case.addressed or case.own
            addressed = [found for found in closed if any(case.role(user, found) for user in people.values())]
            closed = addressed or closed
            if not _is_one_clients(closed, case.client):
                several = why("several_deals", deals=few(sorted_ids(found.id for found in closed)))
                shown = case.fitting(closed, people) + case.lost(closed, {})
                return _ambiguous([*reasons, several], candidates, shown)
            last = max(closed, key=closing)
            won = why("last_closed_deal", deal=last.id)
            earlier = [found.id for found in closed if found is not last]
            shown = (_won(last, won), *_dropped("closed_earlier", earlier), *case.lost(closed, {}))
            return _match([*reasons, won], deal(last.id), candidates, shown)
        return _as_client(case, "company", reasons, candidates, case.lost((), {}))
    return _as_client(case, policy.no_active_deal, reasons, candidates, case.lost((), {}))


def _is_one_clients(deals: list[Deal], client: Client) -> bool:
    """All of one company, or without any all of one contact."""
    companies = {found.company_id for found in deals}
    if len(companies - {None}) > 1:
        return False
    if None not in companies:
        return True
    return any(all(number in found.contact_ids for found in deals) for number in client.contact_ids)


def _as_client(
    case: Case,
    choice: str,
    reasons: list[Reason],
    candidates: tuple[int, ...],
    considered: tuple[Considered, ...],
) -> Finding:
    """The policy's answer when no deal can be named: the client himself, nothing, or a person's choice."""
    if choice == "leave":
        reasons = [*reasons, why("left")]
        return Finding("participants", Verdict.MATCH, tuple(reasons), candidates, considered=considered)
    if choice == "review":
        return _ambiguous(reasons, candidates, considered)
    companies, contacts = case.client.company_ids, case.client.contact_ids
    target = None
    if choice == "company" and len(companies) == 1:
        target = Target(EntityType.COMPANY, companies[0])
    elif len(contacts) == 1:
        target = Target(EntityType.CONTACT, contacts[0])
    elif not contacts and len(companies) == 1:
        target = Target(EntityType.COMPANY, companies[0])
    if target:
        won = Considered(target, Standing.CHOSEN, why("is_client", client=case.client.email, target=target))
        return _match(reasons, target, candidates, (won, *considered))
    if len(case.clients) > 1:
        who = why("several_clients", clients=[client.email for client in case.clients])
    else:
        who = why("shared_address", client=case.client.email)
    clients = [Target(EntityType.COMPANY, number) for number in companies]
    clients += [Target(EntityType.CONTACT, number) for number in contacts]
    fitting = tuple(Considered(each, Standing.OPEN, who) for each in clients)
    return _ambiguous([*reasons, who], candidates, fitting + considered)


def _by_lead(client: Client) -> Finding:
    active = [lead for lead in client.leads if lead.active]
    if len(active) == 1:
        reason = why("only_lead", client=client.email, lead=active[0].id)
        target = Target(EntityType.LEAD, active[0].id)
        return _match([reason], target, (), (Considered(target, Standing.CHOSEN, reason),))
    reason = why("several_leads" if active else "closed_leads", client=client.email)
    leads = tuple(
        Considered(Target(EntityType.LEAD, lead.id), Standing.LOST, reason) for lead in active or client.leads
    )
    return Finding("participants", Verdict.NO_MATCH, (reason,), considered=leads)


def _won(found: Deal, reason: Reason) -> Considered:
    return Considered(deal(found.id), Standing.CHOSEN, reason)


def _dropped(code: str, numbers: list[int]) -> list[Considered]:
    return [Considered(deal(number), Standing.LOST, why(code, deals=[number])) for number in numbers]


def _match(
    reasons: list[Reason],
    target: Target,
    candidates: tuple[int, ...],
    considered: tuple[Considered, ...],
) -> Finding:
    return Finding("participants", Verdict.MATCH, tuple(reasons), candidates, target, considered=considered)


def _ambiguous(
    reasons: list[Reason], candidates: tuple[int, ...], considered: tuple[Considered, ...]
) -> Finding:
    return Finding("participants", Verdict.AMBIGUOUS, tuple(reasons), candidates, considered=considered)


def _no_match(reason: Reason, unknown: tuple[Question, ...] = ()) -> Finding:
    return Finding("participants", Verdict.NO_MATCH, (reason,), unknown=unknown)


def _recency(found: Deal) -> tuple[datetime, datetime, int]:
    return (found.modified_at or LONG_AGO, found.created_at or LONG_AGO, found.id)
