"""A report as table, JSON Lines, CSV, workbook and page, and the list of unanswered letters. Pure.

JSON and CSV are UTF-8 whatever the locale, with keys that no language changes; durations are whole seconds.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from gettext import NullTranslations
from typing import Any

from imaprouter.cli.decisions import as_line, target_json
from imaprouter.cli.tables import csv_lines, workbook
from imaprouter.model import Target
from imaprouter.reasons import N_, named
from imaprouter.report import SPREADS, Counts, Entry, Group, Report, Row, Spread, rules


@dataclass(frozen=True, slots=True)
class Form:
    """What every form of a report is given."""

    language: NullTranslations
    dialect: str
    #: The portal's page of an object, '' when none is known.
    link: Callable[[Target | None], str]
    #: The name of who is responsible for an object, '' when nobody is known.
    manager: Callable[[Target | None], str]


# ── JSON and CSV ──────────────────────────────────────────────────────────────────────────────────────────


def _json(found: Report, _form: Form) -> bytes:
    names = rules(found.rows)
    return "".join(f"{as_line(_values(found, row, names))}\n" for row in found.rows).encode()


def _csv(found: Report, form: Form) -> bytes:
    names = rules(found.rows)
    columns = list(_flat(_values(found, Row("", Group(""), Counts()), names)))
    return b"".join(
        csv_lines(columns, (_flat(_values(found, row, names)) for row in found.rows), form.dialect)
    )


def _values(found: Report, row: Row, names: Sequence[str]) -> dict[str, Any]:
    """Keys and values of a row; `decided` has all these rules, also those that decided nothing."""
    values: dict[str, Any] = {"period": row.period, found.per: row.group.name}
    if found.per in ("deal", "manager"):
        values[f"{found.per}_id"] = row.group.id
    for name in Counts.__dataclass_fields__:
        value = getattr(row.counts, name)
        if name == "decided":
            value = {rule: value.get(rule, 0) for rule in names}
        elif isinstance(value, Spread):
            value = {"median": value.median, SPREADS[name]: value.high, "worst": value.worst}
            value = {key: _seconds(one) for key, one in value.items()}
        values[name] = value
    return values


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a column for each key of what is a table itself: `decided_marker`, `reply_median`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}_{key}": number for key, number in value.items()})
        else:
            flat[name] = value
    return flat


def _seconds(duration: timedelta | None) -> int | None:
    return None if duration is None else round(duration.total_seconds())


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────

HEADERS: Mapping[str, str] = {
    "period": N_("period"),
    "mailbox": N_("mailbox"),
    "manager": N_("manager"),
    "deal": N_("deal"),
    "client": N_("client"),
    "received": N_("received"),
    "not_seen": N_("not seen"),
    "replied": N_("replied"),
    "unanswered": N_("unanswered"),
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
    "reply_median": N_("reply median"),
    "reply_p90": N_("reply 90 %"),
    "waiting_median": N_("waiting median"),
    "waiting_p90": N_("waiting 90 %"),
    "waiting_worst": N_("waiting worst"),
    "delay_median": N_("Bitrix24 median"),
    "delay_p95": N_("Bitrix24 95 %"),
}
_DURATIONS = frozenset(
    f"{name}_{part}" for name, high in SPREADS.items() for part in ("median", high, "worst")
)


@dataclass(frozen=True, slots=True)
class Columns:
    """A report as people read it: some columns with their headings, and a line of values for each row."""

    headings: Mapping[str, str]
    #: The total is the last.
    lines: Sequence[Mapping[str, Any]]


def columns_of(found: Report, language: NullTranslations) -> Columns:
    """Of the rules those that decided anything, of the durations those that anything took."""
    _ = language.gettext
    names = [name for name in rules(found.rows) if found.total.decided.get(name)]
    shown = [*found.rows, Row(_("total"), Group(""), found.total)]
    lines = [_flat(_values(found, row, names)) for row in shown]
    by_rule = {f"decided_{name}": _("by {rule}").format(rule=name) for name in names}
    headings = {
        key: by_rule.get(key) or _(HEADERS[key]) for key in lines[0] if key in by_rule or key in HEADERS
    }
    empty = {key for key in _DURATIONS if all(line[key] is None for line in lines)}
    return Columns({key: heading for key, heading in headings.items() if key not in empty}, lines)


def cells_of(columns: Columns, language: NullTranslations) -> list[list[str]]:
    """Every value as text."""
    return [[_cell(key, line[key], language) for key in columns.headings] for line in columns.lines]


def _cell(key: str, value: Any, language: NullTranslations) -> str:
    if key not in _DURATIONS:
        return str(value)
    return "-" if value is None else shown_duration(timedelta(seconds=value), language)


def shown_duration(duration: timedelta, language: NullTranslations) -> str:
    """The two greatest units: 3d 04h, 2h 05m, 7m, 12s."""
    _ = language.gettext
    seconds = int(duration.total_seconds())
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return _("{days}d {hours:02}h").format(days=days, hours=hours % 24)
    if hours:
        return _("{hours}h {minutes:02}m").format(hours=hours, minutes=minutes % 60)
    return _("{minutes}m").format(minutes=minutes) if minutes else _("{seconds}s").format(seconds=seconds)


def _table(found: Report, form: Form) -> bytes:
    """Aligned columns under headings of one word a line, and who waits longest."""
    _ = form.language.gettext
    if not found.rows:
        return (_("no message is on record for this time") + "\n").encode()
    shown = columns_of(found, form.language)
    cells = cells_of(shown, form.language)
    columns = []
    for number, heading in enumerate(shown.headings.values()):
        column = [line[number] for line in cells]
        words = heading.split()
        width = max(map(len, words + column))
        place = str.ljust if number < _TEXTS else str.rjust
        columns.append([place(text, width) for text in (*words, "-" * width, *column)])
    text = _under_each_other(columns, len(cells))
    if found.worst:
        text += "\n" + _("waiting longest for an answer:") + "\n"
        text += "".join(f"  {line}\n" for line in _listed(found.worst, found.now, form))
    return text.encode()


#: The columns that are text: period and group.
_TEXTS = 2
_DAY = 86_400


def _under_each_other(columns: Sequence[Sequence[str]], below: int) -> str:
    """Columns of different headings end on one line; the last of the `below` lines is set apart."""
    height = max(map(len, columns))
    filled = [[" " * len(column[0])] * (height - len(column)) + list(column) for column in columns]
    text = ["  ".join(cells).rstrip() for cells in zip(*filled, strict=True)]
    text.insert(-1, text[height - below - 1])
    return "".join(f"{line}\n" for line in text)


def _xlsx(found: Report, form: Form) -> bytes:
    """A workbook: the table with numbers as numbers and durations as such, and who waits longest."""
    _ = form.language.gettext
    shown, content = columns_of(found, form.language), io.BytesIO()
    with workbook(content, in_memory=True) as book:
        bold = book.add_format({"bold": True, "text_wrap": True})
        span = book.add_format({"num_format": "[h]:mm"})
        sheet = book.add_worksheet(_("report"))
        sheet.write_row(0, 0, list(shown.headings.values()), bold)
        sheet.freeze_panes(1, _TEXTS)
        for number, line in enumerate(shown.lines, 1):
            for place, key in enumerate(shown.headings):
                if key in _DURATIONS and line[key] is not None:
                    sheet.write_number(number, place, line[key] / _DAY, span)
                else:
                    sheet.write(number, place, line[key])
        late = book.add_worksheet(_("unanswered"))
        late.write_row(0, 0, [_(heading) for heading in WAITING.values()], bold)
        for number, entry in enumerate(found.worst, 1):
            late.write_row(number, 0, _waiting(entry, found.now, form, readable=True).values())
        sheet.autofit()
        late.autofit()
    return content.getvalue()


def _html(found: Report, form: Form) -> bytes:
    from imaprouter.cli.report_page import page

    return page(found, form).encode()


# ── unanswered letters, one by one ────────────────────────────────────────────────────────────────────────

WAITING: Mapping[str, str] = {
    "id": N_("message"),
    "received_at": N_("received"),
    "waiting": N_("waiting"),
    "mailbox": N_("mailbox"),
    "client": N_("client"),
    "subject": N_("subject"),
    "target": N_("belongs to"),
    "manager": N_("manager"),
    "link": N_("page"),
}


def _waiting(entry: Entry, now: datetime, form: Form, *, readable: bool = False) -> dict[str, Any]:
    """A letter as a row: for programs, or `readable` by people."""
    local, waiting = entry.at.astimezone(), max(now - entry.at, timedelta())
    return {
        "id": entry.number,
        "received_at": f"{local:%Y-%m-%d %H:%M}" if readable else entry.at.isoformat(),
        "waiting": shown_duration(waiting, form.language) if readable else _seconds(waiting),
        "mailbox": entry.mailbox,
        "client": entry.client,
        "subject": entry.subject,
        "target": shown_target(entry.target, form.language) if readable else target_json(entry.target),
        "manager": form.manager(entry.target),
        "link": form.link(entry.target),
    }


def shown_target(target: Target | None, language: NullTranslations) -> str:
    """`deal 1` in this language; '-' for nothing."""
    return named(str(target), language) if target else "-"


def _listed(some: Iterable[Entry], now: datetime, form: Form) -> Iterable[str]:
    for entry in some:
        row = _waiting(entry, now, form, readable=True)
        subject = row["subject"] or form.language.gettext("(no subject)")
        whose = (row["client"], subject, row["target"], row["manager"], row["link"])
        yield "  ".join(part for part in (row["waiting"], f"#{row['id']}", *whose) if part)


def _waiting_table(some: Sequence[Entry], now: datetime, form: Form) -> bytes:
    if not some:
        return (form.language.gettext("no letter waits for an answer") + "\n").encode()
    return "".join(f"{line}\n" for line in _listed(some, now, form)).encode()


def _waiting_json(some: Sequence[Entry], now: datetime, form: Form) -> bytes:
    return "".join(f"{as_line(_waiting(entry, now, form))}\n" for entry in some).encode()


def _waiting_csv(some: Sequence[Entry], now: datetime, form: Form) -> bytes:
    rows = (_waiting(entry, now, form) | {"target": str(entry.target or "")} for entry in some)
    return b"".join(csv_lines(list(WAITING), rows, form.dialect))


FORMS: Mapping[str, Callable[[Report, Form], bytes]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "xlsx": _xlsx,
    "html": _html,
}
LISTS: Mapping[str, Callable[[Sequence[Entry], datetime, Form], bytes]] = {
    "table": _waiting_table,
    "json": _waiting_json,
    "csv": _waiting_csv,
}
