"""SIGHUP: a good configuration is taken up, a bad one changes nothing; nothing is lost, nothing doubled."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dovecot import Dovecot
from office import CODE, Office, letter, sample_letter

from imaprouter.config import load
from imaprouter.errors import ConfigError
from imaprouter.model import Result, State, deal
from imaprouter.sandbox.mail_sync import MailboxConnection
from imaprouter.service import Service

Process = subprocess.Popen[bytes]


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def to_masha() -> bytes:
    """A letter that Bitrix24 binds to deal 2 and that belongs to deal 1."""
    return letter(to="masha@company.ru", cc="sales@company.ru")


def check_laws(office: Office, count: int) -> None:
    """Every message is decided once, every activity is where its message belongs, nobody is told twice."""
    messages = office.messages()
    assert len({(found.mailbox, found.folder, found.uid) for found in messages}) == count
    decided = Counter(event["id"] for event in office.events() if event["event"] == "message.decided")
    assert decided == Counter(found.id for found in messages)
    told: Counter[int] = Counter()
    with office.journal() as journal:
        for found in messages:
            assert found.state in (State.SETTLED, State.REVIEW)
            told.update(list(journal.traces.notices(found.id)))
            for paired in journal.activities.of_message(found.id):
                if found.decision.target == deal(1):
                    assert office.deals(paired.activity.id) == [1]
    assert Counter(office.told()) == told


def alive(office: Office, process: Process, count: int) -> None:
    """The service still does its work: one more letter, the `count`-th, is routed."""
    office.deliver(to_masha())
    office.until(lambda: len(office.messages()) == count)
    office.sync.sync_once()
    office.until(lambda: max(office.messages(), key=lambda found: found.id).state is State.SETTLED)
    assert process.poll() is None


# ── good ones ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_policy_is_taken_up(office: Office) -> None:
    """Letters that are decided afterwards follow it; what was decided before stays."""
    office.deliver(sample_letter("to-sales-only"))
    office.sync.sync_once()
    with office.service() as process:
        office.until(lambda: len(office.messages()) == 1)
        office.options["routing.participants.several_deals"] = "'latest'"
        office.reload(process)
        office.deliver(letter())
        office.until(lambda: len(office.messages()) == 2)
        assert office.messages()[0].state is State.REVIEW
        assert office.messages()[1].decision.target == deal(2)
        office.sync.sync_once()
        office.until(lambda: office.settled(2))
        assert office.stop(process) == 0
    check_laws(office, 2)
    assert office.times_heard("service.started") == 1


def test_a_changed_mode_is_taken_up(office: Office) -> None:
    """observe becomes act; what was settled as observed is not touched again."""
    office.options["binding.mode"] = "'observe'"
    office.deliver(to_masha())
    office.sync.sync_once()
    with office.service() as process:
        office.until(lambda: office.settled(1))
        assert office.portal.writes == []
        office.options["binding.mode"] = "'act'"
        office.reload(process)
        alive(office, process, 2)
    assert [message.result for message in office.messages()] == [Result.OBSERVED, Result.MOVED]
    assert office.binding_writes() == ["crm.activity.binding.move"]


def test_a_folder_is_added_and_taken_away(office: Office) -> None:
    """Taken away, its mail waits on the server; added again, it goes on where it was."""
    with office.service() as process:
        alive(office, process, 1)
        office.deliver(to_masha(), folder="Sales")
        office.mailbox_options["folders"] = "['INBOX', 'Sales']"
        office.reload(process)
        office.until(lambda: len(office.messages()) == 2)
        office.mailbox_options["folders"] = "['INBOX']"
        office.reload(process)
        office.deliver(to_masha(), folder="Sales")
        alive(office, process, 3)
        assert Counter(message.folder for message in office.messages()) == {"INBOX": 2, "Sales": 1}
        office.mailbox_options["folders"] = "['Sales']"
        office.reload(process)
        office.until(lambda: len(office.messages()) == 4)
        assert office.stop(process) == 0
    decided = Counter(event["id"] for event in office.events() if event["event"] == "message.decided")
    assert sorted(decided.values()) == [1, 1, 1, 1]


def test_a_mailbox_is_added_and_taken_away(office: Office) -> None:
    other = f"{office.user}-info"
    office.dovecot.maildir(other)
    sync = office.portal.connect_mailbox(
        MailboxConnection(
            email="info@company.ru",
            host="127.0.0.1",
            port=office.dovecot.port,
            username=other,
            password=office.dovecot.password,
            owner_user_id=4,
            public=True,
        )
    )
    table = f"""
[[mailboxes]]
name = 'info'
host = '127.0.0.1'
port = {office.dovecot.port}
tls = 'none'
username = '{other}'
password = '{office.dovecot.password}'
addresses = ['info@company.ru']
sent_folders = []
start = 'all'
"""
    with office.service() as process:
        alive(office, process, 1)
        office.dovecot.deliver(other, letter(to="masha@company.ru", cc="info@company.ru"))
        office.further_mailboxes = table
        office.reload(process)
        office.until(lambda: len(office.messages()) == 2)
        # Its activity comes when the mailbox is gone again: nothing that was decided is forgotten.
        office.further_mailboxes = ""
        office.reload(process)
        sync.sync_once()
        alive(office, process, 3)
        assert not office.settled(3)
        office.further_mailboxes = table
        office.reload(process)
        office.until(lambda: office.settled(3))
        assert office.stop(process) == 0
    check_laws(office, 3)


def test_a_password_that_was_wrong_is_mended(office: Office) -> None:
    """Refused logins are five minutes apart; a reload does not wait for them."""
    right = office.dovecot.password
    office.dovecot.password = "not-the-password"
    with office.service() as process:
        office.until(lambda: office.heard("folder.failed"))
        office.dovecot.password = right
        office.reload(process)
        office.until(lambda: office.heard("folder.opened"))
        alive(office, process, 1)
        assert office.stop(process) == 0
    check_laws(office, 1)


def test_a_flow_of_letters_survives_a_storm_of_reloads(office: Office) -> None:
    """Each is decided once and moved once, and its manager is told once."""
    count = 40
    office.options["routing.loop.limit"] = "0"
    office.sync.start(0.05)
    with office.service() as process:
        office.until(lambda: office.heard("service.started"))
        for number in range(count):
            office.deliver(to_masha())
            if number % 4 == 0:
                process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        office.reload(process)
        office.until(lambda: office.settled(count))
        assert office.stop(process) == 0
    check_laws(office, count)
    assert office.times_heard("config.taken_up") > 3
    assert office.told() == [5] * count
    assert office.binding_writes().count("crm.activity.binding.move") == count


@pytest.mark.parametrize("method", ["crm.activity.binding.move", "im.notify.system.add"])
def test_what_was_begun_is_ended_before_others_begin(office: Office, method: str) -> None:
    """SIGHUP in the middle of a write: the old binder reads its answer, the new one finds nothing to do."""
    office.deliver(to_masha())
    (number,) = office.sync.sync_once()
    with office.service() as process:
        answered: list[datetime] = []

        def hang_up() -> None:
            process.send_signal(signal.SIGHUP)
            time.sleep(1.5)
            answered.append(datetime.now(UTC))

        office.portal.faults.add("meanwhile", method=method, action=hang_up)
        office.until(lambda: office.heard("config.taken_up"))
        (taken,) = [each["time"] for each in office.events() if each["event"] == "config.taken_up"]
        assert answered
        assert datetime.fromisoformat(taken) >= answered[0] - timedelta(milliseconds=1)
        office.until(lambda: office.settled(1))
        assert office.stop(process) == 0
    assert (office.deals(number), office.told()) == ([1], [5])
    check_laws(office, 1)


def test_a_stop_is_obeyed_while_a_reload_waits(office: Office) -> None:
    """The portal hangs, SIGHUP waits for its answer, SIGTERM waits for nothing."""
    office.options["portal.timeout"] = "'60s'"
    office.deliver(to_masha())
    office.sync.sync_once()
    office.portal.faults.add("timeout_after", method="crm.activity.binding.move")
    with office.service() as process:
        office.until(lambda: "crm.activity.binding.move" in office.binding_writes())
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        began = time.monotonic()
        assert office.stop(process) == 0
        assert time.monotonic() - began < 10
    assert not office.heard("config.taken_up")


# ── bad ones ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bad_configuration_keeps_the_old_one_and_says_every_mistake(office: Office) -> None:
    with office.service() as process:
        alive(office, process, 1)
        office.options |= {
            "binding.mode": "'perhaps'",
            "routing.rule": "[]",
            "cache.refresh_every": "'1s'",
            "metrics.listen": "'nowhere'",
        }
        office.reload(process)
        alive(office, process, 2)
        for key in ("binding.mode", "routing.rule", "cache.refresh_every", "metrics.listen"):
            del office.options[key]
        office.reload(process)
        alive(office, process, 3)
        assert office.stop(process) == 0
    problems = [event["problem"] for event in office.events() if event["event"] == "config.problem"]
    assert len(problems) == 4
    for key in ("binding.mode", "routing.rule", "cache.refresh_every", "metrics.listen"):
        assert any(problem.startswith(f"{key}: ") for problem in problems)
    assert (office.times_heard("config.refused"), office.times_heard("config.taken_up")) == (1, 1)
    printed = office.output.read_text("utf-8")
    assert CODE not in printed
    assert office.dovecot.password not in printed
    check_laws(office, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no TOML", "not valid TOML"),
        ("x = " + "[" * 100_000, "nested too deeply"),
        ("", "has no portal.webhook_url"),
        (None, "cannot read the configuration"),
    ],
)
def test_a_file_that_is_no_configuration_changes_nothing(office: Office, text: str | None, said: str) -> None:
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        path = office.config
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        process.send_signal(signal.SIGHUP)
        office.until(lambda: office.heard("config.refused"))
        (refused,) = [event for event in office.events() if event["event"] == "config.refused"]
        assert said in refused["error"]
        alive(office, process, 1)
        assert office.stop(process) == 0


@pytest.mark.parametrize("options", ["options", "mailbox_options"])
def test_authorities_that_are_none_are_refused_before_they_are_needed(office: Office, options: str) -> None:
    """portal.ca_file and a mailbox's: the service reads mail as before."""
    (office.folder / "ca.pem").write_text("no certificate")
    key = "portal.ca_file" if options == "options" else "ca_file"
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        getattr(office, options)[key] = "'ca.pem'"
        office.reload(process)
        assert office.heard("config.refused")
        assert any(f"{key}: " in str(event.get("problem")) for event in office.events())
        alive(office, process, 1)
        assert office.stop(process) == 0


def test_the_journal_cannot_change_while_the_service_runs(office: Office) -> None:
    with office.service() as process:
        alive(office, process, 1)
        office.options["store.path"] = "'other.db'"
        office.options["binding.mode"] = "'observe'"
        office.reload(process)
        alive(office, process, 2)
        assert office.stop(process) == 0
    (refused,) = [event for event in office.events() if event["event"] == "config.refused"]
    assert "store.path cannot change" in refused["error"]
    assert not (office.folder / "other.db").exists()
    check_laws(office, 2)


@pytest.mark.usefixtures("open_folders")
def test_open_secrets_are_refused_at_a_reload_too(office: Office) -> None:
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        office.config.chmod(0o644)
        process.send_signal(signal.SIGHUP)
        office.until(lambda: office.heard("config.refused"))
        assert any("chmod 600" in str(event.get("problem")) for event in office.events())
        alive(office, process, 1)


def test_a_service_without_a_file_says_that_there_is_nothing_to_read(office: Office) -> None:
    """Made by a program rather than by `run`."""
    service = Service(load(office.config, {}))
    with pytest.raises(ConfigError, match="no configuration file"):
        service._successors()
