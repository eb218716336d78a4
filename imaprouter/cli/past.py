"""`evaluate` and `backfill`: past mail, rehearsed and bound."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from gettext import NullTranslations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.cli.decisions import as_line, decision_json, headline, target_json
from imaprouter.cli.progress import progress
from imaprouter.cli.stopping import stoppable, tell
from imaprouter.errors import ConfigError, StoreError
from imaprouter.model import Result, State
from imaprouter.reasons import N_, sentence

if TYPE_CHECKING:
    from imaprouter.config import Settings
    from imaprouter.past.evaluation import Judged
    from imaprouter.past.judging import Table
    from imaprouter.policy import RoutingPolicy

logger = logging.getLogger(__name__)

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _period(command: _Command) -> _Command:
    """The options that say which mail, and how fast."""
    options = (
        click.option(
            "--since",
            type=click.DateTime(formats=["%Y-%m-%d"]),
            metavar="DATE",
            help="Mail that arrived on this day or later, as 2026-01-31.",
        ),
        click.option("--all", "everything", is_flag=True, help="All mail."),
        click.option(
            "--rate-share",
            type=click.FloatRange(0, 1, min_open=True),
            default=0.5,
            show_default=True,
            help="The share of portal.requests_per_second that may be used.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON Lines, the summary last."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_period
@click.option(
    "--from-portal",
    is_flag=True,
    help="Rebuild letters that no mailbox holds any more from their activities; without threads.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Decide by the [routing] of this configuration, too; show only what differs.",
)
@click.option("--anew", is_flag=True, help="Forget what an evaluation that was stopped has done.")
@pass_app
def evaluate(
    app: App,
    since: datetime | None,
    everything: bool,
    rate_share: float,
    as_json: bool,
    from_portal: bool,
    against: Path | None,
    anew: bool,
) -> None:
    """What would have been done with past mail, against where its activities are now. Writes nothing.

    Letters are read from the mailboxes and decided with the deal index as it is, oldest first, in a journal
    of their own beside the real one; it may run beside the service. What people corrected is the test:
    answers and changes that the journal knows, and activities whose deal stands behind a client, since the
    mail sync binds the deal first and whoever binds it later puts it last.

    \b
    Columns: decided by this rule; agrees with the present binding; would move;
    by hand (a person bound it elsewhere: it would stay); review (a person would
    be asked); left as it is or ignored; none: Bitrix24 has no activity of it;
    right and wrong: of those that people corrected, asked and left the others.

    \b
    Example:
        imaprouter evaluate --since 2026-01-01
        imaprouter evaluate --all --json >evaluation.jsonl
        imaprouter evaluate --since 2026-01-01 --against stricter.toml
    """
    from imaprouter.past.evaluation import Evaluation
    from imaprouter.past.judging import Table

    start = _start(since, everything)
    settings = app.settings
    _refuse_unfilled(settings)
    routing = _routing_of(against) if against else None
    app.start_log(default=-1)
    table, differ = Table(), 0
    with stoppable() as stop, progress(app.language) as show:
        evaluation = Evaluation(
            settings,
            since=start,
            stop=stop,
            rate_share=rate_share,
            from_portal=from_portal,
            against=routing,
            anew=anew,
            tell=tell,
        )
        for judged in evaluation.run(show):
            table.count(judged.message.decision.rule, judged.judgement)
            differ += judged.differs
            if routing and not judged.differs:
                continue
            if as_json:
                click.echo(as_line(_letter_json(judged, app.language)))
            elif routing:
                click.echo("\n".join(_difference(judged, app.language)))
    if as_json:
        click.echo(as_line(_summary_json(table, start, differ if routing else None)))
        return
    if routing:
        text = app.language.ngettext("{count} decision differs", "{count} decisions differ", differ)
        click.echo(text.format(count=differ))
    click.echo(_table(table, app.language), nl=False)


@click.command()
@_period
@click.option(
    "--newest-first/--oldest-first", default=True, show_default=True, help="Which letters are bound first."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing, as evaluate does.")
@pass_app
def backfill(
    app: App,
    since: datetime | None,
    everything: bool,
    rate_share: float,
    as_json: bool,
    newest_first: bool,
    dry_run: bool,
) -> None:
    """Route mail that came before the service, and bind its activities. Not while a service runs.

    All letters of the period are read and decided first, oldest first, so that each finds those that it
    answers; then their activities are corrected, in steps. What people bound by hand stays. Nobody is
    notified of a letter of the past, now or later. With binding.mode = "observe" it is a --dry-run.

    \b
    Example:
        imaprouter backfill --since 2026-01-01 --dry-run
        imaprouter backfill --since 2026-01-01
        imaprouter backfill --all --oldest-first --rate-share 0.2
    """
    from imaprouter.past.backfill import Backfill
    from imaprouter.past.evaluation import Evaluation

    start = _start(since, everything)
    settings = app.settings
    _refuse_unfilled(settings)
    observe = settings.binding.mode == "observe"
    if observe and not dry_run:
        tell(app.language.gettext('binding.mode is "observe": this is a dry run, and nothing is bound'))
    app.start_log(default=-1)
    if dry_run or observe:
        with stoppable() as stop, progress(app.language) as show:
            rehearsal = Evaluation(settings, since=start, stop=stop, rate_share=rate_share, tell=tell)
            _print_rehearsal(rehearsal.run(show), start, as_json, app.language)
        return
    began = datetime.now(UTC)
    with stoppable() as stop, progress(app.language) as show:
        work = Backfill(
            settings,
            since=start,
            stop=stop,
            rate_share=rate_share,
            newest_first=newest_first,
            language=app.language,
            tell=tell,
        )
        work.run(show)
    _print_done(work.letters(), start, began, as_json, app.language)


def _start(since: datetime | None, everything: bool) -> datetime | None:
    """The moment from which on mail is meant, by the time zone of this machine; None: all of it."""
    if (since is None) is not everything:
        raise ConfigError("say which mail: --since DATE or --all")
    return since.astimezone() if since else None


def _refuse_unfilled(settings: Settings) -> None:
    """Raises ConfigError without portal or mailboxes, StoreError for an index that was never filled."""
    from imaprouter.store.index import is_filled

    settings.require_portal()
    settings.require_mailboxes()
    if not is_filled(settings.store.path):
        raise StoreError(
            f"the deal index beside {settings.store.path} was never filled",
            advice="run 'imaprouter cache refresh'",
        )


def _routing_of(path: Path) -> RoutingPolicy:
    """The [routing] of another configuration, which is checked as a whole. Raises ConfigError."""
    import os

    from imaprouter.config import load
    from imaprouter.log import register_secret

    settings = load(path, os.environ)
    for secret in settings.secrets:
        register_secret(secret)
    return settings.routing


# ── output ────────────────────────────────────────────────────────────────────────────────────────────────


def _print_rehearsal(
    letters: Iterable[Judged], start: datetime | None, as_json: bool, language: NullTranslations
) -> None:
    from imaprouter.past.judging import Table

    table = Table()
    for judged in letters:
        table.count(judged.message.decision.rule, judged.judgement)
        if as_json:
            click.echo(as_line(_letter_json(judged, language)))
    click.echo(
        as_line(_summary_json(table, start, None)) if as_json else _table(table, language).rstrip("\n")
    )


def _letter_json(judged: Judged, language: NullTranslations) -> dict[str, Any]:
    message, judgement = judged.message, judged.judgement
    source = f"{message.mailbox}/{message.folder}/{message.uidvalidity}/{message.uid}"
    truth = judgement.truth
    shown = {
        **decision_json(source, message.envelope, message.decision, language),
        "mailbox": message.mailbox,
        "received": message.internal_date.isoformat(),
        "activity": judged.activity.activity.id if judged.activity else None,
        "bound": None if judged.bound is None else [str(binding) for binding in judged.bound],
        "verdict": judgement.verdict.value,
        "truth": None
        if truth is None
        else {
            "target": target_json(truth.target),
            "source": truth.source,
            "decision": judgement.hit.value if judgement.hit else None,
        },
    }
    if judged.against:
        shown["against"] = {
            "outcome": judged.against.outcome.value,
            "target": target_json(judged.against.target),
            "rule": judged.against.rule,
            "review": judged.against.review,
            "reason": sentence(judged.against.reasons, language),
        }
    return shown


def _summary_json(table: Table, start: datetime | None, differ: int | None) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "since": start.isoformat() if start else None,
        "rules": {rule: row.values() for rule, row in table.named()},
        "total": table.total.values(),
    }
    if differ is not None:
        summary["differ"] = differ
    return {"summary": summary}


def _difference(judged: Judged, language: NullTranslations) -> Iterator[str]:
    message, other = judged.message, judged.against
    sender = message.envelope.from_[0].email if message.envelope.from_ else "?"
    subject = message.envelope.subject or language.gettext("(no subject)")
    yield f"{message.internal_date.date().isoformat()}  {sender}  {subject}"
    for decision in filter(None, (message.decision, other)):
        said = sentence(decision.reasons, language)
        yield f"    {headline(decision, language)} ({decision.rule}): {said}"


_HEADERS: Mapping[str, str] = {
    "rule": N_("rule"),
    "decided": N_("decided"),
    "agrees": N_("agrees"),
    "would_move": N_("would move"),
    "person": N_("by hand"),
    "review": N_("in review"),
    "left": N_("left"),
    "none": N_("no activity"),
    "truth_right": N_("right"),
    "truth_wrong": N_("wrong"),
    "truth_asked": N_("would ask"),
    "truth_left": N_("would leave"),
}


def _table(table: Table, language: NullTranslations) -> str:
    """Aligned columns; the last line is of all letters."""
    _ = language.gettext
    rows = [*table.named(), (_("total"), table.total)]
    cells = [[_(heading) for heading in _HEADERS.values()]]
    cells += [[name, *(str(row.values()[key]) for key in list(_HEADERS)[1:])] for name, row in rows]
    return _aligned(cells)


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    """The first column to the left, numbers to the right; the headings and the last line are set apart."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    return "".join(f"{line}\n" for line in (lines[0], rule, *lines[1:-1], rule, lines[-1]))


_ENDS: tuple[tuple[str, State, Result | None], ...] = (
    (N_("moved"), State.SETTLED, Result.MOVED),
    (N_("right already"), State.SETTLED, Result.ALREADY_RIGHT),
    (N_("bound by hand, left alone"), State.SETTLED, Result.PERSON),
    (N_("put back by 'undo', left so"), State.SETTLED, Result.UNDONE),
    (N_("in review"), State.REVIEW, None),
    (N_("left as they are, or ignored"), State.SETTLED, None),
    (N_("without an activity"), State.MISSING, None),
    (N_("refused or unreadable"), State.FAILED, None),
    (N_("not finished: the service goes on with them"), State.PAIRED, None),
)


def _print_done(
    letters: Iterable[Judged],
    start: datetime | None,
    began: datetime,
    as_json: bool,
    language: NullTranslations,
) -> None:
    counts: dict[str, int] = {name: 0 for name, _, _ in _ENDS}
    for judged in letters:
        counts[_end(judged)] += 1
        if as_json:
            message = judged.message
            ended = {"state": message.state.value, "result": message.result.value if message.result else None}
            click.echo(as_line({"id": message.id, **_letter_json(judged, language), **ended}))
    if as_json:
        names = (
            "moved",
            "already_right",
            "person",
            "undone",
            "review",
            "left",
            "missing",
            "failed",
            "unfinished",
        )
        summary = dict(zip(names, counts.values(), strict=True))
        click.echo(as_line({"summary": {"since": start.isoformat() if start else None, **summary}}))
        return
    width = max(len(str(count)) for count in counts.values())
    for name, count in counts.items():
        click.echo(f"{count:>{width}}  {language.gettext(name)}")
    undo = language.gettext("every change is on record; to put all of them back: {command}")
    click.echo(undo.format(command=f"imaprouter undo --since {began.astimezone():%Y-%m-%d}"))


def _end(judged: Judged) -> str:
    message = judged.message
    state = State.FAILED if message.state is State.UNREADABLE else message.state
    ends = (name for name, at, result in _ENDS if at is state and result in (None, message.result))
    return next(ends, _ENDS[-1][0])
