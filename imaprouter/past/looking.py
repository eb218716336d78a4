"""The portal's activities of letters of the past: found, their bindings read, people's corrections learned.

Nothing is written to the portal. Activities are asked for by START_TIME, which is the letter's Date: one
request for each step of letters, and fifty letters a request for those whose Date lies elsewhere.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from imaprouter import plan
from imaprouter.binder.orders import is_barred
from imaprouter.binder.pairs import Pairs
from imaprouter.bitrix24.activities import bindings, email_activities_of, email_activities_starting
from imaprouter.bitrix24.clients import automatic_leads
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.writes import ORIGINATOR
from imaprouter.errors import PortalError
from imaprouter.log import event
from imaprouter.model import Activity, Binding, Result, State, Target
from imaprouter.policy import BindingPolicy
from imaprouter.store.activities import PairedActivity
from imaprouter.store.answers import Watched
from imaprouter.store.journal import Journal
from imaprouter.store.messages import StoredMessage
from imaprouter.store.past import History

logger = logging.getLogger(__name__)

#: Letters whose activities are looked for in one step.
STEP = 500
# Activities whose bindings are read in one go.
ROUND = 100
# A letter may be written before it arrives; the clocks of its writer and of the server differ.
_BEFORE, _AFTER = timedelta(hours=1), timedelta(minutes=15)

#: What another journal knows of activities.
Histories = Callable[[Sequence[int]], dict[int, History]]
Progress = Callable[[int, int], None]


class Looker:
    """Looks for the activities of one journal's letters of the past."""

    def __init__(
        self,
        portal: Portal,
        journal: Journal,
        policy: BindingPolicy,
        mailbox_emails: dict[str, frozenset[str]],
        stop: threading.Event,
        *,
        histories: Histories,
    ) -> None:
        """`histories` is asked whether we changed an activity, and what a person said of it."""
        self._portal = portal
        self._journal = journal
        self._policy = policy
        self._stop = stop
        self._histories = histories
        self._pairs = Pairs(journal, mailbox_emails, past=True)

    def look(self, progress: Progress) -> None:
        """Find everything that is not found yet. Raises PortalError; what was found until then is kept."""
        total, done = self._journal.past.count_unseen(), 0
        self.note_bindings()
        progress(0, total)
        while not self._stop.is_set() and (messages := self._journal.past.unseen(STEP)):
            self._find(messages)
            self.note_bindings()
            done += len(messages)
            progress(done, total)

    def note_bindings(self) -> None:
        """Read what is bound where an activity was found and that is not known."""
        while not self._stop.is_set() and (unread := self._journal.answers.unread(ROUND)):
            self._note(unread)

    def learn(self) -> None:
        """What people chose stays, and threads can follow it.

        Of all that is known, whoever read it: a service may have come in between.
        """
        letters = self._journal.past.each(None)
        while page := list(islice(letters, ROUND)):
            known = {
                message.id: self._journal.activities.of_message(message.id)
                for message in page
                if message.state in (State.WAITING, State.REVIEW) or message.result is Result.LEFT
            }
            histories = self._histories([each.activity.id for found in known.values() for each in found])
            now = datetime.now(UTC)
            with self._journal.transaction():
                for number, found in known.items():
                    choices = (_choice(each, histories.get(each.activity.id)) for each in found)
                    choice = next(filter(None, choices), None)
                    if choice:
                        self._journal.messages.set_state(
                            number,
                            State.SETTLED,
                            now,
                            result=Result.PERSON,
                            note=choice.note,
                            person_target=choice.target,
                        )

    def _find(self, messages: Sequence[StoredMessage]) -> None:
        activities = {activity.id: activity for activity in self._fetch(messages)}
        known = self._journal.past.known_activities(list(activities))
        now = datetime.now(UTC)
        with self._journal.transaction():
            self._journal.activities.add(activities.values(), now)
        self._pairs.find(now)
        with self._journal.transaction():
            self._journal.past.saw([message.id for message in messages])
            self._journal.past.forget(activities.keys() - known)

    def _fetch(self, messages: Sequence[StoredMessage]) -> Iterator[Activity]:
        """The activities that may be theirs, of whatever else was written in that time."""
        low = min(message.internal_date for message in messages) - _BEFORE
        high = max(message.internal_date for message in messages) + _AFTER
        moments = {message.internal_date for message in messages}
        dates = {message.envelope.date for message in messages if message.envelope.date}
        seconds = {int(moment.timestamp()) + offset for moment in moments | dates for offset in (-1, 0, 1)}
        for page in email_activities_of(self._portal, low, high):
            for activity in page:
                if activity.start_time and int(activity.start_time.timestamp()) in seconds:
                    yield activity
        elsewhere = [date for date in dates if not low <= date <= high]
        if elsewhere:
            yield from email_activities_starting(self._portal, elsewhere)

    def _note(self, unread: Sequence[Watched]) -> None:
        numbers = [each.activity_id for each in unread]
        found = bindings(self._portal, numbers)
        readable = [bound for bound in found.values() if not isinstance(bound, PortalError)]
        unwanted = self._automatic({one.entity_id for bound in readable for one in bound if one.is_lead})
        now = datetime.now(UTC)
        with self._journal.transaction():
            for each in unread:
                bound = found[each.activity_id]
                if not isinstance(bound, PortalError):
                    self._journal.activities.note_first_bindings(each.activity_id, bound, unwanted)
                    self._journal.activities.settle(each.activity_id, bound, now)
                elif bound.temporary or is_barred(bound):
                    raise bound
                else:
                    self._journal.activities.settle(each.activity_id, None, now)
                    event(
                        logger,
                        logging.WARNING,
                        "activity.unreadable",
                        id=each.message_id,
                        activity=each.activity_id,
                        error=str(bound),
                    )

    def _automatic(self, leads: set[int]) -> frozenset[int]:
        """The leads that may go, as far as anybody wants them to."""
        if self._policy.replace != "also_leads" or not leads:
            return frozenset()
        try:
            return automatic_leads(self._portal, sorted(leads))
        except PortalError as error:
            if error.temporary:
                raise
            event(logger, logging.WARNING, "leads.refused", error=str(error))
            return frozenset()


@dataclass(frozen=True, slots=True)
class _Choice:
    """A person decided; `target` is what, if that is clear."""

    target: Target | None
    note: str


def _choice(paired: PairedActivity, history: History | None) -> _Choice | None:
    if history and history.by_person:
        return _Choice(history.chosen, "a person decided about it before")
    bound = paired.last_bindings or ()
    if is_by_hand(bound, paired.activity.originator_id, history):
        return _Choice(plan.corrected_to(bound), plan.told_of_person(bound))
    return None


def is_by_hand(bound: Sequence[Binding], originator: str, history: History | None) -> bool:
    """Whether somebody but us bound the deal of this activity after its letter came."""
    ours = originator == ORIGINATOR or (history is not None and history.written)
    return plan.bound_later(bound) and not ours
