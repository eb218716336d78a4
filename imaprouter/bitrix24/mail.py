"""Letters of the portal's own mail, over REST 3: of the mailboxes that the webhook's user may see."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from imaprouter.address import normalise
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.values import Row, addresses, integer, line, mapping, rows, text
from imaprouter.errors import PortalOutcomeUnknown
from imaprouter.model import StoredMail

METHOD = "mail.message.list"
#: The most that one page holds (rest.md 5.3).
PAGE = 200
#: Pages that are read for one letter; a mailbox with more mail in three days is not read to its end.
MOST_PAGES = 20
# The list's dates bear no zone, and nobody says in which the bounds are compared.
_ZONES = timedelta(hours=26)


def stored_mail(portal: Portal, arrived: datetime) -> list[StoredMail]:
    """What the portal holds of the time around this arrival. PortalError when it cannot be read whole."""
    asked = {
        "dateFrom": (arrived - _ZONES).isoformat(timespec="seconds"),
        "dateTo": (arrived + _ZONES).isoformat(timespec="seconds"),
    }
    found: dict[int, StoredMail] = {}
    for page in range(MOST_PAGES):
        pagination = {"limit": PAGE, "offset": page * PAGE}
        answer = portal.call_v3(METHOD, {**asked, "pagination": pagination}, read=True)
        if not isinstance(answer, dict) or "items" not in answer:
            raise PortalOutcomeUnknown(f"{METHOD}: answered with {str(answer)[:40]!r}", method=METHOD)
        some = [_stored(row) for row in rows(answer)]
        known = len(found)
        found.update((mail.id, mail) for mail in some if mail.id)
        # A portal that gives the same page again has no more.
        if len(some) < PAGE or len(found) == known:
            return list(found.values())
    raise PortalOutcomeUnknown(f"{METHOD}: more than {MOST_PAGES * PAGE} letters", method=METHOD)


def _stored(row: Row) -> StoredMail:
    return StoredMail(
        id=integer(row.get("id")),
        mailbox_email=normalise(text(row.get("mailboxEmail"))),
        subject=line(row.get("subject")),
        from_=frozenset(_writers(row.get("from"))),
        date=_date(row.get("date")),
        bound=any(text(each.get("type")).lower() == "crm" for each in rows(row.get("bindings"))),
    )


def _writers(value: Any) -> Iterable[str]:
    """Addresses of a header line, or of a list of lines or of objects with an `email`: it is not told."""
    if isinstance(value, str):
        return addresses(value)
    if isinstance(value, dict) and "email" in value:
        return addresses(value["email"])
    return {each for part in mapping(value).values() for each in _writers(part)}


def _date(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text(value)).replace(tzinfo=None)
    except ValueError:
        return None
