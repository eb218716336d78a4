"""What is wrong with the CRM's data so that letters cannot be routed well: judged row by row. Pure.

The rows come from `store.faults`; here is said what each of them means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from imaprouter.address import normalise
from imaprouter.model import EntityType, Target


class Fault(StrEnum):
    #: One address on several contacts, or on several companies: whose letter is it?
    SHARED_ADDRESS = "shared_address"
    #: An active deal whose contacts and company have no address: no letter can be its.
    DEAL_WITHOUT_ADDRESS = "deal_without_address"
    #: An active deal whose responsible is no active employee, or has no address to be addressed by.
    RESPONSIBLE_DISMISSED = "responsible_dismissed"
    RESPONSIBLE_UNKNOWN = "responsible_unknown"
    RESPONSIBLE_WITHOUT_EMAIL = "responsible_without_email"
    #: A contact with first and last name in one field.
    NAMES_IN_ONE_FIELD = "names_in_one_field"
    #: A contact that is called by an address: Bitrix24 made it of a letter, and nobody has named it.
    NAME_IS_ADDRESS = "name_is_address"
    #: The same but for spaces and case: companies by title, contacts of one company by name.
    DOUBLE = "double"


@dataclass(frozen=True, slots=True)
class Found:
    """One fault of one object."""

    fault: Fault
    target: Target
    name: str = ""
    #: The address, the employee, or the ids of the others.
    detail: str = ""


def shared(rows: Iterable[tuple[str, str, str]]) -> Iterator[Found]:
    """Of (address, kind, ids by comma): one for each object that has the address."""
    for email, kind, listed in rows:
        ids = sorted(map(int, listed.split(",")))
        for number in ids:
            others = ", ".join(str(other) for other in ids if other != number)
            detail = f"{email}: {others}"
            yield Found(Fault.SHARED_ADDRESS, Target(EntityType(kind), number), detail=detail)


def without_address(rows: Iterable[tuple[int, str]]) -> Iterator[Found]:
    """Of (deal, title)."""
    for number, title in rows:
        yield Found(Fault.DEAL_WITHOUT_ADDRESS, Target(EntityType.DEAL, number), title)


def irresponsible(
    rows: Iterable[tuple[int, str, int, str | None, int | None, str | None]],
) -> Iterator[Found]:
    """Of (deal, title, user id, his name, active, e-mail): of an unknown user the last three are None."""
    for number, title, user_id, name, active, email in rows:
        fault = _of_user(active, email)
        if fault:
            said = f"user {user_id} {name or ''}".strip()
            yield Found(fault, Target(EntityType.DEAL, number), title, said)


def _of_user(active: int | None, email: str | None) -> Fault | None:
    if active is None:
        return Fault.RESPONSIBLE_UNKNOWN
    if not active:
        return Fault.RESPONSIBLE_DISMISSED
    return None if email else Fault.RESPONSIBLE_WITHOUT_EMAIL


def misnamed(rows: Iterable[tuple[int, str, str, str]]) -> Iterator[Found]:
    """Of (contact, whole name, NAME, LAST_NAME)."""
    for number, name, first, last in rows:
        target = Target(EntityType.CONTACT, number)
        if is_address(name):
            yield Found(Fault.NAME_IS_ADDRESS, target, name)
        elif both_in_one(first, last):
            yield Found(Fault.NAMES_IN_ONE_FIELD, target, name)


def doubles(kind: EntityType, rows: Iterable[tuple[int, str, int]]) -> Iterator[Found]:
    """Of (object, name, company id, 0 for companies): those that differ in nothing but spaces and case."""
    groups: dict[tuple[int, str], list[tuple[int, str]]] = {}
    for number, name, company in rows:
        key = folded(name)
        if key:
            groups.setdefault((company, key), []).append((number, name))
    for same in groups.values():
        for number, name in same if len(same) > 1 else ():
            others = ", ".join(str(other) for other, _ in same if other != number)
            yield Found(Fault.DOUBLE, Target(kind, number), name, others)


def folded(name: str) -> str:
    """A name without what people write differently: case, blanks, and the kind of quotation marks."""
    return " ".join("".join(" " if letter in _QUOTES else letter for letter in name.casefold()).split())


def is_address(name: str) -> bool:
    """Whether a name is nothing but an e-mail address."""
    return " " not in name.strip() and "." in normalise(name).rpartition("@")[2]


def both_in_one(first: str, last: str) -> bool:
    """Whether one of the two fields is empty and the other holds two words or more."""
    return not (first.strip() and last.strip()) and len((first or last).split()) > 1


_QUOTES = "\"'«»„“”‘’`"
