"""Long lists in few requests: pages chained by `>ID` inside one batch (rest.md 1.5, 4.5).

Page n asks for the ids above `$result[page n-1][49][ID]`, so fifty pages of fifty rows are one request, and
nothing is counted (`start` = -1). Behind a page that is not full the reference is empty and the portal begins
anew: such pages are recognised and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from imaprouter.bitrix24.commands import BATCH_SIZE, Answer, Command, reference, value
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.values import Row, chunks, integer, rows
from imaprouter.errors import PortalBusy, PortalError, PortalOutcomeUnknown, PortalRefused

PAGE = 50
#: Pages asked for before anything is known of a list's length.
_FIRST_PAGES = 8
#: How often, and how long, a list waits for its method's limit: the portal's window is ten minutes.
_BLOCKED_ROUNDS, _BLOCKED_WAIT = 15, 60.0

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def _any_row(row: Row) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list method with what it selects, and how a row becomes a value."""

    method: str
    #: `select`, `entityTypeId` and the like; the walk adds order, start and the ids.
    params: Mapping[str, Any]
    parse: Callable[[Row], T]
    filter: Mapping[str, Any]
    #: Asked of each row again: the portal drops filter keys that it does not know (rest.md 2.4).
    accept: Callable[[Row], bool] = _any_row

    @property
    def id_field(self) -> str:
        return "id" if self.method == "crm.item.list" else "ID"

    def command(self, condition: Mapping[str, Any]) -> Command:
        """The first page of the rows that meet `condition` too, by ascending id."""
        return Command(
            self.method,
            {
                **self.params,
                "filter": {**self.filter, **condition},
                "order": {self.id_field: "ASC"},
                "start": -1,
            },
            read=True,
        )

    def after(self, last: int | str) -> Command:
        return self.command({f">{self.id_field}": last})

    def last_of(self, position: int) -> str:
        """The id of the last row of the full page that command `position` of a batch gives."""
        folder = ("items",) if self.method == "crm.item.list" else ()
        return reference(position, *folder, PAGE - 1, self.id_field)

    def values(self, found: Sequence[Row]) -> list[T]:
        return [self.parse(row) for row in found if self.accept(row)]


class Source(Protocol[T_co]):
    """What is read in several commands, of which each request carries some."""

    @property
    def done(self) -> bool: ...
    @property
    def most(self) -> int:
        """How many commands of one request are of use to it."""

    @property
    def blocked(self) -> PortalBusy | None:
        """Why it has to wait for its method's limit, if the last answers said so."""

    def commands(self, first: int, count: int) -> list[Command]:
        """The next `count` commands, as number `first` and following of a batch."""

    def take(self, answers: Sequence[Answer]) -> Sequence[T_co]:
        """What the answers bring that is new. PortalError when it cannot be read on."""


class Walk(Generic[T]):
    """How far one listing has been read; a source of its values by ascending id."""

    most = BATCH_SIZE

    def __init__(self, listing: Listing[T], *, after: int = 0, instead: Listing[T] | None = None) -> None:
        """`instead` is read where the portal refuses `listing`."""
        self.listing = listing
        self.last = after
        self.done = False
        self.blocked: PortalBusy | None = None
        self._instead = instead

    def commands(self, first: int, count: int) -> list[Command]:
        following = [self.listing.after(self.listing.last_of(first + page)) for page in range(count - 1)]
        return [self.listing.after(self.last), *following]

    def take(self, answers: Sequence[Answer]) -> list[T]:
        """The new values; an error counts only when nothing of this walk came before it."""
        self.blocked = None
        if isinstance(answers[0], PortalBusy):
            self.blocked = answers[0]
            return []
        if isinstance(answers[0], PortalRefused) and self._instead is not None:
            self.listing, self._instead = self._instead, None
            return []
        value(answers[0])
        found: list[Row] = []
        for number, answer in enumerate(answers):
            page = [] if isinstance(answer, PortalError) else rows(answer)
            ids = [integer(row.get(self.listing.id_field)) for row in page]
            if isinstance(answer, PortalError) or (ids and min(ids) <= self.last):
                if number == 0:
                    method = self.listing.method
                    raise PortalRefused(f"{method}: the portal ignores the filter by id", method=method)
                break
            found += page
            self.last = max(ids, default=self.last)
            if len(page) < PAGE:
                self.done = True
                break
        return self.listing.values(found)


def read(portal: Portal, sources: Sequence[Source[Any]]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Read several sources side by side; yields a source's number and what is new of it, 2,500 at most.

    Waits when the portal has blocked a method for its running time. PortalError when one cannot be read on.
    """
    pages, most, blocked_rounds = _FIRST_PAGES, BATCH_SIZE, 0
    while waiting := [number for number, source in enumerate(sources) if not source.done]:
        shares = _shares([sources[number].most for number in waiting], pages)
        starts = [sum(shares[:place]) for place in range(len(shares))]
        batch = [
            command
            for number, start, share in zip(waiting, starts, shares, strict=True)
            for command in sources[number].commands(start, share)
        ]
        answers = portal.batch(batch)
        if max(shares) > 1 and any(isinstance(answers[start], PortalOutcomeUnknown) for start in starts):
            # A batch has to end within the portal's sixty seconds (rest.md 1.8): ask for less from now on.
            pages = most = max(1, max(shares) // 4)
            continue
        for number, start, share in zip(waiting, starts, shares, strict=True):
            if found := sources[number].take(answers[start : start + share]):
                yield number, found
        pages = min(most, pages * 8)
        blocked = [error for number in waiting if (error := sources[number].blocked) is not None]
        blocked_rounds = _wait_if_blocked(portal, blocked, blocked_rounds)


def _shares(most: Sequence[int], pages: int) -> list[int]:
    """How many of a batch's commands each source gets; what one cannot use is left to those behind it."""
    shares, room = [], BATCH_SIZE
    for place, useful in enumerate(most):
        shares.append(max(1, min(useful, pages, room // (len(most) - place))))
        room -= shares[-1]
    return shares


def walk(
    portal: Portal, listings: Sequence[Listing[Any]], *, after: int = 0
) -> Iterator[tuple[Listing[Any], Sequence[Any]]]:
    """Read several lists above the id `after` side by side; yields a listing and its next values.

    At most 2,500 at a time. Waits when the portal has blocked a method for its running time. PortalError when
    a list cannot be read on.
    """
    for number, found in read(portal, [Walk(listing, after=after) for listing in listings]):
        yield listings[number], found


def pages(portal: Portal, listing: Listing[T], *, after: int = 0) -> Iterator[list[T]]:
    """The values of one list above the id `after`, in portions of at most 2,500."""
    for _, found in walk(portal, [listing], after=after):
        yield list(found)


def by_ids(portal: Portal, listing: Listing[T], ids: Sequence[int]) -> list[T]:
    """The values with these ids, in any number; those that are missing or not readable are left out."""
    groups = chunks(sorted(set(ids)), PAGE)
    answers = portal.batch([listing.command({f"@{listing.id_field}": list(group)}) for group in groups])
    wanted = set(ids)
    found = (row for answer in answers for row in rows(value(answer)))
    return listing.values([row for row in found if integer(row.get(listing.id_field)) in wanted])


def _wait_if_blocked(portal: Portal, blocked: Sequence[PortalBusy], rounds: int) -> int:
    """Wait for the limit of a blocked method; returns how many rounds in a row have waited."""
    if not blocked:
        return 0
    if rounds >= _BLOCKED_ROUNDS:
        raise blocked[0]
    now = datetime.now(UTC)
    waits = [(error.retry_at - now).total_seconds() for error in blocked if error.retry_at is not None]
    portal.pause(min(max([2.0**rounds, *waits]), _BLOCKED_WAIT))
    return rounds + 1
