"""What people decide: answers given to us are carried out, bindings changed in Bitrix24 are learned.

A person's choice is never undone, and its thread follows it. Changed bindings are recognised by comparing
with those that were there when we were done: our own writes bump LAST_UPDATED as well, and change nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from imaprouter import plan
from imaprouter.binder.orders import is_barred
from imaprouter.bitrix24.activities import bindings, email_activities_updated
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import PortalError, PortalRefused
from imaprouter.log import event
from imaprouter.model import LEFT_BY_PERSON, Binding, Outcome, Result, State, Target
from imaprouter.poller import COVERED_SINCE
from imaprouter.store.answers import Watched
from imaprouter.store.database import to_moment, to_text
from imaprouter.store.journal import Journal

logger = logging.getLogger(__name__)

_SINCE = "people.since"
_LOOKED = "people.looked"
# Activities of which the bindings are read in one go.
ROUND = 100


class People:
    def __init__(self, portal: Portal, journal: Journal) -> None:
        self._portal = portal
        self._journal = journal

    def carry_out(self, now: datetime) -> int:
        """Take up the answers that were given; returns how many."""
        with self._journal.transaction():
            answers = self._journal.answers.open()
            for answer in answers:
                self._take_up(answer.message_id, answer.target, now)
                self._journal.answers.take_up(answer.message_id)
        return len(answers)

    def note_bindings(self, now: datetime) -> int:
        """Read once what is bound where a person decides: the base for seeing that he did. Raises nothing."""
        watched = self._journal.answers.unread(ROUND)
        found = bindings(self._portal, [each.activity_id for each in watched]) if watched else {}
        with self._journal.transaction():
            for each in watched:
                bound = found[each.activity_id]
                if not isinstance(bound, PortalError):
                    self._journal.activities.note_first_bindings(each.activity_id, bound, frozenset())
                    self._journal.activities.settle(each.activity_id, bound, now)
                elif not bound.temporary and not is_barred(bound):
                    # What cannot be read cannot be watched either, and must not bar the others.
                    self._journal.activities.settle(each.activity_id, None, now)
                    event(
                        logger,
                        logging.WARNING,
                        "activity.unreadable",
                        id=each.message_id,
                        activity=each.activity_id,
                        error=str(bound),
                    )
        return sum(not isinstance(answer, PortalError) for answer in found.values())

    def learn(self, now: datetime) -> int:
        """Look for activities that somebody re-bound since the last time; returns how many.

        Raises PortalError; what was learned until then is kept.
        """
        since = to_moment(self._journal.facts.get(_SINCE) or self._journal.facts.get(COVERED_SINCE))
        if since is None or not self._journal.answers.has_activities():
            return 0
        learned, newest = 0, since
        for page in email_activities_updated(self._portal, since):
            newest = max([newest, *(found.updated_at for found in page if found.updated_at)])
            for start in range(0, len(page), ROUND):
                shown = {found.id: found.owner for found in page[start : start + ROUND]}
                learned += self._compare(self._journal.answers.of_activities(list(shown)), shown, now)
        with self._journal.transaction():
            self._journal.facts.set(_SINCE, str(to_text(newest)))
        return learned

    def note_deleted(self, now: datetime) -> int:
        """Close what waits for a person when its activity was deleted in Bitrix24; returns how many.

        A portion each time, and begins again behind the last one. Raises nothing.
        """
        watched = self._journal.answers.asked(int(self._journal.facts.get(_LOOKED) or 0), ROUND)
        found = bindings(self._portal, [each.activity_id for each in watched]) if watched else {}
        gone = [each for each in watched if _is_gone(found[each.activity_id])]
        closed = [each for each in gone if self._all_gone(each)]
        with self._journal.transaction():
            last = watched[-1].activity_id if len(watched) == ROUND else 0
            self._journal.facts.set(_LOOKED, str(last))
            for each in closed:
                note = "the activity was deleted in Bitrix24"
                self._journal.messages.set_state(
                    each.message_id, State.SETTLED, now, result=Result.PERSON, note=note
                )
        for each in closed:
            event(logger, logging.INFO, "message.deleted", id=each.message_id, activity=each.activity_id)
        return len(closed)

    def _all_gone(self, watched: Watched) -> bool:
        """Whether the message has no other activity that is still there."""
        others = [
            paired.activity.id
            for paired in self._journal.activities.of_message(watched.message_id)
            if paired.activity.id != watched.activity_id
        ]
        return all(map(_is_gone, bindings(self._portal, others).values())) if others else True

    def _take_up(self, message_id: int, target: Target | None, now: datetime) -> None:
        """The answer is for the mail: for its copies in other mailboxes as well."""
        message = self._journal.messages.get(message_id)
        if message is None:
            return
        copies = self._journal.messages.copies(message.mailbox, message.envelope, message.internal_date)
        for each in (message, *(copy for copy in copies if copy.decision.outcome is not Outcome.IGNORE)):
            self._take_up_one(each.id, target, now)

    def _take_up_one(self, message_id: int, target: Target | None, now: datetime) -> None:
        known = self._journal.activities.of_message(message_id)
        if target is None:
            self._journal.messages.set_state(
                message_id, State.SETTLED, now, result=Result.PERSON, note=LEFT_BY_PERSON
            )
            for paired in known:
                self._journal.activities.unschedule(paired.activity.id)
        else:
            self._journal.answers.choose(message_id, target)
            state = State.PAIRED if known else State.WAITING
            self._journal.messages.set_state(message_id, state, now, note=f"a person chose {target}")
            for paired in known:
                self._journal.activities.reopen(paired.activity.id, now)
        event(logger, logging.INFO, "message.assigned", id=message_id, target=str(target or "leave"))

    def _apply_to_copies(self, message_id: int, chosen: Target, now: datetime) -> None:
        """One mail has one decision: what a person chose for one copy holds for those of which nobody spoke.

        Where their activity was changed since we left it, that is a choice, too, and stays.
        """
        message = self._journal.messages.get(message_id)
        if message is None:
            return
        for copy in self._journal.messages.copies(message.mailbox, message.envelope, message.internal_date):
            if copy.result is Result.PERSON or copy.decision.outcome is Outcome.IGNORE:
                continue
            known = self._journal.activities.of_message(copy.id)
            self._journal.answers.choose(copy.id, chosen)
            note = f"a person chose {chosen} for message {message_id}, the same mail"
            state = State.PAIRED if known else State.WAITING
            self._journal.messages.set_state(copy.id, state, now, note=note)
            for paired in known:
                self._journal.activities.resume(paired.activity.id, now)

    def _compare(self, watched: list[Watched], owners: Mapping[int, Binding | None], now: datetime) -> int:
        """Look for changed bindings. Where the owner was right from the first, it tells by itself."""
        known = [
            replace(each, bindings=(each.owner,)) if each.owner and each.bindings is None else each
            for each in watched
            if each.bindings is not None or (each.owner and owners[each.activity_id] != each.owner)
        ]
        if not known:
            return 0
        found = bindings(self._portal, [each.activity_id for each in known])
        changed = 0
        for each in known:
            bound = found[each.activity_id]
            if isinstance(bound, PortalError) or each.bindings is None:
                continue
            if frozenset(bound) != frozenset(each.bindings):
                changed += self._remember(each, bound, now)
        return changed

    def _remember(self, watched: Watched, bound: tuple[Binding, ...], now: datetime) -> bool:
        """Note what is bound now; returns whether somebody chose another object."""
        before = frozenset(watched.bindings or ())
        chosen = plan.chosen_by_person(bound)
        if chosen == plan.chosen_by_person(before):
            with self._journal.transaction():
                self._journal.activities.settle(watched.activity_id, bound, now)
            return False
        if before > frozenset(bound):
            # A binding may vanish with its deal, or with our right to see it: that is no choice of another.
            chosen = None
        note = plan.told_of_person(bound)
        with self._journal.transaction():
            self._journal.activities.settle(watched.activity_id, bound, now)
            self._journal.messages.set_state(
                watched.message_id, State.SETTLED, now, result=Result.PERSON, note=note, person_target=chosen
            )
            if chosen:
                self._apply_to_copies(watched.message_id, chosen, now)
        event(
            logger,
            logging.INFO,
            "message.overruled",
            id=watched.message_id,
            activity=watched.activity_id,
            chosen=str(chosen or "-"),
        )
        return True


def _is_gone(answer: tuple[Binding, ...] | PortalError) -> bool:
    return isinstance(answer, PortalRefused) and answer.code == "not_found"
