"""One service per journal: a lock on a file beside it, held as long as the process lives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from imaprouter.errors import StoreBusy, StoreError


@contextlib.contextmanager
def exclusive(journal_path: Path) -> Iterator[None]:
    """Hold the journal for this process. Raises StoreBusy when another one holds it."""
    path = _lock_file(journal_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, mode=0o600)
    try:
        # `is_held` takes the lock for a moment.
        lock.acquire(timeout=0.2, poll_interval=0.02)
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


def is_held(journal_path: Path) -> bool:
    """Whether a service runs on this journal. Makes and changes no file."""
    path = _lock_file(journal_path)
    if not path.exists():
        return False
    try:
        with FileLock(path, mode=0o600).acquire(blocking=False):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror or error}", advice="ask as the user that the service runs as"
        ) from error


def _lock_file(journal_path: Path) -> Path:
    return journal_path.with_name(f"{journal_path.name}.lock")
