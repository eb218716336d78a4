"""`report --unanswered --older-than 4h --notify`: the responsible is told once of each letter."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import Office, letter

from imaprouter.binder import reminders
from imaprouter.cli import cli
from imaprouter.notice import reminder
from imaprouter.reasons import ENGLISH
from imaprouter.sandbox.portal import DEFAULT_SCOPES

NOTIFY = "im.notify.system.add"
MASHAS = "sales@company.ru, masha@company.ru"


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    """Nobody is notified of moves: every notification is a reminder."""
    with Office(tmp_path, dovecot, user) as opened:
        opened.options["binding.notify"] = "false"
        yield opened


def came(office: Office, ago: timedelta, **header: Any) -> int:
    """A letter that came so long ago and is on record; its number."""
    office.deliver(letter(**{"to": MASHAS, **header}))
    maildir = office.dovecot.maildir(office.user, "INBOX")
    newest = max(
        (path for name in ("new", "cur") for path in (maildir / name).iterdir()),
        key=lambda path: path.stat().st_mtime,
    )
    moment = (datetime.now(UTC) - ago).timestamp()
    os.utime(newest, (moment, moment))
    office.run_once()
    return max(message.id for message in office.messages())


def report(office: Office, *words: str, lang: str = "en", notify: bool = True) -> Result:
    given = ["--config", str(office.config), "--lang", lang, "report", "--unanswered", "--older-than", "4h"]
    return CliRunner().invoke(cli, [*given, *(["--notify"] if notify else []), *words])


def states(office: Office, number: int) -> dict[int, str]:
    with office.journal() as journal:
        return journal.reminders.of_message(number)


HOURS = timedelta(hours=5)


def test_the_deals_responsible_is_told_once(office: Office) -> None:
    """With the link and how long it waits; the next run of the timer tells nobody, also of another day."""
    number = came(office, HOURS + timedelta(minutes=3))
    came(office, timedelta(hours=1), subject="young")
    first = report(office, "--json")
    assert first.exit_code == 0, first.output
    assert [json.loads(line)["id"] for line in first.stdout.splitlines()] == [number]
    for _ in range(2):
        again = report(office)
        assert (again.exit_code, again.stdout) == (0, "no letter waits for an answer\n")
    assert office.told() == [5]
    text = office.portal.notifications[-1].message
    assert "“КП” from sergey@horns.ru has waited for an answer for 5h 03m" in text
    assert "/crm/deal/details/1/]" in text
    explained = CliRunner().invoke(cli, ["--config", str(office.config), "explain", str(number), "--json"])
    told = json.loads(explained.stdout)
    assert told["reminded"] == {"5": "sent"}
    assert [write["step"] for write in told["writes"]] == ["remind user 5"]


def test_in_the_language_of_notices(office: Office) -> None:
    came(office, HOURS)
    report(office, lang="ru")
    assert "ждёт ответа" in office.portal.notifications[-1].message


def test_without_notify_it_only_lists(office: Office) -> None:
    came(office, HOURS)
    assert "#1" in report(office, notify=False).stdout
    assert office.told() == []


def test_while_observing_nobody_is_told_and_it_says_so(office: Office) -> None:
    number = came(office, HOURS)
    office.options["binding.mode"] = "'observe'"
    result = report(office)
    assert (result.exit_code, f"#{number}" in result.stdout) == (0, True)
    assert 'binding.mode is "observe"' in result.stderr
    assert office.portal.writes == []
    assert states(office, number) == {}


def test_an_answered_letter_is_nobodys_news(office: Office) -> None:
    came(office, HOURS, message_id="asked@horns.ru")
    office.deliver(
        letter("sales@company.ru", "sergey@horns.ru", subject="Re: КП", in_reply_to="asked@horns.ru"),
        folder="Sent",
    )
    office.run_once()
    assert report(office).stdout == "no letter waits for an answer\n"
    assert office.told() == []


def test_whoever_looks_after_letters_without_a_responsible_is_told(office: Office) -> None:
    """alerts.users; of one that a person is asked about, review.users."""
    office.options |= {"alerts.users": "[4]", "review.users": "[6]", "review.notify": "false"}
    unknown = came(office, HOURS, sender="new@nowhere.ru", to="sales@company.ru")
    several = came(office, HOURS, to="sales@company.ru")
    report(office)
    assert (states(office, unknown), states(office, several)) == ({4: "sent"}, {6: "sent"})


def test_it_says_when_there_is_nobody(office: Office) -> None:
    came(office, HOURS, sender="new@nowhere.ru", to="sales@company.ru")
    result = report(office)
    assert (result.exit_code, office.told()) == (0, [])
    assert "1 letter has nobody who could be told" in result.stderr


def test_a_responsible_who_follows_is_not_told_again(office: Office) -> None:
    number = came(office, HOURS)
    report(office)
    office.portal.crm.set_deal(1, ASSIGNED_BY_ID=6)
    CliRunner().invoke(cli, ["--config", str(office.config), "cache", "refresh"])
    report(office)
    assert states(office, number) == {5: "sent"}


def test_old_letters_are_told_of_only_when_asked_for(office: Office) -> None:
    """--notify may be turned on after years."""
    number = came(office, timedelta(days=30))
    report(office)
    assert office.told() == []
    report(office, "--from", f"{datetime.now(UTC) - timedelta(days=40):%Y-%m-%d}")
    assert states(office, number) == {5: "sent"}


# ── faults ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["close_after", "close_before", "http_504_after"])
def test_an_unknown_outcome_is_not_repeated(office: Office, fault: Any) -> None:
    number = came(office, HOURS)
    office.portal.faults.add(fault, method=NOTIFY)
    assert report(office).exit_code == 75
    assert report(office).exit_code == 0
    assert states(office, number) == {5: "unknown"}
    sent = [name for request in office.portal.requests for name, _ in request.calls if name == NOTIFY]
    assert len(sent) == 1


def test_killed_between_claim_and_send(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim is on record, and nobody can know what became of it."""
    number = came(office, HOURS)

    class Killed(BaseException):
        pass

    def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(reminders, "send", dies)
        with pytest.raises(Killed):
            report(office)
    assert states(office, number) == {5: "sending"}
    report(office)
    assert (states(office, number), office.told()) == ({5: "sending"}, [])


def test_a_portal_that_does_not_answer_leaves_it_for_the_next_run(office: Office) -> None:
    """69, and nothing is claimed."""
    number = came(office, HOURS)
    config = office.config
    office.portal.stop()
    given = ["--config", str(config), "report", "--unanswered", "--older-than", "4h", "--notify"]
    assert CliRunner().invoke(cli, given).exit_code == 69
    assert states(office, number) == {}


def test_a_missing_scope_is_said_and_nothing_is_lost(office: Office) -> None:
    """77; with the scope, the next run tells."""
    number = came(office, HOURS)
    office.portal._rest.scopes = DEFAULT_SCOPES - {"im"}
    result = report(office)
    assert (result.exit_code, "insufficient_scope" in result.stderr) == (77, True)
    office.portal._rest.scopes = DEFAULT_SCOPES
    assert report(office).exit_code == 0
    assert (states(office, number), office.told()) == ({5: "sent"}, [5])


def test_a_webhook_that_is_gone_is_said(office: Office) -> None:
    number = came(office, HOURS)
    office.portal.faults.add("error", method=NOTIFY, status=401, code="INVALID_CREDENTIALS")
    assert report(office).exit_code == 77
    assert report(office).exit_code == 0
    assert states(office, number) == {5: "sent"}


def test_letters_of_the_past_are_nobodys_news(office: Office) -> None:
    number = came(office, HOURS)
    with office.journal() as journal, journal.transaction():
        journal.reminders._execute("UPDATE messages SET past = 2 WHERE id = ?", (number,))
    report(office)
    assert office.told() == []


def test_two_runs_at_once_tell_once(office: Office) -> None:
    """The claim decides, whatever both have read."""
    number = came(office, HOURS)
    with office.journal() as one, closing(type(one)(office.folder / "imaprouter.db")) as other:
        with one.transaction():
            assert one.reminders.claim(number, [5], datetime.now(UTC)) == [5]
        with other.transaction():
            assert other.reminders.claim(number, [5], datetime.now(UTC)) == []


def test_a_strangers_subject_is_inert() -> None:
    text = reminder("[url=https://evil.ru]x[/url]#BR#", "a@b.ru", "5h", "", ENGLISH)
    assert "[url" not in text
    assert "#BR#" not in text
