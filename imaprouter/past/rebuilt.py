"""Letters that no mailbox holds any more, rebuilt from what Bitrix24 keeps of them.

An activity tells subject, Date, direction and the addresses of From, Reply-To, To and Cc (mail-internals
3.4). It tells no Message-ID of an incoming letter and never which letter it answers: threads are not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from imaprouter.arrival import WatchedFolder
from imaprouter.bitrix24.activities import email_activities_of
from imaprouter.bitrix24.portal import Portal
from imaprouter.mailbox import FetchResult
from imaprouter.model import Activity, Direction, FetchedMessage
from imaprouter.past.reading import Lane
from imaprouter.recorder import Recorder
from imaprouter.store.folders import Folder
from imaprouter.text import clean

#: The folders of a mailbox that stand for what only the portal holds; a UID there is an activity's id.
FOLDERS = {Direction.INCOMING: "Bitrix24", Direction.OUTGOING: "Bitrix24, sent"}
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_SLACK = timedelta(days=1)


def rebuild(
    portal: Portal,
    lanes: Sequence[Lane],
    folders: Iterable[WatchedFolder],
    mailbox_emails: Mapping[str, frozenset[str]],
    since: datetime | None,
) -> int:
    """Record the letters of activities that are paired with none in the first lane; returns how many.

    Raises PortalError.
    """
    by_mailbox = {folder.mailbox: folder for folder in folders}
    owners = {email: name for name, emails in mailbox_emails.items() for email in emails}
    done = 0
    for page in email_activities_of(portal, since or _BEGINNING, datetime.now(UTC) + _SLACK):
        known = lanes[0].journal.past.known_activities([activity.id for activity in page])
        left: dict[tuple[str, Direction], list[Activity]] = defaultdict(list)
        for activity in page:
            if activity.id not in known and activity.mailbox_email in owners:
                left[owners[activity.mailbox_email], activity.direction].append(activity)
        for (mailbox, direction), activities in left.items():
            for lane in lanes:
                _record(lane, by_mailbox[mailbox], direction, activities)
            done += len(activities)
    return done


def _record(lane: Lane, like: WatchedFolder, direction: Direction, activities: Sequence[Activity]) -> None:
    watched = replace(
        lane.watched(like),
        name=FOLDERS[direction],
        kind="sent" if direction is Direction.OUTGOING else "incoming",
    )
    folder = _folder(lane, watched)
    recorder = Recorder(watched, lane.journal, lane.knowledge, lambda uid: b"", past=True)
    ordered = sorted(activities, key=lambda activity: (activity.start_time or _BEGINNING, activity.id))
    letters = tuple(letter_of(activity) for activity in ordered)
    recorder.record(folder, FetchResult(messages=letters), max(letter.uid for letter in letters))
    with lane.journal.transaction():
        lane.journal.activities.add(activities, datetime.now(UTC))
        for activity in activities:
            number = lane.journal.past.with_uid(folder, activity.id)
            if number:
                lane.journal.activities.assign(activity.id, number, due=None)
                lane.journal.past.saw([number])


def _folder(lane: Lane, watched: WatchedFolder) -> Folder:
    known = lane.journal.folders.get(watched.mailbox, watched.name)
    return known or lane.journal.folders.start(
        watched.mailbox, watched.name, uidvalidity=1, cursor=0, watch_since=None
    )


def letter_of(activity: Activity) -> FetchedMessage:
    """The activity as a mail server would hand over the header of its letter."""
    lines = {
        "From": _listed(activity.from_),
        "Reply-To": _listed(activity.reply_to),
        "To": _listed(activity.to),
        "Cc": _listed(activity.cc),
        "Subject": clean(activity.subject),
        "Date": format_datetime(activity.start_time) if activity.start_time else "",
        "Message-ID": f"<{activity.message_id}>" if activity.message_id else "",
        "Content-Type": "text/plain; charset=utf-8",
    }
    header = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    arrived = activity.start_time or activity.created_at
    return FetchedMessage(activity.id, header.encode("utf-8", "replace"), arrived, 0)


def _listed(emails: Iterable[str]) -> str:
    return ", ".join(sorted(emails))
