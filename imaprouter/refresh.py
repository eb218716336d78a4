"""The portal comes into the deal index: everything (full), or what changed since (incremental).

A full refresh writes pages as they come, each row stamped with the refresh's generation; only at the end,
and only if the result is believable, rows that it did not see are dropped. Deletions show up in no list of
changes (rest.md 4.5), so only a full refresh finds them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import TypeVar

from imaprouter.bitrix24 import index as source
from imaprouter.bitrix24.portal import Portal
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

_T = TypeVar("_T")


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
    last = index.moment(LAST)
    full = full or last is None or index.moment(LAST_FULL) is None
    since = None if full or last is None else last - OVERLAP
    before = index.counts()
    generation = index.generation()
    if full:
        generation += 1
        index.facts.set("generation", str(generation))
    started, read = _read_all(portal, index, since, generation, progress)
    if full:
        _drop_stale(index, before, generation, force)
    with index.writing():
        index.facts.set(LAST, str(to_text(started)))
        if full:
            index.facts.set(LAST_FULL, str(to_text(started)))
    return Report(full, index.counts(), read, portal.requests_used - used)


def _read_all(
    portal: Portal, index: Index, since: datetime | None, generation: int, progress: Progress
) -> tuple[datetime, dict[str, int]]:
    """The portal's time before the first row was read, and how many rows of each kind there were."""
    started = datetime.now(UTC)
    read = dict.fromkeys((*KINDS, "sent_letters"), 0)
    portions = source.everything(portal, since, since or started - SENT_LETTERS_SINCE)
    for portion in _ahead(portions):
        if isinstance(portion, datetime):
            started = portion
            continue
        _keep(index, portion, generation)
        for kind in read:
            if rows := len(getattr(portion, kind)):
                read[kind] += rows
                progress(kind, read[kind])
    return started, read


def _keep(index: Index, portion: source.Portion, generation: int) -> None:
    with index.writing():
        index.put_users(portion.users, generation)
        index.put_companies(portion.companies, generation)
        index.put_contacts(portion.contacts, generation)
        index.put_leads(portion.leads, generation)
        index.put_deals(portion.deals, generation)
        index.put_sent_letters(portion.sent_letters)


def _ahead(items: Iterator[_T]) -> Iterator[_T]:
    """The same items, each asked for while the one before it is being used.

    Its thread is a daemon: who breaks off the program does not wait for the answer that is under way.
    """
    coming = _begin(items)
    while (item := _end(coming)) is not None:
        coming = _begin(items)
        yield item


def _begin(items: Iterator[_T]) -> SimpleQueue[_T | BaseException | None]:
    """Ask for the next item; it comes into the queue, None at the end, or the error."""
    result: SimpleQueue[_T | BaseException | None] = SimpleQueue()

    def ask() -> None:
        try:
            result.put(next(items, None))
        except BaseException as error:
            result.put(error)

    threading.Thread(target=ask, name="refresher ahead", daemon=True).start()
    return result


def _end(coming: SimpleQueue[_T | BaseException | None]) -> _T | None:
    item = coming.get()
    if isinstance(item, BaseException):
        raise item
    return item


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
