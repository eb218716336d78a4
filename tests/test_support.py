"""`support-bundle`: what helps is in it; secrets of every kind, letters, addresses and subjects are not."""

from __future__ import annotations

import json
import os
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import CODE, Office, letter

from imaprouter.cli import cli
from imaprouter.cli.support import Scrubber
from imaprouter.config import load
from imaprouter.errors import MailboxError
from imaprouter.pulse import PulseWriter
from imaprouter.service import Service
from imaprouter.standing import Part, PartKind

KEY = "k3y-of-the-markers"
ENV_PASSWORD = "pass-of-the-environment"
URL_PASSWORD, URL_TOKEN = "pass-in-an-address", "t0ken-in-a-query"
FORGOTTEN_CODE = "c0de-of-an-older-webhook"
SECRETS = (CODE, KEY, ENV_PASSWORD, URL_PASSWORD, URL_TOKEN, FORGOTTEN_CODE, Dovecot.password)
SUBJECT = "Confidential offer"
ADDRESSES = ("sergey@horns.ru", "sales@company.ru", "m.petrova@company.ru", "support@company.ru")


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    """An office that has seen a letter, with a secret of every kind in its configuration and in an error."""
    folder = tmp_path / "office"
    folder.mkdir()
    with Office(folder, dovecot, user) as opened:
        (folder / "key").write_text(KEY)
        (folder / "key").chmod(0o600)
        opened.options["routing.marker.secret_file"] = "'key'"
        opened.further_mailboxes = "\n".join(
            [
                "[[mailboxes]]",
                "name = 'far'",
                "host = '127.0.0.1'",
                "port = 1",
                "tls = 'none'",
                "username = 'far-away-login'",
                "addresses = ['far@company.ru']",
                "password_env = 'PASSWORD_OF_TESTS'",
            ]
        )
        yield opened


def used(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter is on record, and an error that quotes addresses with secrets in them."""
    monkeypatch.setenv("PASSWORD_OF_TESTS", ENV_PASSWORD)
    office.deliver(letter(subject=SUBJECT))
    office.sync.sync_once()
    with pytest.raises(MailboxError):
        Service(load(office.config, os.environ)).run_once()
    pulse = PulseWriter(
        office.folder / "imaprouter.db", Part(PartKind.FOLDER, "sales", "INBOX"), threading.Event()
    )
    quoted = f"https://robot:{URL_PASSWORD}@proxy.company.ru/?access_token={URL_TOKEN}"
    older = f"https://company.bitrix24.ru/rest/7/{FORGOTTEN_CODE}/profile"
    pulse.fails(MailboxError(f"{quoted} {older} refuses <sergey@horns.ru> and far-away-login"))


def bundled(office: Office, *words: str) -> tuple[Result, dict[str, Any], str]:
    """The command's result, the values in the archive by name, and everything that it holds as one text."""
    path = office.folder / "help.zip"
    path.unlink(missing_ok=True)
    result = CliRunner().invoke(cli, ["--config", str(office.config), "support-bundle", *words, str(path)])
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    for name in texts:
        assert name in result.stdout
    values = {name: json.loads(text) for name, text in texts.items() if name.endswith(".json")}
    return result, values, "\n".join([*texts, *texts.values(), result.output])


def test_what_helps_is_in_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions, settings in force, status with the last error, counts, the journal; `check` when asked."""
    used(office, monkeypatch)
    _, values, _ = bundled(office)
    assert "check.json" not in values
    assert values["versions.json"]["packages"]["httpx"]
    assert values["versions.json"]["sqlite"]
    settings = values["configuration.json"]["settings"]
    assert settings["binding"]["poll_every"] == "1s"
    assert settings["portal"]["webhook_url"] == "***"
    assert [each["password"] for each in settings["mailboxes"]] == ["***", "***"]
    assert settings["routing"]["marker"]["secret"] == "***"
    [inbox] = [each for each in values["status.json"]["folders"] if each["folder"] == "INBOX"][:1]
    assert inbox["last_error"]["type"] == "MailboxError"
    assert values["counts.json"]["messages"] == 1
    assert values["counts.json"]["index"]["deals"] > 0
    assert all(check["ok"] for check in values["journal.json"])
    _, values, _ = bundled(office, "--check")
    states = {check["check"]: check["state"] for check in values["check.json"]}
    assert states["portal.webhook"] == "ok"


@pytest.mark.parametrize("words", [(), ("--check",), ("--with-addresses", "--check")])
def test_secrets_and_letters_are_not(
    office: Office, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Whatever is asked for; addresses and logins only when that is asked for."""
    used(office, monkeypatch)
    _, _, text = bundled(office, *words)
    assert [secret for secret in SECRETS if secret in text] == []
    assert SUBJECT not in text
    assert "Hello" not in text
    names = [*ADDRESSES, "far-away-login"]
    seen = {name for name in names if name in text}
    assert seen == (set(names) if "--with-addresses" in words else set())
    assert "proxy.company.ru" in text


@pytest.mark.parametrize("broken", ["configuration", "unknown key", "journal", "nothing there"])
def test_it_works_where_help_is_needed(office: Office, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Whatever cannot be read is told in its place, without secrets."""
    monkeypatch.setenv("PASSWORD_OF_TESTS", ENV_PASSWORD)
    told = "status.json"
    if broken == "configuration":
        office.further_mailboxes = f"password = '{URL_PASSWORD}' and more"
        told = "configuration.json"
    elif broken == "unknown key":
        office.options["binding.pol_every"] = "'1s'"
    elif broken == "journal":
        (office.folder / "imaprouter.db").write_bytes(b"no database at all" * 400)
    _, values, text = bundled(office)
    assert values[told]["error"]
    assert values["versions.json"]["python"]
    assert [secret for secret in SECRETS if secret in text] == []


def test_a_file_that_is_there_is_kept(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD_OF_TESTS", ENV_PASSWORD)
    path = office.folder / "mine.zip"
    path.write_text("mine")
    result = CliRunner().invoke(cli, ["--config", str(office.config), "support-bundle", str(path)])
    assert (result.exit_code, path.read_text()) == (2, "mine")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("from Sergey@Horns.ru to sergey@horns.ru.", "from address-1 to address-1"),
        ("<письмо@почта.рф>, a+b@c.de", "<address-1>, address-2"),
        ("imap://u:p@host/x", "imap://***@host/x"),
        ("https://host/?a=1&token=xyz&b=2", "https://host/?a=1&token=***&b=2"),
        ("https://h/rest/1/c0de/x", "https://h/rest/1/***/x"),
        ("login robot refused, robots are not", "login address-1 refused, robots are not"),
    ],
)
def test_texts_are_scrubbed(text: str, left: str) -> None:
    """The same address has one number, in whatever case; what is no address stays."""
    scrubber = Scrubber(keep_addresses=False)
    scrubber.note_login("robot")
    assert scrubber.scrubbed({"a": [text]}) == {"a": [left]}
