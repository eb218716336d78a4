"""What is wrong with letters of the past is corrected, in steps that can be stopped between any two."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from imaprouter import plan
from imaprouter.binder import Correction
from imaprouter.model import Result, State
from imaprouter.store.journal import Journal
from imaprouter.store.messages import StoredMessage

#: Letters that are corrected in one step.
STEP = 200
# How often, and how long at most, what the portal put off is waited for at the end.
_PATIENCE, _LONGEST = 3, timedelta(seconds=60)

Progress = Callable[[int, int], None]


def bind(
    journal: Journal,
    correction: Correction,
    stop: threading.Event,
    *,
    newest_first: bool,
    progress: Progress,
) -> None:
    """Correct everything whose activity is known. Raises PortalError.

    What is begun and not confirmed goes on at the next start, of this or of the service.
    """
    total, done = journal.past.count_to_bind(), 0
    progress(0, total)
    _attempt(correction, datetime.now(UTC), stop)
    while not stop.is_set() and (messages := journal.past.to_bind(STEP, newest_first=newest_first)):
        now = datetime.now(UTC)
        with journal.transaction():
            for message in messages:
                _take_up(journal, message, now)
        _attempt(correction, now, stop)
        done += len(messages)
        progress(done, total)
    _wait_for_the_rest(journal, correction, stop)


def _take_up(journal: Journal, message: StoredMessage, now: datetime) -> None:
    """What was read is compared; only what looks wrong is read once more, and changed."""
    known = journal.activities.of_message(message.id)
    target = message.target
    readable = [paired for paired in known if paired.last_bindings is not None]
    if target is None or not readable:
        note = "what its activity is bound to cannot be read"
        journal.messages.set_state(message.id, State.FAILED, now, note=note)
        return
    wrong = [each for each in readable if plan.steps(target, each.last_bindings or (), each.unwanted_leads)]
    if not wrong:
        journal.past.settle(message, Result.ALREADY_RIGHT, now)
        return
    journal.messages.set_state(message.id, State.PAIRED, now)
    for paired in wrong:
        # What was read first still counts: so a person's change since then is told from ours.
        journal.activities.resume(paired.activity.id, now)


def _attempt(correction: Correction, now: datetime, stop: threading.Event) -> None:
    while not stop.is_set() and correction.attempt(now):
        continue


def _wait_for_the_rest(journal: Journal, correction: Correction, stop: threading.Event) -> None:
    for _ in range(_PATIENCE):
        attempt = journal.activities.next_attempt()
        if not journal.past.count_unfinished() or attempt is None:
            return
        pause = attempt - datetime.now(UTC)
        if pause > _LONGEST or stop.wait(max(0.0, pause.total_seconds())):
            return
        _attempt(correction, datetime.now(UTC), stop)
