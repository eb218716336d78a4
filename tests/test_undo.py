"""`undo` through a real mailbox and the portal over HTTP: what was changed is put back, and stays there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import Office, letter

from imaprouter.cli import cli
from imaprouter.model import Binding, State, deal
from imaprouter.model import Result as Outcome
from imaprouter.sandbox.faults import Kind as Fault
from imaprouter.store.journal import Journal


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def imaprouter(office: Office, *words: object) -> Result:
    return CliRunner().invoke(cli, ["--config", str(office.config), *map(str, words)])


def said(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def to_masha(office: Office, number: int = 1) -> list[int]:
    """Letters to Masha that Bitrix24 bound to deal 2 of Ilya's; imaprouter moves them to deal 1."""
    for each in range(number):
        office.deliver(letter(to="masha@company.ru", cc="sales@company.ru", message_id=f"m{each}@horns.ru"))
    return office.sync.sync_once()


def state(office: Office, activity: int) -> tuple[set[Binding], dict[str, Any]]:
    row = office.portal.crm.activities[activity]
    fields = ("RESPONSIBLE_ID", "ORIGINATOR_ID", "ORIGIN_ID", "SUBJECT", "COMPLETED")
    return set(office.bound(activity)), {name: row[name] or "" for name in fields}


# ── back to where it was ──────────────────────────────────────────────────────────────────────────────────


def test_bindings_responsible_and_stamp_are_as_before_and_stay_so(office: Office) -> None:
    (activity,) = to_masha(office)
    before = state(office, activity)
    office.run_once()
    assert office.deals(activity) == [1]
    assert state(office, activity)[1]["ORIGINATOR_ID"] == "imaprouter"
    told = office.told()
    result = imaprouter(office, "undo", office.messages()[0].id)
    assert result.exit_code == 0, result.output
    assert "1 activity put back" in result.stdout
    assert state(office, activity) == before
    for _ in range(3):
        office.run_once()
    assert state(office, activity) == before
    assert office.told() == told, "nobody is told of it"
    (message,) = office.messages()
    assert (message.state, message.result, message.person_target) == (State.SETTLED, Outcome.UNDONE, None)
    assert message.decision.target == deal(1), "what had been decided stays on record"


def test_the_thread_forgets_what_was_taken_back(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    office.deliver(letter(subject="Re: КП", in_reply_to="m0@horns.ru"))
    office.sync.sync_once()
    office.run_once()
    assert office.messages()[1].decision.target == deal(1), "the thread goes on in deal 1"
    for message in office.messages():
        assert imaprouter(office, "undo", message.id).exit_code == 0
    office.deliver(letter(subject="Re: КП", in_reply_to="m0@horns.ru"))
    office.sync.sync_once()
    office.run_once()
    assert office.messages()[2].state is State.REVIEW
    assert office.deals(activity) == [2]


def test_a_letter_of_several_deals_gets_all_of_them_again(office: Office) -> None:
    (activity,) = to_masha(office)
    office.portal.crm.bind_by_hand(activity, (3, 20), (2, 2), (2, 3), (4, 10))
    before = state(office, activity)
    office.run_once()
    assert office.deals(activity) == [1]
    imaprouter(office, "undo", office.messages()[0].id)
    assert state(office, activity) == before


def test_what_went_from_a_deal_to_the_company_comes_back(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    number = office.messages()[0].id
    imaprouter(office, "queue", "assign", number, "--company", 10, "--now")
    assert office.deals(activity) == []
    assert imaprouter(office, "undo", number).exit_code == 0
    assert office.deals(activity) == [2]


def test_an_answer_alone_is_taken_back(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    number = office.messages()[0].id
    imaprouter(office, "queue", "assign", number, "--deal", 3, "--now")
    (one,) = said(imaprouter(office, "undo", "--rule", "person", "--json"))
    assert (one["id"], one["activity"], one["outcome"]) == (number, activity, "undone")
    assert office.deals(activity) == [1], "the rule's own move stands"
    assert state(office, activity)[1]["ORIGINATOR_ID"] == "imaprouter"


def test_after_an_undo_a_person_may_answer_and_take_that_back(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    number = office.messages()[0].id
    imaprouter(office, "undo", number)
    imaprouter(office, "queue", "assign", number, "--deal", 3, "--now")
    assert office.deals(activity) == [3]
    assert imaprouter(office, "undo", number).exit_code == 0
    assert office.deals(activity) == [2]


def test_a_move_by_hand_after_an_undo_is_learned(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    imaprouter(office, "undo", office.messages()[0].id)
    office.portal.crm.move_by_hand(activity, (2, 2), (2, 3))
    office.run_once()
    (message,) = office.messages()
    assert (message.result, message.person_target) == (Outcome.PERSON, deal(3))


# ── what was selected ─────────────────────────────────────────────────────────────────────────────────────


def test_everything_since_a_day_or_of_a_rule(office: Office) -> None:
    activities = to_masha(office, 3)
    office.deliver(letter(subject="#1 договор"))
    activities += office.sync.sync_once()
    before = {number: office.bound(number) for number in activities}
    office.run_once()
    tomorrow = (datetime.now().astimezone() + timedelta(days=1)).strftime("%Y-%m-%d")
    nothing = imaprouter(office, "undo", "--since", tomorrow)
    assert (nothing.exit_code, nothing.stdout.strip()) == (0, "there is nothing to put back")
    by_marker = said(imaprouter(office, "undo", "--rule", "marker", "--json"))
    assert [one["activity"] for one in by_marker] == activities[3:]
    rest = said(imaprouter(office, "undo", "--since", "2026-01-01", "--json"))
    assert [one["activity"] for one in rest] == activities[:3]
    assert {number: set(office.bound(number)) for number in activities} == {
        number: set(bound) for number, bound in before.items()
    }


def test_a_rehearsal_writes_nothing(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    writes, journal = len(office.portal.writes), office.messages()
    (one,) = said(imaprouter(office, "undo", "--since", "2026-01-01", "--dry-run", "--json"))
    assert one["outcome"] == "would_undo"
    assert set(one["found"]) - set(one["goal"]) == {"deal 1"}
    assert one["fields"]["responsible_id"]["ours"] == 5
    assert len(office.portal.writes) == writes
    assert office.messages() == journal
    assert office.deals(activity) == [1]


@pytest.mark.parametrize("words", [(), (1, "--since", "2026-01-01"), (1, "--rule", "marker")])
def test_one_thing_is_selected(office: Office, words: tuple[object, ...]) -> None:
    result = imaprouter(office, "undo", *words)
    assert result.exit_code == 2
    assert "give an ID" in result.stderr


def test_a_message_that_there_is_not_is_told(office: Office) -> None:
    to_masha(office)
    office.run_once()
    result = imaprouter(office, "undo", 999)
    assert result.exit_code == 1
    assert "no message 999" in result.stderr


# ── what stays ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("learned", [True, False])
def test_what_somebody_has_changed_since_stays(office: Office, learned: bool) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    office.portal.crm.move_by_hand(activity, (2, 1), (2, 3))
    if learned:
        office.run_once()
    (one,) = said(imaprouter(office, "undo", "--since", "2026-01-01", "--json"))
    assert (one["outcome"], one["reason"]) == ("kept", "changed")
    assert office.deals(activity) == [3]
    office.run_once()
    assert office.messages()[0].person_target == deal(3)


def test_a_responsible_that_somebody_has_chosen_stays(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    office.portal.crm.update_activity(activity, {"RESPONSIBLE_ID": 4})
    imaprouter(office, "undo", office.messages()[0].id)
    assert office.deals(activity) == [2]
    assert state(office, activity)[1]["RESPONSIBLE_ID"] == 4


def test_a_deal_that_is_gone_gets_nothing_back(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    office.portal.crm.delete(2, 2)
    result = imaprouter(office, "undo", office.messages()[0].id)
    assert result.exit_code == 0
    assert "deal 2, which does not exist any more" in result.stdout
    assert office.deals(activity) == [1]


def test_an_activity_that_is_gone_is_told(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    office.portal.crm.delete_activity(activity)
    (one,) = said(imaprouter(office, "undo", office.messages()[0].id, "--json"))
    assert (one["outcome"], one["reason"]) == ("kept", "gone")


def test_a_refusal_is_told_and_can_be_tried_again(office: Office) -> None:
    (activity,) = to_masha(office)
    before = state(office, activity)
    office.run_once()
    number = office.messages()[0].id
    office.portal.faults.add("error", method="crm.activity.binding.move", code="ACCESS_DENIED", times=1)
    result = imaprouter(office, "undo", number)
    assert result.exit_code == 1
    assert "refused" in result.stdout
    assert office.deals(activity) == [1]
    office.run_once()
    assert office.messages()[0].result is Outcome.UNDONE, "and the service makes no choice of it"
    assert imaprouter(office, "undo", number).exit_code == 0
    assert state(office, activity) == before


def test_the_running_service_has_the_journal(office: Office) -> None:
    to_masha(office)
    with office.service() as process:
        office.until(lambda: office.settled(1))
        result = imaprouter(office, "undo", office.messages()[0].id)
        assert result.exit_code == 75
        assert "stop it first" in result.stderr
        assert office.stop(process) == 0


def test_observing_writes_nothing(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    office.options["binding.mode"] = "'observe'"
    assert imaprouter(office, "undo", office.messages()[0].id).exit_code == 2
    assert imaprouter(office, "undo", office.messages()[0].id, "--dry-run").exit_code == 0
    assert office.deals(activity) == [1]


# ── broken off ────────────────────────────────────────────────────────────────────────────────────────────

LOST: list[Fault] = ["close_before", "close_after", "http_502_html", "http_504_after", "internal_500"]


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("nth", range(1, 6))
def test_whatever_request_is_lost_the_same_command_ends_it(office: Office, fault: Fault, nth: int) -> None:
    """From the deal and the lead to the company and back: the way back has several steps."""
    (activity,) = to_masha(office)
    office.portal.crm.bind_by_hand(activity, (3, 20), (2, 2), (2, 3))
    before = state(office, activity)
    office.run_once()
    told = office.told()
    office.portal.faults.add(fault, method="batch", skip=nth - 1)
    number = office.messages()[0].id
    for _ in range(3):
        if (code := imaprouter(office, "undo", number).exit_code) == 0:
            break
        assert code in (69, 75)
        office.run_once()
    assert state(office, activity) == before
    office.run_once()
    assert state(office, activity) == before
    assert office.told() == told
    assert office.messages()[0].result is Outcome.UNDONE


@pytest.mark.parametrize("result", [7, "yes", None, {}, []], ids=repr)
def test_an_answer_that_confirms_nothing_ends_nothing(office: Office, result: object) -> None:
    """It may or may not have been carried out: the same command looks, and goes on."""
    (activity,) = to_masha(office)
    before = state(office, activity)
    office.run_once()
    number = office.messages()[0].id
    office.portal.faults.add("wrong_result", method="crm.activity.binding.move", result=result)
    assert imaprouter(office, "undo", number).exit_code == 75
    assert office.deals(activity) == [1]
    with office.journal() as journal:
        back = [write for write in journal.traces.writes(number) if write.rule == "undo"]
        assert [write.outcome for write in back] == ["outcome unknown"]
    assert imaprouter(office, "undo", number).exit_code == 0
    assert state(office, activity) == before


@pytest.mark.parametrize("kind", ["command_error", "wrong_result"])
def test_bindings_that_may_not_be_read_any_more_are_gone_on_with(office: Office, kind: Fault) -> None:
    """An empty list says the same: no activity is bound to nothing. The other activity is put back."""
    first, second = to_masha(office, 2)
    before = state(office, first), state(office, second)
    office.run_once()
    method = "crm.activity.binding.list"
    office.portal.faults.add(kind, method=method, skip=2, code="ACCESS_DENIED", result=[])
    result = imaprouter(office, "undo", "--since", "2026-01-01", "--json")
    assert result.exit_code == 1
    ended = {one["activity"]: (one["outcome"], one["reason"]) for one in said(result)}
    assert ended == {first: ("failed", "refused"), second: ("undone", None)}
    office.run_once()
    assert {message.result for message in office.messages()} == {Outcome.UNDONE}
    assert imaprouter(office, "undo", "--since", "2026-01-01").exit_code == 0
    assert (state(office, first), state(office, second)) == before


def test_a_person_acts_while_an_undo_is_broken_off(office: Office) -> None:
    (activity,) = to_masha(office)
    office.portal.crm.bind_by_hand(activity, (3, 20), (2, 2), (2, 3))
    office.run_once()
    number = office.messages()[0].id
    office.portal.faults.add("error", method="crm.activity.binding.add", code="ACCESS_DENIED", times=1)
    assert imaprouter(office, "undo", number).exit_code == 1
    assert office.deals(activity) == [2]
    office.portal.crm.move_by_hand(activity, (2, 2), (2, 5))
    (one,) = said(imaprouter(office, "undo", number, "--json"))
    assert (one["outcome"], one["reason"]) == ("kept", "changed")
    assert office.deals(activity) == [5]
    assert office.messages()[0].person_target == deal(5)


def test_an_answer_after_an_undo_that_was_refused_begins_anew(office: Office) -> None:
    """What was not put back then is not taken for somebody's hand, and the answer can be taken back."""
    (activity,) = to_masha(office)
    office.run_once()
    number = office.messages()[0].id
    office.portal.faults.add("error", method="crm.activity.binding.move", code="ACCESS_DENIED", times=1)
    assert imaprouter(office, "undo", number).exit_code == 1
    imaprouter(office, "queue", "assign", number, "--deal", 3, "--now")
    assert office.deals(activity) == [3]
    assert imaprouter(office, "undo", number).exit_code == 0
    assert office.deals(activity) == [2], "where it was before both"


# ── the audit ─────────────────────────────────────────────────────────────────────────────────────────────


def test_explain_shows_every_write_with_what_it_found_and_left(office: Office) -> None:
    (activity,) = to_masha(office)
    office.run_once()
    number = office.messages()[0].id
    imaprouter(office, "undo", number)
    explained = json.loads(imaprouter(office, "explain", number, "--json").stdout)
    writes = {write["step"]: write for write in explained["writes"]}
    move = writes["move from deal 2 to deal 1"]
    assert (move["kind"], move["outcome"], move["rule"]) == ("bindings", "done", "participants")
    assert set(move["before"]) - set(move["after"]) == {"deal 2"}
    assert set(move["after"]) - set(move["before"]) == {"deal 1"}
    assert "responsible for deal 1" in move["why"]
    assert move["request"]["method"] == "crm.activity.binding.move"
    assert move["request"]["params"]["activityId"] == activity
    responsible = writes["responsible becomes user 5"]
    stamp = {"originator_id": "imaprouter", "origin_id": responsible["after"]["origin_id"]}
    assert responsible["after"] == {"responsible_id": 5, **stamp}
    assert len(stamp["origin_id"]) == 64
    back = writes["move from deal 1 to deal 2"]
    assert (back["rule"], back["before"], back["after"]) == ("undo", move["after"], sorted(back["after"]))
    assert set(back["after"]) == set(move["before"])
    assert "webhook" not in json.dumps(explained["writes"])
    shown = imaprouter(office, "explain", number).stdout
    assert "undo: a person takes it back" in shown


def test_every_request_that_wrote_is_in_the_audit(office: Office) -> None:
    to_masha(office, 3)
    office.run_once()
    imaprouter(office, "undo", "--since", "2026-01-01")
    sent = sorted(write.method for write in office.portal.writes)
    with office.journal() as journal:
        audited = sorted(
            json.loads(write.request)["method"]
            for message in journal.messages.in_states(*State)
            for write in journal.traces.writes(message.id)
        )
    assert audited == sent


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("nth", range(1, 9))
def test_killed_before_any_transaction_it_is_gone_on_with(
    office: Office, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two transactions lies what was sent: dying before the second leaves it without an outcome."""
    (activity,) = to_masha(office)
    office.portal.crm.bind_by_hand(activity, (3, 20), (2, 2), (2, 3))
    before = state(office, activity)
    office.run_once()
    number, alive, transaction = office.messages()[0].id, iter(range(1, nth)), Journal.transaction

    def mortal(self: Journal) -> Any:
        if next(alive, None) is None:
            raise Killed
        return transaction(self)

    monkeypatch.setattr(Journal, "transaction", mortal)
    with pytest.raises(Killed):
        imaprouter(office, "undo", number)
    monkeypatch.undo()
    office.run_once()
    assert imaprouter(office, "undo", number).exit_code == 0
    assert state(office, activity) == before
    assert office.messages()[0].result is Outcome.UNDONE
