"""A letter that Bitrix24 skipped is saved: its mail has it, and is asked to make the activity of it.

missing ─► no activity, no copy that settled it ─► found in the portal's mail, and left alone for a while ─►
     once more no activity ─► claim ─► call ─► paired and bound as any other

The call is not idempotent (mail-internals 9): it is on record before it is sent, an outcome that is not known
is read back first, and what the mail sync imports at this very moment is waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from imaprouter.audit import Kind
from imaprouter.binder.orders import outcome_of
from imaprouter.binder.pairs import Pairs
from imaprouter.bitrix24 import writes
from imaprouter.bitrix24.activities import email_activities_starting
from imaprouter.bitrix24.commands import Command
from imaprouter.bitrix24.mail import stored_mail
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import PortalBusy, PortalDenied, PortalError, PortalOutcomeUnknown, PortalUnreachable
from imaprouter.log import event
from imaprouter.model import Activity, Result, State
from imaprouter.pairing import fits, stored_as
from imaprouter.policy import BindingPolicy
from imaprouter.store.journal import Journal
from imaprouter.store.messages import StoredMessage
from imaprouter.store.savings import CLAIMED, Saving

logger = logging.getLogger(__name__)

# Each is a request or two.
ROUND = 10
# Letters that have been missing for longer stay so: the option may be turned on after years.
PAST = timedelta(days=7)
# A sync of many letters shows its activities up to five minutes late (mail-internals 3.7), and a request that
# was broken off may run for another one: so long what was seen, or asked for, is left alone.
SETTLE = timedelta(minutes=10)
# What was not found, or not allowed, is looked at again: the mail sync sleeps, a person gives a right.
AGAIN = timedelta(hours=1)
#: Calls for one letter: the first, and after unknown outcomes that turned out to be nothing.
MOST_TRIES = 3


class Missing:
    def __init__(
        self,
        portal: Portal,
        journal: Journal,
        policy: BindingPolicy,
        pairs: Pairs,
    ) -> None:
        self._portal = portal
        self._journal = journal
        self._policy = policy
        self._pairs = pairs

    def save(self, now: datetime) -> int:
        """Look at the missing letters that are due; returns how many activities were asked for or found.

        Trouble with the portal's mail puts them off and goes no further: binding does not depend on it.
        """
        if not self._policy.create_missing or self._policy.mode == "observe":
            return 0
        since = now - self._policy.wait - PAST
        numbers = self._journal.savings.due(since, now, now + 2 * AGAIN, ROUND)
        if not numbers:
            return 0
        try:
            return self._save(numbers, now)
        except PortalError as error:
            with self._journal.transaction():
                for number in numbers:
                    self._journal.savings.put_off(number, now, now + AGAIN)
            event(logger, logging.ERROR, "saving.failed", messages=len(numbers), error=str(error))
            return 0

    def _save(self, numbers: Sequence[int], now: datetime) -> int:
        messages = [message for message in map(self._journal.messages.get, numbers) if message]
        with self._journal.transaction():
            messages = [message for message in messages if self._is_alone(message, now)]
        fresh, found = self._read_back(messages, now) if messages else ([], 0)
        asked = 0
        for message in messages:
            known = self._journal.messages.get(message.id)
            if known is None or known.state is not State.MISSING:
                continue
            if any(fits(self._pairs.waiting(message), activity) for activity in fresh):
                self._later(message, now, "an activity fits it, and another message as well")
                continue
            saving = self._journal.savings.get(message.id)
            if saving and saving.state in CLAIMED and self._is_vain(message, saving, now):
                continue
            mail_id = self._mail_id(message, saving, now)
            if mail_id is not None:
                asked += self._ask(message, mail_id, now)
        if asked:
            found += self._read_back(messages, now)[1]
        return asked + found

    def _is_alone(self, message: StoredMessage, now: datetime) -> bool:
        """Whether no copy of it in another mailbox settles the matter. Call it inside `transaction()`."""
        copies = self._journal.messages.copies(message.mailbox, message.envelope, message.internal_date)
        if not copies:
            return True
        settled = any(
            self._journal.activities.of_message(copy.id)
            or (copy.state is State.SETTLED and copy.result not in (Result.IGNORED, Result.SAME_MAIL))
            for copy in copies
        )
        if settled or self._journal.savings.claimed([copy.id for copy in copies]):
            self._journal.savings.note(message.id, "settled", now, None)
            note = f"message {copies[0].id} is the same letter in another mailbox, and has its activity"
            self._journal.messages.set_note(message.id, note)
            return False
        if any(copy.state is State.WAITING for copy in copies):
            self._journal.savings.put_off(message.id, now, now + AGAIN)
            note = "its copy in another mailbox still waits for its activity"
            self._journal.messages.set_note(message.id, note)
            return False
        return True

    def _read_back(self, messages: Sequence[StoredMessage], now: datetime) -> tuple[list[Activity], int]:
        """The activities that start when these letters were written or came, and how many were paired."""
        moments = {message.internal_date for message in messages}
        moments |= {message.envelope.date for message in messages if message.envelope.date}
        fresh = email_activities_starting(self._portal, sorted(moments))
        with self._journal.transaction():
            self._journal.activities.add(fresh, now)
        return fresh, self._pairs.find(now)

    def _is_vain(self, message: StoredMessage, saving: Saving, now: datetime) -> bool:
        """Whether nothing more is to be tried for what was asked for and has no activity by now."""
        if saving.state == "asked":
            note = "Bitrix24 was asked to save it and made no activity, as of letters that employees wrote"
        elif saving.tries >= MOST_TRIES:
            note = f"Bitrix24 was asked to save it {saving.tries} times, and its answers were lost"
        else:
            return False
        with self._journal.transaction():
            self._journal.savings.note(message.id, "vain", now, None)
            self._journal.messages.set_note(message.id, note)
        return True

    def _mail_id(self, message: StoredMessage, saving: Saving | None, now: datetime) -> int | None:
        """The letter's id in the portal's mail, if the call may be made now."""
        waiting = self._pairs.waiting(message)
        found = [
            mail for mail in stored_mail(self._portal, message.internal_date) if stored_as(waiting, mail)
        ]
        if not found:
            self._later(message, now, _UNFOUND)
        elif len(found) > 1:
            self._later(message, now, "Bitrix24's mail has several letters that are alike: none is saved")
        elif found[0].bound:
            self._later(message, now, "Bitrix24's mail says that it is in the CRM, and shows no activity")
        elif saving is None or saving.mail_id != found[0].id:
            with self._journal.transaction():
                self._journal.savings.note(message.id, "seen", now, now + SETTLE, mail_id=found[0].id)
        else:
            return found[0].id
        return None

    def _later(self, message: StoredMessage, now: datetime, note: str) -> None:
        with self._journal.transaction():
            self._journal.savings.put_off(message.id, now, now + AGAIN)
            self._journal.messages.set_note(message.id, note)

    def _ask(self, message: StoredMessage, mail_id: int, now: datetime) -> bool:
        """Claim, call, write down; whether the activity may be there now."""
        command, savings = writes.save_letter(mail_id), self._journal.savings
        with self._journal.transaction():
            # Once more, now that nobody else can claim: a copy may have been asked for a moment ago.
            if not self._is_alone(message, now) or not savings.claim(message.id, mail_id, now, now + SETTLE):
                return False
            number = self._journal.traces.begin_write(
                message.id,
                0,
                f"ask Bitrix24 to save letter {mail_id} of its mail",
                now,
                kind=Kind.SAVING,
                rule=message.decision.rule,
                why=f"no activity within binding.wait; {message.decision.reason}",
                request=(command.method, command.params),
            )
        error = self._call(message, command)
        with self._journal.transaction():
            self._journal.traces.finish_write(number, outcome_of(command, error))
            if error is None:
                savings.note(message.id, "asked", now, now + SETTLE)
            elif isinstance(error, PortalOutcomeUnknown):
                savings.note(message.id, "unknown", now, now + SETTLE)
            elif isinstance(error, PortalUnreachable | PortalBusy | PortalDenied):
                savings.release(message.id, now + AGAIN)
            else:
                savings.note(message.id, "refused", now, None)
                self._journal.messages.set_note(message.id, f"Bitrix24 does not save it: {error.message}")
        event(
            logger,
            logging.WARNING if error else logging.INFO,
            "portal.write",
            id=message.id,
            step=f"save letter {mail_id}",
            outcome=outcome_of(command, error),
        )
        return error is None

    def _call(self, message: StoredMessage, command: Command) -> PortalError | None:
        try:
            # A repeat within a day is answered by the portal itself.
            key = f"imaprouter-{message.id}-{command.params['messageId']}"
            answer = self._portal.call_v3(command.method, command.params, read=False, key=key)
        except PortalError as error:
            return error
        return writes.error_of(command, answer)


_UNFOUND = (
    "Bitrix24's mail does not show it: the mailbox or the folder is not synced,"
    " or the webhook's user may not see it"
)
