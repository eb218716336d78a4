"""Rows of the portal's lists as values of `model`. Pure, never raises; `id` is 0 when a row has none."""

from __future__ import annotations

from imaprouter.address import canonical_id, normalise
from imaprouter.bitrix24.values import (
    Row,
    addresses,
    emails,
    flag,
    full_name,
    ids,
    integer,
    line,
    mapping,
    moment,
    optional_id,
    text,
)
from imaprouter.bitrix24.values import rows as table
from imaprouter.model import Activity, Binding, Company, Contact, Deal, Direction, Lead, User

#: Fields to select for `deal`, of crm.item.list.
DEAL_FIELDS = (
    "id",
    "title",
    "categoryId",
    "stageId",
    "stageSemanticId",
    "isRecurring",
    "assignedById",
    "companyId",
    "contactId",
    "contactIds",
    "leadId",
    "observers",
    "createdTime",
    "updatedTime",
    "movedTime",
    "lastActivityTime",
)
#: EMAIL has to be named: `*` does not bring it (rest.md 4.3).
CONTACT_FIELDS = ("ID", "NAME", "LAST_NAME", "ASSIGNED_BY_ID", "COMPANY_ID", "DATE_MODIFY", "EMAIL")
COMPANY_FIELDS = ("ID", "TITLE", "ASSIGNED_BY_ID", "DATE_MODIFY", "EMAIL")
LEAD_FIELDS = (
    "ID",
    "TITLE",
    "ASSIGNED_BY_ID",
    "STATUS_SEMANTIC_ID",
    "CONTACT_ID",
    "COMPANY_ID",
    "DATE_MODIFY",
    "EMAIL",
)
USER_FIELDS = ("ID", "NAME", "LAST_NAME", "EMAIL", "ACTIVE", "USER_TYPE", "UF_DEPARTMENT")
#: No DESCRIPTION, which may make the portal read the mail again (rest.md 2.3).
ACTIVITY_FIELDS = (
    "ID",
    "TYPE_ID",
    "PROVIDER_ID",
    "OWNER_ID",
    "OWNER_TYPE_ID",
    "SUBJECT",
    "START_TIME",
    "CREATED",
    "LAST_UPDATED",
    "DIRECTION",
    "COMPLETED",
    "RESPONSIBLE_ID",
    "SETTINGS",
    "ORIGINATOR_ID",
    "ORIGIN_ID",
)


def deal(row: Row) -> Deal:
    return Deal(
        id=integer(row.get("id")),
        title=line(row.get("title")),
        category_id=integer(row.get("categoryId")),
        stage_id=text(row.get("stageId")),
        semantic=text(row.get("stageSemanticId")) or "P",
        recurring=flag(row.get("isRecurring")),
        responsible_id=integer(row.get("assignedById")),
        company_id=optional_id(row.get("companyId")),
        contact_ids=ids(row.get("contactIds")) or ids([row.get("contactId")]),
        lead_id=optional_id(row.get("leadId")),
        observer_ids=ids(row.get("observers")),
        created_at=moment(row.get("createdTime")),
        modified_at=moment(row.get("updatedTime")),
        moved_at=moment(row.get("movedTime")),
        last_activity_at=moment(row.get("lastActivityTime")),
    )


def contact(row: Row) -> Contact:
    """A contact with its primary company; crm.contact.list does not know the others."""
    return Contact(
        id=integer(row.get("ID")),
        name=full_name(row.get("NAME"), row.get("LAST_NAME")),
        responsible_id=integer(row.get("ASSIGNED_BY_ID")),
        company_ids=ids([row.get("COMPANY_ID")]),
        emails=emails(row.get("EMAIL")),
        first_name=line(row.get("NAME")),
        last_name=line(row.get("LAST_NAME")),
    )


def contact_item(row: Row) -> Contact:
    """A contact of crm.item.list with `*`: all its companies, the primary one first, and all addresses."""
    addresses = [each for each in table(row.get("fm")) if text(each.get("typeId")) == "EMAIL"]
    return Contact(
        id=integer(row.get("id")),
        name=full_name(row.get("name"), row.get("lastName")),
        responsible_id=integer(row.get("assignedById")),
        company_ids=tuple(dict.fromkeys(ids([row.get("companyId")]) + ids(row.get("companyIds")))),
        emails=emails(addresses),
        first_name=line(row.get("name")),
        last_name=line(row.get("lastName")),
    )


def company(row: Row) -> Company:
    return Company(
        id=integer(row.get("ID")),
        title=line(row.get("TITLE")),
        responsible_id=integer(row.get("ASSIGNED_BY_ID")),
        emails=emails(row.get("EMAIL")),
    )


def lead(row: Row) -> Lead:
    return Lead(
        id=integer(row.get("ID")),
        title=line(row.get("TITLE")),
        responsible_id=integer(row.get("ASSIGNED_BY_ID")),
        semantic=text(row.get("STATUS_SEMANTIC_ID")) or "P",
        contact_id=optional_id(row.get("CONTACT_ID")),
        company_id=optional_id(row.get("COMPANY_ID")),
        emails=emails(row.get("EMAIL")),
    )


def user(row: Row) -> User:
    return User(
        id=integer(row.get("ID")),
        name=full_name(row.get("NAME"), row.get("LAST_NAME")),
        email=normalise(text(row.get("EMAIL"))),
        active=flag(row.get("ACTIVE", True)) and _is_employee(row),
    )


def _is_employee(row: Row) -> bool:
    """Extranet users are often clients; only who has a department is an employee (mail-internals 1.8).

    A webhook of scope user_brief is not told: then everybody is.
    """
    kind = text(row.get("USER_TYPE"))
    return kind in ("", "employee") and ("UF_DEPARTMENT" not in row or bool(ids(row["UF_DEPARTMENT"])))


def is_email(row: Row) -> bool:
    """Whether an activity is an e-mail, whatever its PROVIDER_TYPE_ID says (rest.md trap 22)."""
    return integer(row.get("TYPE_ID")) == 4 and text(row.get("PROVIDER_ID")) == "CRM_EMAIL"


def activity(row: Row) -> Activity:
    """An e-mail activity; SETTINGS may be `[]` and EMAIL_META be missing (mail-internals 3.4)."""
    settings = mapping(row.get("SETTINGS"))
    meta = mapping(settings.get("EMAIL_META"))
    return Activity(
        id=integer(row.get("ID")),
        # The login, where the mailbox has no address for a name (mail-internals 3.4).
        mailbox_email=normalise(text(meta.get("__email"))) or text(meta.get("__email")).strip().lower(),
        direction=Direction.OUTGOING if integer(row.get("DIRECTION")) == 2 else Direction.INCOMING,
        subject=text(row.get("SUBJECT")),
        start_time=moment(row.get("START_TIME")),
        created_at=moment(row.get("CREATED")),
        updated_at=moment(row.get("LAST_UPDATED")),
        owner=binding(row.get("OWNER_TYPE_ID"), row.get("OWNER_ID")),
        responsible_id=integer(row.get("RESPONSIBLE_ID")),
        completed=flag(row.get("COMPLETED")),
        from_=addresses(meta.get("from")),
        reply_to=addresses(meta.get("replyTo")),
        to=addresses(meta.get("to")),
        cc=addresses(meta.get("cc")),
        originator_id=text(row.get("ORIGINATOR_ID")),
        origin_id=text(row.get("ORIGIN_ID")),
        message_id=_message_id(settings),
    )


def binding(type_id: object, entity_id: object) -> Binding | None:
    number = integer(entity_id)
    return Binding(integer(type_id), number) if number and integer(type_id) else None


def bindings(value: object) -> tuple[Binding, ...]:
    """The reply of crm.activity.binding.list, in either spelling of its keys (rest.md 2.7)."""
    found = (
        binding(row.get("entityTypeId", row.get("ENTITY_TYPE_ID")), row.get("entityId", row.get("ENTITY_ID")))
        for row in mapping(value).values()
        if isinstance(row, dict)
    )
    return tuple(item for item in found if item is not None)


def _message_id(settings: Row) -> str:
    for name, item in mapping(settings.get("MESSAGE_HEADERS")).items():
        if name.lower() == "message-id":
            return canonical_id(text(item))
    return ""
