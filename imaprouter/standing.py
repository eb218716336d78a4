"""How the service stands: its parts, its folders, its messages, as values; and what of it is not well. Pure.

`status` shows them, `health` judges them, `alerts` decides of them whom to tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

# A folder that is well is searched every five minutes at the least, and so is the portal polled.
SILENCE = timedelta(minutes=15)
# So many intervals without a refresh are no delay any more.
MISSED_REFRESHES = 3


class PartKind(StrEnum):
    """What the service consists of."""

    FOLDER = "folder"
    INDEX = "index"
    BINDER = "binder"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the service; a folder's has its mailbox and its name."""

    kind: PartKind
    mailbox: str = ""
    folder: str = ""

    def __str__(self) -> str:
        return f"{self.mailbox}/{self.folder}" if self.kind is PartKind.FOLDER else self.kind.value


INDEX = Part(PartKind.INDEX)
BINDER = Part(PartKind.BINDER)


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a part was last known to do."""

    #: When it was at work last, whether or not it had a question for its server.
    worked_at: datetime | None = None
    #: When its server was heard last.
    heard_at: datetime | None = None
    #: Since when it fails without a break; None while it works.
    failing_since: datetime | None = None
    #: The last error, also of one that is over.
    error: str = ""
    #: The name of its class in `errors`.
    error_type: str = ""
    error_at: datetime | None = None

    @property
    def fails_at_portal(self) -> bool:
        return self.failing_since is not None and self.error_type.startswith("Portal")


@dataclass(frozen=True, slots=True)
class FolderStanding:
    """A watched folder, and how far it has been read."""

    part: Part
    pulse: Pulse
    #: Every UID up to here is on record; None before the first connection.
    cursor: int | None = None
    last_uid: int | None = None
    #: When the message that was recorded last had arrived, and when it was recorded.
    last_arrived_at: datetime | None = None
    last_recorded_at: datetime | None = None

    @property
    def lag(self) -> timedelta | None:
        """How long the last message lay in the mailbox before it was on record."""
        if self.last_arrived_at is None or self.last_recorded_at is None:
            return None
        return max(self.last_recorded_at - self.last_arrived_at, timedelta())


@dataclass(frozen=True, slots=True)
class Tally:
    """So many messages are in one state; `oldest` is when the first of them was recorded."""

    count: int = 0
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What acting would have changed while `binding.mode` was "observe": activities by their first step."""

    moved: int = 0
    bound: int = 0
    unbound: int = 0
    #: Rule to how many of these.
    rules: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.moved + self.bound + self.unbound


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that is known without asking a server."""

    now: datetime
    folders: tuple[FolderStanding, ...]
    index: Pulse
    binder: Pulse
    #: None: the index was never refreshed; by the portal's clock.
    refreshed_at: datetime | None = None
    refreshed_fully_at: datetime | None = None
    #: By the value of `model.State`, without the settled.
    tallies: tuple[tuple[str, Tally], ...] = ()
    #: Messages that have waited for a person for longer than `alerts.review_after`.
    overdue: Tally = Tally()
    #: Missing activities, by the day on which their messages were recorded.
    missing: tuple[tuple[date, Tally], ...] = ()
    observed: Observed = Observed()

    @property
    def fresh_at(self) -> datetime | None:
        """When the index was refreshed last; by our clock where the service did it."""
        heard, stamped = self.index.heard_at, self.refreshed_at
        if heard is None or stamped is None:
            return stamped
        return max(heard, stamped) if stamped <= self.now else heard

    def tally(self, state: str) -> Tally:
        return dict(self.tallies).get(state, Tally())


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a part is well, and what can be said of it."""

    part: str
    well: bool
    said: str


def verdicts(standing: Standing, *, running: bool, refresh_every: timedelta) -> Iterator[Verdict]:
    """One for each part: the service, each folder, the index, the binder."""
    yield Verdict("service", running, "runs" if running else "does not run")
    for folder in standing.folders:
        yield _of_part(str(folder.part), folder.pulse, standing.now)
    yield _of_index(standing, refresh_every)
    yield _of_part("binder", standing.binder, standing.now)


def _of_part(name: str, pulse: Pulse, now: datetime) -> Verdict:
    if pulse.failing_since is not None:
        return Verdict(name, False, f"fails since {shown(pulse.failing_since)}: {pulse.error}")
    if pulse.worked_at is None:
        return Verdict(name, False, "has not been at work yet")
    return Verdict(name, now - pulse.worked_at <= SILENCE, f"at work {shown(pulse.worked_at)}")


def _of_index(standing: Standing, refresh_every: timedelta) -> Verdict:
    if standing.index.failing_since is not None:
        return _of_part("index", standing.index, standing.now)
    fresh_at = standing.fresh_at
    if fresh_at is None:
        return Verdict("index", False, "was never filled")
    late = max(MISSED_REFRESHES * refresh_every, SILENCE)
    return Verdict("index", standing.now - fresh_at <= late, f"refreshed {shown(fresh_at)}")


def shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
