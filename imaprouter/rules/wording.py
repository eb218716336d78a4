"""Small pieces of the sentences in which rules give their reasons."""

from __future__ import annotations

from collections.abc import Iterable

from imaprouter.model import Deal


def listed(words: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def deals_named(deals: Iterable[Deal]) -> str:
    """`deal 1`, `deals 1 and 2`."""
    numbers = [str(deal.id) for deal in deals]
    return f"deal{'s' if len(numbers) > 1 else ''} {listed(numbers)}"
