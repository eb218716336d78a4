"""`undo`: what imaprouter changed in the portal is put back."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from gettext import NullTranslations
from typing import TYPE_CHECKING, Any

import click

from imaprouter.audit import PERSON, TRANSFER, Fate, Kept, Selection, Undone
from imaprouter.cli.app import App, opened_journal, pass_app
from imaprouter.cli.decisions import as_line
from imaprouter.errors import ConfigError, StoreError
from imaprouter.model import Binding
from imaprouter.reasons import N_, named
from imaprouter.report import RULES

if TYPE_CHECKING:
    from imaprouter.store.journal import Journal

_SINCE = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])

_RULES = (*RULES, PERSON, TRANSFER)


@click.command()
@click.argument("message_id", metavar="[ID]", required=False, type=click.IntRange(min=1))
@click.option("--since", type=_SINCE, metavar="DATE", help="What was written since then, local time.")
@click.option(
    "--rule", type=click.Choice([*RULES, PERSON, TRANSFER]), help="What this rule's decisions caused."
)
@click.option(
    "--activity",
    "activity_id",
    type=click.IntRange(min=1),
    metavar="ID",
    help="Of this activity of Bitrix24.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be put back, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def undo(
    app: App,
    message_id: int | None,
    since: datetime | None,
    rule: str | None,
    activity_id: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put activities back where they were before imaprouter changed them.

    Of one message (its journal id), of one activity, or of everything since a date, by a rule ('person':
    answers of 'queue assign'; 'transfer': moves between timelines), or both.

    Bindings go back, and the activity's responsible and imaprouter's stamp where they are still as we left
    them. Where anybody has changed the bindings since, they stay, and the list says so.
    Notifications are not taken back, and nobody is notified.

    The messages stay as they are afterwards: they are not routed again, and their threads forget the target.
    Only while no service runs. What is broken off is gone on with by the same command.

    Exit code 1: Bitrix24 refused to put something back.

    \b
    Example:
        imaprouter undo 17
        imaprouter undo --since 2026-11-24 --dry-run
        imaprouter undo --rule participants --json
    """
    one = [number for number in (message_id, activity_id) if number is not None]
    if len(one) + (since is not None or rule is not None) != 1:
        raise ConfigError("give an ID, or --activity, or --since or --rule or both of these")
    settings = app.settings
    portal_settings = settings.require_portal()
    if settings.binding.mode == "observe" and not dry_run:
        raise ConfigError(
            'binding.mode = "observe" writes nothing to the portal',
            advice="rehearse with --dry-run, or give IMAPROUTER_BINDING__MODE=act for this one command",
        )
    from imaprouter.binder.undo import Undo
    from imaprouter.bitrix24.portal import Portal
    from imaprouter.cli.progress import counted
    from imaprouter.store.lock import exclusive

    app.start_log(default=-1)
    selection = Selection(message_id, since.astimezone() if since else None, rule, activity_id)
    fates: Counter[Fate] = Counter()
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(exclusive(settings.store.path))
        journal = stack.enter_context(opened_journal(app, readonly=dry_run))
        if message_id is not None and journal.messages.get(message_id) is None:
            raise StoreError(f"the journal has no message {message_id}", advice="give a journal id")
        portal = stack.enter_context(closing(Portal.configured(portal_settings)))
        work = Undo(portal, journal, selection)
        with counted(len(work.activity_ids), _PUTTING_BACK, app.language) as count:
            for done in work.run(rehearse=dry_run):
                count(len(done))
                for each in done:
                    fates[each.fate] += 1
                    shown = _json(each, app.language) if as_json else _text(journal, each, app.language)
                    click.echo(shown)
    if not as_json:
        click.echo(_summary(fates, app.language))
    if fates[Fate.FAILED]:
        sys.exit(1)


#: Shown while it is done.
_PUTTING_BACK = N_("putting back")
_WHY = {
    Kept.LATER: N_("something else that imaprouter did came later"),
    Kept.CHANGED: N_("somebody has changed the bindings since"),
    Kept.GONE: N_("the activity was deleted in Bitrix24"),
    Kept.TARGET_GONE: N_("it was bound to {object}, which does not exist any more"),
    Kept.REFUSED: N_("Bitrix24 refuses: {object}"),
}
_FATES = {
    Fate.UNDONE: N_("put back"),
    Fate.WOULD: N_("would be put back"),
    Fate.KEPT: N_("stays"),
    Fate.FAILED: N_("refused"),
}


def _summary(fates: Counter[Fate], language: NullTranslations) -> str:
    said = {
        Fate.UNDONE: language.ngettext(
            "{count} activity put back", "{count} activities put back", fates[Fate.UNDONE]
        ),
        Fate.WOULD: language.ngettext(
            "{count} activity would be put back", "{count} activities would be put back", fates[Fate.WOULD]
        ),
        Fate.KEPT: language.ngettext("{count} stays as it is", "{count} stay as they are", fates[Fate.KEPT]),
        Fate.FAILED: language.ngettext("{count} was refused", "{count} were refused", fates[Fate.FAILED]),
    }
    shown = [text.format(count=fates[fate]) for fate, text in said.items() if fates[fate]]
    return ", ".join(shown) or language.gettext("there is nothing to put back")


def _text(journal: Journal, undone: Undone, language: NullTranslations) -> str:
    _ = language.gettext
    lines = []
    if undone.message_id is not None:
        message = journal.messages.get(undone.message_id)
        subject = (message.envelope.subject if message else "") or _("(no subject)")
        lines.append(f"{undone.message_id:>6}  {subject}")
    fate = _(_FATES[undone.fate])
    if undone.kept:
        object_ = named(undone.detail, language) if undone.kept is Kept.TARGET_GONE else undone.detail
        said = _(_WHY[undone.kept]).format(object=object_)
    else:
        said = f"{_bound(undone.found, language)} → {_bound(undone.goal, language)}"
    lines.append(f"        {_('activity')} {undone.activity_id}  {fate}: {said}")
    lines += [f"          {said}" for said in _fields(undone, language)]
    return "\n".join(lines)


def _fields(undone: Undone, language: NullTranslations) -> Iterator[str]:
    if undone.kept:
        return
    for field in undone.fields:
        if field.name == "responsible_id":
            said = language.gettext("responsible: user {ours} → user {before}")
            yield said.format(ours=field.ours, before=field.before)
    if any(field.name == "originator_id" for field in undone.fields):
        yield language.gettext("without imaprouter's stamp")


def _bound(bindings: tuple[Binding, ...], language: NullTranslations) -> str:
    return ", ".join(named(str(binding), language) for binding in bindings) or "-"


def _json(undone: Undone, language: NullTranslations) -> str:
    detail = None
    if undone.kept:
        detail = language.gettext(_WHY[undone.kept]).format(object=undone.detail)
    values: dict[str, Any] = {
        "id": undone.message_id,
        "activity": undone.activity_id,
        "outcome": undone.fate.value.replace(" ", "_"),
        "found": [str(binding) for binding in undone.found],
        "goal": [str(binding) for binding in undone.goal],
        "fields": {field.name: {"ours": field.ours, "before": field.before} for field in undone.fields},
        "reason": undone.kept.value if undone.kept else None,
        "detail": detail,
    }
    return as_line(values)
