"""`explain` and `queue`: what the journal holds of a message, and which messages wait for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from gettext import NullTranslations
from typing import TYPE_CHECKING, Any

import click

from imaprouter.audit import Fields, Kind
from imaprouter.cli.app import App, opened_journal, pass_app
from imaprouter.cli.decisions import as_line, decision_json, headline, target_json, word
from imaprouter.errors import ConfigError, StoreError
from imaprouter.model import Binding, EntityType, Standing, State, Target, Verdict
from imaprouter.reasons import named, sentence

if TYPE_CHECKING:
    from imaprouter.store.activities import PairedActivity
    from imaprouter.store.journal import Journal
    from imaprouter.store.messages import StoredMessage

# In these a message waits for a person.
_WAITING = (State.REVIEW, State.FAILED, State.MISSING, State.UNREADABLE)


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
    with opened_journal(app) as journal:
        messages = journal.messages.by_reference(ref)
        if not messages:
            raise StoreError(
                f"the journal has no message {ref}", advice="give a journal id or a whole Message-ID"
            )
        for message in messages:
            if as_json:
                click.echo(as_line(_explained(journal, message, app.language)))
            else:
                click.echo("\n".join(_explained_text(journal, message, app.language)))


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@click.pass_context
def queue(context: click.Context, as_json: bool) -> None:
    """Messages that wait for a person, oldest first; and a person's answer.

    \b
    Example:
        imaprouter queue
        imaprouter queue --json
        imaprouter queue open 17
        imaprouter queue assign 17 --deal 123
    """
    app = context.find_object(App)
    if context.invoked_subcommand or app is None:
        return
    with opened_journal(app) as journal:
        found = journal.messages.in_states(*_WAITING)
        # Of a letter of the past that has no activity there is nothing to decide.
        waiting = [each for each in found if not (each.past and each.state is State.MISSING)]
        for message in waiting:
            if as_json:
                click.echo(as_line(_explained(journal, message, app.language)))
            else:
                click.echo("\n".join(_waiting_lines(message, app.language)))
    if not waiting and not as_json:
        click.echo(app.language.gettext("no message waits for a person"))


@queue.command("assign")
@click.argument("message_id", metavar="ID", type=click.IntRange(min=1))
@click.option("--deal", type=click.IntRange(min=1), help="It belongs to this deal.")
@click.option("--company", type=click.IntRange(min=1), help="It belongs to this company.")
@click.option("--contact", type=click.IntRange(min=1), help="It belongs to this contact.")
@click.option("--leave", is_flag=True, help="It stays as Bitrix24 made it.")
@click.option("--now", is_flag=True, help="Carry it out at once; only while no service runs.")
@pass_app
def assign(
    app: App,
    message_id: int,
    deal: int | None,
    company: int | None,
    contact: int | None,
    leave: bool,
    now: bool,
) -> None:
    """Answer for a message that waits: the running service carries it out, and the thread follows it.

    \b
    Example:
        imaprouter queue assign 17 --deal 123
        imaprouter queue assign 18 --leave
    """
    kinds = (EntityType.DEAL, EntityType.COMPANY, EntityType.CONTACT)
    numbers = (deal, company, contact)
    targets = [Target(kind, number) for kind, number in zip(kinds, numbers, strict=True) if number]
    if len(targets) + leave != 1:
        raise ConfigError("give one of --deal, --company, --contact and --leave")
    with opened_journal(app) as journal:
        message = journal.messages.get(message_id)
        if message is None:
            raise StoreError(
                f"the journal has no message {message_id}", advice="'imaprouter queue' lists them"
            )
        if message.state is State.UNREADABLE:
            raise StoreError(
                f"message {message_id} could not be read yet, so nothing says which activity is its",
                advice="it is fetched again at every connection; move its activity in Bitrix24",
            )
        if message.same_as:
            raise StoreError(
                f"message {message_id} is the same mail as message {message.same_as}",
                advice=f"answer for message {message.same_as}",
            )
        journal.answers.give(message_id, targets[0] if targets else None, datetime.now(UTC))
    chosen = named(str(targets[0]), app.language) if targets else app.language.gettext("left as it is")
    if now:
        from imaprouter.service import Service

        app.start_log(default=-1)
        Service(app.settings, language=app.language).bind_once()
    click.echo(f"{message_id}: {chosen}")


@queue.command("open")
@click.argument("message_id", metavar="ID", type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def open_(app: App, message_id: int, as_json: bool) -> None:
    """Print the portal's pages of what a message lies in, and of what it may belong to; asks no server.

    An activity has no page of its own: it is opened in the timeline of the object that holds it.

    \b
    Example:
        imaprouter queue open 17
    """
    from imaprouter.bitrix24.portal import Portal
    from imaprouter.plan import holder

    with opened_journal(app) as journal:
        message = journal.messages.get(message_id)
        if message is None:
            raise StoreError(
                f"the journal has no message {message_id}", advice="'imaprouter queue' lists them"
            )
        paired = journal.activities.of_message(message_id)
    with closing(Portal.configured(app.settings.require_portal())) as portal:

        def page(binding: Binding | None) -> dict[str, Any] | None:
            kind = EntityType.from_type_id(binding.type_id) if binding else None
            if binding is None or kind is None:
                return None
            target = Target(kind, binding.entity_id)
            return {"type": kind.value, "id": target.id, "link": portal.link(target)}

        activities = [
            {
                "id": each.activity.id,
                "holder": page(
                    holder(each.last_bindings or each.first_bindings or ()) or each.activity.owner
                ),
            }
            for each in paired
        ]
        candidates = [page(target.binding) for target in message.decision.open_targets]
    if as_json:
        click.echo(as_line({"id": message_id, "activities": activities, "candidates": candidates}))
        return
    _ = app.language.gettext
    click.echo(f"{message_id:>6}  {message.envelope.subject or _('(no subject)')}")
    for one in activities:
        click.echo(f"        {_('activity')} {one['id']}: {_page(one['holder'], app.language)}")
    if not activities:
        missing = _("Bitrix24 has made no activity of it yet")
        click.echo(f"        {missing}")
    belongs = _("may belong to")
    for candidate in candidates:
        click.echo(f"        {belongs} {_page(candidate, app.language)}")


def _page(page: Any, language: NullTranslations) -> str:
    if not page:
        return "-"
    return f"{named(' '.join((page['type'], str(page['id']))), language)}  {page['link']}"


def _waiting_lines(message: StoredMessage, language: NullTranslations) -> Iterator[str]:
    subject = message.envelope.subject or language.gettext("(no subject)")
    sender = message.envelope.from_[0].email if message.envelope.from_ else "?"
    reason = message.note or sentence(message.decision.reasons, language)
    width = max(len(word(state, language)) for state in _WAITING)
    yield f"{message.id:>6}  {word(message.state, language):<{width}} {sender}  {subject}"
    yield f"        {reason}"
    for candidate in message.decision.considered:
        if candidate.standing is Standing.OPEN:
            why = sentence([reason for _, reason in candidate.reasons], language)
            yield f"          {named(str(candidate.target), language)}: {why}"


def _explained(journal: Journal, message: StoredMessage, language: NullTranslations) -> dict[str, Any]:
    source = f"{message.mailbox}/{message.folder}/{message.uidvalidity}/{message.uid}"
    return {
        "id": message.id,
        **decision_json(source, message.envelope, message.decision, language),
        "mailbox": message.mailbox,
        "folder": message.folder,
        "uidvalidity": message.uidvalidity,
        "uid": message.uid,
        "direction": message.direction.value,
        "received": message.internal_date.isoformat(),
        "state": message.state.value,
        "result": message.result.value if message.result else None,
        "note": message.note,
        "person_target": target_json(message.person_target),
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
                "kind": write.kind.value,
                "before": _written(write.before),
                "after": _written(write.after),
                "rule": write.rule,
                "why": write.why,
                "request": json.loads(write.request) if write.request else None,
            }
            for write in journal.traces.writes(message.id)
        ],
        "asked": {str(user): state for user, state in journal.questions.of_message(message.id).items()},
        "reminded": {str(user): state for user, state in journal.reminders.of_message(message.id).items()},
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


def _explained_text(journal: Journal, message: StoredMessage, language: NullTranslations) -> Iterator[str]:
    _ = language.gettext
    envelope, decision = message.envelope, message.decision
    labels = [_("from"), _("to"), _("received"), _("decision"), _("state"), _("activity")]
    sender, to, received, decided, state, activity = _padded(labels)
    yield _("message {id}: {subject}").format(id=message.id, subject=envelope.subject or _("(no subject)"))
    yield f"  {sender}  {', '.join(address.email for address in envelope.from_) or '?'}"
    yield f"  {to}  {', '.join(envelope.recipients) or '?'}"
    where = f"{message.mailbox}/{message.folder} UID {message.uid}"
    yield f"  {received}  {message.internal_date.isoformat()}  {where}"
    conclusion = _("{target} by {rule}").format(target=headline(decision, language), rule=decision.rule)
    yield f"  {decided}  {conclusion}: {sentence(decision.reasons, language)}"
    verdicts = dict(zip(Verdict, _padded([word(verdict, language) for verdict in Verdict]), strict=True))
    for finding in decision.trail:
        detail = sentence(finding.reasons, language)
        yield f"    {finding.rule:<13}{verdicts[finding.verdict]} {detail}"
    if message.person_target:
        chosen = named(str(message.person_target), language)
        yield f"  {decided}  {_('a person chose {target}').format(target=chosen)}"
    result = f", {word(message.result, language)}" if message.result else ""
    note = f" ({message.note})" if message.note else ""
    yield f"  {state}  {word(message.state, language)}{result}{note}"
    for paired in journal.activities.of_message(message.id):
        first = _bound(paired.first_bindings, language)
        last = _bound(paired.last_bindings, language)
        moved = [_("was bound to {first}").format(first=first)] if first else []
        moved += [_("then to {last}").format(last=last)] if last else []
        yield f"  {activity}  {paired.activity.id}{': ' if moved else ''}{'; '.join(moved)}"
    for write in journal.traces.writes(message.id):
        yield f"    {write.at.isoformat(timespec='seconds')}  {write.step}: {write.outcome}"
        if write.why and write.kind is not Kind.NOTICE:
            yield f"      {write.rule}: {write.why}"


def _written(state: tuple[Binding, ...] | Fields | None) -> list[str] | Fields | None:
    """What a write found or left, for programs: bindings in words, or fields by name."""
    return [str(binding) for binding in state] if isinstance(state, tuple) else state


def _padded(words: Sequence[str]) -> list[str]:
    """All as wide as the widest."""
    width = max(map(len, words))
    return [each.ljust(width) for each in words]


def _bound(bindings: tuple[Binding, ...] | None, language: NullTranslations) -> str:
    return ", ".join(named(str(binding), language) for binding in bindings or ())
