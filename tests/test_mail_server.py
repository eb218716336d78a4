"""The embedded IMAP server, used as the demonstration uses it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imaprouter.errors import MailboxError, MailboxLoginRefused
from imaprouter.mailbox import Account, Session
from imaprouter.sandbox.mail_server import MailServer

FIELDS = ("From", "Subject")
RAW = b"From: sergey@horns.ru\r\nX-Other: 1\r\nSubject: one\r\n\r\nbody\r\n"


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as running:
        yield running


@pytest.fixture
def session(server: MailServer) -> Iterator[Session]:
    session = Session(account(server), FIELDS)
    session.connect()
    yield session
    session.close()


def account(server: MailServer, password: str = "") -> Account:
    return Account("demo", server.host, server.port, "none", server.username, password or server.password)


def test_has_an_inbox_and_a_sent_folder(session: Session) -> None:
    assert session.folders() == ["INBOX", "Sent"]
    assert session.special_folders() == {"sent": "Sent"}


def test_delivers_what_is_appended(server: MailServer, session: Session) -> None:
    """Header, date and flags arrive as they were given."""
    date = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
    server.append(RAW, date=date, flags=["\\Seen"])

    session.open("INBOX")
    (uids,) = session.uids_from(1)
    (message,) = session.fetch(uids).messages

    assert message.header == b"From: sergey@horns.ru\r\nSubject: one\r\n\r\n"
    assert message.internal_date == date
    assert message.seen


def test_delivers_into_the_folder_that_is_named(server: MailServer, session: Session) -> None:
    server.append(RAW, folder="Sent")
    assert session.open("INBOX").exists == 0
    assert session.open("Sent").exists == 1


def test_wakes_a_client_in_idle(server: MailServer, session: Session) -> None:
    session.open("INBOX")
    delivery = threading.Thread(target=server.append, args=(RAW,))
    delivery.start()
    assert session.wait(30)
    delivery.join()


def test_tells_its_clients_when_it_stops(session: Session, server: MailServer) -> None:
    session.open("INBOX")
    end = threading.Timer(0.05, server.stop)
    end.start()
    with pytest.raises(MailboxError):
        session.wait(30)
    end.join()


def test_refuses_a_wrong_password(server: MailServer) -> None:
    with pytest.raises(MailboxLoginRefused):
        Session(account(server, "wrong"), FIELDS).connect()


def test_says_that_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RuntimeError, match=str(port)):
            MailServer(port=port).start()
