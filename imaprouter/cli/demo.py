"""`demo` and `sandbox`: the sample company with a simulated portal and an embedded mailbox."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from gettext import NullTranslations
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.errors import ConfigError, ImaprouterError
from imaprouter.reasons import named, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imaprouter.config import Settings
    from imaprouter.sandbox.rehearsal import DemoLetter, Rehearsal
    from imaprouter.store.messages import StoredMessage

# Far above what it takes; a demonstration that hangs is worse than one that fails.
PATIENCE = 30.0


@click.command()
@pass_app
def demo(app: App) -> None:
    """Show the whole job on a sample company: twelve letters arrive, land wrongly, and are moved.

    Needs no configuration and touches nothing outside of this machine. Exit code 0 only if every activity
    ended where it belongs.

    \b
    Example:
        imaprouter demo
    """
    app.start_log(default=-2)
    _ = app.language.gettext
    rehearsal_class, samples = _sandbox()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imaprouter-demo-") as folder:
        click.echo(_("Starting a simulated Bitrix24 portal and an embedded mailbox on 127.0.0.1 …"))
        with rehearsal_class(samples) as rehearsal:
            settings = _settings(rehearsal, samples, Path(folder))
            with _service(settings, app):
                rows = _play(rehearsal, settings, app.language)
    _show(rows, app.language)
    right = sum(row.right for row in rows)
    moved = sum(row.message.result == "moved" for row in rows if row.message)
    summary = _("{right} of {count} letters are where they belong, {moved} of them were moved ({seconds} s).")
    seconds = f"{time.monotonic() - started:.1f}"
    click.echo(summary.format(right=right, count=len(rows), moved=moved, seconds=seconds))
    if right != len(rows):
        sys.exit(1)


@click.command()
@click.option("--portal-port", type=int, default=0, help="Port of the portal simulator; 0 takes a free one.")
@click.option("--imap-port", type=int, default=0, help="Port of the mailbox; 0 takes a free one.")
@click.option(
    "--crm",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CRM snapshot to start from, instead of the sample company's.",
)
@click.option("--sync-every", type=float, default=5.0, show_default=True, help="Seconds between mail syncs.")
@pass_app
def sandbox(app: App, portal_port: int, imap_port: int, crm: Path | None, sync_every: float) -> None:
    """Serve a simulated portal and an embedded mailbox, to rehearse a configuration against.

    \b
    Example:
        imaprouter sandbox --portal-port 8031 --imap-port 8143
    """
    app.start_log()
    rehearsal_class, samples = _sandbox()
    try:
        with rehearsal_class(samples, crm=crm, portal_port=portal_port, imap_port=imap_port) as rehearsal:
            rehearsal.sync.start(sync_every)
            click.echo(_configuration(rehearsal))
            click.echo("# Serving until Ctrl-C.", err=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    except (OSError, RuntimeError) as error:
        raise ImaprouterError(f"the sandbox cannot start: {error}", advice="choose other ports") from error


@dataclass(frozen=True, slots=True)
class _Row:
    letter: DemoLetter
    message: StoredMessage | None
    before: list[tuple[int, int]]
    after: list[tuple[int, int]]

    @property
    def right(self) -> bool:
        from imaprouter.model import Binding, EntityType

        if self.letter.expect is None:
            return self.after == self.before
        kind, number = self.letter.expect
        wanted = Binding(EntityType(kind).type_id, number)
        after = [Binding(*pair) for pair in self.after]
        return wanted in after and not any(binding.is_deal for binding in after if binding != wanted)


def _sandbox() -> tuple[type[Rehearsal], Path]:
    """The sandbox and its samples; it is an extra, so that a server need not carry it."""
    try:
        from imaprouter.sandbox.rehearsal import Rehearsal
        from imaprouter.sandbox.sample import sample_folder
    except ImportError as error:
        raise ConfigError(
            f"the sandbox needs a package that is not installed: {error.name}",
            advice="install imaprouter[demo]",
        ) from error
    return Rehearsal, sample_folder()


def _settings(rehearsal: Rehearsal, samples: Path, folder: Path) -> Settings:
    from imaprouter.config import load

    return load(
        samples / "imaprouter.toml",
        {
            "IMAPROUTER_PORTAL__WEBHOOK_URL": rehearsal.portal.webhook_url,
            "IMAPROUTER_STORE__PATH": str(folder / "imaprouter.db"),
            "IMAPROUTER_MAILBOXES__0__HOST": rehearsal.mail.host,
            "IMAPROUTER_MAILBOXES__0__PORT": str(rehearsal.mail.port),
            "IMAPROUTER_MAILBOXES__0__TLS": "none",
            "IMAPROUTER_BINDING__POLL_EVERY": "1s",
        },
    )


@contextmanager
def _service(settings: Settings, app: App) -> Iterator[None]:
    """The real service, in a thread of its own."""
    from imaprouter.service import Service

    service = Service(settings, language=app.language)
    thread = threading.Thread(target=service.run, name="service")
    thread.start()
    try:
        yield
    finally:
        service.stop()
        thread.join()


def _play(rehearsal: Rehearsal, settings: Settings, language: NullTranslations) -> list[_Row]:
    from imaprouter.model import State
    from imaprouter.store.journal import Journal

    letters = rehearsal.letters
    arrive = language.ngettext("{count} letter arrives:", "{count} letters arrive:", len(letters))
    click.echo(arrive.format(count=len(letters)))
    for number, letter in enumerate(letters, start=1):
        rehearsal.mail.append(letter.raw, folder=letter.folder)
        click.echo(f"{number:>4}. {letter.story}")
    click.echo("\n" + language.gettext("imaprouter reads their headers and decides …"))
    _until(settings.store.path.exists)
    journal = Journal(settings.store.path)
    try:
        _until(lambda: journal.messages.count() >= len(letters))
        imported = rehearsal.import_mail()
        doing = language.gettext(
            "Bitrix24 makes activities of them in its own way; imaprouter corrects the bindings …"
        )
        click.echo(f"{doing}\n")
        _until(lambda: not journal.messages.in_states(State.WAITING, State.PAIRED))
        messages = sorted(journal.messages.in_states(*State), key=lambda message: message.uid)
        bindings = rehearsal.portal.crm.bindings
        return [
            _Row(letter, message, before, [] if activity is None else bindings(activity))
            for letter, message, (activity, before) in zip(letters, messages, imported, strict=True)
        ]
    finally:
        journal.close()


def _until(condition: Callable[[], object]) -> None:
    """Wait for something that the service does in its own time; give up after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def _show(rows: list[_Row], language: NullTranslations) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    _ = language.gettext
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column(_("letter"), overflow="fold")
    table.add_column("Bitrix24", no_wrap=True)
    table.add_column(_("now"), no_wrap=True)
    table.add_column(_("why"), overflow="fold")
    for number, row in enumerate(rows, start=1):
        if not row.message:
            table.add_row(str(number), row.letter.story, "", Text(_("not read"), "bold red"), "")
            continue
        envelope = row.message.envelope
        sender = envelope.writers[0].email if envelope.writers else "?"
        table.add_row(
            str(number),
            Text.assemble((envelope.subject, "bold"), f"\n{sender}"),
            _named(row.before, language),
            Text(_ended(row, language), "green" if row.right else "bold red"),
            Text(sentence(row.message.decision.reasons, language)),
        )
    # Away from a terminal nobody breaks lines for us.
    Console(width=None if sys.stdout.isatty() else 130).print(table)


def _ended(row: _Row, language: NullTranslations) -> str:
    after = _named(row.after, language)
    remark = ""
    if row.message and row.message.decision.review:
        remark = language.gettext("a person decides")
    elif row.after == row.before:
        remark = language.gettext("unchanged")
    return f"{after}\n{remark}".rstrip()


def _named(pairs: list[tuple[int, int]], language: NullTranslations) -> str:
    from imaprouter.model import Binding

    bindings = [Binding(*pair) for pair in pairs]
    main = [binding for binding in bindings if binding.is_deal or binding.is_lead] or bindings
    names = [named(str(binding), language) for binding in sorted(main, reverse=True)]
    return ", ".join(names) or language.gettext("no activity")


def _configuration(rehearsal: Rehearsal) -> str:
    """What to put into a configuration file in order to rehearse it."""
    return f"""[portal]
webhook_url = "{rehearsal.portal.webhook_url}"

[[mailboxes]]
name = "sales"
host = "{rehearsal.mail.host}"
port = {rehearsal.mail.port}
tls = "none"
username = "{rehearsal.mail.username}"
password = "{rehearsal.mail.password}"
folders = ["INBOX"]
sent_folders = ["Sent"]
start = "all"
"""
