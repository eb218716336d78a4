"""An office whose letters go straight into the simulated importer, without IMAP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from sandbox_company import snapshot

from imaprouter.sandbox.crm import Crm
from imaprouter.sandbox.mail_import import Imported, Importer, MailboxConnection
from imaprouter.sandbox.mail_letter import Letter, read_letter
from imaprouter.sandbox.quirks import Quirks

ARRIVED = datetime(2026, 3, 2, 9, 0, 5, tzinfo=UTC)


class Office:
    """A CRM with one connected mailbox whose responsible queue is Maria and Ilya."""

    def __init__(self, *, quirks: Quirks | None = None, **options: Any) -> None:
        zone = timezone(timedelta(hours=3))
        self.crm = Crm(snapshot(), quirks=quirks, clock=lambda: ARRIVED + timedelta(minutes=1), zone=zone)
        given = {
            "email": "sales@company.ru",
            "username": "sales",
            "queue": (5, 6),
            "repeat_leads": False,
            **options,
        }
        self.box = MailboxConnection(host="127.0.0.1", port=1, password="x", **given)
        self.importer = Importer(self.box, self.crm, [self.box])

    def receive(self, sender: str = "sergey@horns.ru", **fields: Any) -> Imported:
        """Import one letter."""
        return self.importer.take(letter(sender, **fields))

    def landed(self, sender: str = "sergey@horns.ru", **fields: Any) -> list[tuple[int, int]]:
        """The bindings of a letter that must become an activity."""
        imported = self.receive(sender, **fields)
        assert imported.activity_id is not None, imported.reason
        return self.crm.bindings(imported.activity_id)


def letter(
    sender: str,
    *,
    seen: bool = False,
    aside: bool = False,
    internal_date: datetime = ARRIVED,
    body: str = "Здравствуйте",
    **fields: str,
) -> Letter:
    """A letter; further header fields by name: reply_to="...", message_id="<a@b>"."""
    given = {"to": "sales@company.ru", "subject": "KP", "date": "Mon, 02 Mar 2026 12:00:00 +0300", **fields}
    header = "".join(
        f"{name.replace('_', '-')}: {value}\r\n" for name, value in {"from": sender, **given}.items()
    )
    return read_letter(
        f"{header}\r\n{body}".encode(),
        folder="INBOX",
        uid=1,
        internal_date=internal_date,
        seen=seen,
        aside=aside,
        zone=timezone(timedelta(hours=3)),
    )
