"""What the deal index is filled from: deals, clients, users and sent letters, as portions in constant memory.

`since` asks for what was changed at that time or later, None for everything. Deletions never show (rest.md
4.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from imaprouter.bitrix24 import rows
from imaprouter.bitrix24.commands import SERVER_TIME, Answer, Command, value
from imaprouter.bitrix24.listing import PAGE, Listing, Source, Walk, by_ids, pages, read
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.values import Row, chunks, flag, ids, integer, moment
from imaprouter.bitrix24.values import rows as table
from imaprouter.errors import PortalBusy, PortalOutcomeUnknown, PortalRefused
from imaprouter.model import Activity, Company, Contact, Deal, EntityType, Lead, User


def deal_listing(since: datetime | None = None) -> Listing[Deal]:
    """Deals through crm.item.list, the only list that gives all contacts of a deal (rest.md trap 28)."""
    params = {"entityTypeId": EntityType.DEAL.type_id, "select": rows.DEAL_FIELDS}
    return Listing("crm.item.list", params, rows.deal, {">=updatedTime": since} if since else {})


def contact_listing(since: datetime | None = None) -> Listing[Contact]:
    """Contacts with all their addresses, of their companies only the primary one."""
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
    for _, portion in read(portal, [_contact_rows(since)]):
        yield _whole_contacts(portal, portion)


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
    """All employees that the webhook may see, dismissed ones included."""
    return [user for _, portion in read(portal, [_Users()]) for user in portion]


@dataclass(frozen=True, slots=True)
class Portion:
    """Some of the rows, at most 2,500 of one kind."""

    users: Sequence[User] = ()
    companies: Sequence[Company] = ()
    contacts: Sequence[Contact] = ()
    leads: Sequence[Lead] = ()
    deals: Sequence[Deal] = ()
    sent_letters: Sequence[Activity] = ()


def everything(
    portal: Portal, since: datetime | None, letters_since: datetime
) -> Iterator[Portion | datetime]:
    """All of the index side by side, in as few requests as there can be; first the portal's time.

    What was changed afterwards may be missing from what follows. PortalError when something cannot be read.
    """
    sources: list[Source[Any]] = [
        _Time(),
        _Users(),
        Walk(outgoing_listing(letters_since)),
        Walk(lead_listing(since)),
        Walk(company_listing(since)),
        _contact_rows(since),
        Walk(deal_listing(since)),
    ]
    kinds = (None, "users", "sent_letters", "leads", "companies", "contacts", "deals")
    for number, found in read(portal, sources):
        kind = kinds[number]
        if kind is None:
            yield from found
        elif kind == "contacts":
            yield Portion(contacts=_whole_contacts(portal, found))
        else:
            yield Portion(**{kind: found})


class _Time:
    """The portal's clock as a source of one value."""

    most = 1
    blocked = None

    def __init__(self) -> None:
        self.done = False

    def commands(self, first: int, count: int) -> list[Command]:
        return [Command(SERVER_TIME, read=True)]

    def take(self, answers: Sequence[Answer]) -> list[datetime]:
        when = moment(value(answers[0]))
        if when is None:
            raise PortalOutcomeUnknown(f"{SERVER_TIME}: no time", method=SERVER_TIME)
        self.done = True
        return [when]


class _Users:
    """user.get has no documented filter by id: pages by offset; behind the last one it begins anew."""

    most = 5

    def __init__(self) -> None:
        self.done = False
        self.blocked: PortalBusy | None = None
        self._seen: set[int] = set()
        self._start = 0

    def commands(self, first: int, count: int) -> list[Command]:
        return [_user_page(self._start + page * PAGE) for page in range(count)]

    def take(self, answers: Sequence[Answer]) -> list[User]:
        self.blocked = answers[0] if isinstance(answers[0], PortalBusy) else None
        if self.blocked:
            return []
        found: list[User] = []
        for answer in answers:
            page = [rows.user(row) for row in table(value(answer))]
            fresh = [user for user in page if user.id not in self._seen]
            self._seen.update(user.id for user in fresh)
            found += fresh
            self._start += PAGE
            if len(page) < PAGE or not fresh:
                self.done = True
                break
        return found


def _contact_rows(since: datetime | None) -> Walk[Row]:
    """Contacts by the one list that has all addresses and all companies, with every field beside them.

    crm.contact.list knows only the primary company, crm.item.list the addresses only with `*` alone
    (rest.md 4.2): asking both by narrow selects takes twice the requests.
    """
    params = {"entityTypeId": EntityType.CONTACT.type_id, "select": ("*",)}
    wide = Listing("crm.item.list", params, _same, {">=updatedTime": since} if since else {})
    narrow = Listing("crm.contact.list", {"select": rows.CONTACT_FIELDS}, _same, _modified(since))
    return Walk(wide, instead=narrow)


def _whole_contacts(portal: Portal, found: Sequence[Row]) -> list[Contact]:
    """The contacts of rows of either list; what such a row may not tell is asked for."""
    if not any("id" in row for row in found):
        return with_companies(portal, [rows.contact(row) for row in found])
    contacts = [rows.contact_item(row) for row in found]
    # Where the list holds the addresses back in spite of `*`, the older one tells them; so with companies.
    silent = [
        integer(row.get("id"))
        for row in found
        if not row.get("fm") and ("fm" not in row or flag(row.get("hasEmail")))
    ]
    known = {contact.id: contact for contact in by_ids(portal, contact_listing(), silent)} if silent else {}
    whole = [
        replace(contact, emails=known[contact.id].emails) if contact.id in known else contact
        for contact in contacts
    ]
    return whole if all("companyIds" in row for row in found) else with_companies(portal, whole)


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
