"""Who may read what: secrets open to all stop `run`; what the service writes is its owner's alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from dovecot import Dovecot
from office import FIXTURES, Office, sample_letter

from imaprouter.cli import cli
from imaprouter.config import load
from imaprouter.service import Service
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal
from imaprouter.store.lock import exclusive

pytestmark = pytest.mark.usefixtures("open_folders")

UNREACHABLE = """
portal.webhook_url = "http://127.0.0.1:9/rest/1/c0de-of-the-webhook/"
[[mailboxes]]
name = "sales"
host = "127.0.0.1"
port = 9
tls = "none"
username = "sales@company.ru"
"""


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


@pytest.fixture
def no_umask() -> Iterator[None]:
    """What is created gets every right that is asked for."""
    before = os.umask(0)
    yield
    os.umask(before)


def configured(folder: Path, password: str) -> Path:
    path = folder / "imaprouter.toml"
    path.write_text(UNREACHABLE + password)
    path.chmod(0o600)
    return path


def modes(folder: Path) -> dict[str, str]:
    """The mode of every file of the journal, the index and the lock."""
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.glob("*.db*")}


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [[], ["--once"]])
def test_run_refuses_a_configuration_that_gives_its_secrets_away(tmp_path: Path, options: list[str]) -> None:
    """2, what is wrong with which file, and the command that mends it; nothing was begun."""
    path = configured(tmp_path, "password = 'hunter22'")
    path.chmod(0o644)
    result = CliRunner().invoke(cli, ["--config", str(path), "run", *options])
    assert result.exit_code == 2
    assert f"every user of this machine can read {path}" in result.stderr
    assert "portal.webhook_url, mailboxes[0].password" in result.stderr
    assert f"chmod 600 {path}" in result.stderr
    assert "--insecure-permissions" in result.stderr
    assert "hunter22" not in result.stderr
    assert list(tmp_path.glob("*.db*")) == []


def test_run_refuses_a_secret_file_that_all_can_read(tmp_path: Path) -> None:
    secret = tmp_path / "sales.password"
    secret.write_text("hunter22")
    secret.chmod(0o604)
    path = configured(tmp_path, "password_file = 'sales.password'")
    result = CliRunner().invoke(cli, ["--config", str(path), "run", "--once"])
    assert result.exit_code == 2
    assert f"chmod 600 {secret}" in result.stderr


def test_who_insists_runs_with_open_secrets(tmp_path: Path) -> None:
    """It goes on to the portal, which is not there; the log has the warning."""
    path = configured(tmp_path, "password = 'hunter22'")
    path.chmod(0o644)
    words = [sys.executable, "-m", "imaprouter", "--config", str(path), "run", "--once"]
    environ = {**os.environ, "PYTHONPATH": str(FIXTURES.parent), "IMAPROUTER_PORTAL__TIMEOUT": "1s"}
    # The portal is asked for two minutes; its first failure is not waited for.
    with subprocess.Popen(
        [*words, "--insecure-permissions"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline().decode()
        process.terminate()
    assert "config.warning" in first
    assert f"chmod 600 {path}" in first
    assert process.returncode != 2


def test_other_commands_work(tmp_path: Path) -> None:
    """`check` tells of it; a command that asks for one marker does not."""
    path = configured(tmp_path, "password = 'hunter22'")
    path.chmod(0o644)
    result = CliRunner().invoke(cli, ["--config", str(path), "marker", "17"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "#17\n", "")


def test_what_lies_in_a_private_folder_is_not_open(tmp_path: Path) -> None:
    """Its own mode alone lets nobody reach it."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    path = configured(folder, "password = 'hunter22'")
    path.chmod(0o644)
    assert load(path, {}).exposed == ()
    folder.chmod(0o755)
    assert len(load(path, {}).exposed) == 1


def test_a_group_may_read(tmp_path: Path) -> None:
    """root:imaprouter 0640 is how packages install secrets, and systemd's credentials look like that."""
    path = configured(tmp_path, "password = 'hunter22'")
    path.chmod(0o640)
    assert load(path, {}).exposed == ()
    path.chmod(0o644)
    assert len(load(path, {}).exposed) == 1


# ── what the service writes ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("no_umask")
def test_what_the_service_writes_is_its_owners_alone(office: Office) -> None:
    """While it runs, journal and index have -wal and -shm beside them."""
    with office.service() as process:
        office.deliver(sample_letter("reply-to-masha"))
        office.until(lambda: len(office.messages()) == 1)
        found = modes(office.folder)
        assert office.stop(process) == 0
    names = {f"imaprouter{kind}.db{end}" for kind in ("", "-index") for end in ("", "-wal", "-shm")}
    assert set(found) == names | {"imaprouter.db.lock"}
    assert set(found.values()) == {"0o600"}


def test_a_umask_that_takes_everything_takes_nothing_from_the_owner(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        Journal(tmp_path / "a.db").close()
    finally:
        os.umask(before)
    assert modes(tmp_path) == {"a.db": "0o600"}


def test_files_of_a_wider_mode_are_tightened(tmp_path: Path) -> None:
    """A backup that was copied back, or a version that was less careful."""
    path = tmp_path / "a.db"
    journal, index = Journal(path), Index(index_path(path))
    with exclusive(path):
        pass
    for file in tmp_path.iterdir():
        file.chmod(0o666)
    again, index_again = Journal(path), Index(index_path(path))
    with exclusive(path):
        found = modes(tmp_path)
    assert len(found) == 7
    assert set(found.values()) == {"0o600"}
    for each in (journal, index, again, index_again):
        each.close()


def test_files_that_cannot_be_tightened_are_named(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another owner, or a file system without modes: the service goes on, and warns."""
    journal = office.folder / "imaprouter.db"
    Journal(journal).close()
    journal.chmod(0o644)
    service = Service(load(office.config, {}))

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)
    assert service.run_once() == 0
    (record,) = [record for record in caplog.records if record.msg == "store.open_to_others"]
    assert vars(record)["fields"]["path"] == str(journal)
