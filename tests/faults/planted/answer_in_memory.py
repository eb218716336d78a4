"""A bug for the state machine to find: answers of people are held in memory, and a restart forgets them."""

from __future__ import annotations

from datetime import datetime

from imaprouter.binder.loop import BinderLoop
from imaprouter.binder.people import People
from imaprouter.store.answers import Answer
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge

_round = BinderLoop.round
_held: list[Answer] = []
_owner: list[int] = []


def _in_a_new_process(self: BinderLoop, journal: Journal, knowledge: Knowledge) -> int:
    if _owner != [id(self)]:
        _owner[:], _held[:] = [id(self)], []
    return _round(self, journal, knowledge)


def _next_time(self: People, now: datetime) -> int:
    with self._journal.transaction():
        for answer in _held:
            self._take_up(answer.message_id, answer.target, now)
        _held[:] = self._journal.answers.open()
        for answer in _held:
            self._journal.answers.take_up(answer.message_id)
    return len(_held)


PLANTS = ((BinderLoop, "round", _in_a_new_process), (People, "carry_out", _next_time))
