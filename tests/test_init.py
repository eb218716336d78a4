"""`init`: what it writes loads and passes `check`, secrets stay hidden, a failure is asked for again."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from hypothesis import given
from hypothesis import strategies as st
from office import CODE, Office
from terminal import Terminal

from imaprouter.cli import cli
from imaprouter.cli.init import PASSWORD_VARIABLE, WEBHOOK_VARIABLE
from imaprouter.config import MailboxSettings, Settings, load
from imaprouter.config.providers import provider_at, provider_of
from imaprouter.config.written import Answers, compose, write_private
from imaprouter.errors import ConfigError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    folder = tmp_path / "office"
    folder.mkdir()
    with Office(folder, dovecot, user) as opened:
        yield opened


def secrets_of(office: Office) -> dict[str, str]:
    return {WEBHOOK_VARIABLE: office.portal.webhook_url, PASSWORD_VARIABLE: office.dovecot.password}


def initialised(
    office: Office, path: Path, *words: str, environ: dict[str, str | None] | None = None
) -> Result:
    """`init` with all answers, where nobody can be asked."""
    given = [
        *("--output", str(path), "--username", office.user, "--host", "127.0.0.1"),
        *("--port", str(office.dovecot.port), "--tls", "none", "--address", "sales@company.ru"),
    ]
    return CliRunner().invoke(cli, ["init", *given, *words], env={**secrets_of(office), **(environ or {})})


def is_hidden(office: Office, text: str) -> bool:
    return CODE not in text and office.dovecot.password not in text


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def checked(path: Path) -> Result:
    return CliRunner().invoke(cli, ["--config", str(path), "check"])


# ── nobody there ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("apart", [False, True])
def test_what_it_writes_loads_without_warnings_and_passes_check(
    office: Office, tmp_path: Path, apart: bool
) -> None:
    """With secrets inside, and in files beside it; every file is the owner's alone."""
    path = tmp_path / "new.toml"
    result = initialised(office, path, *(["--secret-files"] if apart else []))
    assert result.exit_code == 0, result.output
    assert is_hidden(office, result.output)
    settings = load(path, {})
    assert settings.warnings == ()
    assert settings.require_portal().webhook_url == office.portal.webhook_url
    [mailbox] = settings.mailboxes
    assert (mailbox.password, mailbox.addresses) == (office.dovecot.password, ("sales@company.ru",))
    assert (mailbox.folders, mailbox.sent_folders) == (("INBOX",), ("Sent",))
    assert settings.binding.mode == "observe"
    assert 'Spam is in "Junk"' in path.read_text("utf-8")
    written = sorted(each.name for each in tmp_path.glob("new.*"))
    names = [f"new.{mailbox.name}.password", "new.toml", "new.webhook"]
    assert written == (sorted(names) if apart else ["new.toml"])
    assert {mode(tmp_path / each) for each in written} == {0o600}
    assert is_hidden(office, path.read_text("utf-8")) is apart
    found = checked(path)
    assert found.exit_code == 0, found.output
    assert "failed" not in found.output


def test_without_a_terminal_all_that_is_missing_is_named(tmp_path: Path) -> None:
    """Exit code 2, and no file."""
    result = CliRunner().invoke(cli, ["init", "--output", str(tmp_path / "new.toml")])
    assert result.exit_code == 2
    for option in ("--webhook-url-file", "--username", "--host", "--password-file"):
        assert option in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_well_known_provider_needs_no_host(tmp_path: Path) -> None:
    """And its hint about app passwords is shown."""
    path = tmp_path / "new.toml"
    environ = {WEBHOOK_VARIABLE: "https://c.bitrix24.ru/rest/1/c0de0c0de/", PASSWORD_VARIABLE: "sesame-seed"}
    words = ["init", "--output", str(path), "--username", "sales@yandex.ru", "--no-test"]
    result = CliRunner().invoke(cli, words, env=environ)
    assert result.exit_code == 0, result.output
    assert "app password" in result.stderr
    [mailbox] = load(path, {}).mailboxes
    assert (mailbox.host, mailbox.port, mailbox.tls) == ("imap.yandex.ru", 993, "implicit")


def test_a_file_is_never_overwritten_unasked(office: Office, tmp_path: Path) -> None:
    """Neither the configuration nor a file of a secret; --force does it."""
    path, secret = tmp_path / "new.toml", tmp_path / "new.webhook"
    path.write_text("mine")
    result = initialised(office, path)
    assert (result.exit_code, path.read_text()) == (2, "mine")
    assert "--force" in result.stderr
    path.unlink()
    secret.write_text("mine")
    result = initialised(office, path, "--secret-files")
    assert (result.exit_code, secret.read_text(), path.exists()) == (2, "mine", False)
    path.write_text("mine")
    assert initialised(office, path, "--secret-files", "--force").exit_code == 0
    assert load(path, {}).require_portal().webhook_url == office.portal.webhook_url
    assert (mode(path), mode(secret)) == (0o600, 0o600)


@pytest.mark.parametrize(
    ("environ", "said"),
    [({PASSWORD_VARIABLE: "wrong-pass-word"}, "login refused"), ({WEBHOOK_VARIABLE: "x"}, "webhook")],
)
def test_what_does_not_work_is_not_written(
    office: Office, tmp_path: Path, environ: dict[str, str | None], said: str
) -> None:
    """Unless --no-test says so; a mistake in an answer is no configuration in any case."""
    path = tmp_path / "new.toml"
    result = initialised(office, path, environ=environ)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert not path.exists()
    assert "wrong-pass-word" not in result.output


def test_a_portal_that_is_not_there_is_named(office: Office, tmp_path: Path) -> None:
    """And --no-test writes the file all the same."""
    path = tmp_path / "new.toml"
    office.portal.stop()
    result = initialised(office, path)
    assert (result.exit_code, path.exists()) == (1, False)
    assert "portal.connection" in result.stderr
    assert initialised(office, path, "--no-test").exit_code == 0
    assert load(path, {}).warnings == ()


# ── a person at a terminal ────────────────────────────────────────────────────────────────────────────────


def test_a_person_is_asked_and_asked_again(office: Office, tmp_path: Path) -> None:
    """A wrong webhook, then a wrong password, then a second mailbox; nothing that is secret is shown."""
    with Terminal("init", folder=tmp_path) as terminal:
        terminal.answer("Address of the webhook", "no address")
        terminal.expect("expected the address of an inbound webhook")
        terminal.answer("Address of the webhook", office.portal.webhook_url)
        terminal.expect("portal.webhook")
        for name, password in (("", "wrong-pass-word"), ("second", office.dovecot.password)):
            terminal.answer("Login of the mailbox", office.user)
            terminal.answer("IMAP server", "127.0.0.1")
            terminal.answer("Encryption", "none")
            terminal.answer("Port", str(office.dovecot.port))
            terminal.answer("Password", password)
            terminal.answer("Addresses that deliver", "sales@company.ru info@company.ru")
            if name:
                continue
            terminal.answer("How commands", "first")
            terminal.expect("login refused")
            terminal.answer("Answer again?", "y")
        terminal.expect("IDLE")
        terminal.expect("Sent letters are in 'Sent'")
        terminal.answer("Another mailbox?", "n")
        terminal.answer("Only observe", "")
        terminal.expect("written: imaprouter.toml")
        assert terminal.ended() == 0
        assert is_hidden(office, terminal.seen)
        assert "wrong-pass-word" not in terminal.seen
    path = tmp_path / "imaprouter.toml"
    [mailbox] = load(path, {}).mailboxes
    assert (mailbox.name, mailbox.addresses) == ("first", ("sales@company.ru", "info@company.ru"))
    assert mode(path) == 0o600
    assert checked(path).exit_code == 0


def test_a_second_mailbox_gets_a_name_of_its_own(office: Office, tmp_path: Path) -> None:
    """What the environment says is the first one's; the proposed name is one that is free."""
    with Terminal(
        *("init", "--username", office.user, "--host", "127.0.0.1", "--tls", "none", "--mode", "act"),
        *("--port", str(office.dovecot.port), "--address", "sales@company.ru", "--name", office.user),
        folder=tmp_path,
        environ=secrets_of(office),
    ) as terminal:
        terminal.answer("Another mailbox?", "y")
        terminal.answer("Login of the mailbox", office.user)
        terminal.answer("IMAP server", "127.0.0.1")
        terminal.answer("Encryption", "none")
        terminal.answer("Port", str(office.dovecot.port))
        terminal.answer("Password", office.dovecot.password)
        terminal.answer("Addresses that deliver", "info@company.ru")
        terminal.answer("How commands", "")
        terminal.answer("Another mailbox?", "")
        assert terminal.ended() == 0, terminal.seen
    settings = load(tmp_path / "imaprouter.toml", {})
    assert [each.name for each in settings.mailboxes] == [office.user, f"{office.user}2"]
    assert settings.binding.mode == "act"


@pytest.mark.parametrize("after", ["Address of the webhook", "Login of the mailbox", "Another mailbox?"])
def test_ctrl_c_writes_nothing(office: Office, tmp_path: Path, after: str) -> None:
    """At whichever question."""
    steps = [
        ("Address of the webhook", office.portal.webhook_url),
        ("Login of the mailbox", office.user),
        ("IMAP server", "127.0.0.1"),
        ("Encryption", "none"),
        ("Port", str(office.dovecot.port)),
        ("Password", office.dovecot.password),
        ("Addresses that deliver", "sales@company.ru"),
        ("How commands", ""),
        ("Another mailbox?", ""),
    ]
    before = sorted(tmp_path.iterdir())
    with Terminal("init", folder=tmp_path) as terminal:
        for question, said in steps:
            if question == after:
                terminal.expect(question)
                break
            terminal.answer(question, said)
        assert terminal.interrupted() == 1
        assert "Traceback" not in terminal.seen
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_is_there_is_asked_about_first(office: Office, tmp_path: Path) -> None:
    """And stays when the answer is no."""
    (tmp_path / "imaprouter.toml").write_text("mine")
    with Terminal("init", folder=tmp_path) as terminal:
        terminal.answer("Overwrite it?", "n")
        assert terminal.ended() == 1
    assert (tmp_path / "imaprouter.toml").read_text() == "mine"


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────


@given(password=TEXT, username=TEXT, folder=TEXT, code=st.from_regex(r"[\w-]{4,20}", fullmatch=True))
def test_whatever_is_answered_is_what_is_read(password: str, username: str, folder: str, code: str) -> None:
    """Quotation marks, backslashes, control characters, any script: the text means what was typed."""
    import tomllib

    url = f"https://company.bitrix24.ru/rest/1/{code}/"
    mailbox = MailboxSettings(
        "sales", "h", 993, username=username, password=password, addresses=("a@b.ru",), sent_folders=(folder,)
    )
    path = Path("x.toml")
    document = tomllib.loads(str(compose(Answers(url, (mailbox,)), path, secret_files=False)[path]))
    assert document["portal"] == {"webhook_url": url}
    [read] = document["mailboxes"]
    assert (read["username"], read["password"], read["sent_folders"]) == (username, password, [folder])


def test_a_file_that_came_meanwhile_is_kept_and_no_draft_stays(tmp_path: Path) -> None:
    """The second of two files is in the way: neither is written, and a link is followed, not replaced."""
    first, second = tmp_path / "first", tmp_path / "second"
    second.write_text("mine")
    with pytest.raises(ConfigError, match="second"):
        write_private({first: "new", second: "new"})
    assert [each.name for each in tmp_path.iterdir()] == ["second"]
    link = tmp_path / "link"
    link.symlink_to(second)
    write_private({link: "new"}, overwrite=True)
    assert (second.read_text(), link.is_symlink(), mode(second)) == ("new", True, 0o600)
    with pytest.raises(ConfigError, match="cannot write"):
        write_private({tmp_path / "nowhere" / "file": "new"})


def test_providers_are_known_by_address_and_by_server() -> None:
    """A company's own domain is at nobody's until its server is named."""
    hosts = {
        "sales@Yandex.ru": "imap.yandex.ru",
        "sales@mail.ru": "imap.mail.ru",
        "sales@bk.ru": "imap.mail.ru",
        "sales@gmail.com": "imap.gmail.com",
        "sales@outlook.com": "outlook.office365.com",
    }
    assert {address: found.host for address in hosts if (found := provider_of(address))} == hosts
    assert provider_of("sales@company.ru") is None
    assert provider_of("sales") is None
    assert provider_at("IMAP.yandex.ru") is provider_of("a@ya.ru")
    assert Settings().binding.mode == "act"
