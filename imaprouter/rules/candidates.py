"""The deals among which a letter's participants choose, and why each other one is out. No rule itself.

A deal counts when it is active, in a pipeline to which the recipients narrow, and was there when the letter
was written: mail that is read late must not go to a deal of which nobody knew then. One day is forgiven,
because a deal is often made of the very letter that belongs to it. The letter's time is its Date, though not
one later than its arrival; a letter without both may belong to any deal.

An employee speaks for a deal as its responsible, as a former one until `handover` after the change, and with
`observers = true` as an observer. All three count the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cached_property

from imaprouter.address import split_tag
from imaprouter.model import (
    Client,
    Considered,
    Deal,
    DealIndex,
    Letter,
    Standing,
    Tenure,
    User,
    deal,
    sorted_ids,
)
from imaprouter.policy import ParticipantsPolicy, RoutingPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.address import categories
from imaprouter.rules.people import employees, merged

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_BITRIX24 = datetime(2012, 1, 1, tzinfo=UTC)
_MADE_OF_THE_LETTER = timedelta(days=1)
# More names or numbers than this are no sentence any more; a finding's candidates are always whole.
_SENTENCE = 8
_PERSONS = 3
# Closed deals that are named among what was considered, the latest; an old client has hundreds.
_MOST_CLOSED = 20


class Role(Enum):
    """How an employee stands to a deal; the value is the reason that says so."""

    RESPONSIBLE = "responsible_addressed"
    FORMER = "former_addressed"
    OBSERVER = "observer_addressed"


@dataclass(frozen=True)
class Case:
    """One client's deals, and the employees that the letter is addressed to."""

    clients: tuple[Client, ...]
    client: Client
    #: Active and closed, of all pipelines.
    deals: tuple[Deal, ...]
    #: Empty: all of them count.
    pipelines: frozenset[int]
    #: By address; an own address of the mailbox that is a user's narrows, but never excludes.
    addressed: dict[str, User]
    own: dict[str, User]
    responsibles: dict[int, User]
    written: datetime | None
    policy: ParticipantsPolicy

    @classmethod
    def of(cls, letter: Letter, index: DealIndex, policy: RoutingPolicy, clients: Sequence[Client]) -> Case:
        envelope, client = letter.envelope, merged(clients)
        deals = index.deals_of(client.contact_ids, client.company_ids)
        people = (
            [address.email for address in envelope.writers + envelope.sender]
            if letter.outgoing
            else list(envelope.recipients)
        )
        staff = _dismissed(people, deals, letter, index, policy.participants)
        staff |= employees(people, index, policy.participants)
        responsibles = index.users(sorted_ids(found.responsible_id for found in deals))
        return cls(
            clients=tuple(clients),
            client=client,
            deals=deals,
            pipelines=categories(letter, policy.address),
            addressed={email: user for email, user in staff.items() if not _is_own(email, letter)},
            own={email: user for email, user in staff.items() if _is_own(email, letter)},
            responsibles={user.id: user for user in responsibles},
            written=written_at(letter),
            policy=policy.participants,
        )

    @cached_property
    def all_active(self) -> tuple[int, ...]:
        """Every active deal of the client."""
        return sorted_ids(found.id for found in self.deals if found.active)

    @cached_property
    def active(self) -> list[Deal]:
        """The active deals that count."""
        return [found for found in self.deals if found.active and self._counts(found)]

    @cached_property
    def closed(self) -> list[Deal]:
        """The won and lost deals that count; a template of recurring deals is neither."""
        return [found for found in self.deals if found.semantic != "P" and self._counts(found)]

    def spoken_for(self, people: dict[str, User]) -> list[Deal]:
        """The active deals that count and for which one of these employees speaks."""
        return [found for found in self.active if any(self.role(user, found) for user in people.values())]

    def closest(self, deals: Sequence[Deal]) -> list[Deal]:
        """Deals of the very contact or company with the address, before those of the contact's company."""
        contacts, companies = set(self.client.contact_ids), {company.id for company in self.client.companies}
        direct = [
            found for found in deals if contacts & set(found.contact_ids) or found.company_id in companies
        ]
        return direct or list(deals)

    def role(self, user: User, found: Deal) -> Role | None:
        """How this employee speaks for a deal at the time of the letter; None when he does not."""
        if user.id == found.responsible_id:
            return Role.RESPONSIBLE
        tenure, handover = _tenure(user, found), self.policy.handover
        if tenure and _lasts(tenure, self.written, handover):
            return Role.FORMER
        return Role.OBSERVER if self.policy.observers and user.id in found.observer_ids else None

    # ── sentences ─────────────────────────────────────────────────────────────────────────────────────────

    def whose_deals(self) -> list[Reason]:
        """Which active deals that count each of the clients has."""
        found = []
        for client in self.clients:
            contacts, companies = set(client.contact_ids), set(client.company_ids)
            numbers = sorted_ids(
                deal.id
                for deal in self.active
                if (contacts & set(deal.contact_ids) or deal.company_id in companies)
            )
            if numbers:
                found.append(why("client_of", client=client.email, deals=few(numbers)))
        return found

    def who_speaks(self, people: dict[str, User], deals: Sequence[Deal]) -> list[Reason]:
        """Who of these employees speaks for which of these deals, and as what."""
        said: dict[tuple[str, ...], list[int]] = {}
        persons: dict[int, tuple[str, User]] = {}
        for email in sorted(people):
            persons.setdefault(people[email].id, (email, people[email]))
        for email, user in persons.values():
            for found in deals:
                role = self.role(user, found)
                tenure = _tenure(user, found)
                if role:
                    day = tenure.until.date().isoformat() if tenure and role is Role.FORMER else ""
                    said.setdefault((role.value, email, day), []).append(found.id)
        return [
            why(code, people=email, deals=few(numbers), **({"date": day} if day else {}))
            for (code, email, day), numbers in said.items()
        ]

    def why_not(self, chosen: Sequence[Deal], people: dict[str, User]) -> list[Reason]:
        """Why each active deal that was not chosen was not; `people` are the employees that narrowed."""
        lost: dict[tuple[str, ...], list[int]] = {}
        taken = {found.id for found in chosen}
        for found in self.deals:
            if found.active and found.id not in taken:
                lost.setdefault(self._loss(found, people), []).append(found.id)
        others = {key[1]: numbers for key, numbers in lost.items() if key[0] == "other_responsible"}
        if len(others) > _PERSONS:
            lost = {key: numbers for key, numbers in lost.items() if key[0] != "other_responsible"}
            numbers = sorted_ids(number for group in others.values() for number in group)
            crowd = [why("other_responsibles", people=few(sorted(others)), deals=few(numbers))]
        else:
            crowd = []
        return [*(_told(key, numbers) for key, numbers in lost.items()), *crowd]

    def held_by(self, deals: Sequence[Deal]) -> list[Reason]:
        """Who is responsible for these deals, as far as somebody known is."""
        held: dict[str, list[int]] = {}
        for found in deals:
            name = self._responsible(found)
            if name:
                held.setdefault(name, []).append(found.id)
        return [why("held_by", people=name, deals=few(numbers)) for name, numbers in held.items()]

    # ── deal by deal ──────────────────────────────────────────────────────────────────────────────────────

    def fitting(self, deals: Sequence[Deal], people: dict[str, User]) -> tuple[Considered, ...]:
        """These deals as those between which nothing decides, each with who speaks for it."""
        return tuple(
            Considered(deal(found.id), Standing.OPEN, self._speaks_for(found, people) or self._held(found))
            for found in deals
        )

    def chosen(self, found: Deal, people: dict[str, User]) -> Considered:
        """This deal as the one that the letter's people tell."""
        reason = self._speaks_for(found, people) or self._of_client(found)
        return Considered(deal(found.id), Standing.CHOSEN, reason)

    def lost(self, kept: Sequence[Deal], people: dict[str, User]) -> tuple[Considered, ...]:
        """The client's other deals, active before closed, each with the reason why it is out."""
        taken = {found.id for found in kept}
        others = [found for found in self.deals if found.id not in taken]
        closed = sorted((found for found in others if not found.active), key=closing, reverse=True)
        shown = [*(found for found in others if found.active), *closed[:_MOST_CLOSED]]
        return tuple(
            Considered(deal(found.id), Standing.LOST, _told(self._loss(found, people), [found.id]))
            for found in shown
        )

    def _speaks_for(self, found: Deal, people: dict[str, User]) -> Reason | None:
        return next(iter(self.who_speaks(people, [found])), None)

    def _held(self, found: Deal) -> Reason:
        return next(iter(self.held_by([found])), None) or self._of_client(found)

    def _of_client(self, found: Deal) -> Reason:
        return why("client_of", client=self.client.email, deals=[found.id])

    def _responsible(self, found: Deal) -> str:
        user = self.responsibles.get(found.responsible_id)
        return (user.email or user.name) if user else ""

    def _loss(self, found: Deal, people: dict[str, User]) -> tuple[str, ...]:
        """The code of the reason why a deal is out, then its further values, see `_told`."""
        if found.recurring:
            return ("recurring_template",)
        if not found.active:
            return ("deal_closed",)
        if not self._was_there(found):
            return ("created_later",)
        if not self._in_pipeline(found):
            return ("another_pipeline",)
        if not people or any(self.role(user, found) for user in people.values()):
            return ("companys_deal", self.client.email)
        for email, user in sorted(people.items()):
            tenure = _tenure(user, found)
            if tenure and self.written:
                return ("handed_over", email, tenure.until.date().isoformat())
        responsible, name = self.responsibles.get(found.responsible_id), self._responsible(found)
        if not responsible or not name:
            return ("unknown_responsible",)
        return ("other_responsible" if responsible.active else "dismissed_responsible", name)

    def _counts(self, found: Deal) -> bool:
        return self._was_there(found) and self._in_pipeline(found)

    def _in_pipeline(self, found: Deal) -> bool:
        return not self.pipelines or found.category_id in self.pipelines

    def _was_there(self, found: Deal) -> bool:
        if self.written is None or found.created_at is None:
            return True
        return found.created_at <= self.written + _MADE_OF_THE_LETTER


def written_at(letter: Letter) -> datetime | None:
    """When the letter was written: its Date, unless that is later than its arrival. None: nobody knows.

    A Date from before the first Bitrix24 is that of a clock that was never set.
    """
    date = letter.envelope.date
    known = [moment for moment in (date, letter.received) if moment and moment >= _FIRST_BITRIX24]
    return min(known, default=None)


def _is_own(email: str, letter: Letter) -> bool:
    return email in letter.own_addresses or split_tag(email)[0] in letter.own_addresses


def _dismissed(
    emails: Sequence[str], deals: Sequence[Deal], letter: Letter, index: DealIndex, policy: ParticipantsPolicy
) -> dict[str, User]:
    """Those addressed who are no employees any more and whose handover of a deal still lasts."""
    written = written_at(letter)
    known: dict[str, User] = {}
    for found in deals:
        for tenure in found.former:
            user = index.user(tenure.user_id)
            if user and user.email and not user.active and _lasts(tenure, written, policy.handover):
                spellings = (user.email, *policy.user_aliases.get(user.email, ()))
                known.update(dict.fromkeys(spellings, user))
    users = {email: known.get(email) or known.get(split_tag(email)[0]) for email in emails}
    return {email: user for email, user in users.items() if user}


def _lasts(tenure: Tenure, written: datetime | None, handover: timedelta) -> bool:
    return bool(handover and written and written <= tenure.until + handover)


def closing(found: Deal) -> tuple[datetime, datetime, int]:
    """The order in which deals were closed: by the last change of stage, where the portal tells it."""
    return (found.moved_at or found.modified_at or LONG_AGO, found.created_at or LONG_AGO, found.id)


def few(items: Iterable[object]) -> tuple[str, ...]:
    """The words of a list, cut where nobody would read on."""
    words = tuple(str(item) for item in items)
    return words if len(words) <= _SENTENCE else (*words[: _SENTENCE - 1], "…")


_OF_ONE_DEAL = frozenset({"recurring_template", "deal_closed"})


def _told(key: tuple[str, ...], numbers: Sequence[int]) -> Reason:
    code, *values = key
    if code in _OF_ONE_DEAL:
        return why(code, deal=numbers[0])
    names = ("client",) if code == "companys_deal" else ("people", "date")
    return why(code, deals=few(numbers), **dict(zip(names, values, strict=False)))


def _tenure(user: User, found: Deal) -> Tenure | None:
    return next((tenure for tenure in found.former if tenure.user_id == user.id), None)
