"""What must be true after every fault, once all is healed and the service has caught up.

    book = Book(office)                     # before the first letter
    book.post(sample_letter("reply-to-masha"), Fate(deal(1)))
    ...                                     # the fault, and its end
    office.until(lambda: book.caught_up())
    uphold(book)                            # or judge(book), which only tells

Every message of the mailbox has exactly one decision in the journal; every activity is bound where the `Fate`
of its letter says; nobody was notified twice for one message; nothing was written to the portal where nothing
was wrong. `uphold_idle` says of a process that it uses no CPU while there is nothing to do.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from imapclient import IMAPClient
from office import Office

from imaprouter.model import Binding, State, Target
from imaprouter.sandbox.mail_import import Imported
from imaprouter.sandbox.mail_letter import Letter
from imaprouter.store.messages import StoredMessage

#: Of everything that is drawn in the suite.
SEED = int(os.environ.get("FAULTS_SEED", "20261103"))

#: Of one CPU: what an idle service may use. A busy loop uses all of it, ours a hundredth.
IDLE_SHARE = 0.15

UNDER_WAY = frozenset({State.WAITING, State.PAIRED})


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a letter must end."""

    #: What its activity must be bound to; None: it stays as the portal made it.
    target: Target | None = None
    #: Where its message may stand in the end.
    states: frozenset[State] = frozenset({State.SETTLED})
    #: Whether it must be on record; False: it was gone before anybody could read it.
    known: bool = True
    #: How many mails of the mailbox have its Message-ID and are mails of their own.
    copies: int = 1
    #: What somebody else bound it to, who has the last word.
    by_hand: tuple[Binding, ...] | None = None


#: A person decides.
REVIEW = Fate(states=frozenset({State.REVIEW}))
#: The portal never makes an activity of it.
MISSING = Fate(states=frozenset({State.MISSING}))


@dataclass(slots=True)
class Verdict:
    """Which laws were broken, one line for each letter, activity or notification."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.wrong)


@dataclass(slots=True)
class Score:
    """What the whole run came to; conftest prints it."""

    cases: int = 0
    #: Tests that failed, whatever for; and cases of which nothing can be said, since they cannot be judged.
    failed: int = 0
    unjudged: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    def add(self, verdict: Verdict) -> None:
        self.cases += 1
        self.lost += len(verdict.lost)
        self.doubled += len(verdict.doubled)
        self.wrong += len(verdict.wrong)

    def __str__(self) -> str:
        return (
            f"cases {self.cases}, failed {self.failed}, unjudged {self.unjudged}, seed {SEED}, "
            f"lost {self.lost}, doubled {self.doubled}, wrong {self.wrong}"
        )


SCORE = Score()


@dataclass(frozen=True, slots=True)
class Mail:
    """One message of the mailbox as it lies there now."""

    folder: str
    uidvalidity: int
    uid: int
    message_id: str


class Book:
    """What is expected of each letter of an office, and how the portal landed it.

    Letters of one case have subjects and Message-IDs of their own: notifications are told apart by them.
    """

    def __init__(self, office: Office, *, folders: tuple[str, ...] = ("INBOX", "Sent")) -> None:
        """`folders`: what the service watches."""
        self.office = office
        self.folders = folders
        #: By Message-ID, without the angle brackets.
        self.fates: dict[str, Fate] = {}
        self.subjects: dict[str, str] = {}
        #: Activity to Message-ID, and to its first bindings.
        self.activities: dict[int, str] = {}
        self.landings: dict[int, list[Binding]] = {}
        #: Deal to its responsible; a deal may be deleted later.
        self.responsibles = {
            int(number): int(row["ASSIGNED_BY_ID"]) for number, row in office.portal.crm.entities[2].items()
        }
        self._watch_landings()

    def post(self, raw: bytes, fate: Fate | None = None, *, folder: str = "INBOX") -> str:
        """Deliver a letter of which this is expected; returns the base name of its file."""
        self.expect(raw, fate or Fate())
        return self.office.dovecot.deliver(self.office.user, raw, folder)

    def expect(self, raw: bytes, fate: Fate) -> str:
        """Note what is expected of a letter, without delivering it; returns its Message-ID."""
        message_id, subject = _id_and_subject(raw)
        self.fates[message_id], self.subjects[message_id] = fate, subject
        return message_id

    def repeat(self, activity_id: int) -> int:
        """Let the portal make a second activity of the same mail; returns its id."""
        crm = self.office.portal.crm
        with crm.lock:
            row = {**crm.activity(activity_id), "ORIGINATOR_ID": "", "ORIGIN_ID": "", "RESPONSIBLE_ID": None}
            landing = self.landings[activity_id]
            pairs = [(binding.type_id, binding.entity_id) for binding in landing]
            del row["ID"]
            number = crm.add_activity(row, pairs)
            self.activities[number] = self.activities[activity_id]
            self.landings[number] = landing
        return number

    def caught_up(self) -> bool:
        """Whether every message of the mailbox is on record, and nothing that is expected is under way."""
        known = self.office.messages()
        ids = {message.envelope.message_id for message in known}
        if any(fate.known and message_id not in ids for message_id, fate in self.fates.items()):
            return False
        if any(message.state not in self._states(message) for message in known):
            return False
        places = {(message.folder, message.uidvalidity, message.uid) for message in known}
        return all((mail.folder, mail.uidvalidity, mail.uid) in places for mail in self.mailbox())

    def mailbox(self) -> list[Mail]:
        """What lies in the watched folders now, asked of the server itself."""
        return list(self._read_mailbox())

    def _states(self, message: StoredMessage) -> frozenset[State]:
        fate = self.fates.get(message.envelope.message_id, Fate())
        return fate.states | {State.SETTLED} if message.same_as else fate.states

    def _read_mailbox(self) -> Iterator[Mail]:
        server = self.office.dovecot
        with IMAPClient("127.0.0.1", port=server.port, ssl=False, timeout=10) as client:
            client.login(self.office.user, server.password)
            listed = client.list_folders()
            present = {str(name) for flags, _, name in listed if b"\\Noselect" not in flags}
            for folder in self.folders:
                if folder not in present:
                    continue
                uidvalidity = int(client.select_folder(folder, readonly=True)[b"UIDVALIDITY"])
                uids = client.search(["ALL"])
                part = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT)]"
                answers = client.fetch(uids, [part]) if uids else {}
                for uid, answer in sorted(answers.items()):
                    raw = next((value for key, value in answer.items() if key.startswith(b"BODY[")), b"")
                    yield Mail(folder, uidvalidity, int(uid), _id_and_subject(raw)[0])

    def _watch_landings(self) -> None:
        """Write down what the portal's sync binds an activity to, in the moment in which it makes it."""
        importer, crm = self.office.sync._importer, self.office.portal.crm
        take = importer.take

        def watched(letter: Letter) -> Imported:
            imported = take(letter)
            if imported.activity_id is not None:
                number = imported.activity_id
                self.activities[number] = letter.message_id.strip("<>")
                self.landings[number] = [Binding(*pair) for pair in crm.bindings(number)]
            return imported

        importer.take = watched  # type: ignore[method-assign]


def judge(book: Book) -> Verdict:
    """Which laws are broken now."""
    verdict = Verdict()
    _decided_once(book, verdict)
    for activity_id, message_id in book.activities.items():
        _bound_right(book, activity_id, book.fates.get(message_id, Fate()), verdict)
    _told_once(book, verdict)
    return verdict


def uphold(book: Book) -> None:
    """Count the case, and fail where a law is broken."""
    verdict = judge(book)
    SCORE.add(verdict)
    assert not verdict, verdict


def judge_failed(book: Book) -> Verdict | None:
    """Count a case that failed before its end, as it stands now; None where that cannot be told."""
    try:
        verdict = judge(book)
    except Exception:  # whatever made the case fail may be in the way of this, too
        SCORE.cases += 1
        SCORE.unjudged += 1
        return None
    SCORE.add(verdict)
    return verdict


def uphold_idle(pid: int, seconds: float = 2.0) -> None:
    """Fail when the process, which has nothing to do, uses the CPU all the same.

    Something may just have been left to do: a busy loop is as busy the third time.
    """
    shares = []
    for _ in range(3):
        before = cpu_seconds(pid)
        time.sleep(seconds)
        shares.append((cpu_seconds(pid) - before) / seconds)
        if shares[-1] < IDLE_SHARE:
            return
    raise AssertionError(f"idle, the process uses {shares} of a CPU")


def cpu_seconds(pid: int) -> float:
    """utime and stime of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ── the laws, one by one ───────────────────────────────────────────────────────────────────────────


def _decided_once(book: Book, verdict: Verdict) -> None:
    """Every message of the mailbox is on record under its present UID, every mail was decided once."""
    known = book.office.messages()
    places = Counter((message.folder, message.uidvalidity, message.uid) for message in known)
    for mail in book.mailbox():
        if not places[mail.folder, mail.uidvalidity, mail.uid]:
            verdict.lost.append(f"{mail} is not on record")
    for message in known:
        allowed = book._states(message)
        if message.state not in allowed:
            where = verdict.lost if message.state in UNDER_WAY | {State.UNREADABLE} else verdict.wrong
            where.append(f"message {message.id} ({message.envelope.message_id}) is {message.state}")
    decided = Counter(message.envelope.message_id for message in known if message.same_as is None)
    for message_id, fate in book.fates.items():
        if decided[message_id] > fate.copies:
            verdict.doubled.append(f"{message_id} was decided {decided[message_id]} times")
        if fate.known and decided[message_id] < fate.copies:
            verdict.lost.append(f"{message_id} was decided {decided[message_id]} times")


def _bound_right(book: Book, activity_id: int, fate: Fate, verdict: Verdict) -> None:
    crm = book.office.portal.crm
    if activity_id not in crm.activities:
        return  # somebody deleted it
    landing, bound = book.landings[activity_id], book.office.bound(activity_id)
    what = f"activity {activity_id} ({book.activities[activity_id]}) is bound to {bound}"
    if fate.by_hand is not None:
        if set(bound) != set(fate.by_hand):
            verdict.wrong.append(f"{what} instead of {fate.by_hand}")
        return
    wanted = _wanted(fate.target)
    if wanted is None or _is_right(landing, wanted):
        if set(bound) != set(landing):
            verdict.wrong.append(f"{what} instead of {landing}, which was right")
        if touching := [write.method for write in book.office.portal.writes if _touches(write, activity_id)]:
            verdict.wrong.append(f"activity {activity_id} was right, and written to by {touching}")
        return
    kept = {binding for binding in landing if not binding.is_deal and not binding.is_lead}
    if not _is_right(bound, wanted) or not kept <= set(bound):
        verdict.wrong.append(f"{what} instead of {wanted}")
    responsible = _responsible(book, fate.target)
    if responsible and int(crm.activity(activity_id)["RESPONSIBLE_ID"]) != responsible:
        verdict.wrong.append(f"activity {activity_id} is not user {responsible}'s")


def _told_once(book: Book, verdict: Verdict) -> None:
    """Who was notified of what: once, the target's responsible, and only of what was moved."""
    told = [notice for notice in book.office.portal.notifications if notice.kind == "system"]
    for message_id, fate in book.fates.items():
        subject = book.subjects[message_id]
        of_it = [notice.user_id for notice in told if f"“{subject}”" in notice.message]
        for user_id, times in Counter(of_it).items():
            if times > fate.copies:
                verdict.doubled.append(f"user {user_id} was told {times} times of {message_id}")
            if user_id != _responsible(book, fate.target):
                verdict.wrong.append(f"user {user_id} was told of {message_id}, which is not his")
        wanted = _wanted(fate.target)
        landings = [book.landings[n] for n, mid in book.activities.items() if mid == message_id]
        if of_it and landings and wanted and all(_is_right(landing, wanted) for landing in landings):
            verdict.wrong.append(f"{message_id} lay right, and {of_it} were told of it")


def _wanted(target: Target | None) -> Binding | None:
    return target.binding if target else None


def _is_right(bound: list[Binding], wanted: Binding) -> bool:
    return wanted in bound and not any(binding.is_deal for binding in bound if binding != wanted)


def _responsible(book: Book, target: Target | None) -> int:
    """Whose deal it is; 0 for what is no deal."""
    wanted = _wanted(target)
    return book.responsibles.get(wanted.entity_id, 0) if wanted and wanted.is_deal else 0


def _touches(write: Any, activity_id: int) -> bool:
    named = write.params.get("activityId") or write.params.get("id")
    return write.method.startswith("crm.activity") and str(named) == str(activity_id)


def _id_and_subject(raw: bytes) -> tuple[str, str]:
    message = message_from_bytes(raw, policy=policy.default)
    return str(message["Message-ID"] or "").strip().strip("<>"), str(message["Subject"] or "").strip()
