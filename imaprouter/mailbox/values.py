"""The values of the mailbox room: an account, its timeouts, what the server answered. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from imaprouter.model import FetchedMessage

#: What a session reads of a header unless it is told otherwise; the service says `limits.header_bytes`.
HEADER_BYTES = 65_536

#: What is read of a bounce's body: long explanations in HTML come before what is returned.
REPORT_BYTES = 131_072


@dataclass(frozen=True, slots=True)
class Account:
    """One IMAP account. `password` is the access token when `auth` is 'xoauth2'."""

    name: str
    host: str
    port: int
    tls: Literal["implicit", "starttls", "none"]
    username: str
    password: str = field(repr=False)
    auth: Literal["login", "xoauth2"] = "login"
    #: A PEM file of authorities that replaces the system's; '' means the system's.
    ca_file: str = ""

    def __str__(self) -> str:
        return f"mailbox {self.name} ({self.host}:{self.port})"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the session waits, in seconds."""

    #: For each address that the host name stands for, so that a dead IPv6 route leaves time for IPv4.
    connect: float = 15.0
    #: For a whole command, however slowly the answer drips (imap.md 0.17).
    command: float = 60.0
    #: Well below the 29 minutes of RFC 2177, and below the idle limits of common NAT boxes.
    idle_renewal: float = 300.0
    #: Between two NOOPs where the server has no IDLE (Mail.ru, imap.md 0.15).
    poll: float = 20.0
    #: For DONE and LOGOUT on the way out: a service has two seconds to stop.
    farewell: float = 0.5


DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """What EXAMINE said. `uidnext` is None on servers that do not give it (Courier, imap.md 0.14)."""

    name: str
    uidvalidity: int
    uidnext: int | None
    exists: int


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What became of the UIDs that were asked for: each is in exactly one of these, ascending."""

    messages: tuple[FetchedMessage, ...]
    #: Expunged since the search: the server no longer lists them.
    gone: tuple[int, ...] = ()
    #: Still listed, but the server cannot hand them over: one of them ends the whole session (imap.md 0.10).
    unreadable: tuple[int, ...] = ()
    #: Not settled: so many others were unreadable that the rest has to be asked for again.
    deferred: tuple[int, ...] = ()


def backoff(attempt: int, *, base: float = 1.0, cap: float = 300.0, random: Callable[[], float]) -> float:
    """Return the seconds to wait before reconnecting for the `attempt`-th time (from 1).

    Doubles from `base` to `cap`; `random` (0 to 1) takes up to half of it away, so that many services do not
    come back to a restarted server in the same second.
    """
    full = min(cap, base * 2.0 ** min(max(attempt, 1) - 1, 62))
    return full * (1.0 - random() / 2.0)
