"""`transfer`: activities go from one timeline to another."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from gettext import NullTranslations
from typing import TYPE_CHECKING, Any

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.cli.decisions import as_line
from imaprouter.cli.progress import progress
from imaprouter.cli.stopping import stoppable, tell
from imaprouter.errors import ConfigError, PortalDenied, PortalRefused
from imaprouter.reasons import N_, listed, named
from imaprouter.timelines import Fate, Left, Moved, Transfer, Unclear, condition, place, problem

if TYPE_CHECKING:
    from imaprouter.config import Settings
    from imaprouter.store.journal import Journal

_DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.command()
@click.option(
    "--from", "source", required=True, metavar="KIND[:ID]", help="contact, lead, deal:12, company:7."
)
@click.option("--to", required=True, metavar="KIND[:ID]", help="company, deal, deal:15, company:9.")
@click.option(
    "--kind",
    type=click.Choice(["e-mail", "call", "all"]),
    default="all",
    show_default=True,
    help="Activities of this kind.",
)
@click.option("--since", type=_DAY, metavar="DATE", help="Written or begun on this day or later.")
@click.option("--until", type=_DAY, metavar="DATE", help="Written or begun on this day or earlier.")
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only of sources whose field has this value: UF_CRM_FIRED=1; may be repeated.",
)
@click.option("--keep", is_flag=True, help="Keep the old binding beside the new one.")
@click.option(
    "--rate-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="The share of portal.requests_per_second that may be used.",
)
@click.option("--anew", is_flag=True, help="Forget how far the same transfer had come when it was stopped.")
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines, the summary last.")
@pass_app
def transfer(
    app: App,
    source: str,
    to: str,
    kind: Any,
    since: datetime | None,
    until: datetime | None,
    where: tuple[str, ...],
    keep: bool,
    rate_share: float,
    anew: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Move activities between timelines: e-mails, calls and all others, of all time or of a period.

    From contacts to their companies, from converted leads to their deals, from one deal or company to
    another. A contact with several companies or none stays as it is and is listed, as is a lead of several
    deals; with ids on both sides you decide: --from contact:15 --to company:9. What is bound to the target
    already gets no second binding. The old binding is dropped, unless --keep.

    Letters that imaprouter is about to bind, or that wait for a person, are left to that first. Only while no
    service runs. What is stopped is gone on with by the same command; 'imaprouter undo' takes it back.

    The fields of --where are those of the portal's crm.item.list, with = != > >= < <= % (contains) !%, and
    @ or !@ for one of several values: SOURCE_ID@WEB,CALL.

    Exit code 77: rights are missing; 1: Bitrix24 refused something else.

    \b
    Example:
        imaprouter transfer --from contact --to company --dry-run
        imaprouter transfer --from contact --to company --kind e-mail --since 2026-01-01
        imaprouter transfer --from contact --to company --where UF_CRM_FIRED=1
        imaprouter transfer --from deal:12 --to deal:15
    """
    asked = _asked(source, to, kind, since, until, where, keep)
    settings = app.settings
    choices = settings.require_portal()
    from imaprouter.bitrix24.portal import Portal
    from imaprouter.store.lock import exclusive
    from imaprouter.transfer.moving import told_of
    from imaprouter.transfer.run import Run

    rehearse = dry_run or settings.binding.mode == "observe"
    if rehearse and not dry_run:
        tell(app.language.gettext('binding.mode is "observe": this is a dry run, and nothing is moved'))
    app.start_log(default=-1)
    shown = _Shown(as_json, app.language)
    with stoppable() as stop, ExitStack() as stack:
        if not rehearse:
            stack.enter_context(exclusive(settings.store.path))
        journal = stack.enter_context(closing(_journal(settings, readonly=rehearse)))
        portal = stack.enter_context(closing(Portal.configured(choices, stop=stop, share=rate_share)))
        mover = _mover(settings, portal, journal, rehearse=rehearse)
        run = Run(portal, journal, mover, asked, stop, rehearse=rehearse, anew=anew, tell=tell)
        show = stack.enter_context(progress(app.language))
        for each in run.run(lambda done, total: show(_MOVING, done, total)):
            if isinstance(each, Moved) and not rehearse:
                told_of(each)
            shown.tell(each)
    shown.sum_up(run.counts, asked, rehearse=rehearse)
    if shown.denied:
        raise PortalDenied(
            f"Bitrix24 refused {shown.denied} activities for want of a right",
            advice="give the webhook's user the right to edit contacts, companies, leads and deals",
        )
    if run.counts[Fate.REFUSED]:
        sys.exit(PortalRefused.exit_code)


def _asked(
    source: str,
    to: str,
    kind: Any,
    since: datetime | None,
    until: datetime | None,
    where: tuple[str, ...],
    keep: bool,
) -> Transfer:
    """What the words ask for. ConfigError names the option."""
    problems: list[str] = []

    def read(option: str, parse: Any, text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            problems.append(f"{option} {text}: {error}")
            return None

    begin, end = read("--from", place, source), read("--to", place, to)
    conditions = tuple(read("--where", condition, each) for each in where)
    if problems:
        raise ConfigError("this transfer cannot be made", problems=tuple(problems))
    asked = Transfer(
        begin,
        end,
        kind,
        conditions,
        keep,
        since.astimezone() if since else None,
        (until + timedelta(days=1)).astimezone() if until else None,
    )
    if wrong := problem(asked):
        raise ConfigError(wrong)
    return asked


def _journal(settings: Settings, *, readonly: bool) -> Journal:
    """The journal; for a rehearsal before there is any, an empty one."""
    from imaprouter.store.journal import Journal
    from imaprouter.store.soundness import refuse_damaged

    path = settings.store.path
    if readonly:
        return Journal(path, readonly=True) if path.exists() else Journal(":memory:")
    refuse_damaged(path)
    return Journal(path)


def _mover(settings: Settings, portal: Any, journal: Journal, *, rehearse: bool) -> Any:
    from imaprouter.service import portal_names
    from imaprouter.transfer.moving import Mover

    return Mover(
        portal,
        journal,
        mailbox_emails=frozenset().union(*map(portal_names, settings.mailboxes)),
        wait=settings.binding.wait,
        rehearse=rehearse,
    )


# ── output ────────────────────────────────────────────────────────────────────────────────────────────────

_MOVING = N_("moving activities")
_WHY = {
    Unclear.NONE: N_("there is nothing that it could go to"),
    Unclear.SEVERAL: N_("it could go to {candidates}"),
    Unclear.TARGET_GONE: N_("{candidates} does not exist any more"),
}
_FATES = {
    Fate.MOVED: N_("moved"),
    Fate.WOULD: N_("would be moved"),
    Fate.RIGHT: N_("right already"),
    Fate.WAITS: N_("left to routing first"),
    Fate.CHANGED: N_("changed by somebody meanwhile, left alone"),
    Fate.GONE: N_("deleted meanwhile"),
    Fate.REFUSED: N_("refused by Bitrix24"),
}
_LEFT = N_("sources left as they are")


class _Shown:
    """Prints a transfer as it goes, and counts what decides the exit code."""

    def __init__(self, as_json: bool, language: NullTranslations) -> None:
        self._as_json = as_json
        self._language = language
        self._left: Counter[Unclear] = Counter()
        self.denied = 0

    def tell(self, each: Left | Moved) -> None:
        if isinstance(each, Left):
            self._left[each.why] += 1
            click.echo(as_line(_left_json(each)) if self._as_json else self._left_text(each))
            return
        self.denied += each.denied and each.fate is Fate.REFUSED
        if self._as_json:
            click.echo(as_line(_moved_json(each)))
        elif each.fate is not Fate.RIGHT:
            click.echo(self._moved_text(each))

    def sum_up(self, counts: Counter[Fate], asked: Transfer, *, rehearse: bool) -> None:
        """The last lines: how many ended how, and how to take it back."""
        _ = self._language.gettext
        left = sum(self._left.values())
        if self._as_json:
            numbers = {fate.name.lower(): counts[fate] for fate in Fate}
            sources = {why.value: self._left[why] for why in Unclear}
            click.echo(as_line({"summary": {"transfer": str(asked), **numbers, "left": sources}}))
            return
        shown = [(counts[fate], _(name)) for fate, name in _FATES.items() if counts[fate]]
        shown += [(left, _(_LEFT))] if left else []
        width = max((len(str(count)) for count, _name in shown), default=0)
        for count, name in shown:
            click.echo(f"{count:>{width}}  {name}")
        if not shown:
            click.echo(_("there is nothing to move"))
        if counts[Fate.MOVED] and not rehearse:
            undo = _("every change is on record; to put all of them back: {command}")
            click.echo(undo.format(command="imaprouter undo --rule transfer"))

    def _moved_text(self, moved: Moved) -> str:
        _ = self._language.gettext
        ways = "; ".join(f"{self._named(source)} → {self._named(target)}" for source, target in moved.ways)
        said = f"{_('activity')} {moved.activity_id}  {_(_FATES[moved.fate])}"
        said += f": {ways}" if ways else ""
        return said + (f" ({moved.detail})" if moved.detail else "")

    def _left_text(self, left: Left) -> str:
        _ = self._language.gettext
        candidates = listed(map(self._named, left.source.candidates), self._language)
        why = _(_WHY[left.why]).format(candidates=candidates)
        return f"{self._named(left.source.binding)}: {why}"

    def _named(self, binding: Any) -> str:
        return named(str(binding), self._language)


def _left_json(left: Left) -> dict[str, Any]:
    return {
        "source": str(left.source.binding),
        "outcome": "left",
        "reason": left.why.value,
        "candidates": [str(each) for each in left.source.candidates],
    }


def _moved_json(moved: Moved) -> dict[str, Any]:
    return {
        "activity": moved.activity_id,
        "outcome": moved.fate.name.lower(),
        "ways": [{"from": str(source), "to": str(target)} for source, target in moved.ways],
        "found": [str(each) for each in moved.found],
        "bound": [str(each) for each in moved.bound],
        "detail": moved.detail or None,
    }
