"""The simulated mail sync against real IMAP servers: what it reads and leaves alone, and when it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from dovecot import Dovecot
from sandbox_company import DEAL, Caller, Clock, running

from imaprouter.sandbox.mail_server import MailServer
from imaprouter.sandbox.mail_sync import MailboxConnection, MailSync


@pytest.fixture
def portal() -> Iterator[Caller]:
    with running() as caller:
        yield caller


def _connection(server: Dovecot, user: str, **options: Any) -> MailboxConnection:
    given = {"email": "sales@company.ru", "queue": (5, 6), **options}
    return MailboxConnection(
        host="127.0.0.1", port=server.port, username=user, password=server.password, **given
    )


def _raw(
    subject: str, sender: str = "sergey@horns.ru", to: str = "sales@company.ru", date: str = ""
) -> bytes:
    when = date or "Mon, 02 Mar 2026 12:00:00 +0300"
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {when}\r\n\r\nx\r\n".encode()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def test_a_letter_over_imap_becomes_an_activity_over_rest(
    portal: Caller, dovecot: Dovecot, user: str
) -> None:
    dovecot.deliver(user, _raw("=?utf-8?Q?=D0=9A=D0=9F?="))
    sync = portal.portal.connect_mailbox(_connection(dovecot, user))
    assert sync.sync_once() == [1]
    row = portal.ok("crm.activity.list", filter={">ID": 0}, order={"ID": "ASC"}, start=-1)[0]
    assert (row["SUBJECT"], row["OWNER_TYPE_ID"], row["OWNER_ID"]) == ("КП", "2", "2")
    assert row["START_TIME"] == "2026-03-02T12:00:00+03:00"
    assert row["SETTINGS"]["EMAIL_META"]["__email"] == "sales@company.ru"
    assert sync.sync_once() == []
    assert len(sync.log) == 1


def test_the_mailbox_is_left_as_it_was(portal: Caller, dovecot: Dovecot, user: str) -> None:
    """EXAMINE and PEEK (mail-internals 1.6); what was read before is born completed."""
    unread = dovecot.deliver(user, _raw("a"))
    read = dovecot.deliver(user, _raw("b"), seen=True)
    portal.portal.connect_mailbox(_connection(dovecot, user)).sync_once()
    rows = portal.ok("crm.activity.list", order={"ID": "ASC"})
    assert {row["SUBJECT"]: row["COMPLETED"] for row in rows} == {"a": "N", "b": "Y"}
    assert dovecot.flags(user, unread) == ""
    assert dovecot.flags(user, read) == "S"


def test_folders(portal: Caller, dovecot: Dovecot, user: str) -> None:
    """Sent is synced, spam set aside by SPECIAL-USE, a missing folder is nothing (mail-internals 1.3)."""
    dovecot.deliver(user, _raw("in"))
    dovecot.deliver(user, _raw("out", "sales@company.ru", "sergey@horns.ru"), "Sent")
    dovecot.deliver(user, _raw("spam"), "Junk")
    folders = ("INBOX", "Sent", "Junk", "Nowhere")
    sync = portal.portal.connect_mailbox(_connection(dovecot, user, folders=folders))
    assert len(sync.sync_once()) == 2
    assert [(done.letter.subject, done.reason) for done in sync.log] == [
        ("in", ""),
        ("out", ""),
        ("spam", "draft, trash or spam"),
    ]


def test_without_chosen_folders_the_top_level(portal: Caller, dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, _raw("in"))
    dovecot.deliver(user, _raw("spam"), "Junk")
    sync = portal.portal.connect_mailbox(_connection(dovecot, user, folders=()))
    assert len(sync.sync_once()) == 1
    assert [done.letter.subject for done in sync.log] == ["in"]


def test_one_mail_in_two_mailboxes_is_two_activities(portal: Caller, dovecot: Dovecot, user: str) -> None:
    """mail-internals 3.6."""
    for name in (user, f"{user}-b"):
        dovecot.deliver(name, _raw("both"))
    first = portal.portal.connect_mailbox(_connection(dovecot, user))
    second = portal.portal.connect_mailbox(_connection(dovecot, f"{user}-b", email="info@company.ru"))
    assert first.sync_once() + second.sync_once() == [1, 2]
    emails = [row["SETTINGS"]["EMAIL_META"]["__email"] for row in portal.ok("crm.activity.list")]
    assert sorted(emails) == ["info@company.ru", "sales@company.ru"]


def test_held_letters_come_later_with_the_flags_of_then(portal: Caller, dovecot: Dovecot, user: str) -> None:
    name = dovecot.deliver(user, _raw("late"))
    dovecot.deliver(user, _raw("now"))
    sync = portal.portal.connect_mailbox(_connection(dovecot, user))
    sync.hold = lambda letter: letter.subject == "late"
    assert sync.sync_once() == [1]
    assert portal.portal.crm.activity(1)["SUBJECT"] == "now"
    path = dovecot.file(user, name)
    path.rename(path.parent.parent / "cur" / f"{name}:2,S")
    sync.hold = lambda _: False
    assert sync.sync_once() == [2]
    assert portal.portal.crm.activity(2)["COMPLETED"] == "Y"


def test_delay_counts_from_the_first_sight(dovecot: Dovecot, user: str) -> None:
    clock = Clock()
    with running(clock=clock) as caller:
        dovecot.deliver(user, _raw("a"))
        sync = caller.portal.connect_mailbox(_connection(dovecot, user))
        sync.delay = timedelta(minutes=1)
        assert sync.sync_once() == []
        clock.tick(59)
        assert sync.sync_once() == []
        clock.tick(1)
        assert sync.sync_once() == [1]


def test_the_thread_imports_what_arrives_and_waits_out_a_dead_server(own_dovecot: Dovecot, user: str) -> None:
    with running() as caller:
        sync = caller.portal.connect_mailbox(_connection(own_dovecot, user))
        sync.start(0.05)
        own_dovecot.deliver(user, _raw("a"))
        _until(lambda: 1 in caller.portal.crm.activities)
        own_dovecot.stop()
        own_dovecot.deliver(user, _raw("b"))
        own_dovecot.start()
        _until(lambda: 2 in caller.portal.crm.activities)
        sync.stop()
        assert [done.letter.subject for done in sync.log] == ["a", "b"]


def test_the_embedded_server_serves_as_well(portal: Caller) -> None:
    with MailServer() as server:
        connection = MailboxConnection(
            email=server.username,
            host=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            queue=(5, 6),
        )
        sync: MailSync = portal.portal.connect_mailbox(connection)
        server.append(_raw("a"))
        assert sync.sync_once() == [1]
        server.append(_raw("b"), flags=[r"\Seen"])
        assert sync.sync_once() == [2]
        assert portal.portal.crm.activity(2)["COMPLETED"] == "Y"
        assert portal.portal.crm.owner(1) == (DEAL, 2)
