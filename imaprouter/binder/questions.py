"""What waits for a person is told to those who can decide: once for each message and person, with links.

Past mail is never asked about: nothing that `backfill` put on record, nothing that was read before
`review.notify` was turned on, or days after it came.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from gettext import NullTranslations
from typing import assert_never

from imaprouter import plan
from imaprouter.audit import Kind
from imaprouter.binder.orders import Order, is_barred, send
from imaprouter.bitrix24 import writes
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import PortalError, PortalOutcomeUnknown
from imaprouter.model import Binding, Company, Contact, Deal, DealIndex, EntityType, Lead, Target
from imaprouter.notice import link, question
from imaprouter.policy import ReviewPolicy
from imaprouter.store.activities import PairedActivity
from imaprouter.store.database import to_moment, to_text
from imaprouter.store.journal import Journal
from imaprouter.store.messages import StoredMessage

_SINCE = "review.since"
# Messages asked about in one round.
ROUND = 25
# A letter that lay in the mailbox for longer was not read when it came: an outage, or a first start.
PAST = timedelta(days=3)
# Candidates that a notification names.
_MOST = 10


class Questions:
    def __init__(
        self,
        portal: Portal,
        journal: Journal,
        index: DealIndex,
        policy: ReviewPolicy,
        language: NullTranslations,
    ) -> None:
        self._portal = portal
        self._journal = journal
        self._index = index
        self._policy = policy
        self._language = language

    def ask(self, now: datetime) -> int:
        """Ask about what came to wait; returns about how many messages. Raises nothing."""
        since = to_moment(self._journal.facts.get(_SINCE))
        if not self._policy.notify:
            if since:
                self._remember("")
            return 0
        if since is None:
            self._remember(str(to_text(now)))
            return 0
        numbers = self._journal.questions.unasked(since, PAST, ROUND)
        orders: list[Order] = []
        for message in filter(None, map(self._journal.messages.get, numbers)):
            orders += self._claimed(message, now)
        send(self._portal, self._journal, orders, self._finished)
        return len(numbers)

    def _remember(self, since: str) -> None:
        with self._journal.transaction():
            self._journal.facts.set(_SINCE, since)

    def _claimed(self, message: StoredMessage, now: datetime) -> list[Order]:
        """The notifications of this message that nobody has claimed before; claimed, all of them at once."""
        users = self._users(message)
        with self._journal.transaction():
            mine = [user for user in users or (0,) if self._journal.questions.claim(message.id, user, now)]
            if not users:
                self._journal.questions.finish(message.id, 0, "nobody")
        paired = self._journal.activities.of_message(message.id)
        if not users or not mine or not paired:
            return []
        text = self._text(message, paired[0])
        return [
            Order(
                message.id,
                paired[0].activity.id,
                f"ask user {user}",
                writes.notify(user, text),
                Kind.NOTICE,
                rule=message.decision.rule,
                why=message.decision.reason,
                user_id=user,
            )
            for user in mine
        ]

    def _users(self, message: StoredMessage) -> tuple[int, ...]:
        """Whom to ask: `review.users`, or the employees who are responsible for what it may belong to."""
        if self._policy.users:
            return tuple(dict.fromkeys(self._policy.users))
        found = [self._responsible(target) for target in message.decision.open_targets]
        known = [user for user in map(self._index.user, dict.fromkeys(found)) if user and user.active]
        return tuple(user.id for user in known)

    def _responsible(self, target: Target) -> int:
        found = self._object(target)
        return found.responsible_id if found else 0

    def _object(self, target: Target) -> Deal | Company | Contact | Lead | None:
        match target.type:
            case EntityType.DEAL:
                return self._index.deal(target.id)
            case EntityType.COMPANY:
                return self._index.company(target.id)
            case EntityType.CONTACT:
                return self._index.contact(target.id)
            case EntityType.LEAD:
                return self._index.lead(target.id)
            case _:
                assert_never(target.type)

    def _text(self, message: StoredMessage, paired: PairedActivity) -> str:
        bound = paired.last_bindings or paired.first_bindings or ()
        holder = plan.holder(bound) or paired.activity.owner
        targets = message.decision.open_targets
        return question(
            message.envelope,
            self._shown(holder),
            [self._link(target) for target in targets[:_MOST]],
            self._language,
        )

    def _shown(self, holder: Binding | None) -> str:
        kind = EntityType.from_type_id(holder.type_id) if holder else None
        if holder is None or kind is None:
            return str(holder or "Bitrix24")
        return self._link(Target(kind, holder.entity_id))

    def _link(self, target: Target) -> str:
        return link(self._title(target), self._portal.link(target))

    def _title(self, target: Target) -> str:
        found = self._object(target)
        title = found.name if isinstance(found, Contact) else found.title if found else ""
        return title or str(target)

    def _finished(self, order: Order, error: PortalError | None) -> None:
        finish = self._journal.questions.finish
        if error is None:
            finish(order.message_id, order.user_id, "sent")
        elif isinstance(error, PortalOutcomeUnknown):
            finish(order.message_id, order.user_id, "unknown")
        elif error.temporary or is_barred(error):
            finish(order.message_id, order.user_id, "again")
        else:
            finish(order.message_id, order.user_id, "refused")
