"""Whom a letter belongs to in the portal's opinion: search, ranking, bindings (mail-internals 2.4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from imaprouter.sandbox.bindings import Pair
from imaprouter.sandbox.crm import Crm
from imaprouter.sandbox.fields import COMPANY, CONTACT, DEAL, LEAD
from imaprouter.sandbox.rows import Row


@dataclass(frozen=True, slots=True)
class Match:
    """What an address belongs to."""

    companies: tuple[int, ...] = ()
    contacts: tuple[int, ...] = ()
    leads: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.companies or self.contacts or self.leads)


def find(crm: Crm, address: str, queue: Collection[int] | None) -> Match:
    """Search companies, contacts and leads by address; `queue` None is a public mailbox, which sees all."""
    found = {kind: crm.with_email(kind, address) for kind in (COMPANY, CONTACT, LEAD)}
    seen = {
        kind: tuple(
            number
            for number in numbers
            if queue is None or crm.entities[kind][number]["ASSIGNED_BY_ID"] in queue
        )
        for kind, numbers in found.items()
    }
    return Match(seen[COMPANY], seen[CONTACT], seen[LEAD])


def bindings_of(crm: Crm, match: Match, order: Literal["sorted", "found"]) -> list[Pair]:
    """Return bindings, owner first: the last modified open deal, company and/or contact, else a lead."""
    company = _best(crm, match.companies, lambda number: _business(crm, company=number))
    contact = _best(crm, match.contacts, lambda number: _business(crm, contact=number))
    found: list[Pair] = []
    if company is not None:
        found += [*_business(crm, company=company), (COMPANY, company)]
    if contact is not None and company in (None, crm.entities[CONTACT][contact]["COMPANY_ID"]):
        if not any(kind in (DEAL, LEAD) for kind, _ in found):
            found += _business(crm, contact=contact)
        found.append((CONTACT, contact))
    if not found:
        found = [(LEAD, number) for number in _active_leads(crm, match.leads)[:1]]
    if order == "sorted":
        found.sort(key=type_order)
    return one_of_the_owners_type(found)


def _business(crm: Crm, *, company: int | None = None, contact: int | None = None) -> list[Pair]:
    """Open deals, else repeat leads in progress."""
    deals = open_deals(crm, company=company, contact=contact)
    if deals:
        return [(DEAL, number) for number in deals]
    return [(LEAD, number) for number in repeat_leads(crm, company=company, contact=contact)]


def one_of_the_owners_type(bindings: Sequence[Pair]) -> list[Pair]:
    """Drop everything of the owner's type but the owner, who is the first."""
    return [pair for place, pair in enumerate(bindings) if place == 0 or pair[0] != bindings[0][0]]


def type_order(pair: Pair) -> int:
    """Deals, leads, then the rest by type."""
    return {DEAL: 0, LEAD: 1}.get(pair[0], pair[0] + 1)


def open_deals(crm: Crm, *, company: int | None = None, contact: int | None = None) -> list[int]:
    """Open deals of a company, or with this contact among theirs; the last modified first."""
    return _newest(
        row
        for row in crm.entities[DEAL].values()
        if row["STAGE_SEMANTIC_ID"] == "P"
        and row["IS_RECURRING"] != "Y"
        and ((company is not None and row["COMPANY_ID"] == company) or contact in row["CONTACT_IDS"])
    )


def repeat_leads(crm: Crm, *, company: int | None = None, contact: int | None = None) -> list[int]:
    """Leads in progress of a client who came back."""
    return _newest(
        row
        for row in crm.entities[LEAD].values()
        if row["STATUS_SEMANTIC_ID"] == "P"
        and row["IS_RETURN_CUSTOMER"] == "Y"
        and (
            (company is not None and row["COMPANY_ID"] == company)
            or (contact is not None and row["CONTACT_ID"] == contact)
        )
    )


def _active_leads(crm: Crm, numbers: Iterable[int]) -> list[int]:
    rows = (crm.entities[LEAD][number] for number in numbers)
    return _newest(row for row in rows if row["STATUS_SEMANTIC_ID"] == "P")


def _recency(row: Row) -> tuple[datetime, datetime, int]:
    return row["DATE_MODIFY"], row["DATE_CREATE"], row["ID"]


def _newest(rows: Iterable[Row]) -> list[int]:
    return [row["ID"] for row in sorted(rows, key=_recency, reverse=True)]


def _best(crm: Crm, numbers: Sequence[int], business_of: Callable[[int], list[Pair]]) -> int | None:
    """The client who owns the last modified open deal, else repeat lead; without any the first one."""
    newest = {number: found[0] for number in numbers if (found := business_of(number))}
    for type_id in (DEAL, LEAD):
        owners = [number for number, pair in newest.items() if pair[0] == type_id]
        if owners:
            return max(owners, key=lambda number: _recency(crm.entities[type_id][newest[number][1]]))
    return numbers[0] if numbers else None
