"""crm.activity.list, get, update, delete: legacy methods, every scalar a string (rest.md 2.4 to 2.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from imaprouter.sandbox.bindings import Pair
from imaprouter.sandbox.crm import Crm, owner_of
from imaprouter.sandbox.fields import ACTIVITY, ACTIVITY_PLAIN, ACTIVITY_WRITABLE, COMPANY, CONTACT
from imaprouter.sandbox.filters import legacy_conditions
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
from imaprouter.sandbox.values import legacy, stored, whole

#: Shown by an explicit select, in lists alone (mail-internals 3.1).
_BY_NAME_ONLY = ("COMMUNICATIONS", "FILES", "IS_INCOMING_CHANNEL")
_PREVIEW = 200


def activity_list(call: Call) -> Reply:
    """crm.activity.list; without an order START_TIME ASC."""
    filter_, order = legacy_array(call.params, "filter"), legacy_array(call.params, "order")
    crm = call.crm
    conditions = legacy_conditions(filter_, ACTIVITY, crm.zone)
    rows = (row for row in crm.activities.candidates(conditions) if crm.sees(row, call.user_id))
    if any(each.name == "DESCRIPTION" for each in conditions):
        rows = (_searchable(row) for row in rows)
    rows = (row for row in passing(rows, conditions))
    pairs = _binding_pairs(filter_.get("BINDINGS"))
    if pairs:
        rows = (row for row in rows for _ in range(_matches(crm.bindings(row["ID"]), pairs)))
    page = legacy_page(
        ordered(rows, order or {"START_TIME": "ASC"}, ACTIVITY), legacy_param(call.params, "start")
    )
    names = selected(legacy_select(call.params), ACTIVITY_PLAIN, _BY_NAME_ONLY)
    if "DESCRIPTION" in names and call.quirks.provider_type == "EMAIL_COMPRESSED":
        names = list(dict.fromkeys([*names, "PROVIDER_ID", "PROVIDER_TYPE_ID"]))
    shown = [_shown(crm, crm.activities[row["ID"]], names) for row in page.rows]
    return Reply(shown, page.total, page.next)


def _searchable(row: Row) -> Row:
    """A compressed DESCRIPTION is searched by its preview only (rest.md 2.3)."""
    if row["PROVIDER_TYPE_ID"] != "EMAIL_COMPRESSED" or not row["DESCRIPTION"]:
        return row
    return row | {"DESCRIPTION": re.sub(r"<[^>]*>", "", row["DESCRIPTION"])[:_PREVIEW]}


def _binding_pairs(condition: Any) -> list[tuple[int, int | None]]:
    """The usable pairs of filter[BINDINGS]; with none left the whole condition disappears (rest.md 2.4)."""
    items = condition.values() if isinstance(condition, Mapping) else condition
    if not isinstance(condition, (Mapping, list)):
        return []
    usable = [item for item in items if isinstance(item, Mapping) and whole(item.get("OWNER_TYPE_ID"))]
    return [(whole(item["OWNER_TYPE_ID"]) or 0, whole(item.get("OWNER_ID"))) for item in usable]


def _matches(bindings: Sequence[Pair], pairs: Sequence[tuple[int, int | None]]) -> int:
    """How often the join repeats an activity: once for each binding that some pair names."""
    return sum(
        any(kind == type_id and number in (None, id_) for kind, number in pairs) for type_id, id_ in bindings
    )


def _shown(crm: Crm, row: Row, names: Sequence[str]) -> Row:
    shown = {name: legacy(row[name], crm.zone) for name in names if name != "COMMUNICATIONS"}
    if "COMMUNICATIONS" in names:
        shown["COMMUNICATIONS"] = [_communication(crm, each) for each in row["COMMUNICATIONS"]]
    return shown


def _communication(crm: Crm, communication: Mapping[str, Any]) -> Row:
    type_id, entity_id = int(communication["ENTITY_TYPE_ID"]), int(communication["ENTITY_ID"])
    entity = crm.entity((type_id, entity_id)) or {}
    company_id = entity_id if type_id == COMPANY else entity.get("COMPANY_ID")
    company = crm.entity((COMPANY, company_id)) if company_id else None
    settings = {name: entity.get(name) or "" for name in ("HONORIFIC", "NAME", "SECOND_NAME", "LAST_NAME")}
    settings |= {"COMPANY_TITLE": company["TITLE"] if company else "", "COMPANY_ID": str(company_id or 0)}
    return {
        "ID": str(communication.get("ID", entity_id)),
        "TYPE": communication["TYPE"],
        "VALUE": communication["VALUE"],
        "ENTITY_ID": str(entity_id),
        "ENTITY_TYPE_ID": str(type_id),
        "ENTITY_SETTINGS": settings if type_id in (CONTACT, COMPANY) else [],
    }


def _visible(call: Call, activity_id: int, text: str) -> Row:
    row = call.crm.activities.get(activity_id)
    if row is None or not call.crm.sees(row, call.user_id):
        raise Refusal("", text)
    return row


def activity_get(call: Call) -> Reply:
    """crm.activity.get; missing and unreadable look alike (rest.md 2.5)."""
    text = "" if call.quirks.empty_text_on_get else "Activity is not found"
    return Reply(_shown(call.crm, _visible(call, legacy_id(call.params), text), ACTIVITY_PLAIN))


def activity_update(call: Call) -> Reply:
    """crm.activity.update; what cannot be changed is removed in silence (rest.md 2.6)."""
    activity_id, fields = legacy_id(call.params), legacy_array(call.params, "fields")
    row = _visible(call, activity_id, "Activity is not found")
    if not call.crm.may_edit(owner_of(row)):
        raise Refusal("", "Access denied.")
    writable = {name: value for name, value in fields.items() if name in ACTIVITY_WRITABLE}
    if not writable:
        raise Refusal("", "Fields is not specified.")
    communications = writable.pop("COMMUNICATIONS", None)
    changes = {
        name: stored(value, ACTIVITY[name], call.crm.zone) if name in ACTIVITY else value
        for name, value in writable.items()
    }
    _check(changes)
    if communications is not None:
        _rebuild_bindings(call.crm, activity_id, communications)
    call.crm.update_activity(activity_id, changes)
    return Reply(True)


def _check(changes: Mapping[str, Any]) -> None:
    if not changes.get("SUBJECT", "-"):
        raise Refusal("", "The field SUBJECT is not defined or empty.")
    if (changes.get("RESPONSIBLE_ID", 1) or 0) <= 0:
        raise Refusal("", "The field RESPONSIBLE_ID is not defined or invalid.")
    if changes.get("COMPLETED", "N") not in ("Y", "N"):
        raise Refusal("", "The field COMPLETED is not defined or invalid.")


def _rebuild_bindings(crm: Crm, activity_id: int, communications: Any) -> None:
    """COMMUNICATIONS rewrites BINDINGS: owner and named objects, all others are lost (rest.md 2.6)."""
    items = communications.values() if isinstance(communications, Mapping) else communications
    named = (
        [item for item in items if isinstance(item, Mapping)]
        if isinstance(communications, (list, Mapping))
        else []
    )
    if not named:
        raise Refusal("", "The field COMMUNICATIONS is not defined or invalid.")
    rows: list[Row] = [
        {
            "TYPE": str(item.get("TYPE", "EMAIL")),
            "VALUE": str(item.get("VALUE", "")),
            "ENTITY_TYPE_ID": whole(item.get("ENTITY_TYPE_ID")) or 0,
            "ENTITY_ID": whole(item.get("ENTITY_ID")) or 0,
        }
        for item in named
    ]
    pairs = [(int(row["ENTITY_TYPE_ID"]), int(row["ENTITY_ID"])) for row in rows]
    crm.set_bindings(activity_id, [crm.owner(activity_id), *pairs])
    crm.update_activity(activity_id, {"COMMUNICATIONS": rows})


def activity_delete(call: Call) -> Reply:
    """crm.activity.delete."""
    activity_id = legacy_id(call.params)
    row = _visible(call, activity_id, "Activity is not found.")
    if not call.crm.may_edit(owner_of(row)):
        raise Refusal("", "Access denied.")
    call.crm.delete_activity(activity_id)
    return Reply(True)


METHODS = {
    "crm.activity.list": Method(activity_list),
    "crm.activity.get": Method(activity_get),
    "crm.activity.update": Method(activity_update, writes=True),
    "crm.activity.delete": Method(activity_delete, writes=True),
}
