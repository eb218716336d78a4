"""The office of the tests: a real Dovecot, the sandbox portal with its mail sync, the service."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent / "tests"))

from dovecot import INSTALL, Dovecot, installed
from office import Office

from parts.machine import say


@contextlib.contextmanager
def office() -> Iterator[Office | None]:
    """A running office; None where there is no Dovecot, which is said."""
    if not installed():
        say(f"{INSTALL}\n")
        yield None
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        Dovecot() as server,
        Office(Path(folder), server, "bench") as found,
    ):
        found.options["routing.loop.limit"] = "0"
        found.patience = 300.0
        yield found
