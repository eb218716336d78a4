"""Who is who in a letter: the client's side, the employees, how a sender stands to a deal. No rule itself."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import cache

from publicsuffixlist import PublicSuffixList

from imaprouter.address import domain_of
from imaprouter.model import Client, Deal, DealIndex, Letter, User
from imaprouter.policy import ParticipantsPolicy, RoutingPolicy

# Anybody can have an address there: sharing such a domain says nothing about a company.
FREE_MAIL = frozenset(
    {
        *("gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "yahoo.com"),
        *(
            "icloud.com",
            "me.com",
            "aol.com",
            "gmx.com",
            "gmx.net",
            "gmx.de",
            "web.de",
            "mail.com",
            "zoho.com",
        ),
        *("proton.me", "protonmail.com", "fastmail.com"),
        *("yandex.ru", "yandex.com", "yandex.by", "yandex.kz", "ya.ru", "mail.ru", "inbox.ru", "list.ru"),
        *("bk.ru", "internet.ru", "rambler.ru", "lenta.ru", "autorambler.ru", "myrambler.ru", "ro.ru"),
        *("ukr.net", "i.ua", "meta.ua", "tut.by"),
        *("wp.pl", "o2.pl", "onet.pl", "onet.eu", "op.pl", "interia.pl", "interia.eu", "poczta.fm"),
        *("gazeta.pl", "tlen.pl", "vp.pl"),
    }
)


def employee(email: str, index: DealIndex, policy: ParticipantsPolicy) -> User | None:
    """The active employee with this address, by the portal's e-mail or by a configured alias."""
    user = index.user_by_email(email)
    if user:
        return user
    for main, aliases in policy.user_aliases.items():
        if email in aliases:
            return index.user_by_email(main)
    return None


def employees(emails: Iterable[str], index: DealIndex, policy: ParticipantsPolicy) -> dict[str, User]:
    """The addresses that belong to employees, with their employees, in the order given."""
    found = ((email, employee(email, index, policy)) for email in emails)
    return {email: user for email, user in found if user}


def client_addresses(letter: Letter, index: DealIndex, policy: ParticipantsPolicy) -> tuple[str, ...]:
    """Addresses under which the CRM may know the client, in the order in which Bitrix24 asks.

    Incoming: Reply-To, then From (mail-internals 2.4); none when From can be read in two ways.
    Outgoing: To, then Cc. Employees and our own mailboxes are no clients.
    """
    envelope = letter.envelope
    if letter.outgoing:
        written = [address.email for address in envelope.to + envelope.cc]
    elif envelope.from_is_clear:
        written = [address.email for address in envelope.writers]
    else:
        written = []
    ours = letter.own_addresses | letter.house_addresses
    return tuple(
        dict.fromkeys(
            email for email in written if email and email not in ours and not employee(email, index, policy)
        )
    )


def find_client(addresses: Iterable[str], letter: Letter, index: DealIndex) -> Client | None:
    """Everybody the CRM knows on the client's side, or None.

    Incoming: the first address that is known, as the portal does. Outgoing: all recipients together.
    """
    known = [client for client in map(index.client, addresses) if client]
    if not known:
        return None
    return _merged(known) if letter.outgoing else known[0]


def _merged(clients: list[Client]) -> Client:
    return Client(
        email=clients[0].email,
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
    """How the client's side of `letter` stands to `deal`: the base of every sender check."""
    addresses = client_addresses(letter, index, policy.participants)
    client = find_client(addresses, letter, index)
    if client and _is_client_of(client, deal, index):
        return Relation.OWN
    if _domains(addresses) & _domains(_client_emails(deal, index)):
        return Relation.SAME_DOMAIN
    if client and (client.contacts or client.companies):
        return Relation.FOREIGN
    return Relation.UNKNOWN


def _is_client_of(client: Client, deal: Deal, index: DealIndex) -> bool:
    if set(client.contact_ids) & set(deal.contact_ids):
        return True
    if deal.lead_id is not None and deal.lead_id in {lead.id for lead in client.leads}:
        return True
    companies = {deal.company_id} if deal.company_id else set()
    for contact_id in deal.contact_ids:
        contact = index.contact(contact_id)
        companies.update(contact.company_ids if contact else ())
    return bool(companies & set(client.company_ids))


def _client_emails(deal: Deal, index: DealIndex) -> list[str]:
    contacts = [index.contact(contact_id) for contact_id in deal.contact_ids]
    company = index.company(deal.company_id) if deal.company_id else None
    emails = [email for contact in contacts if contact for email in contact.emails]
    return emails + list(company.emails if company else ())


def _domains(emails: Iterable[str]) -> set[str]:
    """The corporate organisation domains of these addresses."""
    return {domain for domain in (_organisation(domain_of(email)) for email in emails) if domain}


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _organisation(domain: str) -> str:
    registered: str | None = _suffixes().privatesuffix(domain) if domain else None
    return registered if registered and registered not in FREE_MAIL else ""
