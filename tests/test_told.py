"""What people must know reaches them: incidents on record, alerts once, `status` and `health`."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import Office, letter, sample_letter

from imaprouter.alerts import Incident, Kind, Occasion, Tell, Trouble, decide, text, troubles
from imaprouter.cli import cli
from imaprouter.config import AlertSettings
from imaprouter.errors import ImaprouterError, MailboxError, PortalDenied
from imaprouter.language import language
from imaprouter.log import register_secret
from imaprouter.model import State
from imaprouter.pulse import PulseWriter
from imaprouter.standing import (
    BINDER,
    INDEX,
    FolderStanding,
    Part,
    PartKind,
    Pulse,
    Standing,
    Tally,
    verdicts,
)
from imaprouter.store.journal import Journal
from imaprouter.store.lock import exclusive, is_held

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INBOX = Part(PartKind.FOLDER, "sales", "INBOX")
#: Of the sample company.
OLGA, MASHA = 1, 5


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        opened.options["alerts.users"] = f"[{OLGA}, {MASHA}]"
        opened.options["binding.notify"] = "false"
        yield opened


def told(office: Office) -> list[tuple[int, str]]:
    """Everybody's notifications by us, in order."""
    return [
        (notice.user_id, notice.message) for notice in office.portal.notifications if notice.kind == "system"
    ]


def told_now(office: Office) -> list[tuple[int, str]]:
    """Those that came since the last look."""
    found = told(office)
    office.portal.notifications.clear()
    return found


def run_failing(office: Office, kind: type[ImaprouterError]) -> None:
    with pytest.raises(kind):
        office.run_once()


def change(office: Office, statement: str, *values: object) -> None:
    """What only time could do to the journal."""
    with closing(sqlite3.connect(office.folder / "imaprouter.db")) as connection, connection:
        connection.execute(statement, values)


def ago(length: timedelta) -> str:
    return (datetime.now(UTC) - length).isoformat(timespec="microseconds")


def failing_for_an_hour(office: Office) -> None:
    change(office, "UPDATE parts SET failing_since = ? WHERE failing_since IS NOT NULL", ago(HOUR))


def imaprouter(office: Office, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(office.config), *words])


def status(office: Office) -> dict[str, Any]:
    result = imaprouter(office, "status", "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


# ── alerts, with real faults ──────────────────────────────────────────────────────────────────────────────


def test_an_unreachable_mailbox_is_told_once_and_when_it_is_back(
    tmp_path: Path, own_dovecot: Dovecot, user: str
) -> None:
    """Not before its time; to each user; not again after a restart; and a last word at the end."""
    with Office(tmp_path, own_dovecot, user) as office:
        office.options["alerts.users"] = f"[{OLGA}, {MASHA}]"
        office.run_once()
        own_dovecot.kill()
        run_failing(office, MailboxError)
        assert told_now(office) == []
        failing_for_an_hour(office)
        run_failing(office, MailboxError)
        begun = told_now(office)
        assert [user_id for user_id, _ in begun] == [OLGA, MASHA]
        assert all("sales" in message and "nothing listens there" in message for _, message in begun)
        # Every run is a service of its own.
        run_failing(office, MailboxError)
        assert told_now(office) == []
        [incident] = status(office)["incidents"]
        assert (incident["kind"], incident["subject"], incident["told"]) == (
            "mailbox",
            "sales",
            [OLGA, MASHA],
        )
        own_dovecot.start()
        office.run_once()
        ended = told_now(office)
        assert [user_id for user_id, _ in ended] == [OLGA, MASHA]
        assert all("again" in message for _, message in ended)
        office.run_once()
        assert told_now(office) == []
        assert status(office)["incidents"] == []


def test_a_refusing_portal_is_told_of_when_it_works_again(office: Office) -> None:
    """It cannot be told before; a refusal counts at once."""
    office.run_once()
    change(office, "UPDATE parts SET heard_at = ?", ago(2 * HOUR))
    with closing(sqlite3.connect(office.folder / "imaprouter-index.db")) as connection, connection:
        connection.execute("UPDATE facts SET value = ? WHERE name = 'refreshed_at'", (ago(2 * HOUR),))
    office.portal.faults.add("error", times=None, status=401, code="expired_token")
    run_failing(office, PortalDenied)
    assert told_now(office) == []
    assert [incident["kind"] for incident in status(office)["incidents"]] == ["portal"]
    office.portal.faults.clear()
    office.run_once()
    messages = told_now(office)
    assert [user_id for user_id, _ in messages] == [OLGA, MASHA]
    assert all("expired_token" in message for _, message in messages)
    office.run_once()
    assert told_now(office) == []


def test_missing_activities_are_told_by_number(office: Office) -> None:
    """Bitrix24 imported nothing within binding.wait; when it does after all, that is told too."""
    office.deliver(sample_letter("reply-to-masha"), sample_letter("reply-to-ilya"))
    office.run_once()
    assert told_now(office) == []
    change(office, "UPDATE messages SET recorded_at = ?", ago(40 * HOUR))
    office.run_once()
    [(_, message), _] = told_now(office)
    assert "2 letters" in message
    office.sync.sync_once()
    office.run_once()
    [(_, message), _] = told_now(office)
    assert "none lacks its activity" in message


def test_letters_that_wait_for_a_person_are_told_by_number(office: Office) -> None:
    """Once for all of them, and once when nobody waits any more."""
    office.deliver(sample_letter("to-sales-only"), letter(subject="Вопрос", to="sales@company.ru"))
    office.sync.sync_once()
    office.run_once()
    waiting = [message.id for message in office.messages() if message.state is State.REVIEW]
    assert len(waiting) == 2
    assert told_now(office) == []
    change(office, "UPDATE messages SET recorded_at = ?", ago(5 * HOUR))
    office.run_once()
    [(_, message), _] = told_now(office)
    assert "2 letters wait for a person" in message
    office.run_once()
    assert told_now(office) == []
    [incident] = status(office)["incidents"]
    assert (incident["kind"], incident["count"]) == ("review", 2)
    assert imaprouter(office, "queue", "assign", str(waiting.pop()), "--leave").exit_code == 0
    office.run_once()
    assert told_now(office) == []
    assert status(office)["incidents"][0]["count"] == 1
    for number in waiting:
        assert imaprouter(office, "queue", "assign", str(number), "--leave").exit_code == 0
    office.run_once()
    [(_, message), _] = told_now(office)
    assert "No letter waits" in message


def test_an_old_index_is_told_while_notifications_get_through(office: Office) -> None:
    """The webhook lost its right to the CRM, not to notify."""
    office.run_once()
    change(office, "UPDATE parts SET heard_at = ?", ago(30 * HOUR))
    with closing(sqlite3.connect(office.folder / "imaprouter-index.db")) as connection, connection:
        connection.execute("UPDATE facts SET value = ?1 WHERE name LIKE 'refreshed%'", (ago(30 * HOUR),))
    office.portal.faults.add("error", method="user.get", times=None, status=403, code="access_denied")
    run_failing(office, PortalDenied)
    assert [user_id for user_id, message in told_now(office) if "copy of the CRM" in message] == [OLGA, MASHA]
    office.portal.faults.clear()
    office.run_once()
    messages = [message for user_id, message in told_now(office) if user_id == OLGA]
    assert sorted("CRM is up to date" in message for message in messages) == [False, True]


def test_observe_tells_nobody(office: Office) -> None:
    """What is wrong is on record all the same."""
    office.options["binding.mode"] = "'observe'"
    office.deliver(sample_letter("to-sales-only"))
    office.sync.sync_once()
    office.run_once()
    change(office, "UPDATE messages SET recorded_at = ?", ago(5 * HOUR))
    office.run_once()
    assert [incident["kind"] for incident in status(office)["incidents"]] == ["review"]
    assert office.portal.writes == []


def overdue(office: Office) -> None:
    """A letter that has waited for a person for too long."""
    office.deliver(sample_letter("to-sales-only"))
    office.sync.sync_once()
    office.run_once()
    change(office, "UPDATE messages SET recorded_at = ?", ago(5 * HOUR))


def test_a_running_service_tells_and_a_restart_does_not_repeat_it(office: Office) -> None:
    """Killed in between."""
    overdue(office)
    for _ in range(2):
        with office.service() as process:
            office.until(lambda: len(told(office)) == 2 and office.heard("folder.opened"))
            process.kill()
            process.wait()
        office.output.unlink()
    assert [user_id for user_id, _ in told(office)] == [OLGA, MASHA]


def test_an_alert_with_a_lost_answer_is_not_repeated(office: Office) -> None:
    """Nothing tells two notifications apart."""
    overdue(office)
    office.portal.faults.add("close_after", method="im.notify.system.add")
    office.run_once()
    office.run_once()
    assert [user_id for user_id, _ in told(office)] == [OLGA, MASHA]


def test_an_alert_that_was_certainly_not_sent_is_sent_later(office: Office) -> None:
    """The first is refused for want of a scope; the second gets through, and the first with the next look."""
    overdue(office)
    office.portal.faults.add("command_error", method="im.notify.system.add", code="insufficient_scope")
    office.run_once()
    assert [user_id for user_id, _ in told_now(office)] == [MASHA]
    office.run_once()
    assert [user_id for user_id, _ in told_now(office)] == [OLGA]


def test_no_alert_is_risked_while_the_portal_is_away(office: Office) -> None:
    """A page of the balancer would leave its outcome unknown, and the alert would be lost."""
    overdue(office)
    office.portal.faults.add("error", method="server.time", status=403, code="access_denied")
    office.run_once()
    assert told_now(office) == []
    office.run_once()
    assert [user_id for user_id, _ in told_now(office)] == [OLGA, MASHA]


def test_a_user_who_does_not_exist_bars_nobody(office: Office) -> None:
    """He is asked for once."""
    office.options["alerts.users"] = f"[999, {MASHA}]"
    overdue(office)
    office.run_once()
    office.run_once()
    assert [user_id for user_id, _ in told(office)] == [MASHA]
    asked = [write for write in office.portal.writes if write.method == "im.notify.system.add"]
    assert len(asked) == 2


# ── status and health ─────────────────────────────────────────────────────────────────────────────────────


def test_health_follows_a_running_service(tmp_path: Path, own_dovecot: Dovecot, user: str) -> None:
    """0 while all is well, 1 and the folder's name while the mail server is away."""
    with Office(tmp_path, own_dovecot, user) as office:
        with office.service() as process:
            office.until(lambda: imaprouter(office, "health").exit_code == 0)
            assert status(office)["running"] is True
            own_dovecot.kill()
            office.until(lambda: "failed  sales/INBOX" in imaprouter(office, "health").stdout)
            assert imaprouter(office, "health").exit_code == 1
            own_dovecot.start()
            office.until(lambda: imaprouter(office, "health").exit_code == 0)
            assert office.stop(process) == 0
        result = imaprouter(office, "health")
        assert result.exit_code == 1
        assert result.stdout.splitlines()[0] == "failed  service: does not run"


def test_status_needs_no_server(office: Office, own_dovecot: Dovecot) -> None:
    """Folders, counts, refresh and poll, from the files alone; and it leaves no file behind."""
    office.deliver(sample_letter("reply-to-masha"), sample_letter("to-sales-only"))
    office.sync.sync_once()
    office.run_once()
    office.portal.stop()
    before = {path.name: path.read_bytes() for path in office.folder.iterdir()}
    found = status(office)
    inbox, sent = found["folders"]
    assert (inbox["mailbox"], inbox["folder"], inbox["cursor"]) == ("sales", "INBOX", 2)
    assert inbox["last_message"]["uid"] == 2
    assert inbox["lag_seconds"] >= 0
    assert inbox["heard"]
    assert (sent["cursor"], sent["last_message"]) == (0, None)
    assert found["messages"]["review"]["count"] == 1
    assert found["messages"]["review"]["oldest"]
    assert set(found["messages"]) == {state.value for state in State if state is not State.SETTLED}
    assert found["index"]["last_refresh"]
    assert found["binder"]["last_poll"]
    assert (found["running"], found["incidents"]) == (False, [])
    assert "1 review, the oldest since" in imaprouter(office, "status").stdout
    imaprouter(office, "health")
    assert imaprouter(office, "journal", "check").exit_code == 0
    assert {path.name: path.read_bytes() for path in office.folder.iterdir()} == before


def test_status_tells_the_last_error_when_it_is_over(office: Office) -> None:
    """With its time and its class."""
    office.mailbox_options["folders"] = "['INBOX', 'Archive']"
    run_failing(office, MailboxError)
    archive = status(office)["folders"][1]
    assert archive["failing_since"]
    assert archive["last_error"]["type"] == "FolderMissing"
    assert "fails since" in imaprouter(office, "status").stdout
    office.dovecot.maildir(office.user, "Archive")
    office.run_once()
    archive = status(office)["folders"][1]
    assert archive["failing_since"] is None
    assert archive["last_error"]["type"] == "FolderMissing"
    assert "over:" in imaprouter(office, "status").stdout


def test_a_pulse_that_cannot_be_written_hides_no_error(tmp_path: Path) -> None:
    """It is logged; when there is room again, the next one is written at once."""
    path = tmp_path / "imaprouter.db"
    path.mkdir()
    pulse = PulseWriter(path, INBOX, threading.Event())
    pulse.works()
    with pytest.raises(MailboxError), pulse.watched():
        raise MailboxError("it broke")
    path.rmdir()
    with pytest.raises(MailboxError), pulse.watched():
        raise MailboxError("it broke again")
    with closing(Journal(path)) as journal:
        found = journal.parts.all()[INBOX]
        assert (found.error, found.heard_at) == ("it broke again", None)
        assert found.failing_since
        with pulse.watched():
            pass
        found = journal.parts.all()[INBOX]
        assert found.failing_since is None
        assert found.heard_at


def test_what_breaks_off_at_a_stop_is_no_failure(tmp_path: Path) -> None:
    """It was told to."""
    stop = threading.Event()
    stop.set()
    PulseWriter(tmp_path / "imaprouter.db", INBOX, stop).fails(MailboxError("stopped"))
    assert list(tmp_path.iterdir()) == []


def test_whether_a_service_runs_is_asked_without_a_trace(tmp_path: Path) -> None:
    """By the lock that it holds."""
    path = tmp_path / "imaprouter.db"
    assert not is_held(path)
    assert list(tmp_path.iterdir()) == []
    with exclusive(path):
        assert is_held(path)
    assert not is_held(path)


def test_before_the_first_run_there_is_advice(office: Office) -> None:
    """No traceback, and no journal is made by asking."""
    result = imaprouter(office, "status")
    assert (result.exit_code, "imaprouter run" in result.stderr) == (1, True)
    result = imaprouter(office, "health")
    assert (result.exit_code, "failed  journal" in result.stdout) == (1, True)
    assert not (office.folder / "imaprouter.db").exists()


def test_health_names_the_file_that_is_damaged(office: Office) -> None:
    """The index, while the journal is whole; with what helps."""
    office.run_once()
    (office.folder / "imaprouter-index.db").write_bytes(b"no database" * 1000)
    result = imaprouter(office, "health")
    assert (result.exit_code, result.stdout.partition(":")[0]) == (1, "failed  index")
    assert "the index: the next start rebuilds it" in result.stdout


def test_what_a_server_repeats_of_a_password_is_not_written_down(office: Office) -> None:
    """Neither in the journal, nor where it is shown from there."""
    office.run_once()
    register_secret(office.dovecot.password)
    error = MailboxError(f"NO who is {office.dovecot.password}?")
    PulseWriter(office.folder / "imaprouter.db", INBOX, threading.Event()).fails(error)
    assert status(office)["folders"][0]["last_error"]["error"] == "NO who is ***?"
    for words in (["status"], ["health"]):
        assert "NO who is ***?" in imaprouter(office, *words).stdout


def test_the_portals_wrong_clock_does_not_date_the_last_refresh(office: Office) -> None:
    """`status --json` and `status` tell it by our clock."""
    office.run_once()
    with closing(sqlite3.connect(office.folder / "imaprouter-index.db")) as connection, connection:
        connection.execute("UPDATE facts SET value = ? WHERE name = 'refreshed_at'", (ago(-5 * HOUR),))
    assert datetime.fromisoformat(status(office)["index"]["last_refresh"]) <= datetime.now(UTC)


# ── what is wrong, and whom to tell: pure ─────────────────────────────────────────────────────────────────


def standing(**given: Any) -> Standing:
    well = Pulse(worked_at=NOW, heard_at=NOW)
    values = {
        "now": NOW,
        "folders": (FolderStanding(INBOX, well),),
        "index": well,
        "binder": well,
        "refreshed_at": NOW,
    }
    return Standing(**{**values, **given})


def failing(length: timedelta, error_type: str = "MailboxError") -> Pulse:
    return Pulse(NOW - length, NOW - length, NOW - length, "it [b]broke[/b]", error_type, NOW)


def kinds(found: Standing) -> list[Kind]:
    return [trouble.kind for trouble in troubles(found, AlertSettings())]


def test_nothing_is_wrong() -> None:
    """No trouble, and every part is well."""
    assert kinds(standing()) == []
    found = list(verdicts(standing(), running=True, refresh_every=timedelta(minutes=5)))
    assert [verdict.part for verdict in found] == ["service", "sales/INBOX", "index", "binder"]
    assert all(verdict.well for verdict in found)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"folders": (FolderStanding(INBOX, failing(timedelta(minutes=9))),)}, []),
        ({"folders": (FolderStanding(INBOX, failing(timedelta(minutes=10))),)}, [Kind.MAILBOX]),
        ({"index": failing(timedelta(minutes=9), "PortalUnreachable")}, []),
        ({"index": failing(timedelta(minutes=10), "PortalUnreachable")}, [Kind.PORTAL]),
        ({"binder": failing(timedelta(), "PortalDenied")}, [Kind.PORTAL]),
        ({"binder": failing(HOUR, "StoreError")}, []),
        ({"index": Pulse(), "refreshed_at": NOW - 23 * HOUR}, []),
        ({"index": Pulse(), "refreshed_at": NOW - 24 * HOUR}, [Kind.INDEX]),
        ({"overdue": Tally(3, NOW - 5 * HOUR)}, [Kind.REVIEW]),
        (
            {"missing": ((date(2026, 11, 20), Tally(2, NOW)), (date(2026, 11, 21), Tally(1, NOW)))},
            [Kind.MISSING] * 2,
        ),
    ],
)
def test_a_trouble_is_given_its_time(given: dict[str, Any], expected: list[Kind]) -> None:
    """A refusal of the portal passes by itself never, an outage often."""
    assert kinds(standing(**given)) == expected


def test_the_portals_wrong_clock_makes_no_index_young() -> None:
    """A refresh that the service made is known by our clock."""
    stale = Pulse(heard_at=NOW - 30 * HOUR)
    assert kinds(standing(index=stale, refreshed_at=NOW + 5 * HOUR)) == [Kind.INDEX]
    assert kinds(standing(index=stale, refreshed_at=NOW - HOUR)) == []


def incident(
    kind: Kind,
    *,
    ended: timedelta | None = None,
    begin: frozenset[int] = frozenset(),
    end: frozenset[int] = frozenset(),
) -> Incident:
    trouble = Trouble(kind, NOW - 2 * HOUR, "sales" if kind is Kind.MAILBOX else "")
    ended_at = None if ended is None else NOW - ended
    return Incident(1, trouble, ended_at, begin, end)


def tells(found: list[Trouble], *on_record: Incident) -> list[tuple[int, Occasion]]:
    return [(tell.user_id, tell.occasion) for tell in decide(found, on_record, [1, 2], NOW).tell]


def test_what_begins_is_written_down_before_it_is_told() -> None:
    """And written down once."""
    trouble = Trouble(Kind.MAILBOX, NOW, "sales")
    decided = decide([trouble], [], [1, 2], NOW)
    assert (decided.begin, decided.counts, decided.end, decided.tell) == ((trouble,), (), (), ())
    again = decide([trouble], [incident(Kind.MAILBOX)], [1, 2], NOW)
    assert (again.begin, again.end) == ((), ())


def test_each_is_told_once_and_once_again_at_the_end() -> None:
    """Who joins later learns of what is open; who was not told of it, nothing of its end."""
    trouble = [Trouble(Kind.MAILBOX, NOW, "sales")]
    assert tells(trouble, incident(Kind.MAILBOX)) == [(1, "begin"), (2, "begin")]
    assert tells(trouble, incident(Kind.MAILBOX, begin=frozenset({1}))) == [(2, "begin")]
    assert tells(trouble, incident(Kind.MAILBOX, begin=frozenset({1, 2}))) == []
    assert tells([], incident(Kind.MAILBOX, ended=HOUR, begin=frozenset({1}))) == [(1, "end")]
    assert tells([], incident(Kind.MAILBOX, ended=HOUR, begin=frozenset({1}), end=frozenset({1}))) == []
    assert tells([], incident(Kind.MAILBOX, ended=HOUR)) == []
    assert tells([], incident(Kind.MAILBOX, ended=25 * HOUR, begin=frozenset({1}))) == []


def test_the_portals_incident_is_told_when_it_is_over() -> None:
    """To everybody."""
    assert tells([Trouble(Kind.PORTAL, NOW)], incident(Kind.PORTAL)) == []
    decided = decide([], [incident(Kind.PORTAL)], [1, 2], NOW)
    assert (len(decided.end), decided.tell) == (1, ())
    assert tells([], incident(Kind.PORTAL, ended=timedelta(), end=frozenset({2}))) == [(1, "end")]


@pytest.mark.parametrize("word", ["en", "ru", "pl"])
@pytest.mark.parametrize("kind", list(Kind))
def test_every_alert_has_its_sentences(kind: Kind, word: str) -> None:
    """In each language, filled, and with no BB code of a stranger's."""
    trouble = Trouble(kind, NOW, "[url=x]sales", 3, "it [b]broke[/b]")
    for ended, occasion in ((None, "begin"), (NOW, "end")):
        tell = Tell(Incident(1, trouble, ended), 1, "begin" if occasion == "begin" else "end")
        said = text(tell, language(word, {}), UTC)
        assert "{" not in said
        assert "[" not in said or kind is Kind.MISSING
        assert said.isascii() is (word == "en")


def test_parts_of_the_service_have_names() -> None:
    """As users read them."""
    assert [str(part) for part in (INBOX, INDEX, BINDER)] == ["sales/INBOX", "index", "binder"]
