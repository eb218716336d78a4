"""`status` and `health`: how the service stands, from the journal and the index alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from imaprouter.cli.app import App, opened_journal, pass_app
from imaprouter.cli.decisions import as_line
from imaprouter.errors import StoreError
from imaprouter.reasons import ENGLISH
from imaprouter.text import clean

if TYPE_CHECKING:
    from imaprouter.alerts import Incident
    from imaprouter.standing import FolderStanding, Observed, Pulse, Standing, Verdict


@click.command()
@click.option(
    "--observed", "only_observed", is_flag=True, help='List what binding.mode = "observe" would have changed.'
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def status(app: App, only_observed: bool, as_json: bool) -> None:
    """Mailboxes, waiting messages, last refresh and last errors; asks no server.

    With binding.mode = "observe" also how many activities acting would have changed. They stay as they are
    when the mode becomes "act": only later messages are moved.

    \b
    Example:
        imaprouter status
        imaprouter status --json
        imaprouter status --observed
    """
    from imaprouter.store.lock import is_held

    if only_observed:
        _list_observed(app, as_json=as_json)
        return
    running = is_held(app.settings.store.path)
    standing, incidents = standing_of(app)
    if as_json:
        click.echo(as_line(as_values(standing, incidents, running)))
    else:
        acts = app.settings.binding.mode == "act"
        click.echo("\n".join(_text(standing, incidents, running, acts=acts)))


def _list_observed(app: App, *, as_json: bool) -> None:
    """One line for each message of which something would have been done."""
    with opened_journal(app, readonly=True) as journal:
        for number, subject, rule, note in journal.figures.observed_messages():
            if as_json:
                values = {"id": number, "subject": subject or "", "rule": rule, "note": note}
                click.echo(as_line(values))
            else:
                click.echo(f"{number:>6}  {rule:<13}{note}  {clean(subject or '')}")


@click.command()
@pass_app
def health(app: App) -> None:
    """One line for each part of the service; exit code 0 when all are well, 1 when not.

    \b
    Example:
        imaprouter health
        imaprouter --config /etc/imaprouter/imaprouter.toml health
    """
    verdicts = list(_verdicts(app))
    for verdict in verdicts:
        click.echo(f"{'ok' if verdict.well else 'failed':<7} {clean(f'{verdict.part}: {verdict.said}')}")
    sys.exit(0 if all(verdict.well for verdict in verdicts) else 1)


def _verdicts(app: App) -> Iterator[Verdict]:
    from imaprouter.alerts import judged
    from imaprouter.standing import Verdict
    from imaprouter.store.index import index_path
    from imaprouter.store.lock import is_held

    settings = app.settings
    try:
        running = is_held(settings.store.path)
        standing, _ = standing_of(app)
    except StoreError as error:
        part = "index" if str(index_path(settings.store.path)) in error.message else "journal"
        yield Verdict(part, False, str(error))
        return
    yield from judged(standing, settings.alerts, running=running, refresh_every=settings.cache.refresh_every)


def standing_of(app: App) -> tuple[Standing, list[Incident]]:
    """Raises StoreError."""
    from imaprouter.overview import overview
    from imaprouter.standing import Part, PartKind
    from imaprouter.store.index import Index, index_path

    settings = app.settings
    path = index_path(settings.store.path)
    folders = [
        Part(PartKind.FOLDER, mailbox.name, name)
        for mailbox in settings.mailboxes
        for name in mailbox.folders + mailbox.sent_folders
    ]
    with ExitStack() as stack:
        journal = stack.enter_context(opened_journal(app, readonly=True))
        index = stack.enter_context(closing(Index(path, readonly=True))) if path.exists() else None
        standing = overview(journal, index, folders, settings.alerts.review_after, datetime.now(UTC))
        return standing, journal.incidents.open()


def as_values(standing: Standing, incidents: list[Incident], running: bool) -> dict[str, Any]:
    return {
        "running": running,
        "time": _iso(standing.now),
        "folders": [_folder(folder) for folder in standing.folders],
        "messages": {
            state: {"count": tally.count, "oldest": _iso(tally.oldest)} for state, tally in standing.tallies
        },
        "index": {
            "last_refresh": _iso(standing.fresh_at),
            "last_full_refresh": _iso(standing.refreshed_fully_at),
            **_pulse(standing.index),
        },
        "binder": {"last_poll": _iso(standing.binder.heard_at), **_pulse(standing.binder)},
        "observed": {
            "would_move": standing.observed.moved,
            "would_bind": standing.observed.bound,
            "would_unbind": standing.observed.unbound,
            "by_rule": dict(standing.observed.rules),
        },
        "incidents": [
            {
                "kind": incident.trouble.kind.value,
                "subject": incident.trouble.subject,
                "since": _iso(incident.trouble.since),
                "count": incident.trouble.count,
                "detail": incident.trouble.detail,
                "told": sorted(incident.told_begin),
            }
            for incident in incidents
        ],
    }


def _folder(folder: FolderStanding) -> dict[str, Any]:
    last = None
    if folder.last_uid is not None:
        last = {
            "uid": folder.last_uid,
            "arrived": _iso(folder.last_arrived_at),
            "recorded": _iso(folder.last_recorded_at),
        }
    return {
        "mailbox": folder.part.mailbox,
        "folder": folder.part.folder,
        "cursor": folder.cursor,
        "last_message": last,
        "lag_seconds": round(folder.lag.total_seconds()) if folder.lag is not None else None,
        "heard": _iso(folder.pulse.heard_at),
        **_pulse(folder.pulse),
    }


def _pulse(pulse: Pulse) -> dict[str, Any]:
    """The errors of a part; `last_error` stays when it is over."""
    last = None
    if pulse.error_at:
        last = {"time": _iso(pulse.error_at), "type": pulse.error_type, "error": pulse.error}
    return {"failing_since": _iso(pulse.failing_since), "last_error": last}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _text(standing: Standing, incidents: list[Incident], running: bool, *, acts: bool) -> Iterator[str]:
    from imaprouter.alerts import said

    yield f"service     {'runs' if running else 'does not run'}"
    for folder in standing.folders:
        pulse = folder.pulse
        last = f"last message UID {folder.last_uid} of {_shown(folder.last_arrived_at)}"
        lag = f", {folder.lag.total_seconds():.0f} s later on record" if folder.lag is not None else ""
        yield f"folder      {folder.part}: {last + lag if folder.last_uid else 'no message yet'}"
        read = f"read up to UID {folder.cursor}" if folder.cursor is not None else "never opened"
        yield f"            {read}, server heard {_shown(pulse.heard_at)}"
        yield from _errors(pulse)
    yield f"index       refreshed {_shown(standing.fresh_at)}, fully {_shown(standing.refreshed_fully_at)}"
    yield from _errors(standing.index)
    yield f"binder      portal polled {_shown(standing.binder.heard_at)}"
    yield from _errors(standing.binder)
    for state, tally in standing.tallies:
        since = f", the oldest since {_shown(tally.oldest)}" if tally.oldest else ""
        yield f"messages    {tally.count} {state}{since}"
    yield from _observed(standing.observed, acts=acts)
    for incident in incidents:
        yield f"incident    {clean(said(incident.trouble, ENGLISH))}"


def _observed(observed: Observed, *, acts: bool) -> Iterator[str]:
    if not observed.total:
        return
    steps = {
        "moved to another deal": observed.moved,
        "bound to one more object": observed.bound,
        "unbound": observed.unbound,
    }
    said = ", ".join(f"{count} {step}" for step, count in steps.items() if count)
    yield f"observed    acting would have changed {observed.total}: {said}"
    yield f"            by rule: {', '.join(f'{rule} {count}' for rule, count in observed.rules.items())}"
    stay = "they stay as they are: 'imaprouter queue assign' moves one, " if acts else ""
    yield f"            {stay}'imaprouter status --observed' lists them"


def _errors(pulse: Pulse) -> Iterator[str]:
    if pulse.failing_since:
        yield f"            fails since {_shown(pulse.failing_since)}: {clean(pulse.error)}"
    elif pulse.error_at:
        yield f"            last error {_shown(pulse.error_at)}, over: {clean(pulse.error)}"


def _shown(moment: datetime | None) -> str:
    return moment.astimezone().isoformat(timespec="seconds") if moment else "never"
