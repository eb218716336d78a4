"""One transfer from beginning to end: sources in order of their ids, portion by portion."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.timelines import activities_of, sources
from imaprouter.errors import ConfigError, PortalRefused
from imaprouter.model import Binding
from imaprouter.store.journal import Journal
from imaprouter.timelines import Fate, Left, Moved, News, Source, Transfer, Unclear, Way
from imaprouter.transfer.moving import ROUND, Mover, existing

#: Sources whose activities are asked for together, at most.
PORTION = 200

Progress = Callable[[int, int], None]


def sources_of(portal: Portal, transfer: Transfer, wanted: Sequence[int] | None = None) -> list[Source]:
    """The sources. ConfigError when the portal does not take a condition; PortalError."""
    try:
        return sources(portal, transfer, wanted)
    except PortalRefused as error:
        if not transfer.where or error.code != "invalid_arg_value":
            raise
        conditions = ", ".join(map(str, transfer.where))
        raise ConfigError(
            f"Bitrix24 does not take the condition {conditions}: {error.message}",
            advice=f"name a field of {transfer.source.type}s as the portal's crm.item.list has it",
        ) from error


class Run:
    """One transfer. What was done is on record; a run that was broken off is gone on with by the next."""

    def __init__(
        self,
        portal: Portal,
        journal: Journal,
        mover: Mover,
        transfer: Transfer,
        stop: threading.Event,
        *,
        rehearse: bool = False,
        anew: bool = False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`rehearse`: `mover` writes nothing, and nothing is put on record. `anew` forgets an earlier run."""
        self._portal = portal
        self._journal = journal
        self._mover = mover
        self._transfer = transfer
        self._stop = stop
        self._rehearse = rehearse
        self._anew = anew
        self._tell = tell
        #: How many activities ended how, those of a run that was gone on with included.
        self.counts: Counter[Fate] = Counter()

    def run(self, progress: Progress) -> Iterator[Left | Moved]:
        """Do what is left to do; yields sources that go nowhere, and every activity.

        Raises ConfigError for a condition that the portal does not take, and PortalError.
        """
        found = sources_of(self._portal, self._transfer)
        if not found and self._transfer.source.id:
            place = self._transfer.source
            raise ConfigError(f"Bitrix24 has no {place.type} {place.id}, or none that meets the conditions")
        clear = []
        for source in found:
            if source.target:
                clear.append(source)
            else:
                yield Left(source, Unclear.SEVERAL if source.candidates else Unclear.NONE)
        left = self._left(clear)
        size = max(1, min(PORTION, len(clear) // 20))
        done = len(clear) - len(left)
        progress(done, len(clear))
        for start in range(0, len(left), size):
            portion = left[start : start + size]
            yield from self._portion(portion, progress if len(clear) == 1 else _silent)
            if self._stop.is_set():
                return
            done += len(portion)
            self._reach(portion[-1].binding.entity_id)
            progress(done, len(clear))
        if not self._rehearse:
            self._journal.transfers.end(str(self._transfer))

    def _left(self, clear: Sequence[Source]) -> list[Source]:
        """The sources behind those that an earlier run has done."""
        request = str(self._transfer)
        begun = None if self._rehearse else self._journal.transfers.begun(request)
        if begun and self._anew:
            self._journal.transfers.end(request)
        elif begun:
            self._tell(
                f"goes on with the transfer of {begun.begun_at:%Y-%m-%d %H:%M} UTC; --anew begins anew"
            )
            self.counts.update(begun.counts)
            return [source for source in clear if source.binding.entity_id > begun.position]
        return list(clear)

    def _portion(self, portion: Sequence[Source], progress: Progress) -> Iterator[Left | Moved]:
        known = existing(self._portal, [source.target for source in portion if source.target])
        ways: dict[Binding, Binding] = {}
        for source in portion:
            if source.target in known:
                ways[source.binding] = source.target
            else:
                yield Left(source, Unclear.TARGET_GONE)
        # In which of the timelines an activity lies, its bindings tell: here all are possible.
        found: dict[int, News] = {}
        for some in activities_of(self._portal, list(ways), self._transfer) if ways else ():
            found.update((news.id, news) for news in some)
            if self._stop.is_set():
                return
        everywhere: tuple[Way, ...] = tuple(ways.items())
        numbers = sorted(found)
        for start in range(0, len(numbers), ROUND):
            if self._stop.is_set():
                return
            wanted = {found[number]: everywhere for number in numbers[start : start + ROUND]}
            for moved in self._mover.move(wanted, keep=self._transfer.keep):
                self.counts[moved.fate] += 1
                yield moved
            progress(min(start + ROUND, len(numbers)), len(numbers))

    def _reach(self, position: int) -> None:
        if not self._rehearse:
            now = datetime.now(UTC)
            with self._journal.transaction():
                self._journal.transfers.reach(str(self._transfer), position, dict(self.counts), now)


def _silent(done: int, total: int) -> None:
    pass
