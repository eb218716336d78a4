"""What our writes did to one activity, and what taking them back means. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby

from imaprouter.model import Binding
from imaprouter.plan import back_states

#: What writes are made for besides the rules of decisions.
PERSON, TRANSFER, UNDO = "person", "transfer", "undo"
_DONE = "done"
#: Sent, and no answer came: it may have been carried out.
_UNCERTAIN = frozenset({"sent", "outcome unknown"})

#: Fields of an activity by our names: {"responsible_id": 5}.
Fields = dict[str, int | str]
Bound = frozenset[Binding]
RESPONSIBLE_FIELDS = ("responsible_id",)
STAMP_FIELDS = ("originator_id", "origin_id")


class Kind(StrEnum):
    """What a write changes."""

    BINDINGS = "bindings"
    RESPONSIBLE = "responsible"
    STAMP = "stamp"
    NOTICE = "notice"
    #: Bitrix24 is asked to make an activity that it has skipped; `activity_id` is 0 then.
    SAVING = "saving"


@dataclass(frozen=True, slots=True)
class Write:
    """One call that changed the portal, or may have."""

    id: int
    at: datetime
    activity_id: int
    kind: Kind
    #: In words: "move from deal 2 to deal 1".
    step: str
    #: done, already so, outcome unknown, sent (no answer yet), or the portal's error.
    outcome: str
    #: What was read before the request, and what this step alone makes of it. None where nobody looked.
    before: tuple[Binding, ...] | Fields | None = None
    after: tuple[Binding, ...] | Fields | None = None
    #: The rule of the decision, PERSON, TRANSFER or UNDO.
    rule: str = ""
    why: str = ""
    #: Method and parameters as JSON; '' of writes by earlier versions.
    request: str = ""

    def is_done(self, activity_id: int) -> bool:
        """Whether the portal confirmed this step of this activity."""
        return self.activity_id == activity_id and self.outcome == _DONE

    @property
    def is_certain(self) -> bool:
        return self.outcome == _DONE

    @property
    def may_have_worked(self) -> bool:
        """Not what was refused, and not what was so already: that is somebody else's."""
        return self.outcome == _DONE or self.outcome in _UNCERTAIN


@dataclass(frozen=True, slots=True)
class Selection:
    """Which writes are to be taken back; what is None does not narrow."""

    message_id: int | None = None
    since: datetime | None = None
    rule: str | None = None
    activity_id: int | None = None

    def covers(self, write: Write) -> bool:
        return (self.since is None or write.at >= self.since) and self.rule in (None, write.rule)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A field that we changed: it has `ours` and had `before`."""

    name: str
    before: int | str
    ours: int | str


@dataclass(frozen=True, slots=True)
class Reversal:
    """How to take back what was done to one activity."""

    #: The bindings to go back to.
    goal: tuple[Binding, ...]
    #: Sets of bindings that are our own: with any other one somebody has changed them.
    ours: tuple[tuple[Binding, ...], ...]
    fields: tuple[Exchange, ...] = ()
    #: What was decided of the message is taken back; else only a transfer is, and the decision stands.
    of_message: bool = True

    def is_ours(self, bound: Iterable[Binding]) -> bool:
        return frozenset(bound) in set(map(frozenset, self.ours))

    def is_there(self, bound: Iterable[Binding]) -> bool:
        return frozenset(bound) == frozenset(self.goal)

    def begun_at(self, bound: Sequence[Binding]) -> Reversal:
        """The same from these bindings on: its own steps lead through states that are ours, too."""
        states = (tuple(sorted(state)) for state in back_states(bound, self.goal))
        return Reversal(self.goal, tuple(states), self.fields, self.of_message)


class Kept(StrEnum):
    """Why something stays as it is."""

    #: Nothing of ours is to be taken back: never changed, or taken back before.
    NOTHING = "nothing"
    #: Another rule, or an answer, came after what was selected.
    LATER = "later"
    #: Somebody has changed the bindings since.
    CHANGED = "changed"
    GONE = "gone"
    #: What it was bound to does not exist any more.
    TARGET_GONE = "target_gone"
    #: The portal does not let us see or change it.
    REFUSED = "refused"


def reversal(
    writes: Iterable[Write],
    selection: Selection,
    *,
    last: Sequence[Binding] | None,
) -> Reversal | Kept:
    """What taking back the selected writes means. `last`: as it was left, None while that is not known.

    From the newest write back to the first that is selected: only as far as each found what the one before
    it had left, since in between somebody else has decided.
    """
    every = [write for write in writes if write.may_have_worked]
    undone = max((write.id for write in every if write.rule == UNDO), default=0)
    ours = [write for write in every if write.id > undone and write.kind is Kind.BINDINGS]
    if not ours:
        return Kept.NOTHING
    if last is not None and not _leads_to(_portions(ours)[-1], frozenset(last)):
        return Kept.CHANGED
    chain: list[list[Write]] = []
    for portion in reversed(_portions(ours)):
        if not all(selection.covers(write) and isinstance(write.before, tuple) for write in portion):
            break
        if chain and not _leads_to(portion, _bound(chain[0][0].before)):
            break
        chain.insert(0, portion)
    taken = [write for portion in chain for write in portion]
    if not taken:
        return Kept.LATER
    if last is not None and frozenset(last) == _bound(taken[0].before):
        return Kept.NOTHING
    whole = len(taken) == len(ours)
    states = (
        {_bound(last)} if last is not None else {state for portion in chain for state in _states(portion)}
    )
    responsible = [w for w in every if w.id > taken[0].id]
    # The stamp says that the activity is ours: it goes when nothing of ours is left.
    stamps = [w for w in every if w.id > undone and whole]
    return Reversal(
        goal=tuple(sorted(_bound(taken[0].before))),
        ours=tuple(tuple(sorted(state)) for state in states),
        fields=(*_exchanges(responsible, RESPONSIBLE_FIELDS), *_exchanges(stamps, STAMP_FIELDS)),
        of_message=any(write.rule != TRANSFER for write in taken),
    )


def left(writes: Iterable[Write]) -> tuple[Binding, ...] | None:
    """The bindings as our last writes left them; None where that is not certain."""
    ours = [write for write in writes if write.may_have_worked and write.kind is Kind.BINDINGS]
    last = _portions(ours)[-1] if ours else []
    if not last or not all(write.is_certain and isinstance(write.before, tuple) for write in last):
        return None
    return tuple(sorted(list(_states(last))[-1]))


def _exchanges(writes: Sequence[Write], names: Sequence[str]) -> Iterator[Exchange]:
    """Those of these fields that the writes changed, from what the first found to what the last left."""
    for name in names:
        known = [
            (write.before[name], write.after[name])
            for write in writes
            if isinstance(write.before, dict) and isinstance(write.after, dict)
            if name in write.before and name in write.after
        ]
        if known and known[0][0] != known[-1][1]:
            yield Exchange(name, known[0][0], known[-1][1])


def _portions(writes: Sequence[Write]) -> list[list[Write]]:
    """What was sent together: all of it found the same."""
    return [list(some) for _, some in groupby(writes, key=lambda write: write.at)]


def _states(portion: Sequence[Write]) -> Iterator[Bound]:
    """What may be bound when the portion was broken off after any of its writes."""
    state = _bound(portion[0].before)
    yield state
    for write in portion:
        before, after = _bound(write.before), _bound(write.after)
        state = (state - (before - after)) | (after - before)
        yield state


def _leads_to(portion: Sequence[Write], found: Bound) -> bool:
    """Whether this can be what the portion left: what was confirmed certainly, the rest perhaps."""
    state, perhaps = _bound(portion[0].before), frozenset[Binding]()
    for write in portion:
        before, after = _bound(write.before), _bound(write.after)
        if write.is_certain:
            state = (state - (before - after)) | (after - before)
        else:
            perhaps |= before ^ after
    return state ^ found <= perhaps


def _bound(value: Iterable[Binding] | Fields | None) -> Bound:
    return frozenset(value) if isinstance(value, tuple) else frozenset()


class Fate(StrEnum):
    """What became of one activity in an undo."""

    UNDONE = "undone"
    #: In a rehearsal.
    WOULD = "would undo"
    KEPT = "kept"
    #: It was begun, or was to be, and the portal refuses.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Undone:
    """One activity of an undo: how it was found, what it was to be, what became of it."""

    #: None: it is no message's.
    message_id: int | None
    activity_id: int
    fate: Fate
    found: tuple[Binding, ...] = ()
    goal: tuple[Binding, ...] = ()
    #: The fields that are put back, too.
    fields: tuple[Exchange, ...] = ()
    #: Why it was kept.
    kept: Kept | None = None
    #: The portal's words, or the object that is gone.
    detail: str = ""
