"""What a transfer is: from which timelines to which, of which activities, and by which steps. Pure.

Nothing is guessed: a source that could go to several places, or to none, stays where it is and is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from imaprouter.model import Binding, EntityType
from imaprouter.plan import Add, Delete, Move, Step

ActivityKind = Literal["e-mail", "call", "all"]
_EMAIL, _CALL = 4, 2

#: Source to target; both need an id where the portal does not say which belongs to which.
_WAYS = {
    (EntityType.CONTACT, EntityType.COMPANY): False,
    (EntityType.LEAD, EntityType.DEAL): False,
    (EntityType.DEAL, EntityType.DEAL): True,
    (EntityType.COMPANY, EntityType.COMPANY): True,
}
_PLACE = re.compile(r"(lead|deal|contact|company)(?::([1-9]\d{0,17}))?")
_CONDITION = re.compile(r"\s*([A-Za-z]\w*)\s*(!=|!@|!%|>=|<=|=|>|<|@|%)\s*(.*?)\s*", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Every timeline of a kind, or one: `contact`, `deal:12`."""

    type: EntityType
    id: int | None = None

    def __str__(self) -> str:
        return f"{self.type}:{self.id}" if self.id else str(self.type)


def place(text: str) -> Place:
    """Read `contact` or `deal:12`. ValueError says what was expected."""
    found = _PLACE.fullmatch(text.strip().lower())
    if not found:
        raise ValueError("expected contact, company, lead or deal, with an id as in deal:12 for one of them")
    return Place(EntityType(found[1]), int(found[2]) if found[2] else None)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on the source, as the portal's lists take it."""

    name: str
    operator: str
    #: Several for `@` and `!@`, one for all others.
    values: tuple[str, ...]

    @property
    def is_list(self) -> bool:
        return self.operator in ("@", "!@")

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{','.join(self.values)}"


def condition(text: str) -> Condition:
    """Read `UF_CRM_FIRED=1` or `SOURCE_ID@WEB,CALL`. ValueError says what was expected."""
    found = _CONDITION.fullmatch(text)
    if not found:
        raise ValueError(
            "expected a field, one of = != > >= < <= % !% @ !@ and a value, such as UF_CRM_FIRED=1"
        )
    name, operator, value = found.groups()
    if name.lower() == "id":
        raise ValueError("one object is named by its id behind a colon: contact:15")
    values = tuple(each.strip() for each in value.split(",")) if "@" in operator else (value,)
    return Condition(name, operator, values)


@dataclass(frozen=True, slots=True)
class Transfer:
    """What is asked for."""

    source: Place
    to: Place
    kind: ActivityKind = "all"
    where: tuple[Condition, ...] = ()
    #: The old binding stays beside the new one.
    keep: bool = False
    #: Activities that happened in this time; `until` is the first moment behind it.
    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        """The whole request in one form: the same text is the same request."""
        parts = [f"{self.source} to {self.to}", f"kind {self.kind}"]
        parts += [f"where {each}" for each in sorted(map(str, self.where))]
        parts += ["keep"] if self.keep else []
        parts += [f"since {self.since.isoformat()}"] if self.since else []
        parts += [f"until {self.until.isoformat()}"] if self.until else []
        return "; ".join(parts)


def problem(transfer: Transfer) -> str:
    """Why this cannot be asked for; '' when it can."""
    source, to = transfer.source, transfer.to
    needs_ids = _WAYS.get((source.type, to.type))
    if needs_ids is None:
        ways = ", ".join(f"{one} to {other}" for one, other in _WAYS)
        return f"from {source} to {to} is no way; there are {ways}"
    if needs_ids and not (source.id and to.id):
        return f"from {source.type} to {to.type} takes an id on both sides: {source.type}:12 and {to.type}:15"
    if to.id and not source.id:
        return f"to {to} takes one source, such as {source.type}:12"
    if source == to:
        return f"from {source} to {to} leads nowhere"
    if transfer.since and transfer.until and transfer.since >= transfer.until:
        return "the period ends before it begins"
    keys = [(each.name.lower(), each.operator) for each in transfer.where]
    twice = next((each for each in keys if keys.count(each) > 1), None)
    return f"two conditions on {twice[0]} with {twice[1]}: the portal takes one" if twice else ""


@dataclass(frozen=True, slots=True)
class Source:
    """An object whose timeline is read, with every object that it could go to."""

    binding: Binding
    candidates: tuple[Binding, ...]

    @property
    def target(self) -> Binding | None:
        return self.candidates[0] if len(self.candidates) == 1 else None


@dataclass(frozen=True, slots=True)
class News:
    """As much of an activity of any kind as a transfer asks about."""

    id: int
    type_id: int
    is_email: bool
    #: When the letter was written, or the call began.
    start_time: datetime | None
    created_at: datetime | None
    #: The mailbox of the portal that an e-mail came through.
    mailbox_email: str = ""

    def fits(self, transfer: Transfer) -> bool:
        """Whether it is of the kind and in the period that is asked for."""
        if not _is_of(transfer.kind, self):
            return False
        if transfer.since is None and transfer.until is None:
            return True
        when = self.start_time
        return (
            when is not None
            and (transfer.since is None or when >= transfer.since)
            and (transfer.until is None or when < transfer.until)
        )


def type_of(kind: ActivityKind) -> int | None:
    """The portal's TYPE_ID of a kind; None for all."""
    return {"e-mail": _EMAIL, "call": _CALL}.get(kind)


def _is_of(kind: ActivityKind, news: News) -> bool:
    if kind == "all":
        return True
    return news.is_email if kind == "e-mail" else news.type_id == _CALL


#: From where, and to where.
Way = tuple[Binding, Binding]


def steps(ways: Iterable[Way], bound: Sequence[Binding], *, keep: bool) -> list[Step]:
    """The steps of one activity; [] when it is bound to no source, or all is so already.

    What is bound to the target already gets no second binding. Nothing is taken away before all is added; of
    one kind it is one call.
    """
    present = [way for way in ways if way[0] in bound and way[0] != way[1]]
    have = set(bound)
    adding: list[Step] = []
    gone: list[Binding] = []
    for source, target in present:
        if target not in have:
            have.add(target)
            if source.type_id == target.type_id and not keep:
                adding.append(Move(source, target))
                continue
            adding.append(Add(target))
        if not keep:
            gone.append(source)
    return [*adding, *map(Delete, dict.fromkeys(gone))]


class Fate(StrEnum):
    """What became of one activity."""

    MOVED = "moved"
    #: In a rehearsal.
    WOULD = "would move"
    #: Nothing is to be done, or nothing more.
    RIGHT = "right already"
    #: Routing decides about it first.
    WAITS = "waits for routing"
    #: Somebody changed its bindings meanwhile.
    CHANGED = "changed"
    GONE = "gone"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Moved:
    """One activity of a transfer."""

    activity_id: int
    ways: tuple[Way, ...]
    fate: Fate
    found: tuple[Binding, ...] = ()
    bound: tuple[Binding, ...] = ()
    #: The portal's words.
    detail: str = ""
    #: It is a right that is missing.
    denied: bool = False


class Unclear(StrEnum):
    """Why a source goes nowhere."""

    NONE = "none"
    SEVERAL = "several"
    TARGET_GONE = "target_gone"


@dataclass(frozen=True, slots=True)
class Left:
    """A source whose activities stay where they are."""

    source: Source
    why: Unclear
