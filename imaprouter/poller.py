"""The portal's new e-mail activities come into the journal, whether or not their message was read yet.

Ids grow in the order of insertion, so `>ID` with a stored cursor is cheap. The first question goes by
CREATED, which is never earlier than the mail's arrival (mail-internals 3.6); when a mailbox is added later
whose mail is older than what was covered, the gap is read the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain

from imaprouter.bitrix24.activities import email_activities, email_activities_after
from imaprouter.bitrix24.portal import Portal
from imaprouter.model import Activity
from imaprouter.store.database import to_moment, to_text
from imaprouter.store.journal import Journal

# The mail server's clock against the portal's.
CLOCK_SKEW = timedelta(minutes=15)

_LAST_ID = "activities.last_id"
COVERED_SINCE = "activities.covered_since"


def poll(portal: Portal, journal: Journal, now: datetime) -> int:
    """Read the activities that appeared since the last poll; returns how many were new.

    Nothing is asked before a message waits for the first time. Raises PortalError; what was read until then
    is kept.
    """
    earliest = journal.messages.earliest_unpaired()
    covered = to_moment(journal.facts.get(COVERED_SINCE))
    last_id = int(journal.facts.get(_LAST_ID) or 0)
    if covered is None:
        if earliest is None:
            return 0
        covered = earliest - CLOCK_SKEW
        pages = email_activities(portal, created_since=covered)
    else:
        pages = _news(portal, covered, last_id, journal.messages.count_unpaired())
        if earliest and earliest - CLOCK_SKEW < covered:
            gap = email_activities(portal, created_since=earliest - CLOCK_SKEW, created_until=covered)
            pages = chain(gap, pages)
            covered = earliest - CLOCK_SKEW
    fresh = 0
    for page in pages:
        last_id = max([last_id, *(activity.id for activity in page)])
        with journal.transaction():
            fresh += journal.activities.add(page, now)
            journal.facts.set(_LAST_ID, str(last_id))
    journal.facts.set(COVERED_SINCE, str(to_text(covered)))
    return fresh


def _news(portal: Portal, covered: datetime, last_id: int, expected: int) -> Iterator[list[Activity]]:
    if last_id:
        yield email_activities_after(portal, last_id, expected)
    else:
        yield from email_activities(portal, created_since=covered)
