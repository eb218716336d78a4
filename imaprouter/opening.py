"""A folder is opened: under which name, whether it is still the one on record, and where reading begins."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from imaprouter.arrival import WatchedFolder
from imaprouter.ledger import broken_continuity
from imaprouter.log import event
from imaprouter.mailbox import FolderStatus, Session
from imaprouter.recorder import envelope_of, mark_of
from imaprouter.store.folders import ANCHORS, Folder
from imaprouter.store.journal import Journal

logger = logging.getLogger(__name__)


def name_on_server(session: Session, watched: WatchedFolder) -> str:
    """The folder's name; a Sent folder that is called otherwise is found by its SPECIAL-USE mark."""
    name = watched.name
    if watched.kind == "incoming" or name in session.folders():
        return name
    marked = session.special_folders().get("sent")
    if marked is None:
        return name
    event(logger, logging.INFO, "folder.substituted", folder=str(watched), by=marked)
    return marked


def interruption(session: Session, folder: Folder, status: FolderStatus) -> str | None:
    """Why the UIDs on record mean nothing any more in the open folder, or None."""
    same = folder.uidvalidity == status.uidvalidity
    return broken_continuity(
        known_uidvalidity=folder.uidvalidity,
        cursor=folder.cursor,
        anchors=folder.anchors,
        uidvalidity=status.uidvalidity,
        uidnext=status.uidnext,
        marks=_marks_and_newest(session, sorted(folder.anchors))[0] if same else {},
    )


def begin(session: Session, watched: WatchedFolder, journal: Journal, status: FolderStatus) -> Folder:
    """First connection: `start` says which mail is ours to handle."""
    start = watched.start
    cursor, since = 0, None
    marks: dict[int, str] = {}
    if start == "new":
        last = [uid for window in session.uids_from(1) for uid in window[-ANCHORS:]][-ANCHORS:]
        cursor = last[-1] if last else 0
        marks, newest = _marks_and_newest(session, last)
        # By the server's clock; but a migrated mailbox may hold mail of the future.
        now = datetime.now(UTC)
        since = min(newest or now, now)
    elif isinstance(start, date):
        since = datetime.combine(start, time.min, UTC) - timedelta(microseconds=1)
    with journal.transaction():
        folder = journal.folders.start(
            watched.mailbox, watched.name, uidvalidity=status.uidvalidity, cursor=cursor, watch_since=since
        )
        journal.folders.advance(folder, cursor, marks)
    return folder


def _marks_and_newest(session: Session, uids: Sequence[int]) -> tuple[dict[int, str], datetime | None]:
    messages = session.fetch(uids).messages if uids else ()
    dates = [message.internal_date for message in messages if message.internal_date]
    return {message.uid: mark_of(message, envelope_of(message)) for message in messages}, max(
        dates, default=None
    )
