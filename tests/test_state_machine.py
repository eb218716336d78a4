"""The whole service as a state machine: whatever happens in whatever order, the laws hold in the end.

Real watchers, recorder, journal, binder and REST client; the portal simulator over HTTP; of IMAP only the
session is played, since a Dovecot takes longer for a step than everything else together. MACHINE_EXAMPLES
says how many lives are lived; `--hypothesis-show-statistics` shows what happened in them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
from hypothesis import HealthCheck, event, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from office import CODE, FIXTURES, letter

from imaprouter import watcher as watcher_room
from imaprouter.arrival import WatchedFolder
from imaprouter.binder.loop import BinderLoop
from imaprouter.bitrix24 import listing
from imaprouter.bitrix24.portal import Portal as Client
from imaprouter.errors import PortalError, StoreError
from imaprouter.mailbox import Account, FetchResult, FolderStatus
from imaprouter.model import Binding, FetchedMessage, Result, State, Target, deal
from imaprouter.policy import BindingPolicy, RoutingPolicy
from imaprouter.reasons import ENGLISH
from imaprouter.refresh import refresh
from imaprouter.sandbox.limits import UNLIMITED
from imaprouter.sandbox.mail_import import Importer, MailboxConnection
from imaprouter.sandbox.mail_letter import read_letter
from imaprouter.sandbox.portal import Portal
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge, opened
from imaprouter.store.messages import StoredMessage
from imaprouter.watcher import Watcher

START = datetime(2026, 11, 3, 9, tzinfo=UTC)
MAILBOXES = {"sales": "sales@company.ru", "masha": "masha@company.ru"}
HOUSE = frozenset(MAILBOXES.values())
#: Rounds without trouble after which everything has come to rest.
ENOUGH = 12
DEAL = 2
#: The deals that people move letters to; 2 is where Bitrix24 puts most of them, 1 is Masha's.
CHOSEN_BY_PEOPLE = (1, 2, 5)
LOST = ["close_before", "close_after", "http_502_html", "http_504_after", "internal_500"]
WRITES = [
    *("crm.activity.binding.move", "crm.activity.binding.add", "crm.activity.update"),
    "im.notify.system.add",
]


class Killed(BaseException):
    """The process dies here."""


class Mortality:
    """Counts what a process does, and ends it at the chosen one; what is dead does nothing any more."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.on_the_wire = False
        #: The method, and whether before or behind which of its requests.
        self.at: tuple[str, bool] | None = None
        self.dead = False

    def step(self, *, on_the_wire: bool = False) -> None:
        if self.dead:
            raise Killed
        if self.left is not None and (on_the_wire or not self.on_the_wire):
            self.left -= 1
            if self.left < 0:
                self.dead = True
                raise Killed

    def pass_by(self, request: bytes, *, behind: bool) -> None:
        """A request that may be the chosen one is about to leave, or came to its end."""
        if self.at and self.at[1] is behind and self.at[0].encode() in request:
            self.dead = True
        self.step(on_the_wire=True)

    def reborn(
        self, left: int | None = None, *, on_the_wire: bool = False, at: tuple[str, bool] | None = None
    ) -> None:
        """Live for so many further steps, or for so many on the wire, or until a request `at` a method."""
        self.left, self.on_the_wire, self.at, self.dead = left, on_the_wire, at, False


class Wire(httpx.BaseTransport):
    """The network to the portal: a process may die before a request has left, and when it came to its end.

    That is an answer, or that none will come.
    """

    def __init__(self, mortality: Mortality) -> None:
        self._mortality = mortality
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        self._mortality.pass_by(content, behind=False)
        try:
            return self._inner.handle_request(request)
        finally:
            self._mortality.pass_by(content, behind=True)

    def close(self) -> None:
        self._inner.close()


@dataclass
class Mail:
    """A message in a mailbox."""

    name: str
    raw: bytes
    arrived: datetime


@dataclass
class Box:
    """A folder as a mail server keeps it."""

    uidvalidity: int = 1
    uidnext: int = 1
    mails: dict[int, Mail] = field(default_factory=dict)

    def put(self, mail: Mail) -> None:
        self.mails[self.uidnext] = mail
        self.uidnext += 1

    def renumber(self, order: Callable[[list[Mail]], list[Mail]], uidvalidity: int) -> None:
        mails = order(list(self.mails.values()))
        self.mails, self.uidnext, self.uidvalidity = {}, 1, uidvalidity
        for mail in mails:
            self.put(mail)


class PlayedSession:
    """What a watcher asks of a mail server, answered from a Box."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def open(self, name: str) -> FolderStatus:
        return FolderStatus(name, self._box.uidvalidity, self._box.uidnext, len(self._box.mails))

    def uids_from(self, first: int, *, since: date | None = None) -> Iterator[list[int]]:
        found = [uid for uid in sorted(self._box.mails) if uid >= first]
        if found:
            yield found

    def fetch(self, uids: Sequence[int], *, ahead: Sequence[int] = ()) -> FetchResult:
        there = [(uid, self._box.mails[uid]) for uid in uids if uid in self._box.mails]
        return FetchResult(
            tuple(FetchedMessage(uid, mail.raw, mail.arrived, len(mail.raw)) for uid, mail in there),
            gone=tuple(uid for uid in uids if uid not in self._box.mails),
        )

    def opened(self, uids: Sequence[int]) -> list[int]:
        """Somebody reads every second letter."""
        return [uid for uid in uids if uid in self._box.mails and not uid % 2]

    def report(self, uid: int) -> bytes:
        return b""


@dataclass
class Copy:
    """A letter in one mailbox, and what became of it in the portal."""

    mail: Mail
    mailbox: str
    activity: int | None = None
    bound_by_portal: tuple[Binding, ...] = ()
    #: The portal has it no more.
    is_deleted: bool = False
    #: Sets of deals, each of which a person may have wanted last; empty: nobody decided.
    wanted: list[frozenset[int]] = field(default_factory=list)


LETTERS: dict[str, dict[str, Any]] = {
    "to Masha": {"to": "masha@company.ru", "cc": "sales@company.ru"},
    "to Ilya": {"to": "ilya@company.ru", "cc": "sales@company.ru"},
    "deal 1": {"subject": "#1"},
    "deal 2": {"subject": "#2"},
    "a question": {},
    "a stranger": {"sender": "stranger@nowhere.ru"},
    "another client": {"sender": "anna@romashka-sample.ru", "to": "masha@company.ru"},
    "a deal that is not there": {"subject": "#4711"},
}


class Office(RuleBasedStateMachine):
    """Two mailboxes, one portal, one service that dies."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.path = self.folder / "imaprouter.db"
        self.clock_is_off = timedelta()
        self.portal = Portal(
            json.loads((FIXTURES / "crm.json").read_bytes()),
            limits=UNLIMITED,
            code=CODE,
            clock=lambda: datetime.now(UTC) + self.clock_is_off,
        )
        self.responsibles = {
            number: int(row["ASSIGNED_BY_ID"]) for number, row in self.portal.crm.entities[DEAL].items()
        }
        self.portal.start()
        self.mortality = Mortality()
        self.client = Client(
            self.portal.webhook_url,
            requests_per_second=1000.0,
            timeout=timedelta(seconds=5),
            transport=Wire(self.mortality),
        )
        self.boxes = {name: Box() for name in MAILBOXES}
        self.numbers = itertools.count(1)
        self.copies: list[Copy] = []
        #: Deal to the activities that were bound to it when it was deleted.
        self.deals_gone: dict[int, set[int]] = {}
        self.connections = [
            MailboxConnection(
                email=email, host="-", port=1, username=name, password="x", owner_user_id=owner, public=True
            )
            for (name, email), owner in zip(MAILBOXES.items(), (4, 5), strict=True)
        ]
        self.importers = {
            name: Importer(connection, self.portal.crm, self.connections)
            for name, connection in zip(MAILBOXES, self.connections, strict=True)
        }
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(watcher_room, "opened", self.opened)
        # A list waits for its method's limit by the minute, which is no other life than by the moment.
        self.patch.setattr(listing, "_BLOCKED_WAIT", 0.001)
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(stamina.set_testing(True, attempts=6, cap=True))
        # What a service logs about its troubles is not what is tested here.
        logging.getLogger("imaprouter").setLevel(logging.CRITICAL)

    @initialize()
    def first_start(self) -> None:
        self.eye = Journal(self.path)
        self.stack.callback(self.eye.close)
        with contextlib.closing(Index(index_path(self.path))) as index:
            refresh(self.client, index)
        self.restart()

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def opened(self, path: Path) -> Iterator[tuple[Journal, Knowledge]]:
        """Journal and index of a process that can die at any of their statements."""
        with opened(path) as (journal, knowledge):
            for store in (journal, knowledge):
                execute = store._db.execute

                def mortal(*words: Any, execute: Any = execute) -> Any:
                    self.mortality.step()
                    return execute(*words)

                store._db.execute = mortal  # type: ignore[method-assign,assignment]
            yield journal, knowledge

    def watched(self, mailbox: str, folder: str = "INBOX") -> WatchedFolder:
        return WatchedFolder(
            mailbox=mailbox,
            name=folder,
            kind="incoming",
            own_addresses=frozenset({MAILBOXES[mailbox]}),
            house_addresses=HOUSE,
            start="all",
            policy=RoutingPolicy(),
            live_lookup=True,
        )

    @rule()
    def restart(self) -> None:
        """A new process: whatever was only in memory is gone."""
        stop = threading.Event()
        self.binder = BinderLoop(
            self.client,
            self.path,
            BindingPolicy(),
            mailbox_emails={name: frozenset({email, name}) for name, email in MAILBOXES.items()},
            watched=self.watched,
            language=ENGLISH,
            stop=stop,
        )
        account = Account("-", "-", 1, "none", "-", "-")
        self.watchers = {}
        for name, box in self.boxes.items():
            watcher = Watcher(self.watched(name), account, self.path, stop)
            watcher._session = PlayedSession(box)  # type: ignore[assignment]
            self.watchers[name] = watcher

    def read(self) -> None:
        for watcher in self.watchers.values():
            watcher.run_once()

    def bind(self) -> int:
        """One round of the binder; what it would do in time is due now."""
        with self.opened(self.path) as (journal, knowledge):
            for message in journal.messages.in_states(*State):
                for paired in journal.activities.of_message(message.id):
                    if paired.next_attempt_at:
                        journal.activities._db.execute(
                            "UPDATE activities SET next_attempt_at = ? WHERE id = ?",
                            (message.recorded_at.isoformat(timespec="microseconds"), paired.activity.id),
                        )
                        journal.activities._db.conn.commit()
            self.binder._learn_at = 0.0
            return self.binder.round(journal, knowledge)

    def live(
        self,
        *works: Callable[[], object],
        dies_after: int | None = None,
        on_the_wire: bool = False,
        dies_at: tuple[str, bool] | None = None,
    ) -> None:
        """Let the service work; when it dies, or is dead, it is started anew by the next rule."""
        self.mortality.reborn(dies_after, on_the_wire=on_the_wire, at=dies_at)
        died = False
        try:
            for work in works:
                try:
                    work()
                except (PortalError, StoreError) as error:
                    event(f"trouble: {type(error).__name__}")
        except Killed:
            died = True
        self.mortality.reborn()
        if died:
            event("the service was killed")
            self.restart()

    # ── what happens ──────────────────────────────────────────────────────────────────────────────────────

    def deliver(self, mailbox: str, name: str, raw: bytes) -> None:
        mail = Mail(name, raw, START + timedelta(minutes=next(self.numbers)))
        self.boxes[mailbox].put(mail)
        self.copies.append(Copy(mail, mailbox))

    @rule(kind=st.sampled_from(sorted(LETTERS)), mailbox=st.sampled_from(["sales", "sales", "masha"]))
    def a_letter_comes(self, kind: str, mailbox: str) -> None:
        number = next(self.numbers)
        fields = dict(LETTERS[kind])
        words = f"{fields.pop('subject', 'KP')} letter{number}x"
        when = START + timedelta(minutes=number)
        name = f"letter-{number}@horns.ru"
        raw = letter(**fields, subject=words, message_id=name, date=when)
        note(f"{name} is {kind}, in {mailbox}")
        self.deliver(mailbox, name, raw)

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def an_answer_comes(self, data: st.DataObject) -> None:
        """It belongs where the letter before it belongs."""
        before = data.draw(st.sampled_from(range(len(self.copies))))
        number = next(self.numbers)
        raw = letter(
            subject=f"Re letter{number}x",
            message_id=f"letter-{number}@horns.ru",
            in_reply_to=self.copies[before].mail.name,
            date=START + timedelta(minutes=number),
        )
        self.deliver(self.copies[before].mailbox, f"letter-{number}@horns.ru", raw)

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def the_same_letter_comes_to_the_other_mailbox(self, data: st.DataObject) -> None:
        one = self.copies[data.draw(st.sampled_from(range(len(self.copies))))]
        (other,) = MAILBOXES.keys() - {one.mailbox}
        if not self.copies_of(one.mail.name, other):
            self.deliver(other, one.mail.name, one.mail.raw)

    @rule(how_many=st.integers(1, 4))
    def bitrix24_imports(self, how_many: int) -> None:
        """Its mail sync makes activities, in its own time."""
        for copy in [copy for copy in self.copies if copy.activity is None][:how_many]:
            arrived = read_letter(
                copy.mail.raw,
                folder="INBOX",
                uid=1,
                internal_date=copy.mail.arrived,
                seen=False,
                aside=False,
                zone=self.portal.crm.zone,
            )
            with self.portal.crm.lock:
                made = self.importers[copy.mailbox].take(arrived)
            assert made.activity_id, made.reason
            copy.activity = made.activity_id
            copy.bound_by_portal = self.bound(copy)

    @rule()
    def the_service_reads(self) -> None:
        self.live(self.read)

    @rule()
    def the_service_binds(self) -> None:
        self.live(self.bind)

    @rule(steps=st.integers(0, 40))
    def the_service_dies_while_it_reads(self, steps: int) -> None:
        self.live(self.read, dies_after=steps)

    @rule(steps=st.integers(0, 150))
    def the_service_dies_while_it_binds(self, steps: int) -> None:
        self.live(self.bind, dies_after=steps)

    @rule(steps=st.integers(0, 24))
    def the_service_dies_at_the_portal(self, steps: int) -> None:
        """Before a request has left, or when its answer came and was not written down."""
        self.live(self.read, self.bind, dies_after=steps, on_the_wire=True)

    @rule(
        method=st.sampled_from(WRITES),
        dies=st.sampled_from(["before", "behind", "not"]),
        lost=st.sampled_from([None, "close_after"]),
    )
    def a_write_goes_wrong(self, method: str, dies: str, lost: Any) -> None:
        """The service dies at it, or no answer comes, or both: was it sent, executed, and what came of it?"""
        if lost:
            self.portal.faults.add(lost, method=method)
        self.bitrix24_imports(len(self.copies))
        self.live(self.read, self.bind, dies_at=None if dies == "not" else (method, dies == "behind"))

    @rule(kind=st.sampled_from(LOST), method=st.sampled_from([*WRITES, None]), skip=st.integers(0, 3))
    def an_answer_will_be_lost(self, kind: Any, method: str | None, skip: int) -> None:
        self.portal.faults.add(kind, method=method, times=1, skip=skip)

    @rule(
        code=st.sampled_from(["QUERY_LIMIT_EXCEEDED", "ACCESS_DENIED", "insufficient_scope"]),
        method=st.sampled_from([*WRITES, "crm.activity.list", "crm.activity.binding.list", "crm.item.list"]),
        inside=st.booleans(),
    )
    def the_portal_refuses(self, code: str, method: str, inside: bool) -> None:
        self.portal.faults.add("command_error" if inside else "error", method=method, times=None, code=code)

    @rule()
    def the_portal_recovers(self) -> None:
        self.portal.faults.clear()

    @rule(
        mailbox=st.sampled_from(sorted(MAILBOXES)),
        turned=st.booleans(),
        step=st.sampled_from([0, 1, 1, -1]),
    )
    def the_mailbox_is_renumbered(self, mailbox: str, turned: bool, step: int) -> None:
        """UIDVALIDITY goes up or down, or stays while the numbers change (a backup was restored)."""
        box = self.boxes[mailbox]
        box.renumber(lambda mails: mails[::-1] if turned else mails, box.uidvalidity + step)

    @rule(minutes=st.sampled_from([-10, 0, 10]))
    def the_portals_clock_is_set(self, minutes: int) -> None:
        self.clock_is_off = timedelta(minutes=minutes)

    @precondition(lambda self: self.in_portal)
    @rule(data=st.data())
    def an_activity_is_deleted(self, data: st.DataObject) -> None:
        copy = self.in_portal[data.draw(st.sampled_from(range(len(self.in_portal))))]
        assert copy.activity
        self.portal.crm.delete_activity(copy.activity)
        copy.is_deleted = True

    @precondition(lambda self: len(self.copies) > 1 and not self.deals_gone)
    @rule(number=st.sampled_from([1, 5]))
    def a_deal_is_deleted(self, number: int) -> None:
        """What is bound to it stays so (rest.md 8.1); nothing is to be bound to it any more."""
        self.portal.crm.delete(DEAL, number)
        self.deals_gone[number] = self.bound_to(number)

    @precondition(lambda self: self.in_portal)
    @rule(data=st.data(), chosen=st.sampled_from(CHOSEN_BY_PEOPLE))
    def a_person_moves_by_hand(self, data: st.DataObject, chosen: int) -> None:
        choice = self.under_way or self.in_portal
        copy = choice[data.draw(st.sampled_from(range(len(choice))))]
        seen = self.was_seen(copy)
        before = self.bound(copy)
        kept = [(each.type_id, each.entity_id) for each in before if not (each.is_deal or each.is_lead)]
        assert copy.activity
        if chosen in self.deals_gone:
            return
        self.portal.crm.bind_by_hand(copy.activity, *kept, (DEAL, chosen))
        if self.bound(copy) == before:
            return
        if not seen:
            # What nobody had seen before looks like Bitrix24's own work.
            copy.bound_by_portal = self.bound(copy)
        if seen or copy.wanted:
            # Which of two wishes came last is not known before the first is carried out.
            earlier = copy.wanted if not seen or self.answer_is_open(copy) else []
            copy.wanted = [*earlier, frozenset({chosen})]

    @precondition(lambda self: self.on_record)
    @rule(data=st.data(), chosen=st.sampled_from([*CHOSEN_BY_PEOPLE, None]))
    def a_person_answers(self, data: st.DataObject, chosen: int | None) -> None:
        """`queue assign`: for the mail, so for its copies, too."""
        message = self.on_record[data.draw(st.sampled_from(range(len(self.on_record))))]
        if message.same_as or message.state is State.UNREADABLE:
            return
        with self.eye.transaction():
            self.eye.answers.give(message.id, deal(chosen) if chosen else None, datetime.now(UTC))
        for copy in self.copies_of(message.envelope.message_id):
            if chosen:
                copy.wanted = [frozenset({chosen})]
            elif copy.activity:
                copy.wanted = [*copy.wanted, frozenset(self.deals(copy))]
            else:
                copy.wanted = []  # it stays where Bitrix24 will put it

    # ── what is known ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def in_portal(self) -> list[Copy]:
        """What lies there now."""
        return [copy for copy in self.copies if copy.activity is not None and not copy.is_deleted]

    @property
    def under_way(self) -> list[Copy]:
        """What the service has seen, and not brought to an end."""
        paired = (each for found in self.on_record for each in self.eye.activities.of_message(found.id))
        numbers = {each.activity.id for each in paired if each.first_bindings and each.next_attempt_at}
        return [copy for copy in self.in_portal if copy.activity in numbers]

    @property
    def on_record(self) -> list[StoredMessage]:
        return self.eye.messages.in_states(*State)

    def copies_of(self, name: str, mailbox: str = "") -> list[Copy]:
        return [copy for copy in self.copies if copy.mail.name == name and mailbox in ("", copy.mailbox)]

    def answer_is_open(self, copy: Copy) -> bool:
        """Whether an answer was given that is perhaps not carried out yet."""
        mine = [message for message in self.on_record if message.envelope.message_id == copy.mail.name]
        given = {answer.message_id for answer in self.eye.answers.open()}
        under_way = any(message.person_target and message.state is not State.SETTLED for message in mine)
        return under_way or not given.isdisjoint(message.id for message in mine)

    def bound(self, copy: Copy) -> tuple[Binding, ...]:
        """What its activity is bound to; nothing, where that was deleted."""
        assert copy.activity
        if copy.is_deleted:
            return ()
        return tuple(Binding(*pair) for pair in self.portal.crm.bindings(copy.activity))

    def deals(self, copy: Copy) -> list[int]:
        return [binding.entity_id for binding in self.bound(copy) if binding.is_deal]

    def bound_to(self, number: int) -> set[int]:
        return {copy.activity for copy in self.in_portal if copy.activity and number in self.deals(copy)}

    def was_seen(self, copy: Copy) -> bool:
        """Whether the service has read what Bitrix24 had bound."""
        known = [
            paired
            for message in self.on_record
            for paired in self.eye.activities.of_message(message.id)
            if paired.activity.id == copy.activity
        ]
        return any(paired.first_bindings is not None for paired in known)

    # ── the laws ──────────────────────────────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        try:
            if self.copies:
                self.come_to_rest()
                self.check()
        finally:
            self.patch.undo()
            self.stack.close()
            self.client.close()
            self.portal.stop()
            logging.getLogger("imaprouter").setLevel(logging.NOTSET)
            shutil.rmtree(self.folder)

    def come_to_rest(self) -> None:
        """Everything heals, Bitrix24 imports what is left, and the service goes on until nothing changes."""
        self.portal.faults.clear()
        self.restart()
        self.bitrix24_imports(len(self.copies))
        before: object = None
        for _ in range(ENOUGH):
            self.read()
            self.bind()
            now = [(message.state, message.target, message.note) for message in self.on_record]
            now += [(copy.activity, self.bound(copy)) for copy in self.copies]  # type: ignore[misc]
            now.append(len(self.portal.writes))  # type: ignore[arg-type]
            if now == before:
                return
            before = now
        raise AssertionError("it does not come to rest")

    def check(self) -> None:
        messages = self.on_record
        assert len(messages) == len(self.copies), "a message was lost, or decided twice"
        by_place = {(message.mailbox, message.uid): message for message in messages}
        assert len(by_place) == len(messages)
        for mailbox, box in self.boxes.items():
            for uid, mail in box.mails.items():
                message = by_place[mailbox, uid]
                (copy,) = self.copies_of(mail.name, mailbox)
                assert message.envelope.message_id == mail.name
                paired = self.eye.activities.of_message(message.id)
                self.check_copy(copy, message, [each.activity.id for each in paired])
        self.check_notices()

    def check_copy(self, copy: Copy, message: StoredMessage, activities: list[int]) -> None:
        told = f"{message.id} ({copy.mail.name} in {copy.mailbox}): {message.decision.reason}"
        told += f"; {message.state}, {message.result}, {message.note}; bound {self.bound(copy)}"
        told += f", at first {copy.bound_by_portal}, people wanted {copy.wanted}"
        event(f"{message.state} {message.result or '-'}")
        # What a person left, or what is ignored, needs no activity when that comes later; nor is one that
        # was deleted before it was seen.
        done_with = (message.state is State.SETTLED and message.target is None) or copy.is_deleted
        assert activities == [copy.activity] or (done_with and not activities), f"wrong activity: {told}"
        if copy.is_deleted:
            assert message.state is not State.PAIRED, f"what is gone is still worked on: {told}"
            return
        deals = frozenset(self.deals(copy))
        for gone, before in self.deals_gone.items():
            assert gone not in deals or copy.activity in before, f"it was bound to a deleted deal: {told}"
        if self.is_about_deleted(copy, message):
            assert message.state is not State.PAIRED, f"it is not done with: {told}"
            return
        if copy.wanted:
            assert deals in copy.wanted, f"a person's choice was undone: {told}"
            return
        target: Target | None = message.target
        if target is None or target != message.decision.target:
            wanted = [binding.entity_id for binding in copy.bound_by_portal if binding.is_deal]
            if len(self.copies_of(copy.mail.name)) == 1:
                assert deals == frozenset(wanted), f"it was moved, though nobody wanted it: {told}"
        elif target.binding.is_deal:
            assert deals == {target.id}, f"it is not where it belongs: {told}"
            assert message.state is State.SETTLED, f"it is not settled: {told}"
        if deals == frozenset(b.entity_id for b in copy.bound_by_portal if b.is_deal):
            copies = self.copies_of(copy.mail.name)
            if len(copies) == 1:
                assert not self.written(copy), f"something was written where nothing was wrong: {told}"

    def is_about_deleted(self, copy: Copy, message: StoredMessage) -> bool:
        """Whether a deleted deal has to do with it: then a person decides, or has decided."""
        deals = {*self.deals(copy), *(each.entity_id for each in copy.bound_by_portal if each.is_deal)}
        deals |= {number for wanted in copy.wanted for number in wanted}
        deals |= {target.id for target in (message.target, message.decision.target) if target}
        return not deals.isdisjoint(self.deals_gone)

    def written(self, copy: Copy) -> list[str]:
        """The calls that changed this activity."""
        ours = [
            write
            for write in self.portal.writes
            if str(copy.activity) in (str(write.params.get("activityId")), str(write.params.get("id")))
        ]
        return [write.method for write in ours if write.method.startswith("crm.activity.")]

    def check_notices(self) -> None:
        """A notification is claimed before it is sent: of each claim one comes, and none where it got lost.

        Copies in two mailboxes are two messages, each with an activity and a claim of its own.
        """
        for name in {copy.mail.name for copy in self.copies}:
            subject = f"{name.partition('@')[0].replace('-', '')}x”"
            told = Counter(
                notice.user_id
                for notice in self.portal.notifications
                if notice.kind == "system" and subject in notice.message
            )
            messages = [found for found in self.on_record if found.envelope.message_id == name]
            claims = [claim for message in messages for claim in self.eye.traces.notices(message.id).items()]
            for user in {*told, *(user for user, _ in claims)}:
                states = [state for claimant, state in claims if claimant == user]
                sure = states.count("sent")
                perhaps = sure + states.count("unknown") + states.count("sending")
                assert told[user] <= perhaps, f"user {user} was told {told[user]} times of {name}: {claims}"
                assert told[user] >= sure, f"user {user} was told {told[user]} times of {name}: {claims}"
                assert user in self.responsibles.values()
            for message in messages:
                if message.result is Result.MOVED and message.target and message.target.binding.is_deal:
                    responsible = self.responsibles[message.target.id]
                    claimed = self.eye.traces.notices(message.id)
                    assert responsible in claimed, f"nobody tried to tell user {responsible} of {name}"


EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "25"))

TestOffice = pytest.mark.timeout(600 + 10 * EXAMPLES)(Office.TestCase)
TestOffice.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=int(os.environ.get("MACHINE_STEPS", "25")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
