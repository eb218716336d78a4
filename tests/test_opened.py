"""Letters that somebody opens after they came: reports know it, from a real server, and change nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from dovecot import Dovecot
from imapclient import IMAPClient
from office import Office, letter

from imaprouter import watcher
from imaprouter.cli import cli


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def not_seen(office: Office) -> int:
    result = CliRunner().invoke(cli, ["--config", str(office.config), "report", "--json"])
    assert result.exit_code == 0, result.output
    return sum(json.loads(line)["not_seen"] for line in result.stdout.splitlines())


def opens(office: Office, *uids: int, deletes: bool = False) -> None:
    """Another client marks them as read, or deletes them unread."""
    with IMAPClient("127.0.0.1", port=office.dovecot.port, ssl=False, timeout=30) as client:
        client.login(office.user, office.dovecot.password)
        client.select_folder("INBOX")
        if deletes:
            client.delete_messages(uids)
            client.expunge()
        else:
            client.add_flags(uids, [rb"\Seen"])


def flags(office: Office) -> dict[int, bool]:
    with IMAPClient("127.0.0.1", port=office.dovecot.port, ssl=False, timeout=30) as client:
        client.login(office.user, office.dovecot.password)
        client.select_folder("INBOX", readonly=True)
        found = client.fetch(client.search(), ["FLAGS"])
        return {uid: rb"\Seen" in data[b"FLAGS"] for uid, data in found.items()}


def test_a_letter_that_was_opened_later_is_seen(office: Office) -> None:
    office.deliver(letter(), letter(), letter())
    office.run_once()
    assert not_seen(office) == 3
    opens(office, 2)
    office.run_once()
    assert not_seen(office) == 2
    assert flags(office) == {1: False, 2: True, 3: False}, "nothing was changed by us"
    assert [message.seen for message in office.messages()] == [False, True, False]


def test_the_running_service_learns_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next letter, at the latest after the wait of its IDLE."""
    program = office.folder / "soon.py"
    program.write_text(
        "from imaprouter import watcher\nwatcher.FLAGS_EVERY = 0.0\n"
        "from imaprouter.cli import cli\ncli(prog_name='imaprouter')\n"
    )
    office.program = [str(program)]
    office.deliver(letter())
    with office.service() as process:
        office.until(lambda: office.settled(1))
        opens(office, 1)
        office.deliver(letter())
        office.until(lambda: [message.seen for message in office.messages()] == [True, False])
        office.stop(process)
    assert not_seen(office) == 1


def test_a_letter_deleted_unread_stays_unread(office: Office) -> None:
    """That it is gone does not say that anybody opened it."""
    office.deliver(letter(), letter())
    office.run_once()
    opens(office, 1, deletes=True)
    office.run_once()
    assert not_seen(office) == 2


def test_many_letters_are_asked_about_in_portions(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imaprouter.mailbox.session.OPENED", 2)
    office.deliver(*(letter() for _ in range(5)))
    office.run_once()
    opens(office, 1, 4, 5)
    office.run_once()
    assert [message.seen for message in office.messages()] == [True, False, False, True, True]


def test_only_the_newest_are_asked_about(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is old, or too much, stays as it was known."""
    office.deliver(letter(), letter())
    office.run_once()
    with office.journal() as journal:
        folder = journal.folders.get("sales", "INBOX")
        assert folder
        since = datetime.now(UTC) - timedelta(days=1)
        assert journal.messages.unopened_uids(folder, since, 10) == [1, 2]
        assert journal.messages.unopened_uids(folder, since, 1) == [2]
        assert journal.messages.unopened_uids(folder, datetime.now(UTC) + timedelta(days=1), 10) == []
    monkeypatch.setattr(watcher, "MOST_UNOPENED", 1)
    opens(office, 1, 2)
    office.run_once()
    assert [message.seen for message in office.messages()] == [False, True]


def test_who_decides_again_does_not_forget_that_it_was_opened(office: Office) -> None:
    """The message was read before somebody opened it."""
    from imaprouter.store.messages import NewMessage

    office.deliver(letter())
    office.run_once()
    [before] = office.messages()
    opens(office, 1)
    office.run_once()
    stale = NewMessage(
        before.uid,
        before.direction,
        before.envelope,
        before.decision,
        before.internal_date,
        before.size,
        seen=False,
        state=before.state,
        result=before.result,
    )
    with office.journal() as journal, journal.transaction():
        journal.messages.redecide(before.id, stale, datetime.now(UTC), settled_too=True)
    assert office.messages()[0].seen


def test_the_question_needs_no_look_at_all_messages(office: Office) -> None:
    """The index answers it, in a journal of years."""
    office.deliver(letter())
    office.run_once()
    with office.journal() as journal:
        plan = journal.messages._rows(
            "EXPLAIN QUERY PLAN SELECT uid FROM messages WHERE folder_id = 1 AND epoch = 1 AND NOT seen"
            " ORDER BY uid DESC"
        )
    assert "messages_unopened" in str(plan)
