"""The Date field to an instant, as the portal's strtotime understands it (mail-internals 3.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from imaprouter.mail.charset import Note

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: Hours east of Greenwich: RFC 5322 4.3, and the names that Russian and European mailers write.
_ZONES = {
    **dict.fromkeys(("ut", "utc", "gmt", "z", "wet"), 0),
    **dict.fromkeys(("cet", "bst"), 1),
    **dict.fromkeys(("cest", "eet"), 2),
    **dict.fromkeys(("eest", "msk"), 3),
    "msd": 4,
    "edt": -4,
    **dict.fromkeys(("est", "cdt"), -5),
    **dict.fromkeys(("cst", "mdt"), -6),
    **dict.fromkeys(("mst", "pdt"), -7),
    "pst": -8,
}
_COMMENT = re.compile(r"\([^()]*+\)")
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?"
_MONTH = r"(?P<month>[a-z]{3})[a-z]*"
_FLAGS = re.IGNORECASE | re.ASCII
_DATE = re.compile(
    rf"(?:[a-z]+\.?,?\s*)?(?P<day>\d{{1,2}})[\s-]+{_MONTH}[\s-]+(?P<year>\d{{4}}|\d{{2}})\s+{_CLOCK}"
    r"\s*(?P<zone>.*)",
    _FLAGS,
)
# C's asctime and the date command: Mon Jan 12 10:00:00 MSK 2026
_ASCTIME = re.compile(
    rf"(?:[a-z]+\.?,?\s+)?{_MONTH}\s+(?P<day>\d{{1,2}}),?\s+{_CLOCK}\s+(?P<zone>\S*?)\s*(?P<year>\d{{4}})",
    _FLAGS,
)
# RFC 5322 3.3 as nearly all mailers write it.
_PLAIN = re.compile(
    r"(?:[A-Z][a-z]{2}, )?(\d{1,2}) ([A-Z][a-z]{2}) (20\d\d) (\d\d):(\d\d):([0-5]\d)"
    r" ([+-])(\d\d)(\d\d)(?: \([A-Z]{3,4}\))?",
    re.ASCII,
)
_MONTH_NUMBERS = {name.title(): number for number, name in enumerate(_MONTHS, start=1)}
_OFFSET = re.compile(r"(?:gmt|utc)?\s*([+-])(\d{1,2}):?(\d{2})(?!\d)", _FLAGS)
_ZONE_NAME = re.compile(r"[a-z]+", _FLAGS)
_LONGEST_DATE = 200
_DAY = 24 * 60
_NO_ZONE = "no zone that is known, read as UTC"


def instant(text: str, note: Note) -> datetime | None:
    """Return the aware instant (UTC) of a Date field; None, with a note, when it is missing or impossible."""
    if not text:
        note("missing")
        return None
    plain = _PLAIN.fullmatch(text)
    if plain:
        moment = _quick(plain)
        if moment:
            return moment
    text = " ".join(_COMMENT.sub(" ", text[:_LONGEST_DATE]).split())
    try:
        found = _DATE.match(text) or _ASCTIME.match(text)
        moment = _from_match(found, note) if found else _iso(text, note)
        # Others turn it into their own zone, which cannot be done at the ends of Python's calendar.
        if 1900 <= moment.year <= 9000:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):  # a leap second at the end of Python's calendar
        pass
    note(f"cannot be understood: {text[:60]}")
    return None


def _quick(found: re.Match[str]) -> datetime | None:
    """The instant of a plain date; None when there is none such, which the careful look explains."""
    day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
    try:
        there = datetime(
            int(year), _MONTH_NUMBERS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC
        )
    except (KeyError, ValueError):
        return None
    east = int(hours) * 60 + int(minutes)
    if east >= _DAY:
        return None
    return there + timedelta(minutes=east if sign == "-" else -east)


def _from_match(found: re.Match[str], note: Note) -> datetime:
    year, second = int(found["year"]), int(found["second"] or 0)
    if len(found["year"]) == 2:
        year += 2000 if year < 50 else 1900  # RFC 5322 4.3
    moment = datetime(
        year,
        _MONTHS.index(found["month"].lower()) + 1,
        int(found["day"]),
        int(found["hour"]),
        int(found["minute"]),
        min(second, 59) if second <= 60 else second,
        tzinfo=_zone(found["zone"], note),
    )
    return moment + timedelta(seconds=1) if second == 60 else moment


def _zone(text: str, note: Note) -> timezone:
    offset = _OFFSET.match(text)
    if offset:
        east = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-east if offset[1] == "-" else east)
    name = _ZONE_NAME.match(text)
    hours = _ZONES.get(name[0].lower()) if name else None
    if hours is None:
        note(_NO_ZONE)
    return timezone(timedelta(hours=hours or 0))


def _iso(text: str, note: Note) -> datetime:
    moment = datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-"))
    if moment.tzinfo is None:
        note(_NO_ZONE)
        moment = moment.replace(tzinfo=UTC)
    return moment
