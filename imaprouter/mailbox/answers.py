"""FETCH answers in the shape in which servers give what is asked for here. Pure.

imapclient understands every answer, character by character, at 300 µs each: more than reading, deciding and
storing take together. What has another shape than this is left to it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

BEGINNING = re.compile(rb"\* \d+ FETCH \(", re.IGNORECASE)
#: One item; the groups are UID, size, INTERNALDATE, flags, and the length of the literal that follows.
ITEM = re.compile(
    rb'UID (\d{1,10})|RFC822\.SIZE (\d{1,19})|INTERNALDATE "([^"\r\n]*+)"|FLAGS \(([^()\r\n]*+)\)'
    rb"|BODY\[[^\]\r\n]*+\](?:<0>)? \{(\d{1,12})\}\r\n",
    re.IGNORECASE,
)
UID, SIZE, DATE, FLAGS, LITERAL = range(1, 6)

_DATE = re.compile(rb" ?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}


def internal_date(text: bytes) -> datetime | None:
    """An INTERNALDATE as RFC 3501 writes it; None for what it does not allow."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
    try:
        return datetime(
            int(year),
            _MONTHS[month.lower()],
            int(day),
            int(hour),
            int(minute),
            int(second),
            tzinfo=_zone(sign, zone_hours, zone_minutes),
        )
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=128)
def _zone(sign: bytes, hours: bytes, minutes: bytes) -> timezone:
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign == b"-" else offset) if offset else UTC


@lru_cache(maxsize=512)
def flags(text: bytes) -> tuple[bytes, ...]:
    """The words of a list of flags."""
    return tuple(text.split())


def uid_set(uids: list[int]) -> str:
    """Ascending UIDs as a command names them; a run without gaps as its ends."""
    if len(uids) > 1 and uids[-1] - uids[0] == len(uids) - 1:
        return f"{uids[0]}:{uids[-1]}"
    return ",".join(map(str, uids))
