"""The mailbox session against a real Dovecot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from dovecot import Dovecot

from imaprouter.errors import FolderMissing, MailboxError, MailboxLoginRefused
from imaprouter.mailbox import HEADER_BYTES, Account, Session, Timeouts, session

FIELDS = ("From", "Subject")
#: Far longer than any wait here should last; only a failing test gets there.
LONG = 30.0

Connect = Callable[..., Session]
Tls = Literal["implicit", "starttls", "none"]


def mail(subject: str = "one", *, extra: str = "") -> bytes:
    return f"From: sergey@horns.ru\r\n{extra}X-Other: 1\r\nSubject: {subject}\r\n\r\nbody\r\n".encode()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Sessions that are closed behind the test."""
    with ExitStack() as stack:

        def connected(account: Account, **options: Any) -> Session:
            made = Session(account, FIELDS, **options)
            stack.callback(made.close)
            made.connect()
            return made

        yield connected


@pytest.fixture
def inbox(connect: Connect, dovecot: Dovecot, user: str) -> Session:
    opened = connect(dovecot.account(user))
    opened.open("INBOX")
    return opened


def all_uids(session: Session, low: int = 1, since: date | None = None) -> list[int]:
    return [uid for window in session.uids_from(low, since=since) for uid in window]


def in_background(action: Callable[[], object]) -> threading.Timer:
    """Run an action a moment from now, so that the session is most likely waiting by then."""
    timer = threading.Timer(0.05, action)
    timer.start()
    return timer


# ---- connecting


@pytest.mark.parametrize("tls", ["none", "starttls", "implicit"])
def test_connects_by_each_kind_of_tls(connect: Connect, dovecot: Dovecot, user: str, tls: Tls) -> None:
    session = connect(dovecot.account(user, tls=tls))
    assert session.open("INBOX").exists == 0
    assert session.supports_idle


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_refuses_a_certificate_of_an_unknown_authority(dovecot: Dovecot, user: str, tls: Tls) -> None:
    account = replace(dovecot.account(user, tls=tls), ca_file="")
    with pytest.raises(MailboxError, match="not trusted") as caught:
        Session(account, FIELDS).connect()
    assert "ca_file" in caught.value.advice


def test_refuses_a_certificate_of_another_host(dovecot: Dovecot, user: str) -> None:
    account = replace(dovecot.account(user, tls="implicit"), host="localhost")
    with pytest.raises(MailboxError, match="localhost"):
        Session(account, FIELDS).connect()


def test_names_a_ca_file_that_cannot_be_used(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    account = replace(dovecot.account(user, tls="implicit"), ca_file=str(tmp_path / "absent.pem"))
    with pytest.raises(MailboxError, match=r"absent\.pem"):
        Session(account, FIELDS).connect()


def test_tells_a_wrong_password_from_other_failures(dovecot: Dovecot, user: str) -> None:
    account = replace(dovecot.account(user), password="hunter2-wrong")
    with pytest.raises(MailboxLoginRefused) as caught:
        Session(account, FIELDS).connect()
    assert not caught.value.temporary
    assert "hunter2-wrong" not in str(caught.value) + repr(account)


def test_a_password_beyond_ascii_is_sent_as_utf8(dovecot: Dovecot, user: str) -> None:
    """Stock LOGIN raises UnicodeEncodeError here; Dovecot only says that the password is wrong."""
    with pytest.raises(MailboxLoginRefused, match="AUTHENTICATIONFAILED"):
        Session(replace(dovecot.account(user), password="пароль"), FIELDS).connect()


def test_says_that_nothing_listens(own_dovecot: Dovecot) -> None:
    own_dovecot.kill()
    with pytest.raises(MailboxError, match="nothing listens") as caught:
        Session(own_dovecot.account("u"), FIELDS).connect()
    assert caught.value.temporary


def test_the_constructor_does_not_connect_and_commands_say_so(dovecot: Dovecot, user: str) -> None:
    session = Session(dovecot.account(user), FIELDS)
    session.close()
    with pytest.raises(MailboxError, match="not connected"):
        session.open("INBOX")
    assert dovecot.connections(user) == 0


def test_fetching_without_a_folder_is_an_error_and_makes_nothing_unreadable(
    connect: Connect, dovecot: Dovecot, user: str
) -> None:
    session = connect(dovecot.account(user))
    with pytest.raises(MailboxError, match="no folder"):
        session.fetch([1])


def test_close_logs_out(connect: Connect, dovecot: Dovecot, user: str) -> None:
    session = connect(dovecot.account(user))
    assert dovecot.connections(user) == 1
    session.close()
    assert "Logged out" in (dovecot.home / "dovecot.log").read_text().rpartition(f"imap({user})")[2]


# ---- folders


def test_finds_the_special_folders(inbox: Session) -> None:
    assert inbox.special_folders() == {"sent": "Sent", "junk": "Junk"}


def test_opens_a_folder_with_a_cyrillic_name(dovecot: Dovecot, user: str, inbox: Session) -> None:
    name = "Заказы/Клиенты & партнёры"
    dovecot.deliver(user, mail("КП"), name)
    assert name in inbox.folders()
    assert inbox.open(name).exists == 1
    (message,) = inbox.fetch([1]).messages
    assert message.header == "From: sergey@horns.ru\r\nSubject: КП\r\n\r\n".encode()


@pytest.mark.parametrize("name", ["Nowhere", 'In"box\\', "INBOX\r\nx LOGOUT", "a\x00b"])
def test_says_that_a_folder_is_missing(inbox: Session, name: str) -> None:
    with pytest.raises(FolderMissing):
        inbox.open(name)


def test_the_status_of_a_folder_is_what_the_server_says(dovecot: Dovecot, user: str, inbox: Session) -> None:
    dovecot.deliver(user, mail())
    dovecot.deliver(user, mail())
    status = inbox.open("INBOX")
    dovecot.doveadm("mailbox", "update", "-u", user, "--uid-validity", "77", "INBOX")
    assert (status.name, status.exists, status.uidnext) == ("INBOX", 2, 3)
    inbox.connect()
    assert inbox.open("INBOX").uidvalidity == 77


# ---- searching


def test_lists_uids_in_ascending_windows(
    monkeypatch: pytest.MonkeyPatch, dovecot: Dovecot, user: str, inbox: Session
) -> None:
    """A window is the most that one list holds, as long as the UIDs lie close together."""
    monkeypatch.setattr(session, "WINDOW", 4)
    for _ in range(11):
        dovecot.deliver(user, mail())
    assert list(inbox.uids_from(2)) == [[2, 3, 4, 5], [6, 7, 8, 9], [10, 11]]


def test_leaps_over_gaps_between_uids(
    monkeypatch: pytest.MonkeyPatch, dovecot: Dovecot, user: str, inbox: Session
) -> None:
    monkeypatch.setattr(session, "WINDOW", 4)
    for _ in range(40):
        dovecot.deliver(user, mail())
    inbox.open("INBOX")
    dovecot.doveadm("expunge", "-u", user, "mailbox", "INBOX", "uid", "3:38")
    assert all_uids(inbox) == [1, 2, 39, 40]


def test_nothing_above_the_last_uid(dovecot: Dovecot, user: str, inbox: Session) -> None:
    """A search for '3:*' would find message 2 (imap.md 0.13)."""
    dovecot.deliver(user, mail())
    dovecot.deliver(user, mail())
    assert all_uids(inbox, 3) == []
    assert all_uids(inbox, 2) == [2]


def test_an_empty_folder_has_no_uids(inbox: Session) -> None:
    assert all_uids(inbox) == []


def test_sees_mail_that_came_after_opening(dovecot: Dovecot, user: str, inbox: Session) -> None:
    dovecot.deliver(user, mail())
    assert all_uids(inbox) == [1]


def test_lists_mail_since_a_day(dovecot: Dovecot, user: str, inbox: Session) -> None:
    dovecot.deliver(user, mail(), date=datetime(2026, 1, 10, 12, tzinfo=UTC))
    dovecot.deliver(user, mail(), date=datetime(2026, 1, 12, 12, tzinfo=UTC))
    assert all_uids(inbox, since=date(2026, 1, 11)) == [2]


def test_tells_when_letters_arrived(
    monkeypatch: pytest.MonkeyPatch, dovecot: Dovecot, user: str, inbox: Session
) -> None:
    """In several commands, since a server bounds their length; of a UID that is gone nothing."""
    monkeypatch.setattr(session, "ARRIVALS", 2)
    moments = [datetime(2026, 1, day, 12, tzinfo=UTC) for day in range(10, 15)]
    for moment in moments:
        dovecot.deliver(user, mail(), date=moment)
    inbox.noop()
    assert inbox.arrivals([1, 2, 4, 5, 99]) == {uid: moments[uid - 1] for uid in (1, 2, 4, 5)}
    assert inbox.arrivals([]) == {}


# ---- fetching


def test_reads_the_fields_that_were_asked_for(dovecot: Dovecot, user: str, inbox: Session) -> None:
    moment = datetime(2026, 3, 1, 9, 30, 15, tzinfo=UTC)
    raw = mail("one")
    dovecot.deliver(user, raw, seen=True, date=moment)
    all_uids(inbox)
    (message,) = inbox.fetch([1]).messages
    assert message.header == b"From: sergey@horns.ru\r\nSubject: one\r\n\r\n"
    assert (message.uid, message.internal_date, message.size) == (1, moment, len(raw))
    assert message.seen


def test_messages_come_in_uid_order(dovecot: Dovecot, user: str, inbox: Session) -> None:
    for _ in range(5):
        dovecot.deliver(user, mail())
    all_uids(inbox)
    assert [message.uid for message in inbox.fetch([5, 1, 3, 3]).messages] == [1, 3, 5]


def test_reading_changes_nothing_in_the_mailbox(dovecot: Dovecot, user: str, inbox: Session) -> None:
    r"""\Seen stays unset and \Recent is left to the client that opens the folder for writing."""
    name = dovecot.deliver(user, mail())
    assert all_uids(inbox) == [1]
    assert not inbox.fetch([1]).messages[0].seen
    inbox.close()
    assert dovecot.flags(user, name) == ""
    assert dovecot.file(user, name).parent.name == "new"


def test_a_huge_header_is_cut(dovecot: Dovecot, user: str, inbox: Session) -> None:
    """The subject behind three megabytes of junk is found; a field longer than the limit is cut."""
    junk = "".join(f"X-Junk: {'j' * 900}\r\n" for _ in range(3000))
    dovecot.deliver(user, mail("behind", extra=junk))
    dovecot.deliver(user, mail("x" * 100_000))
    all_uids(inbox)
    behind, cut = inbox.fetch([1, 2]).messages
    assert behind.header == b"From: sergey@horns.ru\r\nSubject: behind\r\n\r\n"
    assert cut.header is not None
    assert len(cut.header) == HEADER_BYTES


def test_a_vanished_message_is_gone(dovecot: Dovecot, user: str, inbox: Session) -> None:
    """Whether its file was removed behind the server's back or another client expunged it."""
    names = [dovecot.deliver(user, mail()) for _ in range(4)]
    assert all_uids(inbox) == [1, 2, 3, 4]
    dovecot.vanish(user, names[1])
    dovecot.expunge(user, 3)
    result = inbox.fetch([1, 2, 3, 4])
    assert [message.uid for message in result.messages] == [1, 4]
    assert (result.gone, result.unreadable, result.deferred) == ((2, 3), (), ())


def test_an_unreadable_message_is_isolated(dovecot: Dovecot, user: str, inbox: Session) -> None:
    """It ends the session; its 63 neighbours are read all the same, and the session goes on."""
    names = [dovecot.deliver(user, mail(f"number {number}")) for number in range(1, 65)]
    all_uids(inbox)
    dovecot.make_unreadable(user, names[13])
    result = inbox.fetch(range(1, 65))
    assert (result.gone, result.unreadable, result.deferred) == ((), (14,), ())
    assert [message.uid for message in result.messages] == [uid for uid in range(1, 65) if uid != 14]
    assert all_uids(inbox, 64) == [64]


def test_mail_that_comes_while_a_message_is_isolated_is_announced(
    dovecot: Dovecot, user: str, inbox: Session
) -> None:
    """A new session is told nothing of mail that came before it opened the folder."""
    name = dovecot.deliver(user, mail())
    all_uids(inbox)
    dovecot.make_unreadable(user, name)
    dovecot.deliver(user, mail())
    assert inbox.fetch([1]).unreadable == (1,)
    assert inbox.wait(LONG)
    assert all_uids(inbox, 2) == [2]


def test_a_server_that_is_gone_is_an_error_and_not_an_unreadable_message(
    own_dovecot: Dovecot, connect: Connect
) -> None:
    own_dovecot.deliver("u", mail())
    session = connect(own_dovecot.account("u"))
    session.open("INBOX")
    own_dovecot.kill()
    with pytest.raises(MailboxError):
        session.fetch([1])


# ---- waiting


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_a_delivery_ends_the_wait(connect: Connect, dovecot: Dovecot, user: str, tls: Tls) -> None:
    session = connect(dovecot.account(user, tls=tls))
    session.open("INBOX")
    delivery = in_background(lambda: dovecot.deliver(user, mail()))
    assert session.wait(LONG)
    delivery.join()
    assert all_uids(session) == [1]


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_mail_between_search_and_wait_is_noticed(
    connect: Connect, dovecot: Dovecot, user: str, tls: Tls
) -> None:
    """Dovecot announces it together with '+ idling'; stock imapclient sleeps over it (imap.md 0.2)."""
    inbox = connect(dovecot.account(user, tls=tls))
    inbox.open("INBOX")
    for number in range(1, 6):
        assert all_uids(inbox, number) == []
        dovecot.deliver(user, mail())
        assert inbox.wait(LONG)
        assert all_uids(inbox, number) == [number]


def test_mail_that_another_command_announced_ends_the_wait_at_once(
    dovecot: Dovecot, user: str, inbox: Session
) -> None:
    dovecot.deliver(user, mail())
    inbox.noop()
    assert inbox.wait(LONG)


def test_the_wait_ends_without_mail(inbox: Session) -> None:
    assert inbox.wait(0.1) is False
    assert all_uids(inbox) == []


def test_idle_is_renewed_within_a_long_wait(dovecot: Dovecot, user: str, connect: Connect) -> None:
    session = connect(dovecot.account(user), timeouts=Timeouts(idle_renewal=0.02))
    session.open("INBOX")
    delivery = threading.Timer(0.3, dovecot.deliver, (user, mail()))
    delivery.start()
    assert session.wait(LONG)
    delivery.join()


def test_flags_and_expunges_of_other_clients_do_not_end_the_wait(
    dovecot: Dovecot, user: str, inbox: Session
) -> None:
    dovecot.deliver(user, mail())
    dovecot.deliver(user, mail())
    assert all_uids(inbox) == [1, 2]

    def change() -> None:
        dovecot.doveadm("flags", "add", "-u", user, "\\Seen", "mailbox", "INBOX", "uid", "1")
        dovecot.expunge(user, 2)

    changes = in_background(change)
    assert inbox.wait(1) is False
    changes.join()
    assert all_uids(inbox) == [1]


def test_a_server_without_idle_is_polled(connect: Connect, user: str) -> None:
    with Dovecot("imap_capability = IMAP4rev1\n") as server:
        session = connect(server.account(user), timeouts=Timeouts(poll=0.05))
        session.open("INBOX")
        assert not session.supports_idle
        assert session.wait(0.12) is False
        delivery = in_background(lambda: server.deliver(user, mail()))
        assert session.wait(LONG)
        delivery.join()
        assert all_uids(session) == [1]


@pytest.mark.parametrize("poll", [False, True], ids=["idle", "poll"])
def test_the_stop_event_ends_the_wait(dovecot: Dovecot, user: str, connect: Connect, poll: bool) -> None:
    stop = threading.Event()
    session = connect(dovecot.account(user), stop=stop)
    session.open("INBOX")
    if poll:
        session.capabilities = ()
    stopping = in_background(stop.set)
    assert session.wait(LONG) is False
    stopping.join()
    session.close()


@pytest.mark.parametrize("fault", ["kick", "kill_sessions", "stop", "kill", "restart"])
def test_losing_the_server_ends_the_wait(own_dovecot: Dovecot, connect: Connect, fault: str) -> None:
    """The session is dead then and says so, at once and for every further command; it can connect again."""
    session = connect(own_dovecot.account("u"))
    session.open("INBOX")
    action = getattr(own_dovecot, fault)
    trouble = in_background(lambda: action("u") if fault in ("kick", "kill_sessions") else action())
    with pytest.raises(MailboxError, match="IDLE"):
        session.wait(LONG)
    with pytest.raises(MailboxError, match="not connected"):
        session.wait(LONG)
    trouble.join()
    if fault in ("stop", "kill"):
        own_dovecot.start()
    own_dovecot.deliver("u", mail())
    session.connect()
    assert session.open("INBOX").exists == 1
