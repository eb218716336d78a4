"""A rehearsal over past mail, in a journal of its own beside the real one. Nothing else is written."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from imaprouter import plan
from imaprouter.arrival import WatchedFolder
from imaprouter.bitrix24.portal import Portal
from imaprouter.config import Settings
from imaprouter.errors import StoreBusy
from imaprouter.lookup import answer_questions
from imaprouter.model import Binding, Decision, Result, State
from imaprouter.past.judging import Judgement, Truth, judged
from imaprouter.past.looking import Looker, is_by_hand
from imaprouter.past.reading import Lane, Reader
from imaprouter.past.rebuilt import rebuild
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import N_
from imaprouter.service import portal_names, watched_folders
from imaprouter.store.activities import PairedActivity
from imaprouter.store.database import to_text
from imaprouter.store.index import index_path
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge
from imaprouter.store.lock import exclusive
from imaprouter.store.messages import StoredMessage
from imaprouter.store.past import History

#: Told what is done, how much of it, and of how much.
Progress = Callable[[str, int, int], None]

READING, LOOKING, BINDING = N_("reading mail"), N_("looking into Bitrix24"), N_("binding")

_FINGERPRINT, _COMPLETE = "evaluation.fingerprint", "evaluation.complete"
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Judged:
    """One letter with what would become of it."""

    message: StoredMessage
    activity: PairedActivity | None
    judgement: Judgement
    #: What another configuration decides of it.
    against: Decision | None = None

    @property
    def bound(self) -> tuple[Binding, ...] | None:
        return self.activity.last_bindings if self.activity else None

    @property
    def differs(self) -> bool:
        """Whether the other configuration decides otherwise."""
        own, other = self.message.decision, self.against
        return other is not None and (own.outcome, own.target, own.review) != (
            other.outcome,
            other.target,
            other.review,
        )


def scratch_path(journal: Path, *, against: bool = False) -> Path:
    """The journal of a rehearsal: imaprouter.db has imaprouter-evaluation.db."""
    return journal.with_name(f"{journal.stem}-evaluation{'-against' if against else ''}.db")


class Evaluation:
    """Decides letters of the past and compares. Only its own journal is written."""

    def __init__(
        self,
        settings: Settings,
        *,
        since: datetime | None,
        stop: threading.Event,
        rate_share: float,
        from_portal: bool = False,
        against: RoutingPolicy | None = None,
        anew: bool = False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`against`: another policy, by which all is decided, too. `tell` is told what a person should know.

        Raises ConfigError when portal or mailboxes are not configured.
        """
        self._settings = settings
        self._since = since
        self._stop = stop
        self._from_portal = from_portal
        self._against = against
        self._anew = anew
        self._tell = tell
        self._folders = list(watched_folders(settings.require_mailboxes(), settings))
        self._emails = {mailbox.name: portal_names(mailbox) for mailbox in settings.require_mailboxes()}
        self._portal = Portal.configured(settings.require_portal(), stop=stop, share=rate_share)

    def run(self, progress: Progress) -> Iterator[Judged]:
        """Do what is left to do, then give every letter, oldest first.

        Raises StoreBusy, MailboxError and PortalError; what was done until then is kept.
        """
        path = self._settings.store.path
        with ExitStack() as stack:
            stack.enter_context(_alone(scratch_path(path)))
            stack.enter_context(closing(self._portal))
            self._make_room()
            lanes = [stack.enter_context(self._lane(self._settings.routing))]
            if self._against is not None:
                lanes.append(stack.enter_context(self._lane(self._against, against=True)))
            self._go_on(lanes, progress)
            if not self._stop.is_set():
                yield from self._judged(lanes)
            if not self._stop.is_set():
                lanes[0].journal.facts.set(_COMPLETE, str(to_text(datetime.now(UTC))))

    def _make_room(self) -> None:
        """Begin anew where the configuration is another one, or nothing is left to do."""
        path = scratch_path(self._settings.store.path)
        if not path.exists() or (not self._anew and self._goes_on(path)):
            return
        for each in (path, scratch_path(self._settings.store.path, against=True)):
            for suffix in ("", "-wal", "-shm"):
                each.with_name(each.name + suffix).unlink(missing_ok=True)

    def _goes_on(self, path: Path) -> bool:
        """Whether what is on record is the beginning of what was asked for."""
        with closing(Journal(path)) as journal:
            known, complete = journal.facts.get(_FINGERPRINT), journal.facts.get(_COMPLETE)
        if known != self._fingerprint():
            self._tell("the configuration, or what was asked for, is another one: the evaluation begins anew")
        elif complete:
            self._tell(f"the evaluation of {complete[:16]} is complete: it is made anew")
        else:
            self._tell("the evaluation goes on where it stopped; --anew begins anew")
            return True
        return False

    def _fingerprint(self) -> str:
        """What the decisions on record were made by."""
        said = {
            "routing": asdict(self._settings.routing),
            "against": asdict(self._against) if self._against else None,
            "folders": [asdict(replace(folder, policy=RoutingPolicy())) for _, folder in self._folders],
            "replace": self._settings.binding.replace,
            "since": self._since,
            "from_portal": self._from_portal,
        }
        text = json.dumps(said, sort_keys=True, default=_plain)
        return hashlib.sha256(text.encode()).hexdigest()

    @contextmanager
    def _lane(self, policy: RoutingPolicy, *, against: bool = False) -> Iterator[Lane]:
        path = self._settings.store.path
        with closing(Journal(scratch_path(path, against=against))) as journal:
            journal.facts.set(_FINGERPRINT, self._fingerprint())
            with closing(Knowledge(index_path(path), journal.messages)) as knowledge:
                yield Lane(journal, knowledge, policy)

    def _go_on(self, lanes: Sequence[Lane], progress: Progress) -> None:
        def decide_again() -> None:
            for lane in lanes:
                self._decide_again(lane)

        reader = Reader(
            self._folders,
            lanes,
            self._since,
            self._stop,
            header_bytes=self._settings.limits.header_bytes,
            decided=decide_again,
        )
        reader.read(lambda done, total: progress(READING, done, total))
        looker = Looker(
            self._portal,
            lanes[0].journal,
            self._settings.binding,
            self._emails,
            self._stop,
            histories=self._histories,
        )
        looker.look(lambda done, total: progress(LOOKING, done, total))
        if self._from_portal and not self._stop.is_set():
            self._rebuild(lanes)
            looker.note_bindings()
        if self._stop.is_set():
            return
        looker.learn()
        lanes[0].journal.past.follow_people()
        for lane in lanes[1:]:
            # It decides and no more: activities are looked for once.
            _copy_choices(lanes[0].journal, lane.journal)
            lane.journal.past.follow_people(all_letters=True)
        decide_again()

    def _rebuild(self, lanes: Sequence[Lane]) -> None:
        watched = [folder for _, folder in self._folders]
        count = rebuild(self._portal, lanes, watched, self._emails, self._since)
        self._tell(
            f"{count} letters that no mailbox holds are rebuilt from their activities; which letters they"
            " answer is not known"
        )

    def _decide_again(self, lane: Lane) -> None:
        """What a later copy or a person's choice changes, with the index as it is."""
        watched = {(folder.mailbox, folder.name): lane.watched(folder) for _, folder in self._folders}

        def of(mailbox: str, folder: str) -> WatchedFolder | None:
            return watched.get((mailbox, folder))

        now = datetime.now(UTC)
        while answer_questions(self._portal, lane.journal, lane.knowledge, of, now, ask=False):
            continue

    def _histories(self, activity_ids: Sequence[int]) -> dict[int, History]:
        """What the service knows of these activities."""
        path = self._settings.store.path
        if not path.exists():
            return {}
        with closing(Journal(path, readonly=True)) as journal:
            return journal.past.history(activity_ids)

    def _judged(self, lanes: Sequence[Lane]) -> Iterator[Judged]:
        journal = lanes[0].journal
        letters = journal.past.each(None)
        while not self._stop.is_set() and (page := list(islice(letters, _PAGE))):
            known = {message.id: journal.activities.of_message(message.id) for message in page}
            numbers = [paired.activity.id for found in known.values() for paired in found]
            histories = self._histories(numbers)
            for message in page:
                if message.state is not State.UNREADABLE:
                    other = _decision_in(lanes[1].journal, message) if len(lanes) > 1 else None
                    yield judged_letter(message, known[message.id], histories, against=other)


def judged_letter(
    message: StoredMessage,
    known: Sequence[PairedActivity],
    histories: dict[int, History],
    *,
    against: Decision | None = None,
) -> Judged:
    """The letter with the first of its activities that would be moved, else the first."""
    target = message.decision.target
    readable = [paired for paired in known if paired.last_bindings is not None]
    moved = [
        paired
        for paired in readable
        if target and plan.steps(target, paired.last_bindings or (), paired.unwanted_leads)
    ]
    paired = next(iter([*moved, *readable, *known]), None)
    if paired is None:
        return Judged(message, None, judged(message.decision, None), against)
    history = histories.get(paired.activity.id)
    judgement = judged(
        message.decision,
        paired.last_bindings,
        paired.unwanted_leads,
        by_hand=message.result is Result.PERSON,
        truth=_truth(paired, history),
    )
    return Judged(message, paired, judgement, against)


def _truth(paired: PairedActivity, history: History | None) -> Truth | None:
    """What people chose: told to us, or seen in the order of the bindings."""
    if history and history.by_person:
        source: Literal["answered", "overruled"] = "answered" if history.asked else "overruled"
        return Truth(history.chosen, source) if history.chosen else None
    bound = paired.last_bindings or ()
    if is_by_hand(bound, paired.activity.originator_id, history):
        chosen = plan.corrected_to(bound)
        return Truth(chosen, "order") if chosen else None
    return None


def _decision_in(journal: Journal, message: StoredMessage) -> Decision | None:
    found = _same(journal, message)
    return found.decision if found else None


def _same(journal: Journal, message: StoredMessage) -> StoredMessage | None:
    """The same letter in another rehearsal's journal."""
    folder = journal.folders.get(message.mailbox, message.folder)
    number = journal.past.with_uid(folder, message.uid) if folder else None
    return journal.messages.get(number) if number else None


def _plain(value: object) -> object:
    """A set has no order, and must have the same text in every process."""
    return sorted(value) if isinstance(value, frozenset) else str(value)


def _copy_choices(source: Journal, target: Journal) -> None:
    """What people chose is the same in both."""
    now = datetime.now(UTC)
    for message in source.past.each(None):
        if message.result is Result.PERSON and (same := _same(target, message)):
            target.messages.set_state(
                same.id, message.state, now, result=message.result, person_target=message.person_target
            )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(path))
        except StoreBusy as error:
            raise StoreBusy("another evaluation runs on this journal", advice="let it end first") from error
        yield
