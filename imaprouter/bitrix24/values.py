"""The portal's loose values made Python's: string ids, flags, dates, `[]` for an empty map. Pure, total."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from email.utils import getaddresses
from typing import Any

from imaprouter.address import normalise
from imaprouter.text import clean

_SEPARATOR = re.compile(r"[\s<>,;:\"'()]+")
# No line of EMAIL_META is read beyond this; a stranger wrote it.
_LONGEST_LINE = 65_536

# Every id of the portal is shorter, and SQLite holds no longer one.
_DIGITS = 18

Row = Mapping[str, Any]


def mapping(value: Any) -> dict[str, Any]:
    """A map; PHP writes an empty one as `[]` and one with the keys 0, 1, 2 as a list (rest.md 1.6)."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {str(position): item for position, item in enumerate(value)}
    return {}


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else mapping(value).values()


def rows(value: Any) -> list[Row]:
    """The rows of a list: `[…]` of legacy methods, `{"items": […]}` of crm.item.list, a map with numbers."""
    if isinstance(value, dict) and "items" in value:
        value = value["items"]
    return [row for row in _items(value) if isinstance(row, dict)]


def integer(value: Any) -> int:
    """An id or enum that arrives as '12', 12, '', null or false; 0 when it is none."""
    if value is None:
        return 0
    if isinstance(value, str):
        value = value.strip()
        digits = value.removeprefix("-")
        return int(value) if digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS else 0
    return int(value) if isinstance(value, int | float) and abs(value) < 2**63 else 0


def optional_id(value: Any) -> int | None:
    """A link to another object; '0', '', 0 and null mean none."""
    return integer(value) or None


def ids(value: Any) -> tuple[int, ...]:
    """A list of ids, without repeats, in the portal's order."""
    if not value:
        return ()
    found = map(integer, _items(value))
    return tuple(dict.fromkeys(number for number in found if number > 0))


def text(value: Any) -> str:
    """A string; null is '', half a character (a lone surrogate) is '\N{REPLACEMENT CHARACTER}'."""
    if value is None or isinstance(value, dict | list):
        return ""
    plain = str(value)
    if plain.isascii():
        return plain
    try:
        plain.encode()
    except UnicodeEncodeError:
        return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return plain


def line(value: Any) -> str:
    """A name or a title, fit to be shown: Bitrix24 makes both out of strangers' letters."""
    return clean(text(value))


def flag(value: Any) -> bool:
    """'Y', true, 1, '1' are true."""
    return value is True or text(value).lower() in {"y", "1", "true"}


def moment(value: Any) -> datetime | None:
    """An ISO 8601 instant; None when there is none, or none with an offset (rest.md 2.9)."""
    if not value:
        return None
    try:
        when = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return when if when.tzinfo is not None else None


def addresses(header: Any) -> frozenset[str]:
    """The addresses of one decoded header line of EMAIL_META (mail-internals 3.4), normalised."""
    line = text(header)[:_LONGEST_LINE]
    try:
        found = {normalise(address) for _, address in getaddresses([line])} - {""}
    except RecursionError:  # comments in comments
        found = set()
    if not found:
        # Newer Pythons answer a line that they find malformed with nothing at all (CVE-2023-27043).
        found = {normalise(word) for word in _SEPARATOR.split(line)} - {""}
    return frozenset(found)


def emails(multifield: Any) -> tuple[str, ...]:
    """The addresses of an EMAIL multifield, normalised; the key is absent without any (rest.md 4.3)."""
    found = (normalise(line(item.get("VALUE", item.get("value")))) for item in rows(multifield))
    return tuple(dict.fromkeys(address for address in found if address))


def full_name(*parts: Any) -> str:
    return " ".join(word for part in parts if (word := line(part)))


def chunks(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    """The numbers in groups of at most `size`."""
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
