"""A report as one HTML file: charts as SVG, tables, no script, nothing from a network. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING

from imaprouter.cli.report_forms import cells_of, columns_of, shown_duration, shown_target
from imaprouter.report import Counts, Group, Report, rules

if TYPE_CHECKING:
    from imaprouter.cli.report_forms import Form

#: Of one chart, in its own units.
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 220, 48, 34
_PALETTE = ("#2563eb", "#f59e0b", "#059669", "#7c3aed", "#dc2626", "#0891b2", "#65a30d", "#db2777")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --dim: #6b7280; --paper: #fff; --line: #e5e7eb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e5e7eb; --dim: #9ca3af; --paper: #111827; --line: #374151; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1360px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.05rem; margin: 0 0 .3rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0 1.5rem; }
.tile { border: 1px solid var(--line); border-radius: .6rem; padding: .6rem 1rem; min-width: 7rem; }
.tile b { display: block; font-size: 1.5rem; } .tile span, .dim { color: var(--dim); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1.5rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--dim); font-size: 11px; }
svg .axis { stroke: var(--line); }
.key { display: inline-block; width: .7em; height: .7em; border-radius: .15em; margin: 0 .3em 0 .9em; }
.wide { overflow-x: auto; margin-top: 1.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; font-weight: 600; } td.text, th.text { text-align: left; }
td.text:first-child { white-space: nowrap; }
tr.total td { font-weight: 600; border-top: 2px solid var(--dim); }
"""


def page(found: Report, form: Form) -> str:
    """The whole file. Every text of a stranger is escaped, and no link leads to what a letter named."""
    _ = form.language.gettext
    periods = _by_period(found)
    body = [
        f"<h1>{escape(_('Correspondence with clients'))}</h1>",
        f'<p class="dim">{escape(_made(found, form))}</p>',
        _tiles(found.total, form),
        f'<div class="charts">{"".join(_charts(periods, found, form))}</div>',
        _table(found, form),
        _worst(found, form),
    ]
    language = form.language.info().get("language", "en")
    return (
        f'<!doctype html>\n<html lang="{escape(language)}">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        # No script and no request, whatever a text may hold.
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>imaprouter: {escape(_('Correspondence with clients'))}</title>"
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _made(found: Report, form: Form) -> str:
    spans = sorted({row.period for row in found.rows})
    made = form.language.gettext("made by imaprouter on {date}").format(
        date=f"{found.now.astimezone():%Y-%m-%d %H:%M}"
    )
    return f"{spans[0]} … {spans[-1]}; {made}" if spans else made


def _tiles(total: Counts, form: Form) -> str:
    _ = form.language.gettext
    reply = shown_duration(total.reply.median, form.language) if total.reply.median is not None else "-"
    delay = shown_duration(total.delay.median, form.language) if total.delay.median is not None else "-"
    tiles = {
        _("received"): total.received,
        _("replied"): total.replied,
        _("unanswered"): total.unanswered,
        _("reply median"): reply,
        _("moves"): total.moved,
        _("in review"): total.review,
        _("Bitrix24 median"): delay,
    }
    shown = (
        f'<div class="tile"><b>{escape(str(value))}</b><span>{escape(name)}</span></div>'
        for name, value in tiles.items()
    )
    return f'<div class="tiles">{"".join(shown)}</div>'


# ── charts ────────────────────────────────────────────────────────────────────────────────────────────────


def _by_period(found: Report) -> dict[str, list[Counts]]:
    periods: dict[str, list[Counts]] = {}
    for row in found.rows:
        periods.setdefault(row.period, []).append(row.counts)
    return periods


def _charts(periods: Mapping[str, Sequence[Counts]], found: Report, form: Form) -> list[str]:
    _ = form.language.gettext
    names = list(periods)

    def sums(column: str) -> list[float]:
        return [sum(getattr(counts, column) for counts in some) for some in periods.values()]

    def decided(rule: str) -> list[float]:
        return [sum(counts.decided.get(rule, 0) for counts in some) for some in periods.values()]

    used = [name for name in rules(found.rows) if found.total.decided.get(name)]
    ends = {"moves": "moved", "already right": "already_right", "in review": "review", "missing": "missing"}
    return [
        _bars(
            _("Letters of clients"),
            names,
            {_("replied"): sums("replied"), _("unanswered"): sums("unanswered")},
        ),
        _bars(_("Decided by rule"), names, {name: decided(name) for name in used}),
        _bars(_("How they ended"), names, {_(word): sums(column) for word, column in ends.items()}),
        _groups(_("Unanswered, by whom"), found),
    ]


def _bars(title: str, names: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """Stacked columns, one for each period."""
    most = max((sum(values) for values in zip(*series.values(), strict=True)), default=0) or 1
    # Half of it is shown, too.
    most += most % 2
    room = (_WIDTH - _LEFT) / max(1, len(names))
    height = _HEIGHT - _BOTTOM - 8
    parts = _axis(most, height)
    every = -(-len(names) * 70 // (_WIDTH - _LEFT)) or 1
    for place, name in enumerate(names):
        left, top = _LEFT + place * room, float(height + 8)
        for color, (what, values) in enumerate(series.items()):
            tall = values[place] / most * height
            top -= tall
            parts.append(
                f'<rect x="{left + room * 0.12:.1f}" y="{top:.1f}" width="{room * 0.76:.1f}"'
                f' height="{tall:.1f}" fill="{_color(color)}"><title>'
                f"{escape(f'{name}: {what} {values[place]:g}')}</title></rect>"
            )
        if place % every == 0:
            parts.append(
                f'<text x="{left + room / 2:.1f}" y="{_HEIGHT - 14}" text-anchor="middle">'
                f"{escape(name)}</text>"
            )
    return _figure(title, parts, _HEIGHT, list(series))


def _groups(title: str, found: Report) -> str:
    """Lying bars of those with the most unanswered letters."""
    late: dict[Group, int] = {}
    for row in found.rows:
        late[row.group] = late.get(row.group, 0) + row.counts.unanswered
    top = sorted((item for item in late.items() if item[1]), key=lambda item: (-item[1], item[0].name))[:8]
    most = max((number for _, number in top), default=1)
    parts = []
    for line, (group, number) in enumerate(top):
        y, width = 8 + line * 25, (_WIDTH - 280) * number / most
        parts.append(
            f'<text x="200" y="{y + 13}" text-anchor="end">{escape(group.name[:32] or "-")}</text>'
            f'<rect x="208" y="{y}" width="{width:.1f}" height="17" fill="{_color(1)}"/>'
            f'<text x="{214 + width:.1f}" y="{y + 13}">{number}</text>'
        )
    return _figure(title, parts, _HEIGHT, [])


def _axis(most: float, height: int) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = 8 + height * (1 - share)
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * share:g}</text>')
    return parts


def _figure(title: str, parts: Sequence[str], height: int, keys: Sequence[str]) -> str:
    legend = "".join(
        f'<span class="key" style="background:{_color(number)}"></span>{escape(name)}'
        for number, name in enumerate(keys)
    )
    return (
        f'<figure style="margin:0"><h2>{escape(title)}</h2><div class="dim">{legend}</div>'
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
        "</figure>"
    )


def _color(number: int) -> str:
    return _PALETTE[number % len(_PALETTE)]


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────


def _table(found: Report, form: Form) -> str:
    shown = columns_of(found, form.language)
    return _as_table(list(shown.headings.values()), cells_of(shown, form.language), texts=2, total=True)


def _worst(found: Report, form: Form) -> str:
    _ = form.language.gettext
    if not found.worst:
        return ""
    headings = [_("waiting"), _("client"), _("subject"), _("belongs to"), _("manager")]
    rows = []
    for entry in found.worst:
        name, link = escape(shown_target(entry.target, form.language)), form.link(entry.target)
        cells = [
            escape(shown_duration(max(found.now - entry.at, timedelta()), form.language)),
            escape(entry.client),
            escape(entry.subject),
            f'<a href="{escape(link)}">{name}</a>' if link else name,
            escape(form.manager(entry.target)),
        ]
        rows.append("<tr>" + "".join(f'<td class="text">{cell}</td>' for cell in cells) + "</tr>")
    head = "".join(f'<th class="text">{escape(name)}</th>' for name in headings)
    title = escape(_("Waiting longest for an answer"))
    return (
        f'<div class="wide"><h2>{title}</h2><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _as_table(headings: Sequence[str], cells: Sequence[Sequence[str]], *, texts: int, total: bool) -> str:
    def row(tag: str, values: Sequence[str], kind: str = "") -> str:
        kinds = [' class="text"' if place < texts else "" for place in range(len(values))]
        shown = (f"<{tag}{one}>{escape(value)}</{tag}>" for one, value in zip(kinds, values, strict=True))
        return f"<tr{kind}>{''.join(shown)}</tr>"

    lines = [
        row("td", line, ' class="total"' if total and number == len(cells) - 1 else "")
        for number, line in enumerate(cells)
    ]
    return (
        f'<div class="wide"><table><thead>{row("th", headings)}</thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
