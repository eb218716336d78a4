"""A small CRM for tests: two funnels, one client, and strangers around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imaprouter.store.index import Index
from imaprouter.store.snapshot import import_snapshot

USERS = [
    {"ID": 5, "EMAIL": "masha@company.ru", "NAME": "Мария", "LAST_NAME": "Петрова", "ACTIVE": True},
    {"ID": 6, "EMAIL": "ilya@company.ru", "NAME": "Илья", "LAST_NAME": "Смирнов", "ACTIVE": True},
    {"ID": 7, "EMAIL": "gone@company.ru", "NAME": "Пётр", "LAST_NAME": "Уволенный", "ACTIVE": False},
]
COMPANIES = [
    {"ID": 10, "TITLE": "Рога и Копыта", "ASSIGNED_BY_ID": 5, "EMAIL": [{"VALUE": "info@horns.ru"}]},
    {"ID": 11, "TITLE": "Ромашка", "ASSIGNED_BY_ID": 6, "EMAIL": []},
]
CONTACTS = [
    {"ID": 20, "NAME": "Сергей", "COMPANY_IDS": [10], "EMAIL": [{"VALUE": "sergey@horns.ru"}]},
    {"ID": 21, "NAME": "Анна", "COMPANY_IDS": [11], "EMAIL": [{"VALUE": "anna@romashka.ru"}]},
    {"ID": 22, "NAME": "Одна", "COMPANY_IDS": [], "EMAIL": [{"VALUE": "alone@mail.ru"}]},
]


def deal_row(number: int, responsible: int, **fields: Any) -> dict[str, Any]:
    """A deal of Sergey's in the portal's own field names."""
    return {
        "ID": number,
        "TITLE": f"Сделка {number}",
        "CATEGORY_ID": 0,
        "STAGE_ID": "NEW",
        "STAGE_SEMANTIC_ID": "P",
        "ASSIGNED_BY_ID": responsible,
        "COMPANY_ID": 10,
        "CONTACT_IDS": [20],
        "DATE_CREATE": "2026-01-10T10:00:00+03:00",
        "DATE_MODIFY": f"2026-01-{10 + number % 15:02}T10:00:00+03:00",
        **fields,
    }


DEALS = [
    deal_row(1, 5),
    deal_row(2, 6, CATEGORY_ID=1, STAGE_ID="C1:NEW"),
    deal_row(3, 6, COMPANY_ID=11, CONTACT_IDS=[21]),
    deal_row(4, 5, STAGE_SEMANTIC_ID="S", CLOSED="Y"),
]


def snapshot(**changes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The company as a snapshot, with some of its lists replaced."""
    base: dict[str, Any] = {
        "users": USERS,
        "companies": COMPANIES,
        "contacts": CONTACTS,
        "deals": DEALS,
        "leads": [],
        "activities": [],
    }
    return base | changes


def index_of(**changes: Sequence[Mapping[str, Any]]) -> Index:
    """An index in memory that holds the company."""
    index = Index(":memory:")
    import_snapshot(index, snapshot(**changes))
    return index
