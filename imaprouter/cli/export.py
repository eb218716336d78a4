"""`export`: what the index and the journal hold, as tables for spreadsheets and dashboards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imaprouter.cli.app import App, opened_journal, pass_app
from imaprouter.cli.tables import DIALECTS, Cell, csv_lines, json_lines, make_private, write_lines
from imaprouter.errors import ConfigError, StoreError
from imaprouter.model import EntityType, Target

if TYPE_CHECKING:
    from imaprouter.store.index import Index
    from imaprouter.store.journal import Journal

Row = Mapping[str, Cell]

#: Every column of every table, in its usual order.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "contacts": (
        *("id", "name", "first_name", "last_name", "emails", "company_ids"),
        *("responsible_id", "responsible", "link"),
    ),
    "companies": ("id", "title", "emails", "responsible_id", "responsible", "link"),
    "deals": (
        *("id", "title", "pipeline", "stage", "status", "active", "responsible_id", "responsible"),
        *("company_id", "company", "contact_ids", "lead_id"),
        *("created", "modified", "stage_changed", "last_activity", "link"),
    ),
    "activities": (
        *("id", "message", "mailbox", "direction", "subject", "started", "responsible_id", "responsible"),
        *("bound_first", "bound_last", "first_seen", "settled"),
    ),
    "decisions": (
        *("id", "mailbox", "folder", "uid", "direction", "received", "from", "subject", "message_id"),
        *("outcome", "target_type", "target_id", "rule", "code", "reason", "review"),
        *("state", "result", "note", "person_type", "person_id", "recorded", "settled", "link"),
    ),
}
_LIST = "\n".join(f"    {what + ':':<12}{', '.join(columns)}" for what, columns in COLUMNS.items())


@click.command(
    help=f"""Contacts, companies and deals of the index, activities and decisions of the journal, as a table.

    Everything is written row by row, as the files hold it; no server is asked. Times are ISO 8601 with an
    offset, several values of one cell are separated by commas. In CSV, an apostrophe marks as text what a
    spreadsheet would take for a formula. A file is made for its owner alone.

    \b
    Columns:
{_LIST}

    \b
    Example:
        imaprouter export deals --columns id,title,responsible,last_activity,link
        imaprouter export contacts --dialect excel-ru --output contacts.csv
        imaprouter export decisions --format xlsx --output decisions.xlsx
    """
)
@click.argument("what", type=click.Choice(list(COLUMNS)))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "xlsx", "json"]),
    default="csv",
    show_default=True,
    help="xlsx needs the extra 'xlsx' and --output.",
)
@click.option("--columns", metavar="A,B", help="These columns, in this order; all, if left out.")
@click.option(
    "--dialect",
    type=click.Choice(DIALECTS),
    help="Of CSV; excel-ru: semicolons, and a mark by which Excel knows UTF-8.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write into this file.")
@pass_app
def export(
    app: App, what: str, form: str, columns: str | None, dialect: str | None, output: Path | None
) -> None:
    chosen = _chosen(what, columns)
    if dialect and form != "csv":
        raise ConfigError("--dialect is for --format csv")
    if form == "xlsx" and output is None:
        raise ConfigError("a workbook needs --output FILE")
    with ExitStack() as stack:
        tables = _Tables(app, stack, needs_index=what in ("contacts", "companies", "deals"))
        rows: Iterator[Row] = getattr(tables, what)()
        if form == "xlsx" and output:
            from imaprouter.cli.tables import write_workbook

            make_private(output)
            write_workbook(output, chosen, rows)
        elif form == "json":
            write_lines(json_lines(chosen, rows), output)
        else:
            write_lines(csv_lines(chosen, rows, dialect or "excel"), output)


def _chosen(what: str, columns: str | None) -> tuple[str, ...]:
    known = COLUMNS[what]
    if columns is None:
        return known
    chosen = tuple(dict.fromkeys(name.strip() for name in columns.split(",") if name.strip()))
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise ConfigError(
            f"{what} have no column {', '.join(unknown) or repr(columns)}",
            advice=f"there are {', '.join(known)}",
        )
    return chosen


class _Tables:
    """One method for each table, by its name; gives its rows."""

    def __init__(self, app: App, stack: ExitStack, *, needs_index: bool) -> None:
        from imaprouter.bitrix24.portal import Portal
        from imaprouter.store.index import Index, index_path, is_filled

        self._link: Callable[[Target], str] = lambda target: ""
        if app.settings.portal:
            self._link = stack.enter_context(closing(Portal.configured(app.settings.portal))).link
        self._index: Index | None = None
        if is_filled(app.settings.store.path):
            self._index = stack.enter_context(closing(Index(index_path(app.settings.store.path))))
        elif needs_index:
            raise StoreError(
                "the deal index was never filled",
                advice="run 'imaprouter cache refresh' or 'imaprouter cache import FILE'",
            )
        self._journal: Journal | None = None
        if not needs_index:
            self._journal = stack.enter_context(opened_journal(app))
        self._user = lru_cache(1000)(self._named_user)
        self._company = lru_cache(1000)(self._named_company)

    def contacts(self) -> Iterator[Row]:
        for contact in self._index.all_contacts() if self._index else ():
            yield {
                "id": contact.id,
                "name": contact.name,
                "first_name": contact.first_name,
                "last_name": contact.last_name,
                "emails": _listed(contact.emails),
                "company_ids": _listed(contact.company_ids),
                "responsible_id": contact.responsible_id or None,
                "responsible": self._user(contact.responsible_id),
                "link": self._link(Target(EntityType.CONTACT, contact.id)),
            }

    def companies(self) -> Iterator[Row]:
        for company in self._index.all_companies() if self._index else ():
            yield {
                "id": company.id,
                "title": company.title,
                "emails": _listed(company.emails),
                "responsible_id": company.responsible_id or None,
                "responsible": self._user(company.responsible_id),
                "link": self._link(Target(EntityType.COMPANY, company.id)),
            }

    def deals(self) -> Iterator[Row]:
        for deal in self._index.all_deals() if self._index else ():
            yield {
                "id": deal.id,
                "title": deal.title,
                "pipeline": deal.category_id,
                "stage": deal.stage_id,
                "status": {"P": "in progress", "S": "won", "F": "lost"}.get(deal.semantic, deal.semantic),
                "active": int(deal.active),
                "responsible_id": deal.responsible_id or None,
                "responsible": self._user(deal.responsible_id),
                "company_id": deal.company_id,
                "company": self._company(deal.company_id),
                "contact_ids": _listed(deal.contact_ids),
                "lead_id": deal.lead_id,
                "created": _moment(deal.created_at),
                "modified": _moment(deal.modified_at),
                "stage_changed": _moment(deal.moved_at),
                "last_activity": _moment(deal.last_activity_at),
                "link": self._link(Target(EntityType.DEAL, deal.id)),
            }

    def activities(self) -> Iterator[Row]:
        for paired in self._journal.activities.each() if self._journal else ():
            activity = paired.activity
            yield {
                "id": activity.id,
                "message": paired.message_id,
                "mailbox": activity.mailbox_email,
                "direction": activity.direction.value,
                "subject": activity.subject,
                "started": _moment(activity.start_time),
                "responsible_id": activity.responsible_id or None,
                "responsible": self._user(activity.responsible_id),
                "bound_first": _listed(paired.first_bindings or ()),
                "bound_last": _listed(paired.last_bindings or ()),
                "first_seen": _moment(paired.first_seen_at),
                "settled": _moment(paired.settled_at),
            }

    def decisions(self) -> Iterator[Row]:
        for message in self._journal.messages.every() if self._journal else ():
            decision, chosen = message.decision, message.person_target
            target = message.target
            yield {
                "id": message.id,
                "mailbox": message.mailbox,
                "folder": message.folder,
                "uid": message.uid,
                "direction": message.direction.value,
                "received": _moment(message.internal_date),
                "from": message.envelope.from_[0].email if message.envelope.from_ else "",
                "subject": message.envelope.subject,
                "message_id": message.envelope.message_id,
                "outcome": decision.outcome.value,
                "target_type": decision.target.type.value if decision.target else None,
                "target_id": decision.target.id if decision.target else None,
                "rule": decision.rule,
                "code": decision.code,
                "reason": decision.reason,
                "review": int(decision.review),
                "state": message.state.value,
                "result": message.result.value if message.result else None,
                "note": message.note,
                "person_type": chosen.type.value if chosen else None,
                "person_id": chosen.id if chosen else None,
                "recorded": _moment(message.recorded_at),
                "settled": _moment(message.settled_at),
                "link": self._link(target) if target else "",
            }

    def _named_user(self, number: int) -> str:
        user = self._index.user(number) if self._index else None
        return user.name if user else ""

    def _named_company(self, number: int | None) -> str:
        company = self._index.company(number) if self._index and number else None
        return company.title if company else ""


def _listed(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values))


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
