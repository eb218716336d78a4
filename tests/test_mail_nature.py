"""Client, bounce, auto-reply, list or system, told from the header alone."""

from __future__ import annotations

import pytest

from imaprouter.mail import parse
from imaprouter.model import Nature

CASES = {
    "a letter": ("From: Ivan <a@b.ru>\r\nReturn-Path: <a@b.ru>", Nature.CLIENT),
    "Auto-Submitted no": ("Auto-Submitted: no", Nature.CLIENT),
    "X-Auto-Response-Suppress is no evidence": ("X-Auto-Response-Suppress: All", Nature.CLIENT),
    "normal precedence": ("Precedence: normal", Nature.CLIENT),
    "a daemon in the domain": ("From: ivan@postmaster.ru", Nature.CLIENT),
    "a daemon in the subject": ("From: a@b.ru\r\nSubject: mailer-daemon writes to me", Nature.CLIENT),
    "an attached report": ("Content-Type: multipart/mixed; boundary=report-type", Nature.CLIENT),
    "a report type in the boundary": (
        'Content-Type: multipart/mixed; boundary="report-type=delivery-status"',
        Nature.CLIENT,
    ),
    "a company called so": ("From: Mail Delivery System Ltd <sales@mds.ru>", Nature.CLIENT),
    "X-Autoreply no": ("X-Autoreply: no", Nature.CLIENT),
    "mailer-daemon": ("From: MAILER-DAEMON@mx.ru", Nature.BOUNCE),
    "mailer-daemon without a domain": ("From: MAILER-DAEMON", Nature.BOUNCE),
    "mail delivery subsystem": ("From: Mail Delivery Subsystem <x@google.com>", Nature.BOUNCE),
    "mail delivery system, encoded": (
        "From: =?utf-8?Q?Mail_Delivery_System?= <noreply@x.ru>",
        Nature.BOUNCE,
    ),
    "postmaster": ("From: Postmaster <postmaster@b.ru>", Nature.BOUNCE),
    "mdaemon": ("From: MDaemon at x <MDaemon@x.ru>", Nature.BOUNCE),
    "a delivery report": (
        'Content-Type: multipart/report; boundary=x;\r\n report-type="delivery-status"',
        Nature.BOUNCE,
    ),
    "a report of no type": ("Content-Type: multipart/report; boundary=x", Nature.BOUNCE),
    "failed recipients": ("X-Failed-Recipients: a@b.ru", Nature.BOUNCE),
    "Exchange NDR": ("X-MS-Exchange-Message-Is-Ndr:", Nature.BOUNCE),
    "an empty return path": ("Return-Path: <>\r\nFrom: a@b.ru", Nature.BOUNCE),
    "a bounce that says auto-replied": (
        "From: MAILER-DAEMON@mx.ru\r\nAuto-Submitted: auto-replied\r\nReturn-Path: <>",
        Nature.BOUNCE,
    ),
    "a vacation answer": ("Auto-Submitted: auto-replied", Nature.AUTO_REPLY),
    "generated, with a parameter": ("Auto-Submitted: Auto-Generated; type=x", Nature.AUTO_REPLY),
    "an answer with an empty return path": (
        "Return-Path: <>\r\nAuto-Submitted: auto-replied (vacation)",
        Nature.AUTO_REPLY,
    ),
    "a read receipt": (
        "Content-Type: multipart/report; report-type=disposition-notification\r\nReturn-Path: <>",
        Nature.AUTO_REPLY,
    ),
    "precedence auto_reply": ("Precedence: auto_reply", Nature.AUTO_REPLY),
    "precedence bulk": ("Precedence: bulk", Nature.AUTO_REPLY),
    "x-precedence junk": ("X-Precedence: Junk", Nature.AUTO_REPLY),
    "X-Autoreply": ("X-Autoreply: yes", Nature.AUTO_REPLY),
    "X-Autorespond, empty": ("X-Autorespond:", Nature.AUTO_REPLY),
    "a list": ("List-Id: <users.x.ru>", Nature.LIST),
    "a newsletter": ("List-Unsubscribe: <https://x.ru/u>\r\nPrecedence: bulk", Nature.LIST),
    "precedence list": ("Precedence: list", Nature.LIST),
    "a ticket system behind a list": (
        "List-Id: <t.x.ru>\r\nAuto-Submitted: auto-generated",
        Nature.AUTO_REPLY,
    ),
    "a mail event of Bitrix": ("X-EVENT_NAME: USER_INVITATION\r\nPrecedence: bulk", Nature.SYSTEM),
}


@pytest.mark.parametrize(("header", "expected"), CASES.values(), ids=CASES.keys())
def test_nature(header: str, expected: Nature) -> None:
    assert parse(f"{header}\r\n\r\n".encode()).nature is expected
