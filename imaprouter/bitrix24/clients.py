"""Live look-up: what the portal knows of an address, of ids, of a client's deals, beside the index."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import idna

from imaprouter.bitrix24.commands import Answer, Command, value
from imaprouter.bitrix24.index import (
    company_listing,
    contact_listing,
    deal_listing,
    lead_listing,
    with_companies,
)
from imaprouter.bitrix24.listing import PAGE, Listing, by_ids, pages
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.values import Row, chunks, ids, integer, mapping, rows, text
from imaprouter.errors import PortalError, PortalRefused
from imaprouter.model import Client, Company, Contact, Deal, Lead, sorted_ids

_MAIL_SYNC = "email-tracker"
_KINDS = ("CONTACT", "COMPANY", "LEAD")

T = TypeVar("T", Deal, Contact, Company, Lead)


def deals_by_id(portal: Portal, deal_ids: Sequence[int]) -> dict[int, Deal]:
    """The deals with these ids; those that do not exist or cannot be read are left out. Also for the rest."""
    return _by_id(by_ids(portal, deal_listing(), deal_ids))


def deal_lists(deal_ids: Iterable[int]) -> list[Command]:
    """The commands behind `deals_by_id`, for a batch of one's own; `listed_deals` reads their answers."""
    listing = deal_listing()
    return [listing.command({"@id": list(group)}) for group in chunks(sorted(set(deal_ids)), PAGE)]


def listed_deals(answers: Iterable[Answer], deal_ids: Iterable[int]) -> dict[int, Deal]:
    """Those of these deals that the answers show; an error shows none."""
    found = [row for answer in answers if not isinstance(answer, PortalError) for row in rows(answer)]
    wanted = set(deal_ids)
    return {deal.id: deal for deal in deal_listing().values(found) if deal.id in wanted}


def contacts_by_id(portal: Portal, contact_ids: Sequence[int]) -> dict[int, Contact]:
    return _by_id(with_companies(portal, by_ids(portal, contact_listing(), contact_ids)))


def companies_by_id(portal: Portal, company_ids: Sequence[int]) -> dict[int, Company]:
    return _by_id(by_ids(portal, company_listing(), company_ids))


def leads_by_id(portal: Portal, lead_ids: Sequence[int]) -> dict[int, Lead]:
    return _by_id(by_ids(portal, lead_listing(), lead_ids))


def automatic_leads(portal: Portal, lead_ids: Sequence[int]) -> frozenset[int]:
    """Which of these leads the portal's mail sync has made for a letter (rest.md 2.8)."""
    listing = Listing(
        "crm.lead.list",
        {"select": ("ID", "ORIGINATOR_ID")},
        _id,
        {},
        lambda row: _originator(row) == _MAIL_SYNC,
    )
    return frozenset(by_ids(portal, listing, lead_ids))


def find_by_email(portal: Portal, addresses: Sequence[str]) -> dict[str, Client]:
    """Everybody and everything under each of these normalised addresses; an empty Client for a stranger.

    One command for each address and kind: with twenty hits of one kind the portal leaves the others out
    (rest.md 4.3).
    """
    wanted = list(dict.fromkeys(addresses))
    questions = [(address, kind) for address in wanted for kind in _KINDS]
    answers = portal.batch([_duplicates(address, kind) for address, kind in questions])
    hits = {
        question: ids(mapping(value(answer)).get(question[1]))
        for question, answer in zip(questions, answers, strict=True)
    }

    def all_of(kind: str) -> tuple[int, ...]:
        return sorted_ids(number for address in wanted for number in hits[address, kind])

    contacts = contacts_by_id(portal, all_of("CONTACT"))
    companies = companies_by_id(portal, all_of("COMPANY"))
    leads = leads_by_id(portal, all_of("LEAD"))
    return {
        address: Client(
            address,
            contacts=_pick(contacts, hits[address, "CONTACT"]),
            companies=_pick(companies, hits[address, "COMPANY"]),
            leads=_pick(leads, hits[address, "LEAD"]),
        )
        for address in wanted
    }


def deals_of_clients(
    portal: Portal, contact_ids: Sequence[int], company_ids: Sequence[int]
) -> tuple[Deal, ...]:
    """Deals, open and closed, of any of these contacts or companies, by ascending id."""
    contacts, companies = sorted_ids(contact_ids), sorted_ids(company_ids)
    found: dict[int, Deal] = {}
    for field, wanted in (("contactIds", contacts), ("contactId", contacts), ("companyId", companies)):
        if wanted:
            found |= _deals_where(portal, field, wanted)
    return tuple(
        found[number]
        for number in sorted(found)
        if found[number].company_id in companies or set(found[number].contact_ids) & set(contacts)
    )


def spellings(address: str) -> list[str]:
    """The address, also with its IDN domain in letters: the portal compares what was typed (8)."""
    local, _, domain = address.rpartition("@")
    with contextlib.suppress(UnicodeError):
        readable = idna.decode(domain)
        if readable != domain:
            return [address, f"{local}@{readable}"]
    return [address]


def _deals_where(portal: Portal, field: str, wanted: Sequence[int]) -> dict[int, Deal]:
    plain = deal_listing()
    listing = Listing(plain.method, plain.params, plain.parse, {f"@{field}": list(wanted)})
    try:
        return _by_id([deal for portion in pages(portal, listing) for deal in portion])
    except PortalRefused:
        # crm.item.list is strict, and not every build filters by all contacts of a deal.
        if field != "contactIds":
            raise
        return {}


def _id(row: Row) -> int:
    return integer(row.get("ID"))


def _originator(row: Row) -> str:
    return text(row.get("ORIGINATOR_ID"))


def _duplicates(address: str, kind: str) -> Command:
    params = {"type": "EMAIL", "values": spellings(address), "entity_type": kind}
    return Command("crm.duplicate.findbycomm", params, read=True)


def _by_id(values: Sequence[T]) -> dict[int, T]:
    return {item.id: item for item in values}


def _pick(known: dict[int, T], wanted: Sequence[int]) -> tuple[T, ...]:
    return tuple(known[number] for number in wanted if number in known)


def deal_field(portal: Portal, deal_ids: Sequence[int], name: str) -> dict[int, str]:
    """What a user field holds, by deal; deals that do not exist or cannot be read are left out."""

    def read(row: Row) -> tuple[int, str]:
        return integer(row.get("ID")), text(row.get(name))

    listing = Listing("crm.deal.list", {"select": ("ID", name)}, read, {})
    return dict(by_ids(portal, listing, deal_ids))
