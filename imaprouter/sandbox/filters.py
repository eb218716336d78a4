"""The portal's filter language, `{">=ID": 5, "!STAGE_ID": "LOSE"}`, as conditions over rows. Pure.

Prefixes as in rest.md 2.4. What happens to unknown keys is the caller's matter: legacy lists drop them in
silence, crm.item.list refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from operator import ge, gt, le, lt
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
    zone: tzinfo
    #: `values` in the form in which they are compared.
    wanted: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        wanted = (_wanted(self.kind, self.operation, value, self.zone) for value in self.values)
        object.__setattr__(self, "wanted", tuple(wanted))

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row passes; an unset value passes every negation."""
        return self._found(row.get(self.name)) is not self.negated

    def _found(self, value: Any) -> bool:
        if self.operation == "eq":
            if self.kind is Kind.IDS:
                return any(wanted in value for wanted in self.wanted)
            return _comparable(self.kind, value, self.zone) in self.wanted
        if self.operation == "contains":
            return any(wanted in _text(value).casefold() for wanted in self.wanted)
        if self.operation == "like":
            return any(wanted.fullmatch(_text(value)) for wanted in self.wanted)
        stored, test = _comparable(self.kind, value, self.zone), _ORDERED[self.operation]
        return stored is not None and any(
            wanted is not None and bool(test(stored, wanted)) for wanted in self.wanted
        )


def split_key(key: str) -> tuple[str, bool, str]:
    """Split `!@STAGE_ID` into operation, negation and field name."""
    for prefix, (operation, negated) in _PREFIXES.items():
        if key.startswith(prefix):
            return operation, negated, key[len(prefix) :]
    return "eq", False, key


def legacy_conditions(
    filter_: Mapping[str, Any], columns: Mapping[str, Kind], zone: tzinfo
) -> list[Condition]:
    """Return the conditions of a legacy filter. Unknown keys, and empty lists, vanish (rest.md 8 trap 6)."""
    conditions = []
    for key, value in filter_.items():
        operation, negated, name = split_key(key)
        values = _as_values(value)
        if name in columns and values:
            conditions.append(Condition(name, columns[name], operation, negated, values, zone))
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


def _wanted(kind: Kind, operation: str, value: Any, zone: tzinfo) -> Any:
    """A value of a filter as `operation` compares it; PHP reads an empty text as the number 0."""
    if operation == "contains":
        return _text(value).casefold()
    if operation == "like":
        pattern = "".join({"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in _text(value))
        return re.compile(pattern, re.IGNORECASE | re.DOTALL)
    if kind is Kind.IDS:
        return whole(value)
    if kind is Kind.INT and operation in _ORDERED:
        return whole(value) or 0
    return _comparable(kind, value, zone)


_ORDERED: Mapping[str, Callable[[Any, Any], Any]] = {"gt": gt, "ge": ge, "lt": lt, "le": le}
