"""What taking back means, for any corrections and any hand of a person between them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter import plan
from imaprouter.audit import PERSON, UNDO, Kept, Kind, Reversal, Selection, Write, reversal
from imaprouter.model import Binding, EntityType, Target, deal

START = datetime(2026, 11, 24, 9, tzinfo=UTC)
EVERYTHING = Selection()

bindings = st.builds(Binding, st.sampled_from([1, 2, 3, 4, 128]), st.integers(1, 4))
binding_lists = st.lists(bindings, unique=True, min_size=1, max_size=6)
targets = st.builds(Target, st.sampled_from(EntityType), st.integers(1, 4))
leads = st.frozensets(st.integers(1, 4))


class Portal:
    """Bindings, and the audit of what was done to them."""

    def __init__(self, bound: Iterable[Binding]) -> None:
        self.bound = tuple(bound)
        self.writes: list[Write] = []
        self._numbers = itertools.count(1)

    def correct(
        self, target: Target, unwanted: frozenset[int] = frozenset(), *, rule: str = "participants"
    ) -> None:
        """Everything that plan says, portion by portion."""
        while todo := plan.steps(target, self.bound, unwanted):
            self.send(plan.portion(todo), rule=rule)

    def send(self, steps: Iterable[plan.Step], *, rule: str = "participants", outcome: str = "done") -> None:
        found, at = self.bound, START + timedelta(seconds=len(self.writes))
        for step in steps:
            self.writes.append(
                Write(
                    next(self._numbers),
                    at,
                    1,
                    Kind.BINDINGS,
                    str(step),
                    outcome,
                    before=found,
                    after=plan.after(step, found),
                    rule=rule,
                )
            )
            if outcome in ("done", "outcome unknown"):
                self.bound = plan.after(step, self.bound)

    def undo(self, found: Reversal) -> None:
        while todo := plan.back(self.bound, found.goal):
            self.send(todo[:1], rule=UNDO)

    def reversal(self, selection: Selection = EVERYTHING) -> Reversal | Kept:
        return reversal(self.writes, selection, last=self.bound)


# ── the way back ──────────────────────────────────────────────────────────────────────────────────────────


@given(binding_lists, st.lists(st.tuples(targets, leads), min_size=1, max_size=4))
def test_undo_returns_exactly_the_first_bindings(
    start: list[Binding], corrections: list[tuple[Target, frozenset[int]]]
) -> None:
    """However many corrections there were, and whatever they were."""
    portal = Portal(start)
    for target, unwanted in corrections:
        portal.correct(target, unwanted)
    found = portal.reversal()
    if set(portal.bound) == set(start):
        assert found is Kept.NOTHING
        return
    assert isinstance(found, Reversal)
    assert found.is_ours(portal.bound)
    portal.undo(found)
    assert set(portal.bound) == set(start)
    assert portal.reversal() is Kept.NOTHING, "a second undo has nothing to do"


@given(binding_lists, targets, leads, st.data())
def test_a_correction_that_was_broken_off_is_undone_from_where_it_is(
    start: list[Binding], target: Target, unwanted: frozenset[int], data: st.DataObject
) -> None:
    """After any number of its portions, the last one without an answer, carried out or not."""
    portal = Portal(start)
    while todo := plan.steps(target, portal.bound, unwanted):
        outcome = data.draw(st.sampled_from(["done", "outcome unknown", "sent"]))
        portal.send(plan.portion(todo), outcome=outcome)
        if outcome != "done":
            break
    found = reversal(portal.writes, EVERYTHING, last=None)
    if isinstance(found, Reversal):
        assert found.is_ours(portal.bound)
        portal.undo(found)
    assert set(portal.bound) == set(start)


@given(binding_lists, binding_lists)
def test_the_way_back_is_never_without_a_binding(now: list[Binding], goal: list[Binding]) -> None:
    """Every state has a binding; the last is the goal; planning from any of them ends there, too."""
    states = plan.back_states(now, goal)
    assert all(states)
    assert states[-1] == frozenset(goal)
    for state in states:
        assert plan.back_states(state, goal)[-1] == frozenset(goal)


@given(binding_lists, binding_lists)
def test_nothing_is_added_after_something_was_taken_away(now: list[Binding], goal: list[Binding]) -> None:
    steps = plan.back(now, goal)
    deletions = [isinstance(step, plan.Delete) for step in steps]
    assert deletions == sorted(deletions)


# ── people in between ─────────────────────────────────────────────────────────────────────────────────────

DEALS = [Binding(2, number) for number in range(5)]


@given(binding_lists, targets, binding_lists)
def test_what_somebody_changed_after_us_is_kept(
    start: list[Binding], target: Target, theirs: list[Binding]
) -> None:
    portal = Portal(start)
    portal.correct(target)
    if portal.writes and set(theirs) != set(portal.bound):
        portal.bound = tuple(theirs)
        assert portal.reversal() is Kept.CHANGED


def test_what_somebody_did_between_two_corrections_is_gone_back_to() -> None:
    """We moved 1 to 2, he moved it to 3, and answered 4: undone is the answer, not his move."""
    portal = Portal([DEALS[1]])
    portal.correct(deal(2))
    portal.bound = (DEALS[3],)
    portal.correct(deal(4), rule=PERSON)
    found = portal.reversal()
    assert isinstance(found, Reversal)
    assert found.goal == (DEALS[3],)


def test_a_selection_by_rule_ends_where_another_began() -> None:
    portal = Portal([DEALS[1]])
    portal.correct(deal(2), rule="thread")
    portal.correct(deal(3), rule="participants")
    found = portal.reversal(Selection(rule="participants"))
    assert isinstance(found, Reversal)
    assert found.goal == (DEALS[2],)
    assert portal.reversal(Selection(rule="thread")) is Kept.LATER


def test_a_selection_by_time_goes_back_to_that_time() -> None:
    portal = Portal([DEALS[1]])
    portal.correct(deal(2))
    portal.correct(deal(3))
    found = portal.reversal(Selection(since=portal.writes[1].at))
    assert isinstance(found, Reversal)
    assert found.goal == (DEALS[2],)


@pytest.mark.parametrize("outcome", ["access_denied: Access denied", "already so"])
def test_what_was_not_our_doing_is_not_undone(outcome: str) -> None:
    portal = Portal([DEALS[1]])
    portal.send([plan.Move(DEALS[1], DEALS[2])], outcome=outcome)
    assert portal.reversal() is Kept.NOTHING


def test_a_write_of_which_nobody_knows_what_it_found_is_not_undone() -> None:
    """Else everything would have to be unbound."""
    write = Write(1, START, 1, Kind.BINDINGS, "bind to deal 1", "done", rule="marker")
    assert isinstance(reversal([write], EVERYTHING, last=None), Kept)


# ── the fields ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_responsible_goes_back_to_the_first_and_the_stamp_goes() -> None:
    stamp = Write(
        1,
        START,
        1,
        Kind.STAMP,
        "stamp",
        "done",
        before={"originator_id": ""},
        after={"originator_id": "imaprouter"},
    )
    move = Write(
        2, START, 1, Kind.BINDINGS, "move", "done", before=(DEALS[1],), after=(DEALS[2],), rule="marker"
    )
    became = [
        Write(
            number,
            START,
            1,
            Kind.RESPONSIBLE,
            "responsible",
            "done",
            before={"responsible_id": before},
            after={"responsible_id": after},
        )
        for number, before, after in ((3, 5, 6), (4, 6, 7))
    ]
    found = reversal([stamp, move, *became], EVERYTHING, last=(DEALS[2],))
    assert isinstance(found, Reversal)
    assert [(field.name, field.before, field.ours) for field in found.fields] == [
        ("responsible_id", 5, 7),
        ("originator_id", "", "imaprouter"),
    ]


def test_the_stamp_stays_while_something_of_ours_does() -> None:
    portal = Portal([DEALS[1]])
    portal.correct(deal(2), rule="thread")
    portal.correct(deal(3), rule="marker")
    stamp = Write(
        9, START, 1, Kind.STAMP, "stamp", "done", before={"origin_id": ""}, after={"origin_id": "x"}
    )
    found = reversal([*portal.writes, stamp], Selection(rule="marker"), last=portal.bound)
    assert isinstance(found, Reversal)
    assert found.fields == ()
