"""The portal's filter language, `{">=ID": 5, "!STAGE_ID": "LOSE"}`, as conditions over rows. Pure.

Prefixes as in rest.md 2.4. What happens to unknown keys is the caller's matter: legacy lists drop them in
silence, crm.item.list refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from imaprouter.sandbox.fields import Kind
from imaprouter.sandbox.values import instant, whole

#: Longest first.
_PREFIXES = {
    "!=%": ("like", True),
    "!%=": ("like", True),
    "!@": ("eq", True),
    "!=": ("eq", True),
    "!%": ("contains", True),
    ">=": ("ge", False),
    "<=": ("le", False),
    "=%": ("like", False),
    "%=": ("like", False),
    "=": ("eq", False),
    "!": ("eq", True),
    ">": ("gt", False),
    "<": ("lt", False),
    "@": ("eq", False),
    "%": ("contains", False),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a row: `operation` is eq, gt, ge, lt, le, contains or like; several values are ORed."""

    name: str
    kind: Kind
    operation: str
    negated: bool
    values: tuple[Any, ...]

    def holds(self, value: Any, zone: tzinfo) -> bool:
        """Whether a stored value passes; an unset one passes every negation."""
        test = _TESTS[self.operation]
        found = any(test(self.kind, value, wanted, zone) for wanted in self.values)
        return found is not self.negated


def split_key(key: str) -> tuple[str, bool, str]:
    """Split `!@STAGE_ID` into operation, negation and field name."""
    for prefix, (operation, negated) in _PREFIXES.items():
        if key.startswith(prefix):
            return operation, negated, key[len(prefix) :]
    return "eq", False, key


def legacy_conditions(filter_: Mapping[str, Any], columns: Mapping[str, Kind]) -> list[Condition]:
    """Return the conditions of a legacy filter. Unknown keys, and empty lists, vanish (rest.md 8 trap 6)."""
    conditions = []
    for key, value in filter_.items():
        operation, negated, name = split_key(key)
        values = _as_values(value)
        if name in columns and values:
            conditions.append(Condition(name, columns[name], operation, negated, values))
    return conditions


def _as_values(value: Any) -> tuple[Any, ...]:
    if isinstance(value, Mapping):
        return tuple(value.values())
    return tuple(value) if isinstance(value, list) else (value,)


def _text(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else str(value)


def _comparable(kind: Kind, value: Any, zone: tzinfo) -> Any:
    if value is None or value == "":
        return None
    if kind is Kind.INT:
        return whole(value) or 0
    if kind is Kind.TIME:
        moment = instant(value, zone)
        return moment.replace(microsecond=0) if moment else datetime.min.replace(tzinfo=zone)
    return _text(value).casefold()


def _equal(kind: Kind, value: Any, wanted: Any, zone: tzinfo) -> bool:
    if kind is Kind.IDS:
        return whole(wanted) in value
    return bool(_comparable(kind, value, zone) == _comparable(kind, wanted, zone))


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Kind, Any, Any, tzinfo], bool]:
    def compare(kind: Kind, value: Any, wanted: Any, zone: tzinfo) -> bool:
        left, right = _comparable(kind, value, zone), _comparable(kind, wanted, zone)
        return left is not None and right is not None and test(left, right)

    return compare


def _contains(kind: Kind, value: Any, wanted: Any, zone: tzinfo) -> bool:
    return _text(wanted).casefold() in _text(value).casefold()


def _like(kind: Kind, value: Any, wanted: Any, zone: tzinfo) -> bool:
    pattern = "".join({"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in _text(wanted))
    return re.fullmatch(pattern, _text(value), re.IGNORECASE | re.DOTALL) is not None


_TESTS: Mapping[str, Callable[[Kind, Any, Any, tzinfo], bool]] = {
    "eq": _equal,
    "gt": _ordered(lambda left, right: left > right),
    "ge": _ordered(lambda left, right: left >= right),
    "lt": _ordered(lambda left, right: left < right),
    "le": _ordered(lambda left, right: left <= right),
    "contains": _contains,
    "like": _like,
}
