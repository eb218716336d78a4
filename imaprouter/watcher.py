"""One watched folder: keep a session open, read what is new, decide, record.

connect ─► open read-only ─► same folder as before? ── no ─► new epoch: read again, known mail is recognised
              ▲                     │
              │             search above the cursor ─► fetch ─► parse ─► decide ─► record ─┐
       back-off on any              ▲                (one transaction with the cursor)     │
          failure                   └────────────── IDLE: only a hint ◄────────────────────┘
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from pathlib import Path

from imaprouter import mail
from imaprouter.arrival import WatchedFolder, decided, unreadable
from imaprouter.errors import FolderMissing, MailboxError, MailboxLoginRefused
from imaprouter.ledger import broken_continuity, mark
from imaprouter.log import event
from imaprouter.mailbox import HEADER_BYTES, Account, FetchResult, FolderStatus, Session, backoff
from imaprouter.model import (
    Envelope,
    FetchedMessage,
    Nature,
    Result,
    State,
)
from imaprouter.store.folders import ANCHORS, Folder
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge, opened
from imaprouter.store.messages import NewMessage

logger = logging.getLogger(__name__)

# Larger batches gain under 15 % and cost memory, deadlines and halving (imap.md 2b).
BATCH = 500
# How long IDLE may stay silent before the folder is searched all the same.
SAFETY_POLL = 300.0
# Dovecot punishes the whole IP for wrong passwords: a person has to act, so minutes apart (imap.md 4).
REFUSED_PAUSE = 300.0


class Watcher:
    """Watches one folder; `run` is a thread's life. Everything it opens belongs to that thread."""

    def __init__(
        self,
        watched: WatchedFolder,
        account: Account,
        journal_path: Path,
        stop: threading.Event,
        *,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        self.watched = watched
        self._journal_path = journal_path
        self._stop = stop
        self._on_news = on_news
        self._session = Session(account, mail.HEADER_FIELDS, stop=stop)

    def run(self) -> None:
        """Watch until `stop`; reconnect for ever, ever more slowly while it fails."""
        failures = 0
        with opened(self._journal_path) as (journal, knowledge):
            while not self._stop.is_set():
                try:
                    self._session.connect()
                    folder = self._open(journal, knowledge)
                    event(
                        logger, logging.INFO, "folder.opened", folder=str(self.watched), cursor=folder.cursor
                    )
                    failures = 0
                    while not self._stop.is_set():
                        folder = self._catch_up(journal, knowledge, folder)
                        self._session.wait(SAFETY_POLL)
                except MailboxError as error:
                    if self._stop.is_set():
                        break
                    failures += 1
                    pause = _pause(error, failures)
                    event(
                        logger,
                        logging.ERROR,
                        "folder.failed",
                        folder=str(self.watched),
                        error=str(error),
                        again_in=f"{pause:.0f}s",
                    )
                    self._stop.wait(pause)
                finally:
                    self._session.close()

    def run_once(self) -> int:
        """Read what is there now and return; the number of messages recorded. Raises MailboxError."""
        with opened(self._journal_path) as (journal, knowledge):
            try:
                self._session.connect()
                before = journal.messages.count()
                self._catch_up(journal, knowledge, self._open(journal, knowledge))
                return journal.messages.count() - before
            finally:
                self._session.close()

    # ── is it the folder that we know? ────────────────────────────────────────────────────────────────

    def _open(self, journal: Journal, knowledge: Knowledge) -> Folder:
        status = self._session.open(self._name_on_server())
        folder = journal.folders.get(self.watched.mailbox, self.watched.name)
        if folder is None:
            return self._begin(journal, status)
        reason = broken_continuity(
            known_uidvalidity=folder.uidvalidity,
            cursor=folder.cursor,
            anchors=folder.anchors,
            uidvalidity=status.uidvalidity,
            uidnext=status.uidnext,
            marks=self._marks(sorted(folder.anchors)) if folder.uidvalidity == status.uidvalidity else {},
        )
        if reason is None:
            self._retry_unreadable(journal, knowledge, folder)
            return folder
        event(logger, logging.WARNING, "folder.renumbered", folder=str(self.watched), reason=reason)
        return journal.folders.begin_epoch(folder, status.uidvalidity)

    def _name_on_server(self) -> str:
        """The folder's name; a Sent folder that is called otherwise is found by its SPECIAL-USE mark."""
        name = self.watched.name
        if self.watched.kind == "incoming" or name in self._session.folders():
            return name
        marked = self._session.special_folders().get("sent")
        if marked is None:
            return name
        event(logger, logging.INFO, "folder.substituted", folder=str(self.watched), by=marked)
        return marked

    def _begin(self, journal: Journal, status: FolderStatus) -> Folder:
        """First connection: `start` says which mail is ours to handle."""
        start = self.watched.start
        cursor, since = 0, None
        marks: dict[int, str] = {}
        if start == "new":
            last = [uid for window in self._session.uids_from(1) for uid in window[-ANCHORS:]][-ANCHORS:]
            cursor = last[-1] if last else 0
            marks, newest = self._marks_and_newest(last)
            # By the server's clock: after the newest message that was there.
            since = newest or datetime.now(UTC)
        elif isinstance(start, date):
            since = datetime.combine(start, time.min, UTC)
        with journal.transaction():
            folder = journal.folders.start(
                self.watched.mailbox,
                self.watched.name,
                uidvalidity=status.uidvalidity,
                cursor=cursor,
                watch_since=since,
            )
            journal.folders.advance(folder, cursor, marks)
        return folder

    def _marks(self, uids: Sequence[int]) -> dict[int, str]:
        return self._marks_and_newest(uids)[0]

    def _marks_and_newest(self, uids: Sequence[int]) -> tuple[dict[int, str], datetime | None]:
        messages = self._session.fetch(uids).messages if uids else ()
        dates = [message.internal_date for message in messages if message.internal_date]
        return {message.uid: mark_of(message, envelope_of(message)) for message in messages}, max(
            dates, default=None
        )

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────

    def _catch_up(self, journal: Journal, knowledge: Knowledge, folder: Folder) -> Folder:
        """Record everything above the cursor; returns the folder with its new cursor."""
        while True:
            reached = self._pass(journal, knowledge, folder)
            if reached.cursor == folder.cursor or self._stop.is_set():
                return reached
            folder = reached
            self._on_news()

    def _pass(self, journal: Journal, knowledge: Knowledge, folder: Folder) -> Folder:
        """One search above the cursor, in batches; ends early where a batch could not be settled."""
        floor = self._floor(folder)
        # SINCE goes by the server's day: one day of room for its zone.
        since = (floor - timedelta(days=1)).date() if floor else None
        for window in self._session.uids_from(folder.cursor + 1, since=since):
            for uids in _chunks(window, BATCH):
                if self._stop.is_set():
                    return folder
                result = self._session.fetch(uids)
                cursor = min(result.deferred) - 1 if result.deferred else uids[-1]
                self._record(journal, knowledge, folder, result, cursor)
                folder = replace(folder, cursor=max(folder.cursor, cursor))
                if result.deferred:
                    return folder
        return folder

    def _floor(self, folder: Folder) -> datetime | None:
        """Mail that arrived earlier is not ours; with start = "new" the first cursor says it better."""
        return folder.watch_since if folder.epoch > 1 or self.watched.start != "new" else None

    def _record(
        self, journal: Journal, knowledge: Knowledge, folder: Folder, result: FetchResult, cursor: int
    ) -> None:
        """One batch up to `cursor`: messages, decisions, cursor and anchors, all in one transaction."""
        now = datetime.now(UTC)
        envelopes = [(message, envelope_of(message)) for message in result.messages if message.uid <= cursor]
        if self.watched.policy.bounces.read_report:
            # Before the transaction, which nobody else could write during.
            envelopes = [
                (message, self._with_report(journal, knowledge, folder, message, envelope, now))
                for message, envelope in envelopes
            ]
        recorded: list[tuple[int, NewMessage]] = []
        with journal.transaction():
            for message, envelope in envelopes:
                if self._is_ours(journal, folder, message, envelope, now):
                    new = self._decided(journal, knowledge, folder, message, envelope, now)
                    recorded.append((journal.messages.add(folder, new, now), new))
            for uid in result.unreadable:
                if uid <= cursor and not journal.messages.has_uid(folder, uid):
                    new = unreadable(uid, now)
                    recorded.append((journal.messages.add(folder, new, now), new))
            marks = {message.uid: mark_of(message, envelope) for message, envelope in envelopes}
            journal.folders.advance(folder, cursor, marks)
        for number, new in recorded:
            self._tell(number, new)

    def _is_ours(
        self, journal: Journal, folder: Folder, message: FetchedMessage, envelope: Envelope, now: datetime
    ) -> bool:
        """False for what is on record already, and for mail from before the watch."""
        arrived = message.internal_date or now
        if not self._is_new(journal, folder, message.uid, arrived):
            return False
        known = journal.messages.same_mail(folder.mailbox, envelope.fingerprint, arrived, message.size)
        if known and known.folder == folder.name and known.epoch < folder.epoch:
            journal.messages.move_to_epoch(known.id, folder, message.uid)
            return False
        return True

    def _is_new(self, journal: Journal, folder: Folder, uid: int, arrived: datetime) -> bool:
        floor = self._floor(folder)
        return not (floor and arrived < floor) and not journal.messages.has_uid(folder, uid)

    def _with_report(
        self,
        journal: Journal,
        knowledge: Knowledge,
        folder: Folder,
        message: FetchedMessage,
        envelope: Envelope,
        now: datetime,
    ) -> Envelope:
        """A bounce whose own header names no known message also answers those that it returns."""
        arrived = message.internal_date or now
        if (
            envelope.nature is not Nature.BOUNCE
            or any(knowledge.known_message(parent) for parent in envelope.parents)
            or not self._is_new(journal, folder, message.uid, arrived)
            or journal.messages.same_mail(folder.mailbox, envelope.fingerprint, arrived, message.size)
        ):
            return envelope
        returned = mail.returned_ids(self._session.report(message.uid))
        return replace(envelope, parents=tuple(dict.fromkeys((*envelope.parents, *returned))))

    def _decided(
        self,
        journal: Journal,
        knowledge: Knowledge,
        folder: Folder,
        message: FetchedMessage,
        envelope: Envelope,
        now: datetime,
    ) -> NewMessage:
        arrived = message.internal_date or envelope.date or now
        limit = self.watched.policy.loop.limit
        pair_key = self.watched.pair_key(envelope)
        earlier = journal.messages.exchange(folder.mailbox, pair_key, arrived, envelope.date, limit)
        new = decided(self.watched, knowledge, message, envelope, arrived, recent=earlier.letters + 1)
        known = journal.messages.same_mail(folder.mailbox, envelope.fingerprint, arrived, message.size)
        # Without a Message-ID two letters of a robot in one second may look alike and still be two.
        if known and (envelope.message_id or known.folder != folder.name):
            return replace(
                new,
                state=State.SETTLED,
                result=Result.SAME_MAIL,
                open_questions=False,
                same_as=known.id,
                note=f"the same mail as message {known.id}",
            )
        if new.decision.rule == "loop" and not earlier.stopped:
            event(logger, logging.WARNING, "loop.detected", folder=str(self.watched), between=pair_key)
        return new

    def _retry_unreadable(self, journal: Journal, knowledge: Knowledge, folder: Folder) -> None:
        """Ask again for what the server could not hand over before."""
        waiting = journal.messages.unreadable_uids(folder)
        if not waiting:
            return
        result = self._session.fetch(sorted(waiting))
        now = datetime.now(UTC)
        with journal.transaction():
            for message in result.messages:
                arrived = message.internal_date or now
                new = decided(self.watched, knowledge, message, envelope_of(message), arrived)
                journal.messages.redecide(waiting[message.uid], new, now)
                self._tell(waiting[message.uid], new)
            for uid in result.gone:
                journal.messages.set_state(
                    waiting[uid],
                    State.SETTLED,
                    now,
                    result=Result.IGNORED,
                    note="expunged before it was read",
                )

    def _tell(self, number: int, new: NewMessage) -> None:
        decision = new.decision
        event(
            logger,
            logging.INFO,
            "message.decided",
            id=number,
            folder=str(self.watched),
            uid=new.uid,
            message_id=new.envelope.message_id,
            subject=new.envelope.subject,
            outcome=decision.outcome.value,
            target=str(decision.target or "-"),
            rule=decision.rule,
            review=decision.review,
            state=new.state.value,
        )


def _pause(error: MailboxError, failures: int) -> float:
    if isinstance(error, FolderMissing) or (isinstance(error, MailboxLoginRefused) and failures > 1):
        return REFUSED_PAUSE
    return backoff(failures, random=random.random)


def _chunks(uids: Sequence[int], size: int) -> Iterator[list[int]]:
    remaining = iter(uids)
    while chunk := list(islice(remaining, size)):
        yield chunk


def envelope_of(message: FetchedMessage) -> Envelope:
    header = message.header or b""
    envelope = mail.parse(header)
    if len(header) >= HEADER_BYTES:
        return replace(envelope, defects=(*envelope.defects, f"header: cut after {HEADER_BYTES} bytes"))
    return envelope


def mark_of(message: FetchedMessage, envelope: Envelope) -> str:
    return mark(envelope.fingerprint, message.size, message.internal_date)
