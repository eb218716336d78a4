"""crm.item.list, crm.item.get and crm.category.list: strict, typed, camelCase (rest.md 4.2, 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from imaprouter.sandbox.fields import COLUMNS, DEAL, LINKS, MULTIFIELDS, Kind, item_name
from imaprouter.sandbox.filters import Condition, split_key
from imaprouter.sandbox.listing import Page, item_page, ordered
from imaprouter.sandbox.replies import Call, Method, Refusal, Reply, required_int
from imaprouter.sandbox.rows import Row
from imaprouter.sandbox.values import instant, iso, whole

_NUMBERS_AS_TEXT = frozenset({"OPPORTUNITY", "TAX_VALUE"})
_LINK_COLUMNS = frozenset({"COMPANY_ID", "CONTACT_ID", "LEAD_ID", "QUOTE_ID"})


def item_list(call: Call) -> Reply:
    """crm.item.list: an unknown field is an error; `fm` comes only without a select or with `*`."""
    type_id, crm = _entity_type(call), call.crm
    names = _names(call, type_id, crm.user_fields[type_id])
    test = _filter(call, names, _mapping(call.params.get("filter"), "filter"))
    rows = (
        row
        for row in crm.entities[type_id].candidates(test.conditions if not test.either else ())
        if crm.may_read((type_id, row["ID"])) and test.holds(row)
    )
    order = _mapping(call.params.get("order"), "order")
    for name in order:
        if name not in names:
            raise _invalid(f"Invalid order: field '{name}' is not allowed in order")
    by_column = {names[name][0]: direction for name, direction in order.items()}
    page: Page = item_page(ordered(rows, by_column, dict(names.values())), call.params.get("start"))
    show = _shown(call, type_id, names)
    shown = [show(row) for row in page.rows]
    return Reply({"items": shown}, page.total, page.next)


def item_get(call: Call) -> Reply:
    """crm.item.get."""
    type_id, number = _entity_type(call), required_int(call.params, "id")
    row = call.crm.entity((type_id, number))
    if row is None:
        raise Refusal("NOT_FOUND", "Element not found")
    if not call.crm.may_read((type_id, number)):
        raise Refusal("ACCESS_DENIED", "Access denied")
    names = _names(call, type_id, [name for name in row if name.startswith("UF_")])
    return Reply({"item": _shown(call, type_id, names)(row)})


def category_list(call: Call) -> Reply:
    """crm.category.list: all pipelines at once; 0 is the default one."""
    if _entity_type(call) != DEAL:
        raise Refusal("NOT_FOUND", "Entity type has no categories")
    categories = [
        {
            "id": number,
            "name": name,
            "sort": (place + 1) * 100,
            "entityTypeId": DEAL,
            "isDefault": "N" if number else "Y",
            "originId": "",
            "originatorId": "",
        }
        for place, (number, name) in enumerate(sorted(call.crm.categories.items()))
    ]
    return Reply({"categories": categories}, total=len(categories))


def _entity_type(call: Call) -> int:
    type_id = required_int(call.params, "entityTypeId")
    if type_id not in COLUMNS:
        raise Refusal("NOT_FOUND", f"Entity type {type_id} is not found")
    return type_id


def _names(call: Call, type_id: int, user_fields: Iterable[str]) -> dict[str, tuple[str, Kind]]:
    """Item name to (column, kind), user fields included."""
    columns = dict(COLUMNS[type_id]) | dict.fromkeys(sorted(user_fields), Kind.TEXT)
    original = call.params.get("useOriginalUfNames") == "Y"
    return {
        column if original and column.startswith("UF_") else item_name(column): (column, kind)
        for column, kind in columns.items()
    }


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if isinstance(value, list):
        return {str(place): item for place, item in enumerate(value)}
    if value is not None and not isinstance(value, Mapping):
        raise _invalid(f"Invalid {name}: must be array")
    return value or {}


def _invalid(text: str) -> Refusal:
    return Refusal("INVALID_ARG_VALUE", text)


@dataclass(frozen=True, slots=True)
class _Filter:
    """Conditions and nested filters, all of which must hold, or any if `either`."""

    conditions: tuple[Condition, ...]
    nested: tuple[_Filter, ...]
    either: bool

    def holds(self, row: Row) -> bool:
        results = chain(
            (condition.holds(row) for condition in self.conditions),
            (each.holds(row) for each in self.nested),
        )
        return any(results) if self.either else all(results)


def _filter(call: Call, names: Mapping[str, tuple[str, Kind]], filter_: Mapping[str, Any]) -> _Filter:
    """Check and read a filter; nested ones carry `logic` and numbered branches (rest.md 4.2)."""
    plain = [(key, value) for key, value in filter_.items() if not key.isdigit() and key.lower() != "logic"]
    conditions = tuple(_condition(call, names, key, value) for key, value in plain)
    nested = tuple(
        _filter(call, names, _mapping(value, "filter")) for key, value in filter_.items() if key.isdigit()
    )
    either = str(filter_.get("logic", "AND")).upper() == "OR" and bool(conditions or nested)
    return _Filter(conditions, nested, either)


def _condition(call: Call, names: Mapping[str, tuple[str, Kind]], key: str, value: Any) -> Condition:
    operation, negated, name = split_key(key)
    if name == "contactIds" and call.quirks.item_filter_contact_ids:
        column, kind = "CONTACT_IDS", Kind.IDS
    elif name in names:
        column, kind = names[name]
    else:
        raise _invalid(f"Invalid filter: field '{name}' is not allowed in filter")
    values = tuple(value) if isinstance(value, list) else (value,)
    for each in values:
        _check_value(name, kind, each, call)
    return Condition(column, kind, operation, negated, values, call.crm.zone)


def _check_value(name: str, kind: Kind, value: Any, call: Call) -> None:
    empty = value is None or value == ""
    wrong_number = kind is Kind.INT and not empty and whole(value) is None
    wrong_time = kind is Kind.TIME and not empty and instant(value, call.crm.zone) is None
    if isinstance(value, (Mapping, list)) or wrong_number or wrong_time:
        raise _invalid(f"Invalid filter: field '{name}' has invalid value")


def _shown(call: Call, type_id: int, names: Mapping[str, tuple[str, Kind]]) -> Callable[[Row], Row]:
    """How the call shows a row; what does not depend on the row is found out once."""
    select, zone = _select(call.params.get("select")), call.crm.zone
    everything = not select or "*" in select
    chosen = names.keys() if everything else [name for name in select if name in names]
    empty_link = 0 if call.quirks.empty_link == "0" else None
    columns = [names[name][0] for name in chosen]
    times = [name for name in chosen if names[name][1] is Kind.TIME]
    links = [name for name in chosen if names[name][0] in _LINK_COLUMNS]
    numbers = [name for name in chosen if names[name][0] in _NUMBERS_AS_TEXT]
    wanted = set(select) - {"fm"}
    # `fm` comes with no select or with `*` alone (rest.md 4.2).
    others = bool(set(select) - {"*"})

    def show(row: Row) -> Row:
        item: Row = dict(zip(chosen, map(row.get, columns), strict=True))
        for name in times:
            if item[name] is not None:
                item[name] = iso(item[name], zone)
        for name in links:
            item[name] = item[name] or empty_link
        for name in numbers:
            item[name] = float(item[name] or 0)
        beside = _links(call, type_id, row) | _communications(type_id, row)
        if everything:
            if others:
                beside.pop("fm", None)
            return item | beside
        return item | {name: beside[name] for name in select if name in beside and name in wanted}

    return show


def _select(value: Any) -> Sequence[str]:
    items = list(value.values()) if isinstance(value, Mapping) else value
    return [str(item) for item in items] if isinstance(items, list) else []


def _links(call: Call, type_id: int, row: Row) -> Row:
    column = LINKS.get(type_id)
    if column is None or (column == "COMPANY_IDS" and not call.quirks.item_company_ids):
        return {}
    links: Row = {column.split("_")[0].lower() + "Ids": list(row[column])}
    observers = {"observers": [int(number) for number in row.get("OBSERVERS") or []]}
    return links | (observers if type_id == DEAL else {})


def _communications(type_id: int, row: Row) -> Row:
    if type_id == DEAL:
        return {}
    values = [(kind, each) for kind in MULTIFIELDS for each in row.get(kind) or []]
    first = {
        kind: next((each["VALUE"] for found, each in values if found == kind), "") for kind in MULTIFIELDS
    }
    fm = [
        {"id": int(each["ID"]), "typeId": kind, "valueType": each["VALUE_TYPE"], "value": each["VALUE"]}
        for kind, each in values
    ]
    return {"fm": fm, "email": first["EMAIL"], "phone": first["PHONE"]}


METHODS = {
    "crm.item.list": Method(item_list),
    "crm.item.get": Method(item_get),
    "crm.category.list": Method(category_list),
}
