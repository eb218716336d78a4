"""The portal's columns: their kinds, and their names in crm.item.* (rest.md 2.2, 4)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

LEAD, DEAL, CONTACT, COMPANY = 1, 2, 3, 4
ENTITY_NAMES = {LEAD: "lead", DEAL: "deal", CONTACT: "contact", COMPANY: "company"}


class Kind(StrEnum):
    """How a column is stored, compared and shown."""

    INT = "int"
    TEXT = "text"
    TIME = "time"
    #: A whole structure, compared as text only.
    BLOB = "blob"
    #: Ids of linked objects; seen in crm.item.* alone.
    IDS = "ids"


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _columns(
    *, ints: str = "", texts: str = "", times: str = "", blobs: str = "", ids: str = ""
) -> dict[str, Kind]:
    kinds = {Kind.INT: ints, Kind.TEXT: texts, Kind.TIME: times, Kind.BLOB: blobs, Kind.IDS: ids}
    return {name: kind for kind, names in kinds.items() for name in names.split()}


#: In the order of the documented example (rest.md 2.3); what REST shows without being asked for more.
ACTIVITY_PLAIN = _names(
    """
    ID OWNER_ID OWNER_TYPE_ID TYPE_ID PROVIDER_ID PROVIDER_TYPE_ID PROVIDER_GROUP_ID ASSOCIATED_ENTITY_ID
    SUBJECT CREATED LAST_UPDATED START_TIME END_TIME DEADLINE COMPLETED STATUS RESPONSIBLE_ID PRIORITY
    NOTIFY_TYPE NOTIFY_VALUE DESCRIPTION DESCRIPTION_TYPE DIRECTION LOCATION SETTINGS ORIGINATOR_ID
    ORIGIN_ID AUTHOR_ID EDITOR_ID PROVIDER_PARAMS PROVIDER_DATA RESULT_MARK RESULT_VALUE RESULT_SUM
    RESULT_CURRENCY_ID RESULT_STATUS RESULT_STREAM RESULT_SOURCE_ID AUTOCOMPLETE_RULE ORIGIN_VERSION
    """
)

ACTIVITY = _columns(
    ints="ID OWNER_ID OWNER_TYPE_ID TYPE_ID ASSOCIATED_ENTITY_ID STATUS RESPONSIBLE_ID PRIORITY NOTIFY_TYPE"
    " NOTIFY_VALUE DESCRIPTION_TYPE DIRECTION AUTHOR_ID EDITOR_ID RESULT_MARK RESULT_STATUS RESULT_STREAM"
    " AUTOCOMPLETE_RULE",
    texts="PROVIDER_ID PROVIDER_TYPE_ID PROVIDER_GROUP_ID SUBJECT COMPLETED DESCRIPTION LOCATION"
    " ORIGINATOR_ID ORIGIN_ID ORIGIN_VERSION PROVIDER_DATA RESULT_VALUE RESULT_SUM"
    " RESULT_CURRENCY_ID RESULT_SOURCE_ID IS_INCOMING_CHANNEL",
    times="CREATED LAST_UPDATED START_TIME END_TIME DEADLINE",
    blobs="SETTINGS PROVIDER_PARAMS",
)

#: What crm.activity.update changes on an e-mail; everything else is removed silently (mail-internals 7.3).
ACTIVITY_WRITABLE = frozenset(
    _names("""
    RESPONSIBLE_ID COMPLETED PRIORITY SUBJECT DESCRIPTION DESCRIPTION_TYPE START_TIME END_TIME DEADLINE
    LOCATION ORIGINATOR_ID ORIGIN_ID ORIGIN_VERSION SETTINGS PROVIDER_DATA PROVIDER_PARAMS FILES
    COMMUNICATIONS NOTIFY_TYPE NOTIFY_VALUE
    """)
)

#: Columns of deals that an update leaves as they are, in silence (rest.md 4.1).
DEAL_READ_ONLY = frozenset(
    _names("""
    ID CATEGORY_ID STAGE_SEMANTIC_ID IS_NEW LEAD_ID QUOTE_ID DATE_CREATE DATE_MODIFY CREATED_BY_ID
    MODIFY_BY_ID MOVED_BY_ID MOVED_TIME LAST_ACTIVITY_TIME LAST_ACTIVITY_BY
    """)
)

_COMMON = _columns(
    ints="ID ASSIGNED_BY_ID CREATED_BY_ID MODIFY_BY_ID LAST_ACTIVITY_BY LEAD_ID",
    texts="OPENED SOURCE_ID SOURCE_DESCRIPTION COMMENTS ORIGINATOR_ID ORIGIN_ID",
    times="DATE_CREATE DATE_MODIFY LAST_ACTIVITY_TIME",
)

COLUMNS: Mapping[int, Mapping[str, Kind]] = {
    DEAL: _COMMON
    | _columns(
        ints="CATEGORY_ID COMPANY_ID CONTACT_ID QUOTE_ID PROBABILITY MOVED_BY_ID LOCATION_ID",
        texts="TITLE TYPE_ID STAGE_ID STAGE_SEMANTIC_ID IS_NEW IS_RECURRING IS_RETURN_CUSTOMER"
        " IS_REPEATED_APPROACH CURRENCY_ID OPPORTUNITY IS_MANUAL_OPPORTUNITY TAX_VALUE BEGINDATE"
        " CLOSEDATE CLOSED ADDITIONAL_INFO UTM_SOURCE UTM_MEDIUM UTM_CAMPAIGN UTM_CONTENT UTM_TERM",
        times="MOVED_TIME",
    ),
    LEAD: _COMMON
    | _columns(
        ints="COMPANY_ID CONTACT_ID",
        texts="TITLE STATUS_ID STATUS_SEMANTIC_ID IS_RETURN_CUSTOMER COMPANY_TITLE NAME SECOND_NAME LAST_NAME"
        " HAS_EMAIL HAS_PHONE",
        times="DATE_CLOSED",
    ),
    CONTACT: _COMMON
    | _columns(
        ints="COMPANY_ID",
        texts="HONORIFIC NAME SECOND_NAME LAST_NAME POST TYPE_ID HAS_EMAIL HAS_PHONE",
    ),
    COMPANY: _COMMON | _columns(texts="TITLE COMPANY_TYPE INDUSTRY HAS_EMAIL HAS_PHONE"),
}

#: Selected by name only; the key is absent when there are none (rest.md 4.3).
MULTIFIELDS = ("EMAIL", "PHONE")

#: Many-to-many links, kept beside the columns: invisible in legacy lists (rest.md 8 trap 28).
LINKS: Mapping[int, str] = {DEAL: "CONTACT_IDS", CONTACT: "COMPANY_IDS"}

_ITEM_NAMES = {
    "DATE_CREATE": "createdTime",
    "DATE_MODIFY": "updatedTime",
    "CREATED_BY_ID": "createdBy",
    "MODIFY_BY_ID": "updatedBy",
    "MOVED_BY_ID": "movedBy",
    "STATUS_ID": "stageId",
    "STATUS_SEMANTIC_ID": "stageSemanticId",
}


def item_name(column: str) -> str:
    """The camelCase name of a column in crm.item.*: ASSIGNED_BY_ID is assignedById, UF_CRM_17 is ufCrm_17."""
    if column in _ITEM_NAMES:
        return _ITEM_NAMES[column]
    head, *tail = column.lower().split("_")
    return head + "".join(f"_{word}" if word.isdigit() else word.capitalize() for word in tail)
