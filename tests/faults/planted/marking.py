"""What the planted bugs share: putting one in, and marking in the trace where it strikes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def plant(owner: type, name: str, bug: Callable[..., Any]) -> None:
    """Put a function in the place of a method."""
    setattr(owner, name, bug)


def mark() -> None:
    """A write that tests see in the trace and that changes nothing."""
    with Path(os.devnull).open("wb") as nowhere:
        os.pwrite(nowhere.fileno(), b"planted", 0)
