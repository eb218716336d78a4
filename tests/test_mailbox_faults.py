"""The mailbox session against servers that break the line, drip, fall silent or answer nonsense."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from imap_peer import LONG, QUICK, Handler, Peer, opened, server, serving, silence

from imaprouter.errors import FolderMissing, MailboxError
from imaprouter.mailbox import HEADER_BYTES, Account, Session, connection, session

HEADER = b"From: a@b\r\n\r\n"


# ---- IDLE


@pytest.mark.parametrize(
    "greeting",
    [b"* 1 EXISTS\r\n+ idling\r\n", b"+ idling\r\n* 1 EXISTS\r\n"],
    ids=["before the plus", "together with the plus"],
)
def test_mail_announced_around_the_start_of_idle_is_noticed(greeting: bytes) -> None:
    def handler(peer: Peer) -> None:
        peer.greet()
        peer.done(peer.idle(greeting))
        serving(peer)

    with opened(handler) as reader:
        assert reader.wait(LONG)


def test_a_line_in_pieces_is_one_line() -> None:
    def handler(peer: Peer) -> None:
        peer.greet()
        tag = peer.idle()
        for piece in (b"* ", b"1 EXI", b"STS\r", b"\n"):
            peer.send(piece)
            time.sleep(0.03)  # the pause between the segments is the fault
        peer.done(tag)
        serving(peer)

    with opened(handler) as reader:
        assert reader.wait(LONG)


def test_mail_announced_in_answer_to_done_is_noticed() -> None:
    def handler(peer: Peer) -> None:
        peer.greet()
        tag = peer.idle()
        assert peer.read() == b"DONE\r\n"
        peer.ok(tag, b"* 1 EXISTS\r\n")
        serving(peer)

    with opened(handler) as reader:
        assert reader.wait(0.05)


def test_still_here_does_not_end_the_wait() -> None:
    def handler(peer: Peer) -> None:
        peer.greet()
        tag = peer.idle(b"+ idling\r\n* OK Still here\r\n")
        peer.done(tag)
        serving(peer)

    with opened(handler) as reader:
        assert reader.wait(0.1) is False


def refused(peer: Peer) -> None:
    tag, _ = peer.until("IDLE")
    peer.send(tag + b" NO not today\r\n")


def ended_by_the_server(peer: Peer) -> None:
    peer.ok(peer.idle())


@pytest.mark.parametrize("ending", [refused, ended_by_the_server])
def test_a_server_that_does_not_keep_idle_is_polled(ending: Handler) -> None:
    """IDLE is not asked for again on this connection."""

    def handler(peer: Peer) -> None:
        peer.greet()
        ending(peer)
        tag, _ = peer.until("NOOP")
        peer.ok(tag)
        tag, _ = peer.until("NOOP")
        peer.ok(tag, b"* 1 EXISTS\r\n")
        tag, _ = peer.until("NOOP")
        peer.ok(tag, b"* 2 EXISTS\r\n")
        with pytest.raises(EOFError):
            peer.until("IDLE")

    with opened(handler) as reader:
        assert reader.wait(LONG)
        assert not reader.supports_idle
        assert reader.wait(LONG)


def test_a_server_that_refused_idle_may_have_it_on_the_next_connection() -> None:
    def refusing(peer: Peer) -> None:
        peer.greet()
        refused(peer)
        serving(peer)

    def announcing(peer: Peer) -> None:
        peer.greet()
        peer.done(peer.idle(b"+ idling\r\n* 1 EXISTS\r\n"))
        serving(peer)

    with opened(refusing, announcing) as reader:
        assert reader.wait(0.01) is False
        reader.connect()
        reader.open("INBOX")
        assert reader.wait(LONG)


@pytest.mark.parametrize(
    "ending",
    [lambda peer: peer.send(b"* BYE shutting down\r\n"), Peer.close, Peer.reset],
    ids=["BYE", "FIN", "RST"],
)
def test_a_line_that_ends_in_idle_is_an_error(ending: Handler) -> None:
    """Stock imapclient answers with [] for ever (imap.md 0.1)."""

    def handler(peer: Peer) -> None:
        peer.greet()
        peer.idle()
        ending(peer)

    with opened(handler) as reader:
        with pytest.raises(MailboxError, match="IDLE"):
            reader.wait(LONG)
        with pytest.raises(MailboxError, match="not connected"):
            reader.wait(LONG)


def test_a_silent_line_is_found_out_when_idle_is_renewed() -> None:
    """The line is half open: nothing comes, not even an answer to DONE."""

    def handler(peer: Peer) -> None:
        peer.greet()
        peer.idle()
        silence(peer)

    renewing = replace(QUICK, idle_renewal=0.05)
    with opened(handler, timeouts=renewing) as reader, pytest.raises(MailboxError, match="in time"):
        reader.wait(LONG)


# ---- stopping


def test_stopping_ends_idle_properly() -> None:
    stop = threading.Event()

    def handler(peer: Peer) -> None:
        peer.greet()
        tag = peer.idle()
        stop.set()
        peer.done(tag)
        tag, _ = peer.until("LOGOUT")
        peer.ok(tag, b"* BYE .\r\n")

    with opened(handler, stop=stop, timeouts=replace(QUICK, farewell=LONG)) as reader:
        assert reader.wait(LONG) is False


def test_stopping_ends_a_command_that_gets_no_answer() -> None:
    stop = threading.Event()

    def handler(peer: Peer) -> None:
        peer.greet()
        peer.until("FETCH")
        stop.set()
        silence(peer)

    patient = replace(QUICK, command=LONG)
    with (
        opened(handler, stop=stop, timeouts=patient) as reader,
        pytest.raises(MailboxError, match="stopped"),
    ):
        reader.fetch([1])


def test_a_stopped_session_does_not_connect() -> None:
    stop = threading.Event()
    stop.set()
    nowhere = Account("x", "127.0.0.1", 1, "none", "u", "p")
    with pytest.raises(MailboxError, match="stopped"):
        Session(nowhere, ["From"], stop=stop).connect()


def test_closing_does_not_wait_for_a_silent_server() -> None:
    def handler(peer: Peer) -> None:
        peer.greet()
        peer.until("LOGOUT")
        silence(peer)

    with opened(handler, timeouts=replace(QUICK, command=LONG, farewell=0.05)) as reader:
        reader.close()
        reader.close()


# ---- deadlines and limits


def test_the_kernel_looks_after_a_silent_line() -> None:
    with opened(serving) as reader:
        assert reader._client is not None
        sock = reader._client.wire.sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


def test_the_deadline_is_for_the_whole_command() -> None:
    """A byte now and then keeps a read timeout from ever running out (imap.md 0.17)."""

    def handler(peer: Peer) -> None:
        peer.greet()
        peer.until("SEARCH")
        peer.send(b"* SEARCH")
        while True:
            peer.send(b" 1")
            time.sleep(0.05)

    with opened(handler) as reader, pytest.raises(MailboxError, match="in time"):
        list(reader.uids_from(1))


@pytest.mark.parametrize(
    "answer",
    [b"* 1 FETCH (UID 1 BODY[] {3000000000}\r\n", b"* 1 FETCH " + b"x" * 400_000],
    ids=["literal", "line"],
)
def test_an_answer_beyond_all_measure_is_refused(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(connection, "MAX_UNIT", 100_000)

    def handler(peer: Peer) -> None:
        peer.greet()
        peer.until("FETCH")
        peer.send(answer)
        silence(peer)

    def refusing(peer: Peer) -> None:
        peer.close()

    patient = replace(QUICK, command=LONG)
    with opened(handler, refusing, timeouts=patient) as reader, pytest.raises(MailboxError):
        reader.fetch([1])


@pytest.mark.parametrize(
    ("greeting", "message"),
    [
        (b"* BYE too busy\r\n", "too busy"),
        (b"220 smtp.company.ru ESMTP\r\n", "unexpected response"),
        (b"", "closed"),
        (b"\xff\x00garbage without end", "closed"),
    ],
)
def test_a_greeting_that_is_none_is_an_error(greeting: bytes, message: str) -> None:
    with server(lambda peer: peer.send(greeting)) as account, pytest.raises(MailboxError, match=message):
        Session(account, ["From"], timeouts=QUICK).connect()


def test_a_server_without_a_greeting_is_an_error() -> None:
    with server(silence) as account, pytest.raises(MailboxError, match="in time"):
        Session(account, ["From"], timeouts=QUICK).connect()


# ---- folders and messages


def test_uidnext_is_not_needed() -> None:
    """Courier's SELECT has none (imap.md 0.14)."""

    def handler(peer: Peer) -> None:
        peer.examine = b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n"
        peer.search = b"* SEARCH 4 9\r\n"
        serving(peer)

    with opened(handler) as reader:
        assert reader.open("INBOX").uidnext is None
        assert list(reader.uids_from(1)) == [[4, 9]]


def test_an_empty_folder_is_not_searched() -> None:
    """Some servers take '*' for a mistake there."""

    def handler(peer: Peer) -> None:
        peer.greet()
        peer.examine = b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n"
        with pytest.raises(EOFError):
            peer.until("SEARCH")

    with opened(handler) as reader:
        assert list(reader.uids_from(1)) == []


def test_uids_that_were_not_asked_for_are_left_out() -> None:
    def handler(peer: Peer) -> None:
        peer.search = b"* SEARCH 38 12 40 12\r\n"
        serving(peer)

    with opened(handler) as reader:
        assert list(reader.uids_from(39)) == [[40]]


def test_a_search_answer_may_be_longer_than_a_megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """imaplib itself gives up there, out of step with the server (imap.md 0.6)."""
    uids = range(1, 300_001)
    monkeypatch.setattr(session, "WINDOW", len(uids))

    def handler(peer: Peer) -> None:
        peer.search = b"* SEARCH " + " ".join(map(str, uids)).encode() + b"\r\n"
        serving(peer)

    with opened(handler, timeouts=replace(QUICK, command=LONG)) as reader:
        assert list(reader.uids_from(1)) == [list(uids)]


def test_wide_gaps_between_uids_cost_few_searches() -> None:
    """A server may number its messages by the second: 50,000 at a time would be 80,000 searches."""
    searches = []

    def handler(peer: Peer) -> None:
        peer.greet()
        peer.search = b"* SEARCH 5 4000000000\r\n"
        while True:
            tag, words = peer.until("SEARCH")
            searches.append(words)
            peer.ok(tag, peer.search)

    with opened(handler) as reader:
        assert list(reader.uids_from(1)) == [[5], [4_000_000_000]]
    assert len(searches) < 25


def test_an_answer_that_blames_the_moment_does_not_make_a_folder_missing() -> None:
    def handler(peer: Peer) -> None:
        peer.greet()
        tag, _ = peer.until("EXAMINE")
        peer.send(tag + b" BAD User is authenticated but not connected.\r\n")

    with server(handler) as account:
        reader = Session(account, ["From"], timeouts=QUICK)
        reader.connect()
        with pytest.raises(MailboxError, match="not connected") as caught:
            reader.open("INBOX")
    assert not isinstance(caught.value, FolderMissing)


def fetched(uid: int, header: bytes = HEADER) -> bytes:
    body = b"BODY[HEADER.FIELDS (FROM)]<0> {%d}\r\n%s" % (len(header), header)
    return b'* %d FETCH (UID %d RFC822.SIZE 9 INTERNALDATE "01-Mar-2026 12:00:00 +0300" %s)\r\n' % (
        uid,
        uid,
        body,
    )


def test_an_internal_date_is_an_instant_whatever_the_zone_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()

    def handler(peer: Peer) -> None:
        peer.greet()
        tag, _ = peer.until("FETCH")
        peer.ok(tag, fetched(1))
        serving(peer)

    try:
        with opened(handler) as reader:
            (message,) = reader.fetch([1]).messages
    finally:
        monkeypatch.undo()
        time.tzset()
    assert message.internal_date == datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_a_server_that_sends_more_than_was_asked_for_is_cut() -> None:
    def handler(peer: Peer) -> None:
        peer.greet()
        tag, _ = peer.until("FETCH")
        peer.ok(tag, fetched(1, b"From: " + b"a" * 2 * HEADER_BYTES))
        serving(peer)

    with opened(handler) as reader:
        (message,) = reader.fetch([1]).messages
    assert message.header is not None
    assert len(message.header) == HEADER_BYTES
    assert message.cut


def test_a_session_reads_as_much_of_a_header_as_it_is_told() -> None:
    """What is asked for, what is kept, and from when on a header counts as cut."""

    def handler(peer: Peer) -> None:
        peer.greet()
        tag, words = peer.until("FETCH")
        assert b"<0.5000> " in words
        peer.ok(tag, fetched(1, b"From: " + b"a" * 9000) + fetched(2, b"a" * 4999))
        serving(peer)

    with opened(handler, header_bytes=5000) as reader:
        first, second = reader.fetch([1, 2]).messages
    assert first.header is not None
    assert second.header is not None
    assert (len(first.header), first.cut) == (5000, True)
    assert (len(second.header), second.cut) == (4999, False)


def test_a_message_without_an_answer_is_asked_for_again() -> None:
    """It is still listed, so it is not gone; the second answer brings it."""

    def handler(peer: Peer) -> None:
        peer.greet()
        peer.search = b"* SEARCH 2\r\n"
        tag, _ = peer.until("FETCH")
        peer.ok(tag, fetched(1) + b"* 2 FETCH (UID 2 BODY[HEADER.FIELDS (FROM)]<0> NIL)\r\n")
        tag, words = peer.until("FETCH")
        assert words.startswith(b"UID FETCH 2 (BODY.PEEK[HEADER.FIELDS (FROM)]<0.65536> ")
        peer.ok(tag, fetched(2))
        serving(peer)

    with opened(handler) as reader:
        result = reader.fetch([1, 2, 3])
    assert [message.uid for message in result.messages] == [1, 2]
    assert (result.gone, result.unreadable) == ((3,), ())


def test_a_message_that_is_listed_and_never_answered_is_unreadable() -> None:
    def handler(peer: Peer) -> None:
        peer.search = b"* SEARCH 1\r\n"
        serving(peer)

    with opened(handler) as reader:
        result = reader.fetch([1])
    assert (result.messages, result.gone, result.unreadable) == ((), (), (1,))


def test_news_of_other_messages_does_not_mix_with_the_answer() -> None:
    """What the server told before the command is not part of its answer."""

    def handler(peer: Peer) -> None:
        peer.greet()
        tag, _ = peer.until("NOOP")
        peer.ok(tag, b"* 1 FETCH (FLAGS (\\Seen))\r\n")
        tag, _ = peer.until("FETCH")
        peer.ok(tag, fetched(1) + b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n")
        serving(peer)

    with opened(handler) as reader:
        reader.noop()
        (message,) = reader.fetch([1]).messages
    assert message.header == HEADER
    assert not message.seen


def fetches(peer: Peer, *answers: bytes) -> list[bytes]:
    """Answer FETCH after FETCH; returns the UIDs that each named."""
    peer.greet()
    asked = []
    for answer in answers:
        tag, words = peer.until("FETCH")
        asked.append(words.split()[2])
        peer.ok(tag, answer)
    return asked


def test_what_was_asked_for_ahead_is_not_asked_for_again() -> None:
    asked: list[bytes] = []

    def handler(peer: Peer) -> None:
        asked.extend(fetches(peer, fetched(1), fetched(2) + fetched(3), fetched(5)))
        serving(peer)

    with opened(handler) as reader:
        first = reader.fetch([1], ahead=[2, 3])
        second = reader.fetch([2, 3], ahead=[5])
        third = reader.fetch([5])
    assert asked == [b"1", b"2:3", b"5"]
    assert [[message.uid for message in result.messages] for result in (first, second, third)] == [
        [1],
        [2, 3],
        [5],
    ]


def test_another_command_does_not_mix_with_what_was_asked_for_ahead() -> None:
    """The answer that is on its way is read first, and kept."""
    asked: list[bytes] = []

    def handler(peer: Peer) -> None:
        asked.extend(fetches(peer, fetched(1), fetched(2)))
        peer.search = b"* SEARCH 7\r\n"
        peer.until("NOTHING OF THAT NAME")

    with opened(handler) as reader:
        reader.fetch([1], ahead=[2])
        reader.noop()
        (message,) = reader.fetch([2]).messages
        reader.noop()
    assert asked == [b"1", b"2"]
    assert (message.uid, message.header) == (2, HEADER)


def test_what_was_asked_for_ahead_and_is_not_wanted_is_dropped() -> None:
    asked: list[bytes] = []

    def handler(peer: Peer) -> None:
        asked.extend(fetches(peer, fetched(1), fetched(2), fetched(3)))
        serving(peer)

    with opened(handler) as reader:
        reader.fetch([1], ahead=[2])
        (message,) = reader.fetch([3]).messages
    assert asked == [b"1", b"2", b"3"]
    assert message.uid == 3


def test_a_message_that_kills_the_session_ahead_costs_only_itself() -> None:
    """The first batch has been handed over; the second is taken apart as if it had not been asked ahead."""

    def killing(peer: Peer) -> None:
        fetches(peer, fetched(1))
        peer.until("FETCH")

    def killing_again(peer: Peer) -> None:
        fetches(peer, fetched(2))
        peer.until("FETCH")

    def killed(peer: Peer) -> None:
        peer.greet()
        peer.until("FETCH")

    with opened(killing, killing_again, killed, serving) as reader:
        first = reader.fetch([1], ahead=[2, 3])
        second = reader.fetch([2, 3])
    assert [message.uid for message in first.messages] == [1]
    assert [message.uid for message in second.messages] == [2]
    assert second.unreadable == (3,)


@pytest.mark.parametrize(
    "answer",
    [
        b'* 1 FETCH (BODY[HEADER.FIELDS ("FROM")]<0> {%d}\r\n%s RFC822.SIZE 9 FLAGS (\\Seen) UID 1'
        b' INTERNALDATE " 1-Mar-2026 12:00:00 +0300")\r\n',
        b'* 1 fetch (uid 1 rfc822.size 9 flags (\\Seen) internaldate " 1-mar-2026 09:00:00 +0000"'
        b" body[header.fields (from)]<0> {%d}\r\n%s)\r\n",
        b"* 1 FETCH (UID 1 MODSEQ (12) FLAGS (\\Seen) RFC822.SIZE 9 BODY[HEADER.FIELDS (FROM)]<0> {%d}\r\n%s"
        b' INTERNALDATE "1-Mar-2026 12:00:00 +0300")\r\n',
        b"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[HEADER.FIELDS (FROM)]<0> {%d}\r\n%s)\r\n"
        b'* 1 FETCH (UID 1 RFC822.SIZE 9 INTERNALDATE "01-Mar-2026 12:00:00 +0300")\r\n',
    ],
    ids=["in another order", "in small letters", "with an item that was not asked for", "in two parts"],
)
def test_an_answer_in_any_form_is_the_same_message(answer: bytes) -> None:
    def handler(peer: Peer) -> None:
        fetches(peer, answer % (len(HEADER), HEADER))
        serving(peer)

    with opened(handler) as reader:
        (message,) = reader.fetch([1]).messages
    assert (message.header, message.size, message.seen) == (HEADER, 9, True)
    assert message.internal_date == datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_a_folder_that_is_renumbered_while_it_is_read_is_an_error() -> None:
    """The UIDs that were asked for mean other messages now."""

    def breaking(peer: Peer) -> None:
        peer.greet()
        peer.until("FETCH")

    def renumbered(peer: Peer) -> None:
        peer.examine = peer.examine.replace(b"UIDVALIDITY 7", b"UIDVALIDITY 6")
        serving(peer)

    with opened(breaking, renumbered) as reader, pytest.raises(MailboxError, match="renumbered"):
        reader.fetch([1, 2])
