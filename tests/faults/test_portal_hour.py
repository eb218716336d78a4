"""A portal that refuses for an hour, with the pauses of a real service on a clock that is played."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from faults.harness import Site
from faults.laws import SEED
from imaprouter.binder import correction, loop
from imaprouter.bitrix24 import patience, portal
from imaprouter.model import State
from imaprouter.policy import BindingPolicy
from imaprouter.reasons import ENGLISH

HOUR = 3600.0
#: The longest pause between two rounds, and the patience with one request.
LONGEST = 300.0 + 120.0


class Played(threading.Event):
    """A stop event of which every wait is over at once, when `passed` is so many seconds later."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        self.began = datetime.now(UTC)
        self.on_wait: Callable[[], None] = lambda: None

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.passed += timeout
        self.on_wait()
        return self.is_set()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        played = self

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return (played.began + timedelta(seconds=played.passed)).astimezone(tz)

        clock = SimpleNamespace(
            monotonic=lambda: time.monotonic() + played.passed,
            monotonic_ns=lambda: time.monotonic_ns() + int(played.passed * 1e9),
        )
        for module in (loop, patience, portal):
            monkeypatch.setattr(module, "time", clock)
        for module in (loop, correction, patience, portal):
            monkeypatch.setattr(module, "datetime", Clock)


@pytest.mark.parametrize(
    ("status", "code", "most"), [(401, "INVALID_CREDENTIALS", 40), (503, "QUERY_LIMIT_EXCEEDED", 450)]
)
def test_an_hour(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, status: int, code: str, most: int
) -> None:
    """The binder asks ever more seldom, `most` requests in all, and goes on within its longest pause.

    A limit is waited for where it strikes, with up to six attempts at each request: hence more of them.
    """
    site = make_site()
    site.post("moved")
    site.run_once()
    assert [message.state for message in site.messages()] == [State.WAITING]
    site.sync.sync_once()
    played = Played()
    played.install(monkeypatch)
    random.seed(SEED)
    site.portal.faults.add("error", status=status, code=code, times=None)
    asked_before, in_the_hour = len(site.portal.requests), 0

    def pass_time() -> None:
        nonlocal in_the_hour
        if played.passed >= HOUR and not in_the_hour:
            in_the_hour = len(site.portal.requests) - asked_before
            site.portal.faults.clear()
        if played.passed > HOUR + 2 * LONGEST or site.settled(1):
            played.set()

    played.on_wait = pass_time
    client = portal.Portal(site.portal.webhook_url, stop=played)
    binder = loop.BinderLoop(
        client,
        site.folder / "imaprouter.db",
        BindingPolicy(),
        mailbox_emails={"sales": frozenset({"sales@company.ru", site.user})},
        watched=lambda mailbox, folder: None,
        language=ENGLISH,
        stop=played,
    )
    binder.run()
    client.close()
    print(f"\n{code}: {in_the_hour} requests in the hour, done {played.passed - HOUR:.0f} s after its end")
    assert 5 < in_the_hour <= most
    assert site.settled(1)
    assert played.passed <= HOUR + LONGEST
