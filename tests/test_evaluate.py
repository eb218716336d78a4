"""`evaluate`: a rehearsal over past mail with a real mail server and the simulated portal.

The letters of `PAST` are in the mailbox, and Bitrix24 has bound them, before anything of ours runs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dovecot import Dovecot
from past_office import PastOffice

from imaprouter.model import Binding, Decision, Outcome, Target, deal
from imaprouter.past import reading
from imaprouter.past.evaluation import scratch_path
from imaprouter.past.judging import Hit, Judgement, Truth, Verdict, judged
from imaprouter.plan import bound_later, corrected_to
from imaprouter.reasons import why
from imaprouter.store.journal import Journal
from imaprouter.store.lock import exclusive

DEAL, LEAD, CONTACT, COMPANY = 2, 1, 3, 4


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[PastOffice]:
    with PastOffice(tmp_path, dovecot, user) as opened:
        yield opened


def with_a_past(office: PastOffice) -> dict[str, int]:
    """Nine letters; the activities of eight, by what is to come of them."""
    office.old(0, cc="masha@company.ru", subject="moves")
    office.old(1, subject="#1 corrected rightly")
    office.old(2, cc="ilya@company.ru", subject="agrees")
    office.old(3, subject="asks")
    office.old(4, cc="ilya@company.ru", subject="put elsewhere", message_id="elsewhere@horns.ru")
    office.old(5, subject="Re: put elsewhere", in_reply_to="elsewhere@horns.ru")
    office.old(6, sender="stranger@nowhere.ru", subject="left")
    office.old(7, sender="masha@company.ru", subject="no client")
    office.old(8, cc="masha@company.ru", subject="lost")
    numbers = office.imported()
    names = [str(office.portal.crm.activity(number)["SUBJECT"]) for number in numbers]
    activities = dict(zip(names, numbers, strict=True))
    crm = office.portal.crm
    crm.move_by_hand(activities["#1 corrected rightly"], (DEAL, 2), (DEAL, 1))
    crm.move_by_hand(activities["put elsewhere"], (DEAL, 2), (DEAL, 1))
    crm.delete_activity(activities.pop("lost"))
    return activities


def by_subject(letters: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["subject"]: each for each in letters}


# ── what it says ──────────────────────────────────────────────────────────────────────────────────────────


def test_every_letter_gets_its_verdict(office: PastOffice) -> None:
    """Agreement, moves, questions, letters without an activity, and what people corrected."""
    activities = with_a_past(office)
    letters, summary = office.lines("evaluate", "--all")
    found = by_subject(letters)
    assert {subject: each["verdict"] for subject, each in found.items()} == {
        "moves": "would_move",
        "#1 corrected rightly": "agrees",
        "agrees": "agrees",
        "asks": "review",
        "put elsewhere": "person",
        "Re: put elsewhere": "would_move",
        "left": "left",
        "no client": "left",
        "lost": "none",
    }
    assert {subject: each["activity"] for subject, each in found.items() if each["activity"]} == activities
    assert (
        found["moves"]["bound"] == ["deal 2", "company 10", "contact 20"]
        or "deal 2" in found["moves"]["bound"]
    )
    assert found["moves"]["target"] == {"type": "deal", "id": 1}
    assert found["no client"]["outcome"] == "ignore"
    total = summary["total"]
    assert (total["decided"], total["agrees"], total["would_move"], total["none"]) == (9, 2, 2, 1)
    assert total["decided"] == sum(row["decided"] for row in summary["rules"].values())


def test_what_people_corrected_is_the_test(office: PastOffice) -> None:
    """A marker named the deal to which a person moved the letter; Ilya was addressed in the other one."""
    with_a_past(office)
    letters, summary = office.lines("evaluate", "--all")
    truths = {each["subject"]: each["truth"] for each in letters if each["truth"]}
    one = {"type": "deal", "id": 1}
    assert truths == {
        "#1 corrected rightly": {"target": one, "source": "order", "decision": "right"},
        "put elsewhere": {"target": one, "source": "order", "decision": "wrong"},
    }
    assert (summary["total"]["truth_right"], summary["total"]["truth_wrong"]) == (1, 1)
    assert summary["rules"]["marker"]["truth_right"] == 1


def test_a_thread_follows_what_a_person_chose(office: PastOffice) -> None:
    """The answer to the letter that was put elsewhere belongs there, too."""
    with_a_past(office)
    letters, _ = office.lines("evaluate", "--all")
    answer = by_subject(letters)["Re: put elsewhere"]
    assert (answer["target"], answer["rule"]) == ({"type": "deal", "id": 1}, "thread")


def test_nothing_but_its_own_journal_is_written(office: PastOffice) -> None:
    """Neither to the portal, nor to the mailbox, nor to the service's journal and index."""
    with_a_past(office)
    office.run_once()
    files = [office.folder / name for name in ("imaprouter.db", "imaprouter-index.db")]
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    writes = len(office.portal.writes)
    office.lines("evaluate", "--all")
    assert len(office.portal.writes) == writes
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == before
    assert scratch_path(office.folder / "imaprouter.db").stat().st_mode & 0o777 == 0o600
    maildir = office.dovecot.maildir(office.user)
    assert not [path for path in maildir.glob("cur/*") if "S" in path.name.partition(":2,")[2]]


def test_it_runs_beside_the_service(office: PastOffice) -> None:
    """It needs no lock."""
    with_a_past(office)
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        letters, _ = office.lines("evaluate", "--all")
        assert len(letters) == 9
        assert office.stop(process) == 0


def test_a_period_begins_on_a_local_day(office: PastOffice) -> None:
    """What arrived earlier is not read."""
    office.old(0, cc="masha@company.ru", subject="before")
    office.old(48, cc="masha@company.ru", subject="after")
    office.imported()
    letters, summary = office.lines("evaluate", "--since", "2026-11-03")
    assert [each["subject"] for each in letters] == ["after"]
    assert summary["since"].startswith("2026-11-03T00:00:00")


def test_sent_letters_lie_between_received_ones(office: PastOffice) -> None:
    """By arrival over all folders: the answer from Sent is decided before the client's next letter."""
    office.old(0, cc="masha@company.ru", subject="first", message_id="first@horns.ru")
    office.old(
        1,
        folder="Sent",
        sender="sales@company.ru",
        to="sergey@horns.ru",
        subject="our answer",
        message_id="ours@company.ru",
        in_reply_to="first@horns.ru",
    )
    office.old(2, subject="next", in_reply_to="ours@company.ru")
    office.imported()
    letters, _ = office.lines("evaluate", "--all")
    assert [each["subject"] for each in letters] == ["first", "our answer", "next"]
    assert [each["target"]["id"] for each in letters] == [1, 1, 1]
    assert [each["rule"] for each in letters[1:]] == ["thread", "thread"]


def test_letters_that_no_mailbox_holds_are_rebuilt(office: PastOffice) -> None:
    """From, To and Cc of the activity say enough for the participants, though nothing of a thread."""
    with_a_past(office)
    for path in office.dovecot.maildir(office.user).glob("*/*"):
        if path.is_file() and path.parent.name in ("cur", "new"):
            path.unlink()
    assert office.lines("evaluate", "--all")[0] == []
    letters, _ = office.lines("evaluate", "--all", "--from-portal")
    found = by_subject([each for each in letters if each["from"] != "sales@company.ru"])
    assert set(found) == {
        "moves",
        "#1 corrected rightly",
        "agrees",
        "asks",
        "put elsewhere",
        "Re: put elsewhere",
        "left",
    }
    assert found["moves"]["verdict"] == "would_move"
    assert found["put elsewhere"]["verdict"] == "person"
    assert found["Re: put elsewhere"]["verdict"] == "review"
    assert found["moves"]["source"].startswith("sales/Bitrix24/")


def test_what_the_mailbox_holds_is_not_rebuilt_as_well(office: PastOffice) -> None:
    """Each activity has one letter; only those are left that Bitrix24 itself sent long ago."""
    with_a_past(office)
    plain, _ = office.lines("evaluate", "--all")
    both, _ = office.lines("evaluate", "--all", "--from-portal")
    again = [each for each in both if "/Bitrix24" not in each["source"]]
    assert [each["source"] for each in again] == [each["source"] for each in plain]
    rebuilt = {each["subject"] for each in both if "/Bitrix24" in each["source"]}
    assert rebuilt == {"Коммерческое предложение на рога", "График монтажа", "Закрывающие документы"}


def test_two_configurations_are_compared(office: PastOffice, tmp_path: Path) -> None:
    """Only letters whose decision is another one are shown, with both decisions."""
    with_a_past(office)
    other = tmp_path / "other.toml"
    shutil.copy(office.config, other)
    other.write_text(
        other.read_text().replace(
            "[[mailboxes]]", "routing.participants.several_deals = 'latest'\n[[mailboxes]]"
        )
    )
    other.chmod(0o600)
    letters, summary = office.lines("evaluate", "--all", "--against", str(other))
    assert [each["subject"] for each in letters] == ["asks"]
    assert letters[0]["review"] is True
    assert letters[0]["against"]["target"] == {"type": "deal", "id": 2}
    assert summary["differ"] == 1
    text = office.call("evaluate", "--all", "--against", str(other)).stdout
    assert "1 decision differs" in text
    assert "deal 2 (participants)" in text


def test_what_the_service_knows_of_people_counts(office: PastOffice) -> None:
    """An answer that was given to us is the truth, whatever the order of the bindings says."""
    office.old(0, subject="asked")
    office.imported()
    office.start = "all"
    office.run_once()
    (message,) = office.messages()
    assert office.call("queue", "assign", str(message.id), "--deal", "1", "--now").exit_code == 0
    letters, summary = office.lines("evaluate", "--all")
    assert letters[0]["truth"] == {
        "target": {"type": "deal", "id": 1},
        "source": "answered",
        "decision": "asked",
    }
    assert summary["total"]["truth_asked"] == 1


def test_what_we_corrected_is_no_truth(office: PastOffice) -> None:
    """Our own moves leave the deal last, too; the stamp and the journal say that it was us."""
    office.old(0, cc="masha@company.ru", subject="ours")
    office.imported()
    office.start = "all"
    office.run_once()
    letters, _ = office.lines("evaluate", "--all")
    assert letters[0]["verdict"] == "agrees"
    assert letters[0]["truth"] is None
    for name in ("imaprouter.db", "imaprouter.db-wal", "imaprouter.db-shm"):
        (office.folder / name).unlink(missing_ok=True)
    letters, _ = office.lines("evaluate", "--all")
    assert letters[0]["truth"] is None, "the stamp alone tells"


# ── going on ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_read_is_not_read_again(office: PastOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after some letters, it goes on with the others; the result is that of one run."""
    with_a_past(office)
    whole, _ = office.lines("evaluate", "--all")
    monkeypatch.setattr(reading, "STEP", 4)
    fetched: list[int] = []
    record = reading.Reader._record

    def dies(self: reading.Reader, places: Any, step: Any) -> None:
        if len(fetched) == 1:
            raise SystemExit(9)
        fetched.append(len(step))
        record(self, places, step)

    with monkeypatch.context() as dying:
        dying.setattr(reading.Reader, "_record", dies)
        assert office.call("evaluate", "--all", "--anew").exit_code == 9
    scratch = Journal(scratch_path(office.folder / "imaprouter.db"))
    assert scratch.messages.count() == 4
    scratch.close()
    seen: list[int] = []

    def counts(self: reading.Reader, places: Any, step: Any) -> None:
        seen.append(len(step))
        record(self, places, step)

    monkeypatch.setattr(reading.Reader, "_record", counts)
    again = office.call("evaluate", "--all", "--json")
    assert sum(seen) == 5
    assert "goes on where it stopped" in again.stderr
    lines = [json.loads(line) for line in again.stdout.splitlines()][:-1]
    assert [(each["source"], each["verdict"]) for each in lines] == [
        (each["source"], each["verdict"]) for each in whole
    ]


def test_a_complete_one_is_made_anew(office: PastOffice) -> None:
    """Index, mail and bindings are other ones by then; what was stopped goes on, unless told otherwise."""
    office.old(0, cc="masha@company.ru", subject="moves")
    (activity,) = office.imported()
    assert office.lines("evaluate", "--all")[0][0]["verdict"] == "would_move"
    office.portal.crm.move_by_hand(activity, (DEAL, 2), (DEAL, 1))
    result = office.call("evaluate", "--all", "--json")
    assert "is complete" in result.stderr
    assert json.loads(result.stdout.splitlines()[0])["verdict"] == "agrees"


def test_two_evaluations_do_not_mix(office: PastOffice) -> None:
    """The second one is told to wait."""
    with exclusive(scratch_path(office.folder / "imaprouter.db")):
        result = office.call("evaluate", "--all")
    assert result.exit_code == 75
    assert "another evaluation" in result.output


def test_another_configuration_begins_anew(office: PastOffice) -> None:
    """Decisions by two configurations are not mixed, and the reader is told."""
    office.old(0, subject="asks")
    office.imported()
    letters, _ = office.lines("evaluate", "--all")
    assert letters[0]["review"] is True
    office.options["routing.participants.several_deals"] = "'latest'"
    result = office.call("evaluate", "--all", "--json")
    assert "begins anew" in result.stderr
    assert json.loads(result.stdout.splitlines()[0])["target"] == {"type": "deal", "id": 2}


def test_the_portal_is_asked_in_few_requests(office: PastOffice) -> None:
    """One for the activities of a step, one for fifty bindings."""
    for hour in range(60):
        office.old(hour, cc="masha@company.ru", subject=f"letter {hour}")
    office.imported()
    before = len(office.portal.requests)
    _, summary = office.lines("evaluate", "--all")
    assert summary["total"]["would_move"] == 60
    assert len(office.portal.requests) - before <= 1 + 2


@pytest.mark.parametrize("words", [[], ["--all", "--since", "2026-01-01"]])
def test_it_says_which_mail_must_be_named(office: PastOffice, words: list[str]) -> None:
    """Neither or both is a mistake of the command line."""
    for command in ("evaluate", "backfill"):
        result = office.call(command, *words)
        assert result.exit_code == 2
        assert "--since DATE or --all" in result.output


def test_a_table_for_people(office: PastOffice) -> None:
    """One line a rule, a total; progress goes to standard error."""
    with_a_past(office)
    result = office.call("evaluate", "--all")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["rule", "decided"]
    assert lines[-1].split()[:4] == ["total", "9", "2", "2"]
    assert "reading mail: 100 % (9/9)" in result.stderr


# ── pure ──────────────────────────────────────────────────────────────────────────────────────────────────


def decision(target: Target | None, *, review: bool = False) -> Decision:
    outcome = Outcome(target.type) if target else Outcome.LEAVE
    return Decision(outcome, "marker", (why("no_marker"),), (), target, review)


BOUND = (Binding(DEAL, 2), Binding(CONTACT, 20))


@pytest.mark.parametrize(
    ("said", "bound", "by_hand", "expected"),
    [
        (decision(deal(2)), BOUND, False, Verdict.AGREES),
        (decision(deal(2)), BOUND, True, Verdict.AGREES),
        (decision(deal(1)), BOUND, False, Verdict.WOULD_MOVE),
        (decision(deal(1)), BOUND, True, Verdict.PERSON),
        (decision(deal(1)), None, False, Verdict.NONE),
        (decision(None, review=True), BOUND, False, Verdict.REVIEW),
        (decision(None, review=True), None, False, Verdict.NONE),
        (decision(None), BOUND, False, Verdict.LEFT),
        (decision(None), None, False, Verdict.LEFT),
    ],
)
def test_the_verdict(
    said: Decision, bound: tuple[Binding, ...] | None, by_hand: bool, expected: Verdict
) -> None:
    """Every combination of a decision with what is bound."""
    assert judged(said, bound, by_hand=by_hand).verdict is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (decision(deal(1)), Hit.RIGHT),
        (decision(deal(2)), Hit.WRONG),
        (decision(None, review=True), Hit.ASKED),
        (decision(None), Hit.LEFT),
    ],
)
def test_the_decision_against_a_person(said: Decision, expected: Hit) -> None:
    """Right and wrong are said of answers only, not of questions."""
    truth = Truth(deal(1), "order")
    assert judged(said, BOUND, truth=truth) == Judgement(judged(said, BOUND).verdict, truth, expected)


@pytest.mark.parametrize(
    ("bound", "later", "target"),
    [
        ([(DEAL, 2), (COMPANY, 10), (CONTACT, 20)], False, None),
        ([(COMPANY, 10), (CONTACT, 20), (DEAL, 1)], True, deal(1)),
        ([(DEAL, 2), (CONTACT, 20), (DEAL, 1)], True, None),
        ([(LEAD, 5), (CONTACT, 20), (DEAL, 1)], True, None),
        ([(COMPANY, 10), (DEAL, 1), (CONTACT, 20)], False, None),
        ([(DEAL, 1)], False, None),
        ([(DEAL, 2), (DEAL, 1)], False, None),
        ([], False, None),
    ],
)
def test_who_binds_later_binds_last(bound: list[tuple[int, int]], later: bool, target: Target | None) -> None:
    """Two deals, or a converted lead, do not say what a person chose."""
    bindings = [Binding(*pair) for pair in bound]
    assert bound_later(bindings) is later
    assert corrected_to(bindings) == target
