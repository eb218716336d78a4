"""People are asked what only they can decide, and what they settle in Bitrix24 leaves the queue."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import Office, letter

from imaprouter.cli import cli
from imaprouter.model import Binding, Envelope, State
from imaprouter.model import Result as Outcome
from imaprouter.notice import question
from imaprouter.plan import holder
from imaprouter.reasons import ENGLISH


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def imaprouter(office: Office, *words: object) -> Result:
    return CliRunner().invoke(cli, ["--config", str(office.config), *map(str, words)])


def notifying(office: Office, **further: str) -> None:
    """Questions are on, and were before any letter came."""
    office.options |= {"review.notify": "true", **{f"review.{key}": value for key, value in further.items()}}
    office.run_once()


def asked(office: Office, subject: str = "КП", **header: Any) -> tuple[int, int]:
    """A letter that deals 1 and 2 fit, which Bitrix24 bound to deal 2."""
    office.deliver(letter(subject=subject, **header))
    (activity,) = office.sync.sync_once()
    office.run_once()
    message = office.messages()[-1]
    assert message.state is State.REVIEW
    return message.id, activity


def texts(office: Office) -> dict[int, str]:
    return {
        notice.user_id: notice.message for notice in office.portal.notifications if notice.kind == "system"
    }


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_responsibles_of_the_candidates_are_asked_once(office: Office) -> None:
    notifying(office)
    message_id, _ = asked(office)
    assert sorted(office.told()) == [5, 6]
    for _ in range(3):
        office.run_once()
    assert sorted(office.told()) == [5, 6], "after restarts, too"
    text = texts(office)[5]
    assert "КП" in text
    assert "/crm/deal/details/1/]" in text
    assert "/crm/deal/details/2/]" in text
    explained = json.loads(imaprouter(office, "explain", message_id, "--json").stdout)
    assert explained["asked"] == {"5": "sent", "6": "sent"}
    assert office.binding_writes() == []


def test_those_of_the_configuration_are_asked_instead(office: Office) -> None:
    notifying(office, users="[4]")
    asked(office)
    assert office.told() == [4]


def test_nobody_is_asked_unless_it_is_wanted(office: Office) -> None:
    asked(office)
    assert office.told() == []


def test_nobody_is_asked_while_observing(office: Office) -> None:
    office.options["binding.mode"] = "'observe'"
    notifying(office)
    asked(office)
    assert office.portal.writes == []


def test_whoever_answers_is_told_where_it_went_as_always(office: Office) -> None:
    """To be asked and to be told that a letter now lies in his deal are two occasions."""
    notifying(office)
    message_id, _ = asked(office)
    imaprouter(office, "queue", "assign", message_id, "--deal", 1, "--now")
    assert sorted(office.told()) == [5, 5, 6]


def test_a_question_of_before_is_not_asked(office: Office) -> None:
    """What waited when questions were turned on, and what came while they were off."""
    asked(office)
    notifying(office)
    office.run_once()
    assert office.told() == []
    office.options["review.notify"] = "false"
    asked(office, "while it was off")
    office.options["review.notify"] = "true"
    office.run_once()
    office.run_once()
    assert office.told() == []
    asked(office, "after it")
    assert sorted(office.told()) == [5, 6]


def test_old_mail_of_a_new_mailbox_is_not_asked_about(office: Office) -> None:
    """It is new to us, and lay there for long."""
    notifying(office)
    with office.journal() as journal:
        journal.facts.set("review.since", "2020-01-01T00:00:00.000000+00:00")
        journal.facts._db.conn.commit()
    office.dovecot.deliver(office.user, letter(), "INBOX")
    for path in office.dovecot.maildir(office.user, "INBOX").rglob("*"):
        if path.is_file() and path.parent.name in ("new", "cur"):
            old = (datetime.now(UTC) - timedelta(days=5)).timestamp()
            os.utime(path, (old, old))
    office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    assert message.state is State.REVIEW
    assert message.recorded_at - message.internal_date > timedelta(days=4)
    assert office.told() == []


def test_what_was_certainly_not_sent_is_sent_later(office: Office) -> None:
    notifying(office)
    office.portal.faults.add("error", method="im.notify.system.add", code="OPERATION_TIME_LIMIT", status=429)
    message_id, _ = asked(office)
    office.run_once()
    assert sorted(office.told()) == [5, 6]
    with office.journal() as journal:
        assert journal.questions.of_message(message_id) == {5: "sent", 6: "sent"}


@pytest.mark.parametrize("fault", ["close_after", "http_504_after"])
def test_a_question_of_unknown_outcome_is_not_repeated(office: Office, fault: Any) -> None:
    notifying(office)
    office.portal.faults.add(fault, method="im.notify.system.add")
    message_id, _ = asked(office)
    for _ in range(2):
        office.run_once()
    assert sorted(office.told()) == [5, 6], "both had arrived"
    with office.journal() as journal:
        assert set(journal.questions.of_message(message_id).values()) == {"unknown"}


@pytest.mark.parametrize("subject", ["[url=http://evil.example/]klick[/url]", "a#BR#b"])
def test_a_strangers_text_is_no_markup(subject: str) -> None:
    text = question(Envelope(subject=subject), "[url=x]deal[/url]", ["[url=y]deal[/url]"], ENGLISH)
    assert "[url=http" not in text
    assert "#BR#" not in text
    assert text.count("[url=") == 2


# ── closing by itself ─────────────────────────────────────────────────────────────────────────────────────


def test_a_deleted_activity_closes_its_question(office: Office) -> None:
    _, activity = asked(office)
    office.portal.crm.delete_activity(activity)
    office.run_once()
    (message,) = office.messages()
    assert (message.state, message.result) == (State.SETTLED, Outcome.PERSON)
    assert "deleted" in message.note
    assert "no message waits" in imaprouter(office, "queue").stdout


def test_a_deleted_activity_that_was_never_read_closes_it_too(office: Office) -> None:
    office.deliver(letter())
    (activity,) = office.sync.sync_once()
    office.portal.faults.add(
        "meanwhile",
        method="crm.activity.binding.list",
        action=lambda: office.portal.crm.delete_activity(activity),
    )
    office.run_once()
    office.run_once()
    assert office.messages()[0].state is State.SETTLED


def test_a_question_whose_activity_is_there_stays(office: Office) -> None:
    asked(office)
    for _ in range(2):
        office.run_once()
    assert office.messages()[0].state is State.REVIEW


# ── the pages to look at ──────────────────────────────────────────────────────────────────────────────────


def test_open_prints_the_pages_of_holder_and_candidates(office: Office) -> None:
    message_id, activity = asked(office)
    origin = office.portal.webhook_url.partition("/rest/")[0]
    found = json.loads(imaprouter(office, "queue", "open", message_id, "--json").stdout)
    assert found == {
        "id": message_id,
        "activities": [
            {"id": activity, "holder": {"type": "deal", "id": 2, "link": f"{origin}/crm/deal/details/2/"}}
        ],
        "candidates": [
            {"type": "deal", "id": number, "link": f"{origin}/crm/deal/details/{number}/"}
            for number in (1, 2)
        ],
    }
    shown = imaprouter(office, "queue", "open", message_id).stdout
    assert f"activity {activity}: deal 2  {origin}/crm/deal/details/2/" in shown
    assert f"may belong to deal 1  {origin}/crm/deal/details/1/" in shown


def test_open_of_a_letter_without_activity_says_so(office: Office) -> None:
    office.deliver(letter())
    office.run_once()
    shown = imaprouter(office, "queue", "open", office.messages()[0].id).stdout
    assert "Bitrix24 has made no activity of it yet" in shown
    assert imaprouter(office, "queue", "open", 999).exit_code == 1


def test_the_queue_names_the_candidates_and_why(office: Office) -> None:
    first, _ = asked(office, "first")
    second, _ = asked(office, "second")
    lines = imaprouter(office, "queue").stdout.splitlines()
    heads = [line for line in lines if not line.startswith("      " + " ")]
    assert [int(line.split()[0]) for line in heads] == [first, second], "oldest first"
    assert sum(line.strip().startswith("deal 1: ") for line in lines) == 2
    assert sum(line.strip().startswith("deal 2: ") for line in lines) == 2


@pytest.mark.parametrize(
    ("bound", "held"),
    [
        ([(3, 7), (4, 3)], (3, 7)),
        ([(3, 7), (2, 5)], (2, 5)),
        ([(2, 1), (2, 2), (3, 7)], (2, 2)),
        ([(1, 9), (4, 3)], (1, 9)),
        ([], None),
    ],
)
def test_who_holds_an_activity(bound: list[tuple[int, int]], held: tuple[int, int] | None) -> None:
    """The table of rest.md 2.7."""
    assert holder([Binding(*pair) for pair in bound]) == (Binding(*held) if held else None)
