"""`replay`: what would be decided for letters in files. No IMAP, no portal, nothing written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.cli.decisions import as_line, decision_json, headline
from imaprouter.errors import StoreError
from imaprouter.reasons import sentence

if TYPE_CHECKING:
    from imaprouter.config import Settings
    from imaprouter.model import DealIndex, Envelope, Letter


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--crm",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Decide against this CRM snapshot instead of the index.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def replay(app: App, paths: tuple[str, ...], crm: Path | None, as_json: bool) -> None:
    """Decide for .eml files, folders of them, mbox files, Maildirs or `-`, and say why.

    \b
    Example:
        imaprouter replay --crm fixtures/crm.json fixtures/mail
        imaprouter replay letter.eml --json
    """
    from imaprouter import mail
    from imaprouter.cli.letters import letters_in
    from imaprouter.decide import decide, is_colleagues

    settings = app.settings
    failed = False
    with _index(settings, crm, paths) as index:
        for source, raw in letters_in(paths):
            if isinstance(raw, str) or not mail.looks_like_email(raw):
                problem = raw if isinstance(raw, str) else "this is no e-mail"
                failed = True
                _print_error(source, problem, as_json)
                continue
            envelope = mail.parse(raw, limit=settings.limits.header_bytes)
            letter = _letter(envelope, settings)
            if is_colleagues(letter, index, settings.routing):
                letter = replace(letter, envelope=mail.with_attached(envelope, raw))
            decision = decide(letter, index, settings.routing)
            if as_json:
                click.echo(as_line(decision_json(source, envelope, decision, app.language)))
            else:
                reason = sentence(decision.reasons, app.language)
                click.echo(f"{source}: {headline(decision, app.language)} ({decision.rule}): {reason}")
    if failed:
        sys.exit(1)


@contextmanager
def _index(settings: Settings, crm: Path | None, paths: tuple[str, ...]) -> Iterator[DealIndex]:
    """What the rules may know: the snapshot that was named, or else index and journal."""
    from imaprouter.store.index import Index, index_path, is_filled
    from imaprouter.store.knowledge import opened
    from imaprouter.store.snapshot import import_snapshot, read_snapshot

    if not crm and not is_filled(settings.store.path):
        crm = _snapshot_beside(paths)
        if not crm:
            raise StoreError(
                f"the deal index beside {settings.store.path} was never filled",
                advice="run 'imaprouter cache refresh' or 'imaprouter cache import FILE', or give --crm FILE",
            )
        click.echo(f"the deal index was never filled: deciding against {crm}", err=True)
    if not crm and settings.store.path.exists():
        with opened(settings.store.path) as (_, knowledge):
            yield knowledge
        return
    index = Index(":memory:" if crm else index_path(settings.store.path))
    if crm:
        import_snapshot(index, read_snapshot(crm.read_bytes(), str(crm)))
    yield index
    index.close()


def _snapshot_beside(paths: tuple[str, ...]) -> Path | None:
    """The crm.json that lies with the letters, as in fixtures/."""
    folders = [Path(path) if Path(path).is_dir() else Path(path).parent for path in paths]
    found = (place / "crm.json" for folder in folders for place in (folder, folder.parent))
    return next((path for path in found if path.is_file()), None)


def _letter(envelope: Envelope, settings: Settings) -> Letter:
    """The letter as the mailbox has it that is among its recipients, or else its writers."""
    from imaprouter.model import Letter

    mailboxes = [frozenset(mailbox.addresses) for mailbox in settings.mailboxes]
    writers = {address.email for address in envelope.writers}
    own = next((ours for ours in mailboxes if ours & set(envelope.recipients)), None)
    own = own or next((ours for ours in mailboxes if ours & writers), None) or frozenset().union(*mailboxes)
    outgoing = bool(own & writers)
    # A file does not say where it lay; a mail server that delivers a letter writes to whom, or whose it is.
    filed = outgoing and not (envelope.delivered_to or envelope.authentication)
    return Letter(envelope, own, frozenset().union(*mailboxes), outgoing=outgoing, filed=filed)


def _print_error(source: str, problem: str, as_json: bool) -> None:
    if as_json:
        click.echo(as_line({"source": source, "error": problem}))
    else:
        click.echo(f"{source}: {problem}", err=True)
