"""Whether a failed request is sent again, and the wait before it: growing, jittered, ended by `stop`."""

from __future__ import annotations

import logging
import random
import threading
import time
from datetime import UTC, datetime

import stamina

from imaprouter.errors import PortalBusy, PortalOutcomeUnknown, PortalUnreachable
from imaprouter.log import event

ATTEMPTS = 6
_FIRST_WAIT, _LONGEST_WAIT, _JITTER = 0.5, 15.0, 1.0

_log = logging.getLogger(__name__)


class Patience:
    """Stamina's back-off hook for one request.

    It waits itself and asks stamina for no further wait, since stamina sleeps where `stop` cannot wake it.
    What proves that nothing was executed is repeated for any call; an unknown outcome only for a read.
    """

    def __init__(self, *, read: bool, seconds: float, stop: threading.Event) -> None:
        self._read = read
        self._stop = stop
        self._deadline = time.monotonic() + seconds
        self._failures = 0

    def __call__(self, error: Exception) -> bool | float:
        """False: give up. 0.0: the wait is over, try again."""
        self._failures += 1
        wait = self._wait(error)
        if wait is None or self._failures >= ATTEMPTS or time.monotonic() + wait > self._deadline:
            return False
        event(_log, logging.WARNING, "portal.retry", error=str(error), again_in=f"{wait:.1f}s")
        return False if self._stop.wait(wait) else 0.0

    def _wait(self, error: Exception) -> float | None:
        """Seconds before the next attempt; None when another attempt is wrong or useless."""
        if isinstance(error, PortalOutcomeUnknown):
            if not self._read:
                return None
        elif not isinstance(error, PortalUnreachable | PortalBusy):
            return None
        if stamina.is_testing():
            return 0.0
        jitter = random.uniform(0, _JITTER)
        growing = min(_FIRST_WAIT * 2.0 ** (self._failures - 1), _LONGEST_WAIT) + jitter
        if isinstance(error, PortalBusy) and error.retry_at is not None:
            return max((error.retry_at - datetime.now(UTC)).total_seconds() + jitter, growing)
        return growing
