"""Answers that were written in Bitrix24 and lie in no Sent folder: reports count them as what they are."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dovecot import Dovecot
from office import Office, letter

from imaprouter.cli import cli


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def asks(office: Office, *, ago: int = 3600, **header: Any) -> None:
    """A client has written so many seconds ago, and Bitrix24 has it."""
    office.deliver(letter(**{"to": "sales@company.ru, masha@company.ru", **header}))
    maildir, now = office.dovecot.maildir(office.user, "INBOX"), time.time()
    for path in (path for name in ("new", "cur") for path in (maildir / name).iterdir()):
        if path.stat().st_mtime > now - 60:
            os.utime(path, (now - ago, now - ago))
    office.sync.sync_once()
    office.run_once()


def answers(office: Office, to: str = "sergey@horns.ru", subject: str = "Re: КП") -> str:
    """Masha answers from the deal's card; the Message-ID of her letter."""
    _, message_id = office.portal.crm.send_email(1, to, subject, mailbox="sales@company.ru")
    office.run_once()
    return message_id.strip("<>")


def unanswered(office: Office) -> list[int]:
    result = CliRunner().invoke(cli, ["--config", str(office.config), "report", "--unanswered", "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line)["id"] for line in result.stdout.splitlines()]


def test_a_letter_that_bitrix24_sent_is_the_answer(office: Office) -> None:
    asks(office)
    assert unanswered(office) == [1]
    answers(office)
    assert unanswered(office) == []


def test_what_the_client_writes_afterwards_waits_again(office: Office) -> None:
    """Only a later letter answers."""
    number, _ = office.portal.crm.send_email(1, "sergey@horns.ru", "Re: КП", mailbox="sales@company.ru")
    office.portal.crm.activities[number]["START_TIME"] -= timedelta(hours=2)
    asks(office)
    office.run_once()
    assert unanswered(office) == [1]


@pytest.mark.parametrize(
    ("to", "subject"), [("anna@romashka.ru", "Re: КП"), ("sergey@horns.ru", "Something else")]
)
def test_a_letter_to_somebody_else_or_of_something_else_is_none(
    office: Office, to: str, subject: str
) -> None:
    asks(office)
    answers(office, to, subject)
    assert unanswered(office) == [1]


def test_the_thread_tells_whatever_the_subject(office: Office) -> None:
    """The client's next letter names both."""
    asks(office, message_id="first@horns.ru")
    sent = answers(office, subject="Something else")
    asks(
        office,
        ago=-5,
        subject="Re: Something else",
        in_reply_to=sent,
        headers=f"References: <first@horns.ru> <{sent}>",
    )
    assert unanswered(office) == [2], "which nobody has answered"


def test_it_stays_known_when_no_message_comes_for_it(office: Office) -> None:
    """Activities without a message are forgotten after binding.wait."""
    asks(office)
    answers(office)
    with office.journal() as journal:
        with journal.transaction():
            journal.activities.drop_unpaired(datetime.now(UTC) + timedelta(days=1))
        assert journal.activities.unpaired() == []
    assert unanswered(office) == []


def test_no_request_is_made_for_it(office: Office) -> None:
    """The poll that looks for new activities shows it."""
    asks(office)
    office.run_once()

    def methods() -> set[str]:
        before = len(office.portal.requests)
        office.run_once()
        return {name for request in office.portal.requests[before:] for name, _ in request.calls}

    quiet = methods()
    office.portal.crm.send_email(1, "sergey@horns.ru", "Re: КП", mailbox="sales@company.ru")
    assert methods() <= quiet
    assert unanswered(office) == []


def test_a_letter_that_is_not_sent_yet_is_none(office: Office) -> None:
    asks(office)
    number, _ = office.portal.crm.send_email(1, "sergey@horns.ru", "Re: КП", mailbox="sales@company.ru")
    office.portal.crm.activities[number]["COMPLETED"] = "N"
    office.run_once()
    assert unanswered(office) == [1]


def test_its_copy_in_sent_counts_once(office: Office) -> None:
    """One answer, whichever of the two is met first."""
    asks(office)
    sent = answers(office)
    office.deliver(
        letter("sales@company.ru", "sergey@horns.ru", subject="Re: КП", message_id=sent), folder="Sent"
    )
    office.run_once()
    result = CliRunner().invoke(cli, ["--config", str(office.config), "report", "--json"])
    [row] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (row["received"], row["replied"], row["sent"]) == (1, 1, 1)
