"""Past mail is read, decided and bound, in the service's own journal and in its place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from gettext import NullTranslations

from imaprouter.arrival import WatchedFolder
from imaprouter.binder import Correction
from imaprouter.binder.loop import decide_strange_again
from imaprouter.bitrix24.portal import Portal
from imaprouter.config import Settings
from imaprouter.lookup import answer_questions
from imaprouter.past.binding import bind
from imaprouter.past.evaluation import (
    BINDING,
    LOOKING,
    READING,
    Judged,
    Progress,
    judged_letter,
)
from imaprouter.past.looking import Looker
from imaprouter.past.reading import Lane, Reader
from imaprouter.reasons import ENGLISH
from imaprouter.refresh import refresh
from imaprouter.service import portal_names, watched_folders
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge, opened
from imaprouter.store.lock import exclusive
from imaprouter.store.soundness import refuse_damaged


class Backfill:
    """Binds letters of the past. Only while no service runs on the journal."""

    def __init__(
        self,
        settings: Settings,
        *,
        since: datetime | None,
        stop: threading.Event,
        rate_share: float,
        newest_first: bool,
        language: NullTranslations = ENGLISH,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Raises ConfigError when portal or mailboxes are not configured."""
        self._settings = settings
        self._since = since
        self._stop = stop
        self._newest_first = newest_first
        self._language = language
        self._tell = tell
        self._folders = list(watched_folders(settings.require_mailboxes(), settings))
        self._watched = {(folder.mailbox, folder.name): folder for _, folder in self._folders}
        self._emails = {mailbox.name: portal_names(mailbox) for mailbox in settings.require_mailboxes()}
        self._portal = Portal.configured(settings.require_portal(), stop=stop, share=rate_share)

    def run(self, progress: Progress) -> None:
        """Do what is left to do. Raises StoreBusy while a service runs, MailboxError and PortalError.

        What was done until then is kept, and the next run goes on.
        """
        path = self._settings.store.path
        with exclusive(path), closing(self._portal):
            refuse_damaged(path)
            with closing(Index(index_path(path))) as index:
                refresh(self._portal, index)
            with opened(path) as (journal, knowledge):
                self._read(journal, knowledge, progress)
                self._look(journal, knowledge, progress)
                if not self._stop.is_set():
                    self._bind(journal, knowledge, progress)

    def letters(self) -> Iterator[Judged]:
        """Every letter of the period as the journal has it now, oldest first."""
        with closing(Journal(self._settings.store.path)) as journal:
            for message in journal.past.each(self._since):
                yield judged_letter(message, journal.activities.of_message(message.id), {})

    def _read(self, journal: Journal, knowledge: Knowledge, progress: Progress) -> None:
        lane = Lane(journal, knowledge, self._settings.routing, shared=True)
        reader = Reader(
            self._folders,
            [lane],
            self._since,
            self._stop,
            header_bytes=self._settings.limits.header_bytes,
            decided=lambda: self._answer(journal, knowledge),
        )
        reader.read(lambda done, total: progress(READING, done, total))
        for folder in reader.passed_over:
            self._tell(f"{folder}; let the service read it first: 'imaprouter run --once'")

    def _answer(self, journal: Journal, knowledge: Knowledge) -> None:
        """What the index did not know is asked now: later letters of a thread are decided by it."""
        while not self._stop.is_set() and answer_questions(
            self._portal, journal, knowledge, self._folder, datetime.now(UTC)
        ):
            continue

    def _folder(self, mailbox: str, folder: str) -> WatchedFolder | None:
        return self._watched.get((mailbox, folder))

    def _look(self, journal: Journal, knowledge: Knowledge, progress: Progress) -> None:
        with journal.transaction():
            journal.past.take_observed(self._since)
        looker = Looker(
            self._portal,
            journal,
            self._settings.binding,
            self._emails,
            self._stop,
            histories=journal.past.written,
        )
        looker.look(lambda done, total: progress(LOOKING, done, total))
        if self._stop.is_set():
            return
        looker.learn()
        if journal.past.follow_people():
            self._answer(journal, knowledge)

    def _bind(self, journal: Journal, knowledge: Knowledge, progress: Progress) -> None:
        correction = Correction(
            self._portal,
            journal,
            self._settings.binding,
            language=self._language,
            reconsider=lambda jobs: decide_strange_again(
                self._portal, journal, knowledge, self._folder, jobs, datetime.now(UTC)
            ),
        )
        bind(
            journal,
            correction,
            self._stop,
            newest_first=self._newest_first,
            progress=lambda done, total: progress(BINDING, done, total),
        )
