"""`report`: what came, what was decided, how it ended and who still waits; by period, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from imaprouter.cli.app import App, opened_journal, pass_app
from imaprouter.errors import ConfigError
from imaprouter.report import By, Entry, Group, Per

if TYPE_CHECKING:
    from imaprouter.cli.report_forms import Form
    from imaprouter.config import Settings
    from imaprouter.errors import PortalError
    from imaprouter.model import DealIndex, Target

#: Letters that came earlier are nobody's news: --notify may be turned on after years.
REMINDED = timedelta(days=7)
_DATE = click.DateTime(formats=["%Y-%m-%d"])
_FORMS = ("table", "json", "csv", "xlsx", "html")


class Duration(click.ParamType[timedelta]):
    """30s, 5m, 24h, 2d."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from imaprouter.config.values import parse_duration

        try:
            return parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is no duration: write 30s, 5m, 24h or 2d", param, ctx)


@click.command()
@click.option("--from", "since", type=_DATE, metavar="DATE", help="The first day, as 2026-11-24.")
@click.option("--to", "until", type=_DATE, metavar="DATE", help="The last day, itself included.")
@click.option(
    "--by", type=click.Choice(get_args(By)), default="month", show_default=True, help="Length of a period."
)
@click.option(
    "--per",
    type=click.Choice(get_args(Per)),
    default="mailbox",
    show_default=True,
    help="A row for each of these.",
)
@click.option("--format", "form", type=click.Choice(_FORMS), help="Form of the output.  [default: table]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json: JSON Lines.")
@click.option(
    "--dialect",
    type=click.Choice(["excel", "excel-ru"]),
    help="Of CSV; excel-ru: semicolons, and a mark by which Excel knows UTF-8.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write into this file.  [default: -]"
)
@click.option("--unanswered", is_flag=True, help="Only the letters that nobody has replied to, one by one.")
@click.option("--older-than", type=Duration(), help="With --unanswered: only those that wait longer, as 4h.")
@click.option(
    "--notify",
    is_flag=True,
    help="With --unanswered and --older-than: remind the responsibles, once of each letter.",
)
@pass_app
def report(
    app: App,
    since: datetime | None,
    until: datetime | None,
    by: By,
    per: Per,
    form: str | None,
    as_json: bool,
    dialect: str | None,
    output: Path | None,
    unanswered: bool,
    older_than: timedelta | None,
    notify: bool,
) -> None:
    """Count messages, how they ended, and how long clients wait; from journal and index alone.

    A message belongs to the day on which the mail server got it, in the local time zone of this machine (TZ
    names another one). A mail that was met again counts once; in two mailboxes it is two messages. Letters
    that employees wrote to the mailbox count among the decisions only.

    A letter is replied to when a later letter of ours in its thread, or one of its subject where the thread
    is not known, went to who wrote it; also one that was written in Bitrix24 and lies in no Sent folder.

    \b
    Columns: received, and of those not seen (nobody has opened them), replied and
    unanswered; machines came in, sent went out; decisions by rule, and conflicts
    among them; where the messages stand now: moved, already right, in review,
    missing, failed; what people said: overruled (they chose something else than we
    had decided), answered (we had asked); and how long it took: the reply, the
    wait of those unanswered, Bitrix24's delay between a mail and its activity.

    --notify is for a timer: the responsible of the deal gets one notification in Bitrix24, without one
    those of alerts.users or review.users, of letters of the last 7 days unless --from says otherwise; the
    list then has the letters of which somebody was told now.

    \b
    Example:
        imaprouter report
        imaprouter report --from 2026-11-01 --to 2026-11-30 --by week --per manager
        imaprouter report --format html --output november.html
        imaprouter report --unanswered --older-than 4h
        imaprouter report --unanswered --older-than 4h --notify
    """
    from imaprouter.cli.report_forms import FORMS, LISTS
    from imaprouter.correspondence import answers
    from imaprouter.report import report as counted
    from imaprouter.report import unanswered as waiting

    if since and until and since > until:
        raise ConfigError(f"--from {since:%Y-%m-%d} is after --to {until:%Y-%m-%d}")
    if as_json and form not in (None, "json"):
        raise ConfigError(f"give --json or --format {form}, not both")
    chosen = "json" if as_json else form or "table"
    if dialect and chosen != "csv":
        raise ConfigError("--dialect is for --format csv")
    if older_than and not unanswered:
        raise ConfigError("--older-than is for --unanswered")
    if notify and not (unanswered and older_than):
        raise ConfigError("--notify is for --unanswered with --older-than")
    if chosen == "xlsx" and output is None:
        raise ConfigError("a workbook needs --output FILE")
    if unanswered and chosen not in LISTS:
        raise ConfigError(f"--unanswered has the formats {', '.join(LISTS)}")
    first, last = (moment.date() if moment else None for moment in (since, until))
    now = datetime.now(UTC)
    if notify and first is None:
        first = (now - REMINDED).astimezone().date()
    trouble: Sequence[PortalError] = ()
    entries, replied = _read(app, first, last, answers)
    with _index(app.settings) as index:
        form_of = _form(app, index, dialect)
        if unanswered:
            some = [one for one in waiting(entries, replied) if not older_than or now - one.at > older_than]
            if notify:
                some, trouble = _remind(app, index, some, now)
            content = LISTS[chosen](some, now, form_of)
        else:
            found = counted(entries, replied, by=by, per=per, group=_group(per, index), now=now)
            content = FORMS[chosen](found, form_of)
    if output:
        output.write_bytes(content)
    else:
        click.echo(content, nl=False)
    if trouble:
        raise trouble[0]


def _remind(
    app: App, index: DealIndex | None, waiting: Sequence[Entry], now: datetime
) -> tuple[list[Entry], Sequence[PortalError]]:
    """Tell those who can answer; the letters of which somebody was told, and what went wrong.

    While observing, nobody is told, and every letter is there.
    """
    settings, language = app.settings, app.language
    portal_settings = settings.require_portal()
    if settings.binding.mode == "observe":
        click.echo(language.gettext('nobody is told while binding.mode is "observe"'), err=True)
        return list(waiting), ()
    from imaprouter.binder.reminders import Reminders, Unanswered
    from imaprouter.bitrix24.portal import Portal
    from imaprouter.cli.report_forms import shown_duration

    app.start_log(default=-1)
    letters = [
        Unanswered(
            one.number, one.subject, one.client, one.target, one.asked and not one.chosen, now - one.at
        )
        for one in waiting
    ]
    with opened_journal(app) as journal, closing(Portal.configured(portal_settings)) as portal:
        found = Reminders(
            portal,
            journal,
            index,
            alert_users=settings.alerts.users,
            review_users=settings.review.users,
            language=language,
            shown=lambda duration: shown_duration(duration, language),
        ).tell(letters)
    if found.nobody:
        text = language.ngettext(
            "{count} letter has nobody who could be told: set alerts.users",
            "{count} letters have nobody who could be told: set alerts.users",
            found.nobody,
        )
        click.echo(text.format(count=found.nobody), err=True)
    return [one for one in waiting if one.number in found.told], found.errors


def _is_asked(entry: Entry) -> bool:
    """Whether a person is still to say where it belongs."""
    return entry.asked and not entry.chosen


def _read(
    app: App, first: date | None, last: date | None, answers: Callable[..., dict[int, datetime]]
) -> tuple[list[Entry], dict[int, datetime]]:
    """The messages of this time, and which of them were answered, be it later."""
    settings = app.settings
    sent = frozenset((box.name, name) for box in settings.mailboxes for name in box.sent_folders)
    entries, letters = [], []
    with opened_journal(app) as journal:
        for entry, letter in journal.reports.entries(first, None, sent):
            letters.append(letter)
            if last is None or entry.day <= last:
                entries.append(entry)
        letters += journal.reports.sent_by_portal(first)
    return entries, answers(letters)


@contextmanager
def _index(settings: Settings) -> Iterator[DealIndex | None]:
    """Titles and responsibles; None while the index was never filled."""
    from imaprouter.store.index import Index, index_path, is_filled

    if not is_filled(settings.store.path):
        yield None
        return
    index = Index(index_path(settings.store.path))
    try:
        yield index
    finally:
        index.close()


def _form(app: App, index: DealIndex | None, dialect: str | None) -> Form:
    from imaprouter.bitrix24.webhook import Webhook
    from imaprouter.cli.report_forms import Form

    portal = app.settings.portal
    webhook = Webhook.parse(portal.webhook_url) if portal else None

    def link(target: Target | None) -> str:
        return webhook.page(target) if webhook and target else ""

    def manager(target: Target | None) -> str:
        return _manager(index, target).name

    return Form(app.language, dialect or "excel", link, manager)


def _group(per: Per, index: DealIndex | None) -> Callable[[Entry], Group]:
    """Whose a message is. What has no deal, manager or client is nobody's: ''."""
    from functools import cache

    from imaprouter.model import EntityType

    @cache
    def title(number: int) -> str:
        deal = index.deal(number) if index else None
        return deal.title if deal else ""

    @cache
    def manager(target: Target | None) -> Group:
        return _manager(index, target)

    def of_deal(entry: Entry) -> Group:
        target = entry.target
        if target is None or target.type is not EntityType.DEAL:
            return Group("")
        return Group(title(target.id) or str(target), target.id)

    groups: dict[Per, Callable[[Entry], Group]] = {
        "mailbox": lambda entry: Group(entry.mailbox),
        "client": lambda entry: Group(entry.client),
        "deal": of_deal,
        "manager": lambda entry: manager(entry.target),
    }
    return groups[per]


def _manager(index: DealIndex | None, target: Target | None) -> Group:
    """Who is responsible for an object now."""
    from imaprouter.model import EntityType

    if index is None or target is None:
        return Group("")
    ask = {
        EntityType.DEAL: index.deal,
        EntityType.COMPANY: index.company,
        EntityType.CONTACT: index.contact,
        EntityType.LEAD: index.lead,
    }
    found = ask[target.type](target.id)
    user = index.user(found.responsible_id) if found and found.responsible_id else None
    return Group(user.name or user.email, user.id) if user else Group("")
