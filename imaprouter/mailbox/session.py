"""One IMAP session as the service uses it: one thread, one connection, one folder opened read-only.

An exception out of any command means that the session is dead: it is closed, and MailboxError tells which
server did what (imap.md 3, "any exception out of a command").
"""

from __future__ import annotations

import imaplib
import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from imaprouter.errors import FolderMissing, MailboxError
from imaprouter.mailbox.connection import LineSafeClient, tls_context
from imaprouter.mailbox.failure import describe, has_control_characters, server_text
from imaprouter.mailbox.folders import ListedFolder, special_folders
from imaprouter.mailbox.isolate import isolate
from imaprouter.mailbox.login import is_passing, log_in
from imaprouter.mailbox.values import (
    DEFAULT_TIMEOUTS,
    HEADER_BYTES,
    REPORT_BYTES,
    Account,
    FetchResult,
    FolderStatus,
    Timeouts,
)
from imaprouter.model import FetchedMessage

logger = logging.getLogger(__name__)

#: UIDs that one SEARCH asks about; a million in 0.6 s (imap.md 0.6).
WINDOW = 50_000
#: UIDs that one FETCH names when nothing but a date is asked: a line of some 10 KB, of Dovecot's 64.
ARRIVALS = 1000
#: UIDs that one SEARCH spans when it asks for the opened: an answer of some 15 KB at most. Named one by one
#: they would make a command that is too long for some servers.
OPENED = 2000


class Session:
    """A connection to one account. The constructor does no I/O.

    `fields` are the header fields that `fetch` reads, `header_bytes` how much of them. Once `stop` is set, a
    wait ends, a running command has `Timeouts.farewell` left, and no connection is made.
    """

    def __init__(
        self,
        account: Account,
        fields: Sequence[str],
        *,
        header_bytes: int = HEADER_BYTES,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        stop: threading.Event | None = None,
    ) -> None:
        self.account = account
        self.capabilities: tuple[str, ...] = ()
        #: Until when the server's certificate is valid; None without TLS.
        self.certificate_ends: datetime | None = None
        header = f"BODY.PEEK[HEADER.FIELDS ({' '.join(fields).upper()})]<0.{header_bytes}>"
        self._items = f"({header} INTERNALDATE FLAGS RFC822.SIZE)"
        self._header_bytes = header_bytes
        self._timeouts = timeouts
        self._stop = stop or threading.Event()
        self._client: LineSafeClient | None = None
        self._folder: FolderStatus | None = None
        self._idle_works = True
        #: What was asked for ahead: its UIDs, and the tag of the command or, once they are read, the answers.
        self._ahead: tuple[list[int], bytes | dict[int, dict[bytes, Any]]] | None = None
        #: Mail was announced that no search has looked for yet.
        self._news = False
        #: The folder held nothing when it was opened, and nothing was announced since.
        self._empty = False

    def connect(self) -> None:
        """Connect and log in; MailboxError, or MailboxLoginRefused for the credentials."""
        self.reach()
        self.log_in()

    def reach(self) -> None:
        """The first half of `connect`: TCP, greeting and TLS."""
        self.close()
        # What a server refused once it may do after its next restart; a service runs for years.
        self._idle_works = True
        if self._stop.is_set():
            raise MailboxError(f"{self.account}: stopped")
        tls = None if self.account.tls == "none" else tls_context(self.account)
        try:
            self._client = LineSafeClient(self.account, tls, self._timeouts, self._stop)
        except Exception as exc:
            raise self._failure("connecting", exc) from exc
        if self.account.tls == "starttls":
            with self._command("STARTTLS") as client:
                client.starttls(tls)
        self.certificate_ends = self._client.certificate_ends

    def log_in(self) -> None:
        """The second half of `connect`."""
        with self._command("login") as client:
            log_in(client, self.account)
            self.capabilities = tuple(word.decode("ascii", "replace") for word in client.capabilities())

    def close(self) -> None:
        """Log out if that is quickly done, and disconnect; never raises."""
        client, self._client, self._folder, self._ahead = self._client, None, None, None
        if client is not None:
            client.wire.allow(self._timeouts.farewell)
            with suppress(OSError, imaplib.IMAP4.error):
                client.wire.logout()
            client.wire.shutdown()

    @property
    def supports_idle(self) -> bool:
        """Whether the server announces mail by itself: it has IDLE and has not refused it on this line."""
        return self._idle_works and "IDLE" in self.capabilities

    def folders(self) -> list[str]:
        """Return the names of the folders that can be opened, in the server's order."""
        return [folder.name for folder in self._list() if folder.selectable]

    def special_folders(self) -> dict[str, str]:
        """Return the folders for 'sent', 'junk', 'drafts' and 'trash', by SPECIAL-USE or by common names."""
        return special_folders(self._list())

    def open(self, folder: str) -> FolderStatus:
        """Open a folder read-only; FolderMissing when the server does not have it or does not let us in."""
        # Dovecot repeats the name in its answer, line breaks and all (imap.md 3).
        if has_control_characters(folder):
            raise FolderMissing(f"{self.account}: a folder name with control characters: {folder!r}")
        with self._command(f"EXAMINE {folder}") as client:
            try:
                answer = client.select_folder(folder, readonly=True)
            except imaplib.IMAP4.error as exc:
                if is_passing(exc):
                    raise
                raise FolderMissing(
                    f"{self.account}: cannot open folder {folder!r}: {server_text(exc)}",
                    advice="`imaprouter check` lists the folders",
                ) from exc
            status = FolderStatus(folder, answer[b"UIDVALIDITY"], answer.get(b"UIDNEXT"), answer[b"EXISTS"])
        self._folder, self._news, self._empty = status, False, status.exists == 0
        return status

    def noop(self) -> None:
        """Give the server a chance to tell what is new, and make sure that it is there."""
        with self._command("NOOP") as client:
            client.noop()

    def uids_from(self, low: int, *, since: date | None = None) -> Iterator[list[int]]:
        """Yield the UIDs of the folder from `low` up, ascending, in lists of some 50,000 and never empty.

        `since`: only messages whose INTERNALDATE is of that day or later, by the server's clock.
        Works without UIDNEXT. What is announced while this runs makes the next `wait` return at once.
        """
        self.noop()  # without it Dovecot's SEARCH shows the folder as it last was (imap.md 0.12)
        self._news = False
        if self._empty:  # some servers take '*' in an empty folder for a mistake
            return
        restriction: tuple[str | date, ...] = ("SINCE", since) if since else ()
        top = max(self._search("*"), default=0)
        low, width = max(low, 1), WINDOW
        while low <= top:
            high = min(low + width - 1, top)
            # '39:*' finds 38 when that is the last one (imap.md 0.13)
            found = sorted({uid for uid in self._search(f"{low}:{high}", *restriction) if low <= uid <= high})
            if found:
                yield found
            low = high + 1
            # A server may leave wide gaps between UIDs: they must not cost a search for each 50,000.
            width = width * 2 if len(found) < WINDOW // 2 else WINDOW

    def fetch(self, uids: Sequence[int], *, ahead: Sequence[int] = ()) -> FetchResult:
        """Read the headers of `uids`, some 500 of the open folder; each is accounted for, see FetchResult.

        The server is told to go on with `ahead`, which the next call will ask for: it works while the caller
        does. Where a message kills the session, a new one is made (imap.md 0.10), MailboxError when not.
        """
        if self._folder is None:
            raise MailboxError(f"{self.account}: FETCH: no folder is open")
        result = isolate(uids, self._ask, self._reopen)
        if ahead and not result.deferred:
            # What goes wrong shows when the answer is read.
            with suppress(MailboxError):
                self._ask_ahead(sorted(set(ahead)))
        return result

    def _ask_ahead(self, uids: list[int]) -> None:
        with self._command("FETCH") as client:
            tag = client.ask_for(uids, self._items)
        self._ahead = (uids, tag)

    def arrivals(self, uids: Sequence[int]) -> dict[int, datetime | None]:
        """INTERNALDATE of those of `uids` that the open folder still has; None where it is not told."""
        found: dict[int, datetime | None] = {}
        for start in range(0, len(uids), ARRIVALS):
            some = list(uids[start : start + ARRIVALS])
            with self._command("FETCH") as client:
                answers = client.fetch(some, ["INTERNALDATE"])
            asked = set(some)
            found |= {
                uid: _instant(data.get(b"INTERNALDATE")) for uid, data in answers.items() if uid in asked
            }
        return found

    def opened(self, uids: Sequence[int]) -> list[int]:
        """Those of `uids` that the open folder still has and that somebody has opened (`\\Seen`).

        As the server told it with the last `uids_from`, or later.
        """
        found: set[int] = set()
        left = sorted(uids)
        while left:
            span = left[: bisect_left(left, left[0] + OPENED)]
            found |= set(span).intersection(self._search(f"{span[0]}:{span[-1]}", "SEEN"))
            left = left[len(span) :]
        return sorted(found)

    def last_arrival(self) -> datetime | None:
        """INTERNALDATE of the last message of the open folder; None when there is none, or it tells none."""
        if self._empty:
            return None
        self.noop()
        uids = self._search("*")
        with self._command("FETCH") as client:
            answers = client.fetch(uids[-1:], ["INTERNALDATE"]) if uids else {}
        return next((_instant(answer.get(b"INTERNALDATE")) for answer in answers.values()), None)

    def report(self, uid: int) -> bytes:
        """Read the beginning of a body, where a bounce has what it returns; b'' when it cannot be read.

        Its parts are not asked for one by one: that needs BODYSTRUCTURE, which servers get wrong (imap.md 3).
        Like `fetch`, it survives a message that kills the session. MailboxError when no new one can be made.
        """
        if self._client is None or self._folder is None:
            raise MailboxError(f"{self.account}: FETCH: no folder is open")
        bodies: list[bytes] = []

        def ask(uids: list[int]) -> FetchResult:
            bodies.append(self._body(uids[0]))
            return FetchResult(messages=())

        isolate([uid], ask, self._reopen)
        return bodies[0] if bodies else b""

    def wait(self, seconds: float) -> bool:
        """Wait for mail in the open folder; True when some was announced since the last `uids_from`.

        A hint only: search after each wait, whatever it returned (imap.md 4, IDLE is a hint). Ends early when
        the stop event is set.
        """
        end = time.monotonic() + seconds
        while not self._news and not self._stop.is_set() and (left := end - time.monotonic()) > 0:
            if self.supports_idle:
                self._idle(min(left, self._timeouts.idle_renewal))
            elif not self._stop.wait(min(left, self._timeouts.poll)):
                self.noop()
        heard, self._news = self._news, False
        return heard

    def _idle(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._command("IDLE") as client:
            client.enter_idle()
            while client.idling and not self._heard(client) and client.wire.await_line(until):
                client.wire.allow(self._timeouts.command)
                client.read_line()
            if client.idling:
                client.wire.allow(self._timeouts.command)
                client.leave_idle()
            else:  # refused, or ended by the server: asking again and again would be a busy loop
                self._idle_works = False
        if not self._idle_works:
            logger.warning("%s: no IDLE; asks every %g s instead", self.account, self._timeouts.poll)

    def _heard(self, client: LineSafeClient) -> bool:
        """Take note of announced mail, and forget what the server told unasked.

        Mail is announced by EXISTS (RFC 3501, 7.3.1); RECENT alone also follows an expunge.
        """
        told = client.wire.untagged_responses
        if "EXISTS" in told:
            self._news, self._empty = True, False
        told.clear()
        return self._news

    def _list(self) -> list[ListedFolder]:
        with self._command("LIST") as client:
            return [
                ListedFolder(frozenset(map(_text, flags)), _text(delimiter or b""), name)
                for flags, delimiter, name in client.list_folders()
            ]

    def _search(self, uid_set: str, *restriction: str | date) -> list[int]:
        with self._command("SEARCH") as client:
            return list(client.search(["UID", uid_set, *restriction]))

    def _ask(self, uids: Sequence[int]) -> FetchResult:
        """Read `uids`; what is not answered is gone if a search does not find it, else asked for once more.

        A file that vanished is answered with NIL or not at all (imap.md 0.11).
        """
        read = self._read(uids)
        missing = [uid for uid in uids if uid not in read]
        listed = self._still_listed(missing) if missing else set()
        if listed:
            read |= self._read(sorted(listed))
        return FetchResult(
            messages=tuple(read[uid] for uid in uids if uid in read),
            gone=tuple(uid for uid in missing if uid not in listed),
            unreadable=tuple(uid for uid in missing if uid in listed and uid not in read),
        )

    def _still_listed(self, uids: Sequence[int]) -> set[int]:
        self.noop()
        return set(uids).intersection(self._search(",".join(map(str, uids))))

    def _read(self, uids: Sequence[int]) -> dict[int, FetchedMessage]:
        asked = sorted(uids)
        with self._command("FETCH") as client:
            # `_command` has read what was asked for ahead.
            ahead, self._ahead = self._ahead, None
            if ahead is not None and ahead[0] == asked and isinstance(ahead[1], dict):
                answers = ahead[1]
            else:
                answers = client.answers(client.ask_for(asked, self._items))
        read = ((uid, _message(uid, answers[uid], self._header_bytes)) for uid in asked if uid in answers)
        return {uid: message for uid, message in read if message.header is not None}

    def _body(self, uid: int) -> bytes:
        with self._command("FETCH") as client:
            answer = client.fetch([uid], [f"BODY.PEEK[TEXT]<0.{REPORT_BYTES}>"]).get(uid, {})
        body = next((value for key, value in answer.items() if key.startswith(b"BODY[")), None)
        return body[:REPORT_BYTES] if isinstance(body, bytes) else b""

    def _reopen(self) -> None:
        before = self._folder
        self.connect()
        if before is not None and self.open(before.name).uidvalidity != before.uidvalidity:
            self.close()
            raise MailboxError(f"{self.account}: folder {before.name!r} was renumbered while it was read")
        self._news = True  # what came between the two sessions was announced to neither

    @contextmanager
    def _command(self, what: str) -> Iterator[LineSafeClient]:
        """Give the client to one command, under one deadline."""
        client = self._client
        if client is None:
            raise MailboxError(f"{self.account}: {what}: not connected")
        client.wire.allow(self._timeouts.command)
        try:
            if self._ahead is not None and isinstance(self._ahead[1], bytes):
                self._ahead = (self._ahead[0], client.answers(self._ahead[1]))
            yield client
        except Exception as exc:
            self._client = self._ahead = None
            client.wire.shutdown()
            if isinstance(exc, MailboxError):
                raise
            raise self._failure(what, exc) from exc
        self._heard(client)

    def _failure(self, what: str, exc: Exception) -> MailboxError:
        text, advice = describe(exc, self.account.password)
        return MailboxError(f"{self.account}: {what}: {text}", advice=advice)


def _message(uid: int, answer: dict[bytes, Any], limit: int) -> FetchedMessage:
    header = next((value for key, value in answer.items() if key.startswith(b"BODY[")), None)
    return FetchedMessage(
        uid=uid,
        header=header[:limit] if isinstance(header, bytes) else None,
        cut=isinstance(header, bytes) and len(header) >= limit,
        internal_date=_instant(answer.get(b"INTERNALDATE")),
        size=answer.get(b"RFC822.SIZE") or 0,
        flags=_flags(answer.get(b"FLAGS") or ()),
    )


@lru_cache(maxsize=512)
def _flags(words: tuple[bytes | int, ...]) -> frozenset[str]:
    """Most messages of a folder have one of few combinations."""
    return frozenset(map(_text, words))


def _instant(value: datetime | None) -> datetime | None:
    """Return a date in UTC; a server that names no zone means UTC. None for a date that UTC cannot hold."""
    if value is None or value.tzinfo is None:
        return value and value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return None


def _text(word: bytes | int) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
