"""The service: a watcher per folder, the index refresh, the binder; started, watched over and stopped.

They are threads that share nothing but the two SQLite files, the portal client and a stop event. A thread
that ends for a reason that nobody foresaw ends the service: a part that is silently missing loses mail.
"""

from __future__ import annotations

import contextlib
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from gettext import NullTranslations
from types import FrameType

from imaprouter.address import normalise
from imaprouter.arrival import WatchedFolder
from imaprouter.binder.loop import BinderLoop
from imaprouter.bitrix24.portal import Portal
from imaprouter.config import MailboxSettings, Settings
from imaprouter.errors import ImaprouterError, MailboxError, PortalError, StoreDamaged, StoreError
from imaprouter.log import event
from imaprouter.mailbox import Account, backoff
from imaprouter.reasons import ENGLISH
from imaprouter.refresh import LAST, LAST_FULL, Report, refresh
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal
from imaprouter.store.lock import exclusive
from imaprouter.store.soundness import refuse_damaged, set_aside_damaged
from imaprouter.watcher import Watcher

logger = logging.getLogger(__name__)

# A stop is obeyed within two seconds: half of that for what is under way, then requests are broken off.
GRACE = 1.0
# After a full refresh that would shrink the index absurdly.
FULL_AGAIN = timedelta(hours=1)


class Service:
    """Everything that `run` runs, from one configuration. The constructor does no I/O."""

    def __init__(self, settings: Settings, *, language: NullTranslations = ENGLISH) -> None:
        """Raises ConfigError when portal or mailboxes are not configured."""
        portal = settings.require_portal()
        mailboxes = settings.require_mailboxes()
        self._settings = settings
        self._journal_path = settings.store.path
        self._stop = threading.Event()
        self._index_ready = threading.Event()
        self._failure: BaseException | None = None
        self._full_refused_at: datetime | None = None
        self._portal = Portal.configured(portal, stop=self._stop)
        folders = list(_watched_folders(mailboxes, settings))
        self._watched = {(watched.mailbox, watched.name): watched for _, watched in folders}
        self._binder = BinderLoop(
            self._portal,
            self._journal_path,
            settings.binding,
            mailbox_emails={mailbox.name: _portal_names(mailbox) for mailbox in mailboxes},
            watched=lambda mailbox, folder: self._watched.get((mailbox, folder)),
            language=language,
            stop=self._stop,
        )
        self._watchers = [
            Watcher(
                watched,
                account,
                self._journal_path,
                self._stop,
                header_bytes=settings.limits.header_bytes,
                on_news=self._binder.wake,
            )
            for account, watched in folders
        ]

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or `stop()`. Raises StoreBusy, or what ended a part unexpectedly."""
        with exclusive(self._journal_path), _signals(self.stop):
            self._examine_files()
            threads = self._start()
            event(logger, logging.INFO, "service.started", folders=len(self._watchers))
            while not self._stop.wait(0.5):
                continue
            event(logger, logging.INFO, "service.stopping")
            self._end(threads)
        event(logger, logging.INFO, "service.stopped")
        if self._failure:
            raise self._failure

    def run_once(self) -> int:
        """Refresh, catch up, bind what can be bound now; returns the number of messages recorded.

        Raises the first ImaprouterError; a mailbox that fails does not keep the others from being read. It is
        no error when a stop breaks off what is under way.
        """
        recorded = 0
        with exclusive(self._journal_path), _signals(self.stop), contextlib.closing(self._portal):
            self._examine_files()
            try:
                first_error = self._refresh_before_reading()
                for watcher in self._watchers:
                    if self._stop.is_set():
                        break
                    try:
                        recorded += watcher.run_once()
                    except ImaprouterError as error:
                        self._tell_of_error("folder.failed", error, folder=str(watcher.watched))
                        first_error = first_error or error
                self._binder.run_until_quiet()
            except (MailboxError, PortalError) as error:
                first_error = error
        if first_error and not (self._stop.is_set() and isinstance(first_error, (MailboxError, PortalError))):
            raise first_error
        return recorded

    def _tell_of_error(self, name: str, error: ImaprouterError, **fields: str) -> None:
        if not self._stop.is_set():
            event(logger, logging.ERROR, name, **fields, error=str(error))

    def bind_once(self) -> None:
        """Carry out what waits, without reading mail. Raises StoreBusy while a service runs, PortalError."""
        with exclusive(self._journal_path), _signals(self.stop), contextlib.closing(self._portal):
            self._binder.run_until_quiet()

    def stop(self) -> None:
        """End `run`; may be called from any thread."""
        self._stop.set()

    # ── threads ───────────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> list[threading.Thread]:
        parts: dict[str, Callable[[], None]] = {
            "refresher": self._refresh_loop,
            "binder": self._after_first_refresh(self._binder.run),
        }
        for watcher in self._watchers:
            parts[f"watcher {watcher.watched}"] = self._after_first_refresh(watcher.run)
        threads = [
            threading.Thread(target=self._guarded, args=(name, part), name=name, daemon=True)
            for name, part in parts.items()
        ]
        for thread in threads:
            thread.start()
        return threads

    def _guarded(self, name: str, part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:
            event(logger, logging.CRITICAL, "service.part_failed", part=name, error=str(error))
            self._failure = self._failure or error
            self._stop.set()

    def _after_first_refresh(self, part: Callable[[], None]) -> Callable[[], None]:
        """Letters are not decided against an index that was never filled; they wait on the server."""

        def run() -> None:
            while not self._stop.is_set():
                if self._index_ready.wait(0.2):
                    return part()
            return None

        return run

    def _end(self, threads: list[threading.Thread]) -> None:
        deadline = time.monotonic() + GRACE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            # Its outcome is unknown; the next start reads before it writes.
            self._portal.abort()
            for thread in threads:
                thread.join(max(0.0, deadline + GRACE - time.monotonic()))
        self._portal.close()

    def _examine_files(self) -> None:
        """A damaged journal is refused; a damaged index makes room for a new one, which a refresh fills."""
        refuse_damaged(self._journal_path)
        Journal(self._journal_path).close()
        aside = set_aside_damaged(index_path(self._journal_path))
        if aside:
            event(logger, logging.WARNING, "index.damaged", moved_to=str(aside))

    # ── index ─────────────────────────────────────────────────────────────────────────────────────────

    def _refresh_before_reading(self) -> ImaprouterError | None:
        """Refresh; with an index from before, a refresh that fails is no reason not to read."""
        try:
            self._refresh_if_due()
        except (PortalError, StoreError) as error:
            if not self._index_ready.is_set():
                raise
            self._tell_of_error("index.refresh_failed", error)
            return error
        return None

    def _refresh_loop(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._refresh_if_due()
                failures = 0
                pause = self._settings.cache.refresh_every.total_seconds()
            except StoreDamaged:
                raise
            except (PortalError, StoreError) as error:
                if self._stop.is_set():
                    return
                failures += 1
                pause = backoff(failures, random=random.random)
                event(
                    logger, logging.ERROR, "index.refresh_failed", error=str(error), again_in=f"{pause:.0f}s"
                )
            self._stop.wait(pause)

    def _refresh_if_due(self) -> None:
        index = Index(index_path(self._journal_path))
        try:
            now = datetime.now(UTC)
            cache = self._settings.cache
            if index.moment(LAST):
                self._index_ready.set()
            wants_full = _is_older(index.moment(LAST_FULL), now - cache.full_every)
            if wants_full and _is_older(self._full_refused_at, now - FULL_AGAIN):
                self._refresh_fully(index, now)
            elif _is_older(index.moment(LAST), now - cache.refresh_every + timedelta(seconds=1)):
                self._tell(refresh(self._portal, index))
            self._index_ready.set()
        finally:
            index.close()

    def _refresh_fully(self, index: Index, now: datetime) -> None:
        try:
            self._tell(refresh(self._portal, index, full=True))
        except StoreError:
            # It is hard to believe, and will be in five minutes: read changes only, for a while.
            self._full_refused_at = now
            raise

    def _tell(self, report: Report) -> None:
        event(
            logger,
            logging.INFO,
            "index.refreshed",
            full=report.full,
            requests=report.requests,
            **{f"read_{kind}": rows for kind, rows in report.read.items()},
        )


def _is_older(moment: datetime | None, than: datetime) -> bool:
    return moment is None or moment < than


def _watched_folders(
    mailboxes: tuple[MailboxSettings, ...], settings: Settings
) -> Iterator[tuple[Account, WatchedFolder]]:
    house = frozenset(address for mailbox in mailboxes for address in mailbox.addresses)
    for mailbox in mailboxes:
        account = Account(
            name=mailbox.name,
            host=mailbox.host,
            port=mailbox.port,
            tls=mailbox.tls,
            username=mailbox.username,
            password=mailbox.password,
            auth=mailbox.auth,
            ca_file=mailbox.ca_file,
        )
        incoming = [(name, "incoming") for name in mailbox.folders]
        sent = [(name, "sent") for name in mailbox.sent_folders]
        for name, kind in incoming + sent:
            yield (
                account,
                WatchedFolder(
                    mailbox=mailbox.name,
                    name=name,
                    kind="sent" if kind == "sent" else "incoming",
                    own_addresses=frozenset(mailbox.addresses),
                    house_addresses=house,
                    start=mailbox.start,
                    policy=settings.routing,
                    live_lookup=settings.cache.live_lookup,
                ),
            )


def _portal_names(mailbox: MailboxSettings) -> frozenset[str]:
    """The portal calls a mailbox by its e-mail address, or by its login (mail-internals 3.4)."""
    return frozenset({*mailbox.addresses, normalise(mailbox.username), mailbox.username.strip().lower()}) - {
        ""
    }


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT stop in order; a second one ends at once, as the default handler does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, frame: FrameType | None) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        stop()

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
