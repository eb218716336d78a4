"""`python quick.py ARGS` is `imaprouter ARGS` with a test's patience: minutes have become moments.

What waits, and in which order, stays as it is; only how long.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from imaprouter import watcher
from imaprouter.binder import correction, loop, pairs
from imaprouter.bitrix24 import patience
from imaprouter.cli import main
from imaprouter.config.values import LIMITS
from imaprouter.mailbox import Session, Timeouts, backoff

#: One command of IMAP; a server that is stopped for longer has not answered in time.
COMMAND = 2.0


def hurry() -> None:
    _defaults(Session.__init__)["timeouts"] = Timeouts(
        connect=1.0, command=COMMAND, idle_renewal=1.0, poll=0.2
    )
    _defaults(backoff).update(base=0.1, cap=0.5)
    for module, name, value in (
        (watcher, "SAFETY_POLL", 2.0),
        (watcher, "REFUSED_PAUSE", 0.5),
        (correction, "RETRY_AFTER", (timedelta(seconds=0.5),)),
        (correction, "RETRY_REFUSED", timedelta(seconds=1)),
        (loop, "QUIET_POLL", 1.0),
        (loop, "LEARN_EVERY", 1.0),
        (loop, "SHORTEST_PAUSE", 0.2),
        (pairs, "TWIN_GRACE", timedelta(seconds=0.5)),
        (patience, "_FIRST_WAIT", 0.05),
        (patience, "_LONGEST_WAIT", 0.2),
        (patience, "_JITTER", 0.05),
    ):
        assert hasattr(module, name), name
        setattr(module, name, value)
    LIMITS["binding.wait"] = (timedelta(seconds=1), timedelta(days=30))


def _defaults(function: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = function.__kwdefaults__
    return defaults


if __name__ == "__main__":
    hurry()
    main()
