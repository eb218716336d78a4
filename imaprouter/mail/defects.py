"""What could not be read in one message, gathered for people."""

from __future__ import annotations

from imaprouter.text import clean

_MOST = 40
_LONGEST = 160


class Defects:
    """Short sentences, each once, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, field: str, what: str) -> None:
        """Note that `what` is wrong with `field`; a hostile message cannot make the list long."""
        if len(self._found) < _MOST:
            self._found[clean(f"{field}: {what}")[:_LONGEST]] = None

    def as_tuple(self) -> tuple[str, ...]:
        return tuple(self._found)
