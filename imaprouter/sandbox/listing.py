"""Order, select and pages of lists, where legacy methods and crm.item.list differ (rest.md 1.5). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from imaprouter.sandbox.fields import Kind
from imaprouter.sandbox.filters import Condition
from imaprouter.sandbox.values import whole

PAGE = 50
Row = dict[str, Any]
T = TypeVar("T")


class Page(NamedTuple):
    """One page of rows; None for `total` or `next` means that the answer has no such key."""

    rows: list[Any]
    total: int | None
    next: int | None


def passing(rows: Iterable[Row], conditions: Sequence[Condition]) -> Iterator[Row]:
    """Yield the rows that pass all conditions."""
    return (row for row in rows if all(each.holds(row) for each in conditions))


def ordered(rows: Iterable[Row], order: Mapping[str, Any], columns: Mapping[str, Kind]) -> Iterable[Row]:
    """Sort by `{FIELD: ASC|DESC}`, unset values first; unknown fields are dropped, ties keep their order.

    `rows` come by ascending id: where that is the order wanted they are not even counted.
    """
    known = [
        (name, str(direction).strip().upper() == "DESC")
        for name, direction in order.items()
        if name in columns
    ]
    if not known or known[0] == ("ID", False):
        return rows
    result = list(rows)
    for name, descending in reversed(known):
        result.sort(key=_sort_key(name), reverse=descending)
    return result


def _sort_key(name: str) -> Callable[[Row], tuple[bool, Any]]:
    def key(row: Row) -> tuple[bool, Any]:
        value = row.get(name)
        return (False, 0) if value is None or isinstance(value, (dict, list)) else (True, value)

    return key


def legacy_page(rows: Iterable[T], start: Any) -> Page:
    """Cut a legacy page: `start` is floored to 50, beyond the end it is page 1, negative means uncounted."""
    offset = whole(start) or 0
    if offset < 0:
        return Page(list(islice(rows, PAGE)), 0, None)
    counted = list(rows)
    offset -= offset % PAGE
    if offset >= len(counted):
        offset = 0
    return Page(counted[offset : offset + PAGE], len(counted), _next(counted, offset))


def item_page(rows: Iterable[T], start: Any) -> Page:
    """Cut a page of crm.item.list: beyond the end it is empty, exactly -1 leaves out `total` and `next`."""
    offset = whole(start) or 0
    if offset == -1:
        return Page(list(islice(rows, PAGE)), None, None)
    counted = list(rows)
    offset = max(0, offset - offset % PAGE)
    return Page(counted[offset : offset + PAGE], len(counted), _next(counted, offset))


def _next(rows: Sequence[Any], offset: int) -> int | None:
    return offset + PAGE if offset + PAGE < len(rows) else None


def selected(select: Sequence[Any], plain: Sequence[str], extras: Iterable[str]) -> list[str]:
    """Return the names to show: `*` is all plain ones, `UF_*` the user fields, others by name if known.

    Without anything usable all plain fields are shown.
    """
    known = set(extras) | set(plain)
    names: dict[str, None] = {}
    for name in map(str, select):
        if name == "*":
            names.update(dict.fromkeys(plain))
        elif name == "UF_*":
            names.update(dict.fromkeys(extra for extra in extras if extra.startswith("UF_")))
        elif name in known:
            names[name] = None
    return list(names or dict.fromkeys(plain))
