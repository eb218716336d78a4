"""Tables of the simulated database: rows by id, quick to walk by ids; the index of addresses. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import UserDict
from collections.abc import Iterable, Iterator
from typing import Any

from imaprouter.sandbox.fields import MULTIFIELDS
from imaprouter.sandbox.filters import Condition

Row = dict[str, Any]


class Table(UserDict[int, Row]):
    """Rows by id. An id is never given twice, not even after a deletion, as with MySQL's AUTO_INCREMENT."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: list[int] = []
        self._highest = 0

    @property
    def next_id(self) -> int:
        """The id of the next row."""
        return self._highest + 1

    def __setitem__(self, number: int, row: Row) -> None:
        if number not in self.data:
            insort(self._ids, number)
            self._highest = max(self._highest, number)
        self.data[number] = row

    def __delitem__(self, number: int) -> None:
        del self.data[number]
        del self._ids[bisect_left(self._ids, number)]

    def ascending(self) -> Iterator[Row]:
        """All rows by ascending id."""
        return map(self.data.__getitem__, self._ids)

    def candidates(self, conditions: Iterable[Condition]) -> Iterator[Row]:
        """By ascending id the rows that conditions on ID leave over; the others are not looked at."""
        first, end = 0, len(self._ids)
        chosen: set[int] | None = None
        for each in conditions:
            if each.name != "ID" or each.negated or not each.values:
                continue
            if each.operation == "eq":
                numbers = {number for number in each.wanted if isinstance(number, int)}
                chosen = numbers if chosen is None else chosen & numbers
            elif each.operation in ("gt", "ge"):
                bisect = bisect_right if each.operation == "gt" else bisect_left
                first = max(first, bisect(self._ids, min(each.wanted)))
            elif each.operation in ("lt", "le"):
                bisect = bisect_left if each.operation == "lt" else bisect_right
                end = min(end, bisect(self._ids, max(each.wanted)))
        if chosen is not None:
            return (self.data[number] for number in sorted(chosen) if number in self.data)
        return (self.data[self._ids[place]] for place in range(first, end))


class Duplicates:
    """Which objects have an EMAIL or a PHONE, by lower(trim(value)) (mail-internals 8)."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int, str, str], set[int]] = {}

    def add(self, type_id: int, row: Row) -> None:
        for key in _keys(type_id, row):
            self._ids.setdefault(key, set()).add(row["ID"])

    def remove(self, type_id: int, row: Row) -> None:
        for key in _keys(type_id, row):
            self._ids[key].discard(row["ID"])

    def find(self, type_id: int, kind: str, value: str) -> list[int]:
        """Ids in ascending order."""
        return sorted(self._ids.get((type_id, kind, value.strip().lower()), ()))


def _keys(type_id: int, row: Row) -> Iterator[tuple[int, str, str]]:
    for kind in MULTIFIELDS:
        for each in row.get(kind) or []:
            yield type_id, kind, str(each["VALUE"]).strip().lower()
