"""PHP's idea of parameters: `filter[>ID]=5` is a nested array, and keys 0, 1, 2 ... make a list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

_SUBKEY = re.compile(r"\[([^\[\]]*)\]")


def parse_query(query: str) -> dict[str, Any]:
    """Parse a query string or form body as PHP's parse_str does; all scalars are strings (rest.md 1.3)."""
    tree: dict[Any, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        _assign(tree, _path(name), value)
    return {str(key): from_wire(value) for key, value in tree.items()}


def from_wire(value: Any) -> Any:
    """Return decoded JSON as PHP sees it: an object whose keys are 0, 1, 2 ... is a list."""
    if isinstance(value, Mapping):
        items = {str(key): from_wire(item) for key, item in value.items()}
        return list(items.values()) if items and counts_from_zero(items) else items
    if isinstance(value, list):
        return [from_wire(item) for item in value]
    return value


def to_wire(items: Mapping[str, Any]) -> list[Any] | dict[str, Any]:
    """Return a PHP array as json_encode writes it: `[]` when empty, else list or object (rest.md 1.6)."""
    return list(items.values()) if counts_from_zero(items) else dict(items)


def counts_from_zero(items: Mapping[str, Any]) -> bool:
    """Whether the keys are 0, 1, 2 ... in that order; true for an empty array."""
    return all(key == str(position) for position, key in enumerate(items))


def _path(name: str) -> list[str]:
    head, bracket, rest = name.lstrip().partition("[")
    subkeys = _SUBKEY.findall(bracket + rest)
    head = re.sub(r"[ .]", "_", head)
    return [head, *subkeys] if subkeys or not bracket else [f"{head}_{rest}"]


def _assign(tree: dict[Any, Any], path: list[str], value: str) -> None:
    for position, key in enumerate(path):
        if key == "" and position:
            key = str(_next_index(tree))
        if position == len(path) - 1:
            tree[key] = value
            return
        below = tree.get(key)
        if not isinstance(below, dict):
            below = tree[key] = {}
        tree = below


def _next_index(tree: Mapping[Any, Any]) -> int:
    return max((int(key) for key in tree if str(key).isdigit()), default=-1) + 1
