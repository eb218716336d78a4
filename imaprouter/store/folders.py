"""The journal's folders: how far each has been read, and the marks that prove it is still the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from imaprouter.store.database import to_moment, to_text, transaction
from imaprouter.store.rows import Tables

# Enough to recognise a restored server; compared at every SELECT.
ANCHORS = 50


@dataclass(frozen=True, slots=True)
class Folder:
    """How far a watched folder has been read."""

    id: int
    mailbox: str
    name: str
    uidvalidity: int
    epoch: int
    #: Every UID up to here is on record.
    cursor: int
    #: Mail that arrived earlier is not ours to handle; None: all of it is.
    watch_since: datetime | None
    #: UID to mark of the last messages.
    anchors: Mapping[int, str]


class Folders(Tables):
    def get(self, mailbox: str, name: str) -> Folder | None:
        row = self._row(
            "SELECT id, uidvalidity, epoch, cursor, watch_since FROM folders WHERE mailbox = ? AND name = ?",
            (mailbox, name),
        )
        if row is None:
            return None
        anchors = dict(self._rows("SELECT uid, mark FROM anchors WHERE folder_id = ?", (row[0],)))
        return Folder(row[0], mailbox, name, row[1], row[2], row[3], to_moment(row[4]), anchors)

    def start(
        self, mailbox: str, name: str, *, uidvalidity: int, cursor: int, watch_since: datetime | None
    ) -> Folder:
        """Begin to watch a folder after UID `cursor`."""
        self._execute(
            "INSERT INTO folders (mailbox, name, uidvalidity, epoch, cursor, watch_since)"
            " VALUES (?, ?, ?, 1, ?, ?)",
            (mailbox, name, uidvalidity, cursor, to_text(watch_since)),
        )
        return self._existing(mailbox, name)

    def begin_epoch(self, folder: Folder, uidvalidity: int) -> Folder:
        """The server's UIDs lost their meaning: read from the first one again, forget the anchors."""
        with transaction(self._db):
            self._execute("DELETE FROM anchors WHERE folder_id = ?", (folder.id,))
            self._execute(
                "UPDATE messages SET state = 'settled', result = 'ignored',"
                " note = 'the folder was renumbered and is read again'"
                " WHERE folder_id = ? AND state = 'unreadable'",
                (folder.id,),
            )
            self._execute(
                "UPDATE folders SET uidvalidity = ?, epoch = epoch + 1, cursor = 0 WHERE id = ?",
                (uidvalidity, folder.id),
            )
        return self._existing(folder.mailbox, folder.name)

    def advance(self, folder: Folder, cursor: int, marks: Mapping[int, str]) -> None:
        """Move the cursor and keep the marks of the last messages. Call it inside `transaction()`."""
        self._execute(
            "UPDATE folders SET cursor = max(cursor, ?) WHERE id = ? AND epoch = ?",
            (cursor, folder.id, folder.epoch),
        )
        self._db.conn.executemany(
            "INSERT OR REPLACE INTO anchors (folder_id, uid, mark) VALUES (?, ?, ?)",
            ((folder.id, uid, mark) for uid, mark in sorted(marks.items())[-ANCHORS:]),
        )
        self._execute(
            "DELETE FROM anchors WHERE folder_id = ? AND uid NOT IN"
            " (SELECT uid FROM anchors WHERE folder_id = ? ORDER BY uid DESC LIMIT ?)",
            (folder.id, folder.id, ANCHORS),
        )

    def _existing(self, mailbox: str, name: str) -> Folder:
        folder = self.get(mailbox, name)
        assert folder is not None
        return folder
