"""Logging in, and telling a refusal from a server that only cannot do it now."""

from __future__ import annotations

import imaplib
import re
from collections.abc import Iterator

from imaprouter.errors import MailboxLoginRefused
from imaprouter.mailbox.connection import LineSafeClient
from imaprouter.mailbox.failure import has_control_characters, server_text
from imaprouter.mailbox.values import Account

_CODE = re.compile(r"\[([A-Z-]+)")
#: RFC 5530: the same command may succeed later. Dovecot answers a login over its connection limit with LIMIT.
_PASSING_CODES = frozenset({"UNAVAILABLE", "SERVERBUG", "INUSE", "LIMIT"})


def is_passing(exc: imaplib.IMAP4.error) -> bool:
    """Say whether an answer blames the moment and not the request: a broken line, BAD, a passing code."""
    text = server_text(exc)
    code = _CODE.search(text)
    return (
        isinstance(exc, imaplib.IMAP4.abort)
        or "command error: BAD" in text
        or (code is not None and code[1] in _PASSING_CODES)
    )


def log_in(client: LineSafeClient, account: Account) -> None:
    """Authenticate by the account's means; MailboxLoginRefused when the credentials are not accepted."""
    if has_control_characters(account.username) or has_control_characters(account.password):
        raise MailboxLoginRefused(
            f"{account}: user name or password holds control characters", advice="a line break at the end?"
        )
    try:
        if account.auth == "xoauth2":
            _xoauth2(client, account)
        elif client.has_capability("AUTH=PLAIN"):
            client.wire.authenticate("PLAIN", lambda _: f"\0{account.username}\0{account.password}".encode())
        else:
            _login(client, account)
    except imaplib.IMAP4.error as exc:
        if is_passing(exc):
            raise
        raise MailboxLoginRefused(
            f"{account}: login refused: {server_text(exc, account.password)}",
            advice="check username and " + ("the access token" if account.auth == "xoauth2" else "password"),
        ) from exc


def _xoauth2(client: LineSafeClient, account: Account) -> None:
    # A server that refuses the token sends its reasons as a challenge and waits for an empty reply.
    replies = iter([f"user={account.username}\1auth=Bearer {account.password}\1\1".encode()])
    client.wire.authenticate("XOAUTH2", lambda _: _next(replies))


def _next(replies: Iterator[bytes]) -> bytes:
    return next(replies, b"")


def _login(client: LineSafeClient, account: Account) -> None:
    """The LOGIN command, for servers without AUTH=PLAIN; it cannot carry anything but ASCII."""
    if not (account.username + account.password).isascii():
        raise MailboxLoginRefused(f"{account}: the server takes no user name or password beyond ASCII")
    wire = client.wire
    kind, data = wire._simple_command("LOGIN", _quoted(account.username), _quoted(account.password))
    if kind != "OK":
        raise wire.error(data[-1])
    wire.state = "AUTH"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
