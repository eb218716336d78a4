"""`explain` and `queue`: what the journal holds of a message, and which messages wait for a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.cli.decisions import as_line, decision_json, headline
from imaprouter.errors import StoreError

if TYPE_CHECKING:
    from imaprouter.store.activities import PairedActivity
    from imaprouter.store.journal import Journal
    from imaprouter.store.messages import StoredMessage


@click.command()
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def explain(app: App, ref: str, as_json: bool) -> None:
    """Why a message went where it did: REF is its journal id or its Message-ID.

    \b
    Example:
        imaprouter explain 17
        imaprouter explain '<a@b>'
    """
    with _journal(app) as journal:
        messages = journal.messages.by_reference(ref)
        if not messages:
            raise StoreError(
                f"the journal has no message {ref}", advice="give a journal id or a whole Message-ID"
            )
        for message in messages:
            if as_json:
                click.echo(as_line(_explained(journal, message)))
            else:
                click.echo("\n".join(_explained_text(journal, message)))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def queue(app: App, as_json: bool) -> None:
    """Messages that wait for a person, oldest first.

    \b
    Example:
        imaprouter queue
        imaprouter queue --json
    """
    from imaprouter.model import State

    with _journal(app) as journal:
        waiting = journal.messages.in_states(State.REVIEW, State.FAILED, State.MISSING, State.UNREADABLE)
        for message in waiting:
            if as_json:
                click.echo(as_line(_explained(journal, message)))
            else:
                subject = message.envelope.subject or "(no subject)"
                sender = message.envelope.from_[0].email if message.envelope.from_ else "?"
                reason = message.note or message.decision.reason
                click.echo(f"{message.id:>6}  {message.state:<10} {sender}  {subject}\n        {reason}")
    if not waiting and not as_json:
        click.echo("no message waits for a person")


@contextmanager
def _journal(app: App) -> Iterator[Journal]:
    from imaprouter.store.journal import Journal

    path = app.settings.store.path
    if not path.exists():
        raise StoreError(
            f"there is no journal at {path}", advice="'imaprouter run' makes it; check store.path"
        )
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


def _explained(journal: Journal, message: StoredMessage) -> dict[str, Any]:
    source = f"{message.mailbox}/{message.folder}/{message.uidvalidity}/{message.uid}"
    return {
        "id": message.id,
        **decision_json(source, message.envelope, message.decision),
        "mailbox": message.mailbox,
        "folder": message.folder,
        "uidvalidity": message.uidvalidity,
        "uid": message.uid,
        "direction": message.direction.value,
        "received": message.internal_date.isoformat(),
        "state": message.state.value,
        "result": message.result.value if message.result else None,
        "note": message.note,
        "same_as": message.same_as,
        "recorded": message.recorded_at.isoformat(),
        "settled": message.settled_at.isoformat() if message.settled_at else None,
        "activities": [_activity(paired) for paired in journal.activities.of_message(message.id)],
        "writes": [
            {
                "at": write.at.isoformat(),
                "activity": write.activity_id,
                "step": write.step,
                "outcome": write.outcome,
            }
            for write in journal.traces.writes(message.id)
        ],
        "notified": {str(user): state for user, state in journal.traces.notices(message.id).items()},
    }


def _activity(paired: PairedActivity) -> dict[str, Any]:
    def shown(bindings: tuple[Any, ...] | None) -> list[str] | None:
        return None if bindings is None else [str(binding) for binding in bindings]

    return {
        "id": paired.activity.id,
        "bound_first": shown(paired.first_bindings),
        "bound_last": shown(paired.last_bindings),
        "attempts": paired.attempts,
        "next_attempt": paired.next_attempt_at.isoformat() if paired.next_attempt_at else None,
    }


def _explained_text(journal: Journal, message: StoredMessage) -> Iterator[str]:
    envelope, decision = message.envelope, message.decision
    yield f"message {message.id}: {envelope.subject or '(no subject)'}"
    yield f"  from      {', '.join(address.email for address in envelope.from_) or '?'}"
    yield f"  to        {', '.join(envelope.recipients) or '?'}"
    where = f"{message.mailbox}/{message.folder} UID {message.uid}"
    yield f"  received  {message.internal_date.isoformat()}  {where}"
    yield f"  decision  {headline(decision)} by {decision.rule}: {decision.reason}"
    for finding in decision.trail:
        yield f"    {finding.rule:<13}{finding.verdict:<10}{finding.detail}"
    result = f", {message.result}" if message.result else ""
    yield f"  state     {message.state}{result}{f' ({message.note})' if message.note else ''}"
    for paired in journal.activities.of_message(message.id):
        first = ", ".join(map(str, paired.first_bindings or ()))
        last = ", ".join(map(str, paired.last_bindings or ()))
        was = f": was bound to {first}" if first else ""
        yield f"  activity  {paired.activity.id}{was}{f'; then to {last}' if last else ''}"
    for write in journal.traces.writes(message.id):
        yield f"    {write.at.isoformat(timespec='seconds')}  {write.step}: {write.outcome}"
