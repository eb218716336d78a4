"""What the planted bugs share: putting one in, and marking in the trace where it strikes."""

from __future__ import annotations

import os
from pathlib import Path


def plant(owner: object, name: str, bug: object) -> None:
    """Put a function in the place of a method, function or constant."""
    setattr(owner, name, bug)


def mark() -> None:
    """A write that tests see in the trace and that changes nothing."""
    with Path(os.devnull).open("wb") as nowhere:
        os.pwrite(nowhere.fileno(), b"planted", 0)
