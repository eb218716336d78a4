"""What imaprouter changed is put back: bindings, responsible and stamp, where nobody changed them since.

judge ─► on record, message settled ─► one step of each activity, read back ─► … ─► fields ─► finished

What was begun is on record with its goal: whatever dies in between, the same command goes on with it. Its own
writes are in the audit like all others. Nobody is notified.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from imaprouter import plan
from imaprouter.audit import UNDO, Exchange, Fate, Kept, Kind, Reversal, Selection, Undone, left, reversal
from imaprouter.binder.orders import Order, Targets, command_for, send
from imaprouter.bitrix24 import writes
from imaprouter.bitrix24.activities import activities_by_id, bindings
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import PortalError, PortalRefused
from imaprouter.log import event
from imaprouter.model import Activity, Binding, EntityType, Result, State, Target
from imaprouter.store.activities import PairedActivity
from imaprouter.store.journal import Journal

logger = logging.getLogger(__name__)

# Activities taken up together; their commands are one batch.
ROUND = 50
_WHY = "a person takes it back"


@dataclass(frozen=True, slots=True)
class _Job:
    id: int
    #: None: the activity is no message's.
    message_id: int | None
    reversal: Reversal
    #: Begun by an earlier undo that was broken off.
    begun: bool
    bound: tuple[Binding, ...] = ()
    fields: tuple[Exchange, ...] = ()

    @property
    def steps(self) -> list[plan.Step]:
        return plan.back(self.bound, self.reversal.goal)

    def ends(self, fate: Fate, kept: Kept | None = None, detail: str = "") -> Undone:
        goal = self.reversal.goal
        return Undone(self.message_id, self.id, fate, self.bound, goal, self.fields, kept, detail)


class Undo:
    """One undo. The caller holds the journal's lock unless it rehearses."""

    def __init__(self, portal: Portal, journal: Journal, selection: Selection) -> None:
        self._portal = portal
        self._journal = journal
        self._selection = selection
        #: The activities that there is something to say of.
        self.activity_ids = journal.traces.changed(selection)

    def run(self, *, rehearse: bool = False) -> Iterator[list[Undone]]:
        """Put back what was selected, round by round; yields what became of each round's activities.

        `rehearse` reads and writes nothing. Raises PortalError for temporary trouble: what was begun is gone
        on with by the next undo that selects it.
        """
        for start in range(0, len(self.activity_ids), ROUND):
            yield list(self._round(self.activity_ids[start : start + ROUND], rehearse=rehearse))

    def _round(self, activity_ids: Sequence[int], *, rehearse: bool) -> Iterator[Undone]:
        jobs: list[_Job] = []
        for number in activity_ids:
            found = self._judge(number)
            if isinstance(found, Undone):
                yield found
            elif found:
                jobs.append(found)
        ready: list[_Job] = []
        for each in self._read(jobs):
            if isinstance(each, _Job):
                ready.append(each)
                continue
            job, said = each
            if job.begun and said.kept is not Kept.REFUSED and not rehearse:
                self._leave_to_person(job)
            yield said
        ready = self._with_fields(ready)
        if rehearse:
            yield from (job.ends(Fate.WOULD) for job in ready)
        else:
            yield from self._put_back(ready)

    # ── judging ───────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, activity_id: int) -> _Job | Undone | None:
        """What is to be done for this activity; None: nothing, and nothing is to be said."""
        paired = self._journal.activities.get(activity_id)
        message_id = paired.message_id if paired else None
        begun = self._journal.undos.unfinished(activity_id)
        if begun:
            return _Job(activity_id, message_id, begun, begun=True)
        written = self._journal.traces.of_activity(activity_id)
        last = _left(paired) if paired else left(written)
        found = reversal(written, self._selection, last=last)
        if isinstance(found, Reversal):
            return _Job(activity_id, message_id, found, begun=False)
        if found is Kept.NOTHING:
            return None
        shown = paired.last_bindings if paired else last
        return Undone(message_id, activity_id, Fate.KEPT, shown or (), kept=found)

    def _read(self, jobs: Sequence[_Job]) -> Iterator[_Job | tuple[_Job, Undone]]:
        """The jobs with what is bound now; with what is to be said of those that stay as they are."""
        answers = bindings(self._portal, [job.id for job in jobs]) if jobs else {}
        found: list[_Job] = []
        for job in jobs:
            answer = answers[job.id]
            if not isinstance(answer, PortalError):
                bound = replace(job, bound=answer)
                if self._is_ours(bound):
                    found.append(bound)
                else:
                    yield bound, bound.ends(Fate.KEPT, Kept.CHANGED)
            elif answer.temporary:
                raise answer
            elif isinstance(answer, PortalRefused) and answer.code == "not_found":
                yield job, job.ends(Fate.KEPT, Kept.GONE)
            else:
                yield job, job.ends(Fate.FAILED, Kept.REFUSED, str(answer))
        targets = Targets(self._portal, {target for job in found for target in _wanted(job)}, {})
        for job in found:
            unknown = [target for target in _wanted(job) if targets.error(target)]
            gone = [target for target in _wanted(job) if target not in unknown and not targets.exists(target)]
            if unknown:
                yield job, job.ends(Fate.FAILED, Kept.REFUSED, str(targets.error(unknown[0])))
            elif gone:
                # An administrator's webhook could bind to it all the same (rest.md trap 3).
                yield job, job.ends(Fate.KEPT, Kept.TARGET_GONE, str(gone[0]))
            else:
                yield job

    def _is_ours(self, job: _Job) -> bool:
        """Whether nobody has changed the bindings since; who put them back himself has, too."""
        if job.begun:
            return job.reversal.is_ours(job.bound)
        return job.reversal.is_ours(job.bound) and not job.reversal.is_there(job.bound)

    def _with_fields(self, jobs: Sequence[_Job]) -> list[_Job]:
        """The jobs with the fields that are still as we left them."""
        touched = [job.id for job in jobs if job.reversal.fields]
        shown = activities_by_id(self._portal, touched) if touched else {}
        return [replace(job, fields=_still_ours(job.reversal.fields, shown.get(job.id))) for job in jobs]

    # ── putting back ──────────────────────────────────────────────────────────────────────────────────

    def _put_back(self, jobs: Sequence[_Job]) -> Iterator[Undone]:
        jobs = [job if job.begun else replace(job, reversal=job.reversal.begun_at(job.bound)) for job in jobs]
        self._begin(jobs)
        right: list[_Job] = []
        while jobs:
            right += [job for job in jobs if not job.steps]
            jobs = [job for job in jobs if job.steps]
            failures = self._send([_order(job, job.steps[0]) for job in jobs])
            moved: list[_Job] = []
            for each, bound in self._again(jobs):
                if isinstance(bound, PortalError):
                    yield each.ends(Fate.FAILED, Kept.REFUSED, str(bound))
                elif bound is None or not each.reversal.is_ours(bound):
                    touched = each if bound is None else replace(each, bound=bound)
                    self._leave_to_person(touched)
                    yield touched.ends(Fate.KEPT, Kept.GONE if bound is None else Kept.CHANGED)
                elif each.id in failures and frozenset(bound) == frozenset(each.bound):
                    self._give_up(each)
                    yield each.ends(Fate.FAILED, Kept.REFUSED, str(failures[each.id]))
                elif frozenset(bound) == frozenset(each.bound):
                    self._give_up(each)
                    yield each.ends(Fate.FAILED, Kept.REFUSED, "the portal says yes and does nothing")
                else:
                    moved.append(replace(each, bound=bound))
            jobs = moved
        yield from self._finish(right)

    def _begin(self, jobs: Sequence[_Job]) -> None:
        """From here on it is undone, whatever happens: nothing is due, and the thread inherits nothing."""
        now = datetime.now(UTC)
        with self._journal.transaction():
            for job in jobs:
                if not job.begun:
                    self._journal.undos.begin(job.id, job.message_id, job.reversal, now)
                if job.message_id is None:
                    continue
                self._journal.activities.take_back(job.id)
                if not job.reversal.of_message:
                    # A transfer alone: what was decided of the letter stands.
                    continue
                message = self._journal.messages.get(job.message_id)
                if message and message.result is Result.PERSON and message.person_target:
                    # Of another activity of this mail.
                    continue
                self._journal.messages.set_state(
                    job.message_id,
                    State.SETTLED,
                    now,
                    result=Result.UNDONE,
                    note=f"undone: back to {_named(job.reversal.goal)}",
                )

    def _again(self, jobs: Sequence[_Job]) -> Iterator[tuple[_Job, tuple[Binding, ...] | PortalError | None]]:
        """What is bound after the write; None: the activity is gone; or why that may not be read.

        Raises PortalError for temporary trouble.
        """
        answers = bindings(self._portal, [job.id for job in jobs]) if jobs else {}
        for job in jobs:
            answer = answers[job.id]
            if isinstance(answer, PortalRefused) and answer.code == "not_found":
                yield job, None
            elif isinstance(answer, PortalError) and answer.temporary:
                raise answer
            else:
                yield job, answer

    def _finish(self, jobs: Sequence[_Job]) -> Iterator[Undone]:
        orders = [_field_order(job, field) for job in jobs for field in job.fields]
        failures = self._send(orders)
        now = datetime.now(UTC)
        with self._journal.transaction():
            for job in jobs:
                self._settle(job, now)
                if job.id not in failures:
                    self._journal.undos.finish(job.id, now)
        for job in jobs:
            event(
                logger,
                logging.INFO,
                "message.undone",
                id=job.message_id,
                activity=job.id,
                bound=_named(job.bound),
            )
            failed = failures.get(job.id)
            yield job.ends(Fate.FAILED, Kept.REFUSED, str(failed)) if failed else job.ends(Fate.UNDONE)

    def _send(self, orders: Sequence[Order]) -> dict[int, PortalError]:
        """The refusals by activity. Raises the first temporary error: reading back would fail as well."""
        failures: dict[int, PortalError] = {}
        for order, error in zip(orders, send(self._portal, self._journal, orders), strict=True):
            if error is None or writes.already_so(order.command, error):
                continue
            if error.temporary:
                raise error
            failures.setdefault(order.activity_id, error)
        return failures

    def _give_up(self, job: _Job) -> None:
        """For now: it stays begun, and a person's change is seen."""
        with self._journal.transaction():
            self._settle(job, datetime.now(UTC))

    def _settle(self, job: _Job, now: datetime) -> None:
        if job.message_id is not None:
            self._journal.activities.settle(job.id, job.bound, now)

    def _leave_to_person(self, job: _Job) -> None:
        """Somebody acted while it was being undone: what he chose stays."""
        now = datetime.now(UTC)
        with self._journal.transaction():
            self._journal.undos.finish(job.id, now)
            if job.message_id is None:
                return
            self._journal.activities.settle(job.id, job.bound, now)
            self._journal.messages.set_state(
                job.message_id,
                State.SETTLED,
                now,
                result=Result.PERSON,
                note=plan.told_of_person(job.bound),
                person_target=plan.chosen_by_person(job.bound),
            )


def _left(paired: PairedActivity) -> tuple[Binding, ...] | None:
    """The bindings as they were left; None while that is not known."""
    return paired.last_bindings if paired.settled_at else None


def _wanted(job: _Job) -> list[Target]:
    """What the activity is to be bound to again, of the kinds that can be looked up."""
    missing = [binding for binding in job.reversal.goal if binding not in job.bound]
    kinds = [(EntityType.from_type_id(binding.type_id), binding.entity_id) for binding in missing]
    return [Target(kind, number) for kind, number in kinds if kind]


def _still_ours(fields: Sequence[Exchange], shown: Activity | None) -> tuple[Exchange, ...]:
    return tuple(field for field in fields if shown and getattr(shown, field.name) == field.ours)


def _order(job: _Job, step: plan.Step) -> Order:
    return Order(
        job.message_id or 0,
        job.id,
        str(step),
        command_for(job.id, step),
        Kind.BINDINGS,
        before=job.bound,
        after=plan.after(step, job.bound),
        rule=UNDO,
        why=_WHY,
    )


def _field_order(job: _Job, field: Exchange) -> Order:
    kind = Kind.RESPONSIBLE if field.name == "responsible_id" else Kind.STAMP
    name = (
        f"responsible becomes user {field.before} again"
        if kind is Kind.RESPONSIBLE
        else f"{field.name} as before"
    )
    return Order(
        job.message_id or 0,
        job.id,
        name,
        writes.put_back(job.id, field.name, field.before),
        kind,
        before={field.name: field.ours},
        after={field.name: field.before},
        rule=UNDO,
        why=_WHY,
    )


def _named(some: Sequence[Binding]) -> str:
    return ", ".join(map(str, some)) or "nothing that is visible"
