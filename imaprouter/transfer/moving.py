"""Some activities are moved: their bindings read, changed portion by portion, and read back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from imaprouter import plan, timelines
from imaprouter.audit import TRANSFER
from imaprouter.binder.orders import Order, Targets, command_for, is_barred, send
from imaprouter.bitrix24 import writes
from imaprouter.bitrix24.activities import bindings
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import PortalDenied, PortalError, PortalRefused
from imaprouter.log import event
from imaprouter.model import Binding, EntityType, State, Target
from imaprouter.store.activities import PairedActivity
from imaprouter.store.journal import Journal
from imaprouter.timelines import Fate, Moved, News, Way

logger = logging.getLogger(__name__)

#: Activities that are moved together: their commands are one batch.
ROUND = 50


@dataclass(frozen=True, slots=True)
class _Job:
    id: int
    ways: tuple[Way, ...]
    paired: PairedActivity | None
    keep: bool
    found: tuple[Binding, ...] = ()
    bound: tuple[Binding, ...] = ()

    @property
    def steps(self) -> list[plan.Step]:
        return timelines.steps(self.ways, self.bound, keep=self.keep)

    def ends(self, fate: Fate, error: PortalError | None = None) -> Moved:
        denied = isinstance(error, PortalDenied)
        return Moved(
            self.id, self.ways, fate, self.found, self.bound, str(error) if error else "", denied=denied
        )


class Mover:
    """Moves activities. Only one process may: the caller holds the journal's lock unless it rehearses."""

    def __init__(
        self,
        portal: Portal,
        journal: Journal,
        *,
        mailbox_emails: frozenset[str],
        wait: timedelta,
        rehearse: bool = False,
    ) -> None:
        """`mailbox_emails`: of the mailboxes that are watched; `wait`: so long routing waits for a letter."""
        self._portal = portal
        self._journal = journal
        self._mailbox_emails = mailbox_emails
        self._wait = wait
        self._rehearse = rehearse

    def move(self, wanted: Mapping[News, Sequence[Way]], *, keep: bool) -> Iterator[Moved]:
        """Move what is wanted, at most ROUND activities; yields what became of each.

        Raises PortalError for temporary trouble and when the webhook as a whole is refused.
        """
        jobs: list[_Job] = []
        for news, ways in wanted.items():
            job = _Job(news.id, tuple(dict.fromkeys(ways)), self._journal.activities.get(news.id), keep)
            if self.waits_for_routing(news, datetime.now(UTC)):
                yield replace(job, ways=()).ends(Fate.WAITS)
            else:
                jobs.append(job)
        ready: list[_Job] = []
        for job, answer in self._read(jobs):
            if isinstance(answer, PortalError):
                yield replace(job, ways=()).ends(_fate(answer), answer)
                continue
            ways = tuple(way for way in job.ways if way[0] in answer)
            job = replace(job, ways=ways, found=answer, bound=answer)
            if not job.steps:
                if job.paired and job.paired.settled_at is None:
                    # Broken off behind the last write.
                    self._settle(job)
                yield job.ends(Fate.RIGHT)
            elif self._rehearse:
                yield job.ends(Fate.WOULD)
            else:
                ready.append(job)
        if ready:
            yield from self._change(ready)

    def waits_for_routing(self, news: News, now: datetime) -> bool:
        """Whether routing, an answer of a person or an undo has something to do with it first."""
        if self._journal.undos.unfinished(news.id):
            return True
        paired = self._journal.activities.get(news.id)
        if paired:
            message = self._journal.messages.get(paired.message_id)
            return paired.next_attempt_at is not None or not message or message.state is not State.SETTLED
        if not news.is_email or news.mailbox_email not in self._mailbox_emails:
            return False
        return news.created_at is None or news.created_at > now - self._wait

    # ── changing ──────────────────────────────────────────────────────────────────────────────────────

    def _change(self, jobs: list[_Job]) -> Iterator[Moved]:
        with self._journal.transaction():
            for job in jobs:
                # What is bound on the way is nobody's choice, should this be broken off.
                if job.paired:
                    self._journal.activities.take_back(job.id)
        while jobs:
            expected = {job.id: _after(job) for job in jobs}
            failures = self._send(jobs)
            again: list[_Job] = []
            for job, answer in self._read(jobs):
                if isinstance(answer, PortalError):
                    yield job.ends(_fate(answer), answer)
                    continue
                before, job = job, replace(job, bound=answer)
                if not job.steps and frozenset(answer) == expected[job.id]:
                    self._settle(job)
                    yield job.ends(Fate.MOVED)
                elif frozenset(answer) == expected[job.id]:
                    again.append(job)
                elif frozenset(answer) == frozenset(before.bound):
                    self._settle(job)
                    error = failures.get(job.id) or PortalRefused("the portal says yes and does nothing")
                    yield job.ends(Fate.REFUSED, error)
                else:
                    # Somebody acted meanwhile: the people's part of the service learns what he chose.
                    self._settle(replace(job, bound=before.bound))
                    yield job.ends(Fate.CHANGED)
            jobs = again

    def _send(self, jobs: Sequence[_Job]) -> dict[int, PortalError]:
        """Send each job's next portion; the refusals by activity. Raises the first temporary error."""
        orders = [_order(job, step) for job in jobs for step in plan.portion(job.steps)]
        failures: dict[int, PortalError] = {}
        for order, error in zip(orders, send(self._portal, self._journal, orders), strict=True):
            if error is None or writes.already_so(order.command, error):
                continue
            if error.temporary or is_barred(error):
                raise error
            failures.setdefault(order.activity_id, error)
        return failures

    def _read(self, jobs: Sequence[_Job]) -> Iterator[tuple[_Job, tuple[Binding, ...] | PortalError]]:
        """What is bound now. Raises PortalError for temporary trouble."""
        answers = bindings(self._portal, [job.id for job in jobs]) if jobs else {}
        for job in jobs:
            answer = answers[job.id]
            if isinstance(answer, PortalError) and (answer.temporary or is_barred(answer)):
                raise answer
            yield job, answer

    def _settle(self, job: _Job) -> None:
        """What we left is ours: no hand of a person's."""
        if job.paired and not self._rehearse:
            self._journal.activities.settle(job.id, job.bound, datetime.now(UTC))


def existing(portal: Portal, wanted: Sequence[Binding]) -> frozenset[Binding]:
    """Those of these objects that exist: an administrator's webhook could bind to others (rest.md trap 3).

    Raises PortalError when that may not be read.
    """
    named = {
        Target(kind, each.entity_id) for each in wanted if (kind := EntityType.from_type_id(each.type_id))
    }
    known = Targets(portal, named, {})
    for target in named:
        if error := known.error(target):
            raise error
    return frozenset(target.binding for target in named if known.exists(target))


def told_of(moved: Moved) -> None:
    """One line of the log for an activity that was changed, or was to be."""
    level = logging.WARNING if moved.fate is Fate.REFUSED else logging.INFO
    where = ", ".join(f"{source} to {target}" for source, target in moved.ways)
    fields = {"error": moved.detail} if moved.detail else {}
    event(
        logger, level, f"activity.{moved.fate.name.lower()}", activity=moved.activity_id, ways=where, **fields
    )


def _after(job: _Job) -> frozenset[Binding]:
    """What the next portion leaves, if all of it is carried out."""
    bound = job.bound
    for step in plan.portion(job.steps):
        bound = plan.after(step, bound)
    return frozenset(bound)


def _order(job: _Job, step: plan.Step) -> Order:
    return Order(
        job.paired.message_id if job.paired else 0,
        job.id,
        str(step),
        command_for(job.id, step),
        before=job.bound,
        after=plan.after(step, job.bound),
        rule=TRANSFER,
        why="; ".join(f"transferred from {source} to {target}" for source, target in job.ways),
    )


def _fate(error: PortalError) -> Fate:
    gone = isinstance(error, PortalRefused) and error.code == "not_found"
    return Fate.GONE if gone else Fate.REFUSED
