"""Who is who in a letter: the client's side, the employees, how a sender stands to a deal. No rule itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from imaprouter.address import domain_of, split_tag
from imaprouter.model import Address, Client, Deal, DealIndex, EntityType, Lead, Letter, Target, User
from imaprouter.policy import ParticipantsPolicy, RoutingPolicy
from imaprouter.rules.domains import corporate
from imaprouter.rules.trust import doubt


def employee(email: str, index: DealIndex, policy: ParticipantsPolicy) -> User | None:
    """The active employee with this address, by e-mail or alias, if need be without a plus-tag."""
    if "+" not in email and not policy.user_aliases:
        return index.user_by_email(email)  # as nearly always
    for spelling in dict.fromkeys((email, split_tag(email)[0])):
        user = index.user_by_email(spelling)
        if user:
            return user
        for main, aliases in policy.user_aliases.items():
            if spelling in aliases:
                return index.user_by_email(main)
    return None


def employees(emails: Iterable[str], index: DealIndex, policy: ParticipantsPolicy) -> dict[str, User]:
    """The addresses that belong to employees, with their employees, in the order given."""
    found = ((email, employee(email, index, policy)) for email in emails)
    return {email: user for email, user in found if user}


def client_addresses(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> tuple[str, ...]:
    """Addresses under which the CRM may know the client, in the order in which Bitrix24 asks.

    Incoming: Reply-To, then From (mail-internals 2.4). Outgoing: To, then Cc. None when From is not to be
    believed (`trust.doubt`). Employees and our own mailboxes are no clients.
    """
    if doubt(letter, policy.trust):
        return ()
    return _of_clients(_answerable(letter, policy), letter, index, policy)


def _of_clients(
    reply_to: tuple[Address, ...], letter: Letter, index: DealIndex, policy: RoutingPolicy
) -> tuple[str, ...]:
    envelope = letter.envelope
    side = envelope.to + envelope.cc if letter.outgoing else reply_to + envelope.from_
    written = [address.email for address in side]
    ours = letter.own_addresses | letter.house_addresses
    return tuple(
        dict.fromkeys(
            email
            for email in written
            if email and email not in ours and not employee(email, index, policy.participants)
        )
    )


def _answerable(letter: Letter, policy: RoutingPolicy) -> tuple[Address, ...]:
    """Reply-To as far as it may be believed.

    A proof covers From alone: with `require`, Reply-To counts when it lies in the same organisation, or when
    a site of ours wrote the letter for the client, as web forms do.
    """
    envelope = letter.envelope
    if policy.trust.authentication != "require":
        return envelope.reply_to
    senders = [address.email for address in envelope.from_]
    proven = _domains(senders)
    if proven & _domains(letter.own_addresses | letter.house_addresses):
        return envelope.reply_to
    return tuple(
        address
        for address in envelope.reply_to
        if address.email in senders or _domains([address.email]) & proven
    )


def find_client(addresses: Iterable[str], letter: Letter, index: DealIndex) -> Client | None:
    """Everybody the CRM knows on the client's side as one, or None."""
    known = known_clients(addresses, letter, index)
    return merged(known) if known else None


def known_clients(addresses: Iterable[str], letter: Letter, index: DealIndex) -> list[Client]:
    """Whom the CRM knows on the client's side, address by address.

    Incoming: the first address that is known, as the portal does. Outgoing: all recipients. An address with a
    plus-tag is another one than the bare address, unless the CRM knows only that.
    """
    asked = list(addresses)
    if letter.outgoing:
        found = [_with_tag_or_without(email, index) for email in asked]
        return list({client.email: client for client in found if client}.values())
    bare = [split_tag(email)[0] for email in asked]
    return [client for client in map(index.client, (*asked, *bare)) if client][:1]


def merged(clients: Sequence[Client]) -> Client:
    """Several clients as one: whatever belongs to one of them."""
    if len(clients) == 1:
        return clients[0]
    return Client(
        email=", ".join(client.email for client in clients),
        contacts=tuple(dict.fromkeys(contact for client in clients for contact in client.contacts)),
        companies=tuple(dict.fromkeys(company for client in clients for company in client.companies)),
        leads=tuple(dict.fromkeys(lead for client in clients for lead in client.leads)),
    )


def client_named(letter: Letter) -> str:
    """Whom a sentence about the client's side names."""
    envelope = letter.envelope
    side = envelope.to if letter.outgoing else envelope.writers
    return side[0].email if side else "?"


class Relation(Enum):
    """How the client's side of a letter stands to a deal."""

    OWN = "belongs to the deal's client"
    SAME_DOMAIN = "shares the corporate domain of the deal's client"
    FOREIGN = "is known as somebody else's client"
    UNKNOWN = "is not known in the CRM"


def relation(letter: Letter, index: DealIndex, policy: RoutingPolicy, deal: Deal) -> Relation:
    """How the client's side of `letter` stands to `deal`: the base of every sender check.

    An address that is not to be believed speaks against its sender, never for him.
    """
    addresses = client_addresses(letter, index, policy)
    client = find_client(addresses, letter, index)
    if client and _is_client_of(client, deal, index):
        return Relation.OWN
    claimed = claimed_clients(letter, index, policy)
    if any(_is_known(other) and not _is_client_of(other, deal, index) for other in claimed):
        return Relation.FOREIGN
    kin = bool(_domains(addresses) & _domains(_client_emails(deal, index)))
    if client and _is_known(client) and not (kin and _is_nobodys(client, index)):
        return Relation.FOREIGN
    return Relation.SAME_DOMAIN if kin else Relation.UNKNOWN


def relation_to_lead(letter: Letter, index: DealIndex, policy: RoutingPolicy, lead: Lead) -> Relation:
    """How the client's side of `letter` stands to `lead`; nobody inherits a lead by his domain."""
    addresses = client_addresses(letter, index, policy)
    client = find_client(addresses, letter, index)
    if client and _is_client_of_lead(client, lead):
        return Relation.OWN
    claimed = claimed_clients(letter, index, policy)
    others = [client] if client else []
    if any(_is_known(other) and not _is_client_of_lead(other, lead) for other in (*others, *claimed)):
        return Relation.FOREIGN
    return Relation.UNKNOWN


def is_anothers(letter: Letter, index: DealIndex, policy: RoutingPolicy, target: Target) -> bool:
    """Whether the client's side of `letter` is known, and not as this company or contact."""
    addresses = client_addresses(letter, index, policy)
    client = find_client(addresses, letter, index)
    others = [*([client] if client else []), *claimed_clients(letter, index, policy)]
    company = target.type is EntityType.COMPANY
    return any(
        _is_known(other) and target.id not in (other.company_ids if company else other.contact_ids)
        for other in others
    )


def claimed_clients(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> list[Client]:
    """The known clients whom the letter names, and is not believed."""
    if policy.trust.authentication != "require" and not doubt(letter, policy.trust):
        return []  # everything that is written is believed
    believed = client_addresses(letter, index, policy)
    written = _of_clients(letter.envelope.reply_to, letter, index, policy)
    unproven = [email for email in written if email not in believed]
    found = (_with_tag_or_without(email, index) for email in unproven)
    return [client for client in found if client]


def _with_tag_or_without(email: str, index: DealIndex) -> Client:
    return index.client(email) or index.client(split_tag(email)[0])


def _is_known(client: Client) -> bool:
    """Known by more than a lead."""
    return bool(client.contacts or client.companies)


def _is_nobodys(client: Client, index: DealIndex) -> bool:
    """A contact on his own: no company, no deal."""
    return not client.company_ids and not index.deals_of(client.contact_ids, ())


def _is_client_of_lead(client: Client, lead: Lead) -> bool:
    return (
        lead.id in {own.id for own in client.leads}
        or lead.contact_id in client.contact_ids
        or lead.company_id in client.company_ids
    )


def _is_client_of(client: Client, deal: Deal, index: DealIndex) -> bool:
    if set(client.contact_ids) & set(deal.contact_ids):
        return True
    if deal.lead_id is not None and deal.lead_id in {lead.id for lead in client.leads}:
        return True
    if deal.company_id:
        return deal.company_id in client.company_ids
    contacts = (index.contact(contact_id) for contact_id in deal.contact_ids)
    companies = {number for contact in contacts if contact for number in contact.company_ids}
    return bool(companies & set(client.company_ids))


def _client_emails(deal: Deal, index: DealIndex) -> list[str]:
    contacts = [index.contact(contact_id) for contact_id in deal.contact_ids]
    company = index.company(deal.company_id) if deal.company_id else None
    emails = [email for contact in contacts if contact for email in contact.emails]
    return emails + list(company.emails if company else ())


def _domains(emails: Iterable[str]) -> set[str]:
    """The corporate organisation domains of these addresses."""
    return {domain for domain in (corporate(domain_of(email)) for email in emails) if domain}
