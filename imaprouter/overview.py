"""Journal and index into a `Standing`: how the service stands, without asking a server."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from imaprouter.refresh import LAST, LAST_FULL
from imaprouter.standing import BINDER, INDEX, FolderStanding, Part, Pulse, Standing
from imaprouter.store.index import Index
from imaprouter.store.journal import Journal


def overview(
    journal: Journal, index: Index | None, folders: Iterable[Part], review_after: timedelta, now: datetime
) -> Standing:
    """`folders` are those that are watched; `index` None: there is no such file. Raises StoreError."""
    pulses = journal.parts.all()
    return Standing(
        now=now,
        folders=tuple(_folder(journal, part, pulses.get(part, Pulse())) for part in folders),
        index=pulses.get(INDEX, Pulse()),
        binder=pulses.get(BINDER, Pulse()),
        refreshed_at=index.moment(LAST) if index else None,
        refreshed_fully_at=index.moment(LAST_FULL) if index else None,
        tallies=journal.figures.tallies(),
        overdue=journal.figures.overdue(now - review_after),
        missing=journal.figures.missing(),
        observed=journal.figures.observed(),
    )


def _folder(journal: Journal, part: Part, pulse: Pulse) -> FolderStanding:
    progress = journal.figures.progress(part.mailbox, part.folder)
    if progress is None:
        return FolderStanding(part, pulse)
    return FolderStanding(
        part,
        pulse,
        cursor=progress.cursor,
        last_uid=progress.last_uid,
        last_arrived_at=progress.last_arrived_at,
        last_recorded_at=progress.last_recorded_at,
    )
