"""What a REST method of the simulated portal gets and gives back.

`Refusal` is the simulator's answer to a wrong call, caught by `rest`; it never reaches a user of imaprouter
and is therefore no part of the tree in `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imaprouter.sandbox.crm import Crm
from imaprouter.sandbox.quirks import Quirks
from imaprouter.sandbox.values import whole

#: Parameters of a call, as PHP sees them.
Params = dict[str, Any]


class Refusal(Exception):
    """An error answer: HTTP status, `error` and `error_description` (rest.md 1.7)."""

    def __init__(
        self, code: str | int, text: str, status: int = 400, *, always_english: bool = False
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status
        self.always_english = always_english


@dataclass(frozen=True, slots=True)
class Reply:
    """A success: `result`, and on lists what stands beside it."""

    result: Any
    total: int | None = None
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method by the webhook's user."""

    params: Params
    crm: Crm
    quirks: Quirks
    user_id: int
    scopes: frozenset[str]
    now: datetime


@dataclass(frozen=True, slots=True)
class Method:
    """A REST method: who may call it and whether it changes anything."""

    run: Callable[[Call], Reply]
    scopes: frozenset[str] = frozenset({"crm"})
    writes: bool = False


def legacy_param(params: Params, name: str) -> Any:
    """Return a parameter of a legacy proxy: `filter`, `FILTER` and `arFilter` are alike (rest.md 1.1)."""
    wanted = {name.lower(), f"ar{name.lower()}"}
    return next((value for key, value in params.items() if key.lower() in wanted), None)


def legacy_array(params: Params, name: str) -> Mapping[str, Any]:
    """Return a parameter that must be an array: `filter`, `order`, `fields`; an empty one if left out.

    Raises Refusal "Parameter 'filter' must be array." otherwise.
    """
    value = legacy_param(params, name)
    if value is None:
        return {}
    if isinstance(value, list):
        return {str(position): item for position, item in enumerate(value)}
    if not isinstance(value, Mapping):
        raise Refusal("", f"Parameter '{name}' must be array.")
    return value


def legacy_select(params: Params) -> list[Any]:
    """Return `select` as a list; anything but an array counts as left out."""
    value = legacy_param(params, "select")
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []


def legacy_id(params: Params) -> int:
    """Return `id`; raises Refusal when it is missing or not positive."""
    number = whole(legacy_param(params, "id"))
    if number is None or number <= 0:
        raise Refusal("", "ID is not defined or invalid.")
    return number


def required_int(params: Params, name: str) -> int:
    """Return a required integer of a module controller, which takes the documented spelling only.

    Raises Refusal 100 when it is missing or no number.
    """
    if params.get(name) is None:
        raise Refusal("100", f"Could not find value for parameter {{{name}}}")
    number = whole(params[name])
    if number is None:
        raise Refusal("100", f"Invalid value {{{params[name]}}} to match with parameter {{{name}}}.")
    return number
