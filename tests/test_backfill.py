"""`backfill`: past mail is bound, with a real mail server and the simulated portal; then the service runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dovecot import Dovecot
from office import FIXTURES, letter
from past_office import BEGIN, PastOffice
from test_evaluate import with_a_past

from imaprouter.binder import Correction
from imaprouter.model import Result, State
from imaprouter.past import binding
from imaprouter.past.looking import Looker
from imaprouter.sandbox.limits import Limits
from imaprouter.sandbox.mail_sync import MailboxConnection
from imaprouter.store.journal import Journal
from imaprouter.store.messages import StoredMessage

DEAL = 2


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[PastOffice]:
    with PastOffice(tmp_path, dovecot, user) as opened:
        yield opened


def ended(office: PastOffice) -> dict[str, tuple[State, Result | None]]:
    """How each letter on record stands, by subject."""
    return {message.envelope.subject: (message.state, message.result) for message in office.messages()}


def message_of(office: PastOffice, subject: str) -> StoredMessage:
    (found,) = (message for message in office.messages() if message.envelope.subject == subject)
    return found


# ── what it does ──────────────────────────────────────────────────────────────────────────────────────────


def test_past_letters_are_bound(office: PastOffice) -> None:
    """What is wrong is moved, what people corrected stays, the rest is on record as it is.

    Of the stranger the portal says when it is asked that he is the lead that it made of him.
    """
    activities = with_a_past(office)
    _, summary = office.lines("backfill", "--all")
    assert ended(office) == {
        "moves": (State.SETTLED, Result.MOVED),
        "#1 corrected rightly": (State.SETTLED, Result.PERSON),
        "agrees": (State.SETTLED, Result.ALREADY_RIGHT),
        "asks": (State.REVIEW, None),
        "put elsewhere": (State.SETTLED, Result.PERSON),
        "Re: put elsewhere": (State.SETTLED, Result.MOVED),
        "left": (State.SETTLED, Result.ALREADY_RIGHT),
        "no client": (State.SETTLED, Result.IGNORED),
        "lost": (State.MISSING, None),
    }
    deals = {subject: office.deals(number) for subject, number in activities.items()}
    assert deals == {
        "moves": [1],
        "#1 corrected rightly": [1],
        "agrees": [2],
        "asks": [2],
        "put elsewhere": [1],
        "Re: put elsewhere": [1],
        "left": [],
    }
    assert summary == {
        "since": None,
        "moved": 2,
        "already_right": 2,
        "person": 2,
        "undone": 0,
        "review": 1,
        "left": 1,
        "missing": 1,
        "failed": 0,
        "unfinished": 0,
    }


def test_nobody_is_told(office: PastOffice) -> None:
    """Neither the responsible now, nor the users of alerts later, however long a letter waits."""
    with_a_past(office)
    office.options["alerts.users"] = "[1]"
    office.lines("backfill", "--all")
    office.run_once()
    office.run_once()
    assert office.told() == []
    with office.journal() as journal:
        assert journal.messages.in_states(State.REVIEW, State.MISSING)
        assert journal.incidents.open() == []
        assert journal.figures.overdue(datetime.now(UTC) + timedelta(days=1)).count == 0
        assert journal.figures.missing() == ()


def test_nobody_is_asked_about_it(office: PastOffice) -> None:
    """However new the letter is; what comes afterwards is asked about."""
    moment = datetime.now(UTC) - timedelta(hours=2)
    office.dovecot.deliver(office.user, letter(subject="of the past", date=moment), date=moment)
    office.imported()
    office.options["review.notify"] = "true"
    office.run_once()
    office.lines("backfill", "--all")
    office.run_once()
    office.run_once()
    assert ended(office) == {"of the past": (State.REVIEW, None)}
    assert office.told() == []
    office.deliver(letter(subject="of today", message_id="today@horns.ru"))
    office.imported()
    office.run_once()
    office.run_once()
    assert sorted(office.told()) == [5, 6]


def test_what_was_undone_stays_undone(office: PastOffice) -> None:
    """Undo takes back what backfill did; the next backfill and the next rehearsal leave it so."""
    activities = with_a_past(office)
    before = {number: set(office.bound(number)) for number in activities.values()}
    office.lines("backfill", "--all")
    assert office.deals(activities["moves"]) == [1]
    result = office.call("undo", "--since", "2026-01-01", "--json")
    assert result.exit_code == 0, result.output
    undone = {one["activity"] for one in map(json.loads, result.stdout.splitlines())}
    assert undone == {activities["moves"], activities["Re: put elsewhere"]}
    assert {number: set(office.bound(number)) for number in activities.values()} == before
    assert message_of(office, "moves").result is Result.UNDONE
    _, summary = office.lines("backfill", "--all")
    assert (summary["undone"], summary["moved"], summary["left"]) == (2, 0, 1)
    office.run_once()
    assert {number: set(office.bound(number)) for number in activities.values()} == before
    letters, _ = office.lines("evaluate", "--all")
    (rehearsed,) = (each for each in letters if each["activity"] == activities["moves"])
    assert rehearsed["verdict"] == "person"
    assert office.told() == []


def test_nobody_is_told_when_the_service_goes_on(office: PastOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    """A correction that was begun and not sent is ended by the service, in silence; a new letter is told."""
    activities = with_a_past(office)
    calls: list[int] = []

    class Died(BaseException):
        pass

    def dies(*_: object) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise Died

    with monkeypatch.context() as dying:
        dying.setattr(binding, "_attempt", dies)
        with pytest.raises(Died):
            office.call("backfill", "--all")
    assert message_of(office, "moves").state is State.PAIRED
    office.deliver(letter(cc="masha@company.ru", subject="new"))
    office.imported()
    office.run_once()
    office.run_once()
    assert office.deals(activities["moves"]) == [1]
    assert message_of(office, "moves").result is Result.MOVED
    assert message_of(office, "new").result is Result.MOVED
    assert office.told() == [5], "of the new letter alone"


def test_the_service_goes_on_where_it_was(office: PastOffice) -> None:
    """Its cursor stays, each UID is on record once, and new mail is routed as ever."""
    with_a_past(office)
    office.run_once()
    with office.journal() as journal:
        folder = journal.folders.get("sales", "INBOX")
        assert folder
        assert journal.messages.count() == 0
    office.lines("backfill", "--all")
    with office.journal() as journal:
        after = journal.folders.get("sales", "INBOX")
        assert after
        assert (after.cursor, after.epoch) == (folder.cursor, folder.epoch)
    with office.service() as process:
        office.deliver(letter(cc="masha@company.ru", subject="new"))
        office.until(lambda: len(office.messages()) == 10)
        office.imported()
        office.until(lambda: ended(office)["new"] == (State.SETTLED, Result.MOVED))
        assert office.stop(process) == 0
    uids = [message.uid for message in office.messages()]
    assert uids == sorted(set(uids))
    assert office.call("journal", "check").exit_code == 0


def test_a_second_run_has_nothing_to_do(office: PastOffice) -> None:
    """No letter is recorded twice, nothing is written twice."""
    with_a_past(office)
    first = office.lines("backfill", "--all")
    writes = len(office.portal.writes)
    assert office.lines("backfill", "--all") == first
    assert len(office.portal.writes) == writes


def test_observed_letters_are_bound(office: PastOffice) -> None:
    """A service that only observed has them on record; nobody is told of them now."""
    office.start = "all"
    office.options["binding.mode"] = "'observe'"
    office.old(0, cc="masha@company.ru", subject="observed")
    (activity,) = office.imported()
    office.run_once()
    assert ended(office) == {"observed": (State.SETTLED, Result.OBSERVED)}
    office.options["binding.mode"] = "'act'"
    office.lines("backfill", "--all")
    assert ended(office) == {"observed": (State.SETTLED, Result.MOVED)}
    assert office.deals(activity) == [1]
    assert office.told() == []


def test_a_person_between_looking_and_binding_wins(
    office: PastOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read first still counts: another binding now is somebody's."""
    office.old(0, cc="masha@company.ru", subject="moves")
    (activity,) = office.imported()
    attempt = Correction.attempt

    def after_a_person(self: Correction, now: datetime) -> int:
        if office.deals(activity) == [2]:
            office.portal.crm.move_by_hand(activity, (DEAL, 2), (DEAL, 3))
        return attempt(self, now)

    monkeypatch.setattr(Correction, "attempt", after_a_person)
    office.lines("backfill", "--all")
    assert office.deals(activity) == [3]
    assert message_of(office, "moves").result is Result.PERSON


def test_what_people_bound_stays_though_the_service_looked_first(
    office: PastOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between finding an activity and reading what it is bound to; a service reads that meanwhile."""
    activities = with_a_past(office)

    class Died(BaseException):
        pass

    def dies(*_: object) -> None:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(Looker, "_note", dies)
        with pytest.raises(Died):
            office.call("backfill", "--all")
    office.run_once()
    assert office.binding_writes() == []
    office.lines("backfill", "--all")
    assert message_of(office, "put elsewhere").result is Result.PERSON
    assert office.deals(activities["put elsewhere"]) == [1]
    assert office.deals(activities["moves"]) == [1]


def test_one_mail_in_two_mailboxes_has_one_decision(office: PastOffice) -> None:
    """By the recipients of both copies, the later one too; each has its own activity, and both are bound."""
    second = f"{office.user}b"
    office.dovecot.maildir(second)
    office.further_mailboxes = f"""
[[mailboxes]]
name = 'info'
host = '127.0.0.1'
port = {office.dovecot.port}
tls = 'none'
username = '{second}'
password = '{office.dovecot.password}'
addresses = ['info@company.ru']
sent_folders = []
"""
    other = office.portal.connect_mailbox(
        MailboxConnection(
            email="info@company.ru",
            host="127.0.0.1",
            port=office.dovecot.port,
            username=second,
            password=office.dovecot.password,
            owner_user_id=4,
            public=True,
            folders=("INBOX",),
        )
    )
    copy = letter(date=BEGIN, message_id="one@horns.ru", subject="both")
    office.dovecot.deliver(second, copy, date=BEGIN)
    named = letter(date=BEGIN, message_id="one@horns.ru", subject="both", cc="masha@company.ru")
    office.dovecot.deliver(office.user, named, date=BEGIN + timedelta(minutes=1))
    numbers = [*office.imported(), *other.sync_once()]
    letters, _ = office.lines("evaluate", "--all")
    assert [(each["mailbox"], each["target"]["id"], each["verdict"]) for each in letters] == [
        ("info", 1, "would_move"),
        ("sales", 1, "would_move"),
    ]
    office.lines("backfill", "--all")
    assert [office.deals(number) for number in numbers] == [[1], [1]]


@pytest.mark.parametrize(("replace", "leads_left"), [("deals", 1), ("also_leads", 0)])
def test_leads_that_the_mail_sync_made(office: PastOffice, replace: str, leads_left: int) -> None:
    """They go with the correction when the configuration says so, as with new mail."""
    office.options["binding.replace"] = f"'{replace}'"
    office.old(0, sender="natalia@vasilek-sample.ru", subject="Договор #20")
    (activity,) = office.imported()
    assert [binding.is_lead for binding in office.bound(activity)] == [True, False]
    assert office.lines("evaluate", "--all")[0][0]["verdict"] == "would_move"
    office.lines("backfill", "--all")
    assert office.deals(activity) == [20]
    assert sum(binding.is_lead for binding in office.bound(activity)) == leads_left


# ── order, steps and budget ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("words", "expected"), [((), [3, 2, 1, 0]), (("--oldest-first",), [0, 1, 2, 3])])
def test_the_order_of_binding(
    office: PastOffice, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: list[int]
) -> None:
    """The newest letters first, or the oldest, in steps."""
    monkeypatch.setattr("imaprouter.past.binding.STEP", 1)
    for hour in range(4):
        office.old(hour, cc="masha@company.ru", subject=f"{hour}")
    numbers = office.imported()
    office.lines("backfill", "--all", *words)
    moved = [int(w.params["activityId"]) for w in office.portal.writes if w.method.endswith("binding.move")]
    assert [numbers.index(number) for number in moved] == expected


def test_newest_first_still_finds_what_a_letter_answers(office: PastOffice) -> None:
    """All is decided before anything is bound: the thread leads to the deal that its beginning names."""
    office.old(0, subject="Договор #1", message_id="begin@horns.ru")
    office.old(1, subject="asks nobody", in_reply_to="begin@horns.ru")
    numbers = office.imported()
    office.lines("backfill", "--all")
    assert [office.deals(number) for number in numbers] == [[1], [1]]
    assert message_of(office, "asks nobody").decision.rule == "thread"


def test_the_share_of_the_budget_is_kept(tmp_path: Path, dovecot: Dovecot, user: str) -> None:
    """With half of the rate and the burst, a portal that allows no more refuses nothing."""
    limits = Limits(burst=10, per_second=10, operating_seconds=None)
    with PastOffice(tmp_path, dovecot, user, limits=limits) as office:
        office.options |= {"portal.requests_per_second": "20.0", "portal.burst": "20"}
        for hour in range(120):
            office.old(hour, cc="masha@company.ru", subject=f"letter {hour}")
        office.imported()
        result = office.call("backfill", "--all", "--rate-share", "0.5", "--json")
        assert json.loads(result.stdout.splitlines()[-1])["summary"]["moved"] == 120
        assert len(office.portal.requests) > 10
        assert "portal.retry" not in result.stderr


# ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def process_of(office: PastOffice, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """One command as a process of its own; killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "imaprouter", "--config", str(office.config), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_it_goes_on_after_an_end(office: PastOffice, how: signal.Signals) -> None:
    """Killed or stopped in the middle of binding, the next run ends with everything right, each once."""
    office.options |= {"portal.requests_per_second": "10.0", "portal.burst": "4"}
    office.patience = 90.0
    for hour in range(250):
        office.old(hour, cc="masha@company.ru", subject=f"letter {hour}")
    numbers = office.imported()
    with process_of(office, "backfill", "--all") as process:
        office.until(office.binding_writes)
        process.send_signal(how)
        _, error = process.communicate(timeout=office.patience)
    assert process.returncode == (130 if how is signal.SIGINT else -how)
    if how is signal.SIGINT:
        assert "goes on where it stopped" in error.decode()
    assert any(office.deals(number) == [2] for number in numbers), "it was in the middle"
    office.options |= {"portal.requests_per_second": "100.0", "portal.burst": "50"}
    office.make_due()
    _, summary = office.lines("backfill", "--all")
    assert all(office.deals(number) == [1] for number in numbers)
    assert (summary["moved"], summary["unfinished"]) == (250, 0)
    assert len(office.messages()) == 250
    assert office.told() == []


def test_it_waits_for_the_service_to_end(office: PastOffice) -> None:
    """One journal belongs to one of them."""
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        result = office.call("backfill", "--all")
        assert result.exit_code == 75
        assert "stop it first" in result.output
        assert office.stop(process) == 0


# ── what it does not do ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("observe", [True, False])
def test_a_dry_run_writes_nothing(office: PastOffice, observe: bool) -> None:
    """Nor does a configuration that only observes."""
    with_a_past(office)
    office.run_once()
    if observe:
        office.options["binding.mode"] = "'observe'"
    writes = len(office.portal.writes)
    result = office.call("backfill", "--all", "--json", *(() if observe else ("--dry-run",)))
    assert result.exit_code == 0
    assert json.loads(result.stdout.splitlines()[-1])["summary"]["total"]["would_move"] == 2
    assert ("this is a dry run" in result.stderr) is observe
    assert len(office.portal.writes) == writes
    assert office.messages() == []


def test_a_folder_that_the_service_reads_first_is_named(office: PastOffice) -> None:
    """With start = "all" its mail is the service's until it was read once."""
    with_a_past(office)
    office.start = "all"
    result = office.call("backfill", "--all")
    assert result.exit_code == 0
    assert "run --once" in result.stderr
    assert office.messages() == []


def test_mail_from_before_the_first_day_is_the_past(office: PastOffice) -> None:
    """With a date as `start` the service leaves it out, though its cursor is behind it."""
    office.start = "2026-11-03"
    office.old(0, cc="masha@company.ru", subject="before")
    office.old(48, cc="masha@company.ru", subject="after")
    before, after = office.imported()
    office.run_once()
    assert list(ended(office)) == ["after"]
    told = office.told()
    office.lines("backfill", "--all")
    assert ended(office) == dict.fromkeys(("before", "after"), (State.SETTLED, Result.MOVED))
    assert office.deals(before) == office.deals(after) == [1]
    assert office.told() == told == [5], "of the letter that the service met"


def test_the_queue_shows_no_past_letter_without_an_activity(office: PastOffice) -> None:
    """There is nothing to decide about it."""
    with_a_past(office)
    office.lines("backfill", "--all")
    result = office.call("queue", "--json")
    assert [json.loads(line)["subject"] for line in result.stdout.splitlines()] == ["asks"]


def test_the_service_does_not_look_for_activities_of_the_past(office: PastOffice) -> None:
    """It would read years of them: its poll begins where it began to watch."""
    with_a_past(office)
    office.lines("backfill", "--all")
    with office.journal() as journal:
        assert journal.messages.in_states(State.REVIEW)
        assert journal.messages.earliest_unpaired() is None
        assert not journal.messages.waits_since(BEGIN - timedelta(days=1))
        later = datetime.now(UTC) + timedelta(days=9)
        assert journal.messages.expired(later, later, 10) == []


def test_a_summary_for_people(office: PastOffice) -> None:
    """How many ended how, and how to take it back."""
    with_a_past(office)
    lines = office.call("backfill", "--all").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines[:3]] == [
        ["2", "moved"],
        ["2", "right already"],
        ["2", "bound by hand, left alone"],
    ]
    assert "imaprouter undo --since" in lines[-1]


def test_a_letter_of_the_past_stays_one(tmp_path: Path) -> None:
    """The mark is a column of the journal; a journal from before has none."""
    with closing(Journal(tmp_path / "imaprouter.db")) as journal:
        rows: list[Any] = journal.past._rows("PRAGMA table_info(messages)")
        assert {row[1]: row[4] for row in rows}["past"] == "0"
