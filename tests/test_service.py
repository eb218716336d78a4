"""The main job on a real Dovecot and the portal simulator: read, decide, pair, bind, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from dovecot import Dovecot
from office import CODE, FIXTURES, Office, letter, sample_letter

from imaprouter.config import load
from imaprouter.model import Binding, Result, State, deal
from imaprouter.sandbox.faults import Kind
from imaprouter.sandbox.quirks import Quirks
from imaprouter.service import Service


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def demo_rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads((FIXTURES / "demo.json").read_bytes())["letters"]
    return rows


def expected_bindings(
    office: Office, row: dict[str, object], activity_id: int, before: list[Binding]
) -> bool:
    """Whether the activity of a demo letter is where demo.json says."""
    expect = row["expect"]
    bound = office.bound(activity_id)
    if not isinstance(expect, dict):
        return bound == before
    type_id = {"deal": 2, "company": 4}[expect["type"]]
    wanted = Binding(type_id, expect["id"])
    return wanted in bound and not any(b.is_deal for b in bound if b != wanted)


# ── one letter ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_letter_moves_to_the_deal_of_the_addressed_manager(office: Office) -> None:
    """Bitrix24 took Ilya's deal; Maria was addressed: binding, responsible, stamp and one notification."""
    office.deliver(sample_letter("reply-to-masha"))
    (number,) = office.sync.sync_once()
    assert office.deals(number) == [2]
    assert office.run_once() == 1
    (message,) = office.messages()
    assert (message.state, message.result, message.decision.target) == (State.SETTLED, Result.MOVED, deal(1))
    assert office.bound(number) == [Binding(3, 20), Binding(2, 1)]
    row = office.portal.crm.activity(number)
    assert (row["OWNER_TYPE_ID"], row["OWNER_ID"], row["RESPONSIBLE_ID"]) == (2, 1, 5)
    assert row["ORIGINATOR_ID"] == "imaprouter"
    assert office.binding_writes() == ["crm.activity.binding.move"]
    assert office.told() == [5]


def test_an_observer_speaks_for_a_deal_when_the_company_wants_it(office: Office) -> None:
    """The portal tells who observes; Elena is responsible for none of Sergey's deals."""
    office.portal.crm.set_deal(1, OBSERVERS=[4])
    office.options["routing.participants.observers"] = "true"
    office.deliver(letter(to="elena@company.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    assert office.deals(activity) == [1]
    (message,) = office.messages()
    assert "observer_addressed" in [reason.code for reason in message.decision.reasons]


def test_nothing_is_written_where_nothing_is_wrong(office: Office) -> None:
    """Bitrix24 was right: no stamp, no notification, no call at all."""
    office.deliver(sample_letter("reply-to-ilya"))
    office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert (message.state, message.result) == (State.SETTLED, Result.ALREADY_RIGHT)
    assert office.portal.writes == []


def asked_for_bindings(office: Office) -> int:
    calls = [name for request in office.portal.requests for name, _ in request.calls]
    return calls.count("crm.activity.binding.list")


def test_nothing_is_asked_of_a_letter_that_the_poll_shows_to_be_right(office: Office) -> None:
    """The poll of the round in which it is paired; where it was touched since it was made, we look."""
    office.deliver(sample_letter("reply-to-ilya"))
    office.sync.sync_once()
    office.run_once()
    assert office.messages()[0].result is Result.ALREADY_RIGHT
    assert asked_for_bindings(office) == 0
    office.deliver(letter(to="ilya@company.ru", cc="sales@company.ru"))
    (touched,) = office.sync.sync_once()
    office.portal.crm.activities[touched]["LAST_UPDATED"] += timedelta(seconds=30)
    office.run_once()
    assert [message.result for message in office.messages()] == [Result.ALREADY_RIGHT] * 2
    assert asked_for_bindings(office) == 1


def test_a_poll_of_an_earlier_round_does_not_show_that_a_letter_is_right(office: Office) -> None:
    """The activity came first and was moved before its letter was read."""
    office.deliver(letter(to="ilya@company.ru", cc="sales@company.ru"))
    office.sync.sync_once()
    office.run_once()
    before = asked_for_bindings(office)
    office.deliver(letter(to="ilya@company.ru", cc="sales@company.ru"))
    (activity,) = office.sync.sync_once()
    Service(load(office.config, {})).bind_once()
    office.portal.crm.move_by_hand(activity, (2, 2), (2, 3))
    office.run_once()
    assert office.deals(activity) == [3]
    assert asked_for_bindings(office) > before


def test_a_question_for_a_person_changes_nothing(office: Office) -> None:
    """Two deals fit: review, with both candidates and the activity on record."""
    office.deliver(sample_letter("to-sales-only"))
    (number,) = office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert (message.state, message.decision.candidates) == (State.REVIEW, (1, 2))
    with office.journal() as journal:
        assert [paired.activity.id for paired in journal.activities.of_message(message.id)] == [number]
    assert office.portal.writes == []


def test_a_deal_becomes_a_company_without_a_moment_of_nothing(office: Office) -> None:
    """Across types: add, read back, then delete."""
    office.deliver(sample_letter("no-deal-of-addressed"))
    (number,) = office.sync.sync_once()
    office.run_once()
    assert office.binding_writes() == ["crm.activity.binding.add", "crm.activity.binding.delete"]
    assert Binding(4, 10) in office.bound(number)
    assert office.deals(number) == []


def test_observe_writes_nothing(office: Office) -> None:
    """mode = "observe" decides, pairs and records what it would have done."""
    office.options["binding.mode"] = "'observe'"
    office.deliver(sample_letter("reply-to-masha"))
    office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert (message.state, message.result) == (State.SETTLED, Result.OBSERVED)
    assert "move from deal 2 to deal 1" in message.note
    assert office.portal.writes == []


def test_the_mailbox_is_left_as_it_was(office: Office) -> None:
    """A \\Seen set by us would make Bitrix24 create the activity as completed (mail-internals 1.6)."""
    name = office.dovecot.deliver(office.user, sample_letter("reply-to-masha"))
    office.run_once()
    assert office.dovecot.flags(office.user, name) == ""
    (number,) = office.sync.sync_once()
    assert office.portal.crm.activity(number)["COMPLETED"] == "N"


def test_a_reply_inherits_the_deal_of_its_thread(office: Office) -> None:
    """The second letter names no manager and no deal, only the first letter."""
    first = letter(to="masha@company.ru", cc="sales@company.ru", message_id="first@horns.ru")
    second = letter(subject="Re: КП", in_reply_to="first@horns.ru")
    office.deliver(first, second)
    numbers = office.sync.sync_once()
    office.run_once()
    assert [office.deals(number) for number in numbers] == [[1], [1]]
    assert [message.decision.rule for message in office.messages()] == ["participants", "thread"]


def test_outgoing_mail_is_corrected_too(office: Office) -> None:
    """A letter in Sent whose References name the client's letter; Bitrix24 reads In-Reply-To alone."""
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru", message_id="asked@horns.ru"))
    office.sync.sync_once()
    office.run_once()
    answer = letter(
        "sales@company.ru",
        "sergey@horns.ru",
        in_reply_to="unrelated@x",
        headers="References: <asked@horns.ru> <unrelated@x>",
    )
    office.deliver(answer, folder="Sent")
    (number,) = office.sync.sync_once()
    before = office.deals(number)
    office.run_once()
    assert (before, office.deals(number)) == ([2], [1])


def test_a_sent_folder_of_another_name_is_found_by_its_mark(office: Office) -> None:
    """The configuration says «Отправленные», the server marks Sent as \\Sent (RFC 6154)."""
    office.mailbox_options["sent_folders"] = "['Отправленные']"
    office.deliver(letter("sales@company.ru", "sergey@horns.ru", subject="#1 КП"), folder="Sent")
    assert office.run_once() == 1
    (message,) = office.messages()
    assert (message.folder, message.decision.target) == ("Отправленные", deal(1))


def test_a_client_that_the_index_does_not_know_is_looked_up(office: Office) -> None:
    """Contact and deal are newer than the last refresh: the portal is asked, and the letter decided again."""
    office.run_once()
    crm = office.portal.crm
    crm.add(3, {"ID": 77, "NAME": "Новый", "COMPANY_IDS": [], "EMAIL": [{"VALUE": "new@client.ru"}]})
    for number, user in ((801, 5), (802, 6)):
        fresh = {"ID": number, "ASSIGNED_BY_ID": user, "CONTACT_IDS": [77]}
        crm.add(2, {**fresh, "STAGE_SEMANTIC_ID": "P", "DATE_CREATE": "2026-11-01T10:00:00+03:00"})
    office.deliver(letter("new@client.ru", "masha@company.ru", cc="sales@company.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert (message.state, message.decision.target) == (State.SETTLED, deal(801))
    assert office.deals(activity) == [801]


# ── twelve letters, every kind of portal ──────────────────────────────────────────────────────────────────

PORTALS = [
    Quirks(),
    Quirks(owner_rule="sticks_until_unbound", binding_key_case="upper", provider_type="EMAIL"),
    Quirks(admin=False, missing_target="NOT_FOUND", denied_status=403, time_block="absent"),
    Quirks(old_move_errors="no_code", empty_text_on_get=False, time_block="no_operating", empty_link="0"),
    Quirks(responsible_rule="queue", binding_order="found", localised_texts=True),
    Quirks(item_company_ids=False, findbycomm_text_as_code=True, binding_bumps_date_modify=True),
]


@pytest.mark.parametrize("quirks", PORTALS, ids=lambda quirks: f"portal{PORTALS.index(quirks)}")
def test_twelve_letters_end_where_they_belong(
    tmp_path: Path, dovecot: Dovecot, user: str, quirks: Quirks
) -> None:
    """Whatever the portal's build; and a second run finds nothing left to do."""
    rows = demo_rows()
    with Office(tmp_path, dovecot, user, quirks=quirks) as office:
        for row in rows:
            office.deliver(sample_letter(str(row["file"]).removesuffix(".eml")))
        office.sync.sync_once()
        activities = {
            imported.letter.uid: imported.activity_id
            for imported in office.sync.log
            if imported.activity_id is not None
        }
        before = {number: office.bound(number) for number in activities.values()}
        assert office.run_once() == len(rows)
        assert office.settled(len(rows))
        for message, row in zip(office.messages(), rows, strict=True):
            number = activities[message.uid]
            assert expected_bindings(office, row, number, before[number]), row["file"]
        writes, notices = len(office.portal.writes), len(office.told())
        assert office.run_once() == 0
        assert (len(office.portal.writes), len(office.told())) == (writes, notices)


# ── a person, and others ──────────────────────────────────────────────────────────────────────────────────


def test_a_persons_move_is_left_alone_and_remembered(office: Office) -> None:
    """Our move is refused once; before the next attempt somebody moves the letter by hand."""
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru", message_id="mine@horns.ru"))
    (number,) = office.sync.sync_once()
    office.portal.faults.add(
        "meanwhile",
        method="crm.activity.binding.move",
        action=lambda: office.portal.crm.move_by_hand(number, (2, 2), (2, 3)),
    )
    office.run_once()
    office.make_due()
    office.run_once()
    (message,) = office.messages()
    assert (message.state, message.result, message.person_target) == (State.SETTLED, Result.PERSON, deal(3))
    assert office.deals(number) == [3]
    assert office.told() == []
    office.deliver(letter(subject="Re: КП", in_reply_to="mine@horns.ru"))
    office.sync.sync_once()
    office.run_once()
    assert office.messages()[1].decision.target == deal(3)


def test_a_target_that_is_gone_is_a_question(office: Office) -> None:
    """The deal was deleted after the decision: an administrator's webhook could bind to it all the same."""
    office.run_once()
    office.portal.crm.delete(2, 1)
    office.deliver(sample_letter("reply-to-masha"))
    (number,) = office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert message.state is State.REVIEW
    assert "does not exist" in message.note
    assert (office.deals(number), office.portal.writes) == ([2], [])


def test_a_deleted_activity_is_settled(office: Office) -> None:
    """Somebody deleted the activity before it was corrected: nothing to do, and said so."""
    office.deliver(sample_letter("reply-to-masha"))
    (number,) = office.sync.sync_once()
    office.portal.faults.add(
        "meanwhile",
        method="crm.activity.binding.list",
        action=lambda: office.portal.crm.delete_activity(number),
    )
    office.run_once()
    (message,) = office.messages()
    assert (message.state, message.result) == (State.SETTLED, Result.PERSON)
    assert "deleted" in message.note


# ── answers that get lost ─────────────────────────────────────────────────────────────────────────────────

LOST: list[Kind] = [
    "timeout_after",
    "close_after",
    "truncated_json",
    "http_504_after",
    "timeout_before",
    "close_before",
]


@pytest.mark.parametrize("kind", LOST)
def test_a_lost_answer_to_the_move_ends_in_one_move(office: Office, kind: Kind) -> None:
    """Executed or not, the next attempt reads first; the manager is told once."""
    office.deliver(sample_letter("reply-to-masha"))
    (number,) = office.sync.sync_once()
    office.portal.faults.add(kind, method="crm.activity.binding.move")
    run_until_settled(office)
    (message,) = office.messages()
    assert (message.state, message.result) == (State.SETTLED, Result.MOVED)
    assert office.deals(number) == [1]
    assert office.told() == [5]


def test_a_move_that_is_refused_waits_for_a_person(office: Office) -> None:
    """No right on the target deal: visible as failed, and tried again when the right is back."""
    office.deliver(sample_letter("reply-to-masha"))
    (number,) = office.sync.sync_once()
    office.portal.faults.add(
        "command_error", method="crm.activity.binding.move", code="ACCESS_DENIED", text="Access denied"
    )
    office.run_once()
    (message,) = office.messages()
    assert (message.state, office.deals(number), office.told()) == (State.FAILED, [2], [])
    office.make_due()
    office.run_once()
    assert (office.messages()[0].state, office.deals(number)) == (State.SETTLED, [1])


def test_a_failed_addition_takes_nothing_away(office: Office) -> None:
    """Company instead of deal: when the company cannot be bound, the deal stays."""
    office.deliver(sample_letter("no-deal-of-addressed"))
    (number,) = office.sync.sync_once()
    office.portal.faults.add(
        "command_error", method="crm.activity.binding.add", code="ACCESS_DENIED", text="Access denied"
    )
    office.run_once()
    assert office.deals(number) == [2]
    assert "crm.activity.binding.delete" not in office.binding_writes()


def test_a_lost_answer_to_the_notification_is_not_repeated(office: Office) -> None:
    """Nothing tells doubles apart over a webhook: an unknown outcome is on record, not sent again."""
    office.deliver(sample_letter("reply-to-masha"))
    office.sync.sync_once()
    office.portal.faults.add("close_after", method="im.notify.system.add")
    run_until_settled(office)
    (message,) = office.messages()
    assert office.told() == [5]
    with office.journal() as journal:
        assert journal.traces.notices(message.id) == {5: "unknown"}


def test_fifty_letters_share_few_requests(office: Office) -> None:
    """Lists, moves and read-backs of many messages go in batches."""
    office.options["routing.loop.limit"] = "0"
    letters = [letter(to="masha@company.ru", cc="sales@company.ru") for _ in range(50)]
    office.deliver(*letters)
    office.sync.sync_once()
    office.run_once()
    before = len(office.portal.requests)
    assert office.settled(50)
    assert all(message.result is Result.MOVED for message in office.messages())
    assert before < 40


# ── the running service ───────────────────────────────────────────────────────────────────────────────────


def test_the_service_binds_while_it_runs_and_stops_when_told(office: Office) -> None:
    """Delivered, decided by IDLE, activity afterwards, corrected; SIGTERM ends it with 0."""
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        office.deliver(sample_letter("reply-to-masha"))
        office.until(lambda: len(office.messages()) == 1)
        (number,) = office.sync.sync_once()
        office.until(lambda: office.settled(1))
        assert office.deals(number) == [1]
        assert office.stop(process) == 0
    assert [event["event"] for event in office.events()][-1] == "service.stopped"


def test_an_activity_may_come_before_the_mail_is_read(office: Office) -> None:
    """The portal was faster: its activity waits for the message."""
    office.deliver(sample_letter("reply-to-masha"))
    (number,) = office.sync.sync_once()
    with office.service():
        office.until(lambda: office.settled(1))
    assert office.deals(number) == [1]


def test_an_activity_may_come_late(office: Office) -> None:
    """The portal holds the letter back over several polls; meanwhile the message waits."""
    office.sync.hold = lambda _: True
    office.sync.start(0.1)
    with office.service():
        office.deliver(sample_letter("reply-to-masha"), sample_letter("marker-own-deal"))
        office.until(lambda: len(office.messages()) == 2)
        polls = len(office.portal.requests)
        office.until(lambda: len(office.portal.requests) > polls + 2)
        assert {message.state for message in office.messages()} == {State.WAITING}
        office.sync.hold = lambda _: False
        office.until(lambda: office.settled(2))
    assert {tuple(office.deals(int(number))) for number in office.portal.crm.activities if number > 503} == {
        (1,)
    }


def test_a_restart_of_the_mail_server_loses_nothing(tmp_path: Path, own_dovecot: Dovecot, user: str) -> None:
    """Dovecot restarts while the service idles; what arrives meanwhile and afterwards is read."""
    with Office(tmp_path, own_dovecot, user) as office, office.service():
        office.deliver(sample_letter("reply-to-masha"))
        office.until(lambda: len(office.messages()) == 1)
        own_dovecot.kill()
        office.deliver(sample_letter("reply-to-ilya"))
        own_dovecot.start()
        office.until(lambda: len(office.messages()) == 2)
        office.deliver(sample_letter("marker-own-deal"))
        office.until(lambda: len(office.messages()) == 3)
        assert office.heard("folder.failed")


def test_kill_9_between_deciding_and_binding(office: Office) -> None:
    """The next service finds the decision in the journal and binds; nothing is decided twice."""
    with office.service() as process:
        office.deliver(sample_letter("reply-to-masha"))
        office.until(lambda: len(office.messages()) == 1)
        process.kill()
        process.wait()
    (number,) = office.sync.sync_once()
    with office.service():
        office.until(lambda: office.settled(1))
    assert (office.deals(number), office.told()) == ([1], [5])
    decided = [event for event in office.events() if event["event"] == "message.decided"]
    assert len(decided) == 1


@pytest.mark.parametrize(
    "method", ["crm.activity.binding.move", "crm.activity.update", "im.notify.system.add"]
)
def test_kill_9_while_the_portal_is_being_written_to(office: Office, method: str) -> None:
    """Dead in the middle of a write: the next service reads, goes on, and tells nobody twice."""
    office.deliver(sample_letter("reply-to-masha"))
    (number,) = office.sync.sync_once()
    with office.service() as process:
        office.portal.faults.add("meanwhile", method=method, action=process.kill)
        process.wait()
    office.make_due()
    with office.service():
        office.until(lambda: office.settled(1))
    assert office.deals(number) == [1]
    assert office.told().count(5) <= 1
    assert office.portal.crm.activity(number)["RESPONSIBLE_ID"] == 5


def test_a_journal_has_one_service(office: Office) -> None:
    """The second one says so and exits with 75."""
    with office.service():
        office.until(lambda: office.heard("service.started"))
        command = [sys.executable, "-m", "imaprouter", "--config", str(office.config), "run"]
        second = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)}
        )
    assert second.returncode == 75
    assert "another imaprouter service" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_obeyed_while_the_portal_hangs(office: Office, number: signal.Signals) -> None:
    """A request that gets no answer is broken off; the next start reads before it writes."""
    office.deliver(sample_letter("reply-to-masha"))
    (activity,) = office.sync.sync_once()
    office.portal.faults.add("timeout_after", method="crm.activity.binding.move")
    with office.service() as process:
        office.until(lambda: "crm.activity.binding.move" in office.binding_writes())
        process.send_signal(number)
        assert process.wait(10) == 0
    office.make_due()
    with office.service():
        office.until(lambda: office.settled(1))
    assert (office.deals(activity), office.told()) == ([1], [5])


def test_no_secret_leaves_the_service(office: Office) -> None:
    """A portal that breaks in every way, debug logging: neither code nor password is printed."""
    office.options["portal.timeout"] = "'1s'"
    kinds: tuple[Kind, ...] = ("http_500_html", "close_after", "rename_302", "internal_500", "http_403_html")
    for kind in kinds:
        office.portal.faults.add(kind)
    office.portal.faults.add(
        "error", status=401, code="INVALID_CREDENTIALS", text="Invalid request credentials"
    )
    office.deliver(sample_letter("reply-to-masha"))
    office.sync.sync_once()
    command = [sys.executable, "-m", "imaprouter", "-vv", "--config", str(office.config), "run", "--once"]
    outputs = [
        subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)})
        for _ in range(2)
    ]
    with office.service() as process:
        office.until(lambda: office.settled(1))
        office.stop(process)
    printed = b"".join([*(done.stdout + done.stderr for done in outputs), office.output.read_bytes()])
    assert printed
    assert CODE.encode() not in printed
    assert office.dovecot.password.encode() not in printed


def run_until_settled(office: Office) -> None:
    for _ in range(5):
        office.run_once()
        if office.settled(len(office.messages())):
            return
        office.make_due()
    raise AssertionError(office.messages())
