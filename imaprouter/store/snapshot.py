"""A CRM snapshot as JSON, in the portal's own field names: the contract's section 5, to and from an index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from imaprouter.address import canonical_id, normalise
from imaprouter.errors import StoreError
from imaprouter.model import Activity, Binding, Company, Contact, Deal, Direction, Lead, Tenure, User
from imaprouter.store.index import Index
from imaprouter.store.index_writes import KINDS

_Row = TypeVar("_Row")


def read_snapshot(content: bytes, name: str) -> object:
    """The JSON of a snapshot file. Raises StoreError that says where it is broken."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{name} is no JSON: {error}") from error


def import_snapshot(index: Index, snapshot: object) -> dict[str, int]:
    """Replace what `index` holds by `snapshot`; returns the new counts.

    Raises StoreError that names the first row that cannot be understood; then nothing is changed.
    """
    if not isinstance(snapshot, Mapping):
        raise StoreError("a snapshot is a JSON object with users, companies, contacts, deals and leads")
    generation = index.generation() + 1
    users = _read(snapshot, "users", _user)
    companies = _read(snapshot, "companies", _company)
    contacts = _read(snapshot, "contacts", _contact)
    leads = _read(snapshot, "leads", _lead)
    deals = _read(snapshot, "deals", _deal)
    activities = _read(snapshot, "activities", _sent_letter)
    with index.writing():
        index.put_users(users, generation)
        index.put_companies(companies, generation)
        index.put_contacts(contacts, generation)
        index.put_leads(leads, generation)
        index.put_deals(deals, generation)
        # A snapshot says itself who was responsible before: what two of them differ in is no handover.
        index.set_tenures(deals)
        for kind in KINDS:
            index.drop_stale(kind, generation)
        index.clear_sent_letters()
        index.put_sent_letters(activities)
        index.facts.set("generation", str(generation))
    return index.counts()


def export_snapshot(index: Index) -> dict[str, list[dict[str, Any]]]:
    """Everything that `index` holds, in the shape that `import_snapshot` reads."""
    return {
        "users": [
            {"ID": user.id, "EMAIL": user.email, "NAME": user.name, "ACTIVE": user.active}
            for user in index.all_users()
        ],
        "companies": [
            {
                "ID": company.id,
                "TITLE": company.title,
                "ASSIGNED_BY_ID": company.responsible_id,
                "EMAIL": _multifield(company.emails),
            }
            for company in index.all_companies()
        ],
        "contacts": [
            {
                "ID": contact.id,
                "NAME": contact.first_name if contact.last_name else contact.name,
                **({"LAST_NAME": contact.last_name} if contact.last_name else {}),
                "ASSIGNED_BY_ID": contact.responsible_id,
                "COMPANY_IDS": list(contact.company_ids),
                "EMAIL": _multifield(contact.emails),
            }
            for contact in index.all_contacts()
        ],
        "deals": [_exported_deal(deal) for deal in index.all_deals()],
        "leads": [
            {
                "ID": lead.id,
                "TITLE": lead.title,
                "ASSIGNED_BY_ID": lead.responsible_id,
                "STATUS_SEMANTIC_ID": lead.semantic,
                "CONTACT_ID": lead.contact_id,
                "COMPANY_ID": lead.company_id,
                "EMAIL": _multifield(lead.emails),
            }
            for lead in index.all_leads()
        ],
        "activities": [
            {
                "ID": activity_id,
                "TYPE_ID": 4,
                "PROVIDER_ID": "CRM_EMAIL",
                "DIRECTION": 2,
                "OWNER_TYPE_ID": owner.type_id,
                "OWNER_ID": owner.entity_id,
                "SETTINGS": {"MESSAGE_HEADERS": {"Message-Id": f"<{message_id}>"}},
            }
            for message_id, activity_id, owner in index.all_sent_letters()
        ],
    }


def _read(snapshot: Mapping[str, Any], kind: str, make: Callable[[Mapping[str, Any]], _Row]) -> list[_Row]:
    rows = snapshot.get(kind, [])
    if not isinstance(rows, list):
        raise StoreError(f"snapshot: {kind} is not a list")
    made = []
    for place, row in enumerate(rows):
        try:
            made.append(make(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"snapshot: {kind}[{place}] cannot be understood: {error!r}") from error
    return made


def _user(row: Mapping[str, Any]) -> User:
    active = row.get("ACTIVE", True)
    return User(
        id=int(row["ID"]),
        name=_name(row),
        email=normalise(row.get("EMAIL") or ""),
        active=active in (True, "Y", "true", 1, "1"),
    )


def _company(row: Mapping[str, Any]) -> Company:
    return Company(int(row["ID"]), row.get("TITLE") or "", _number(row, "ASSIGNED_BY_ID") or 0, _emails(row))


def _contact(row: Mapping[str, Any]) -> Contact:
    companies = _numbers(row.get("COMPANY_IDS")) or _numbers([row.get("COMPANY_ID")])
    return Contact(
        int(row["ID"]),
        _name(row),
        _number(row, "ASSIGNED_BY_ID") or 0,
        companies,
        _emails(row),
        first_name=row.get("NAME") or "",
        last_name=row.get("LAST_NAME") or "",
    )


def _lead(row: Mapping[str, Any]) -> Lead:
    return Lead(
        id=int(row["ID"]),
        title=row.get("TITLE") or "",
        responsible_id=_number(row, "ASSIGNED_BY_ID") or 0,
        semantic=row.get("STATUS_SEMANTIC_ID") or "P",
        contact_id=_number(row, "CONTACT_ID"),
        company_id=_number(row, "COMPANY_ID"),
        emails=_emails(row),
    )


def _deal(row: Mapping[str, Any]) -> Deal:
    contacts = _numbers(row.get("CONTACT_IDS")) or _numbers([row.get("CONTACT_ID")])
    return Deal(
        id=int(row["ID"]),
        title=row.get("TITLE") or "",
        category_id=_number(row, "CATEGORY_ID") or 0,
        stage_id=row.get("STAGE_ID") or "",
        semantic=row.get("STAGE_SEMANTIC_ID") or ("F" if row.get("CLOSED") == "Y" else "P"),
        recurring=row.get("IS_RECURRING") == "Y",
        responsible_id=_number(row, "ASSIGNED_BY_ID") or 0,
        company_id=_number(row, "COMPANY_ID"),
        contact_ids=contacts,
        lead_id=_number(row, "LEAD_ID"),
        responsible_since=_moment(row, "RESPONSIBLE_SINCE"),
        former=tuple(_tenure(item) for item in row.get("FORMER_RESPONSIBLES") or ()),
        observer_ids=_numbers(row.get("OBSERVERS")),
        created_at=_moment(row, "DATE_CREATE"),
        modified_at=_moment(row, "DATE_MODIFY"),
        moved_at=_moment(row, "MOVED_TIME"),
        last_activity_at=_moment(row, "LAST_ACTIVITY_TIME"),
    )


def _tenure(row: Mapping[str, Any]) -> Tenure:
    until = _moment(row, "UNTIL")
    if until is None:
        raise ValueError("UNTIL is missing")
    return Tenure(int(row["USER_ID"]), until, _moment(row, "SINCE"))


def _sent_letter(row: Mapping[str, Any]) -> Activity:
    """Only what makes an outgoing letter an ancestor: its Message-ID and its owner."""
    settings = row.get("SETTINGS") or {}
    headers = settings.get("MESSAGE_HEADERS") or {} if isinstance(settings, Mapping) else {}
    sent = _number(row, "DIRECTION") == 2
    return Activity(
        id=int(row["ID"]),
        mailbox_email="",
        direction=Direction.OUTGOING if sent else Direction.INCOMING,
        subject=row.get("SUBJECT") or "",
        start_time=None,
        created_at=None,
        updated_at=None,
        owner=Binding(int(row["OWNER_TYPE_ID"]), int(row["OWNER_ID"])),
        responsible_id=_number(row, "RESPONSIBLE_ID") or 0,
        completed=row.get("COMPLETED") == "Y",
        message_id=canonical_id(headers.get("Message-Id") or "") if sent else "",
    )


def _exported_deal(deal: Deal) -> dict[str, Any]:
    """A deal's row; what only some deals have stands only there."""
    more: dict[str, Any] = {}
    if deal.observer_ids:
        more["OBSERVERS"] = list(deal.observer_ids)
    if deal.former:
        more["FORMER_RESPONSIBLES"] = [
            {
                "USER_ID": tenure.user_id,
                **({"SINCE": _iso(tenure.since)} if tenure.since else {}),
                "UNTIL": _iso(tenure.until),
            }
            for tenure in deal.former
        ]
    if deal.responsible_since:
        more["RESPONSIBLE_SINCE"] = _iso(deal.responsible_since)
    if deal.moved_at:
        more["MOVED_TIME"] = _iso(deal.moved_at)
    return {
        "ID": deal.id,
        "TITLE": deal.title,
        "CATEGORY_ID": deal.category_id,
        "STAGE_ID": deal.stage_id,
        "STAGE_SEMANTIC_ID": deal.semantic,
        "CLOSED": "N" if deal.semantic == "P" else "Y",
        "IS_RECURRING": "Y" if deal.recurring else "N",
        "ASSIGNED_BY_ID": deal.responsible_id,
        "COMPANY_ID": deal.company_id,
        "CONTACT_IDS": list(deal.contact_ids),
        "LEAD_ID": deal.lead_id,
        "DATE_CREATE": _iso(deal.created_at),
        "DATE_MODIFY": _iso(deal.modified_at),
        "LAST_ACTIVITY_TIME": _iso(deal.last_activity_at),
        **more,
    }


def _multifield(emails: Sequence[str]) -> list[dict[str, str]]:
    return [{"VALUE": email, "VALUE_TYPE": "WORK"} for email in emails]


def _emails(row: Mapping[str, Any]) -> tuple[str, ...]:
    found = (
        normalise(item["VALUE"] if isinstance(item, Mapping) else item) for item in row.get("EMAIL") or []
    )
    return tuple(dict.fromkeys(email for email in found if email))


def _name(row: Mapping[str, Any]) -> str:
    return " ".join(part for part in (row.get("NAME"), row.get("LAST_NAME")) if part)


def _number(row: Mapping[str, Any], key: str) -> int | None:
    """An id; the portal writes an empty link as null, 0 or '0'."""
    return int(row.get(key) or 0) or None


def _numbers(values: Iterable[Any] | None) -> tuple[int, ...]:
    return tuple(int(value) for value in values or () if value and int(value))


def _moment(row: Mapping[str, Any], key: str) -> datetime | None:
    text = row.get(key)
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{key} has no offset")
    return moment


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
