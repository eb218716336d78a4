"""People are told what they have to know: incidents go on record, notifications to `alerts.users`.

In `binding.mode = "observe"` incidents are on record all the same and nothing is sent.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from gettext import NullTranslations
from pathlib import Path
from typing import Protocol

from imaprouter.alerts import STALE, Decided, Patience, Tell, Trouble, decide, text, troubles
from imaprouter.bitrix24 import writes
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.probes import server_time
from imaprouter.errors import (
    PortalBusy,
    PortalDenied,
    PortalError,
    PortalOutcomeUnknown,
    PortalUnreachable,
    StoreError,
)
from imaprouter.log import event
from imaprouter.mailbox import backoff
from imaprouter.overview import overview
from imaprouter.standing import Part
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal
from imaprouter.store.parts import Fate

logger = logging.getLogger(__name__)

LOOK_EVERY = 20.0


class Choices(Patience, Protocol):
    """What a configuration says of alerts."""

    @property
    def users(self) -> tuple[int, ...]: ...


class Teller:
    """Looks at how things stand and tells; what it opens belongs to the thread that calls it.

    `silent` writes incidents down and sends nothing.
    """

    def __init__(
        self,
        portal: Portal,
        journal_path: Path,
        choices: Choices,
        folders: Sequence[Part],
        *,
        silent: bool,
        language: NullTranslations,
        stop: threading.Event,
    ) -> None:
        self._portal = portal
        self._journal_path = journal_path
        self._choices = choices
        self._silent = silent
        self._folders = tuple(folders)
        self._language = language
        self._stop = stop

    def run(self) -> None:
        """Look again and again until `stop`; ever more seldom while nothing can be told."""
        failures = 0
        while not self._stop.is_set():
            failures = 0 if self.look() else failures + 1
            self._stop.wait(LOOK_EVERY + backoff(failures, random=random.random) if failures else LOOK_EVERY)

    def look(self) -> bool:
        """Compare once, write down and tell; False when something is still to be told. Raises nothing."""
        try:
            journal = Journal(self._journal_path)
            try:
                return self._look(journal)
            finally:
                journal.close()
        except StoreError as error:
            event(logger, logging.ERROR, "alerts.failed", error=str(error))
            return False

    def _look(self, journal: Journal) -> bool:
        now = datetime.now(UTC)
        index = Index(index_path(self._journal_path))
        try:
            standing = overview(journal, index, self._folders, self._choices.review_after, now)
        finally:
            index.close()
        found = tuple(troubles(standing, self._choices))
        decided = self._decide(journal, found, now)
        if decided.begin or decided.counts or decided.end:
            with journal.transaction():
                for trouble in decided.begin:
                    journal.incidents.begin(trouble, now)
                for incident in decided.counts:
                    journal.incidents.count(incident)
                for incident in decided.end:
                    journal.incidents.end(incident, now)
            for trouble in decided.begin:
                event(logger, logging.WARNING, "incident.begun", kind=trouble.kind, subject=trouble.subject)
            for incident in decided.end:
                kind, subject = incident.trouble.key
                event(logger, logging.INFO, "incident.ended", kind=kind, subject=subject)
            decided = self._decide(journal, found, now)
        if self._silent or not decided.tell:
            return True
        if not self._portal_answers():
            return False
        # One person who cannot be told does not bar the others.
        told = [self._tell(journal, tell) for tell in decided.tell if not self._stop.is_set()]
        return all(told)

    def _portal_answers(self) -> bool:
        """Whether it is worth sending: an alert whose outcome is unknown is not repeated."""
        try:
            server_time(self._portal)
        except PortalError as error:
            event(logger, logging.WARNING, "alerts.put_off", error=str(error))
            return False
        return True

    def _decide(self, journal: Journal, found: Sequence[Trouble], now: datetime) -> Decided:
        return decide(found, journal.incidents.live(now - STALE), self._choices.users, now)

    def _tell(self, journal: Journal, tell: Tell) -> bool:
        """Claim, send, write down; False when it is certain that nothing was sent and another time may do."""
        with journal.transaction():
            claimed = journal.incidents.claim(tell.incident, tell.user_id, tell.occasion, datetime.now(UTC))
        if not claimed:
            return True
        zone = datetime.now().astimezone().tzinfo
        command = writes.notify(tell.user_id, text(tell, self._language, zone))
        [answer] = self._portal.batch([command])
        error = writes.error_of(command, answer)
        fate = _fate(error)
        with journal.transaction():
            if fate:
                journal.incidents.finish(tell.incident, tell.user_id, tell.occasion, fate)
            else:
                journal.incidents.release(tell.incident, tell.user_id, tell.occasion)
        event(
            logger,
            logging.INFO if fate == "sent" else logging.WARNING,
            f"alert.{fate or 'put_off'}",
            kind=tell.incident.trouble.kind,
            occasion=tell.occasion,
            user=tell.user_id,
            **({"error": str(error)} if error else {}),
        )
        return fate is not None


def _fate(error: PortalError | None) -> Fate | None:
    """What became of a notification; None: nothing was sent, and another time may do."""
    if isinstance(error, PortalUnreachable | PortalBusy | PortalDenied):
        return None
    if isinstance(error, PortalOutcomeUnknown):
        return "unknown"
    return "refused" if error else "sent"
