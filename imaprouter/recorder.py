"""What was fetched goes into the journal: recognised or decided, and recorded with the cursor. No IMAP."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from imaprouter import mail
from imaprouter.arrival import WatchedFolder, decided, defective, unreadable
from imaprouter.errors import StoreDamaged
from imaprouter.ledger import mark
from imaprouter.log import event
from imaprouter.mailbox import FetchResult
from imaprouter.model import LEFT_BY_PERSON, Envelope, FetchedMessage, Nature, Outcome, Result, State
from imaprouter.store.batch import Keys, OnRecord, keys_of
from imaprouter.store.folders import ANCHORS, Folder
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge
from imaprouter.store.messages import Exchange, NewMessage, StoredMessage

logger = logging.getLogger(__name__)

_NOT_READ = "header: imaprouter failed on it"


@dataclass(frozen=True, slots=True)
class _Entry:
    new: NewMessage
    #: The same mail in other mailboxes, as it was before.
    copies: Sequence[StoredMessage]


class Recorder:
    """Records one folder's messages; belongs to the watcher's thread."""

    def __init__(
        self,
        watched: WatchedFolder,
        journal: Journal,
        knowledge: Knowledge,
        report: Callable[[int], bytes],
        *,
        past: bool = False,
    ) -> None:
        """`report` fetches the beginning of the body of the message with this UID.

        `past`: the letters came before the watch. They are recorded as such, however old they are.
        """
        self._watched = watched
        self._journal = journal
        self._knowledge = knowledge
        self._report = report
        self._past = past

    def record(self, folder: Folder, result: FetchResult, cursor: int) -> None:
        """One batch up to `cursor`: messages, decisions, cursor and anchors, all in one transaction."""
        now = datetime.now(UTC)
        envelopes = [(message, envelope_of(message)) for message in result.messages if message.uid <= cursor]
        # Before the transaction, which nobody else could write during.
        envelopes = [(message, self._with_body(folder, message, e, now)) for message, e in envelopes]
        letters = [self._keys(message, envelope) for message, envelope in envelopes]
        unread = [(uid, unreadable(uid, now)) for uid in result.unreadable if uid <= cursor]
        letters += [keys_of(uid, new.envelope, "") for uid, new in unread]
        recorded: list[tuple[int, NewMessage]] = []
        messages = self._journal.messages
        with self._journal.transaction():
            on_record = messages.on_record(folder, letters)
            for message, envelope in envelopes:
                if message.uid not in on_record.uids:
                    entry = self._entry(folder, message, envelope, now, on_record)
                    if entry:
                        number = messages.add(folder, entry.new, now, on_record, past=self._past)
                        self._follow_person(number, entry, now)
                        recorded.append((number, entry.new))
            for uid, new in unread:
                if uid not in on_record.uids:
                    recorded.append((messages.add(folder, new, now, on_record, past=self._past), new))
            marks = {message.uid: mark_of(message, envelope) for message, envelope in envelopes[-ANCHORS:]}
            self._journal.folders.advance(folder, cursor, marks)
        for number, new in recorded:
            self._tell(number, new)

    def record_late(self, folder: Folder, result: FetchResult, waiting: Mapping[int, int]) -> None:
        """Messages that could not be read before; `waiting` is UID to journal id."""
        now = datetime.now(UTC)
        envelopes = [(message, envelope_of(message)) for message in result.messages]
        recorded: list[tuple[int, NewMessage]] = []
        with self._journal.transaction():
            for message, envelope in envelopes:
                on_record = self._journal.messages.on_record(folder, (self._keys(message, envelope),))
                entry = self._entry(folder, message, envelope, now, on_record)
                if entry:
                    self._journal.messages.redecide(waiting[message.uid], entry.new, now)
                    self._follow_person(waiting[message.uid], entry, now)
                    recorded.append((waiting[message.uid], entry.new))
            for uid in result.gone:
                note = "expunged before it was read"
                self._journal.messages.set_state(
                    waiting[uid], State.SETTLED, now, result=Result.IGNORED, note=note
                )
        for number, new in recorded:
            self._tell(number, new)

    def floor(self, folder: Folder) -> datetime | None:
        """Mail that arrived then or earlier is not ours; None: all of it is.

        With start = "new" the cursor says it better, until the folder is renumbered.
        """
        if self._past:
            return None
        return folder.watch_since if folder.epoch > 1 or isinstance(self._watched.start, date) else None

    def _keys(self, message: FetchedMessage, envelope: Envelope) -> Keys:
        return keys_of(message.uid, envelope, self._watched.pair_key(envelope))

    def _entry(
        self,
        folder: Folder,
        message: FetchedMessage,
        envelope: Envelope,
        now: datetime,
        on_record: OnRecord,
    ) -> _Entry | None:
        """The journal entry of a message; None for mail from before the watch and for a renumbered one."""
        arrived = message.internal_date or envelope.date or now
        floor = self.floor(folder)
        if floor and arrived <= floor:
            return None
        messages = self._journal.messages
        met_before = envelope.fingerprint in on_record.fingerprints
        if met_before:
            before = messages.same_mail_before(folder, envelope.fingerprint, arrived, message.size)
            if before:
                messages.move_to_epoch(before.id, folder, message.uid)
                return None
        keys = on_record.letters[message.uid]
        copies = messages.copies(folder.mailbox, envelope, arrived) if on_record.has_copies(keys) else []
        earlier = Exchange()
        if keys.pair_key in on_record.pairs:
            limit = self._watched.policy.loop.limit
            earlier = messages.exchange(folder.mailbox, keys.pair_key, arrived, envelope.date, limit)
        new = self._decided(message, envelope, arrived, keys.pair_key, earlier, copies)
        known = None
        if met_before:
            known = messages.same_mail(folder.mailbox, envelope.fingerprint, arrived, message.size)
        # Without a Message-ID two letters of a robot in one second may look alike and still be two.
        if known and (envelope.message_id or known.folder != folder.name):
            new = replace(
                new,
                state=State.SETTLED,
                result=Result.SAME_MAIL,
                open_questions=False,
                same_as=known.id,
                note=f"the same mail as message {known.id}",
            )
        return _Entry(new, copies)

    def _follow_person(self, number: int, entry: _Entry, now: datetime) -> None:
        """What a person said of a copy in another mailbox holds for this one."""
        new = entry.new
        if new.same_as or new.decision.outcome is Outcome.IGNORE:
            return
        asked = [copy for copy in entry.copies if copy.person_target or copy.note == LEFT_BY_PERSON]
        if not asked:
            return
        latest = max(asked, key=lambda copy: copy.settled_at or copy.recorded_at)
        note = f"a person decided about message {latest.id}, the same mail in {latest.mailbox}"
        if latest.person_target:
            self._journal.answers.choose(number, latest.person_target)
            self._journal.messages.set_state(number, State.WAITING, now, note=note)
        else:
            self._journal.messages.set_state(number, State.SETTLED, now, result=Result.PERSON, note=note)

    def _decided(
        self,
        message: FetchedMessage,
        envelope: Envelope,
        arrived: datetime,
        pair_key: str,
        earlier: Exchange,
        copies: Sequence[StoredMessage],
    ) -> NewMessage:
        for copy in copies:
            self._journal.messages.decide_again(copy.id)
        if _NOT_READ in envelope.defects:
            return defective(self._watched, message, envelope, arrived)
        try:
            new = decided(
                self._watched,
                self._knowledge,
                message,
                envelope,
                arrived,
                pair_key=pair_key,
                recent=earlier.letters + 1,
                copies=[copy.envelope for copy in copies],
            )
        except StoreDamaged:
            # Not the letter's fault, nor will the next one fare better.
            raise
        except Exception:
            # A defect of ours that one letter shows must not keep those behind it from being read.
            logger.exception("deciding UID %s of %s failed", message.uid, self._watched)
            return defective(self._watched, message, envelope, arrived)
        if new.decision.rule == "loop" and not earlier.stopped:
            event(logger, logging.WARNING, "loop.detected", folder=str(self._watched), between=pair_key)
        return new

    def _with_body(
        self, folder: Folder, message: FetchedMessage, envelope: Envelope, now: datetime
    ) -> Envelope:
        """The envelope with what the body adds, where the policy lets it be read.

        To a bounce that names nothing known that is the ids that it returns, to a colleague's letter those
        that are attached to it.
        """
        policy = self._watched.policy
        wants_report = (
            policy.bounces.read_report
            and envelope.nature is Nature.BOUNCE
            and not any(self._knowledge.known_message(parent) for parent in envelope.parents)
        )
        wants_attached = policy.forwards.read_attached and self._watched.is_colleagues(
            envelope, self._knowledge
        )
        if not (wants_report or wants_attached) or self._is_known(folder, message, envelope, now):
            return envelope
        body = self._report(message.uid)
        try:
            if wants_report:
                returned = mail.returned_ids(body)
                return replace(envelope, parents=tuple(dict.fromkeys((*envelope.parents, *returned))))
            header = (message.header or b"").rstrip(b"\r\n")
            return mail.with_attached(envelope, header + b"\r\n\r\n" + body)
        except Exception:
            # A defect of ours, as in reading a header: the letter is decided without what its body adds.
            logger.exception("reading the body of UID %s of %s failed", message.uid, self._watched)
            return envelope

    def _is_known(self, folder: Folder, message: FetchedMessage, envelope: Envelope, now: datetime) -> bool:
        """Whether the message is on record, or from before the watch."""
        arrived = message.internal_date or envelope.date or now
        floor = self.floor(folder)
        messages = self._journal.messages
        if (floor and arrived <= floor) or messages.has_uid(folder, message.uid):
            return True
        return messages.same_mail(folder.mailbox, envelope.fingerprint, arrived, message.size) is not None

    def _tell(self, number: int, new: NewMessage) -> None:
        decision = new.decision
        event(
            logger,
            logging.INFO,
            "message.decided",
            id=number,
            folder=str(self._watched),
            uid=new.uid,
            message_id=new.envelope.message_id,
            subject=new.envelope.subject,
            outcome=decision.outcome.value,
            target=str(decision.target or "-"),
            rule=decision.rule,
            review=decision.review,
            state=new.state.value,
        )


def envelope_of(message: FetchedMessage) -> Envelope:
    """What the fetched header says; a cut one says so, and so does one that we fail to read."""
    header = message.header or b""
    try:
        envelope = mail.parse(header, limit=max(len(header), 1))
    except Exception:
        # A defect of ours, as in deciding: those behind it have to be read.
        logger.exception("reading the header of UID %s failed", message.uid)
        return Envelope(defects=(_NOT_READ,), fingerprint=hashlib.sha256(header).hexdigest())
    if message.cut:
        return replace(envelope, defects=(*envelope.defects, f"header: cut after {len(header)} bytes"))
    return envelope


def mark_of(message: FetchedMessage, envelope: Envelope) -> str:
    """What proves that the UID still names this message."""
    return mark(envelope.fingerprint, message.size, message.internal_date)
