"""What one correction consists of: the job, its commands with the names under which they are on record."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from imaprouter import plan
from imaprouter.audit import PERSON, Fields, Kind
from imaprouter.bitrix24 import writes
from imaprouter.bitrix24.clients import companies_by_id, contacts_by_id, deals_by_id, leads_by_id
from imaprouter.bitrix24.commands import BATCH, Answer, Command
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import PortalDenied, PortalError, PortalOutcomeUnknown
from imaprouter.log import event
from imaprouter.model import Binding, Deal, EntityType, Target
from imaprouter.plan import Add, Delete, Move, Step
from imaprouter.store.activities import PairedActivity
from imaprouter.store.journal import Journal
from imaprouter.store.messages import StoredMessage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One activity on its way to its message's target."""

    paired: PairedActivity
    message: StoredMessage
    target: Target
    #: What was bound when it was read last.
    bound: tuple[Binding, ...] = ()

    @property
    def id(self) -> int:
        return self.paired.activity.id

    @property
    def first(self) -> tuple[Binding, ...]:
        return self.paired.first_bindings if self.paired.first_bindings is not None else self.bound

    @property
    def steps(self) -> list[Step]:
        return plan.steps(self.target, self.bound, self.paired.unwanted_leads)


@dataclass(frozen=True, slots=True)
class Order:
    """A command for one activity, with everything that is on record of it."""

    #: 0: the activity is no message's.
    message_id: int
    activity_id: int
    name: str
    command: Command
    kind: Kind = Kind.BINDINGS
    before: tuple[Binding, ...] | Fields | None = None
    after: tuple[Binding, ...] | Fields | None = None
    rule: str = ""
    why: str = ""
    #: The person whom a notification is for; 0 for every other command.
    user_id: int = 0


def order_for(
    job: Job,
    kind: Kind,
    name: str,
    command: Command,
    *,
    before: tuple[Binding, ...] | Fields | None = None,
    after: tuple[Binding, ...] | Fields | None = None,
    user_id: int = 0,
) -> Order:
    """The order with the reason for it: the decision's rule and sentence, or a person's answer."""
    message = job.message
    chosen = message.person_target
    rule = PERSON if chosen else message.decision.rule
    why = f"a person chose {chosen}" if chosen else message.decision.reason
    return Order(message.id, job.id, name, command, kind, before, after, rule, why, user_id)


def send(
    portal: Portal,
    journal: Journal,
    orders: Sequence[Order],
    finished: Callable[[Order, PortalError | None], None] = lambda order, error: None,
) -> list[PortalError | None]:
    """Send commands in as few batches as possible; each is on record before and after.

    `finished` is told of each outcome in the transaction that puts it on record.
    """
    return send_and_ask(portal, journal, orders, (), finished)[0]


def send_and_ask(
    portal: Portal,
    journal: Journal,
    orders: Sequence[Order],
    questions: Sequence[Command],
    finished: Callable[[Order, PortalError | None], None] = lambda order, error: None,
) -> tuple[list[PortalError | None], list[Answer]]:
    """The same, and what is read behind them: a batch is carried out in its order, and so are batches."""
    if not orders:
        return [], portal.batch(questions)
    now = datetime.now(UTC)
    with journal.transaction():
        numbers = [
            journal.traces.begin_write(
                order.message_id or None,
                order.activity_id,
                order.name,
                now,
                kind=order.kind,
                before=order.before,
                after=order.after,
                rule=order.rule,
                why=order.why,
                request=(order.command.method, order.command.params),
            )
            for order in orders
        ]
    answers = portal.batch([*(order.command for order in orders), *questions])
    done, asked = answers[: len(orders)], answers[len(orders) :]
    errors = [writes.error_of(order.command, answer) for order, answer in zip(orders, done, strict=True)]
    with journal.transaction():
        for order, number, error in zip(orders, numbers, errors, strict=True):
            journal.traces.finish_write(number, outcome_of(order.command, error))
            finished(order, error)
    for order, error in zip(orders, errors, strict=True):
        event(
            logger,
            logging.WARNING if error else logging.INFO,
            "portal.write",
            id=order.message_id,
            activity=order.activity_id,
            step=order.name,
            outcome=outcome_of(order.command, error),
        )
    return errors, asked


class Targets:
    """Which targets exist, and whose deals they are: asked once, in few requests.

    What may not be read bars only the targets of its own kind. Raises PortalError for temporary trouble.
    """

    def __init__(self, portal: Portal, targets: Iterable[Target], seen: Mapping[int, Deal]) -> None:
        """`seen`: deals that the portal has shown a moment ago; they are not asked for again."""
        ids: dict[EntityType, list[int]] = {kind: [] for kind in EntityType}
        for target in targets:
            ids[target.type].append(target.id)
        self._found: dict[EntityType, Mapping[int, object]] = {}
        self._errors: dict[EntityType, PortalError] = {}
        self._found[EntityType.DEAL] = seen
        ids[EntityType.DEAL] = [number for number in ids[EntityType.DEAL] if number not in seen]
        for kind, find in _FINDERS.items():
            if ids[kind]:
                try:
                    self._found[kind] = {**self._found.get(kind, {}), **find(portal, ids[kind])}
                except PortalError as error:
                    if error.temporary:
                        raise
                    self._errors[kind] = error

    def error(self, target: Target) -> PortalError | None:
        """Why it is not known whether the target exists."""
        return None if self.exists(target) else self._errors.get(target.type)

    def exists(self, target: Target) -> bool:
        return target.id in self._found.get(target.type, {})

    def deal(self, target: Target) -> Deal | None:
        found = self._found.get(target.type, {}).get(target.id)
        return found if isinstance(found, Deal) else None


_FINDERS: dict[EntityType, Callable[[Portal, Sequence[int]], Mapping[int, object]]] = {
    EntityType.DEAL: deals_by_id,
    EntityType.LEAD: leads_by_id,
    EntityType.CONTACT: contacts_by_id,
    EntityType.COMPANY: companies_by_id,
}


def command_for(activity_id: int, step: Step) -> Command:
    match step:
        case Move(source, target):
            return writes.move(activity_id, source, target)
        case Add(binding):
            return writes.add(activity_id, binding)
        case Delete(binding):
            return writes.delete(activity_id, binding)


def origin_id(job: Job) -> str:
    """A durable mark: the same for the same mail of the same mailbox (mail-internals 3.6)."""
    identity = job.message.envelope.message_id or job.message.envelope.fingerprint
    return hashlib.sha256(f"{job.message.mailbox}|{identity}".encode()).hexdigest()


def outcome_of(command: Command, error: PortalError | None) -> str:
    if error is None:
        return "done"
    if writes.already_so(command, error):
        return "already so"
    return "outcome unknown" if isinstance(error, PortalOutcomeUnknown) else str(error)


def is_barred(error: PortalError) -> bool:
    """Whether the portal refused the request or the webhook, not one command: nothing was executed.

    A command that was not looked at must not be given up: it can be done when a person has acted.
    """
    return isinstance(error, PortalDenied) and (error.everything or error.method == BATCH)
