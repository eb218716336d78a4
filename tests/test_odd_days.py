"""Days on which the world is not as expected: the whole path still ends right. Each went wrong once."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from dovecot import Dovecot
from office import Office, letter, sample_letter
from test_pairing import ENVELOPE, MOMENT, activity, message

from imaprouter.errors import PortalDenied, PortalError, StoreError
from imaprouter.model import Address, Finding, Letter, Result, State, Target, Verdict, deal
from imaprouter.pairing import agrees, pair
from imaprouter.reasons import why
from imaprouter.rules import RULES
from imaprouter.store.journal import Journal


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def to_masha(subject: str = "КП") -> bytes:
    return letter(to="masha@company.ru", cc="sales@company.ru", subject=subject)


def states(office: Office) -> list[tuple[State, Result | None]]:
    return [(found.state, found.result) for found in office.messages()]


# ── strangers' numbers ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("digits", ["9" * 19, "9" * 400, "9223372036854775808", "0"])
def test_a_number_that_is_no_id_stops_nothing(office: Office, digits: str) -> None:
    """A tag or marker beyond SQLite's integers is no deal; the letter behind it is read."""
    office.options["routing.marker.patterns"] = "['#(?P<deal>[A-Z0-9]+)']"
    office.deliver(letter(to=f"sales+d{digits}@company.ru", subject=f"#{digits} #X1"), to_masha())
    assert office.run_once() == 2
    assert office.messages()[1].decision.target == deal(1)


def test_a_letter_that_we_fail_to_decide_goes_to_a_person(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours must not keep the letters behind it from being read."""

    def fails(letter: Letter, *_: object) -> Finding:
        if letter.envelope.subject == "poison":
            raise OverflowError("a defect")
        return Finding("marker", Verdict.NO_MATCH, (why("no_marker"),))

    monkeypatch.setitem(RULES, "marker", fails)
    office.deliver(to_masha("poison"), to_masha())
    assert office.run_once() == 2
    first, second = office.messages()
    assert (first.state, first.decision.code) == (State.REVIEW, "defect")
    assert second.decision.target == deal(1)


@pytest.mark.parametrize(("limit", "target"), [("4096", None), ("1MB", deal(1))])
def test_a_header_is_read_as_far_as_the_configuration_says(
    office: Office, limit: str, target: Target | None
) -> None:
    """The subject stands behind 90,000 bytes of ids: only the greater limit reaches the marker."""
    office.options["limits.header_bytes"] = json.dumps(limit)
    ids = "".join(f"\r\n <{number:06}-{'x' * 80}@nowhere.ru>" for number in range(900))
    office.deliver(f"References:{ids}\r\n".encode() + letter("stranger@nowhere.ru", subject="#1"))
    assert office.run_once() == 1
    assert office.messages()[0].decision.target == target


# ── what the index does not know ───────────────────────────────────────────────────────────────────


def test_many_open_questions_are_all_answered_before_anything_moves(office: Office) -> None:
    """Sixty letters name a deal that does not exist: each is decided again, then corrected, then quiet."""
    office.options["routing.loop.limit"] = "0"
    office.deliver(*(to_masha(subject=f"#77{number:04}") for number in range(60)))
    office.sync.sync_once()
    office.run_once()
    assert states(office) == [(State.SETTLED, Result.MOVED)] * 60
    with office.journal() as journal:
        assert journal.messages.open_questions(100) == []


def test_a_deal_that_is_younger_than_the_index_keeps_its_letter(office: Office) -> None:
    """The manager makes a deal, the client writes, Bitrix24 is right, and the index is five minutes old."""
    office.run_once()
    crm = office.portal.crm
    young = {"ID": 900, "TITLE": "Новая", "STAGE_SEMANTIC_ID": "P", "ASSIGNED_BY_ID": 5, "COMPANY_ID": 13}
    crm.add(2, {**young, "CONTACT_IDS": [24], "DATE_CREATE": "2026-11-03T11:00:00+03:00"})
    office.deliver(letter("natalia@vasilek-sample.ru"))
    (number,) = office.sync.sync_once()
    assert office.deals(number) == [900]
    office.run_once()
    assert states(office) == [(State.SETTLED, Result.ALREADY_RIGHT)]
    assert (office.deals(number), office.portal.writes) == ([900], [])


def test_a_refused_question_bars_no_other_letter(office: Office) -> None:
    """The portal does not let us search for strangers: clients that are known are served all the same."""
    office.run_once()
    office.portal.faults.add(
        "command_error",
        method="crm.duplicate.findbycomm",
        times=None,
        code="ACCESS_DENIED",
        text="Access denied",
    )
    office.deliver(letter("stranger@nowhere.ru"), to_masha())
    office.sync.sync_once()
    office.run_once()
    assert states(office) == [(State.SETTLED, Result.LEFT), (State.SETTLED, Result.MOVED)]


def test_a_kind_of_target_that_may_not_be_read_bars_no_other(office: Office) -> None:
    """Leads are forbidden: the letter of a lead waits, the letter of a deal is corrected."""
    office.run_once()
    office.portal.faults.add(
        "command_error", method="crm.lead.list", times=None, code="ACCESS_DENIED", text="Access denied"
    )
    office.deliver(letter("ivan@vorota-sample.ru"), to_masha())
    lead_activity, other = office.sync.sync_once()
    office.portal.crm.set_bindings(lead_activity, [(3, 20)])
    office.run_once()
    assert office.deals(other) == [1]


# ── letters that people wrote or moved ─────────────────────────────────────────────────────────────


def test_a_letter_written_in_the_crm_stays_in_its_deal(office: Office) -> None:
    """Its copy in Sent carries the CRM's own Message-ID: whoever wrote it chose the deal."""
    number, message_id = office.portal.crm.send_email(20, "natalia@vasilek-sample.ru", "Акция")
    copy = letter(
        "sales@company.ru", "natalia@vasilek-sample.ru", subject="Акция", message_id=message_id.strip("<>")
    )
    office.deliver(copy, folder="Sent")
    office.sync.sync_once()
    office.run_once()
    assert states(office) == [(State.SETTLED, Result.LEFT)]
    assert (office.deals(number), office.portal.writes) == ([20], [])


def test_a_move_between_the_poll_and_the_mail_is_a_persons(office: Office) -> None:
    """The portal showed the activity in deal 2; before its mail was read somebody put it into deal 3."""
    office.deliver(to_masha())
    office.run_once()
    (number,) = office.sync.sync_once()
    office.portal.faults.add(
        "meanwhile",
        method="crm.activity.binding.list",
        action=lambda: office.portal.crm.move_by_hand(number, (2, 2), (2, 3)),
    )
    office.run_once()
    assert states(office) == [(State.SETTLED, Result.PERSON)]
    assert (office.deals(number), office.portal.writes) == ([3], [])


def test_a_persons_unclear_choice_leaves_the_thread_without_ours(tmp_path: Path) -> None:
    """He bound two deals: later letters inherit neither his nor our decision."""
    from test_store import NOW, new_message

    journal = Journal(tmp_path / "imaprouter.db")
    folder = journal.folders.start("sales", "INBOX", uidvalidity=7, cursor=0, watch_since=None)
    number = journal.messages.add(folder, new_message(target=deal(1)), NOW)
    journal.messages.set_state(number, State.SETTLED, NOW, result=Result.PERSON)
    assert journal.messages.known_message("a@b") is None
    journal.close()


# ── modes and notices ──────────────────────────────────────────────────────────────────────────────


def test_observe_also_finishes_nothing(office: Office) -> None:
    """The move is done, the responsible is not, and somebody switches to observe: nothing more is written."""
    office.options |= {"binding.stamp": "false", "binding.notify": "false"}
    office.deliver(sample_letter("reply-to-masha"))
    office.sync.sync_once()
    office.portal.faults.add("command_error", method="crm.activity.update", code="OPERATION_TIME_LIMIT")
    office.run_once()
    writes = len(office.portal.writes)
    office.options["binding.mode"] = "'observe'"
    office.make_due()
    office.run_once()
    assert states(office) == [(State.SETTLED, Result.OBSERVED)]
    assert (len(office.portal.writes), office.told()) == (writes, [])


def test_a_notification_that_a_limit_struck_is_sent_later(office: Office) -> None:
    """Nothing was executed: the manager is told at the next attempt, once."""
    office.deliver(sample_letter("reply-to-masha"))
    office.sync.sync_once()
    office.portal.faults.add("command_error", method="im.notify.system.add", code="OPERATION_TIME_LIMIT")
    office.run_once()
    assert office.told() == []
    office.make_due()
    office.run_once()
    assert (office.told(), states(office)) == ([5], [(State.SETTLED, Result.MOVED)])


@pytest.mark.parametrize("kind", ["error", "http_403_html"])
def test_a_webhook_that_is_barred_between_move_and_notification_loses_none(
    office: Office, kind: Literal["error", "http_403_html"]
) -> None:
    """The request as a whole is refused: responsible and notification follow when the webhook is back."""
    office.options["binding.stamp"] = "false"
    office.deliver(sample_letter("reply-to-masha"))
    (number,) = office.sync.sync_once()
    office.portal.faults.add(kind, method="crm.activity.update", status=401, code="INVALID_CREDENTIALS")
    office.run_once()
    assert (office.told(), office.messages()[0].state) == ([], State.FAILED)
    office.make_due()
    office.run_once()
    assert (office.told(), states(office)) == ([5], [(State.SETTLED, Result.MOVED)])
    assert office.portal.crm.activity(number)["RESPONSIBLE_ID"] == 5


def test_a_webhook_that_is_barred_leaves_questions_open(office: Office) -> None:
    """What could not be asked is asked later, and not decided without."""
    office.run_once()
    crm = office.portal.crm
    young = {"ID": 900, "TITLE": "Новая", "STAGE_SEMANTIC_ID": "P", "ASSIGNED_BY_ID": 5, "COMPANY_ID": 13}
    crm.add(2, {**young, "CONTACT_IDS": [24], "DATE_CREATE": "2026-11-03T11:00:00+03:00"})
    crm.add(3, {"ID": 901, "NAME": "Новая", "EMAIL": [{"VALUE": "young@client-sample.ru"}]})
    crm.set_deal(900, CONTACT_IDS=[901])
    office.deliver(letter("young@client-sample.ru", "masha@company.ru", cc="sales@company.ru"))
    office.portal.faults.add(
        "error", method="crm.duplicate.findbycomm", times=2, status=401, code="INVALID_CREDENTIALS"
    )
    with pytest.raises(PortalDenied):
        office.run_once()
    office.portal.faults.clear()
    office.run_once()
    assert office.messages()[0].decision.target == deal(900)


def test_a_webhook_that_is_barred_ends_no_watching(office: Office) -> None:
    """A person decides in Bitrix24 after the webhook is back: it is seen, and the thread follows him."""
    office.run_once()
    office.deliver(letter(subject="Question"))
    (number,) = office.sync.sync_once()
    office.portal.faults.add(
        "error", method="crm.activity.binding.list", status=401, code="INVALID_CREDENTIALS"
    )
    office.run_once()
    office.run_once()
    office.portal.crm.move_by_hand(number, (2, 2), (2, 3))
    office.run_once()
    assert office.messages()[0].person_target == deal(3)


# ── late, doubled, renumbered ──────────────────────────────────────────────────────────────────────


def test_before_a_message_is_missing_its_activity_is_asked_for(office: Office) -> None:
    """The poll has long passed it by: asked for by its time, it is found and corrected."""
    office.options["binding.wait"] = "'1m'"
    office.deliver(to_masha())
    office.run_once()
    (number,) = office.sync.sync_once()
    with office.journal() as journal, journal.transaction():
        journal.facts.set("activities.last_id", "100000")
        journal.facts.set("activities.covered_since", "2026-01-01T00:00:00+00:00")
        journal._db.execute("UPDATE messages SET recorded_at = '2026-01-01T00:00:00.000000+00:00'")
    office.run_once()
    assert office.deals(number) == [1]


def test_twins_agree_in_everything() -> None:
    """A letter one second later, to somebody else, is no twin."""
    other = replace(
        activity(101), to=frozenset({"ilya@company.ru"}), start_time=MOMENT + timedelta(seconds=1)
    )
    assert agrees(message(), activity())
    assert not agrees(message(), other)


def test_the_activity_that_agrees_best_is_taken() -> None:
    """Two of one second, one message that waits: To decides, not the lower number."""
    tagged = message(1, replace(ENVELOPE, to=(Address("sales+d1@company.ru"),)))
    hers = replace(activity(101), to=frozenset({"sales+d1@company.ru"}))
    assert pair([tagged], [activity(100), hers]).pairs == ((1, 101),)


def test_renumbering_doubles_nothing(tmp_path: Path, own_dovecot: Dovecot, user: str) -> None:
    """Three equal letters of a robot without Message-ID stay three, however often UIDVALIDITY changes."""
    lines = to_masha().split(b"\r\n")
    raw = b"\r\n".join(line for line in lines if not line.startswith(b"Message-ID"))
    with Office(tmp_path, own_dovecot, user) as office:
        for _ in range(3):
            own_dovecot.deliver(user, raw, date=datetime(2026, 11, 3, 9, 0, 5, tzinfo=UTC))
        assert office.run_once() == 3
        for uidvalidity in ("77777", "66666"):
            own_dovecot.doveadm("mailbox", "update", "--uid-validity", uidvalidity, "-u", user, "INBOX")
            assert office.run_once() == 0
        assert len(office.messages()) == 3


def test_mail_of_the_future_does_not_hide_what_comes(tmp_path: Path, own_dovecot: Dovecot, user: str) -> None:
    """A migrated mailbox holds mail of next year; after a renumbering new mail is ours, old mail is not."""
    now = datetime.now(UTC)
    with Office(tmp_path, own_dovecot, user) as office:
        office.start = "new"
        own_dovecot.deliver(user, to_masha(), date=now + timedelta(days=300))
        own_dovecot.deliver(user, to_masha(), date=now - timedelta(days=3))
        assert office.run_once() == 0
        own_dovecot.doveadm("mailbox", "update", "--uid-validity", "77777", "-u", user, "INBOX")
        own_dovecot.deliver(user, to_masha(), date=now + timedelta(seconds=5))
        office.run_once()
        decided = [found.internal_date for found in office.messages()]
        assert min(decided) > now
        assert len(decided) == 2


def test_mail_is_read_though_the_refresh_is_not_believed(office: Office) -> None:
    """The index from before serves; the error is raised at the end."""
    office.run_once()
    for number in range(1, 21):
        office.portal.crm.delete(2, number)
    with office.journal():
        from imaprouter.refresh import LAST, LAST_FULL
        from imaprouter.store.index import Index, index_path

        index = Index(index_path(office.folder / "imaprouter.db"))
        for fact in (LAST, LAST_FULL):
            index.facts.set(fact, "2026-01-01T00:00:00+00:00")
        index.close()
    office.deliver(to_masha())
    with pytest.raises(StoreError, match="no longer shows"):
        office.run_once()
    assert len(office.messages()) == 1


def test_a_mailbox_whose_login_is_no_address_is_told_from_others() -> None:
    """The portal calls it by its bare login (mail-internals 3.4)."""
    from imaprouter.bitrix24 import rows

    row = {"ID": "7", "TYPE_ID": "4", "SETTINGS": {"EMAIL_META": {"__email": "Sales-Login"}}}
    assert rows.activity(row).mailbox_email == "sales-login"


def test_an_index_that_breaks_while_letters_come_sends_none_of_them_to_a_person(office: Office) -> None:
    """The service ends and says what helps; the next start makes the index anew, and decides by it."""
    office.run_once()
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        path = office.folder / "imaprouter-index.db"
        with path.open("r+b") as file:
            file.write(b"\xff" * path.stat().st_size)
        office.deliver(to_masha())
        assert process.wait(30) == 1
    assert "the index: the next start rebuilds it" in office.output.read_text("utf-8")
    assert office.messages() == []
    office.run_once()
    assert [found.decision.target for found in office.messages()] == [deal(1)]


# ── a journal of years ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "ask",
    [
        lambda journal: journal.messages.known_message("a@b"),
        lambda journal: journal.messages.open_questions(1),
        lambda journal: journal.messages.waits_since(MOMENT),
        lambda journal: journal.messages.unpaired_near([1, 2]),
        lambda journal: journal.messages.paired_near([1, 2]),
        lambda journal: journal.messages.copies("sales", ENVELOPE, MOMENT),
        lambda journal: journal.activities.unpaired(),
        lambda journal: journal.activities.due(MOMENT, 1, farthest=MOMENT),
        lambda journal: journal.activities.unpaired(not_within=(MOMENT, MOMENT)),
        lambda journal: journal.messages.expired(MOMENT, MOMENT, 1),
    ],
)
def test_questions_to_the_journal_use_an_index(tmp_path: Path, ask: Callable[[Journal], object]) -> None:
    """With a hundred thousand messages a scan under the write lock would end the service."""
    journal = Journal(tmp_path / "imaprouter.db")
    asked: list[str] = []
    journal._db.conn.set_trace_callback(asked.append)
    ask(journal)
    journal._db.conn.set_trace_callback(None)
    queries = [statement for statement in asked if statement.lstrip().startswith("SELECT")]
    plans = [journal._db.execute(f"EXPLAIN QUERY PLAN {query}").fetchall() for query in queries]
    journal.close()
    assert plans
    scans = [row[-1] for plan in plans for row in plan if re.match(r"SCAN (?!\S+ USING|CONSTANT)", row[-1])]
    assert scans == [], queries


def test_a_person_who_acts_while_we_correct_has_the_last_word(office: Office) -> None:
    """Company instead of deal 2: while we add, somebody moves the letter to deal 3; it stays there."""
    office.deliver(sample_letter("no-deal-of-addressed"))
    (number,) = office.sync.sync_once()
    office.portal.faults.add(
        "meanwhile",
        method="crm.activity.binding.add",
        action=lambda: office.portal.crm.move_by_hand(number, (2, 2), (2, 3)),
    )
    office.run_once()
    assert states(office) == [(State.SETTLED, Result.PERSON)]
    assert office.deals(number) == [3]


def test_a_letter_from_an_alias_of_ours_finds_its_activity(office: Office) -> None:
    """Outgoing to us, incoming to the portal, which knows only the mailbox's own address."""
    office.mailbox_options["addresses"] = "['sales@company.ru', 'office@company.ru']"
    office.deliver(letter("office@company.ru", "sergey@horns.ru", subject="#1"))
    (number,) = office.sync.sync_once()
    office.run_once()
    assert office.deals(number) == [1]


def test_an_extranet_user_is_a_client(office: Office) -> None:
    """He has no department: Bitrix24 makes an activity of his letter, and we correct it."""
    office.portal.crm.users[77] = {
        "ID": 77,
        "EMAIL": "sergey@horns.ru",
        "NAME": "Сергей",
        "ACTIVE": True,
        "USER_TYPE": "extranet",
        "UF_DEPARTMENT": [],
    }
    office.deliver(to_masha())
    (number,) = office.sync.sync_once()
    office.run_once()
    assert office.deals(number) == [1]


@pytest.mark.parametrize("method", ["crm.activity.binding.list", "crm.item.list"])
@pytest.mark.parametrize("result", [7, "yes", None])
def test_a_result_of_another_type_is_no_empty_list(office: Office, method: str, result: object) -> None:
    """Once, in a batch with status 200: no answer, and neither a person's choice nor a question."""
    office.run_once()
    office.deliver(sample_letter("reply-to-masha"))
    (number,) = office.sync.sync_once()
    office.portal.faults.add("wrong_result", method=method, result=result)
    for _ in range(3):
        with contextlib.suppress(PortalError):
            office.run_once()
        office.make_due()
    assert (office.deals(number), states(office)) == ([1], [(State.SETTLED, Result.MOVED)])
    assert office.told() == [5]


# ── a journal from a backup ────────────────────────────────────────────────────────────────────────


def _saved(office: Office) -> bytes:
    """The journal as a backup has it."""
    with office.journal() as journal:
        return journal._db.conn.serialize()


def _restore(office: Office, saved: bytes) -> None:
    path = office.folder / "imaprouter.db"
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    path.write_bytes(saved)
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("before", "result"),
    [
        ("the mail", Result.ALREADY_RIGHT),
        ("the activity", Result.ALREADY_RIGHT),
        # It saw the activity elsewhere: what changed that since is taken for a person.
        ("the correction", Result.PERSON),
    ],
)
def test_a_journal_restored_from_before_a_correction_repeats_nothing(
    office: Office, before: str, result: Result
) -> None:
    """What it forgot lies right in Bitrix24: nothing is written, and nobody is told a second time."""
    office.run_once()
    saved = _saved(office)
    office.deliver(to_masha())
    if before != "the mail":
        office.run_once()
        saved = _saved(office)
    office.sync.sync_once()
    if before == "the correction":
        office.portal.faults.add("error", method="crm.activity.binding.list", status=503, times=None)
        with contextlib.suppress(PortalError):
            office.run_once()
        office.portal.faults.clear()
        saved = _saved(office)
        office.make_due()
    office.run_once()
    assert office.told() == [5]
    written = len(office.portal.writes)
    _restore(office, saved)
    office.make_due()
    office.run_once()
    assert states(office) == [(State.SETTLED, result)]
    assert office.deals(max(office.portal.crm.activities)) == [1]
    assert (office.told(), len(office.portal.writes)) == ([5], written)


def test_a_journal_restored_from_the_middle_of_a_correction_may_tell_again(office: Office) -> None:
    """It says that something was sent, and not that anybody was told: as after a crash, he has to be."""
    office.deliver(to_masha())
    office.sync.sync_once()
    office.portal.faults.add("limit_503", method="im.notify.system.add", times=None)
    with contextlib.suppress(PortalError):
        office.run_once()
    assert office.told() == []
    saved = _saved(office)
    office.portal.faults.clear()
    for _ in range(2):
        office.make_due()
        office.run_once()
        _restore(office, saved)
    assert office.told() == [5, 5]
