"""From the bindings that are there to those that should be: the steps, as values. Pure.

Deal to deal is one `Move` (atomic, and it leaves the trace that users know); across types the new binding is
added before the old one is deleted, so an activity that had a deal is never without one on the way to
another deal, and never without any binding (rest.md 2.7). Bindings of other kinds are not touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from imaprouter.model import Binding, EntityType, Target

_DEAL = EntityType.DEAL.type_id


@dataclass(frozen=True, slots=True)
class Move:
    """Replace one binding by another of the same type, in one call."""

    source: Binding
    target: Binding

    def __str__(self) -> str:
        return f"move from {self.source} to {self.target}"


@dataclass(frozen=True, slots=True)
class Add:
    binding: Binding

    def __str__(self) -> str:
        return f"bind to {self.binding}"


@dataclass(frozen=True, slots=True)
class Delete:
    binding: Binding

    def __str__(self) -> str:
        return f"unbind from {self.binding}"


Step = Move | Add | Delete


def steps(
    target: Target, bindings: Iterable[Binding], unwanted_leads: frozenset[int] = frozenset()
) -> list[Step]:
    """The steps that bring `bindings` to `target`; [] when they are right already.

    Every deal but the target is unwanted; a lead is when its id is in `unwanted_leads`. Contacts, companies
    and smart processes stay.
    """
    present = list(bindings)
    wanted = target.binding
    unwanted = [
        binding
        for binding in present
        if binding != wanted
        and (binding.is_deal or (binding.is_lead and binding.entity_id in unwanted_leads))
    ]
    result: list[Step] = []
    if wanted not in present:
        movable = next((b for b in unwanted if b.type_id == wanted.type_id == _DEAL), None)
        if movable:
            result.append(Move(movable, wanted))
            unwanted.remove(movable)
        else:
            result.append(Add(wanted))
    result.extend(Delete(binding) for binding in unwanted)
    return result


def is_told_by_owner(target: Target, bindings: Iterable[Binding]) -> bool:
    """Whether a single move of a deal is all there is to do, and the owner tells afterwards that it is done.

    Beside the deal there are clients only, which never own an activity that has a deal (rest.md 2.7).
    """
    present = [binding for binding in bindings if not binding.is_client]
    return (
        len(present) == 1 and present[0].is_deal and target.binding.is_deal and present[0] != target.binding
    )


def after(step: Step, bindings: Iterable[Binding]) -> tuple[Binding, ...]:
    """The bindings that `step` leaves behind, in the portal's order: a new one comes last (rest.md 2.7)."""
    present = tuple(bindings)
    match step:
        case Move(source, target):
            return (*(binding for binding in present if binding != source), target)
        case Add(binding):
            return (*present, binding)
        case Delete(binding):
            return tuple(kept for kept in present if kept != binding)
        case _:
            assert_never(step)


def own_states(
    target: Target, first: Iterable[Binding], unwanted_leads: frozenset[int] = frozenset()
) -> list[frozenset[Binding]]:
    """Every set of bindings that our own steps pass through, from those seen first to the last."""
    bindings = tuple(first)
    states = [frozenset(bindings)]
    for step in steps(target, bindings, unwanted_leads):
        bindings = after(step, bindings)
        states.append(frozenset(bindings))
    return states


def touched_by_others(
    target: Target,
    first: Iterable[Binding],
    now: Iterable[Binding],
    unwanted_leads: frozenset[int] = frozenset(),
) -> bool:
    """Whether somebody else changed the bindings since they were seen first: his choice is never undone."""
    return frozenset(now) not in own_states(target, first, unwanted_leads)


def back(bindings: Iterable[Binding], goal: Iterable[Binding]) -> list[Step]:
    """The steps that bring `bindings` back to the set `goal`, whatever was done to them; [] for none.

    As on the way there: deal for deal in one call, and nothing is taken away before all else is added.
    """
    present, wanted = frozenset(bindings), frozenset(goal)
    missing, extra = sorted(wanted - present), sorted(present - wanted)
    result: list[Step] = []
    for source in [binding for binding in extra if binding.is_deal]:
        target = next((binding for binding in missing if binding.is_deal), None)
        if target:
            result.append(Move(source, target))
            missing.remove(target)
            extra.remove(source)
    return [*result, *map(Add, missing), *map(Delete, extra)]


def back_states(bindings: Iterable[Binding], goal: Iterable[Binding]) -> list[frozenset[Binding]]:
    """Every set of bindings that the steps of `back` pass through, the first and the last included."""
    bindings, goal = tuple(bindings), tuple(goal)
    states = [frozenset(bindings)]
    for step in back(bindings, goal):
        bindings = after(step, bindings)
        states.append(frozenset(bindings))
    return states


class Course(StrEnum):
    """What an activity needs, given what was bound first and what is bound now."""

    #: Nothing was wrong, so nothing is written.
    ALREADY_RIGHT = "already_right"
    CHANGE = "change"
    #: Our change is confirmed; responsible and notification may be outstanding.
    FINISH = "finish"
    #: Somebody else changed the bindings: his choice stays.
    PERSON = "person"


def course(
    target: Target,
    first: Iterable[Binding],
    now: Iterable[Binding],
    unwanted_leads: frozenset[int] = frozenset(),
    *,
    attempted: bool,
) -> Course:
    """What to do next. `attempted`: we have sent, or may have sent, a change of this activity before."""
    first, now = tuple(first), tuple(now)
    if touched_by_others(target, first, now, unwanted_leads):
        return Course.PERSON
    if steps(target, now, unwanted_leads):
        return Course.CHANGE
    if not steps(target, first, unwanted_leads):
        return Course.ALREADY_RIGHT
    return Course.FINISH if attempted else Course.PERSON


def portion(todo: list[Step]) -> list[Step]:
    """The steps that may be sent together before reading back.

    Nothing is taken away in the request that adds: should the addition fail, the deletion behind it in the
    same batch would still be executed (rest.md 1.6).
    """
    return todo[:1] if todo and not isinstance(todo[0], Delete) else todo


def chosen_by_person(bindings: Iterable[Binding]) -> Target | None:
    """The one object that a person put the letter to; None if unclear.

    Of the first kind that is bound: deal, lead, company, contact.
    """
    present = tuple(bindings)
    for kind in (EntityType.DEAL, EntityType.LEAD, EntityType.COMPANY, EntityType.CONTACT):
        ids = [binding.entity_id for binding in present if binding.type_id == kind.type_id]
        if ids:
            return Target(kind, ids[0]) if len(ids) == 1 else None
    return None


def holder(bindings: Iterable[Binding]) -> Binding | None:
    """The object that Bitrix24 counts as the owner of an activity with these bindings (rest.md 2.7)."""
    present = tuple(bindings)
    clients = (EntityType.CONTACT.type_id, EntityType.COMPANY.type_id)
    others = [binding for binding in present if binding.type_id not in clients]
    return others[-1] if others else next(iter(present), None)


def bound_later(bindings: Iterable[Binding]) -> bool:
    """Whether a deal was bound after the letter came: it stands last, behind a client.

    The mail sync puts the deal first; whoever moves a letter or adds a deal puts it last (rest.md 2.7). That
    may have been us: who it was, others have to know. A letter that has nothing but deals cannot tell.
    """
    present = tuple(bindings)
    clients = (EntityType.CONTACT.type_id, EntityType.COMPANY.type_id)
    return bool(present) and present[-1].is_deal and any(b.type_id in clients for b in present)


def corrected_to(bindings: Iterable[Binding]) -> Target | None:
    """Where somebody put a letter whose deal was `bound_later`; None if unclear.

    A lead that is converted gives its letters the new deal, too: nobody chose that.
    """
    present = tuple(bindings)
    if not bound_later(present) or any(binding.is_lead for binding in present):
        return None
    return chosen_by_person(present)


def told_of_person(bindings: Iterable[Binding]) -> str:
    """What a note says of a person's re-binding."""
    return f"re-bound by hand to {', '.join(map(str, bindings)) or 'nothing that is visible'}"
