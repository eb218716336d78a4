"""One attempt at every activity that is due, many of them in one batch.

due ─► next attempt's time ─► read bindings ─► course ─┬─ already right, a person was here ─► settled
                                                       ├─ change: step, read back ────────┐
                                                       └─ finish ◄────────────────────────┘
                                                            └─► stamp, responsible, notification ─► settled
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from gettext import NullTranslations

from imaprouter import plan
from imaprouter.audit import Fields, Kind
from imaprouter.binder.orders import (
    Job,
    Order,
    Targets,
    command_for,
    is_barred,
    order_for,
    origin_id,
    send,
    send_and_ask,
)
from imaprouter.bitrix24 import writes
from imaprouter.bitrix24.activities import (
    activities_by_id,
    activity_lists,
    bindings,
    bindings_beside,
    listed_activities,
)
from imaprouter.bitrix24.clients import automatic_leads, deal_lists, listed_deals
from imaprouter.bitrix24.commands import BATCH_SIZE
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import PortalError, PortalOutcomeUnknown, PortalRefused
from imaprouter.log import event
from imaprouter.model import Activity, Binding, Deal, EntityType, Result, State, Target
from imaprouter.notice import notice
from imaprouter.plan import Course
from imaprouter.policy import BindingPolicy
from imaprouter.reasons import ENGLISH
from imaprouter.store.journal import Journal

logger = logging.getLogger(__name__)

# Activities taken up in one attempt; their commands are split into batches of fifty.
ROUND = 100
# A plan has at most one step that adds or moves, then deletions.
PORTIONS = 3
# Waits after the first, second … attempt; the last one repeats.
RETRY_AFTER = tuple(timedelta(seconds=seconds) for seconds in (15, 30, 60, 120, 300))
# A right that is missing or a call that is refused needs a person; look again when he may have acted.
RETRY_REFUSED = timedelta(hours=1)


#: What each activity is bound to, or why that cannot be read.
Bound = Mapping[int, tuple[Binding, ...] | PortalError]
#: Is told which jobs are about to be judged.
Reconsider = Callable[[Sequence[Job]], None]


class Correction:
    def __init__(
        self,
        portal: Portal,
        journal: Journal,
        policy: BindingPolicy,
        *,
        language: NullTranslations = ENGLISH,
        reconsider: Reconsider = lambda jobs: None,
    ) -> None:
        """`reconsider` may decide the jobs' messages again, now that their bindings are known."""
        self._portal = portal
        self._journal = journal
        self._policy = policy
        self._language = language
        self._reconsider = reconsider

    def attempt(self, now: datetime) -> int:
        """One attempt at everything that is due; returns how many activities were taken up.

        Raises PortalError when targets cannot be looked up; the next attempt is scheduled by then.
        """
        taken_up = self._take_up(now)
        seen_right = [job for job in taken_up if self._is_seen_right(job, now)]
        for job in seen_right:
            self._settle(job, Result.ALREADY_RIGHT, now)
        jobs = [job for job in taken_up if job not in seen_right]
        if not jobs:
            return len(taken_up)
        found, deals = self._ask_first(jobs)
        jobs = self._with_first_bindings(self._readable(jobs, found, now))
        self._reconsider(jobs)
        jobs = [job for job in (self._as_decided_now(job, now) for job in jobs) if job]
        courses = {job.id: self._course(job) for job in jobs}
        for job in jobs:
            if courses[job.id] is Course.ALREADY_RIGHT:
                self._settle(job, Result.ALREADY_RIGHT, now)
            elif courses[job.id] is Course.PERSON:
                self._settle_person(job, now)
        change = [job for job in jobs if courses[job.id] is Course.CHANGE]
        finish = [job for job in jobs if courses[job.id] is Course.FINISH]
        targets = Targets(self._portal, {job.target for job in change + finish}, deals)
        change, finish = (
            [job for job in some if self._is_allowed(job, targets, now)] for some in (change, finish)
        )
        # What the poll of this round has shown need not be asked for; a move leaves the other fields alone.
        shown = {job.id: job.paired.activity for job in jobs if job.paired.first_seen_at == now}
        right = self._change(change, shown, now)
        self._finish(finish + right, targets, shown, now)
        return len(seen_right) + len(courses)

    # ── taking up ─────────────────────────────────────────────────────────────────────────────────────

    def _take_up(self, now: datetime) -> list[Job]:
        """What is due, with the time of its next attempt written first: a crash does not repeat at once."""
        jobs = []
        with self._journal.transaction():
            for paired in self._journal.activities.due(now, ROUND, farthest=now + 2 * RETRY_REFUSED):
                message = self._journal.messages.get(paired.message_id)
                if not message or not message.target:
                    self._journal.activities.unschedule(paired.activity.id)
                else:
                    jobs.append(Job(paired, message, message.target))
                    wait = RETRY_AFTER[min(paired.attempts, len(RETRY_AFTER) - 1)]
                    self._journal.activities.schedule(paired.activity.id, now + wait)
        return jobs

    def _is_seen_right(self, job: Job, now: datetime) -> bool:
        """Whether the poll of this very round has shown all there is to know: nothing more is asked then.

        The mail sync leaves one deal at most, and makes it the owner (rest.md 2.8); nobody has touched the
        activity since it was made, for that stamps LAST_UPDATED (rest.md 2.7).
        """
        activity = job.paired.activity
        return (
            job.paired.first_seen_at == now
            and job.paired.first_bindings is None
            and activity.owner == job.target.binding
            and job.target.type is EntityType.DEAL
            and activity.updated_at is not None
            and activity.updated_at == activity.created_at
            and not job.message.person_target
            and self._policy.replace == "deals"
        )

    def _read(self, jobs: Sequence[Job], now: datetime) -> list[Job]:
        """The jobs with what is bound now; without those whose activity cannot be read."""
        return self._readable(jobs, bindings(self._portal, [job.id for job in jobs]), now)

    def _ask_first(self, jobs: Sequence[Job]) -> tuple[Bound, dict[int, Deal]]:
        """What is bound now, and the deals that are targets, as far as the same requests have room."""
        wanted = {job.target.id for job in jobs if job.target.type is EntityType.DEAL}
        lists = deal_lists(wanted)
        room = -len(jobs) % BATCH_SIZE
        found, answers = bindings_beside(
            self._portal, [job.id for job in jobs], lists if len(lists) <= room else ()
        )
        return found, listed_deals(answers, wanted)

    def _readable(self, jobs: Sequence[Job], found: Bound, now: datetime) -> list[Job]:
        readable = []
        for job in jobs:
            answer = found[job.id]
            if not isinstance(answer, PortalError):
                readable.append(replace(job, bound=answer))
            elif isinstance(answer, PortalRefused) and answer.code == "not_found":
                self._settle(job, Result.PERSON, now, note="the activity was deleted in Bitrix24")
            else:
                self._put_off(job, answer, now)
        return readable

    def _with_first_bindings(self, jobs: Sequence[Job]) -> list[Job]:
        """Remember what was bound before we changed anything, and which leads may go."""
        new = [job for job in jobs if job.paired.first_bindings is None]
        leads = {binding.entity_id for job in new for binding in job.bound if binding.is_lead}
        unwanted = frozenset[int]()
        if self._policy.replace == "also_leads" and leads:
            unwanted = self._automatic(sorted(leads))
        with self._journal.transaction():
            for job in new:
                self._journal.activities.note_first_bindings(job.id, job.bound, unwanted)
        return [
            replace(job, paired=replace(job.paired, first_bindings=job.bound, unwanted_leads=unwanted))
            if job.paired.first_bindings is None
            else job
            for job in jobs
        ]

    def _automatic(self, leads: list[int]) -> frozenset[int]:
        """Leads that the mail sync made; where they may not be read they stay bound."""
        try:
            return automatic_leads(self._portal, leads)
        except PortalError as error:
            if error.temporary:
                raise
            event(logger, logging.WARNING, "leads.refused", error=str(error))
            return frozenset()

    def _as_decided_now(self, job: Job, now: datetime) -> Job | None:
        """The job with the message's present target; None when that leaves nothing to do."""
        message = self._journal.messages.get(job.message.id) or job.message
        target = message.target
        if target is None:
            self._journal.activities.settle(job.id, job.bound, now)
            return None
        if message.state is State.WAITING:
            self._journal.messages.set_state(message.id, State.PAIRED, now)
        return replace(job, message=message, target=target)

    def _course(self, job: Job) -> Course:
        if self._was_moved_back(job):
            return Course.PERSON
        attempted = bool(self._journal.traces.steps_of(job.id))
        # The owner is that of the first poll: it says nothing once we may have changed it.
        begun = any(
            write.activity_id == job.id and write.kind is not Kind.NOTICE
            for write in self._journal.traces.writes(job.message.id)
        )
        owner = None if job.message.person_target or begun else job.paired.activity.owner
        other_deals = any(binding.is_deal for binding in job.bound)
        if owner and owner.is_deal and owner not in job.bound and other_deals:
            # Somebody moved it between the poll that showed it and now. Without another deal the owner may
            # only be hidden from our webhook (rest.md 2.7).
            return Course.PERSON
        return plan.course(job.target, job.first, job.bound, job.paired.unwanted_leads, attempted=attempted)

    def _was_moved_back(self, job: Job) -> bool:
        """Whether the portal had carried our change out, and all is as it was before."""
        if not job.steps or frozenset(job.bound) != frozenset(job.first):
            return False
        done = {write.step for write in self._journal.traces.steps_of(job.id) if write.is_done(job.id)}
        return str(job.steps[0]) in done

    # ── changing ──────────────────────────────────────────────────────────────────────────────────────

    def _is_allowed(self, job: Job, targets: Targets, now: datetime) -> bool:
        if self._policy.mode == "observe":
            would = "; ".join(map(str, job.steps)) or "tell the responsible"
            self._settle(job, Result.OBSERVED, now, note=f"would {would}")
            return False
        error = targets.error(job.target)
        if error:
            self._put_off(job, error, now)
            return False
        if not targets.exists(job.target):
            # An administrator's webhook could bind to it all the same (rest.md trap 3).
            note = f"{job.target} does not exist in the portal (any more)"
            with self._journal.transaction():
                self._journal.activities.settle(job.id, job.bound, now)
                self._journal.answers.withdraw(job.message.id)
                self._journal.messages.set_state(job.message.id, State.REVIEW, now, note=note)
            event(logger, logging.WARNING, "target.missing", id=job.message.id, target=str(job.target))
            return False
        return True

    def _change(self, jobs: Sequence[Job], shown: dict[int, Activity], now: datetime) -> list[Job]:
        """Send the steps, portion by portion, and look at the result; returns the jobs that are right.

        The activities that were read on the way come into `shown`.
        """
        right: list[Job] = []
        for _ in range(PORTIONS):
            if not jobs:
                break
            errors = self._send_steps(jobs, shown)
            confirmed = {job.id: after for job in jobs if (after := _confirmed(job, errors, shown))}
            right += [confirmed[job.id] for job in jobs if job.id in confirmed]
            jobs = [job for job in jobs if job.id not in confirmed]
            jobs = self._without_touched(self._read(jobs, now), now) if jobs else []
            right += [job for job in jobs if not job.steps]
            jobs = [job for job in jobs if job.steps and not self._is_refused(job, errors, now)]
        return right

    def _without_touched(self, jobs: Sequence[Job], now: datetime) -> list[Job]:
        """Between our read and our write a person may have acted: then the rest of the plan is void."""
        ours = []
        for job in jobs:
            if plan.touched_by_others(job.target, job.first, job.bound, job.paired.unwanted_leads):
                self._settle_person(job, now)
            else:
                ours.append(job)
        return ours

    def _send_steps(self, jobs: Sequence[Job], shown: dict[int, Activity]) -> dict[int, PortalError]:
        """Send each job's next portion; returns the error of each activity whose step failed.

        Behind the steps, in the same requests, the activities are listed of which the owner tells the rest.
        """
        orders = [
            order_for(
                job,
                Kind.BINDINGS,
                str(step),
                command_for(job.id, step),
                before=job.bound,
                after=plan.after(step, job.bound),
            )
            for job in jobs
            for step in plan.portion(job.steps)
        ]
        listed = [job.id for job in jobs if plan.is_told_by_owner(job.target, job.bound)]
        errors, answers = send_and_ask(self._portal, self._journal, orders, activity_lists(listed))
        # What was seen before the steps says nothing of their result.
        for number in listed:
            shown.pop(number, None)
        shown.update(listed_activities(answers, listed))
        return {
            order.activity_id: error
            for order, error in zip(orders, errors, strict=True)
            if error and order.kind is Kind.BINDINGS and not writes.already_so(order.command, error)
        }

    def _is_refused(self, job: Job, failures: Mapping[int, PortalError], now: datetime) -> bool:
        """Whether the job's step failed; then it waits for its next attempt, or for a person."""
        error = failures.get(job.id)
        if error:
            self._put_off(job, error, now)
        return error is not None

    # ── finishing ─────────────────────────────────────────────────────────────────────────────────────

    def _finish(
        self, jobs: Sequence[Job], targets: Targets, shown: dict[int, Activity], now: datetime
    ) -> None:
        """Stamp, responsible and notification of the deal, then settled; `shown` was read a moment ago."""
        if not jobs:
            return
        shown |= activities_by_id(self._portal, [job.id for job in jobs if job.id not in shown])
        orders: list[Order] = []
        for job in jobs:
            deal = targets.deal(job.target)
            if (current := shown.get(job.id)) and (order := self._mark(job, current, deal)):
                orders.append(order)
            if deal and deal.responsible_id and self._policy.notify and not job.message.past:
                orders.append(self._notification(job, deal))
        orders = [order for order in orders if not order.user_id or self._claim(order, now)]
        errors = self._send(orders)
        unfinished = {
            order.activity_id
            for order, error in zip(orders, errors, strict=True)
            # A notification whose outcome is unknown is never repeated.
            if error and error.temporary and not (order.user_id and isinstance(error, PortalOutcomeUnknown))
        }
        barred = {
            order.activity_id: error
            for order, error in zip(orders, errors, strict=True)
            if error and is_barred(error)
        }
        for job in jobs:
            if job.id in barred:
                self._put_off(job, barred[job.id], now)
            elif job.id not in unfinished:
                self._settle(job, Result.MOVED, now)

    def _mark(self, job: Job, current: Activity, deal: Deal | None) -> Order | None:
        """The order that stamps the activity and gives it the deal's responsible, as far as that is to do."""
        origin, responsible = origin_id(job), deal.responsible_id if deal else 0
        before: Fields = {"originator_id": current.originator_id, "origin_id": current.origin_id}
        after: Fields = {"originator_id": writes.ORIGINATOR, "origin_id": origin}
        foreign = current.originator_id not in ("", writes.ORIGINATOR)
        stamps = self._policy.stamp and not foreign and before != after
        if not self._policy.set_responsible or responsible in (0, current.responsible_id):
            command = writes.stamp(job.id, origin)
            return (
                order_for(job, Kind.STAMP, "stamp", command, before=before, after=after) if stamps else None
            )
        if stamps:
            command = writes.stamp_and_set_responsible(job.id, origin, responsible)
        else:
            command, before, after = writes.set_responsible(job.id, responsible), {}, {}
        before["responsible_id"], after["responsible_id"] = current.responsible_id, responsible
        name = f"responsible becomes user {responsible}"
        return order_for(job, Kind.RESPONSIBLE, name, command, before=before, after=after)

    def _notification(self, job: Job, deal: Deal) -> Order:
        text = notice(job.message.envelope, deal.title, self._portal.link(job.target), self._language)
        command = writes.notify(deal.responsible_id, text)
        name = f"notify user {deal.responsible_id}"
        return order_for(job, Kind.NOTICE, name, command, user_id=deal.responsible_id)

    def _claim(self, order: Order, now: datetime) -> bool:
        return self._journal.traces.claim_notice(order.message_id, order.user_id, now)

    # ── sending and settling ──────────────────────────────────────────────────────────────────────────

    def _send(self, orders: Sequence[Order]) -> list[PortalError | None]:
        return send(self._portal, self._journal, orders, self._finish_notice)

    def _finish_notice(self, order: Order, error: PortalError | None) -> None:
        traces, message_id = self._journal.traces, order.message_id
        if not order.user_id:
            return
        if error is None:
            traces.finish_notice(message_id, order.user_id, "sent")
        elif isinstance(error, PortalOutcomeUnknown):
            traces.finish_notice(message_id, order.user_id, "unknown")
        elif error.temporary or is_barred(error):
            # Nothing was executed: the next attempt may try again.
            traces.release_notice(message_id, order.user_id)
        else:
            traces.finish_notice(message_id, order.user_id, "refused")

    def _put_off(self, job: Job, error: PortalError, now: datetime) -> None:
        """Temporary trouble waits for the attempt that is scheduled; a refusal also becomes visible."""
        event(
            logger,
            logging.WARNING,
            "activity.put_off",
            id=job.message.id,
            activity=job.id,
            error=str(error),
        )
        if error.temporary:
            return
        with self._journal.transaction():
            self._journal.activities.schedule(job.id, now + RETRY_REFUSED)
            self._journal.messages.set_state(job.message.id, State.FAILED, now, note=str(error))

    def _settle_person(self, job: Job, now: datetime) -> None:
        chosen = plan.chosen_by_person(job.bound)
        note = plan.told_of_person(job.bound)
        self._settle(job, Result.PERSON, now, note=note, person_target=chosen)

    def _settle(
        self, job: Job, result: Result, now: datetime, *, note: str = "", person_target: Target | None = None
    ) -> None:
        with self._journal.transaction():
            # What was never read is not on record as 'bound to nothing'.
            bound = job.bound if job.bound or job.paired.first_bindings is not None else None
            self._journal.activities.settle(job.id, bound, now)
            self._journal.messages.set_state(
                job.message.id, State.SETTLED, now, result=result, note=note, person_target=person_target
            )
        event(
            logger,
            logging.INFO,
            "message.settled",
            id=job.message.id,
            activity=job.id,
            result=result.value,
            target=str(job.target),
            was=", ".join(map(str, job.first)),
            note=note,
        )


def _confirmed(job: Job, errors: Mapping[int, PortalError], shown: Mapping[int, Activity]) -> Job | None:
    """The job as its steps left it, where all went well and the activity's new owner says the same.

    The owner is the last binding that is no client (rest.md 2.7): what somebody bound after the move shows in
    it. What he bound between our read and the move does not; `People.learn` finds it, with its next look.
    """
    activity = shown.get(job.id)
    if job.id in errors or activity is None or not plan.is_told_by_owner(job.target, job.bound):
        return None
    if activity.owner != job.target.binding:
        return None
    bound = job.bound
    for step in job.steps:
        bound = plan.after(step, bound)
    return replace(job, bound=bound)
