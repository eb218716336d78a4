"""Our own clock is off, or jumps while the service runs. What waits for a time waits by the monotonic one."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from dovecot import Dovecot
from office import letter

from faults.harness import Site
from faults.proxy import Proxy
from imaprouter.arrival import WatchedFolder
from imaprouter.policy import RoutingPolicy
from imaprouter.store.journal import Journal
from imaprouter.watcher import REFUSED_PAUSE, Watcher

MakeSite = Callable[..., Site]

TEN_MINUTES, DAY = timedelta(minutes=10), timedelta(days=1)
#: In seconds.
HOUR = 3600.0


@pytest.mark.parametrize("off", [TEN_MINUTES, -TEN_MINUTES], ids=["ahead", "behind"])
def test_clock_is_off_from_the_start(make_site: MakeSite, off: timedelta) -> None:
    """Ten minutes: mail and activities are told by their own times."""
    site = make_site()
    site.set_clock(off)
    with site.case():
        site.post()
        site.sync.sync_once()
        site.until(site.book.caught_up)


@pytest.mark.parametrize("days", [40, 1, -1, -40])
def test_clock_jumps_and_comes_back(site: Site, days: int) -> None:
    """Letters before, meanwhile and afterwards; nothing waits for the time that the clock once told."""
    with site.case():
        site.post()
        for message_id in list(site.book.fates)[-3:]:
            site.until_known(message_id)
        site.set_clock(days * DAY)
        site.post()
        for message_id in list(site.book.fates)[-3:]:
            site.until_known(message_id)
        site.set_clock(timedelta())
        site.post()


def test_attempts_that_a_wrong_clock_has_put_off(site: Site) -> None:
    """The portal refused while our clock was a day ahead; once it is right, tomorrow is not waited for."""
    with site.case():
        site.set_clock(DAY)
        site.portal.faults.add(
            "command_error", method="crm.activity.binding.move", times=None, code="ACCESS_DENIED"
        )
        site.post("moved")
        site.sync.sync_once()
        site.until_said("activity.put_off")


def test_the_index_is_refreshed_by_a_clock_that_is_behind(make_site: MakeSite) -> None:
    """The portal's clock stamps the index: to ours that is tomorrow."""
    site = make_site()
    site.options["cache.refresh_every"] = "'1s'"
    site.set_clock(-DAY)
    with site.case():
        site.until_said("index.refreshed", 3)
        site.post()


class PlayedTime(threading.Event):
    """A stop event whose time passes as fast as it is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


def test_login_refused_for_an_hour(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """By the service's own pauses: few attempts, and back within the longest of them."""
    played, journal_path = PlayedTime(), tmp_path / "journal.db"
    Journal(journal_path).close()
    dovecot.maildir(user)
    dovecot.deliver(user, letter())

    def refuse(data: bytes) -> bytes:
        if played.now >= HOUR:
            return data
        return re.sub(rb"(\w+) OK [^\r]*Logged in", rb"\1 NO [AUTHENTICATIONFAILED] No.", data)

    folder = WatchedFolder(
        mailbox="sales",
        name="INBOX",
        kind="incoming",
        own_addresses=frozenset({"sales@company.ru"}),
        house_addresses=frozenset({"sales@company.ru"}),
        start="all",
        policy=RoutingPolicy(),
        live_lookup=False,
    )
    with Proxy(dovecot.port) as proxy:
        proxy.mangle = refuse
        account = dovecot.account(user, port=proxy.port)
        Watcher(folder, account, journal_path, played, on_news=played.set).run()
        attempts = proxy.connections
    with contextlib.closing(Journal(journal_path)) as journal:
        assert journal.messages.count() == 1
    assert HOUR <= played.now <= HOUR + REFUSED_PAUSE
    assert attempts <= HOUR / REFUSED_PAUSE + 3
