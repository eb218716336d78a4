"""Which activity did Bitrix24 make of which message? Pure: values in, pairs out.

Over REST an incoming activity carries no Message-ID. What both sides can see is a fingerprint
(mail-internals 3.6): the connected mailbox, the direction, START_TIME = the Date header to the second, the
decoded subject and the addresses of From. Reply-To, To and Cc break ties. Where several messages and
several activities are left alike, they are paired only if it makes no difference: all messages have the same
decision.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from imaprouter.model import Activity, Address, Direction, Envelope, StoredMail, Target
from imaprouter.text import clean

# The portal may cut longer subjects (mail-internals 3.2).
COMPARED_SUBJECT = 250
# PHP and Python may round an odd Date header differently (mail-internals 10.6).
_A_SECOND = timedelta(seconds=1)
# Zones are that far apart, and differ by quarters of an hour.
_FARTHEST_ZONE, _QUARTER = timedelta(hours=14, seconds=1), timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that waits for its activity."""

    id: int
    #: The addresses by which the portal may call the mailbox, normalised.
    mailbox_emails: frozenset[str]
    direction: Direction
    envelope: Envelope
    internal_date: datetime
    #: What would be done: messages that agree in it are interchangeable.
    target: Target | None
    review: bool


@dataclass(frozen=True, slots=True)
class Pairing:
    #: (message id, activity id), each at most once.
    pairs: tuple[tuple[int, int], ...] = ()
    #: Message id to the activities that fit it and other messages equally.
    ambiguous: tuple[tuple[int, tuple[int, ...]], ...] = ()


def subject_key(subject: str) -> str:
    """The subject as it is compared on both sides: NFC, nothing hidden, single blanks, 250 characters."""
    return clean(unicodedata.normalize("NFC", subject))[:COMPARED_SUBJECT].strip()


def fits(message: Waiting, activity: Activity) -> bool:
    """Whether `activity` can be the one that Bitrix24 made of `message`."""
    envelope = message.envelope
    if activity.direction is not _expected_direction(message, activity):
        return False
    if activity.mailbox_email and activity.mailbox_email not in message.mailbox_emails:
        return False
    if not _same_start(message, activity):
        return False
    subject = subject_key(envelope.subject)
    # An empty subject becomes the portal's localised default text.
    if subject and subject != subject_key(activity.subject):
        return False
    writers = {address.email for address in envelope.from_}
    return not writers or not activity.from_ or bool(writers & activity.from_)


def stored_as(message: Waiting, mail: StoredMail) -> bool:
    """Whether `mail` can be this message in the portal's own mail.

    Its date is INTERNALDATE by a clock of any zone: off by quarters of hours, to the second.
    """
    envelope = message.envelope
    if mail.date is None or mail.mailbox_email not in message.mailbox_emails:
        return False
    arrived = message.internal_date.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    apart = abs(mail.date - arrived)
    off = apart % _QUARTER
    if apart > _FARTHEST_ZONE or min(off, _QUARTER - off) > _A_SECOND:
        return False
    writers = {address.email for address in envelope.from_}
    same_subject = subject_key(envelope.subject) == subject_key(mail.subject)
    return same_subject and bool(writers & mail.from_)


def pair(messages: Sequence[Waiting], activities: Sequence[Activity]) -> Pairing:
    """Pair waiting messages with unpaired activities.

    One activity goes to one message. What cannot be told apart and would be treated differently is left
    for more evidence and named as ambiguous.
    """
    pairs: list[tuple[int, int]] = []
    ambiguous: list[tuple[int, tuple[int, ...]]] = []
    for group_messages, group_activities in _groups(messages, activities):
        found = _pair_group(group_messages, group_activities)
        if found is None:
            numbers = tuple(sorted(activity.id for activity in group_activities))
            ambiguous.extend((message.id, numbers) for message in group_messages)
        else:
            pairs.extend(found)
    return Pairing(tuple(sorted(pairs)), tuple(sorted(ambiguous)))


def _expected_direction(message: Waiting, activity: Activity) -> Direction:
    """Outgoing is what the mailbox's own address wrote: our aliases are strangers to the portal (1.3)."""
    if "@" not in activity.mailbox_email:
        return message.direction
    wrote = any(address.email == activity.mailbox_email for address in message.envelope.writers)
    return Direction.OUTGOING if wrote else Direction.INCOMING


def _same_start(message: Waiting, activity: Activity) -> bool:
    """START_TIME is the Date header, or INTERNALDATE when the portal could not read the Date."""
    if activity.start_time is None:
        return False
    instants = [message.internal_date]
    if message.envelope.date:
        instants.append(message.envelope.date)
    return any(abs(activity.start_time - instant) <= _A_SECOND for instant in instants)


def _groups(
    messages: Sequence[Waiting], activities: Sequence[Activity]
) -> Iterator[tuple[list[Waiting], list[Activity]]]:
    """Groups of messages and activities that fit each other and nobody else."""
    by_second: dict[int, list[Waiting]] = defaultdict(list)
    for message in messages:
        for instant in filter(None, {message.internal_date, message.envelope.date}):
            by_second[int(instant.timestamp())].append(message)
    candidates: dict[int, list[Waiting]] = {}
    for activity in activities:
        if activity.start_time is None:
            continue
        second = int(activity.start_time.timestamp())
        near = {m.id: m for offset in (-1, 0, 1) for m in by_second[second + offset]}
        fitting = [message for message in near.values() if fits(message, activity)]
        if fitting:
            best = max(_agreement(message, activity) for message in fitting)
            candidates[activity.id] = [m for m in fitting if _agreement(m, activity) == best]
    yield from _connected(candidates, {activity.id: activity for activity in activities})


def agrees(message: Waiting, activity: Activity) -> bool:
    """Whether `activity` fits and everything that only breaks ties is equal, too."""
    return fits(message, activity) and _agreement(message, activity) == _TIES


#: How many fields break ties.
_TIES = 4


def _agreement(message: Waiting, activity: Activity) -> int:
    """How many of the fields that only break ties are equal."""
    envelope = message.envelope
    return sum(
        (
            envelope.date == activity.start_time,
            _emails(envelope.to) == activity.to,
            _emails(envelope.cc) == activity.cc,
            _emails(envelope.reply_to) == activity.reply_to,
        )
    )


def _emails(addresses: Iterable[Address]) -> frozenset[str]:
    return frozenset(address.email for address in addresses)


def _connected(
    candidates: dict[int, list[Waiting]], activities: dict[int, Activity]
) -> Iterator[tuple[list[Waiting], list[Activity]]]:
    activities_of: dict[int, list[int]] = defaultdict(list)
    for activity_id, messages in candidates.items():
        for message in messages:
            activities_of[message.id].append(activity_id)
    left = set(candidates)
    for first in sorted(candidates):
        if first not in left:
            continue
        group: set[int] = set()
        members: dict[int, Waiting] = {}
        todo = [first]
        while todo:
            activity_id = todo.pop()
            if activity_id in group:
                continue
            group.add(activity_id)
            for message in candidates[activity_id]:
                members[message.id] = message
                todo.extend(activities_of[message.id])
        left -= group
        yield list(members.values()), [activities[number] for number in sorted(group)]


def _pair_group(messages: list[Waiting], activities: list[Activity]) -> list[tuple[int, int]] | None:
    """The best pairs first, then in the order of arrival.

    None when it makes a difference which message gets which activity.
    """
    if len({(message.target, message.review) for message in messages}) > 1:
        return None
    arrived = sorted(messages, key=lambda message: (message.internal_date, message.id))
    ranked = sorted(
        (
            (-_agreement(message, activity), place, activity.id, message)
            for place, message in enumerate(arrived)
            for activity in activities
            if fits(message, activity)
        ),
        key=lambda rank: rank[:3],
    )
    pairs: dict[int, int] = {}
    for _, _, activity_id, message in ranked:
        if message.id not in pairs and activity_id not in pairs.values():
            pairs[message.id] = activity_id
    return list(pairs.items())
