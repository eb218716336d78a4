"""The doctor: every fault by its name with advice, none hides another, and nothing is written anywhere."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import CODE, Office, sample_letter
from test_tls import https, server_context

from imaprouter.cli import cli
from imaprouter.config import PortalSettings, draft, load
from imaprouter.doctor import State, examine
from imaprouter.doctor.findings import span
from imaprouter.doctor.local import LITTLE_SPACE, NO_SPACE, space
from imaprouter.sandbox.limits import UNLIMITED
from imaprouter.sandbox.portal import Portal
from imaprouter.sandbox.quirks import Quirks
from imaprouter.store.index import Index
from imaprouter.store.journal import Journal

SCHEMAS = Path(__file__).parent / "schemas"

Checks = list[dict[str, str]]


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def imaprouter(office: Office, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(office.config), *words])


def checked(office: Office) -> tuple[int, Checks]:
    result = imaprouter(office, "check", "--json")
    assert not result.stderr
    assert all(secret not in result.output for secret in (CODE, office.dovecot.password))
    checks = [json.loads(line) for line in result.stdout.splitlines()]
    # The sentence about a mistake in the configuration says itself what to do.
    named = [check for check in checks if check["state"] == "failed" and check["check"] != "configuration"]
    assert all(check["advice"] for check in named), named
    return result.exit_code, checks


def of(checks: Checks, name: str, subject: str | None = None) -> dict[str, str]:
    """The one check of this name, and subject."""
    [found] = [check for check in checks if check["check"] == name and subject in (None, check["subject"])]
    return found


def states(checks: Checks) -> dict[str, str]:
    """Names of checks that are not well."""
    return {check["check"]: check["state"] for check in checks if check["state"] != "ok"}


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


# ── all is well ───────────────────────────────────────────────────────────────────────────────────────────


def test_all_is_well(office: Office) -> None:
    """Exit code 0; stable keys; each thing has a line of its own."""
    office.run_once()
    code, checks = checked(office)
    assert (code, states(checks)) == (0, {})
    assert all(list(check) == ["check", "subject", "state", "found", "advice"] for check in checks)
    assert [check["check"] for check in checks if check["check"].startswith(("portal", "mailbox"))] == [
        "portal.connection",
        "portal.webhook",
        "portal.scopes",
        "portal.methods",
        "portal.reading",
        "portal.clock",
        "portal.editing",
        "mailbox.connection",
        "mailbox.login",
        "mailbox.capabilities",
        "mailbox.folder",
        "mailbox.folder",
    ]
    lines = imaprouter(office, "check").stdout.splitlines()
    assert len(lines) == len(checks)
    assert all(line.startswith("ok      ") for line in lines)


def test_nothing_is_written_anywhere(office: Office) -> None:
    """Neither here, before and after a first run, nor in the mailbox, nor in the portal."""
    office.deliver(sample_letter("reply-to-masha"))
    words = ["--config", str(office.config), "check"]
    before = contents(office.folder)
    CliRunner().invoke(cli, words)
    assert contents(office.folder) == before
    office.sync.sync_once()
    office.run_once()
    before, writes = contents(office.folder), len(office.portal.writes)
    CliRunner().invoke(cli, words)
    assert contents(office.folder) == before
    assert len(office.portal.writes) == writes
    maildir = office.dovecot.maildir(office.user)
    assert not [path for path in maildir.glob("*/*") if path.name.endswith("S")]


def test_a_running_service_is_not_disturbed(office: Office) -> None:
    """Both have the journal open."""
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        code, checks = checked(office)
        assert (code, states(checks)) == (0, {})
        assert office.stop(process) == 0


def test_after_a_crash_the_files_are_looked_at_and_left(office: Office) -> None:
    """A write-ahead log is still there: what it holds is seen, and stays in it."""
    office.deliver(sample_letter("reply-to-masha"))
    with office.service() as process:
        office.until(lambda: len(office.messages()) == 1)
        process.kill()
        process.wait()
    names = ("imaprouter.db", "imaprouter.db-wal", "imaprouter-index.db", "imaprouter-index.db-wal")
    before = {name: (office.folder / name).read_bytes() for name in names}
    code, checks = checked(office)
    assert (code, of(checks, "journal")["state"]) == (0, "ok")
    assert "1 messages" in of(checks, "journal")["found"]
    assert {name: (office.folder / name).read_bytes() for name in names} == before


# ── mailboxes ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_password_hides_nothing_else(office: Office) -> None:
    """The portal and the other mailbox are looked at all the same."""
    office.further_mailboxes = f"""
[[mailboxes]]
name = "second"
host = "127.0.0.1"
port = {office.dovecot.port}
tls = "none"
username = "{office.user}"
password = "wrong-one"
addresses = ["second@company.ru"]
"""
    code, checks = checked(office)
    assert code == 1
    refused = of(checks, "mailbox.login", "second")
    assert (refused["state"], "password" in refused["advice"]) == ("failed", True)
    assert "wrong-one" not in json.dumps(checks)
    assert of(checks, "mailbox.connection", "second")["state"] == "ok"
    assert of(checks, "mailbox.folder", "sales/INBOX")["state"] == "ok"
    assert of(checks, "portal.webhook")["state"] == "ok"


def test_a_certificate_that_ends_soon_is_a_warning(office: Office) -> None:
    """That of the tests is valid for two days."""
    office.mailbox_options |= {"tls": "'implicit'", "ca_file": f"'{office.dovecot.ca_file}'"}
    text = office.config.read_text("utf-8").replace("tls = 'none'\n", "")
    text = text.replace(f"port = {office.dovecot.port}", f"port = {office.dovecot.tls_port}")
    settings = settings_of(office, text)
    found = {check.name: check for check in examined(settings)}
    assert found["mailbox.connection"].state is State.WARNING
    assert "valid until" in found["mailbox.connection"].found
    assert found["mailbox.login"].state is State.OK
    [mailbox] = settings.mailboxes
    settings = replace(settings, mailboxes=(replace(mailbox, ca_file=""),))
    found = {check.name: check for check in examined(settings)}
    assert found["mailbox.connection"].state is State.FAILED
    assert "not trusted" in found["mailbox.connection"].found
    assert "ca_file" in found["mailbox.connection"].advice


def settings_of(office: Office, text: str) -> Any:
    path = office.folder / "other.toml"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return load(path, {})


def examined(settings: Any, **options: Any) -> list[Any]:
    return list(
        examine(settings, portal_settings=settings.portal, mailbox_settings=settings.mailboxes, **options)
    )


def test_a_folder_that_is_not_there_names_the_nearest(office: Office) -> None:
    """A Sent folder of another name is found by its mark; those behind a missing one are looked at."""
    office.dovecot.maildir(office.user, "Archive")
    office.mailbox_options |= {
        "folders": "['Achive', 'Nowhere', 'inbox']",
        "sent_folders": "['Отправленные']",
    }
    code, checks = checked(office)
    assert code == 1
    assert "'Archive'" in of(checks, "mailbox.folder", "sales/Achive")["advice"]
    assert "'INBOX'" in of(checks, "mailbox.folder", "sales/Nowhere")["advice"]
    assert of(checks, "mailbox.folder", "sales/inbox")["state"] == "ok"
    assert "'Sent'" in of(checks, "mailbox.folder", "sales/Отправленные")["found"]


def test_a_server_without_idle_is_a_warning(tmp_path: Path, user: str) -> None:
    """It is asked instead, and how often is said."""
    with (
        Dovecot("imap_capability = IMAP4rev1 UIDPLUS NAMESPACE\n") as server,
        Office(tmp_path, server, user) as office,
    ):
        code, checks = checked(office)
        found = of(checks, "mailbox.capabilities")
        assert (code, found["state"]) == (0, "warning")
        assert "every 20 s" in found["found"]


def test_mail_of_the_future_gives_a_clock_away(office: Office) -> None:
    """IMAP tells no time."""
    office.dovecot.deliver(
        office.user, sample_letter("reply-to-masha"), date=datetime.now(UTC) + timedelta(hours=3)
    )
    _, checks = checked(office)
    assert of(checks, "mailbox.clock", "sales/INBOX")["state"] == "warning"


def test_a_mail_server_that_is_away(tmp_path: Path, own_dovecot: Dovecot, user: str) -> None:
    """One failure for the mailbox, not one for each step behind it."""
    with Office(tmp_path, own_dovecot, user) as office:
        own_dovecot.kill()
        code, checks = checked(office)
        assert code == 1
        assert states(checks) == {"mailbox.connection": "failed", "index": "warning"}


def test_servers_that_say_nothing_do_not_hold_up_the_rest(office: Office) -> None:
    """A time limit for all; what was found until then is told."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        text = office.config.read_text("utf-8")
        text = text.replace(f"port = {office.dovecot.port}", f"port = {silent.getsockname()[1]}")
        found = examined(settings_of(office, text), patience=1.0)
    late = [check for check in found if "not done within" in check.found]
    assert [(check.name, check.subject, check.state) for check in late] == [
        ("mailbox", "sales", State.FAILED)
    ]
    assert [check.state for check in found if check.name == "portal.webhook"] == [State.OK]


# ── the portal ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_portal_that_is_away(office: Office) -> None:
    """The address is printed without its code."""
    office.portal.stop()
    code, checks = checked(office)
    assert code == 1
    found = of(checks, "portal.connection")
    assert (found["state"], bool(found["advice"])) == ("failed", True)
    assert of(checks, "mailbox.login")["state"] == "ok"


def test_a_refused_webhook(office: Office) -> None:
    """The portal is there; the code is not valid."""
    office.portal.faults.add("error", times=None, status=401, code="invalid_credentials")
    code, checks = checked(office)
    assert code == 1
    assert of(checks, "portal.connection")["state"] == "ok"
    assert "webhook" in of(checks, "portal.webhook")["advice"]


def portal_checks(office: Office, portal: Portal) -> dict[str, Any]:
    """What the doctor says of another portal."""
    settings = load(office.config, {"IMAPROUTER_PORTAL__WEBHOOK_URL": portal.webhook_url})
    found = examine(settings, portal_settings=settings.portal, mailbox_settings=())
    return {check.name: check for check in found if check.name.startswith("portal")}


def test_missing_scopes_are_named(office: Office) -> None:
    """Without `crm` everything that needs it fails by itself too."""
    with Portal({}, limits=UNLIMITED, scopes=frozenset({"crm", "user_brief"})) as portal:
        found = portal_checks(office, portal)["portal.scopes"]
        assert (found.state, found.found.partition(" is missing")[0]) == (State.FAILED, "user_basic, im")
        office.options["binding.mode"] = "'observe'"
        found = portal_checks(office, portal)["portal.scopes"]
        assert found.found.startswith("user_basic is missing")
    with Portal({}, limits=UNLIMITED, scopes=frozenset({"user", "im"})) as portal:
        checks = portal_checks(office, portal)
        assert checks["portal.scopes"].state is State.FAILED
        assert checks["portal.methods"].state is State.FAILED
        assert checks["portal.reading"].state is State.FAILED
        assert checks["portal.clock"].state is State.OK
    with Portal({}, limits=UNLIMITED, scopes=frozenset({"crm", "user"})) as portal:
        assert portal_checks(office, portal)["portal.scopes"].state is State.WARNING


@pytest.mark.parametrize(("minutes", "word"), [(30, "ahead of"), (-30, "behind")])
def test_a_clock_that_is_wrong(office: Office, minutes: int, word: str) -> None:
    """Either way."""
    skew = timedelta(minutes=minutes)
    with Portal({}, limits=UNLIMITED, clock=lambda: datetime.now(UTC) + skew) as portal:
        found = portal_checks(office, portal)["portal.clock"]
    assert (found.state, word in found.found) == (State.WARNING, True)


def test_deals_that_nobody_may_see(office: Office) -> None:
    """An empty list of deals is hardly the whole company."""
    with Portal({}, limits=UNLIMITED) as portal:
        found = portal_checks(office, portal)["portal.reading"]
    assert (found.state, bool(found.advice)) == (State.WARNING, True)


def test_rights_that_were_refused_are_told(tmp_path: Path, dovecot: Dovecot, user: str) -> None:
    """No administrator: what cannot be asked is known from the journal."""
    with Office(tmp_path, dovecot, user, quirks=Quirks(admin=False)) as office:
        assert "no administrator" in of(checked(office)[1], "portal.editing")["found"]
        office.deliver(sample_letter("reply-to-masha"))
        office.sync.sync_once()
        office.portal.crm.read_only.add((2, 1))
        office.run_once()
        found = of(checked(office)[1], "portal.editing")
        assert (found["state"], "refused" in found["found"]) == ("warning", True)


def test_users_whom_nobody_can_tell(office: Office) -> None:
    """The portal would not complain."""
    office.options["alerts.users"] = "[5, 999]"
    found = of(checked(office)[1], "portal.users")
    assert (found["state"], found["found"]) == ("warning", "alerts.users: no such employee: 999")
    office.options["alerts.users"] = "[5]"
    assert of(checked(office)[1], "portal.users")["state"] == "ok"


# ── configuration and files ───────────────────────────────────────────────────────────────────────────────


def test_a_wrong_configuration_is_exit_2_and_the_rest_is_looked_at(office: Office) -> None:
    """Every mistake has a line; what is right is checked."""
    office.options["binding.mode"] = "'maybe'"
    office.options["routing.rulez"] = "[]"
    code, checks = checked(office)
    assert code == 2
    wrong = [check["found"] for check in checks if check["check"] == "configuration"]
    assert [message.partition(":")[0] for message in wrong] == ["routing.rulez", "binding.mode"]
    assert of(checks, "mailbox.login")["state"] == "ok"
    assert of(checks, "portal.webhook")["state"] == "ok"


def test_a_mailbox_with_a_mistake_is_not_tried(office: Office) -> None:
    """A password that is not what somebody meant would be a refused login."""
    office.further_mailboxes = "[[mailboxes]]\nname = 'second'\nhost = '127.0.0.1'\nusername = 'a@b.ru'"
    code, checks = checked(office)
    assert code == 2
    assert {check["subject"] for check in checks if check["check"] == "mailbox.connection"} == {"sales"}


@pytest.mark.parametrize(
    ("problem", "section", "number", "sound"),
    [
        ("portal.timeout: x", "portal", None, False),
        ("IMAPROUTER_PORTAL__TIMEOUT: x", "portal", None, False),
        ("mailboxes[1].port: x", "mailboxes", 0, True),
        ("mailboxes[1].port: x", "mailboxes", 1, False),
        ("mailboxes[1].port: x", "mailboxes", None, False),
        ("IMAPROUTER_MAILBOXES__1__PORT: x", "mailboxes", 1, False),
        ("mailboxes: two of them are named 'a'", "mailboxes", 0, False),
        ("store: x", "portal", None, True),
    ],
)
def test_which_part_of_a_configuration_is_sound(
    problem: str, section: str, number: int | None, sound: bool
) -> None:
    """By the key that a problem begins with."""
    assert replace(draft(None, {}), problems=(problem,)).is_sound(section, number) is sound


def test_no_configuration_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named; and a file that is no TOML is one failure."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["check", "--json"])
    missing = [json.loads(line)["found"].partition(":")[0] for line in result.stdout.splitlines()[:2]]
    assert (result.exit_code, missing) == (2, ["portal.webhook_url", "mailboxes"])
    (tmp_path / "imaprouter.toml").write_text("[portal")
    result = CliRunner().invoke(cli, ["check", "--json"])
    [only] = result.stdout.splitlines()
    assert (result.exit_code, json.loads(only)["check"]) == (2, "configuration")


@pytest.mark.usefixtures("open_folders")
def test_files_that_everybody_can_read(office: Office) -> None:
    """The configuration with its secrets, a secret's own file, the journal: each once."""
    office.run_once()
    secret = office.folder / "sales.password"
    secret.write_text(office.dovecot.password)
    text = office.config.read_text("utf-8").replace(
        f"password = '{office.dovecot.password}'", "password_file = 'sales.password'"
    )
    settings = settings_of(office, text)
    for path in (secret, office.folder / "other.toml", office.folder / "imaprouter.db"):
        path.chmod(0o644)
    result = CliRunner().invoke(cli, ["--config", str(settings.source), "check", "--json"])
    checks = [json.loads(line) for line in result.stdout.splitlines()]
    open_ones = [check["subject"] for check in checks if check["state"] == "warning"]
    assert sorted(Path(path).name for path in open_ones) == ["imaprouter.db", "other.toml", "sales.password"]
    assert all(check["advice"] == "chmod 600" for check in checks if check["state"] == "warning")
    assert result.exit_code == 0


def test_what_has_no_effect_is_a_warning(office: Office) -> None:
    """As `run` logs it."""
    office.options |= {"binding.create_missing": "true", "binding.mode": "'observe'"}
    office.run_once()
    _, checks = checked(office)
    [said] = [each for each in checks if (each["check"], each["state"]) == ("configuration", "warning")]
    assert "nothing is saved" in said["found"]


def test_saving_needs_the_scope_mail(office: Office) -> None:
    """Only while it is asked for."""
    assert of(checked(office)[1], "portal.scopes")["state"] == "ok"
    office.options["binding.create_missing"] = "true"
    found = of(checked(office)[1], "portal.scopes")
    assert (found["state"], found["found"].split(" (")[0]) == ("failed", "mail is missing")


@pytest.mark.parametrize(("host", "state"), [("127.0.0.1", "ok"), ("[::1]", "ok"), ("0.0.0.0", "warning")])
def test_whom_the_metrics_let_in(office: Office, host: str, state: str) -> None:
    """A door to more than this machine is a warning, with what to do."""
    office.options["metrics.listen"] = f"'{host}:9108'"
    found = of(checked(office)[1], "metrics")
    assert (found["state"], found["subject"], bool(found["advice"])) == (
        state,
        f"{host}:9108",
        state == "warning",
    )


@pytest.mark.parametrize("key", ["portal.ca_file", "ca_file"])
def test_an_authority_that_is_none_is_a_mistake(office: Office, key: str) -> None:
    """Of the portal, and of a mailbox: 2, with its key, before anything is tried with it."""
    (office.folder / "ca.pem").write_text("no certificate")
    options = office.options if key.startswith("portal") else office.mailbox_options
    options[key] = "'ca.pem'"
    code, checks = checked(office)
    assert code == 2
    [wrong] = [each for each in checks if (each["check"], each["state"]) == ("configuration", "failed")]
    assert "holds no PEM certificates" in wrong["found"]
    assert not [
        each for each in checks if each["check"] == f"{'portal' if '.' in key else 'mailbox'}.connection"
    ]


def test_a_portal_of_ones_own_is_checked_by_its_authority(office: Office, dovecot: Dovecot) -> None:
    """As the service would: with portal.ca_file, and without it not at all."""
    with https(server_context(dovecot)) as (where, _):
        chosen = PortalSettings(webhook_url=f"https://{where}/rest/1/{CODE}/", ca_file=str(dovecot.ca_file))
        settings = load(office.config, {})
        for ca_file, state in ((chosen.ca_file, State.OK), ("", State.FAILED)):
            portal = replace(chosen, ca_file=ca_file)
            found = {
                each.name: each for each in examine(settings, portal_settings=portal, mailbox_settings=())
            }
            assert found["portal.connection"].state is state
    assert "portal.ca_file" in found["portal.connection"].advice


# ── journal, index, disk ──────────────────────────────────────────────────────────────────────────────────


def test_a_damaged_journal_fails_and_stays_as_it_is(office: Office) -> None:
    """Pages of nonsense in the middle."""
    office.deliver(*[sample_letter("reply-to-masha")] * 3)
    office.run_once()
    path = office.folder / "imaprouter.db"
    raw = bytearray(path.read_bytes())
    raw[8192 : 8192 + 40_000] = b"\xff" * 40_000
    path.write_bytes(raw)
    code, checks = checked(office)
    assert (code, of(checks, "journal")["state"]) == (1, "failed")
    assert path.read_bytes() == raw


def test_a_foreign_journal_fails(office: Office) -> None:
    """A database of another program, and no database at all."""
    path = office.folder / "imaprouter.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert "another program" in of(checked(office)[1], "journal")["found"]
    path.write_text("no database, and long enough to be seen as none\n" * 100)
    found = of(checked(office)[1], "journal")
    assert (found["state"], bool(found["advice"])) == ("failed", True)


def test_files_of_other_versions(office: Office) -> None:
    """An earlier one is brought up to date by `run`; a later one is refused."""
    for kind in ("journal", "index"):
        name = "imaprouter.db" if kind == "journal" else "imaprouter-index.db"
        with closing(sqlite3.connect(office.folder / name)) as connection:
            connection.executescript((SCHEMAS / f"{kind}-1.sql").read_text("utf-8"))
    _, checks = checked(office)
    assert [of(checks, kind)["state"] for kind in ("journal", "index")] == ["warning", "warning"]
    Journal(office.folder / "imaprouter.db").close()
    Index(office.folder / "imaprouter-index.db").close()
    for name in ("imaprouter.db", "imaprouter-index.db"):
        with closing(sqlite3.connect(office.folder / name)) as connection, connection:
            connection.execute(
                "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
                " SELECT migration_set, 'from_the_future', applied_at FROM _sqlite_migrations LIMIT 1"
            )
    code, checks = checked(office)
    assert code == 1
    assert [of(checks, kind)["state"] for kind in ("journal", "index")] == ["failed", "failed"]
    assert "update imaprouter" in of(checks, "journal")["advice"]


@pytest.mark.parametrize(("fact", "hours"), [("refreshed_at", 1), ("refreshed_full_at", 49)])
def test_an_old_index_is_a_warning(office: Office, fact: str, hours: int) -> None:
    """Against cache.refresh_every and cache.full_every."""
    office.run_once()
    with closing(Index(office.folder / "imaprouter-index.db")) as index, index.writing():
        index.facts.set(fact, (datetime.now(UTC) - timedelta(hours=hours)).isoformat())
    code, checks = checked(office)
    assert (code, states(checks)) == (0, {"index": "warning"})


def test_what_is_left_of_the_disk() -> None:
    """Little is a warning, hardly anything a failure."""
    found = [space(free, "/").state for free in (NO_SPACE - 1, NO_SPACE, LITTLE_SPACE - 1, LITTLE_SPACE)]
    assert found == [State.FAILED, State.WARNING, State.WARNING, State.OK]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0s"), (59, "59s"), (-60, "1m"), (3_661, "1h 1m"), (180_000, "2d 2h")]
)
def test_lengths_of_time_for_people(seconds: float, words: str) -> None:
    """In their two largest units."""
    assert span(timedelta(seconds=seconds)) == words
