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
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imaprouter import mail
from imaprouter.arrival import WatchedFolder
from imaprouter.errors import (
    FolderMissing,
    ImaprouterError,
    MailboxError,
    MailboxLoginRefused,
    StoreDamaged,
    StoreError,
)
from imaprouter.log import event
from imaprouter.mailbox import HEADER_BYTES, Account, Session, backoff
from imaprouter.opening import begin, interruption, name_on_server
from imaprouter.pulse import PulseWriter
from imaprouter.recorder import Recorder
from imaprouter.store.folders import Folder
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import opened

logger = logging.getLogger(__name__)

# Larger batches gain under 15 % and cost memory, deadlines and halving (imap.md 2b).
BATCH = 500
# How long IDLE may stay silent before the folder is searched all the same.
SAFETY_POLL = 300.0
# How soon a report knows that a letter was opened; mail that comes every second must not cost a search each.
FLAGS_EVERY = 30.0
# Letters that are asked about: what nobody has opened for a month, nobody waits for.
UNOPENED = timedelta(days=30)
MOST_UNOPENED = 5000
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
        header_bytes: int = HEADER_BYTES,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        self.watched = watched
        self._journal_path = journal_path
        self._stop = stop
        self._on_news = on_news
        self._session = Session(account, mail.HEADER_FIELDS, header_bytes=header_bytes, stop=stop)
        self._pulse = PulseWriter(journal_path, watched.part, stop)
        self._flags_at = 0.0

    def run(self) -> None:
        """Watch until `stop`; begin again for ever, ever more slowly while it fails. Raises StoreDamaged."""
        failures = 0
        while not self._stop.is_set():
            try:
                with opened(self._journal_path) as (journal, knowledge):
                    self._session.connect()
                    recorder = Recorder(self.watched, journal, knowledge, self._session.report)
                    folder = self._open(journal, recorder)
                    event(
                        logger, logging.INFO, "folder.opened", folder=str(self.watched), cursor=folder.cursor
                    )
                    while not self._stop.is_set():
                        folder = self._catch_up(recorder, folder)
                        self._note_opened(journal, folder)
                        # Not before: a folder that opens and cannot be read is a failure like any other.
                        failures = 0
                        self._pulse.works()
                        journal.rest()
                        self._session.wait(SAFETY_POLL)
            except StoreDamaged:
                raise
            except (MailboxError, StoreError) as error:
                if self._stop.is_set():
                    break
                failures += 1
                self._put_off(error, failures)
            finally:
                self._session.close()

    def _put_off(self, error: ImaprouterError, failures: int) -> None:
        self._pulse.fails(error)
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

    def run_once(self) -> int:
        """Read what is there now and return; the number of messages recorded. Raises MailboxError."""
        with self._pulse.watched(), opened(self._journal_path) as (journal, knowledge):
            try:
                self._session.connect()
                before = journal.messages.count()
                recorder = Recorder(self.watched, journal, knowledge, self._session.report)
                self._note_opened(journal, self._catch_up(recorder, self._open(journal, recorder)))
                return journal.messages.count() - before
            finally:
                self._session.close()

    def _open(self, journal: Journal, recorder: Recorder) -> Folder:
        status = self._session.open(name_on_server(self._session, self.watched))
        folder = journal.folders.get(self.watched.mailbox, self.watched.name)
        if folder is None:
            return begin(self._session, self.watched, journal, status)
        reason = interruption(self._session, folder, status)
        if reason is None:
            self._retry_unreadable(journal, recorder, folder)
            return folder
        event(logger, logging.WARNING, "folder.renumbered", folder=str(self.watched), reason=reason)
        return journal.folders.begin_epoch(folder, status.uidvalidity)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────

    def _catch_up(self, recorder: Recorder, folder: Folder) -> Folder:
        """Record everything above the cursor; returns the folder with its new cursor."""
        while True:
            reached = self._pass(recorder, folder)
            if reached.cursor == folder.cursor or self._stop.is_set():
                return reached
            folder = reached
            self._on_news()

    def _pass(self, recorder: Recorder, folder: Folder) -> Folder:
        """One search above the cursor, in batches; ends early where a batch could not be settled."""
        floor = recorder.floor(folder)
        # SINCE goes by the server's day: one day of room for its zone.
        since = (floor - timedelta(days=1)).date() if floor else None
        for window in self._session.uids_from(folder.cursor + 1, since=since):
            chunks = [window[start : start + BATCH] for start in range(0, len(window), BATCH)]
            for uids, ahead in zip(chunks, [*chunks[1:], []], strict=True):
                if self._stop.is_set():
                    return folder
                result = self._session.fetch(uids, ahead=ahead)
                cursor = min(result.deferred) - 1 if result.deferred else uids[-1]
                recorder.record(folder, result, cursor)
                self._pulse.works()
                folder = replace(folder, cursor=max(folder.cursor, cursor))
                if result.deferred:
                    return folder
        return folder

    def _note_opened(self, journal: Journal, folder: Folder) -> None:
        """Somebody opens letters after they came: reports count those that nobody has."""
        if self._stop.is_set() or time.monotonic() < self._flags_at:
            return
        self._flags_at = time.monotonic() + FLAGS_EVERY
        unopened = journal.messages.unopened_uids(folder, datetime.now(UTC) - UNOPENED, MOST_UNOPENED)
        opened_by_now = self._session.opened(unopened)
        if opened_by_now:
            with journal.transaction():
                journal.messages.opened(folder, opened_by_now)

    def _retry_unreadable(self, journal: Journal, recorder: Recorder, folder: Folder) -> None:
        """Ask again for what the server could not hand over before."""
        waiting = journal.messages.unreadable_uids(folder)
        if waiting:
            recorder.record_late(folder, self._session.fetch(sorted(waiting)), waiting)


def _pause(error: ImaprouterError, failures: int) -> float:
    if isinstance(error, FolderMissing) or (isinstance(error, MailboxLoginRefused) and failures > 1):
        return REFUSED_PAUSE
    return backoff(failures, random=random.random)
