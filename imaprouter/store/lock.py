"""One service per journal: a lock on a file beside it, held as long as the process lives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from imaprouter.errors import StoreBusy


@contextlib.contextmanager
def exclusive(journal_path: Path) -> Iterator[None]:
    """Hold the journal for this process. Raises StoreBusy when another one holds it."""
    path = journal_path.with_name(f"{journal_path.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, mode=0o600)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise StoreBusy(
            f"another imaprouter service runs on {journal_path}",
            advice="stop it first, or give this one its own store.path",
        ) from error
    try:
        # Whoever can open it can lock it, and so keep the service from running.
        if os.name == "posix":
            with contextlib.suppress(OSError):
                path.chmod(0o600)
        yield
    finally:
        lock.release()
