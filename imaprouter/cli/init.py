"""`init`: asks for what a first configuration needs, tests each answer, and writes the file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.errors import ConfigError, ImaprouterError, MailboxError

if TYPE_CHECKING:
    from imaprouter.config import MailboxSettings
    from imaprouter.config.written import Answers
    from imaprouter.doctor import Check

Tls = Literal["implicit", "starttls", "none"]

#: Where secrets come from when nobody can be asked: the names that a configuration takes, too.
WEBHOOK_VARIABLE = "IMAPROUTER_PORTAL__WEBHOOK_URL"
PASSWORD_VARIABLE = "IMAPROUTER_MAILBOXES__0__PASSWORD"

_NAME = re.compile(r"[\w][\w.-]*")
_DEFAULT_OUTPUT = Path("imaprouter.toml")
_secret_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class _Given:
    """What the command line and the environment say already; '' and None are to be asked for."""

    webhook_url: str
    password: str
    portal_ca_file: str
    name: str
    host: str
    port: int | None
    tls: Tls | None
    ca_file: str
    allow_plaintext: bool
    username: str
    addresses: tuple[str, ...]
    mode: str | None


@click.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; else that of --config, else imaprouter.toml here.",
)
@click.option("--webhook-url-file", type=_secret_file, help=f"File that holds it; else ${WEBHOOK_VARIABLE}.")
@click.option("--portal-ca-file", default="", help="Authorities of a portal of one's own.")
@click.option("--username", default="", help="Login of the mailbox, mostly its address.")
@click.option("--password-file", type=_secret_file, help=f"File that holds it; else ${PASSWORD_VARIABLE}.")
@click.option("--host", default="", help="IMAP server; guessed for well-known providers.")
@click.option("--port", type=click.IntRange(1, 65535), help="Its port; else 993, or 143 by --tls.")
@click.option("--tls", type=click.Choice(["implicit", "starttls", "none"]), help="How it is encrypted.")
@click.option("--ca-file", default="", help="Authorities of a mail server of one's own.")
@click.option("--allow-plaintext", is_flag=True, help="Lets --tls none leave this machine.")
@click.option("--name", default="", help="How commands and logs call the mailbox.")
@click.option("--address", "addresses", multiple=True, help="An address that delivers there; repeatable.")
@click.option("--mode", type=click.Choice(["observe", "act"]), help="binding.mode; observe unless said.")
@click.option("--secret-files", is_flag=True, help="Keep secrets in files beside it, not in it.")
@click.option("--no-test", is_flag=True, help="Ask neither portal nor mail server.")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@pass_app
def init(
    app: App,
    output: Path | None,
    webhook_url_file: Path | None,
    portal_ca_file: str,
    username: str,
    password_file: Path | None,
    host: str,
    port: int | None,
    tls: str | None,
    ca_file: str,
    allow_plaintext: bool,
    name: str,
    addresses: tuple[str, ...],
    mode: str | None,
    secret_files: bool,
    no_test: bool,
    force: bool,
) -> None:
    """Ask for what is needed, test it, and write a first configuration with mode 0600.

    On a terminal everything that no option gives is asked for, tested, and asked for again where it fails.
    Elsewhere a test that fails ends it with exit code 1. Secrets come from files or the environment, never
    from options. Changes nothing in mailbox and portal; Ctrl-C writes nothing.

    \b
    Example:
        imaprouter init
        imaprouter init --output /etc/imaprouter/imaprouter.toml --secret-files
        imaprouter init --username sales@company.ru --host imap.company.ru \\
            --webhook-url-file webhook --password-file password
    """
    from imaprouter.config.written import compose, write_private

    app.start_log(default=-2)
    given = _Given(
        webhook_url=_secret(webhook_url_file, WEBHOOK_VARIABLE),
        password=_secret(password_file, PASSWORD_VARIABLE),
        portal_ca_file=_absolute(portal_ca_file),
        name=name,
        host=host,
        port=port,
        tls=cast("Tls | None", tls),
        ca_file=_absolute(ca_file),
        allow_plaintext=allow_plaintext,
        username=username,
        addresses=addresses,
        mode=mode,
    )
    path = output or app.chosen_config or _DEFAULT_OUTPUT
    asks = sys.stdin.isatty()
    if not asks:
        _require(given)
    dialogue = _Dialogue(app, given, asks=asks, tests=not no_test)
    overwrite = force or dialogue.may_overwrite(path)
    files = compose(dialogue.answers(), path, secret_files=secret_files)
    in_the_way = [each for each in files if each != path and each.exists()]
    overwrite = all(force or dialogue.may_overwrite(each) for each in in_the_way) and overwrite
    write_private(files, overwrite=overwrite)
    dialogue.farewell(path, list(files))


def _require(given: _Given) -> None:
    """ConfigError that names everything that nobody is there to be asked for."""
    from imaprouter.config.providers import provider_of

    missing = []
    if not given.webhook_url:
        missing.append(f"--webhook-url-file or ${WEBHOOK_VARIABLE}: the address of an inbound webhook")
    if not given.username:
        missing.append("--username: the login of the mailbox")
    if not given.host and provider_of(given.username) is None:
        missing.append("--host: the IMAP server")
    if not given.password:
        missing.append(f"--password-file or ${PASSWORD_VARIABLE}: the password of the mailbox")
    if missing:
        raise ConfigError(
            "standard input is no terminal, so nobody can be asked for what is missing",
            problems=tuple(missing),
        )


def _secret(file: Path | None, variable: str) -> str:
    """A secret from a file or else from the environment, masked from here on; '' when neither has it."""
    from imaprouter.log import register_secret

    if file is None:
        value = os.environ.get(variable, "")
    else:
        try:
            value = file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {file}: {getattr(error, 'strerror', 'not UTF-8 text')}") from None
    register_secret(value)
    return value


def _absolute(path: str) -> str:
    """What is named here is named from this folder, not from that of the configuration."""
    return str(Path(path).expanduser().absolute()) if path else ""


class _Dialogue:
    """Asks, tests, and asks again; where nobody is there to be asked, the first failure ends it."""

    def __init__(self, app: App, given: _Given, *, asks: bool, tests: bool) -> None:
        self._given = given
        self._asks = asks
        self._tests = tests
        self._ = app.language.gettext

    def may_overwrite(self, path: Path) -> bool:
        """False when there is nothing to overwrite. Raises ConfigError, or Abort when the person says no."""
        if not os.path.lexists(path):
            return False
        if not self._asks:
            raise ConfigError(f"{path} is there already", advice="--force overwrites it")
        return click.confirm(self._("{file} is there already. Overwrite it?").format(file=path), abort=True)

    def answers(self) -> Answers:
        """Everything that the file needs."""
        from imaprouter.config.written import Answers

        webhook_url, ca_file = self._portal()
        mailboxes: list[MailboxSettings] = []
        spam: dict[str, str] = {}
        while not mailboxes or (self._asks and click.confirm(self._("Another mailbox?"), default=False)):
            taken = {each.name for each in mailboxes}
            mailbox, junk = self._mailbox(taken, self._given if not mailboxes else _NOTHING)
            mailboxes.append(mailbox)
            spam |= {mailbox.name: junk} if junk else {}
        return Answers(webhook_url, tuple(mailboxes), self._mode(), ca_file, spam)

    def _mode(self) -> Literal["observe", "act"]:
        if self._given.mode or not self._asks:
            return cast(Literal["observe", "act"], self._given.mode or "observe")
        self._say(
            self._(
                'With binding.mode = "observe" nothing is written to Bitrix24: '
                "`imaprouter status --observed` lists what would have been done. "
                '"act" in its place, later, lets it act.'
            )
        )
        proposal = self._("Only observe for the first week?")
        return "observe" if click.confirm(proposal, default=True) else "act"

    def farewell(self, path: Path, files: list[Path]) -> None:
        """What was written, and what comes next."""
        for each in files:
            click.echo(self._("written: {file}, mode 0600").format(file=each))
        program = "imaprouter" if path == _DEFAULT_OUTPUT else f"imaprouter --config {path}"
        click.echo(self._("Next:"))
        for command in ("check", "cache refresh", "run"):
            click.echo(f"    {program} {command}")

    # ── the portal ────────────────────────────────────────────────────────────────────────────────────

    def _portal(self) -> tuple[str, str]:
        """The webhook's address and, for a portal of one's own, the file of its authorities."""
        from imaprouter.config import PortalSettings, Settings
        from imaprouter.config.checks import portal_problems
        from imaprouter.doctor.portal import checks
        from imaprouter.log import register_secret
        from imaprouter.policy import BindingPolicy

        url, ca_file = self._given.webhook_url.strip(), self._given.portal_ca_file
        if not url:
            self._say(
                self._(
                    "An inbound webhook of Bitrix24 is needed (Developer resources, Other, Inbound webhook) "
                    "with the scopes crm, user_basic and im."
                )
            )
        while True:
            if not url:
                url = self._hidden(self._("Address of the webhook (not shown)")).strip()
                register_secret(url)
            portal = PortalSettings(url, ca_file=ca_file)
            problems = list(portal_problems(portal))
            if problems:
                self._fails(problems)
                url = ""
                continue
            binding = BindingPolicy(mode="observe" if self._given.mode != "act" else "act")
            failures = self._test(checks(portal, Settings(portal=portal, binding=binding)))
            if not failures or not self._tries_again(failures):
                return url, ca_file
            ca_file = self._authorities(failures) or ca_file
            again = self._("Address of the webhook (Enter: the same)")
            url = self._hidden(again, default=url).strip()
            register_secret(url)

    # ── mailboxes ─────────────────────────────────────────────────────────────────────────────────────

    def _mailbox(self, taken: set[str], given: _Given) -> tuple[MailboxSettings, str]:
        """One mailbox that works, or that somebody keeps although it does not, and its spam folder."""
        from imaprouter.config.checks import mailbox_problems
        from imaprouter.doctor.mailboxes import checks, special_folders

        known = given
        while True:
            mailbox = self._settings(known, taken)
            problems = list(mailbox_problems(mailbox, "mailbox"))
            if problems:
                self._fails(problems)
                known = _asked_again(known, mailbox)
                continue
            trial = replace(mailbox, folders=("INBOX",), sent_folders=())
            failures = self._test(checks(trial))
            if not failures:
                break
            if not self._tries_again(failures):
                return mailbox, ""
            ca_file = self._authorities(failures) or mailbox.ca_file
            known = _asked_again(replace(known, ca_file=ca_file), mailbox)
        if not self._tests:
            return mailbox, ""
        try:
            special = special_folders(mailbox)
        except MailboxError as error:
            self._say(str(error))
            return mailbox, ""
        return self._with_folders(mailbox, special), special.get("junk", "")

    def _with_folders(self, mailbox: MailboxSettings, special: dict[str, str]) -> MailboxSettings:
        sent = special.get("sent")
        if sent is None:
            self._say(
                self._("There is no folder of sent letters: replies sent from this mailbox are not seen.")
            )
        else:
            self._say(self._("Sent letters are in {folder}.").format(folder=repr(sent)))
        if "junk" in special:
            spam = self._("Spam is in {folder}; Bitrix24 does not read it, so it is not watched.")
            self._say(spam.format(folder=repr(special["junk"])))
        return replace(mailbox, sent_folders=(sent,) if sent else ())

    def _settings(self, given: _Given, taken: set[str]) -> MailboxSettings:
        """The settings of one mailbox, asking for what is not known yet."""
        from imaprouter.address import normalise
        from imaprouter.config import MailboxSettings
        from imaprouter.config.providers import provider_at, provider_of
        from imaprouter.log import register_secret

        username = given.username or self._ask(self._("Login of the mailbox, mostly its address"))
        provider = provider_of(username)
        host = given.host or (provider.host if provider and not self._asks else "")
        host = host or self._ask(self._("IMAP server"), default=provider.host if provider else None)
        tls = given.tls or ("implicit" if not self._asks or given.port else self._tls())
        port = given.port or (993 if tls == "implicit" else 143)
        if self._asks and given.port is None:
            port = click.prompt(self._("Port"), default=port, type=click.IntRange(1, 65535), err=True)
        provider = provider_at(host)
        if provider:
            self._say(self._(provider.hint))
        password = given.password or self._hidden(self._("Password (not shown)"))
        register_secret(password)
        addresses = tuple(map(normalise, given.addresses))
        if not addresses and not normalise(username) and self._asks:
            said = self._ask(self._("Addresses that deliver to it, separated by spaces"))
            addresses = tuple(map(normalise, said.replace(",", " ").split()))
        return MailboxSettings(
            name=self._name(given.name, username, taken),
            host=host,
            port=port,
            tls=tls,
            ca_file=given.ca_file,
            username=username,
            password=password,
            addresses=addresses or tuple(filter(None, (normalise(username),))),
            allow_plaintext=given.allow_plaintext,
        )

    def _tls(self) -> Tls:
        choices = click.Choice(["implicit", "starttls", "none"])
        return cast(Tls, click.prompt(self._("Encryption"), default="implicit", type=choices, err=True))

    def _name(self, name: str, username: str, taken: set[str]) -> str:
        """A name that no other mailbox has, fit for names of files."""
        local = re.sub(r"[^\w.-]", "-", username.partition("@")[0]).lstrip(".-") or "mailbox"
        while not self._asks or name:
            name = name or local
            if _NAME.fullmatch(name) and name not in taken:
                return name
            self._fails([f"name: {name!r} is taken, or holds more than letters, digits, '.', '_' and '-'"])
            name = ""
        free = next(each for each in _numbered(local) if each not in taken)
        name = self._ask(self._("How commands and logs shall call it"), default=free)
        return self._name(name, username, taken)

    # ── asking and testing ────────────────────────────────────────────────────────────────────────────

    def _test(self, checks: Iterable[Check]) -> list[Check]:
        """Show what a test finds, as `check` does; return what failed."""
        from imaprouter.cli.check import as_text
        from imaprouter.doctor import State

        if not self._tests:
            return []
        failures = []
        with _quiet_interrupt():
            for found in checks:
                self._say(as_text(found))
                failures += [found] if found.state is State.FAILED else []
        return failures

    def _tries_again(self, failures: list[Check]) -> bool:
        """Whether the person wants to answer once more. Raises ImaprouterError where there is none."""
        if not self._asks:
            raise ImaprouterError(
                f"{failures[0].name} failed, nothing was written", advice="--no-test writes it all the same"
            )
        return click.confirm(self._("That does not work yet. Answer again?"), default=True, err=True)

    def _authorities(self, failures: list[Check]) -> str:
        """The file of authorities, asked for where a certificate asks for it."""
        if not any("ca_file" in failure.advice for failure in failures):
            return ""
        question = self._("File of the authority's certificates (PEM; Enter: none)")
        return _absolute(self._ask(question, default="", show_default=False))

    def _fails(self, problems: list[str]) -> None:
        """Tell what cannot be; where nobody can answer anew, that is the end."""
        if not self._asks:
            raise ConfigError("the answers make no configuration", problems=tuple(problems))
        for problem in problems:
            self._say(problem)

    def _ask(self, question: str, default: str | None = None, *, show_default: bool = True) -> str:
        return str(click.prompt(question, default=default, show_default=show_default, err=True)).strip()

    def _hidden(self, question: str, default: str | None = None) -> str:
        """A secret: neither echoed nor shown as the default."""
        return str(click.prompt(question, default=default, hide_input=True, show_default=False, err=True))

    def _say(self, text: str) -> None:
        click.echo(text, err=True)


@contextmanager
def _quiet_interrupt() -> Iterator[None]:
    """Ctrl-C in the middle of a test ends like Ctrl-C at a question."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.Abort from None


def _asked_again(known: _Given, mailbox: MailboxSettings) -> _Given:
    """What need not be asked once more: the name. All else may be what is wrong."""
    return replace(_NOTHING, name=mailbox.name, ca_file=known.ca_file, allow_plaintext=known.allow_plaintext)


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}{number}"
        number += 1


_NOTHING = _Given("", "", "", "", "", None, None, "", False, "", (), None)
