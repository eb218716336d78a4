"""Logging in: credentials on the wire, refusals that last and refusals that pass, STARTTLS."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from imap_peer import PASSWORD, QUICK, Handler, Peer, server, serving, silence

from imaprouter.errors import MailboxError, MailboxLoginRefused
from imaprouter.mailbox import Session


def login_answered(answer: bytes) -> Handler:
    def handler(peer: Peer) -> None:
        peer.greet()
        tag, _ = peer.until("AUTHENTICATE")
        peer.send(b"+ \r\n")
        peer.read()
        peer.send(answer.replace(b"TAG", tag))

    return handler


def test_a_login_that_is_refused_for_the_moment_may_be_tried_again() -> None:
    limit = login_answered(b"TAG NO [LIMIT] Maximum number of connections\r\n")
    with server(limit) as account, pytest.raises(MailboxError, match="Maximum") as caught:
        Session(account, ["From"], timeouts=QUICK).connect()
    assert caught.value.temporary


def test_a_line_that_breaks_during_the_login_is_no_refusal() -> None:
    with server(login_answered(b"")) as account, pytest.raises(MailboxError) as caught:
        Session(account, ["From"], timeouts=QUICK).connect()
    assert not isinstance(caught.value, MailboxLoginRefused)


def test_a_password_that_the_server_repeats_is_masked() -> None:
    answer = login_answered(b"TAG NO no user with \x1b[31m correct-horse\r\n")
    with server(answer) as account, pytest.raises(MailboxLoginRefused) as caught:
        Session(account, ["From"], timeouts=QUICK).connect()
    assert PASSWORD not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("field", ["username", "password"])
def test_credentials_with_a_line_break_are_not_sent(field: str) -> None:
    with server(serving) as account:
        broken = replace(account, username="u\r\nx" if field == "username" else "u", password=f"{PASSWORD}\n")
        with pytest.raises(MailboxLoginRefused, match="control characters"):
            Session(broken, ["From"], timeouts=QUICK).connect()


def test_without_auth_plain_the_login_command_is_used() -> None:
    def handler(peer: Peer) -> None:
        peer.capabilities = "IMAP4rev1"
        peer.greet()
        tag, words = peer.until("LOGIN")
        assert words == b'LOGIN "u \\"x\\"" "back\\\\slash"'
        peer.ok(tag)
        serving(peer)

    with server(handler) as account:
        session = Session(
            replace(account, username='u "x"', password="back\\slash"), ["From"], timeouts=QUICK
        )
        session.connect()
        session.close()


def test_the_login_command_carries_ascii_only() -> None:
    def handler(peer: Peer) -> None:
        peer.capabilities = "IMAP4rev1"
        serving(peer)

    with server(handler) as account, pytest.raises(MailboxLoginRefused, match="ASCII"):
        Session(replace(account, password="пароль"), ["From"], timeouts=QUICK).connect()


def test_an_access_token_is_sent_by_xoauth2() -> None:
    def handler(peer: Peer) -> None:
        peer.greet()
        tag, words = peer.until("AUTHENTICATE")
        assert words == b"AUTHENTICATE XOAUTH2"
        peer.send(b"+ \r\n")
        assert base64.b64decode(peer.read()) == b"user=u\x01auth=Bearer correct-horse\x01\x01"
        peer.ok(tag)
        serving(peer)

    with server(handler) as account:
        session = Session(replace(account, auth="xoauth2"), ["From"], timeouts=QUICK)
        session.connect()
        session.close()


def test_a_refused_token_is_a_refused_login() -> None:
    """The server tells its reasons in a challenge, which wants an empty reply."""

    def handler(peer: Peer) -> None:
        peer.greet()
        tag, _ = peer.until("AUTHENTICATE")
        peer.send(b"+ \r\n")
        peer.read()
        peer.send(b"+ " + base64.b64encode(b'{"status":"400"}') + b"\r\n")
        assert peer.read() == b"\r\n"
        peer.send(tag + b" NO SASL authentication failed\r\n")

    with server(handler) as account, pytest.raises(MailboxLoginRefused, match="SASL"):
        Session(replace(account, auth="xoauth2"), ["From"], timeouts=QUICK).connect()


def test_starttls_that_is_not_offered_ends_the_session() -> None:
    """Nothing, above all no password, goes over the open line."""

    def handler(peer: Peer) -> None:
        peer.greet()
        with pytest.raises(EOFError):
            peer.until("AUTHENTICATE")

    with server(handler) as account, pytest.raises(MailboxError, match="STARTTLS"):
        Session(replace(account, tls="starttls"), ["From"], timeouts=QUICK).connect()


def test_clear_text_behind_the_consent_to_starttls_ends_the_session() -> None:
    def handler(peer: Peer) -> None:
        peer.capabilities = "IMAP4rev1 STARTTLS"
        peer.greet()
        tag, _ = peer.until("STARTTLS")
        peer.send(tag + b" OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
        silence(peer)

    with server(handler) as account, pytest.raises(MailboxError, match="injected"):
        Session(replace(account, tls="starttls"), ["From"], timeouts=QUICK).connect()
