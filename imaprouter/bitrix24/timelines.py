"""What transfers ask: whose timelines there are, where each could go, and which activities lie in them.

Sources are asked for by crm.item.list, which refuses a filter that it does not know; the older lists drop it
in silence, and everything would be moved (rest.md 2.4, 4.2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from imaprouter.address import normalise
from imaprouter.bitrix24 import rows
from imaprouter.bitrix24.activities import OVERLAP
from imaprouter.bitrix24.commands import Command, value
from imaprouter.bitrix24.listing import PAGE, Listing, Walk, by_ids, pages, read
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.values import Row, ids, integer, mapping, moment, text
from imaprouter.bitrix24.values import rows as table
from imaprouter.model import Binding, EntityType
from imaprouter.timelines import Condition, News, Source, Transfer, type_of

#: Timelines of one list; an activity in several of them comes several times (rest.md 2.4).
_GROUP = 20
#: Lists that are read side by side.
_LISTS = 40
#: Pages of new activities in one request.
_NEW_PAGES = 5
_FIELDS = ("ID", "TYPE_ID", "PROVIDER_ID", "START_TIME", "CREATED", "SETTINGS")
#: Where the name is no other spelling of the column's (rest.md 4.2).
_ITEM_NAMES = {
    "DATE_CREATE": "createdTime",
    "DATE_MODIFY": "updatedTime",
    "CREATED_BY_ID": "createdBy",
    "MODIFY_BY_ID": "updatedBy",
    "MOVED_BY_ID": "movedBy",
    "STATUS_ID": "stageId",
    "STATUS_SEMANTIC_ID": "stageSemanticId",
}


def sources(portal: Portal, transfer: Transfer, wanted: Sequence[int] | None = None) -> list[Source]:
    """The objects that meet the conditions, by id, each with all that it could go to.

    `wanted`: only these. A lead that no deal names was not converted to one, and is left out. PortalRefused
    with code invalid_arg_value when the portal does not take a condition.
    """
    source = transfer.source
    if source.id is not None:
        wanted = [source.id] if wanted is None or source.id in wanted else []
    if transfer.to.id is not None:
        target = Binding(transfer.to.type.type_id, transfer.to.id)
        found = _items(portal, source.type, ("id",), transfer.where, wanted)
        linked: dict[int, tuple[int, ...]] = {integer(row.get("id")): (target.entity_id,) for row in found}
    elif source.type is EntityType.CONTACT:
        linked = _companies(portal, transfer.where, wanted)
    else:
        linked = _deals(portal, transfer.where, wanted)
    kind, to = source.type.type_id, transfer.to.type.type_id
    return [
        Source(Binding(kind, number), tuple(Binding(to, each) for each in sorted(linked[number])))
        for number in sorted(linked)
    ]


def _companies(
    portal: Portal, where: Sequence[Condition], wanted: Sequence[int] | None
) -> dict[int, tuple[int, ...]]:
    """Contacts with all their companies."""
    linked: dict[int, tuple[int, ...]] = {}
    unsure: list[int] = []
    for row in _items(portal, EntityType.CONTACT, ("id", "companyId", "companyIds"), where, wanted):
        number = integer(row.get("id"))
        linked[number] = tuple(dict.fromkeys(ids([row.get("companyId")]) + ids(row.get("companyIds"))))
        if linked[number] and "companyIds" not in row:
            unsure.append(number)
    # A build that tells the primary company alone: whether there are others has to be asked.
    method = "crm.contact.company.items.get"
    answers = portal.batch([Command(method, {"id": number}, read=True) for number in unsure])
    for number, answer in zip(unsure, answers, strict=True):
        linked[number] = tuple(
            dict.fromkeys(linked[number] + ids([row.get("COMPANY_ID") for row in table(value(answer))]))
        )
    return linked


def _deals(
    portal: Portal, where: Sequence[Condition], wanted: Sequence[int] | None
) -> dict[int, tuple[int, ...]]:
    """Converted leads with the deals that name them."""
    condition: dict[str, Any] = {">leadId": 0} if wanted is None else {"@leadId": list(wanted)}
    params = {"entityTypeId": EntityType.DEAL.type_id, "select": ("id", "leadId")}
    named: dict[int, list[int]] = defaultdict(list)
    if wanted is None or wanted:
        for portion in pages(portal, Listing("crm.item.list", params, _same, condition)):
            for row in portion:
                lead = integer(row.get("leadId"))
                if lead and (wanted is None or lead in wanted):
                    named[lead].append(integer(row.get("id")))
    found = _items(portal, EntityType.LEAD, ("id",), where, sorted(named))
    return {number: tuple(named[number]) for number in (integer(row.get("id")) for row in found)}


def _items(
    portal: Portal,
    kind: EntityType,
    select: tuple[str, ...],
    where: Sequence[Condition],
    wanted: Sequence[int] | None,
) -> list[Row]:
    params = {"entityTypeId": kind.type_id, "select": select, "useOriginalUfNames": "Y"}
    condition = {
        f"{'!' if each.operator == '!=' else each.operator}{field_name(each.name)}": (
            list(each.values) if each.is_list else each.values[0]
        )
        for each in where
    }
    listing = Listing("crm.item.list", params, _same, condition)
    if wanted is not None:
        return by_ids(portal, listing, wanted)
    return [row for portion in pages(portal, listing) for row in portion]


def field_name(name: str) -> str:
    """A column by its name in crm.item.list: SOURCE_ID is sourceId; user fields keep their own."""
    if not name.isupper() or name.startswith("UF_"):
        return name
    head, *tail = name.lower().split("_")
    return _ITEM_NAMES.get(name) or head + "".join(word.capitalize() for word in tail)


def activities_of(portal: Portal, timelines: Sequence[Binding], transfer: Transfer) -> Iterator[list[News]]:
    """The activities in these timelines that the transfer is about; one may come more than once.

    That they are bound there is to be read again. PortalError when a list cannot be read on.
    """
    groups = [timelines[start : start + _GROUP] for start in range(0, len(timelines), _GROUP)]
    for start in range(0, len(groups), _LISTS):
        walks = [Walk(_bound_to(group, transfer)) for group in groups[start : start + _LISTS]]
        for _, found in read(portal, walks):
            yield list(found)


def _bound_to(timelines: Sequence[Binding], transfer: Transfer) -> Listing[News]:
    condition: dict[str, Any] = {
        "BINDINGS": [{"OWNER_TYPE_ID": each.type_id, "OWNER_ID": each.entity_id} for each in timelines]
    }
    if number := type_of(transfer.kind):
        condition["TYPE_ID"] = number
    if transfer.since:
        condition[">=START_TIME"] = transfer.since
    if transfer.until:
        condition["<START_TIME"] = transfer.until
    return Listing(
        "crm.activity.list", {"select": _FIELDS}, news, condition, lambda row: news(row).fits(transfer)
    )


def news(row: Row) -> News:
    """An activity of any kind; never raises."""
    meta = mapping(mapping(row.get("SETTINGS")).get("EMAIL_META"))
    name = text(meta.get("__email"))
    return News(
        id=integer(row.get("ID")),
        type_id=integer(row.get("TYPE_ID")),
        is_email=rows.is_email(row),
        start_time=moment(row.get("START_TIME")),
        created_at=moment(row.get("CREATED")),
        mailbox_email=normalise(name) or name.strip().lower(),
    )


_ANY = Listing("crm.activity.list", {"select": _FIELDS}, news, {})


def newest_activity(portal: Portal) -> int:
    """The highest id of an activity, 0 when there is none."""
    params = {"select": ("ID",), "order": {"ID": "DESC"}, "start": -1}
    found = table(portal.call("crm.activity.list", params, read=True))
    return max((integer(row.get("ID")) for row in found), default=0)


def activities_after(portal: Portal, last_id: int) -> list[News]:
    """New activities of all kinds, by id: a few pages, and once more those that may have come late.

    One request. PortalError when it could not be read.
    """
    walk = Walk(_ANY, after=last_id)
    first = max(0, last_id - OVERLAP)
    late = [
        _ANY.command({">ID": low, "<=ID": min(low + PAGE, last_id)}) for low in range(first, last_id, PAGE)
    ]
    answers = portal.batch([*walk.commands(0, _NEW_PAGES), *late])
    found = {each.id: each for each in walk.take(answers[:_NEW_PAGES])}
    for answer in answers[_NEW_PAGES:]:
        known = (each for each in _ANY.values(table(value(answer))) if first < each.id <= last_id)
        found.update((each.id, each) for each in known)
    return [found[number] for number in sorted(found)]


def _same(row: Row) -> Row:
    return row
