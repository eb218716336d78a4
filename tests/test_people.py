"""What people decide reaches the portal and the thread; copies in two mailboxes; markers for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import FIXTURES, Office, letter

from imaprouter.cli import cli
from imaprouter.model import Binding, State, deal
from imaprouter.model import Result as Outcome
from imaprouter.sandbox.mail_sync import MailboxConnection


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def imaprouter(office: Office, *words: object) -> Result:
    return CliRunner().invoke(cli, ["--config", str(office.config), *map(str, words)])


def asked(office: Office) -> tuple[int, int]:
    """A letter that two deals fit: its message and its activity, which Bitrix24 bound to deal 2."""
    office.deliver(letter(message_id="asked@horns.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert message.state is State.REVIEW
    return message.id, activity


def reply(office: Office) -> None:
    office.deliver(letter(subject="Re: КП", in_reply_to="asked@horns.ru"))
    office.sync.sync_once()
    office.run_once()


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_carried_out_at_once_and_the_thread_follows(office: Office) -> None:
    message_id, activity = asked(office)
    result = imaprouter(office, "queue", "assign", message_id, "--deal", 1, "--now")
    assert (result.exit_code, result.stdout) == (0, f"{message_id}: deal 1\n")
    assert office.deals(activity) == [1]
    assert office.told() == [5]
    (message,) = office.messages()
    assert (message.state, message.result, message.person_target) == (State.SETTLED, Outcome.MOVED, deal(1))
    assert message.decision.target is None, "what the rules said stays beside the answer"
    reply(office)
    assert office.messages()[1].decision.target == deal(1)


def test_the_next_run_carries_an_answer_out(office: Office) -> None:
    message_id, activity = asked(office)
    imaprouter(office, "queue", "assign", message_id, "--deal", 3)
    assert imaprouter(office, "queue", "assign", message_id, "--deal", 1).exit_code == 0, (
        "the last one counts"
    )
    assert office.deals(activity) == [2]
    office.run_once()
    assert office.deals(activity) == [1]


def test_the_running_service_carries_an_answer_out(office: Office) -> None:
    message_id, activity = asked(office)
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        assert imaprouter(office, "queue", "assign", message_id, "--deal", 1).exit_code == 0
        office.until(lambda: office.deals(activity) == [1])
        busy = imaprouter(office, "queue", "assign", message_id, "--leave", "--now")
        assert busy.exit_code == 75
        assert office.stop(process) == 0


def test_an_answer_comes_even_after_our_move(office: Office) -> None:
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    assert office.deals(activity) == [1]
    imaprouter(office, "queue", "assign", office.messages()[0].id, "--deal", 3, "--now")
    assert office.deals(activity) == [3]


def test_a_person_may_change_his_mind_and_change_it_back(office: Office) -> None:
    """What was written for an earlier answer says nothing of a later one."""
    message_id, activity = asked(office)
    for number in (1, 2, 1, 3, 1):
        imaprouter(office, "queue", "assign", message_id, "--deal", number, "--now")
        assert office.deals(activity) == [number]
        assert office.messages()[0].person_target == deal(number)
    office.portal.crm.bind_by_hand(activity, (2, 2))
    office.run_once()
    imaprouter(office, "queue", "assign", message_id, "--deal", 1, "--now")
    assert office.deals(activity) == [1]


@pytest.mark.parametrize(
    ("sender", "goes"),
    [
        ("sergey@horns.ru", "company 10"),
        ("dmitry@dvor-sample.ru", "deal 7"),
        ("anna@romashka-sample.ru", "deal 5"),
    ],
)
def test_a_company_that_a_person_chose_is_for_its_own_clients(office: Office, sender: str, goes: str) -> None:
    """Whoever quotes the id and is known as somebody else's client does not inherit it."""
    message_id, _ = asked(office)
    imaprouter(office, "queue", "assign", message_id, "--company", 10, "--now")
    office.deliver(letter(sender, in_reply_to="asked@horns.ru"))
    office.run_once()
    assert str(office.messages()[1].decision.target) == goes


def test_left_as_it_is(office: Office) -> None:
    message_id, activity = asked(office)
    imaprouter(office, "queue", "assign", message_id, "--leave", "--now")
    (message,) = office.messages()
    assert (message.state, message.result) == (State.SETTLED, Outcome.PERSON)
    assert office.deals(activity) == [2]
    assert office.portal.writes == []
    assert "no message waits" in imaprouter(office, "queue").stdout


def test_an_answer_may_name_the_company(office: Office) -> None:
    message_id, activity = asked(office)
    imaprouter(office, "queue", "assign", message_id, "--company", 10, "--now")
    assert Binding(4, 10) in office.bound(activity)
    assert office.deals(activity) == []


@pytest.mark.parametrize("words", [(), ("--deal", 1, "--leave"), ("--deal", 1, "--company", 10)])
def test_an_answer_is_one(office: Office, words: tuple[object, ...]) -> None:
    message_id, _ = asked(office)
    result = imaprouter(office, "queue", "assign", message_id, *words)
    assert result.exit_code == 2
    assert "one of" in result.stderr


def test_an_unknown_message_is_told(office: Office) -> None:
    asked(office)
    result = imaprouter(office, "queue", "assign", 999, "--leave")
    assert result.exit_code != 0
    assert "no message 999" in result.stderr


def test_leaving_it_stops_a_correction_that_waits(office: Office) -> None:
    office.portal.faults.add("error", method="crm.activity.binding.move", code="ACCESS_DENIED", times=1)
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    assert office.messages()[0].state is State.FAILED
    imaprouter(office, "queue", "assign", office.messages()[0].id, "--leave", "--now")
    office.make_due()
    office.run_once()
    assert office.deals(activity) == [2]
    assert office.messages()[0].result is Outcome.PERSON


def test_an_answer_that_was_taken_back_teaches_nothing(office: Office) -> None:
    message_id, _ = asked(office)
    imaprouter(office, "queue", "assign", message_id, "--deal", 1, "--now")
    imaprouter(office, "queue", "assign", message_id, "--leave", "--now")
    reply(office)
    assert office.messages()[1].state is State.REVIEW


def test_a_move_by_hand_of_a_letter_that_was_right_is_learned(office: Office) -> None:
    """Nothing but its owner was ever read: that is enough to see that it is another one."""
    office.deliver(letter("sergey@horns.ru", to="ilya@company.ru", message_id="right@horns.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert (message.result, office.deals(activity)) == (Outcome.ALREADY_RIGHT, [2])
    office.portal.crm.move_by_hand(activity, (2, 2), (2, 3))
    office.run_once()
    (message,) = office.messages()
    assert (message.result, message.person_target) == (Outcome.PERSON, deal(3))
    assert office.deals(activity) == [3]


def test_an_answer_wins_over_a_move_by_hand_before_it(office: Office) -> None:
    message_id, activity = asked(office)
    office.portal.crm.move_by_hand(activity, (2, 2), (2, 3))
    imaprouter(office, "queue", "assign", message_id, "--deal", 1, "--now")
    assert office.deals(activity) == [1]


def test_a_deal_that_does_not_exist_is_no_answer(office: Office) -> None:
    message_id, activity = asked(office)
    imaprouter(office, "queue", "assign", message_id, "--deal", 999, "--now")
    (message,) = office.messages()
    assert (message.state, message.person_target) == (State.REVIEW, None)
    assert "does not exist" in message.note
    assert office.deals(activity) == [2]


def test_explain_tells_of_the_person(office: Office) -> None:
    message_id, _ = asked(office)
    imaprouter(office, "queue", "assign", message_id, "--deal", 1, "--now")
    assert "a person chose deal 1" in imaprouter(office, "explain", message_id).stdout
    explained = json.loads(imaprouter(office, "explain", message_id, "--json").stdout)
    assert explained["person_target"] == {"type": "deal", "id": 1}


# ── bindings changed in Bitrix24 ──────────────────────────────────────────────────────────────────────────


def test_a_question_that_somebody_settled_in_bitrix24_is_settled(office: Office) -> None:
    message_id, activity = asked(office)
    office.portal.crm.move_by_hand(activity, (2, 2), (2, 3))
    office.run_once()
    (message,) = office.messages()
    assert (message.state, message.result, message.person_target) == (State.SETTLED, Outcome.PERSON, deal(3))
    reply(office)
    assert office.messages()[1].decision.target == deal(3)
    explained = json.loads(imaprouter(office, "explain", message_id, "--json").stdout)
    assert "re-bound by hand" in json.dumps(explained)


def test_a_letter_that_somebody_moved_after_us_is_left_there(office: Office) -> None:
    """The journal keeps both: what we decided, and what the person chose."""
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru", message_id="asked@horns.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    assert office.deals(activity) == [1]
    office.portal.crm.move_by_hand(activity, (2, 1), (2, 3))
    office.run_once()
    (message,) = office.messages()
    assert (message.decision.target, message.person_target, message.result) == (
        deal(1),
        deal(3),
        Outcome.PERSON,
    )
    assert office.deals(activity) == [3]
    reply(office)
    assert office.messages()[1].decision.target == deal(3)


def test_what_was_moved_back_stays_there(office: Office) -> None:
    """We moved it, the notification has to wait, and meanwhile somebody moves it back."""
    office.portal.faults.add("error", method="im.notify.system.add", code="OPERATION_TIME_LIMIT", times=1)
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    assert office.deals(activity) == [1]
    office.portal.crm.move_by_hand(activity, (2, 1), (2, 2))
    office.make_due()
    office.run_once()
    assert office.deals(activity) == [2]
    assert office.messages()[0].result is Outcome.PERSON


def test_a_further_company_is_no_other_choice(office: Office) -> None:
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    office.portal.crm.bind_by_hand(activity, *office.portal.crm.bindings(activity), (4, 11))
    office.run_once()
    (message,) = office.messages()
    assert (message.result, message.person_target) == (Outcome.MOVED, None)


def test_a_deal_that_vanished_is_nobodys_choice(office: Office) -> None:
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru", message_id="asked@horns.ru"))
    office.sync.sync_once()
    office.run_once()
    office.portal.crm.delete(2, 1)
    office.run_once()
    assert office.messages()[0].person_target is None


def test_our_own_writes_are_no_persons_choice(office: Office) -> None:
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
    office.sync.sync_once()
    for _ in range(3):
        office.run_once()
    (message,) = office.messages()
    assert (message.result, message.person_target) == (Outcome.MOVED, None)


def test_a_letter_that_was_left_teaches_where_a_person_puts_it(office: Office) -> None:
    """Nobody knows the sender, Bitrix24 makes a lead of him, and somebody puts the letter into a deal."""
    office.deliver(letter("x@nowhere-sample.ru", message_id="asked@horns.ru"))
    office.run_once()
    (activity,) = office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert message.result is Outcome.LEFT
    lead = next(number for kind, number in office.portal.crm.bindings(activity) if kind == 1)
    office.portal.crm.move_by_hand(activity, (1, lead), (2, 7))
    office.run_once()
    assert office.messages()[0].person_target == deal(7)
    reply(office)
    assert office.messages()[1].decision.target != deal(7), "Sergey is another's client"
    office.deliver(letter("x@nowhere-sample.ru", in_reply_to="asked@horns.ru"))
    office.run_once()
    assert office.messages()[2].decision.target == deal(7)


def test_a_persons_choice_holds_for_the_sender_whoever_he_is(office: Office) -> None:
    """Sergey writes about Anna's deal: a person said so, and it holds for him, not for who quotes the id."""
    message_id, _ = asked(office)
    imaprouter(office, "queue", "assign", message_id, "--deal", 5, "--now")
    reply(office)
    answer = office.messages()[1].decision
    assert (answer.target, answer.rule, answer.code) == (deal(5), "thread", "thread_person")
    office.deliver(letter("dmitry@dvor-sample.ru", in_reply_to="asked@horns.ru"))
    office.run_once()
    assert office.messages()[2].decision.target != deal(5)


# ── one mail, two mailboxes ───────────────────────────────────────────────────────────────────────────────


def second_mailbox(office: Office, user: str) -> Any:
    office.dovecot.maildir(user, "INBOX")
    office.further_mailboxes = f"""
[[mailboxes]]
name = 'masha'
host = '127.0.0.1'
port = {office.dovecot.port}
tls = 'none'
username = '{user}'
password = '{office.dovecot.password}'
start = 'all'
addresses = ['masha@company.ru']
sent_folders = []
"""
    return office.portal.connect_mailbox(
        MailboxConnection(
            email="masha@company.ru",
            host="127.0.0.1",
            port=office.dovecot.port,
            username=user,
            password=office.dovecot.password,
            owner_user_id=5,
        )
    )


def hidden_copy(moment: datetime) -> bytes:
    """Bcc to Maria, under another id by a relay: only this copy says that she was addressed."""
    return letter(date=moment, message_id="other@relay.ru", headers="Delivered-To: masha@company.ru")


def test_copies_in_two_mailboxes_have_one_decision(office: Office, user: str) -> None:
    sync = second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    office.deliver(letter(date=moment, message_id="one@horns.ru"))
    office.dovecot.deliver(f"{user}-masha", hidden_copy(moment))
    activities = [*office.sync.sync_once(), *sync.sync_once()]
    office.run_once()
    office.run_once()
    assert len(activities) == 2
    assert [message.decision.target for message in office.messages()] == [deal(1), deal(1)]
    assert [office.deals(activity) for activity in activities] == [[1], [1]]


def test_a_copy_that_comes_late_settles_the_question(office: Office, user: str) -> None:
    """The first letter is paired and waits for a person when its copy arrives."""
    sync = second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    office.deliver(letter(date=moment, message_id="one@horns.ru"))
    activities = office.sync.sync_once()
    office.run_once()
    assert office.messages()[0].state is State.REVIEW
    office.dovecot.deliver(f"{user}-masha", hidden_copy(moment))
    activities += sync.sync_once()
    office.run_once()
    office.run_once()
    assert [office.deals(activity) for activity in activities] == [[1], [1]]


@pytest.mark.parametrize("touched", [False, True])
def test_a_copy_that_comes_when_the_first_is_settled_corrects_it(
    office: Office, user: str, touched: bool
) -> None:
    """Elena has no deal with Sergey: the company. Maria's copy tells deal 1, unless a person was there."""
    sync = second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    office.deliver(letter(to="elena@company.ru", date=moment, message_id="one@horns.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert (message.state, str(message.decision.target)) == (State.SETTLED, "company 10")
    if touched:
        office.portal.crm.bind_by_hand(activity, (2, 3))
    copy = letter(
        to="elena@company.ru",
        date=moment,
        message_id="one@horns.ru",
        headers="Delivered-To: masha@company.ru",
    )
    office.dovecot.deliver(f"{user}-masha", copy)
    (other,) = sync.sync_once()
    office.run_once()
    office.run_once()
    assert office.deals(other) == [1]
    assert office.deals(activity) == ([3] if touched else [1])
    first = office.messages()[0]
    assert first.state is State.SETTLED
    assert first.result is (Outcome.PERSON if touched else Outcome.MOVED)
    assert office.told().count(5) == (1 if touched else 2)


def test_a_late_copy_moves_what_we_had_moved(office: Office, user: str) -> None:
    """The activity's first owner is no sign of a person once we have changed it."""
    sync = second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    to, cc, one = "masha@company.ru", "sales@company.ru", "one@horns.ru"
    office.deliver(letter(to=to, cc=cc, date=moment, message_id=one))
    (activity,) = office.sync.sync_once()
    office.run_once()
    assert office.deals(activity) == [1]
    hidden = "Delivered-To: sales+d2@company.ru"
    late = letter(to=to, cc=cc, date=moment, message_id=one, headers=hidden)
    office.dovecot.deliver(f"{user}-masha", late)
    (other,) = sync.sync_once()
    office.run_once()
    office.run_once()
    assert (office.deals(activity), office.deals(other)) == ([2], [2])
    assert {message.result for message in office.messages()} <= {Outcome.MOVED, Outcome.ALREADY_RIGHT}


def test_the_newest_choice_of_a_person_holds_for_the_copies(office: Office, user: str) -> None:
    sync = second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    raw = letter(date=moment, message_id="asked@horns.ru")
    office.deliver(raw)
    office.dovecot.deliver(f"{user}-masha", raw)
    activities = [*office.sync.sync_once(), *sync.sync_once()]
    first, second = activities
    office.run_once()
    for number in (3, 1):
        office.portal.crm.bind_by_hand(first, (2, number))
        office.run_once()
        office.run_once()
        assert office.deals(second) == [number]
    reply(office)
    assert office.messages()[-1].decision.target == deal(1)


def test_a_late_copy_corrects_what_was_observed(office: Office, user: str) -> None:
    office.options["binding.mode"] = "'observe'"
    second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    office.deliver(letter(to="elena@company.ru", date=moment, message_id="one@horns.ru"))
    office.sync.sync_once()
    office.run_once()
    assert office.messages()[0].result is Outcome.OBSERVED
    copy = letter(
        to="elena@company.ru",
        date=moment,
        message_id="one@horns.ru",
        headers="Delivered-To: masha@company.ru",
    )
    office.dovecot.deliver(f"{user}-masha", copy)
    office.run_once()
    office.run_once()
    assert [message.decision.target for message in office.messages()] == [deal(1), deal(1)]
    assert office.portal.writes == []


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_persons_choice_holds_for_a_copy_that_comes_later(office: Office, user: str, by_hand: bool) -> None:
    sync = second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    office.deliver(letter(date=moment, message_id="one@horns.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    if by_hand:
        office.portal.crm.bind_by_hand(activity, (2, 3))
        office.run_once()
    else:
        imaprouter(office, "queue", "assign", office.messages()[0].id, "--deal", 3, "--now")
    office.dovecot.deliver(f"{user}-masha", hidden_copy(moment))
    (other,) = sync.sync_once()
    office.run_once()
    office.run_once()
    assert (office.deals(activity), office.deals(other)) == ([3], [3])
    assert [message.person_target for message in office.messages()] == [deal(3), deal(3)]


def test_what_was_left_for_one_copy_is_left_for_a_later_one(office: Office, user: str) -> None:
    sync = second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    office.deliver(letter(date=moment, message_id="one@horns.ru"))
    office.sync.sync_once()
    office.run_once()
    imaprouter(office, "queue", "assign", office.messages()[0].id, "--leave", "--now")
    office.dovecot.deliver(f"{user}-masha", hidden_copy(moment))
    (other,) = sync.sync_once()
    before = office.deals(other)
    office.run_once()
    assert office.deals(other) == before
    assert [message.result for message in office.messages()] == [Outcome.PERSON, Outcome.PERSON]


def test_a_move_by_hand_of_one_copy_settles_the_other(office: Office, user: str) -> None:
    sync = second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    raw = letter(date=moment, message_id="one@horns.ru")
    office.deliver(raw)
    office.dovecot.deliver(f"{user}-masha", raw)
    activities = [*office.sync.sync_once(), *sync.sync_once()]
    office.run_once()
    assert {message.state for message in office.messages()} == {State.REVIEW}
    office.portal.crm.bind_by_hand(activities[0], (2, 3))
    office.run_once()
    office.run_once()
    assert [office.deals(activity) for activity in activities] == [[3], [3]]
    assert {message.state for message in office.messages()} == {State.SETTLED}


def test_a_copy_that_says_nothing_new_changes_nothing(office: Office, user: str) -> None:
    sync = second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    raw = letter(to="masha@company.ru, sales@company.ru", date=moment, message_id="one@horns.ru")
    office.deliver(raw)
    office.sync.sync_once()
    office.run_once()
    (before,) = office.messages()
    assert before.result is Outcome.MOVED
    office.dovecot.deliver(f"{user}-masha", raw)
    sync.sync_once()
    office.run_once()
    assert office.messages()[0] == before


def test_a_copy_that_comes_late_leaves_a_persons_answer(office: Office, user: str) -> None:
    """The answer came before Bitrix24 made the activity."""
    second_mailbox(office, f"{user}-masha")
    moment = datetime(2026, 11, 3, 9, tzinfo=UTC)
    office.deliver(letter(date=moment, message_id="one@horns.ru"))
    office.run_once()
    imaprouter(office, "queue", "assign", office.messages()[0].id, "--deal", 3, "--now")
    office.dovecot.deliver(f"{user}-masha", hidden_copy(moment))
    office.run_once()
    (activity,) = office.sync.sync_once()
    office.run_once()
    assert office.deals(activity) == [3]


def test_somebody_elses_letter_with_this_id_is_no_copy(office: Office, user: str) -> None:
    second_mailbox(office, f"{user}-masha")
    office.deliver(letter(message_id="one@horns.ru"))
    forged = letter("anna@romashka-sample.ru", "masha@company.ru", message_id="one@horns.ru")
    office.dovecot.deliver(f"{user}-masha", forged)
    office.run_once()
    states = {message.mailbox: message.state for message in office.messages()}
    assert states["sales"] is State.REVIEW


# ── marker ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_signed_marker_is_believed_from_anyone(office: Office, tmp_path: Path) -> None:
    key = tmp_path / "marker.key"
    key.write_text("a long text that nobody guesses\n")
    key.chmod(0o600)
    office.options["routing.marker.secret_file"] = json.dumps(str(key))
    imaprouter(office, "cache", "refresh")
    plain = imaprouter(office, "marker", 1).stdout.strip()
    signed = imaprouter(office, "marker", 1, "--sign").stdout.strip()
    assert plain == "#1"
    assert signed.startswith("#1-")
    assert len(signed) == 7
    wrong = signed[:-1] + ("2" if signed[-1] != "2" else "3")
    office.deliver(
        letter("anna@hooves.ru", subject=f"Re: {signed}"),
        letter("anna@hooves.ru", subject=f"Re: {wrong}"),
    )
    office.sync.sync_once()
    office.run_once()
    believed, refused = office.messages()
    assert (believed.decision.target, believed.decision.rule) == (deal(1), "marker")
    assert refused.decision.target != deal(1)


@pytest.mark.parametrize(
    ("number", "said"), [(1, ""), (3, "deal 3 is closed"), (4711, "does not know deal 4711")]
)
def test_a_marker_of_a_doubtful_deal_is_printed_with_a_warning(
    office: Office, number: int, said: str
) -> None:
    imaprouter(office, "cache", "refresh")
    result = imaprouter(office, "marker", number)
    assert (result.exit_code, result.stdout) == (0, f"#{number}\n")
    assert said in result.stderr
    assert bool(result.stderr) is bool(said)


def test_a_number_that_no_marker_can_carry_is_refused(office: Office) -> None:
    assert imaprouter(office, "marker", 10**10).exit_code == 2


def test_signing_needs_a_key(office: Office) -> None:
    result = imaprouter(office, "marker", 1, "--sign")
    assert result.exit_code == 2
    assert "secret_file" in result.stderr


def test_markers_are_written_into_a_field_of_the_deals(tmp_path: Path, dovecot: Dovecot, user: str) -> None:
    """Only where something else stands; a second run writes nothing, an unknown field is told."""
    crm = json.loads((FIXTURES / "crm.json").read_bytes())
    for row in crm["deals"]:
        row["UF_CRM_MARKER"] = ""
    with Office(tmp_path, dovecot, user, snapshot=crm) as office:
        imaprouter(office, "cache", "refresh")
        first = imaprouter(office, "marker", "--write-field", "UF_CRM_MARKER", "--all-active")
        assert first.exit_code == 0, first.output
        written = [write.params["id"] for write in office.portal.writes]
        active = [
            int(row["ID"])
            for row in crm["deals"]
            if row["STAGE_SEMANTIC_ID"] == "P" and row["IS_RECURRING"] == "N"
        ]
        assert sorted(map(int, written)) == sorted(active)
        second = imaprouter(office, "marker", "--write-field", "UF_CRM_MARKER", "--all-active")
        assert second.stdout.startswith("0 of ")
        assert len(office.portal.writes) == len(active)
        unknown = imaprouter(office, "marker", 1, "--write-field", "UF_CRM_OTHER")
        assert unknown.exit_code == 1
        assert "deal 1: the portal did not keep UF_CRM_OTHER" in unknown.stderr
        assert imaprouter(office, "marker", 1, "--write-field", "TITLE").exit_code == 2
