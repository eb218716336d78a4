"""mail.message.* of REST 3: what the portal's mail holds, and its saving to the CRM (rest.md 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from imaprouter.sandbox.crm import owner_of
from imaprouter.sandbox.mail_import import StoredLetter
from imaprouter.sandbox.replies import Call, Method, Refusal, Reply
from imaprouter.sandbox.values import instant, whole

#: Every code of REST 3 begins so (rest.md 1.9).
V3 = "BITRIX_REST_V3_EXCEPTION_"
_LARGEST_PAGE, _PAGE = 200, 25


def message_list(call: Call) -> Reply:
    """mail.message.list: own and shared mailboxes only; no header, no Message-ID (mail-internals 9)."""
    pagination = call.params.get("pagination", {})
    if not isinstance(pagination, Mapping):
        raise _invalid("pagination")
    limit = _number(pagination, "limit", _PAGE)
    if not 1 <= limit <= _LARGEST_PAGE:
        raise Refusal(f"{V3}INVALIDPAGINATIONEXCEPTION", "Invalid pagination")
    offset = _number(pagination, "offset", (_number(pagination, "page", 1) - 1) * limit)
    since, until = (_bound(call, name) for name in ("dateFrom", "dateTo"))
    rows = [
        _item(call, number, stored)
        for number, stored in sorted(call.crm.mail.items(), reverse=True)
        if _is_visible(call, stored)
        and (since is None or stored.letter.internal_date >= since)
        and (until is None or stored.letter.internal_date <= until)
        and _is_asked_for(call, stored)
    ]
    return Reply({"items": rows[max(offset, 0) :][:limit]})


def create_activity(call: Call) -> Reply:
    """mail.message.createcrmactivity: `true`, without a word of what was made; twice makes two."""
    number = whole(call.params.get("messageId"))
    if number is None:
        raise _invalid("messageId")
    stored = call.crm.mail.get(number)
    if stored is None or not _is_visible(call, stored):
        raise Refusal(f"{V3}ACCESSDENIEDEXCEPTION", "Access denied", 403)
    made = stored.importer.force(stored, call.user_id)
    if made is None and call.quirks.unsaved_letter == "refused":
        raise _invalid("messageId")
    return Reply(True)


def _is_visible(call: Call, stored: StoredLetter) -> bool:
    box = stored.importer.mailbox
    return call.user_id == box.owner_user_id or call.user_id in box.shared_with


def _is_asked_for(call: Call, stored: StoredLetter) -> bool:
    letter, params = stored.letter, call.params
    lines = (letter.from_, letter.reply_to, letter.to, letter.cc, letter.bcc, letter.subject, letter.body)
    words = " ".join(lines)
    return (
        params.get("mailboxId") in (None, _mailbox_id(call, stored))
        and str(params.get("searchQuery") or "").lower() in words.lower()
        and params.get("isSeen") in (None, letter.seen)
        and params.get("folder") in (None, letter.folder)
    )


def _item(call: Call, number: int, stored: StoredLetter) -> dict[str, Any]:
    letter, box = stored.letter, stored.importer.mailbox
    activity = call.crm.activities.get(stored.activity_id or 0)
    owner = owner_of(activity) if activity else None
    return {
        "id": number,
        "mailboxId": _mailbox_id(call, stored),
        "mailboxEmail": box.email,
        "subject": letter.subject[:255],
        "from": letter.from_[:255],
        "to": letter.to[:255],
        "cc": letter.cc[:255],
        # INTERNALDATE, without a zone.
        "date": letter.internal_date.astimezone(call.crm.zone).strftime("%Y-%m-%d %H:%M:%S"),
        "isSeen": letter.seen,
        "hasAttachments": False,
        "url": f"/mail/message/{number}",
        "bindings": [{"type": "crm", "entityTypeId": owner[0], "entityId": owner[1]}] if owner else [],
        "body": letter.body,
    }


def _mailbox_id(call: Call, stored: StoredLetter) -> int:
    """In the order in which mailboxes got their first letter."""
    boxes = list(dict.fromkeys(id(each.importer) for each in call.crm.mail.values()))
    return boxes.index(id(stored.importer)) + 1


def _bound(call: Call, name: str) -> datetime | None:
    value = call.params.get(name)
    moment = instant(value, call.crm.zone) if value is not None else None
    if value is not None and moment is None:
        raise _invalid(name)
    return moment


def _number(values: Mapping[str, Any], name: str, default: int) -> int:
    number = whole(values.get(name, default))
    if number is None:
        raise Refusal(f"{V3}INVALIDPAGINATIONEXCEPTION", "Invalid pagination")
    return number


def _invalid(field: str) -> Refusal:
    return Refusal(f"{V3}VALIDATION_REQUESTVALIDATIONEXCEPTION", f"Invalid value of {field}")


METHODS = {
    "mail.message.list": Method(message_list, frozenset({"mail"})),
    "mail.message.createcrmactivity": Method(create_activity, frozenset({"mail"}), writes=True),
}
