"""IMAPClient on a connection that loses nothing of what the server says, and never waits for ever.

imapclient 4.1.0 on stock imaplib misses mail that is announced together with `+ idling`, answers a dead line
with an endless empty list, breaks on half a line and has no deadline for a whole command (imap.md 0.1-0.7,
0.17). Here the read buffer is our own, so that waiting can look into it first; the rest of imapclient stays.
"""

from __future__ import annotations

import errno
import imaplib
import logging
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from imapclient import IMAPClient, SocketTimeout
from imapclient.response_parser import parse_fetch_response

from imaprouter.errors import MailboxError
from imaprouter.mailbox import answers
from imaprouter.mailbox.values import Account, Timeouts

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: No wait lasts longer than this without a look at the stop event.
SLICE = 0.25
#: The longest line or literal that is believed. A SEARCH answer of a million UIDs is a line of 8 MB
#: (imaplib stops at 1 MB, imap.md 0.6); a header is at most 64 KB; a hostile server announces 3 GB.
MAX_UNIT = 16 * 1024 * 1024
# Larger ones the allocator takes from the system and gives back each time.
_CHUNK = 64 * 1024

#: A dead peer is noticed after two minutes of silence (60 + 4 x 15 s), or one minute after unanswered data.
_SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 60_000),
)

# At DEBUG imapclient logs commands and answers: personal data.
logging.getLogger("imapclient").setLevel(logging.WARNING)


def tls_context(account: Account) -> ssl.SSLContext:
    """Return a verifying context, MailboxError when `ca_file` is no use; it replaces the system's."""
    try:
        context = ssl.create_default_context(cafile=account.ca_file or None)
    except OSError as exc:
        raise MailboxError(
            f"{account}: cannot use ca_file {account.ca_file!r}: {exc.strerror}",
            advice="a readable file of PEM certificates is needed",
        ) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Wire(imaplib.IMAP4):
    """imaplib's protocol over our own buffer, with one deadline for everything until the next `allow`."""

    def __init__(
        self, account: Account, tls: ssl.SSLContext | None, timeouts: Timeouts, stop: threading.Event
    ) -> None:
        self._tls = tls if account.tls == "implicit" else None
        self._timeouts = timeouts
        self._stop = stop
        self._deadline = math.inf
        self._hurried = False
        self._buffer = bytearray()
        self._position = 0
        super().__init__(account.host, account.port)

    def allow(self, seconds: float) -> None:
        """Let what follows take so long in all; from a stop event on, no longer than a farewell."""
        self._deadline = time.monotonic() + seconds
        self._hurried = False

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        self.host, self.port = host, port
        sock = socket.create_connection((host, port), self._timeouts.connect)
        try:
            for level, name, value in _SOCKET_OPTIONS:
                if hasattr(socket, name):
                    sock.setsockopt(level, getattr(socket, name), value)
            self.allow(self._timeouts.command)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
        self.sock = sock

    def starttls(self, ssl_context: ssl.SSLContext | None = None) -> tuple[Literal["OK"], list[None]]:
        """Switch to TLS; what came in clear text behind the server's consent ends the session."""
        kind, data = self._simple_command("STARTTLS")
        if kind != "OK":
            raise self.error(f"STARTTLS refused: {data!r}")
        if len(self._buffer) > self._position:
            raise self.abort("clear text injected behind STARTTLS")
        self.sock.settimeout(self._timeouts.connect)
        context = ssl_context or ssl.create_default_context()
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host)
        self._get_capabilities()
        return "OK", [None]

    def send(self, data: ReadableBuffer) -> None:
        self.sock.settimeout(max(0.001, self._command_time()))
        self.sock.sendall(data)

    def read(self, size: int) -> bytes:
        if size > MAX_UNIT:
            raise self.abort(f"the server announced {size} bytes")
        while len(self._buffer) - self._position < size:
            if not self._receive(self._command_time):
                raise self._overdue()
        return self._take(size)

    def readline(self) -> bytes:
        end = self._line_end(self._command_time)
        if end < 0:
            raise self._overdue()
        return self._take(end + 1 - self._position)

    def fetch_answer(self) -> tuple[int, dict[bytes, Any]] | None:
        """Take one FETCH answer off the wire, as UID and items; UID 0 where it names none.

        None, and nothing is taken, when something else comes next, or an answer of unusual shape.
        """
        if self._line_end(self._command_time) < 0:
            raise self._overdue()
        begin = answers.BEGINNING.match(self._buffer, self._position)
        if begin is None:
            return None
        # From here on relative to the position, which moves when more is read.
        at = begin.end() - self._position
        uid, items = 0, dict[bytes, Any]()
        while (item := answers.ITEM.match(self._buffer, self._position + at)) is not None:
            at = item.end() - self._position
            kind = item.lastindex
            if kind == answers.LITERAL:
                size = int(item[kind])
                self._await_literal(at, size)
                with memoryview(self._buffer) as view:
                    items[b"BODY["] = bytes(view[self._position + at : self._position + at + size])
                at += size
            elif kind == answers.UID:
                uid = int(item[kind])
            elif kind == answers.SIZE:
                items[b"RFC822.SIZE"] = int(item[kind])
            elif kind == answers.FLAGS:
                items[b"FLAGS"] = answers.flags(item[kind])
            elif (date := answers.internal_date(item[answers.DATE])) is not None:
                items[b"INTERNALDATE"] = date
            else:
                return None
            follows = self._position + at
            if self._buffer.startswith(b")\r\n", follows):
                self._position = follows + 3
                return uid, items
            if not self._buffer.startswith(b" ", follows):
                return None
            at += 1
        return None

    def _await_literal(self, at: int, size: int) -> None:
        """Have a literal in the buffer that begins `at` from the position, and the line behind it."""
        if size > MAX_UNIT:
            raise self.abort(f"the server announced {size} bytes")
        while self._buffer.find(b"\n", self._position + at + size) < 0:
            if not self._receive(self._command_time):
                raise self._overdue()

    def await_line(self, until: float) -> bool:
        """Wait for a whole line; False when `until` (monotonic) or the stop event came first."""
        return self._line_end(lambda: 0.0 if self._stop.is_set() else until - time.monotonic()) >= 0

    def shutdown(self) -> None:
        with suppress(OSError):
            self.sock.close()

    def _command_time(self) -> float:
        """The seconds that are left to the running command."""
        now = time.monotonic()
        if self._stop.is_set() and not self._hurried:
            self._hurried = True
            self._deadline = min(self._deadline, now + self._timeouts.farewell)
        return self._deadline - now

    def _line_end(self, time_left: Callable[[], float]) -> int:
        """Return where the first line of the buffer ends, -1 when time ran out before it was whole."""
        start = self._position
        while (end := self._buffer.find(b"\n", start)) < 0:
            unread = len(self._buffer) - self._position
            if not self._receive(time_left):
                return -1
            start = self._position + unread
        return end

    def _take(self, size: int) -> bytes:
        with memoryview(self._buffer) as view:
            taken = bytes(view[self._position : self._position + size])
        self._position += size
        return taken

    def _receive(self, time_left: Callable[[], float]) -> bool:
        """Read once from the socket into the buffer; False when time ran out."""
        if len(self._buffer) - self._position > MAX_UNIT:
            raise self.abort("the server sent a line without end")
        data = self._receive_in_slices(time_left)
        del self._buffer[: self._position]
        self._position = 0
        self._buffer += data
        return bool(data)

    def _receive_in_slices(self, time_left: Callable[[], float]) -> bytes:
        while (left := time_left()) > 0:
            self.sock.settimeout(min(SLICE, left))
            try:
                data = self.sock.recv(_CHUNK)
            except TimeoutError as exc:
                # A slice that ran out has no errno; with one, the kernel gave the peer up.
                if exc.errno == errno.ETIMEDOUT:
                    raise self.abort("the server no longer answers") from exc
                continue
            except OSError as exc:
                raise self.abort(f"connection lost: {exc}") from exc
            if not data:
                raise self.abort("the server closed the connection")
            return data
        return b""

    def _overdue(self) -> imaplib.IMAP4.abort:
        return self.abort("stopped" if self._stop.is_set() else "no complete answer in time")


class LineSafeClient(IMAPClient):  # type: ignore[misc]  # imapclient ships no py.typed, so its class is Any
    """IMAPClient over a `Wire`. The constructor connects and reads the greeting."""

    def __init__(
        self, account: Account, tls: ssl.SSLContext | None, timeouts: Timeouts, stop: threading.Event
    ) -> None:
        self.wire = Wire(account, tls, timeouts, stop)
        unused = SocketTimeout(None, None)  # the wire has deadlines of its own
        super().__init__(account.host, account.port, ssl=account.tls == "implicit", timeout=unused)
        self.normalise_times = False
        self.wire.debug = 0  # imapclient sets 5: every line is formatted though nobody logs it (imap.md 0.7)

    def _create_IMAP4(self) -> Wire:
        return self.wire

    @property
    def certificate_ends(self) -> datetime | None:
        """Until when the server's certificate is valid; None without TLS."""
        if not isinstance(self.wire.sock, ssl.SSLSocket):
            return None
        end = (self.wire.sock.getpeercert() or {}).get("notAfter")
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if isinstance(end, str) else None

    @property
    def idling(self) -> bool:
        """Whether the server is in IDLE: it has not answered the command for good."""
        return self._idle_tag is not None and self.wire.tagged_commands.get(self._idle_tag, b"") is None

    def ask_for(self, uids: list[int], items: str) -> bytes:
        """Send a UID FETCH for ascending UIDs; its answers are read by `answers` with the tag returned."""
        tag: bytes = self.wire._command("UID", "FETCH", answers.uid_set(uids), items)
        return tag

    def answers(self, tag: bytes) -> dict[int, dict[bytes, Any]]:
        """Read what a UID FETCH is answered with: items by UID, unsolicited ones among them.

        The one literal is under b"BODY[" or a longer name that begins so.
        """
        wire = self.wire
        found: dict[int, dict[bytes, Any]] = {}
        while wire.tagged_commands.get(tag, b"") is None:
            answer = wire.fetch_answer()
            if answer is None:
                self.read_line()
            elif answer[0]:
                found.setdefault(answer[0], {}).update(answer[1])
        kind, data = wire._command_complete("FETCH", tag)
        self._checkok("fetch", kind, data)
        _, unusual = wire._untagged_response(kind, data, "FETCH")
        for uid, items in parse_fetch_response(unusual, normalise_times=False).items():
            found.setdefault(uid, {}).update(items)
        return found

    def enter_idle(self) -> None:
        """Send IDLE and wait for '+', or for the refusal; see `idling`.

        Lines before the '+' (Exchange announces mail there, imap.md 0.3) are kept like all others.
        """
        self._idle_tag = self.wire._command("IDLE")
        while self.idling and self.wire._get_response() is not None:
            self.wire._check_bye()

    def read_line(self) -> None:
        """Take one answer off the wire into `untagged_responses`; IMAP4.abort when it is BYE."""
        self.wire._get_response()
        self.wire._check_bye()

    def leave_idle(self) -> None:
        """Send DONE and read to the end of IDLE; late lines are kept like all others."""
        self.wire.send(b"DONE\r\n")
        self.wire._command_complete("IDLE", self._idle_tag)
