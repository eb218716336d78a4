"""The standing rules: new activities go where `[[transfer]]` says, beside routing and after it.

The service looks once a minute at most, with a bounded number of requests: one for what is new, two and a few
writes for what is to be moved. What routing is about to bind, or waits for, stays open until it has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from imaprouter.bitrix24.activities import OVERLAP, bindings
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.timelines import activities_after, newest_activity
from imaprouter.errors import ConfigError, PortalError
from imaprouter.log import event
from imaprouter.model import Binding
from imaprouter.store.journal import Journal
from imaprouter.timelines import Fate, News, Transfer, Way
from imaprouter.transfer.moving import ROUND, Mover, existing, told_of
from imaprouter.transfer.run import sources_of

logger = logging.getLogger(__name__)

LOOK_EVERY = 60.0
#: After an error of the portal: it may be under load.
LOOK_AGAIN = 300.0
#: Open activities that are considered at a time; most wait for routing.
_OPEN = 5_000
#: The newest activity that was asked for, and the newest there was at the first look.
_LAST_ID, _FIRST_ID = "transfer.last_id", "transfer.first_id"


class Standing:
    """The standing rules of one configuration; belongs to the binder's thread."""

    def __init__(
        self,
        portal: Portal,
        rules: Sequence[Transfer],
        *,
        mailbox_emails: frozenset[str],
        wait: timedelta,
    ) -> None:
        """The last two are the Mover's."""
        self._portal = portal
        self._rules = tuple(rules)
        self._mailbox_emails = mailbox_emails
        self._wait = wait
        self._look_at = 0.0

    def look(self, journal: Journal, now: datetime) -> int:
        """One look, if it is time; returns how many activities were changed. Raises StoreError alone."""
        if not self._rules or time.monotonic() < self._look_at:
            return 0
        self._look_at = time.monotonic() + LOOK_EVERY
        try:
            self._note(journal)
            return self._move(journal, now)
        except (PortalError, ConfigError) as error:
            self._look_at = time.monotonic() + LOOK_AGAIN
            event(logger, logging.WARNING, "transfer.failed", error=str(error))
            return 0

    def _note(self, journal: Journal) -> None:
        """Write down what is new. Activities from before the first look are the command's matter."""
        known = journal.facts.get(_LAST_ID)
        if known is None:
            newest = str(newest_activity(self._portal))
            with journal.transaction():
                journal.facts.set(_FIRST_ID, newest)
                journal.facts.set(_LAST_ID, newest)
            return
        last, first = int(known), int(journal.facts.get(_FIRST_ID) or known)
        found = activities_after(self._portal, last)
        with journal.transaction():
            journal.transfers.add_news(news for news in found if news.id > first)
            last = max([last, *(news.id for news in found)])
            journal.facts.set(_LAST_ID, str(last))
            journal.transfers.forget_news(last - OVERLAP)

    def _move(self, journal: Journal, now: datetime) -> int:
        mover = Mover(self._portal, journal, mailbox_emails=self._mailbox_emails, wait=self._wait)
        waiting = journal.transfers.open_news(_OPEN)
        ready = [news for news in waiting if not mover.waits_for_routing(news, now)][:ROUND]
        if not ready:
            return 0
        done = 0
        answers = bindings(self._portal, [news.id for news in ready])
        bound = {news: found for news in ready if not isinstance(found := answers[news.id], PortalError)}
        postponed: set[int] = {
            number for number, found in answers.items() if isinstance(found, PortalError) and found.temporary
        }
        for rule in self._rules:
            wanted = self._wanted(rule, bound)
            for moved in mover.move(wanted, keep=rule.keep) if wanted else ():
                done += moved.fate is Fate.MOVED
                if moved.fate is Fate.WAITS:
                    postponed.add(moved.activity_id)
                told_of(moved)
        with journal.transaction():
            journal.transfers.looked_at([news.id for news in ready if news.id not in postponed], now)
        return done

    def _wanted(self, rule: Transfer, bound: dict[News, tuple[Binding, ...]]) -> dict[News, list[Way]]:
        """What one rule moves; what is unclear stays."""
        kind = rule.source.type.type_id
        concerned = {news: found for news, found in bound.items() if news.fits(rule)}
        numbers = sorted({b.entity_id for found in concerned.values() for b in found if b.type_id == kind})
        found = sources_of(self._portal, rule, numbers) if numbers else []
        clear = {source.binding: source.target for source in found if source.target}
        if not clear:
            return {}
        known = existing(self._portal, list(clear.values()))
        wanted = {
            news: [(each, clear[each]) for each in present if each in clear and clear[each] in known]
            for news, present in concerned.items()
        }
        return {news: ways for news, ways in wanted.items() if ways}
