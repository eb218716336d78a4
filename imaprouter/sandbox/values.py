"""Values of columns: stored typed, taken in from strings, shown as the portal shows them. Pure."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

from imaprouter.sandbox.fields import Kind


def whole(value: Any) -> int | None:
    """Return an integer as PHP reads one, or None when the text is no number."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    try:
        return int(str(value).strip())
    except ValueError:
        return None


def instant(value: Any, zone: tzinfo) -> datetime | None:
    """Return a moment from ISO 8601; without an offset it is read in the server's zone (rest.md 2.9)."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def stored(value: Any, kind: Kind, zone: tzinfo) -> Any:
    """Return a value as a column of this kind keeps it; an empty text in a number or date is 'unset'."""
    if value is None or (value == "" and kind in (Kind.INT, Kind.TIME)):
        return None
    if kind is Kind.INT:
        return whole(value) or 0
    if kind is Kind.TIME:
        moment = instant(value, zone)
        return moment.replace(microsecond=0) if moment else None
    return value if kind in (Kind.BLOB, Kind.IDS) else str(value)


def iso(moment: datetime, zone: tzinfo) -> str:
    """Return a moment as the portal writes it: seconds, with the server's offset (rest.md 2.9)."""
    if moment.year < 9999:
        moment = moment.astimezone(zone)
    return moment.isoformat(timespec="seconds")


def legacy(value: Any, zone: tzinfo) -> Any:
    """Return what legacy methods show: a string, null if unset, `[]` for an empty map (rest.md 2.3)."""
    if isinstance(value, datetime):
        return iso(value, zone)
    if isinstance(value, (dict, list)):
        return value or []
    return None if value is None else str(value)
