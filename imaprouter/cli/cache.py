"""`cache`: bring the deal index up to date, look into it, carry it elsewhere."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from gettext import NullTranslations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.cli.decisions import as_line
from imaprouter.cli.tables import DIALECTS
from imaprouter.crm_faults import Fault, Found
from imaprouter.errors import ConfigError, StoreError
from imaprouter.reasons import N_, named
from imaprouter.text import clean

if TYPE_CHECKING:
    from imaprouter.model import Deal, Target
    from imaprouter.store.index import Index


@click.group()
def cache() -> None:
    """The local copy of deals, contacts, companies, leads and users.

    \b
    Example:
        imaprouter cache refresh
        imaprouter cache lookup sergey@horns.ru
    """


@cache.command("refresh")
@click.option("--full", is_flag=True, help="Read everything, and drop what the portal no longer shows.")
@click.option("--force", is_flag=True, help="Accept that the index shrinks absurdly.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def cache_refresh(app: App, full: bool, force: bool, as_json: bool) -> None:
    """Bring the index up to date: what changed since the last time, or everything.

    \b
    Example:
        imaprouter cache refresh --full
    """
    from imaprouter.bitrix24.portal import Portal
    from imaprouter.refresh import refresh

    app.start_log(default=-1)
    _make_room(app.settings.store.path)
    portal = Portal.configured(app.settings.require_portal())
    with closing(portal), _index(app) as index, _progress() as progress:
        report = refresh(portal, index, full=full, force=force, progress=progress)
    if as_json:
        values = {
            "full": report.full,
            "requests": report.requests,
            "read": report.read,
            "rows": report.counts,
        }
        click.echo(as_line(values))
        return
    kind = "full" if report.full else "incremental"
    click.echo(f"{kind} refresh, {report.requests} requests")
    for name, rows in report.counts.items():
        click.echo(f"  {name.replace('_', ' '):<14}{rows:>9}   read {report.read.get(name, 0)}")


@cache.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def cache_status(app: App, as_json: bool) -> None:
    """How many rows the index holds, and how old they are.

    \b
    Example:
        imaprouter cache status --json
    """
    from imaprouter.refresh import LAST, LAST_FULL

    with _filled_index(app) as index:
        counts = index.counts()
        full, last = index.moment(LAST_FULL), index.moment(LAST)
    age = (datetime.now(UTC) - last).total_seconds() if last else None
    if as_json:
        values = {
            "rows": counts,
            "last_full_refresh": full.isoformat() if full else None,
            "last_refresh": last.isoformat() if last else None,
            "age_seconds": None if age is None else round(age),
        }
        click.echo(as_line(values))
        return
    for name, rows in counts.items():
        click.echo(f"{name.replace('_', ' '):<14}{rows:>9}")
    click.echo(f"last full refresh  {full.isoformat(timespec='seconds') if full else 'never'}")
    click.echo(f"last refresh       {last.isoformat(timespec='seconds') if last else 'never'}")
    if age is not None:
        click.echo(f"age                {age:.0f}s")


@cache.command("lookup")
@click.argument("query")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def cache_lookup(app: App, query: str, as_json: bool) -> None:
    """What the index knows about an e-mail address or a deal number.

    \b
    Example:
        imaprouter cache lookup sergey@horns.ru
        imaprouter cache lookup 123
    """
    from imaprouter.address import normalise

    number, email = query.lstrip("#№"), normalise(query)
    with _filled_index(app) as index:
        if email:
            found = _about_address(index, email)
        elif number.isascii() and number.isdigit():
            found = _about_deal(index, int(number))
        else:
            raise ConfigError(f"{query!r} is neither an e-mail address nor a deal number")
    if as_json:
        click.echo(as_line(found))
    else:
        click.echo("\n".join(_text(found)))
    if not any(value for key, value in found.items() if key != "query"):
        sys.exit(1)


@cache.command("import")
@click.argument("file", type=click.File("rb"))
@pass_app
def cache_import(app: App, file: Any) -> None:
    """Replace the index by a CRM snapshot in JSON.

    \b
    Example:
        imaprouter cache import fixtures/crm.json
    """
    from imaprouter.store.snapshot import import_snapshot, read_snapshot

    snapshot = read_snapshot(file.read(), file.name)
    with _index(app) as index:
        counts = import_snapshot(index, snapshot)
    click.echo(", ".join(f"{rows} {name.replace('_', ' ')}" for name, rows in counts.items()))


@cache.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@pass_app
def cache_export(app: App, file: Path) -> None:
    """Write the index as a CRM snapshot in JSON; the file is readable by its owner only.

    \b
    Example:
        imaprouter cache export crm.json
    """
    from imaprouter.store.snapshot import export_snapshot

    with _filled_index(app) as index:
        text = json.dumps(export_snapshot(index), ensure_ascii=False, indent=1) + "\n"
    if str(file) == "-":
        click.echo(text, nl=False)
    else:
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")


@cache.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines, every fault.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, every fault.")
@click.option(
    "--dialect",
    type=click.Choice(DIALECTS),
    help="Of CSV; excel-ru: semicolons, and a mark by which Excel knows UTF-8.",
)
@pass_app
def cache_doctor(app: App, as_json: bool, as_csv: bool, dialect: str | None) -> None:
    """What is wrong with the CRM's data so that letters cannot be routed well; exit code 1 when anything is.

    From the index alone, as of its last refresh: no server is asked. Without --json or --csv the first few of
    each kind, with the number of all.

    \b
    shared_address             an address of several contacts, or of several companies
    deal_without_address       an active deal whose contacts and company have no address
    responsible_dismissed      an active deal of an employee who is dismissed
    responsible_unknown        an active deal of somebody whom the webhook does not see
    responsible_without_email  an active deal of an employee without an address
    names_in_one_field         a contact with first and last name in one field
    name_is_address            a contact that is called by an e-mail address
    double                     the same but for spaces, case and quotation marks: companies by
                               title, contacts of one company by name

    \b
    Example:
        imaprouter cache doctor
        imaprouter cache doctor --csv --dialect excel-ru >faults.csv
    """
    if as_json and as_csv:
        raise ConfigError("give --json or --csv, not both")
    if dialect and not as_csv:
        raise ConfigError("--dialect is for --csv")
    from imaprouter.cli.tables import csv_lines, json_lines, write_lines

    link = _linked(app)
    counts: Counter[Fault] = Counter()
    with _filled_index(app) as index:

        def rows() -> Iterator[dict[str, Any]]:
            for found in _faults(index):
                counts[found.fault] += 1
                name = found.name or _name_of(index, found.target)
                yield {
                    "fault": found.fault.value,
                    "type": found.target.type.value,
                    "id": found.target.id,
                    "name": name,
                    "detail": found.detail,
                    "link": link(found.target),
                }

        if as_json or as_csv:
            content = json_lines(_FAULT, rows()) if as_json else csv_lines(_FAULT, rows(), dialect or "excel")
            write_lines(content)
        else:
            _show_faults(rows(), counts, app.language)
    if counts:
        sys.exit(1)


_FAULT = ("fault", "type", "id", "name", "detail", "link")
# Of each kind of fault, so many are shown to people.
_SHOWN = 5


def _faults(index: Index) -> Iterator[Found]:
    from imaprouter import crm_faults
    from imaprouter.model import EntityType

    asked = index.faults
    yield from crm_faults.shared(asked.shared_addresses())
    yield from crm_faults.without_address(asked.deals_without_address())
    yield from crm_faults.irresponsible(asked.responsibles())
    yield from crm_faults.misnamed(asked.contact_names())
    yield from crm_faults.doubles(EntityType.COMPANY, asked.company_titles())
    yield from crm_faults.doubles(EntityType.CONTACT, asked.names_in_companies())


def _show_faults(rows: Iterator[dict[str, Any]], counts: Counter[Fault], language: NullTranslations) -> None:
    shown: dict[str, list[str]] = {}
    for row in rows:
        lines = shown.setdefault(row["fault"], [])
        if len(lines) < _SHOWN:
            said = "  ".join(filter(None, (clean(row["name"]), clean(row["detail"]), row["link"])))
            object_ = named(f"{row['type']} {row['id']}", language)
            lines.append(f"    {object_}  {said}")
    if not counts:
        click.echo(language.gettext("no fault was found"))
    for fault, count in counts.items():
        click.echo(f"{count:>7}  {language.gettext(_MEANING[fault])}")
        click.echo("\n".join(shown[fault.value]))


#: What is said of each fault.
_MEANING = {
    Fault.SHARED_ADDRESS: N_("share an address with another contact or company"),
    Fault.DEAL_WITHOUT_ADDRESS: N_("active deals whose client has no address"),
    Fault.RESPONSIBLE_DISMISSED: N_("active deals of dismissed employees"),
    Fault.RESPONSIBLE_UNKNOWN: N_("active deals of employees whom the webhook does not see"),
    Fault.RESPONSIBLE_WITHOUT_EMAIL: N_("active deals of employees without an address"),
    Fault.NAMES_IN_ONE_FIELD: N_("contacts with first and last name in one field"),
    Fault.NAME_IS_ADDRESS: N_("contacts that are called by an address"),
    Fault.DOUBLE: N_("are the same as another but for spaces and case"),
}


def _name_of(index: Index, target: Target) -> str:
    from imaprouter.model import EntityType

    if target.type is EntityType.CONTACT:
        contact = index.contact(target.id)
        return contact.name if contact else ""
    company = index.company(target.id)
    return company.title if company else ""


def _linked(app: App) -> Callable[[Target], str]:
    """The portal's page of an object; '' where no portal is configured."""
    from imaprouter.bitrix24.portal import Portal

    if app.settings.portal is None:
        return lambda target: ""
    with closing(Portal.configured(app.settings.portal)) as portal:
        return portal.link


def _make_room(journal: Path) -> None:
    """Move a damaged index out of the way of the refresh. Raises StoreBusy while a service uses it."""
    from imaprouter.store.index import index_path
    from imaprouter.store.lock import exclusive
    from imaprouter.store.soundness import damage, set_aside_damaged

    path = index_path(journal)
    if damage(path):
        with exclusive(journal):
            aside = set_aside_damaged(path)
        click.echo(f"the index was damaged; it is kept as {aside}", err=True)


@contextmanager
def _index(app: App) -> Iterator[Index]:
    from imaprouter.store.index import Index, index_path

    index = Index(index_path(Path(app.settings.store.path)))
    try:
        yield index
    finally:
        index.close()


@contextmanager
def _filled_index(app: App) -> Iterator[Index]:
    """The index, for questions: one that was never filled has no answers."""
    from imaprouter.store.index import is_filled

    if not is_filled(app.settings.store.path):
        raise StoreError(
            "the deal index was never filled",
            advice="run 'imaprouter cache refresh' or 'imaprouter cache import FILE'",
        )
    with _index(app) as index:
        yield index


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """A line that counts on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda kind, rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} rows"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(kind: str, rows: int) -> None:
            if kind not in tasks:
                tasks[kind] = bars.add_task(kind.replace("_", " "), total=None)
            bars.update(tasks[kind], completed=rows)

        yield show


def _about_address(index: Index, email: str) -> dict[str, Any]:
    client, user = index.client(email), index.user_by_email(email)
    deals = index.deals_of(client.contact_ids, client.company_ids)
    return {
        "query": email,
        "employee": {"id": user.id, "name": user.name} if user else None,
        "contacts": [
            {"id": contact.id, "name": contact.name, "companies": list(contact.company_ids)}
            for contact in client.contacts
        ],
        "companies": [{"id": company.id, "title": company.title} for company in client.companies],
        "leads": [{"id": lead.id, "title": lead.title, "active": lead.active} for lead in client.leads],
        "deals": [_deal(index, deal) for deal in deals],
    }


def _about_deal(index: Index, number: int) -> dict[str, Any]:
    deal = index.deal(number)
    if deal is None:
        return {"query": number, "deals": []}
    contacts = [contact for contact in map(index.contact, deal.contact_ids) if contact]
    company = index.company(deal.company_id) if deal.company_id else None
    return {
        "query": number,
        "deals": [_deal(index, deal)],
        "contacts": [
            {"id": contact.id, "name": contact.name, "emails": list(contact.emails)} for contact in contacts
        ],
        "companies": [{"id": company.id, "title": company.title, "emails": list(company.emails)}]
        if company
        else [],
    }


def _deal(index: Index, deal: Deal) -> dict[str, Any]:
    former = [
        {**_person(index, each.user_id), "since": _moment(each.since), "until": _moment(each.until)}
        for each in deal.former
    ]
    return {
        "id": deal.id,
        "title": deal.title,
        "active": deal.active,
        "pipeline": deal.category_id,
        "stage": deal.stage_id,
        "responsible": _person(index, deal.responsible_id) if index.user(deal.responsible_id) else None,
        "responsible_since": _moment(deal.responsible_since),
        "former_responsibles": former,
        "observers": [_person(index, number) for number in deal.observer_ids],
    }


def _person(index: Index, number: int) -> dict[str, Any]:
    user = index.user(number)
    return {"id": number, "name": user.name if user else "", "email": user.email if user else ""}


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


_SINGULAR = {"contacts": "contact", "companies": "company", "leads": "lead", "deals": "deal"}


def _text(found: dict[str, Any]) -> Iterator[str]:
    empty = True
    for kind, value in found.items():
        if kind == "query" or not value:
            continue
        empty = False
        for row in value if isinstance(value, list) else [value]:
            details = (f"{key}={_short(item)}" for key, item in row.items() if key != "id")
            yield f"{_SINGULAR.get(kind, kind):<9}{row['id']:>7}  {'  '.join(details)}"
    if empty:
        yield f"the index knows nothing about {found['query']}"


def _short(item: Any) -> str:
    if isinstance(item, dict):
        return str(item.get("email") or item.get("name") or item.get("id"))
    if isinstance(item, list):
        return ",".join(map(str, item)) or "-"
    return {True: "yes", False: "no"}.get(item, str(item)) if isinstance(item, bool) else str(item)
