"""crm.deal|contact|company|lead .list and .get, crm.deal.update, relations, the search by address: legacy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from imaprouter.sandbox.crm import Crm
from imaprouter.sandbox.fields import (
    COLUMNS,
    COMPANY,
    CONTACT,
    DEAL,
    DEAL_READ_ONLY,
    ENTITY_NAMES,
    LEAD,
    LINKS,
    MULTIFIELDS,
    Kind,
)
from imaprouter.sandbox.filters import legacy_conditions, split_key
from imaprouter.sandbox.listing import legacy_page, ordered, passing, selected
from imaprouter.sandbox.replies import (
    Call,
    Method,
    Refusal,
    Reply,
    legacy_array,
    legacy_id,
    legacy_param,
    legacy_select,
)
from imaprouter.sandbox.rows import Row
from imaprouter.sandbox.values import legacy

_LINK_COLUMNS = frozenset({"COMPANY_ID", "CONTACT_ID", "LEAD_ID", "QUOTE_ID"})
_MOST_VALUES = 20
_MOST_HITS = 20


def entity_list(type_id: int, call: Call) -> Reply:
    """crm.<entity>.list: unknown filter keys vanish, multifields by name only, EMAIL matched exactly."""
    filter_, order = legacy_array(call.params, "filter"), legacy_array(call.params, "order")
    crm, user_fields = call.crm, sorted(call.crm.user_fields[type_id])
    columns = dict(COLUMNS[type_id]) | dict.fromkeys(user_fields, Kind.TEXT)
    conditions = legacy_conditions(filter_, columns, crm.zone)
    rows = (
        row
        for row in passing(crm.entities[type_id].candidates(conditions), conditions)
        if crm.may_read((type_id, row["ID"])) and _multifields_match(type_id, row, filter_)
    )
    page = legacy_page(ordered(rows, order, columns), legacy_param(call.params, "start"))
    names = selected(
        legacy_select(call.params), list(COLUMNS[type_id]), [*_multifields_of(type_id), *user_fields]
    )
    return Reply([_shown(call, row, names) for row in page.rows], page.total, page.next)


def entity_get(type_id: int, call: Call) -> Reply:
    """crm.<entity>.get: all columns, user fields and multifields."""
    row = _readable(call, type_id, legacy_id(call.params), "Not found")
    user_fields = [name for name in row if name.startswith("UF_")]
    names = [*COLUMNS[type_id], *user_fields, *_multifields_of(type_id)]
    return Reply(_shown(call, row, names))


def deal_update(call: Call) -> Reply:
    """crm.deal.update; unknown and read-only fields are ignored, DATE_MODIFY is bumped all the same."""
    crm, fields = call.crm, legacy_array(call.params, "fields")
    row = _readable(call, DEAL, legacy_id(call.params), "Not found")
    if not crm.may_edit((DEAL, row["ID"])):
        raise Refusal("", "Access denied.")
    writable = ({*COLUMNS[DEAL]} - DEAL_READ_ONLY) | crm.user_fields[DEAL]
    crm.set_deal(row["ID"], **{name: value for name, value in fields.items() if name in writable})
    return Reply(True)


def _multifields_of(type_id: int) -> tuple[str, ...]:
    return () if type_id == DEAL else MULTIFIELDS


def _multifields_match(type_id: int, row: Row, filter_: Mapping[str, Any]) -> bool:
    for key, wanted in filter_.items():
        operation, negated, name = split_key(key)
        if name in _multifields_of(type_id) and operation == "eq":
            values = {
                str(value).strip().casefold() for value in (wanted if isinstance(wanted, list) else [wanted])
            }
            found = any(each["VALUE"].casefold() in values for each in row.get(name) or [])
            if found is negated:
                return False
    return True


def _shown(call: Call, row: Row, names: Sequence[str]) -> Row:
    shown = {}
    for name in names:
        if name in MULTIFIELDS:
            if row.get(name):
                shown[name] = row[name]
        elif name in _LINK_COLUMNS and not row.get(name):
            shown[name] = "0" if call.quirks.empty_link == "0" else None
        else:
            shown[name] = legacy(row.get(name), call.crm.zone)
    return shown


def _readable(call: Call, type_id: int, number: int, missing: str) -> Row:
    row = call.crm.entity((type_id, number))
    if row is None:
        raise Refusal("", missing)
    if not call.crm.may_read((type_id, number)):
        raise Refusal("", "Access denied.")
    return row


def relation(owner: int, linked: int, call: Call) -> Reply:
    """crm.deal.contact.items.get and its sisters: integers, the primary link first (rest.md 4.3)."""
    status = call.quirks.relation_error_status if owner == CONTACT else 400
    try:
        number = legacy_id(call.params)
    except Refusal as refusal:
        raise Refusal("", "The parameter ownerEntityID is invalid or not defined.", status) from refusal
    try:
        row = _readable(call, owner, number, "Not found.")
    except Refusal as refusal:
        raise Refusal(refusal.code, refusal.text, status) from refusal
    key = f"{ENTITY_NAMES[linked].upper()}_ID"
    return Reply(
        [
            {key: link, "SORT": (place + 1) * 10, "ROLE_ID": 0, "IS_PRIMARY": "N" if place else "Y"}
            for place, link in enumerate(_links(call.crm, owner, row))
        ]
    )


def _links(crm: Crm, owner: int, row: Row) -> list[int]:
    if owner in LINKS:
        return list(row[LINKS[owner]])
    return [
        contact["ID"] for contact in crm.entities[CONTACT].ascending() if row["ID"] in contact["COMPANY_IDS"]
    ]


def find_by_communication(call: Call) -> Reply:
    """crm.duplicate.findbycomm: twenty values, twenty hits of each; twenty ids of a kind hide later kinds."""
    kind = str(legacy_param(call.params, "type") or "").upper()
    if not kind:
        raise _findbycomm_error(call, "Communication type is not defined")
    if kind not in MULTIFIELDS:
        raise _findbycomm_error(call, f"Communication type '{kind}' is not supported in current context")
    values = _distinct(legacy_param(call.params, "values"))
    if not values:
        raise _findbycomm_error(call, "Communication values is not defined")
    found: dict[str, list[int]] = {}
    for type_id in _kinds_asked(call):
        hits = (call.crm.with_communication(type_id, kind, value)[:_MOST_HITS] for value in values)
        numbers = sorted({number for each in hits for number in each if call.crm.may_read((type_id, number))})
        if numbers:
            found[ENTITY_NAMES[type_id].upper()] = numbers
        if len(numbers) >= _MOST_HITS:
            break
    return Reply(found or [])


def _distinct(values: Any) -> list[str]:
    items = (
        values if isinstance(values, list) else list(values.values()) if isinstance(values, Mapping) else []
    )
    return list(dict.fromkeys(text for item in items if (text := str(item).strip().lower())))[:_MOST_VALUES]


def _kinds_asked(call: Call) -> tuple[int, ...]:
    asked = str(legacy_param(call.params, "entity_type") or "").upper()
    kinds = {"LEAD": LEAD, "CONTACT": CONTACT, "COMPANY": COMPANY}
    if not asked:
        return tuple(kinds.values())
    if asked not in kinds:
        raise _findbycomm_error(call, f"{asked.capitalize()} is not supported in current context.")
    return (kinds[asked],)


def _findbycomm_error(call: Call, text: str) -> Refusal:
    return Refusal(text if call.quirks.findbycomm_text_as_code else "", text)


METHODS = {
    f"crm.{name}.{verb}": Method(partial(run, type_id))
    for type_id, name in ENTITY_NAMES.items()
    for verb, run in (("list", entity_list), ("get", entity_get))
} | {
    "crm.deal.update": Method(deal_update, writes=True),
    "crm.deal.contact.items.get": Method(partial(relation, DEAL, CONTACT)),
    "crm.contact.company.items.get": Method(partial(relation, CONTACT, COMPANY)),
    "crm.company.contact.items.get": Method(partial(relation, COMPANY, CONTACT)),
    "crm.duplicate.findbycomm": Method(find_by_communication),
}
