"""Which letters of clients were answered, and when: letters in, moments out. Pure.

An answer is a later letter of ours to one of the people who wrote, in the same thread: the ids that letters
name tie them together. A letter that names no ids (programs lose them, and Bitrix24 shows none of its own
letters') answers what has its subject, `Re:` and the like left aside.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from imaprouter.text import clean

# As mail programs of English, Russian, Polish and German speakers write them; `Re[2]:` is The Bat's.
_PREFIX = re.compile(
    r"\s*(?:re|fw|fwd|aw|wg|odp|pd|отв|ответ|ha|пер|пересл)\s*(?:\[\d{1,4}\]|\(\d{1,4}\))?\s*:", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Written:
    """A letter between the company and its clients, as far as answering goes."""

    #: Its journal id; 0 for one that the portal alone knows.
    number: int
    ours: bool
    at: datetime
    #: Canonical ids under which it is known.
    ids: frozenset[str]
    #: Canonical ids of the letters that it answers.
    parents: frozenset[str]
    #: Of a client's letter its writers, of ours its recipients; normalised addresses.
    people: frozenset[str]
    #: Of `topic_of`.
    topic: str


def topic_of(subject: str) -> str:
    """The subject as replies keep it: without any number of `Re:`, `Fwd:`, `Ответ:`, in one case."""
    rest = clean(subject)
    while found := _PREFIX.match(rest):
        rest = rest[found.end() :]
    return rest.strip().casefold()


def answers(letters: Iterable[Written]) -> dict[int, datetime]:
    """When each client's letter was answered first, by journal id; those that nobody answered are left out.

    Order and repeats do not matter.
    """
    known = sorted(letters, key=lambda letter: letter.at)
    threads = _Threads(known)
    in_thread: defaultdict[str, list[Written]] = defaultdict(list)
    about: defaultdict[str, list[Written]] = defaultdict(list)
    for letter in known:
        if letter.ours:
            in_thread[threads.of(letter)].append(letter)
            if letter.topic and not letter.parents:
                about[letter.topic].append(letter)
    answered: dict[int, datetime] = {}
    for letter in known:
        if not letter.ours:
            first = [_first_to(letter, in_thread[threads.of(letter)]), _first_to(letter, about[letter.topic])]
            if moments := [moment for moment in first if moment]:
                answered[letter.number] = min(moments)
    return answered


def _first_to(letter: Written, ours: Sequence[Written]) -> datetime | None:
    """When the first of our letters, which are in the order of time, went to who wrote this one before it."""
    later = islice(ours, bisect_right(ours, letter.at, key=lambda each: each.at), None)
    return next((each.at for each in later if each.people & letter.people), None)


class _Threads:
    """Letters that name each other's ids, or the same id, are one thread (disjoint sets)."""

    def __init__(self, letters: Iterable[Written]) -> None:
        self._above: dict[str, str] = {}
        for letter in letters:
            first, *others = self._names(letter)
            for other in others:
                self._above[self._root(other)] = self._root(first)

    def of(self, letter: Written) -> str:
        return self._root(self._names(letter)[0])

    @staticmethod
    def _names(letter: Written) -> list[str]:
        # A letter without any id is a thread of its own.
        return sorted(letter.ids | letter.parents) or [f"{letter.number} {letter.at.isoformat()}"]

    def _root(self, name: str) -> str:
        above = self._above.setdefault(name, name)
        while above != self._above[above]:
            self._above[above] = self._above[self._above[above]]
            above = self._above[above]
        self._above[name] = above
        return above
