"""What has to be true after any crash, however the service got there."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from office import Office

from imaprouter.model import Result, State


@dataclass(frozen=True, slots=True)
class Expected:
    """One letter of the mailbox and where it has to end."""

    message_id: str
    #: Unlike every other letter's: the notification names it.
    subject: str
    state: State
    result: Result | None
    #: The deals that its activity is bound to.
    deals: tuple[int, ...]
    #: Who may be told of it, once; 0: nobody.
    told: int = 0


def violations(office: Office, letters: Sequence[Expected], *, folder: str = "INBOX") -> list[str]:
    """Every law that is broken, as sentences; none when all is well."""
    return [
        *_decisions(office, letters),
        *_activities(office, letters, folder),
        *_notifications(office, letters),
        *_files(office),
    ]


def _decisions(office: Office, letters: Sequence[Expected]) -> list[str]:
    """Every message of the mailbox has exactly one decision, and the right end."""
    broken = []
    found = office.messages()
    wanted = {letter.message_id: letter for letter in letters}
    times = Counter(message.envelope.message_id for message in found)
    broken += [f"{name} was lost" for name in wanted if not times[name]]
    broken += [f"{name} was decided {count} times" for name, count in times.items() if count > 1]
    broken += [f"{name} is no letter of the mailbox" for name in times if name not in wanted]
    for message in found:
        letter = wanted.get(message.envelope.message_id)
        if letter and (message.state, message.result) != (letter.state, letter.result):
            broken.append(
                f"{letter.message_id} ended {message.state} {message.result},"
                f" not {letter.state} {letter.result}: {message.note}"
            )
    return broken


def _activities(office: Office, letters: Sequence[Expected], folder: str) -> list[str]:
    """Every activity is bound right; nothing was written where nothing was wrong."""
    broken = []
    wanted = {letter.message_id: letter for letter in letters}
    by_uid = {message.uid: message for message in office.messages() if message.folder == folder}
    untouchable = set()
    for imported in office.sync.log:
        message = by_uid.get(imported.letter.uid)
        if imported.activity_id is None:
            continue
        letter = wanted.get(message.envelope.message_id) if message else None
        if letter is None:
            broken.append(f"activity {imported.activity_id} belongs to no message on record")
            continue
        deals = tuple(office.deals(imported.activity_id))
        if deals != letter.deals:
            broken.append(f"activity {imported.activity_id} is bound to {deals}, not to {letter.deals}")
        if not letter.told:
            untouchable.add(imported.activity_id)
    for write in office.portal.writes:
        number = int(str(write.params.get("activityId") or write.params.get("id") or 0))
        if number in untouchable:
            broken.append(f"{write.method} of activity {number}, where nothing was wrong")
    return broken


def _notifications(office: Office, letters: Sequence[Expected]) -> list[str]:
    """Nobody is told twice of one message, and only he whom it concerns."""
    broken = []
    sent = [notice for notice in office.portal.notifications if notice.kind == "system"]
    for letter in letters:
        users = [notice.user_id for notice in sent if f"“{letter.subject}”" in notice.message]
        if len(users) > len(set(users)):
            broken.append(f"users {users} were told of {letter.message_id}: somebody twice")
        if set(users) - {letter.told}:
            broken.append(f"users {users} were told of {letter.message_id}, not user {letter.told}")
    return broken


def _files(office: Office) -> list[str]:
    """The journal is sound, nothing in it points nowhere, and the cursor stands behind the last message."""
    broken = []
    with closing(sqlite3.connect(office.folder / "imaprouter.db")) as connection:
        answer = connection.execute("PRAGMA integrity_check").fetchall()
        broken += [f"integrity_check: {line}" for (line,) in answer if line != "ok"]
        broken += [f"dangling: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        behind = connection.execute(
            "SELECT f.name FROM folders f WHERE f.cursor <> coalesce("
            "(SELECT max(uid) FROM messages m WHERE m.folder_id = f.id AND m.epoch = f.epoch), 0)"
        )
        broken += [f"the cursor of {name} is not at its last message" for (name,) in behind]
    return broken
