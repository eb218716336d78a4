"""Letters of the past come from the mailboxes into a journal, oldest first, whatever folder they lie in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice

from imaprouter import mail
from imaprouter.arrival import WatchedFolder
from imaprouter.errors import MailboxError
from imaprouter.log import event
from imaprouter.mailbox import Account, FetchResult, Session
from imaprouter.model import FetchedMessage
from imaprouter.opening import begin, interruption, name_on_server
from imaprouter.policy import RoutingPolicy
from imaprouter.recorder import Recorder
from imaprouter.store.folders import Folder
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge

logger = logging.getLogger(__name__)

#: Letters that are read and decided in one step.
STEP = 500
_BEGINNING = datetime.min.replace(tzinfo=UTC)

#: Told how many letters are read, of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Lane:
    """A journal that letters are recorded in, with the policy by which they are decided there.

    The service's own is `shared`: its folders are the service's, and only what lies below its cursors is
    read. In one of a rehearsal's, a folder that is another one than before begins anew.
    """

    journal: Journal
    knowledge: Knowledge
    policy: RoutingPolicy
    shared: bool = False

    def watched(self, folder: WatchedFolder) -> WatchedFolder:
        """The folder's configuration as this lane decides by it."""
        if self.shared:
            return replace(folder, policy=self.policy)
        return replace(folder, policy=self.policy, start="new", live_lookup=False)


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder of the mail server, open in a session of its own, and its row in each lane."""

    name: str
    session: Session
    folders: tuple[Folder, ...]
    recorders: tuple[Recorder, ...]


@dataclass(frozen=True, slots=True)
class _Letter:
    arrived: datetime | None
    place: int
    uid: int


class Reader:
    """Reads the letters that the lanes do not have yet. The constructor does no I/O."""

    def __init__(
        self,
        folders: Sequence[tuple[Account, WatchedFolder]],
        lanes: Sequence[Lane],
        since: datetime | None,
        stop: threading.Event,
        *,
        header_bytes: int,
        decided: Callable[[], None] = lambda: None,
    ) -> None:
        """`since`: letters that arrived earlier are left out. `decided` is called after every step."""
        self._folders = folders
        self._lanes = lanes
        self._since = since
        self._stop = stop
        self._header_bytes = header_bytes
        self._decided = decided
        #: Folders that could not be read, each with the reason, for people.
        self.passed_over: list[str] = []

    def read(self, progress: Progress) -> int:
        """Record what is not on record; returns how many letters were read. Raises MailboxError, StoreError.

        What was recorded until then is kept, and is not read again.
        """
        done = 0
        with ExitStack() as stack:
            places = [place for place in (self._open(stack, *each) for each in self._folders) if place]
            letters = sorted(
                (letter for number, place in enumerate(places) for letter in self._missing(number, place)),
                key=lambda letter: (letter.arrived or _BEGINNING, letter.place, letter.uid),
            )
            remaining = iter(letters)
            progress(0, len(letters))
            while not self._stop.is_set() and (step := list(islice(remaining, STEP))):
                self._record(places, step)
                self._decided()
                done += len(step)
                progress(done, len(letters))
        return done

    def _open(self, stack: ExitStack, account: Account, watched: WatchedFolder) -> _Place | None:
        session = Session(account, mail.HEADER_FIELDS, header_bytes=self._header_bytes, stop=self._stop)
        stack.enter_context(closing(session))
        session.connect()
        name = name_on_server(session, watched)
        status = session.open(name)
        folders, recorders = [], []
        for lane in self._lanes:
            mine = lane.watched(watched)
            folder = lane.journal.folders.get(watched.mailbox, watched.name)
            reason = interruption(session, folder, status) if folder else None
            if lane.shared and (reason or (folder is None and watched.start != "new")):
                self._pass_over(watched, reason or "the service has not opened it yet")
                return None
            if folder is None:
                folder = begin(session, mine, lane.journal, status)
            elif reason:
                folder = self._begin_anew(session, lane, folder, status.uidvalidity)
            folders.append(folder)
            recorders.append(Recorder(mine, lane.journal, lane.knowledge, session.report, past=True))
        return _Place(name, session, tuple(folders), tuple(recorders))

    def _begin_anew(self, session: Session, lane: Lane, folder: Folder, uidvalidity: int) -> Folder:
        folder = lane.journal.folders.begin_epoch(folder, uidvalidity)
        top = max((window[-1] for window in session.uids_from(1)), default=0)
        with lane.journal.transaction():
            lane.journal.folders.advance(folder, top, {})
        return replace(folder, cursor=top)

    def _pass_over(self, watched: WatchedFolder, reason: str) -> None:
        self.passed_over.append(f"{watched}: {reason}")
        event(logger, logging.WARNING, "folder.passed_over", folder=str(watched), reason=reason)

    def _missing(self, number: int, place: _Place) -> Iterator[_Letter]:
        """The letters of one folder that some lane does not have."""
        top = max(folder.cursor for folder in place.folders)
        known = frozenset.intersection(
            *(lane.journal.past.uids(folder) for lane, folder in zip(self._lanes, place.folders, strict=True))
        )
        # SINCE goes by the server's day: one day of room for its zone.
        day = (self._since - timedelta(days=1)).date() if self._since else None
        for window in place.session.uids_from(1, since=day):
            arrivals = place.session.arrivals([uid for uid in window if uid <= top and uid not in known])
            for uid, arrived in arrivals.items():
                if arrived is None or self._since is None or arrived >= self._since:
                    yield _Letter(arrived, number, uid)

    def _record(self, places: Sequence[_Place], step: Sequence[_Letter]) -> None:
        found: dict[tuple[int, int], FetchedMessage] = {}
        for number, place in enumerate(places):
            uids = sorted(letter.uid for letter in step if letter.place == number)
            for result in self._fetched(place, uids):
                found.update(((number, message.uid), message) for message in result.messages)
                self._write(place, FetchResult(messages=(), unreadable=result.unreadable))
        read = [letter for letter in step if (letter.place, letter.uid) in found]
        for number, run in groupby(read, key=lambda letter: letter.place):
            messages = tuple(found[number, letter.uid] for letter in run)
            self._write(places[number], FetchResult(messages=messages))

    def _write(self, place: _Place, result: FetchResult) -> None:
        if result.messages or result.unreadable:
            for folder, recorder in zip(place.folders, place.recorders, strict=True):
                recorder.record(folder, result, folder.cursor)

    def _fetched(self, place: _Place, uids: list[int]) -> Iterator[FetchResult]:
        """Everything about these UIDs; a line that is lost once is made again."""
        lost = False
        while uids:
            try:
                result = place.session.fetch(uids)
            except MailboxError:
                if lost or self._stop.is_set():
                    raise
                lost = True
                place.session.connect()
                place.session.open(place.name)
                continue
            yield result
            uids = list(result.deferred) if len(result.deferred) < len(uids) else []
