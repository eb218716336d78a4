"""A scripted IMAP server of one connection at a time, for what no real server does on demand."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imaprouter.mailbox import HEADER_BYTES, Account, Session, Timeouts

LONG = 30.0
QUICK = Timeouts(connect=5, command=0.4, poll=0.05)
PASSWORD = "correct-horse"


class Peer:
    """The server's end of one connection: answers like a small IMAP server, until told to do otherwise."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.capabilities = "IMAP4rev1 IDLE AUTH=PLAIN"
        self.examine = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT 1] .\r\n"
        self.search = b"* SEARCH\r\n"
        self._reader = line.makefile("rb")

    def send(self, data: bytes) -> None:
        self.line.sendall(data)

    def read(self) -> bytes:
        return self._reader.readline()

    def greet(self) -> None:
        self.send(b"* OK ready\r\n")

    def until(self, command: str) -> tuple[bytes, bytes]:
        """Answer what comes until `command`; return its tag and words. EOFError when the client leaves."""
        while line := self.read():
            tag, _, words = line.strip().partition(b" ")
            if words.upper().removeprefix(b"UID ").startswith(command.encode()):
                return tag, words
            self._answer(tag, words.upper().removeprefix(b"UID ").split()[0])
        raise EOFError

    def idle(self, greeting: bytes = b"+ idling\r\n") -> bytes:
        """Go on to IDLE, and into it."""
        tag, _ = self.until("IDLE")
        self.send(greeting)
        return tag

    def done(self, tag: bytes) -> None:
        """Expect DONE, and end IDLE."""
        assert self.read() == b"DONE\r\n"
        self.ok(tag)

    def ok(self, tag: bytes, untagged: bytes = b"") -> None:
        self.send(untagged + tag + b" OK .\r\n")

    def close(self) -> None:
        self._reader.close()
        self.line.close()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _answer(self, tag: bytes, command: bytes) -> None:
        untagged = {
            b"CAPABILITY": b"* CAPABILITY " + self.capabilities.encode() + b"\r\n",
            b"EXAMINE": self.examine,
            b"SEARCH": self.search,
            b"LOGOUT": b"* BYE .\r\n",
        }
        if command == b"AUTHENTICATE":
            self.send(b"+ \r\n")
            self.read()
        self.ok(tag, untagged.get(command, b""))


Handler = Callable[[Peer], None]


@contextmanager
def server(*handlers: Handler) -> Iterator[Account]:
    """Serve one connection after the other, each by the next handler; what one raises fails the test."""
    problems: list[BaseException] = []

    def serve() -> None:
        for handler in handlers:
            line, _ = listener.accept()
            peer = Peer(line)
            try:
                handler(peer)
            except (EOFError, ConnectionError):
                pass  # the client left, as it may
            except BaseException as exc:  # told below, in the test's own thread
                problems.append(exc)
            finally:
                peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LONG)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Account("x", "127.0.0.1", listener.getsockname()[1], "none", "u", PASSWORD)
        finally:
            thread.join()
    if problems:
        raise problems[0]


@contextmanager
def opened(
    *handlers: Handler,
    timeouts: Timeouts = QUICK,
    stop: threading.Event | None = None,
    header_bytes: int = HEADER_BYTES,
) -> Iterator[Session]:
    """A session with its folder open, on a server of such handlers."""
    with server(*handlers) as account:
        session = Session(account, ["From"], header_bytes=header_bytes, timeouts=timeouts, stop=stop)
        session.connect()
        try:
            session.open("INBOX")
            yield session
        finally:
            session.close()


def serving(peer: Peer) -> None:
    """Answer everything until the client leaves."""
    peer.greet()
    peer.until("NOTHING OF THAT NAME")


def silence(peer: Peer) -> None:
    """Say nothing until the client leaves."""
    while peer.read():
        pass
