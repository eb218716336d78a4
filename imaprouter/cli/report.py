"""`report`: how many messages came, what was decided, and how it ended, by period and mailbox."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from gettext import NullTranslations
from typing import TYPE_CHECKING, Any, get_args

import click

from imaprouter.cli.app import App, opened_journal, pass_app
from imaprouter.cli.decisions import as_line
from imaprouter.errors import ConfigError
from imaprouter.reasons import N_
from imaprouter.report import By, Counts, Row, rows, rules, total

if TYPE_CHECKING:
    from imaprouter.config import Settings

_DATE = click.DateTime(formats=["%Y-%m-%d"])


@click.command()
@click.option("--from", "since", type=_DATE, metavar="DATE", help="The first day, as 2026-11-24.")
@click.option("--to", "until", type=_DATE, metavar="DATE", help="The last day, itself included.")
@click.option(
    "--by", type=click.Choice(get_args(By)), default="month", show_default=True, help="Length of a period."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    help="Form of the output.  [default: table]",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json: JSON Lines.")
@pass_app
def report(
    app: App, since: datetime | None, until: datetime | None, by: By, form: str | None, as_json: bool
) -> None:
    """Count messages and how they ended, by period and mailbox, from the journal alone.

    A message belongs to the day on which the mail server got it, in the local time zone of this machine (TZ
    names another one). A mail that was met again counts once; in two mailboxes it is two messages. Letters
    that employees wrote to the mailbox count among the decisions only.

    \b
    Columns: received and machines came in, sent went out; decisions by rule, and
    conflicts among them; where the messages stand now: moved, already right,
    in review, missing, failed; and what people said: overruled (they chose
    something else than we had decided), answered (we had asked).

    \b
    Example:
        imaprouter report
        imaprouter report --from 2026-11-01 --to 2026-11-30 --by week
        imaprouter report --by day --format csv
    """
    if since and until and since > until:
        raise ConfigError(f"--from {since:%Y-%m-%d} is after --to {until:%Y-%m-%d}")
    if as_json and form not in (None, "json"):
        raise ConfigError(f"give --json or --format {form}, not both")
    first, last = (moment.date() if moment else None for moment in (since, until))
    with opened_journal(app) as journal:
        found = rows(journal.reports.tallies(first, last, _sent_folders(app.settings)), by)
    chosen = _FORMATS["json" if as_json else form or "table"]
    click.echo(chosen(found, app.language), nl=False)


def _sent_folders(settings: Settings) -> frozenset[tuple[str, str]]:
    return frozenset((mailbox.name, name) for mailbox in settings.mailboxes for name in mailbox.sent_folders)


# ── JSON and CSV: UTF-8 whatever the locale ───────────────────────────────────────────────────────────────


def _json(found: Sequence[Row], _language: NullTranslations) -> bytes:
    return "".join(f"{as_line(_values(row, rules(found)))}\n" for row in found).encode()


def _csv(found: Sequence[Row], _language: NullTranslations) -> bytes:
    names = rules(found)
    text = io.StringIO()
    writer = csv.DictWriter(text, _flat(_values(Row("", "", Counts()), names)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(_values(row, names)) for row in found)
    return text.getvalue().encode()


def _values(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """Keys and values of a row; `decided` has all these rules, also those that decided nothing."""
    values = {name: getattr(row.counts, name) for name in Counts.__dataclass_fields__}
    decided = {name: row.counts.decided.get(name, 0) for name in names}
    return {"period": row.period, "mailbox": row.mailbox, **values, "decided": decided}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a column for each rule where `decided` stands."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = value.items() if isinstance(value, Mapping) else ()
        flat.update({f"{name}_{key}": number for key, number in inner} or {name: value})
    return flat


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────

_HEADERS: Mapping[str, str] = {
    "period": N_("period"),
    "mailbox": N_("mailbox"),
    "received": N_("received"),
    "machines": N_("machines"),
    "sent": N_("sent"),
    "conflicts": N_("conflicts"),
    "moved": N_("moves"),
    "already_right": N_("already right"),
    "review": N_("in review"),
    "missing": N_("missing"),
    "failed": N_("failed"),
    "overruled": N_("overruled"),
    "answered": N_("answered"),
}
_TEXT = ("period", "mailbox")


def _table(found: Sequence[Row], language: NullTranslations) -> str:
    """Aligned columns under headings of one word a line; of the rules those that decided anything."""
    _ = language.gettext
    if not found:
        return _("no message is on record for this time") + "\n"
    whole = total(found)
    names = [name for name in rules(found) if whole.decided.get(name)]
    shown = [*found, Row(_("total"), "", whole)]
    lines = [_flat(_values(row, names)) for row in shown]
    by_rule = {f"decided_{name}": _("by {rule}").format(rule=name) for name in names}
    columns: list[list[str]] = []
    for key in lines[0]:
        heading = by_rule.get(key) or _(_HEADERS[key])
        words = heading.split()
        cells = [str(line[key]) for line in lines]
        width = max(map(len, words + cells))
        place = str.ljust if key in _TEXT else str.rjust
        columns.append([place(text, width) for text in (*words, "-" * width, *cells)])
    return _under_each_other(columns, len(lines))


def _under_each_other(columns: Sequence[Sequence[str]], below: int) -> str:
    """Columns of different headings end on one line; the last of the `below` lines is set apart."""
    height = max(map(len, columns))
    filled = [[" " * len(column[0])] * (height - len(column)) + list(column) for column in columns]
    text = ["  ".join(cells).rstrip() for cells in zip(*filled, strict=True)]
    text.insert(-1, text[height - below - 1])
    return "".join(f"{line}\n" for line in text)


_FORMATS: Mapping[str, Callable[[Sequence[Row], NullTranslations], str | bytes]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
}
