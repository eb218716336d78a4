"""What the deal index is filled from: deals, clients, users and sent letters, as portions in constant memory.

`since` asks for what was changed at that time or later, None for everything. Deletions never show (rest.md
4.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from imaprouter.bitrix24 import rows
from imaprouter.bitrix24.commands import Command, value
from imaprouter.bitrix24.listing import PAGE, Listing, pages
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.values import Row, chunks, ids, integer
from imaprouter.bitrix24.values import rows as table
from imaprouter.errors import PortalRefused
from imaprouter.model import Activity, Company, Contact, Deal, EntityType, Lead, User


def deal_listing(since: datetime | None = None) -> Listing[Deal]:
    """Deals through crm.item.list, the only list that gives all contacts of a deal (rest.md trap 28)."""
    params = {"entityTypeId": EntityType.DEAL.type_id, "select": rows.DEAL_FIELDS}
    return Listing("crm.item.list", params, rows.deal, {">=updatedTime": since} if since else {})


def contact_listing(since: datetime | None = None) -> Listing[Contact]:
    """Contacts with all their addresses, which crm.item.list gives only together with every other field."""
    return Listing("crm.contact.list", {"select": rows.CONTACT_FIELDS}, rows.contact, _modified(since))


def company_listing(since: datetime | None = None) -> Listing[Company]:
    return Listing("crm.company.list", {"select": rows.COMPANY_FIELDS}, rows.company, _modified(since))


def lead_listing(since: datetime | None = None) -> Listing[Lead]:
    return Listing("crm.lead.list", {"select": rows.LEAD_FIELDS}, rows.lead, _modified(since))


def outgoing_listing(since: datetime | None = None) -> Listing[Activity]:
    """E-mails that were sent: the CRM's own name their Message-ID (mail-internals 4)."""
    condition: dict[str, object] = {"TYPE_ID": 4, "PROVIDER_ID": "CRM_EMAIL", "DIRECTION": 2}
    if since:
        condition[">=LAST_UPDATED"] = since
    return Listing(
        "crm.activity.list", {"select": rows.ACTIVITY_FIELDS}, rows.activity, condition, _is_outgoing_email
    )


def deals(portal: Portal, since: datetime | None = None) -> Iterator[list[Deal]]:
    """Deals by ascending id, at most 2,500 at a time. PortalError when the list cannot be read on."""
    return pages(portal, deal_listing(since))


def contacts(portal: Portal, since: datetime | None = None) -> Iterator[list[Contact]]:
    """Contacts with all their companies, as `deals`."""
    for portion in pages(portal, contact_listing(since)):
        yield with_companies(portal, portion)


def companies(portal: Portal, since: datetime | None = None) -> Iterator[list[Company]]:
    """Companies, as `deals`."""
    return pages(portal, company_listing(since))


def leads(portal: Portal, since: datetime | None = None) -> Iterator[list[Lead]]:
    """Leads, as `deals`."""
    return pages(portal, lead_listing(since))


def outgoing_emails(portal: Portal, since: datetime | None = None) -> Iterator[list[Activity]]:
    """Sent letters, as `deals`."""
    return pages(portal, outgoing_listing(since))


def users(portal: Portal) -> list[User]:
    """All employees that the webhook may see, dismissed ones included.

    user.get has no documented filter by id, hence pages by offset, ten in a request; behind the last one the
    portal begins anew.
    """
    found: dict[int, User] = {}
    start = 0
    while True:
        offsets = range(start, start + 10 * PAGE, PAGE)
        for answer in portal.batch([_user_page(offset) for offset in offsets]):
            page = [rows.user(row) for row in table(value(answer))]
            fresh = [user for user in page if user.id not in found]
            found.update((user.id, user) for user in fresh)
            if len(page) < PAGE or not fresh:
                return list(found.values())
        start = offsets.stop


def with_companies(portal: Portal, contacts: Sequence[Contact]) -> list[Contact]:
    """These contacts with every company of theirs, the primary one first.

    crm.contact.list knows only the primary company; crm.item.list knows all and costs one command for fifty
    contacts. A contact without a primary company has none at all, and is not asked for.
    """
    asked = [contact.id for contact in contacts if contact.company_ids]
    answers = portal.batch([_companies_of(group) for group in chunks(asked, PAGE)])
    linked: dict[int, tuple[int, ...]] = {}
    for answer in answers:
        # A portal without this field keeps the primary company; it is no reason to stop a refresh.
        for row in [] if isinstance(answer, PortalRefused) else table(value(answer)):
            linked[integer(row.get("id"))] = ids(row.get("companyIds"))
    return [
        replace(contact, company_ids=tuple(dict.fromkeys(contact.company_ids + linked.get(contact.id, ()))))
        for contact in contacts
    ]


def _companies_of(contact_ids: Sequence[int]) -> Command:
    listing = Listing(
        "crm.item.list",
        {"entityTypeId": EntityType.CONTACT.type_id, "select": ("id", "companyIds")},
        _same,
        {},
    )
    return listing.command({"@id": list(contact_ids)})


def _same(row: Row) -> Row:
    return row


def _user_page(offset: int) -> Command:
    params = {"sort": "ID", "order": "ASC", "select": rows.USER_FIELDS, "start": offset}
    return Command("user.get", params, read=True)


def _modified(since: datetime | None) -> dict[str, object]:
    return {">=DATE_MODIFY": since} if since else {}


def _is_outgoing_email(row: Row) -> bool:
    return rows.is_email(row) and integer(row.get("DIRECTION")) == 2
