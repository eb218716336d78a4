"""The portal comes into the deal index: everything (full), or what changed since (incremental).

A full refresh writes pages as they come, each row stamped with the refresh's generation; only at the end,
and only if the result is believable, rows that it did not see are dropped. Deletions show up in no list of
changes (rest.md 4.5), so only a full refresh finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from imaprouter.bitrix24 import index as source
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.probes import server_time
from imaprouter.errors import StoreError
from imaprouter.store.database import to_text
from imaprouter.store.index import Index
from imaprouter.store.index_writes import KINDS

# Changes are listed by whole seconds, and a transaction may become visible late (rest.md 4.5).
OVERLAP = timedelta(minutes=5)
# Ancestors of threads that are still going on; older letters are found by their other ids.
SENT_LETTERS_SINCE = timedelta(days=180)
# Below this many rows even a large part may go in one clean-up.
SMALL = 20

LAST_FULL = "refreshed_full_at"
LAST = "refreshed_at"

#: Told after every page: what is being read, and how many rows of it there are so far.
Progress = Callable[[str, int], None]

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Report:
    full: bool
    counts: dict[str, int]
    #: Rows read from the portal.
    read: dict[str, int]
    requests: int


def refresh(
    portal: Portal,
    index: Index,
    *,
    full: bool = False,
    force: bool = False,
    progress: Progress = lambda kind, rows: None,
) -> Report:
    """Bring `index` up to date; the first refresh is always a full one.

    Raises PortalError when the portal cannot be read (what was read is kept, nothing is dropped), and
    StoreError when the index would shrink absurdly, unless `force`.
    """
    used = portal.requests_used
    started = server_time(portal)
    last = index.moment(LAST)
    full = full or last is None or index.moment(LAST_FULL) is None
    since = None if full or last is None else last - OVERLAP
    before = index.counts()
    generation = index.generation()
    if full:
        generation += 1
        index.facts.set("generation", str(generation))
    read = _read_all(portal, index, since, generation, started, progress)
    if full:
        _drop_stale(index, before, generation, force)
    with index.writing():
        index.facts.set(LAST, str(to_text(started)))
        if full:
            index.facts.set(LAST_FULL, str(to_text(started)))
    return Report(full, index.counts(), read, portal.requests_used - used)


def _read_all(
    portal: Portal, index: Index, since: datetime | None, generation: int, now: datetime, progress: Progress
) -> dict[str, int]:
    read: dict[str, int] = {}

    def keep(kind: str, pages: Iterator[list[_Row]], put: Callable[[Sequence[_Row]], None]) -> None:
        read[kind] = 0
        for page in pages:
            with index.writing():
                put(page)
            read[kind] += len(page)
            progress(kind, read[kind])

    keep("users", iter([source.users(portal)]), lambda page: index.put_users(page, generation))
    keep("companies", source.companies(portal, since), lambda page: index.put_companies(page, generation))
    keep("contacts", source.contacts(portal, since), lambda page: index.put_contacts(page, generation))
    keep("leads", source.leads(portal, since), lambda page: index.put_leads(page, generation))
    keep("deals", source.deals(portal, since), lambda page: index.put_deals(page, generation))
    letters = source.outgoing_emails(portal, since or now - SENT_LETTERS_SINCE)
    keep("sent_letters", letters, index.put_sent_letters)
    return read


def _drop_stale(index: Index, before: dict[str, int], generation: int, force: bool) -> None:
    """Drop what the portal no longer shows, unless that is hard to believe."""
    stale = {kind: index.count_stale(kind, generation) for kind in KINDS}
    absurd = [kind for kind in KINDS if _absurd(before[kind], stale[kind])]
    if absurd and not force:
        figures = ", ".join(f"{stale[kind]} of {before[kind]} {kind}" for kind in absurd)
        raise StoreError(
            f"the portal no longer shows {figures}: the index is left as it is",
            advice="check the webhook's rights; if it is true, run 'imaprouter cache refresh --full --force'",
        )
    with index.writing():
        for kind in KINDS:
            index.drop_stale(kind, generation)


def _absurd(before: int, gone: int) -> bool:
    everything = gone > 0 and gone >= before
    return everything or (before >= SMALL and gone * 2 > before)
