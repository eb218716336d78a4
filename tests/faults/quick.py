"""`python quick.py ARGS` is `imaprouter ARGS` with a test's patience: minutes have become moments.

What waits, and in which order, stays as it is; only how long. The machine's clock can be set while it runs: a
file `clock` beside the configuration says by how many seconds it is off.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from imaprouter import pulse, recorder, service, teller, watcher
from imaprouter.binder import correction, loop, pairs
from imaprouter.bitrix24 import listing, patience, portal
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
    LIMITS["cache.refresh_every"] = (timedelta(seconds=1), timedelta(days=1))
    LIMITS["binding.wait"] = (timedelta(seconds=1), timedelta(days=30))


class Clock(datetime):
    """The machine's clock, as the rooms of the service read it."""

    file: Path

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        off = 0.0
        with suppress(FileNotFoundError):
            off = float(cls.file.read_text())
        return datetime.now(tz) + timedelta(seconds=off)


def set_clock(file: Path) -> None:
    Clock.file = file
    for module in (
        *(watcher, recorder, pulse, teller, service),
        *(correction, loop, portal, patience, listing),
    ):
        assert hasattr(module, "datetime"), module
        module.datetime = Clock  # type: ignore[attr-defined]


def _defaults(function: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = function.__kwdefaults__
    return defaults


if __name__ == "__main__":
    hurry()
    set_clock(Path(sys.argv[sys.argv.index("--config") + 1]).with_name("clock"))
    main()
