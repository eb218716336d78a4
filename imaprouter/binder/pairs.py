"""Which activity is which message's, written down before anything is done for it; and which never came."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from imaprouter.log import event
from imaprouter.model import Activity, State
from imaprouter.pairing import Waiting, agrees, pair
from imaprouter.skipped import Skipped, likely_reason
from imaprouter.store.journal import Journal
from imaprouter.store.messages import StoredMessage

logger = logging.getLogger(__name__)

# A second copy of a mail may still be on its way over IMAP; after that its activity follows the first's.
TWIN_GRACE = timedelta(minutes=5)
# What is on record as of later than this was written by a clock that was wrong: then it is old enough.
CLOCK_STEP = timedelta(hours=1)


class Pairs:
    def __init__(
        self, journal: Journal, mailbox_emails: Mapping[str, frozenset[str]], *, past: bool = False
    ) -> None:
        """`mailbox_emails`: mailbox name to the addresses by which the portal may call it.

        `past`: all copies are on record, and nothing is to be done for an activity before somebody says so.
        """
        self._journal = journal
        self._mailbox_emails = mailbox_emails
        self._past = past

    def find(self, now: datetime) -> int:
        """Pair what can be paired; returns the number of new pairs."""
        activities = {activity.id: activity for activity in self._journal.activities.unpaired()}
        if not activities:
            return 0
        seconds = _seconds(activities.values())
        messages = {message.id: message for message in self._journal.messages.unpaired_near(seconds)}
        found = pair([self.waiting(message) for message in messages.values()], list(activities.values()))
        with self._journal.transaction():
            for message_id, activity_id in found.pairs:
                self._assign(messages[message_id], activities.pop(activity_id), now)
            for message_id, fitting in found.ambiguous:
                note = f"activities {', '.join(map(str, fitting))} fit this message and others equally"
                self._journal.messages.set_note(message_id, note)
        _tell(found.pairs)
        return len(found.pairs) + self._find_twins(now)

    def expiring(self, now: datetime, wait: timedelta, limit: int) -> list[datetime]:
        """The times at which the activities of messages would start that are about to be reported missing."""
        messages = self._journal.messages.expired(now - wait, now + CLOCK_STEP, limit)
        moments = {message.internal_date for message in messages}
        return sorted(moments | {message.envelope.date for message in messages if message.envelope.date})

    def expire(self, now: datetime, wait: timedelta, limit: int) -> int:
        """Report messages whose activity did not appear within `wait`; returns how many."""
        expired = self._journal.messages.expired(now - wait, now + CLOCK_STEP, limit)
        with self._journal.transaction():
            for message in expired:
                note = message.note or self._why_missing(message)
                self._journal.messages.set_state(message.id, State.MISSING, now, note=note)
            self._journal.activities.drop_unpaired(now - wait)
        for message in expired:
            event(logger, logging.WARNING, "message.missing", id=message.id, folder=message.folder)
        return len(expired)

    def _why_missing(self, message: StoredMessage) -> str:
        newest = self._journal.activities.newest_of(message.mailbox)
        reason = likely_reason(
            Skipped(
                folder=message.folder,
                direction=message.direction,
                written_at=message.envelope.date,
                arrived_at=message.internal_date,
                outcome=message.decision.outcome,
                repeats=self._journal.messages.has_earlier(message),
                newest_activity=newest.created_at or newest.start_time if newest else None,
            )
        )
        return f"Bitrix24 made no activity of it within binding.wait; likely: {reason}"

    def _find_twins(self, now: datetime) -> int:
        """A second activity of one mail goes where the first went (mail-internals 3.6)."""
        young = None if self._past else (now - TWIN_GRACE, now + CLOCK_STEP)
        left = self._journal.activities.unpaired(not_within=young)
        messages = self._journal.messages.paired_near(_seconds(left)) if left else []
        found = []
        with self._journal.transaction():
            for activity in left:
                fitting = [message for message in messages if agrees(self.waiting(message), activity)]
                if len({(message.target, message.waits_for_person) for message in fitting}) == 1:
                    self._assign(fitting[0], activity, now)
                    found.append((fitting[0].id, activity.id))
        _tell(found)
        return len(found)

    def _assign(self, message: StoredMessage, activity: Activity, now: datetime) -> None:
        nothing_to_do = self._past or message.waits_for_person or message.target is None
        self._journal.activities.assign(activity.id, message.id, due=None if nothing_to_do else now)
        if not nothing_to_do:
            self._journal.messages.set_state(message.id, State.PAIRED, now)

    def waiting(self, message: StoredMessage) -> Waiting:
        """The message as `pairing` compares it."""
        return Waiting(
            id=message.id,
            mailbox_emails=self._mailbox_emails.get(message.mailbox, frozenset()),
            direction=message.direction,
            envelope=message.envelope,
            internal_date=message.internal_date,
            target=message.target,
            review=message.waits_for_person,
        )


def _tell(pairs: Iterable[tuple[int, int]]) -> None:
    """After the transaction: one that is taken back has paired nothing."""
    for message_id, activity_id in pairs:
        event(logger, logging.INFO, "activity.paired", id=message_id, activity=activity_id)


def _seconds(activities: Iterable[Activity]) -> list[int]:
    return [int(activity.start_time.timestamp()) for activity in activities if activity.start_time]
