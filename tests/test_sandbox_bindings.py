"""Bindings of activities in the simulated portal: rest.md 2.7, mail-internals 5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sandbox_company import COMPANY, CONTACT, DEAL, LEAD, Caller, Clock, running

from imaprouter.sandbox.bindings import Pair
from imaprouter.sandbox.quirks import Quirks

ADD, DELETE, MOVE = (f"crm.activity.binding.{verb}" for verb in ("add", "delete", "move"))


@pytest.fixture
def portal() -> Iterator[Caller]:
    with running() as caller:
        yield caller


def _letter(caller: Caller, *bindings: Pair, **fields: Any) -> int:
    return caller.portal.crm.add_activity({"SUBJECT": "КП", **fields}, bindings or [(DEAL, 1)])


def _target(pair: Pair) -> dict[str, int]:
    return {"entityTypeId": pair[0], "entityId": pair[1]}


def _move(source: Pair, target: Pair) -> dict[str, int]:
    return {
        "sourceEntityTypeId": source[0],
        "sourceEntityId": source[1],
        "targetEntityTypeId": target[0],
        "targetEntityId": target[1],
    }


def _owner(caller: Caller, activity_id: int) -> Pair:
    row = caller.ok("crm.activity.get", id=activity_id)
    return int(row["OWNER_TYPE_ID"]), int(row["OWNER_ID"])


def test_binding_list_is_integers_of_readable_entities(portal: Caller) -> None:
    number = _letter(portal, (DEAL, 1), (COMPANY, 10))
    assert portal.ok("crm.activity.binding.list", activityId=number) == [
        _target((DEAL, 1)),
        _target((COMPANY, 10)),
    ]
    portal.portal.crm.hidden.add((DEAL, 1))
    assert portal.ok("crm.activity.binding.list", activityId=str(number)) == [_target((COMPANY, 10))]
    assert portal.refused("crm.activity.binding.list", activityId=77) == (400, "NOT_FOUND")
    assert portal.refused("crm.activity.binding.list") == (400, "100")
    assert portal.refused("crm.activity.binding.list", activityId="one") == (400, "100")


def test_binding_list_in_upper_case() -> None:
    with running(quirks=Quirks(binding_key_case="upper")) as caller:
        number = _letter(caller)
        assert caller.ok("crm.activity.binding.list", activityId=number) == [
            {"ENTITY_TYPE_ID": 2, "ENTITY_ID": 1}
        ]


@pytest.mark.parametrize(
    ("before", "call", "after", "owner"),
    [
        ([(CONTACT, 20)], (ADD, _target((DEAL, 1))), [(CONTACT, 20), (DEAL, 1)], (DEAL, 1)),
        (
            [(DEAL, 1), (COMPANY, 10), (CONTACT, 20)],
            (MOVE, _move((DEAL, 1), (DEAL, 2))),
            [(COMPANY, 10), (CONTACT, 20), (DEAL, 2)],
            (DEAL, 2),
        ),
        ([(DEAL, 1), (DEAL, 2)], (DELETE, _target((DEAL, 2))), [(DEAL, 1)], (DEAL, 1)),
        ([(LEAD, 9)], (ADD, _target((COMPANY, 10))), [(LEAD, 9), (COMPANY, 10)], (LEAD, 9)),
        ([(LEAD, 9), (COMPANY, 10)], (DELETE, _target((LEAD, 9))), [(COMPANY, 10)], (COMPANY, 10)),
        (
            [(DEAL, 1), (COMPANY, 10), (CONTACT, 20)],
            (DELETE, _target((DEAL, 1))),
            [(COMPANY, 10), (CONTACT, 20)],
            (COMPANY, 10),
        ),
        ([(LEAD, 9), (DEAL, 1)], (MOVE, _move((DEAL, 1), (DEAL, 2))), [(LEAD, 9), (DEAL, 2)], (DEAL, 2)),
    ],
)
def test_owner_after_a_binding_change(
    portal: Caller, before: list[Pair], call: tuple[str, dict[str, int]], after: list[Pair], owner: Pair
) -> None:
    """The tables of rest.md 2.7 and mail-internals 5.3."""
    number = _letter(portal, *before)
    assert portal.ok(call[0], activityId=number, **call[1]) is True
    assert portal.portal.crm.bindings(number) == after
    assert _owner(portal, number) == owner


def test_owner_may_stick_until_unbound() -> None:
    """The other variant of rest.md 2.7."""
    with running(quirks=Quirks(owner_rule="sticks_until_unbound")) as caller:
        number = _letter(caller, (CONTACT, 20))
        caller.ok(ADD, activityId=number, **_target((DEAL, 1)))
        assert _owner(caller, number) == (CONTACT, 20)
        caller.ok(DELETE, activityId=number, **_target((CONTACT, 20)))
        assert _owner(caller, number) == (DEAL, 1)


def test_a_binding_change_stamps_and_touches_but_keeps_the_responsible() -> None:
    """mail-internals 5.4: no notification either."""
    clock = Clock()
    with running(clock=clock) as caller:
        number = _letter(caller, (DEAL, 1), RESPONSIBLE_ID=5)
        modified = caller.ok("crm.deal.get", id=2)["DATE_MODIFY"]
        clock.tick(60)
        caller.ok(MOVE, activityId=number, **_move((DEAL, 1), (DEAL, 2)))
        row, deal = caller.ok("crm.activity.get", id=number), caller.ok("crm.deal.get", id=2)
        assert (row["RESPONSIBLE_ID"], row["EDITOR_ID"]) == ("5", "5")
        assert row["LAST_UPDATED"] == deal["LAST_ACTIVITY_TIME"] == "2026-03-02T12:31:00+03:00"
        assert deal["DATE_MODIFY"] == modified
        assert caller.portal.notifications == []


def test_a_binding_change_may_bump_the_deal() -> None:
    """An open question of rest.md 8.1."""
    with running(clock=Clock(), quirks=Quirks(binding_bumps_date_modify=True)) as caller:
        caller.ok(ADD, activityId=_letter(caller), **_target((DEAL, 2)))
        assert caller.ok("crm.deal.get", id=2)["DATE_MODIFY"] == "2026-03-02T12:30:00+03:00"


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        (ADD, {"entityTypeId": DEAL}, "100"),
        (ADD, _target((DEAL, 1)), "ACTIVITY_IS_ALREADY_BOUND"),
        (ADD, _target((COMPANY, 11)), "ACCESS_DENIED"),
        (DELETE, _target((DEAL, 2)), "BINDING_NOT_FOUND"),
        (DELETE, _target((COMPANY, 11)), "ACCESS_DENIED"),
        (DELETE, _target((DEAL, 1)), "LAST_BINDING_CANNOT_BE_DELETED"),
        (MOVE, _move((DEAL, 1), (COMPANY, 11)), "ACCESS_DENIED"),
        (MOVE, _move((COMPANY, 11), (DEAL, 1)), "ACCESS_DENIED"),
        (MOVE, _move((DEAL, 1), (LEAD, 1)), "SOURCE_AND_TARGET_ENTITY_ID_ARE_EQUAL_ERROR"),
        (MOVE, _move((DEAL, 1), (LEAD, 9)), "SOURCE_AND_TARGET_ENTITY_TYPES_ARE_NOT_EQUAL_ERROR"),
        (MOVE, _move((DEAL, 3), (DEAL, 1)), "ACTIVITY_IS_ALREADY_BOUND"),
        (MOVE, _move((DEAL, 2), (DEAL, 3)), "BINDING_NOT_FOUND"),
    ],
)
def test_binding_errors(portal: Caller, method: str, params: dict[str, int], code: str) -> None:
    """rest.md 2.7; company 11 may not be edited."""
    number = _letter(portal, (DEAL, 1))
    portal.portal.crm.read_only.add((COMPANY, 11))
    assert portal.refused(method, activityId=number, **params) == (400, code)
    assert portal.portal.crm.bindings(number) == [(DEAL, 1)]
    if code != "100":
        assert portal.refused(method, activityId=77, **params) == (400, "NOT_FOUND")


def test_repeats_are_errors(portal: Caller) -> None:
    """A repeated move finds its target bound before it misses its source (mail-internals 5.1)."""
    number = _letter(portal, (DEAL, 1))
    params = {"activityId": number, **_move((DEAL, 1), (DEAL, 2))}
    assert portal.ok(MOVE, **params) is True
    assert portal.refused(MOVE, **params) == (400, "ACTIVITY_IS_ALREADY_BOUND")


@pytest.mark.parametrize(
    ("build", "equal", "types"),
    [
        (
            "no_suffix",
            "SOURCE_AND_TARGET_ENTITY_ID_ARE_EQUAL",
            "SOURCE_AND_TARGET_ENTITY_TYPES_ARE_NOT_EQUAL",
        ),
        ("no_code", 0, 0),
    ],
)
def test_move_errors_of_older_builds(build: Any, equal: Any, types: Any) -> None:
    with running(quirks=Quirks(old_move_errors=build)) as caller:
        number = _letter(caller, (DEAL, 1))
        assert caller.refused(MOVE, activityId=number, **_move((DEAL, 1), (LEAD, 1))) == (400, equal)
        assert caller.refused(MOVE, activityId=number, **_move((DEAL, 1), (LEAD, 9))) == (400, types)


def test_the_texts_of_these_two_errors_are_english_everywhere() -> None:
    """mail-internals 5.1: all others are localised."""
    with running(quirks=Quirks(old_move_errors="no_code", localised_texts=True)) as caller:
        number = _letter(caller, (DEAL, 1))
        body = caller.body(MOVE, activityId=number, **_move((DEAL, 1), (LEAD, 1)))
        assert body == {"error": 0, "error_description": "Source and target entity ID cannot be equal"}
        other = caller.body(MOVE, activityId=number, **_move((DEAL, 2), (DEAL, 3)))
        assert not other["error_description"].isascii()


def test_an_administrator_can_bind_to_what_does_not_exist(portal: Caller) -> None:
    """rest.md 8 trap 3."""
    assert portal.ok(ADD, activityId=_letter(portal), **_target((DEAL, 404))) is True


@pytest.mark.parametrize("code", ["ACCESS_DENIED", "OWNER_NOT_FOUND", "NOT_FOUND"])
def test_anybody_else_cannot(code: Any) -> None:
    with running(quirks=Quirks(admin=False, missing_target=code)) as caller:
        number = _letter(caller)
        assert caller.refused(ADD, activityId=number, **_target((DEAL, 404))) == (400, code)
        assert caller.ok(ADD, activityId=number, **_target((DEAL, 2))) is True
        assert caller.ok("profile")["ADMIN"] is False


def test_more_than_a_hundred_bindings_are_trimmed_in_silence(portal: Caller) -> None:
    """mail-internals 5.1."""
    number = _letter(portal, *[(DEAL, deal) for deal in range(1, 101)])
    assert portal.ok(ADD, activityId=number, **_target((COMPANY, 10))) is True
    assert (COMPANY, 10) not in portal.portal.crm.bindings(number)
