"""What the planted bugs share: putting one in, and marking in the trace where it strikes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from imaprouter import refresh

#: A function that takes the place of a method, function or constant: of what, its name, the bug.
Plant = tuple[object, str, object]


def plant(plants: Iterable[Plant]) -> None:
    """Put bugs in, for good. strace counts the calls of each thread, so nothing is asked for ahead."""
    refresh._ahead = iter  # type: ignore[assignment]
    for owner, name, bug in plants:
        setattr(owner, name, bug)


def mark() -> None:
    """A write that tests see in the trace and that changes nothing."""
    with Path(os.devnull).open("wb") as nowhere:
        os.pwrite(nowhere.fileno(), b"planted", 0)
