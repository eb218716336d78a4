"""Files and their modes, journal, index, disk: what this machine has. Opens files for reading only."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from imaprouter.config import Settings, open_to_all
from imaprouter.config.checks import is_loopback
from imaprouter.doctor.findings import Check, failed, ok, span, warning
from imaprouter.errors import StoreError, StoreOutdated
from imaprouter.refresh import LAST, LAST_FULL
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal

LITTLE_SPACE, NO_SPACE = 1_000_000_000, 100_000_000
#: A refresh may take its time, and the service may just have been started.
_DELAY = 3


def files(settings: Settings) -> Iterator[Check]:
    """The modes of the configuration, of files with secrets, of journal and index."""
    journal_path = settings.store.path
    secret = {*settings.secret_files, journal_path, index_path(journal_path)}
    for path in dict.fromkeys(filter(None, (settings.source, *sorted(secret)))):
        with contextlib.suppress(FileNotFoundError):
            yield _mode(path, secret=path in secret)


def _mode(path: Path, *, secret: bool) -> Check:
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        return failed("file", str(error.strerror), "check the rights of its folder", subject=str(path))
    shown = f"mode {stat.S_IMODE(mode):04o}"
    # What is no secret may be read, not changed.
    means = open_to_all(path, mode & ~0o004) or (open_to_all(path, mode) if secret else "")
    if means:
        return warning("file", f"{shown}: every user can {means} it", "chmod 600", subject=str(path))
    return ok("file", shown, str(path))


def disk(journal_path: Path) -> Iterator[Check]:
    """The space that is left where the journal grows."""
    folder = _existing(journal_path.absolute().parent)
    yield space(shutil.disk_usage(folder).free, str(folder))


def space(free: int, folder: str) -> Check:
    """What so many free bytes mean."""
    found = f"{free / 1_000_000_000:.1f} GB free"
    advice = "make room: without it nothing can be written down, and mail waits on the server"
    if free < NO_SPACE:
        return failed("disk", found, advice, subject=folder)
    if free < LITTLE_SPACE:
        return warning("disk", found, advice, subject=folder)
    return ok("disk", found, folder)


def journal(path: Path) -> Iterator[Check]:
    """It opens, is of this version, and its pages are whole."""
    subject = str(path)
    if not path.exists():
        yield _not_made(path)
        return
    try:
        opened = Journal(path, readonly=True)
    except StoreOutdated as error:
        yield warning("journal", error.message, error.advice, subject=subject)
        return
    except StoreError as error:
        yield failed("journal", error.message, error.advice, subject=subject)
        return
    with contextlib.closing(opened):
        if not os.access(path, os.W_OK):
            advice = "run it as its owner, or give it to the user that the service runs as"
            yield warning("journal", "this user cannot write it", advice, subject=subject)
        try:
            wrong, messages = opened.damage(), opened.messages.count()
        except StoreError as error:
            yield failed("journal", error.message, error.advice, subject=subject)
            return
        if wrong:
            yield failed("journal", f"damaged: {wrong}", "restore it from a backup", subject=subject)
        else:
            yield ok("journal", f"whole, {messages} messages", subject)


def _not_made(path: Path) -> Check:
    folder = _existing(path.absolute().parent)
    if not os.access(folder, os.W_OK):
        return failed(
            "journal",
            f"there is none, and {folder} cannot be written",
            "check store.path and the folder's rights",
            subject=str(path),
        )
    return ok("journal", "there is none yet; 'imaprouter run' makes it", str(path))


def index(settings: Settings, now: datetime) -> Iterator[Check]:
    """It is filled, and young enough."""
    path = index_path(settings.store.path)
    advice = "'imaprouter run' fills it, and so does 'imaprouter cache refresh'"
    if not path.exists():
        yield warning("index", "there is none yet", advice, subject=str(path))
        return
    try:
        with contextlib.closing(Index(path, readonly=True)) as opened:
            filled, deals = opened.generation() > 0, opened.counts()["deals"]
            last, full = opened.moment(LAST), opened.moment(LAST_FULL)
    except StoreOutdated as error:
        yield warning("index", error.message, error.advice, subject=str(path))
        return
    except StoreError as error:
        yield failed("index", error.message, error.advice, subject=str(path))
        return
    if not filled:
        yield warning("index", "it was never filled", advice, subject=str(path))
    elif last is None:
        yield ok("index", f"imported, {deals} deals", str(path))
    else:
        yield _age(settings, now, last, full, f"{deals} deals", str(path))


def _age(
    settings: Settings, now: datetime, last: datetime, full: datetime | None, holds: str, subject: str
) -> Check:
    found = f"{holds}, refreshed {span(now - last)} ago"
    found += f", fully {span(now - full)} ago" if full else ""
    cache = settings.cache
    late = now - last > max(_DELAY * cache.refresh_every, timedelta(minutes=5))
    late = late or full is None or now - full > 2 * cache.full_every
    if late:
        return warning(
            "index",
            found,
            "is the service running? 'imaprouter cache refresh' does it at once",
            subject=subject,
        )
    return ok("index", found, subject)


def metrics(settings: Settings) -> Iterator[Check]:
    """The door that the service opens where it is asked to, and whom it lets in."""
    if settings.metrics.address is None:
        return
    where = settings.metrics.listen
    if is_loopback(settings.metrics.address[0]):
        yield ok(
            "metrics", "the service shows figures to every user of this machine, and to nobody else", where
        )
    else:
        yield warning(
            "metrics",
            "the service shows figures to whoever can reach it, without password and encryption",
            "listen on 127.0.0.1, or let a firewall or a proxy stand before it",
            subject=where,
        )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)
