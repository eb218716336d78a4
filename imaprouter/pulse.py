"""Each part of the service writes down that it works, or that it fails and why, for those who ask.

What cannot be written is logged and no more: a full disk must not hide the error that it was about.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from imaprouter.errors import ImaprouterError, StoreError
from imaprouter.log import event, mask
from imaprouter.standing import Part
from imaprouter.store.journal import Journal
from imaprouter.store.parts import Parts

logger = logging.getLogger(__name__)

# Every note is a synchronous write.
SELDOM = 30.0
_LONGEST_ERROR = 500


class PulseWriter:
    """The pulse of one part; belongs to its thread. The constructor does no I/O.

    Once `stop` is set nothing counts as a failure: what breaks off then was told to.
    """

    def __init__(self, journal_path: Path, part: Part, stop: threading.Event) -> None:
        self.part = part
        self._journal_path = journal_path
        self._stop = stop
        #: When it was noted last, by whether its server had been heard.
        self._noted = {True: -SELDOM, False: -SELDOM}
        #: What is on record may be a failure: of this run, or of one before.
        self._fails = True

    def works(self, *, heard: bool = True) -> None:
        """The part is at work, and `heard` its server; on record at once after a failure, else seldom."""
        if self._fails or time.monotonic() >= self._noted[heard] + SELDOM:
            now = datetime.now(UTC)
            self._fails = not self._write(lambda parts: parts.works(self.part, now, heard=heard))
            self._noted[False] = time.monotonic()
            if heard:
                self._noted[True] = time.monotonic()

    def fails(self, error: ImaprouterError) -> None:
        if self._stop.is_set():
            return
        self._fails = True
        text, name, now = mask(str(error))[:_LONGEST_ERROR], type(error).__name__, datetime.now(UTC)
        self._write(lambda parts: parts.fails(self.part, text, name, now))

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Note an error of ours that leaves this block."""
        try:
            yield
        except ImaprouterError as error:
            self.fails(error)
            raise

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """As `failures`; note too when all went well."""
        with self.failures():
            yield
        self.works()

    def _write(self, write: Callable[[Parts], None]) -> bool:
        """Whether it is on record."""
        try:
            journal = Journal(self._journal_path)
            try:
                with journal.transaction():
                    write(journal.parts)
            finally:
                journal.close()
        except StoreError as error:
            event(logger, logging.WARNING, "pulse.unwritten", part=str(self.part), error=str(error))
            return False
        return True
