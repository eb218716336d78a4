"""Which binding owns an activity: the portal's rule after every change of bindings (rest.md 2.7). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from imaprouter.sandbox.fields import COMPANY, CONTACT

#: (entity type, entity id).
Pair = tuple[int, int]


def owner_after(
    bindings: Sequence[Pair],
    before: Pair | None,
    rule: Literal["recompute", "sticks_until_unbound"] = "recompute",
) -> Pair | None:
    """Return the owner for this ordered list of bindings.

    One binding owns. Of several the last that is neither contact nor company, else the first. In the variant
    'sticks_until_unbound' the owner `before` stays as long as it is bound.
    """
    if rule == "sticks_until_unbound" and before in bindings:
        return before
    if len(bindings) == 1:
        return bindings[0]
    business = [pair for pair in bindings if pair[0] not in (CONTACT, COMPANY)]
    if business:
        return business[-1]
    return bindings[0] if bindings else None
