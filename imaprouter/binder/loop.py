"""The binder's rounds: when to ask the portal, and what for."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from gettext import NullTranslations
from pathlib import Path

from imaprouter.arrival import WatchedFolder
from imaprouter.binder.correction import Correction
from imaprouter.binder.missing import Missing
from imaprouter.binder.orders import Job
from imaprouter.binder.pairs import Pairs
from imaprouter.binder.people import People
from imaprouter.binder.questions import Questions
from imaprouter.bitrix24.activities import email_activities_starting
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import PortalError, StoreDamaged, StoreError
from imaprouter.log import event
from imaprouter.lookup import answer_questions, reconsider
from imaprouter.mailbox import backoff
from imaprouter.policy import BindingPolicy, ReviewPolicy
from imaprouter.poller import poll
from imaprouter.pulse import PulseWriter
from imaprouter.standing import BINDER
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge, opened

logger = logging.getLogger(__name__)

# While no message waits, only activities that came late are looked for (a second copy, a missing one).
QUIET_POLL = 300.0
# How soon an answer from the command line is taken up.
LOOK_EVERY = 1.0
# How soon a person's re-binding is known to later letters of the thread.
LEARN_EVERY = 60.0
# Messages asked for by their times before they are reported missing.
EXPIRE_ROUND = 100
# A person's answer and a due attempt wait as long at least.
SHORTEST_PAUSE = 1.0


class BinderLoop:
    """Pairs, corrects and settles until stopped. Everything it opens belongs to its thread."""

    def __init__(
        self,
        portal: Portal,
        journal_path: Path,
        policy: BindingPolicy,
        *,
        mailbox_emails: dict[str, frozenset[str]],
        watched: Callable[[str, str], WatchedFolder | None],
        language: NullTranslations,
        stop: threading.Event,
        review: ReviewPolicy | None = None,
        afterwards: Callable[[Journal, datetime], int] = lambda journal, now: 0,
    ) -> None:
        """`review`: whether and whom to ask what a person decides; None: nobody.

        `afterwards` ends each round: what has to wait for routing, and must not raise PortalError.
        """
        self._portal = portal
        self._afterwards = afterwards
        observes = policy.mode == "observe"
        self._review = ReviewPolicy() if review is None or observes else review
        self._journal_path = journal_path
        self._policy = policy
        self._mailbox_emails = mailbox_emails
        self._watched = watched
        self._language = language
        self._stop = stop
        self._pulse = PulseWriter(journal_path, BINDER, stop)
        self._news = threading.Event()
        self._polled = 0.0
        self._learn_at = 0.0

    def wake(self) -> None:
        """A message was recorded, or the service stops: do not wait for the next round."""
        self._news.set()

    def run(self) -> None:
        """Rounds until `stop`; while portal or disk fail they come ever more slowly. Raises StoreDamaged."""
        failures = 0
        while not self._stop.is_set():
            try:
                with opened(self._journal_path) as (journal, knowledge):
                    while not self._stop.is_set():
                        self._news.clear()
                        self._round(journal, knowledge)
                        failures = 0
                        self._wait(journal, self._pause(journal))
            except StoreDamaged:
                raise
            except (PortalError, StoreError) as error:
                failures += 1
                self._pulse.fails(error)
                pause = backoff(failures, random=random.random)
                if not self._stop.is_set():
                    event(logger, logging.ERROR, "binder.failed", error=str(error), again_in=f"{pause:.0f}s")
                self._stop.wait(pause)

    def run_until_quiet(self) -> None:
        """Rounds until nothing more can be done now. Raises PortalError."""
        with self._pulse.failures(), opened(self._journal_path) as (journal, knowledge):
            while not self._stop.is_set() and self._round(journal, knowledge):
                continue

    def _round(self, journal: Journal, knowledge: Knowledge) -> int:
        """A round, on record; one that had no question for the portal is no sign of it."""
        used = self._portal.requests_used
        done = self.round(journal, knowledge)
        self._pulse.works(heard=self._portal.requests_used > used)
        return done

    def round(self, journal: Journal, knowledge: Knowledge) -> int:
        """One look at the portal and everything that follows from it; returns how much was done."""
        now = datetime.now(UTC)
        self._polled = time.monotonic()
        done = poll(self._portal, journal, now)
        done += answer_questions(self._portal, journal, knowledge, self._watched, now)
        pairs = Pairs(journal, self._mailbox_emails)
        done += pairs.find(now)
        people = People(self._portal, journal)
        done += people.carry_out(now) + people.note_bindings(now)
        if time.monotonic() >= self._learn_at:
            people.learn(now)
            people.note_deleted(now)
            self._learn_at = time.monotonic() + LEARN_EVERY
        done += Questions(self._portal, journal, knowledge, self._review, self._language).ask(now)
        correction = Correction(
            self._portal,
            journal,
            self._policy,
            language=self._language,
            reconsider=lambda jobs: decide_strange_again(
                self._portal, journal, knowledge, self._watched, jobs, now
            ),
        )
        done += correction.attempt(now)
        done += self._expire(journal, pairs, now)
        done += Missing(self._portal, journal, self._policy, pairs).save(now)
        return done + self._afterwards(journal, now)

    def _expire(self, journal: Journal, pairs: Pairs, now: datetime) -> int:
        """Before a message is reported missing, the portal is asked for exactly its activity; new pairs."""
        found = 0
        moments = pairs.expiring(now, self._policy.wait, EXPIRE_ROUND)
        if moments:
            with journal.transaction():
                journal.activities.add(email_activities_starting(self._portal, moments), now)
            found = pairs.find(now)
        pairs.expire(now, self._policy.wait, EXPIRE_ROUND)
        return found

    def _pause(self, journal: Journal) -> float:
        """Seconds until there is something to do."""
        now = datetime.now(UTC)
        waits = journal.messages.waits_since(now - self._policy.wait)
        pauses = [self._policy.poll_every.total_seconds() if waits else QUIET_POLL]
        attempt = journal.activities.next_attempt()
        if attempt:
            pauses.append((attempt - now).total_seconds())
        return max(SHORTEST_PAUSE, min(pauses))

    def _wait(self, journal: Journal, seconds: float) -> None:
        """Until there is something to do: a message (its recorder wakes us), an answer (another process)."""
        end = time.monotonic() + seconds
        look_at = self._polled + SHORTEST_PAUSE
        # Under load a message comes every moment: they share the polls that are due anyway.
        earliest = self._polled + max(SHORTEST_PAUSE, self._policy.poll_every.total_seconds())
        while not self._stop.is_set() and (now := time.monotonic()) < end:
            if self._news.is_set() and now >= earliest:
                return
            if now >= look_at:
                if journal.answers.open():
                    return
                look_at = now + LOOK_EVERY
            self._stop.wait(min(end - now, 0.2))


def decide_strange_again(
    portal: Portal,
    journal: Journal,
    knowledge: Knowledge,
    watched: Callable[[str, str], WatchedFolder | None],
    jobs: Sequence[Job],
    now: datetime,
) -> None:
    """A bound deal that the index does not know may be younger than the last refresh, and right."""
    strange = {
        job.message.id: unknown
        for job in jobs
        if (unknown := [b.entity_id for b in job.bound if b.is_deal and not knowledge.deal(b.entity_id)])
    }
    if strange:
        reconsider(portal, journal, knowledge, watched, strange, now)
