"""Why Bitrix24 probably made no activity of a letter, by the rules of its mail (mail-internals 1.8). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from imaprouter.model import Direction, Outcome

# crm_sync_days as it is set at connection, by the Date header (mail-internals 1.5).
_CRM_SYNC = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is known of a letter without an activity. Instants are aware."""

    folder: str
    direction: Direction
    #: By its Date; None when that cannot be read.
    written_at: datetime | None
    arrived_at: datetime
    outcome: Outcome
    #: An earlier letter of the mailbox has its Message-ID.
    repeats: bool
    #: When Bitrix24 made the newest activity of a letter of the mailbox; None: there is none.
    newest_activity: datetime | None


def likely_reason(letter: Skipped) -> str:
    """The first that applies: what holds for the whole mailbox, then for the folder, then for the letter."""
    if letter.newest_activity is None:
        return (
            "it has made none of any letter of this mailbox: the mailbox is not connected to the CRM there,"
            " or the webhook's user may not see the activities"
        )
    if letter.newest_activity < letter.arrived_at:
        since = f"{letter.newest_activity:%Y-%m-%d %H:%M %Z}"
        return (
            f"it has made none in this mailbox since {since}: its mail sync stands still"
            " (switched off, a changed password, or the portal sleeps)"
        )
    if "/" in letter.folder.strip("/"):
        return (
            f"the folder {letter.folder} lies below another: Bitrix24 syncs it only when it is ticked there"
        )
    if letter.written_at and letter.arrived_at - letter.written_at > _CRM_SYNC:
        days = (letter.arrived_at - letter.written_at).days
        return f"its Date is {days} days before it arrived: too old for the CRM, whose usual limit is 7 days"
    if letter.repeats:
        return "the mailbox had the same mail before"
    if letter.direction is Direction.OUTGOING:
        return "everybody it went to is an employee there, or unknown to the CRM"
    if letter.outcome in (Outcome.LEAVE, Outcome.IGNORE):
        return "its sender is unknown to the CRM, and new leads of mail are switched off or it is excluded"
    return "its sender is on the CRM's exclusion list or the mail's blacklist, or counts as an employee there"
