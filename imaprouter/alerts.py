"""What people have to know of the service, from its beginning to its end: whom to tell what. Pure.

`troubles` says what is wrong now, `decide` compares that with the incidents on record: which begin, which
are over, and who is still to be told. An incident is told once to each person, and once more when it ends.
A portal that refuses us cannot be told of, so its incident is told when it works again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from gettext import NullTranslations
from typing import Literal, Protocol, TypeAlias

from imaprouter.model import State
from imaprouter.notice import inert
from imaprouter.reasons import ENGLISH
from imaprouter.standing import Pulse, Standing, Verdict, verdicts

# After an end that nobody could be told of for so long, it is no news any more.
STALE = timedelta(days=1)
_LONGEST = 300

Occasion: TypeAlias = Literal["begin", "end"]


class Kind(StrEnum):
    """What can go wrong for longer than a person should not know of it."""

    MAILBOX = "mailbox"
    PORTAL = "portal"
    MISSING = "missing"
    REVIEW = "review"
    INDEX = "index"


class Patience(Protocol):
    """What a configuration says of the time that a trouble is given to pass by itself."""

    @property
    def mailbox_after(self) -> timedelta: ...
    @property
    def review_after(self) -> timedelta: ...
    @property
    def index_after(self) -> timedelta: ...


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something is wrong for long enough; kind and subject say whether it is the same as before."""

    kind: Kind
    since: datetime
    #: The mailbox, or the day on which letters whose activity is missing were recorded.
    subject: str = ""
    #: So many messages.
    count: int = 0
    #: The error.
    detail: str = ""

    @property
    def key(self) -> tuple[Kind, str]:
        return self.kind, self.subject


@dataclass(frozen=True, slots=True)
class Incident:
    """A trouble on record, and who was told of it (or may have been: that is not repeated)."""

    id: int
    trouble: Trouble
    ended_at: datetime | None = None
    told_begin: frozenset[int] = frozenset()
    told_end: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Tell:
    """One notification: to this person, about this incident."""

    incident: Incident
    user_id: int
    occasion: Occasion


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to be written down first, and then whom to tell."""

    begin: tuple[Trouble, ...]
    #: Incidents that go on with another number of messages, as they are now.
    counts: tuple[Incident, ...]
    end: tuple[Incident, ...]
    tell: tuple[Tell, ...]


def troubles(standing: Standing, patience: Patience) -> Iterator[Trouble]:
    """What is wrong now, each for longer than it is given."""
    yield from _mailboxes(standing, patience.mailbox_after)
    yield from _portal(standing, patience.mailbox_after)
    for day, tally in standing.missing:
        yield Trouble(Kind.MISSING, tally.oldest or standing.now, day.isoformat(), tally.count)
    review = standing.overdue
    if review.count and review.oldest:
        yield Trouble(Kind.REVIEW, review.oldest, count=review.count)
    yield from _index(standing, patience.index_after)


def judged(
    standing: Standing, patience: Patience, *, running: bool, refresh_every: timedelta
) -> Iterator[Verdict]:
    """Whether each part of the service is well, and whether no message waits for too long."""
    yield from verdicts(standing, running=running, refresh_every=refresh_every)
    waiting = [
        said(trouble, ENGLISH)
        for trouble in troubles(standing, patience)
        if trouble.kind in (Kind.MISSING, Kind.REVIEW)
    ]
    failed = standing.tally(State.FAILED).count
    waiting += [f"Bitrix24 refuses what is to be done for {failed}"] if failed else []
    yield Verdict("messages", not waiting, "; ".join(waiting) or "none waits for too long")


def decide(
    found: Sequence[Trouble], incidents: Sequence[Incident], users: Sequence[int], now: datetime
) -> Decided:
    """`incidents` are those that are open, and those that ended and may still be told.

    Only incidents on record are told: what begins is told by the next decision, once it is written down.
    """
    wrong = {trouble.key: trouble for trouble in found}
    going_on = [incident for incident in incidents if incident.ended_at is None]
    known = {incident.trouble.key for incident in going_on}
    over = tuple(each for each in going_on if each.trouble.key not in wrong)
    counts = tuple(
        replace(each, trouble=replace(each.trouble, count=wrong[each.trouble.key].count))
        for each in going_on
        if each not in over and wrong[each.trouble.key].count != each.trouble.count
    )
    telling = (tell for incident in incidents if incident not in over for tell in _due(incident, users, now))
    return Decided(tuple(each for each in found if each.key not in known), counts, over, tuple(telling))


def _due(incident: Incident, users: Sequence[int], now: datetime) -> Iterator[Tell]:
    whole = incident.trouble.kind is Kind.PORTAL
    if incident.ended_at is None:
        told = incident.told_begin
        yield from (Tell(incident, user, "begin") for user in users if user not in told and not whole)
    elif incident.ended_at >= now - STALE:
        knows = frozenset(users) if whole else incident.told_begin
        yield from (Tell(incident, user, "end") for user in sorted(knows - incident.told_end))


def text(tell: Tell, language: NullTranslations, zone: tzinfo | None = None) -> str:
    """The notification. What servers said is made inert, as the portal understands BB code."""
    incident = tell.incident
    begin = said(incident.trouble, language, zone)
    if tell.occasion == "begin":
        return begin
    _ = language.gettext
    trouble = incident.trouble
    values = {
        "mailbox": inert(trouble.subject),
        "since": _moment(trouble.since, zone),
        "until": _moment(incident.ended_at, zone),
        "day": trouble.subject,
        "error": inert(trouble.detail[:_LONGEST]),
    }
    endings = {
        Kind.MAILBOX: _("imaprouter reads mailbox {mailbox} again; it could not since {since}."),
        Kind.PORTAL: _("imaprouter could not work with Bitrix24 from {since} to {until}: {error}"),
        Kind.MISSING: _("Of the letters of {day}, none lacks its activity in Bitrix24 any more."),
        Kind.REVIEW: _("No letter waits for a person for too long any more."),
        Kind.INDEX: _("imaprouter's copy of the CRM is up to date again."),
    }
    return endings[trouble.kind].format(**values)


def said(trouble: Trouble, language: NullTranslations, zone: tzinfo | None = None) -> str:
    """What is wrong, as a sentence."""
    _ = language.gettext
    count = trouble.count
    openings = {
        Kind.MAILBOX: _("imaprouter has been unable to read mailbox {mailbox} since {since}: {error}"),
        Kind.PORTAL: _("imaprouter has been unable to work with Bitrix24 since {since}: {error}"),
        Kind.MISSING: language.ngettext(
            "Bitrix24 made no activity of {count} letter of {day}; `imaprouter queue` lists it.",
            "Bitrix24 made no activity of {count} letters of {day}; `imaprouter queue` lists them.",
            count,
        ),
        Kind.REVIEW: language.ngettext(
            "{count} letter waits for a person, since {since}; `imaprouter queue` lists it.",
            "{count} letters wait for a person, the first since {since}; `imaprouter queue` lists them.",
            count,
        ),
        Kind.INDEX: _("imaprouter's copy of the CRM is that of {since}; letters may be judged wrongly."),
    }
    return openings[trouble.kind].format(
        mailbox=inert(trouble.subject),
        since=_moment(trouble.since, zone),
        day=trouble.subject,
        count=count,
        error=inert(trouble.detail[:_LONGEST]),
    )


def _mailboxes(standing: Standing, after: timedelta) -> Iterator[Trouble]:
    """A mailbox is in trouble with any of its folders."""
    failing: dict[str, Pulse] = {}
    for folder in standing.folders:
        pulse, worst = folder.pulse, failing.get(folder.part.mailbox)
        if pulse.failing_since and (
            worst is None or worst.failing_since is None or pulse.failing_since < worst.failing_since
        ):
            failing[folder.part.mailbox] = pulse
    for mailbox, pulse in failing.items():
        if pulse.failing_since and standing.now - pulse.failing_since >= after:
            yield Trouble(Kind.MAILBOX, pulse.failing_since, mailbox, detail=pulse.error)


def _portal(standing: Standing, after: timedelta) -> Iterator[Trouble]:
    """A refusal does not pass by itself; an outage may, like a mailbox's."""
    failing = [pulse for pulse in (standing.index, standing.binder) if pulse.fails_at_portal]
    begun = [
        (pulse.failing_since, pulse)
        for pulse in failing
        if pulse.failing_since
        and (pulse.error_type == "PortalDenied" or standing.now - pulse.failing_since >= after)
    ]
    if begun:
        since, pulse = min(begun, key=lambda each: each[0])
        yield Trouble(Kind.PORTAL, since, detail=pulse.error)


def _index(standing: Standing, after: timedelta) -> Iterator[Trouble]:
    since = standing.fresh_at or standing.index.failing_since
    if since and standing.now - since >= after:
        yield Trouble(Kind.INDEX, since, detail=standing.index.error)


def _moment(moment: datetime | None, zone: tzinfo | None) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M") if moment else "?"
