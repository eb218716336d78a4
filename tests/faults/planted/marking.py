"""What the planted bugs share: putting one in, and marking in the trace where it strikes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

#: A function that takes the place of a method, function or constant: of what, its name, the bug.
Plant = tuple[object, str, object]


def plant(plants: Iterable[Plant]) -> None:
    """Put bugs in, for good."""
    for owner, name, bug in plants:
        setattr(owner, name, bug)


def mark() -> None:
    """A write that tests see in the trace and that changes nothing."""
    with Path(os.devnull).open("wb") as nowhere:
        os.pwrite(nowhere.fileno(), b"planted", 0)
