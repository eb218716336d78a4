"""Who is responsible for a letter that waits for an answer is reminded of it: once, with the link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from gettext import NullTranslations
from typing import assert_never

from imaprouter.audit import Kind
from imaprouter.binder.orders import Order, send
from imaprouter.bitrix24 import writes
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.probes import server_time
from imaprouter.errors import PortalDenied, PortalError, PortalOutcomeUnknown
from imaprouter.model import Company, Contact, Deal, DealIndex, EntityType, Lead, Target
from imaprouter.notice import link, reminder
from imaprouter.store.journal import Journal

# Notifications of one batch: what a crash leaves as of unknown outcome.
ROUND = 25


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A letter that waits for an answer."""

    number: int
    subject: str
    client: str
    target: Target | None
    #: A person is asked where it belongs.
    asked: bool
    waiting: timedelta


@dataclass(frozen=True, slots=True)
class Reminded:
    """What a run came to."""

    #: Letters of which somebody was told now.
    told: frozenset[int]
    #: Letters that nobody was ever told of, since there is nobody.
    nobody: int
    #: Why others could not be told; an outcome that is not known is one of them, and never repeated.
    errors: tuple[PortalError, ...]


class Reminders:
    def __init__(
        self,
        portal: Portal,
        journal: Journal,
        index: DealIndex | None,
        *,
        alert_users: Sequence[int],
        review_users: Sequence[int],
        language: NullTranslations,
        shown: Callable[[timedelta], str],
    ) -> None:
        """`index` None: responsibles are not known. `shown` puts a duration into words."""
        self._portal = portal
        self._journal = journal
        self._index = index
        self._alert_users = tuple(dict.fromkeys(alert_users))
        self._review_users = tuple(dict.fromkeys(review_users))
        self._language = language
        self._shown = shown

    def tell(self, letters: Sequence[Unanswered]) -> Reminded:
        """Tell of those letters that nobody was told of before.

        Raises PortalError, with nothing claimed, when the portal does not answer at all.
        """
        told: set[int] = set()
        errors: list[PortalError] = []
        nobody = 0
        answers = False
        for start in range(0, len(letters), ROUND):
            some = letters[start : start + ROUND]
            known = {letter.number: self._journal.reminders.of_message(letter.number) for letter in some}
            users = {letter.number: self._users(letter) for letter in some}
            nobody += sum(not users[letter.number] and not known[letter.number] for letter in some)
            open_ = [
                letter
                for letter in some
                if users[letter.number]
                and (not known[letter.number] or "again" in known[letter.number].values())
            ]
            if open_ and not answers:
                server_time(self._portal)
                answers = True
            orders = self._claimed(open_, users)
            for order, error in zip(
                orders, send(self._portal, self._journal, orders, self._finished), strict=True
            ):
                if error is None:
                    told.add(order.message_id)
                else:
                    errors.append(error)
            if any(error.temporary or isinstance(error, PortalDenied) for error in errors):
                break
        return Reminded(frozenset(told), nobody, tuple(errors))

    def _claimed(self, letters: Sequence[Unanswered], users: dict[int, tuple[int, ...]]) -> list[Order]:
        now = datetime.now(UTC)
        with self._journal.transaction():
            return [
                self._order(letter, user)
                for letter in letters
                for user in self._journal.reminders.claim(letter.number, users[letter.number], now)
            ]

    def _order(self, letter: Unanswered, user: int) -> Order:
        target = letter.target
        place = link(self._title(target), self._portal.link(target)) if target else ""
        text = reminder(letter.subject, letter.client, self._shown(letter.waiting), place, self._language)
        return Order(
            letter.number,
            0,
            f"remind user {user}",
            writes.notify(user, text),
            Kind.NOTICE,
            why="nobody has answered it",
            user_id=user,
        )

    def _users(self, letter: Unanswered) -> tuple[int, ...]:
        """The employee who is responsible for where it belongs; else those who look after such letters."""
        found = self._object(letter.target)
        user = self._index.user(found.responsible_id) if self._index and found else None
        if user and user.active:
            return (user.id,)
        first, second = self._alert_users, self._review_users
        return (second or first) if letter.asked else (first or second)

    def _title(self, target: Target) -> str:
        found = self._object(target)
        title = found.name if isinstance(found, Contact) else found.title if found else ""
        return title or str(target)

    def _object(self, target: Target | None) -> Deal | Company | Contact | Lead | None:
        if self._index is None or target is None:
            return None
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

    def _finished(self, order: Order, error: PortalError | None) -> None:
        finish = self._journal.reminders.finish
        if error is None:
            finish(order.message_id, order.user_id, "sent")
        elif isinstance(error, PortalOutcomeUnknown):
            finish(order.message_id, order.user_id, "unknown")
        elif error.temporary or isinstance(error, PortalDenied):
            # Nothing was executed, and a right or a scope can be given.
            finish(order.message_id, order.user_id, "again")
        else:
            finish(order.message_id, order.user_id, "refused")
