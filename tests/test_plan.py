"""The laws of correcting bindings, for any bindings and any target."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imaprouter import plan
from imaprouter.model import Binding, EntityType, Target, deal
from imaprouter.plan import Add, Delete, Move

bindings = st.builds(Binding, st.sampled_from([1, 2, 3, 4, 128]), st.integers(1, 4))
binding_lists = st.lists(bindings, unique=True, min_size=1, max_size=6)
targets = st.builds(Target, st.sampled_from(EntityType), st.integers(1, 4))
leads = st.frozensets(st.integers(1, 4))


def walk(target: Target, start: list[Binding], unwanted: frozenset[int]) -> list[tuple[Binding, ...]]:
    states = [tuple(start)]
    for step in plan.steps(target, start, unwanted):
        states.append(plan.after(step, states[-1]))
    return states


@given(targets, binding_lists, leads)
def test_the_last_state_is_right_and_needs_no_more_steps(
    target: Target, start: list[Binding], unwanted: frozenset[int]
) -> None:
    """After all steps the target is bound, no other deal is, and planning again gives nothing."""
    last = walk(target, start, unwanted)[-1]
    assert target.binding in last
    assert [b for b in last if b.is_deal and b != target.binding] == []
    assert plan.steps(target, last, unwanted) == []


@given(targets, binding_lists, leads)
def test_other_bindings_stay(target: Target, start: list[Binding], unwanted: frozenset[int]) -> None:
    """Contacts, companies, smart processes and wanted leads are still there at the end."""
    kept = {b for b in start if not b.is_deal and not (b.is_lead and b.entity_id in unwanted)}
    assert kept <= set(walk(target, start, unwanted)[-1])


@given(targets, binding_lists, leads)
def test_never_without_a_binding_nor_without_a_deal_on_the_way_to_one(
    target: Target, start: list[Binding], unwanted: frozenset[int]
) -> None:
    """No state is empty, and from deal to deal every state has a deal."""
    for state in walk(target, start, unwanted):
        assert state
        if target.type is EntityType.DEAL and any(b.is_deal for b in start):
            assert any(b.is_deal for b in state)


@given(targets, binding_lists, leads, st.data())
def test_a_half_done_plan_is_ours_and_goes_on(
    target: Target, start: list[Binding], unwanted: frozenset[int], data: st.DataObject
) -> None:
    """Whatever state a crash left is recognised as our own, and planning from it ends at the same place."""
    states = walk(target, start, unwanted)
    state = data.draw(st.sampled_from(states))
    assert not plan.touched_by_others(target, start, state, unwanted)
    assert set(walk(target, list(state), unwanted)[-1]) == set(states[-1])


@given(targets, binding_lists, binding_lists, leads)
def test_a_strangers_state_is_recognised(
    target: Target, start: list[Binding], now: list[Binding], unwanted: frozenset[int]
) -> None:
    """Bindings that our steps never pass through were made by somebody else."""
    ours = set(now) in [set(state) for state in walk(target, start, unwanted)]
    assert plan.touched_by_others(target, start, now, unwanted) is not ours


def test_deal_to_deal_is_one_move() -> None:
    """A wrong deal beside its company becomes the right one in one atomic call."""
    start = [Binding(2, 2), Binding(4, 10), Binding(3, 20)]
    assert plan.steps(deal(1), start) == [Move(Binding(2, 2), Binding(2, 1))]


def test_deal_to_company_adds_before_it_deletes() -> None:
    """Across types the new binding comes first: the last one cannot be deleted."""
    company = Target(EntityType.COMPANY, 10)
    assert plan.steps(company, [Binding(2, 2)]) == [Add(Binding(4, 10)), Delete(Binding(2, 2))]


def test_a_target_that_is_bound_beside_a_wrong_deal_is_not_moved() -> None:
    """`move` would answer ACTIVITY_IS_ALREADY_BOUND: the wrong one is deleted."""
    assert plan.steps(deal(1), [Binding(2, 2), Binding(2, 1)]) == [Delete(Binding(2, 2))]


def test_a_lead_stays_unless_it_is_unwanted() -> None:
    """Only an automatically created lead is unbound, and only when the policy says so."""
    start = [Binding(1, 9)]
    assert plan.steps(deal(1), start) == [Add(Binding(2, 1))]
    assert plan.steps(deal(1), start, frozenset({9})) == [Add(Binding(2, 1)), Delete(Binding(1, 9))]


def test_the_owner_tells_of_a_single_move_beside_clients_only() -> None:
    """A lead, a smart process or a second deal may own the activity too; what is right needs no move."""
    client, lead = Binding(3, 9), Binding(1, 9)
    assert plan.is_told_by_owner(deal(1), [Binding(2, 2), client, Binding(4, 9)])
    for present in ([Binding(2, 1)], [Binding(2, 2), Binding(2, 3)], [Binding(2, 2), lead], [client]):
        assert not plan.is_told_by_owner(deal(1), present)
    assert not plan.is_told_by_owner(deal(1), [Binding(2, 2), Binding(128, 1)])
    assert not plan.is_told_by_owner(Target(EntityType.LEAD, 1), [Binding(2, 2)])


@given(targets, binding_lists)
def test_what_the_owner_tells_is_one_move_to_the_only_deal(target: Target, start: list[Binding]) -> None:
    """Where the owner is believed, a single move leads to the target, which then comes last."""
    if plan.is_told_by_owner(target, start):
        (step,) = plan.steps(target, start)
        assert isinstance(step, Move)
        assert [each for each in plan.after(step, start) if not each.is_client] == [target.binding]
