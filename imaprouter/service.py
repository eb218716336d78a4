"""The service: a watcher per folder, the index refresh, the binder; started, watched over and stopped.

They are threads that share nothing but the two SQLite files, the portal client and a stop event. A thread
that ends for a reason that nobody foresaw ends the service: a part that is silently missing loses mail.

SIGHUP takes up a changed configuration: all parts end as they do at a stop, and others begin where they left
off. The lock is kept meanwhile; nothing but the journal is handed over, as from one process to the next.
"""

from __future__ import annotations

import contextlib
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from gettext import NullTranslations
from types import FrameType
from typing import TYPE_CHECKING

from imaprouter.address import normalise
from imaprouter.arrival import WatchedFolder
from imaprouter.binder.loop import BinderLoop
from imaprouter.bitrix24.portal import Portal
from imaprouter.config import MailboxSettings, Settings
from imaprouter.errors import (
    ConfigError,
    ImaprouterError,
    MailboxError,
    PortalError,
    StoreDamaged,
    StoreError,
)
from imaprouter.log import event
from imaprouter.mailbox import Account, backoff
from imaprouter.pulse import PulseWriter
from imaprouter.reasons import ENGLISH
from imaprouter.refresh import LAST, LAST_FULL, Report, refresh
from imaprouter.standing import INDEX
from imaprouter.store.database import open_to_others
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal
from imaprouter.store.lock import exclusive
from imaprouter.store.soundness import refuse_damaged, set_aside_damaged
from imaprouter.teller import Teller
from imaprouter.transfer.standing import Standing
from imaprouter.watcher import Watcher

if TYPE_CHECKING:
    from imaprouter.metrics import MetricsServer, View

logger = logging.getLogger(__name__)

# A stop is obeyed within two seconds: half of that for what is under way, then requests are broken off.
GRACE = 1.0
# After a full refresh that would shrink the index absurdly.
FULL_AGAIN = timedelta(hours=1)


class Service:
    """Everything that `run` runs, from one configuration. The constructor does no I/O."""

    def __init__(
        self,
        settings: Settings,
        *,
        language: NullTranslations = ENGLISH,
        read_again: Callable[[], Settings] | None = None,
    ) -> None:
        """Raises ConfigError when portal or mailboxes are not configured.

        `read_again` gives the configuration as it is now, for SIGHUP; it raises ConfigError.
        """
        self._language = language
        self._read_again = read_again
        self._journal_path = settings.store.path
        self._ending = threading.Event()
        self._hung_up = threading.Event()
        self._index_ready = threading.Event()
        self._failure: BaseException | None = None
        #: By the monotonic clock.
        self._no_full_before = 0.0
        self._parts = _parts_of(settings, language)
        self._metrics: MetricsServer | None = None

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or `stop()`. Raises StoreBusy, or what ended a part unexpectedly.

        ConfigError when `metrics.listen` cannot be listened on.
        """
        with exclusive(self._journal_path), on_signals(self.stop, self.reload):
            self._examine_files()
            self._serve(self._listener(self._parts.settings))
            threads = self._start()
            event(logger, logging.INFO, "service.started", folders=len(self._parts.watchers))
            while not self._ending.wait(0.5):
                if self._hung_up.is_set():
                    self._hung_up.clear()
                    threads = self._take_up(threads)
            event(logger, logging.INFO, "service.stopping")
            self._end(threads)
            self._serve(None)
        event(logger, logging.INFO, "service.stopped")
        if self._failure:
            raise self._failure

    def run_once(self) -> int:
        """Refresh, catch up, bind what can be bound now; returns the number of messages recorded.

        Raises the first ImaprouterError; a mailbox that fails does not keep the others from being read. It is
        no error when a stop breaks off what is under way.
        """
        with self._once():
            self._examine_files()
            try:
                recorded, first_error = self._everything_once()
            finally:
                self._parts.teller.look()
        stopped = self._parts.stop.is_set() and isinstance(first_error, (MailboxError, PortalError))
        if first_error and not stopped:
            raise first_error
        return recorded

    def _everything_once(self) -> tuple[int, ImaprouterError | None]:
        recorded, first_error = 0, None
        try:
            first_error = self._refresh_before_reading()
            for watcher in self._parts.watchers:
                if self._parts.stop.is_set():
                    break
                try:
                    recorded += watcher.run_once()
                except ImaprouterError as error:
                    self._tell_of_error("folder.failed", error, folder=str(watcher.watched))
                    first_error = first_error or error
            self._parts.binder.run_until_quiet()
        except (MailboxError, PortalError) as error:
            first_error = first_error or error
        return recorded, first_error

    def _tell_of_error(self, name: str, error: ImaprouterError, **fields: str) -> None:
        if not self._parts.stop.is_set():
            event(logger, logging.ERROR, name, **fields, error=str(error))

    def bind_once(self) -> None:
        """Carry out what waits, without reading mail. Raises StoreBusy while a service runs, PortalError.

        It is no error when a stop breaks it off: the next start carries on.
        """
        with self._once():
            try:
                self._parts.binder.run_until_quiet()
            except PortalError:
                if not self._parts.stop.is_set():
                    raise

    @contextlib.contextmanager
    def _once(self) -> Iterator[None]:
        """What ends by itself ends with the configuration it began with; SIGHUP must not kill it."""
        with (
            exclusive(self._journal_path),
            on_signals(self.stop, self.reload),
            contextlib.closing(self._parts.portal),
        ):
            yield
        if self._hung_up.is_set():
            event(logger, logging.WARNING, "config.not_read_again", reason="it is read at the next start")

    def stop(self) -> None:
        """End `run`; may be called from any thread."""
        self._ending.set()
        self._parts.stop.set()

    def reload(self) -> None:
        """Let `run` take up the configuration as it is now; may be called from any thread."""
        self._hung_up.set()

    # ── another configuration ─────────────────────────────────────────────────────────────────────────

    def _take_up(self, threads: list[threading.Thread]) -> list[threading.Thread]:
        """Exchange the parts for those of the configuration as it is now; the threads that run afterwards.

        A configuration with mistakes changes nothing. What the old parts have begun they end, however long
        it takes: two binders at work would notify twice.
        """
        try:
            successors = self._successors()
            listener = self._listener(successors.settings)
        except ImaprouterError as error:
            for problem in error.problems if isinstance(error, ConfigError) else ():
                event(logger, logging.ERROR, "config.problem", problem=problem)
            kept = "the configuration from before"
            event(logger, logging.ERROR, "config.refused", error=str(error), kept=kept)
            return threads
        except Exception:
            # A defect of ours in reading a file must not end a service that runs.
            logger.exception("the configuration cannot be read again; the one from before is kept")
            return threads
        self._parts.stop.set()
        while any(thread.is_alive() for thread in threads):
            if self._ending.is_set():
                return threads
            for thread in threads:
                thread.join(0.1)
        successors.portal.succeed(self._parts.portal)
        self._parts.portal.close()
        self._parts = successors
        self._serve(listener)
        event(logger, logging.INFO, "config.taken_up", folders=len(successors.watchers))
        return self._start()

    def _successors(self) -> _Parts:
        if self._read_again is None:
            raise ConfigError("there is no configuration file to read again")
        settings = self._read_again()
        if settings.store.path != self._journal_path:
            raise ConfigError(
                f"store.path cannot change while the service runs on {self._journal_path}",
                advice="stop it, and start it with the new configuration",
            )
        return _parts_of(settings, self._language)

    # ── metrics ───────────────────────────────────────────────────────────────────────────────────────

    def _listener(self, settings: Settings) -> MetricsServer | None:
        """The server of `metrics.listen`: the one that runs, where it listens there already."""
        address = settings.metrics.address
        if address is None:
            return None
        if self._metrics and self._metrics.address == address:
            return self._metrics
        from imaprouter.metrics import MetricsServer

        return MetricsServer(address, self._view)

    def _serve(self, listener: MetricsServer | None) -> None:
        """Let this server answer from now on, instead of the one from before."""
        if listener is self._metrics:
            return
        if self._metrics:
            self._metrics.close()
        self._metrics = listener
        if listener:
            listener.start()
            host, port = listener.address
            event(logger, logging.INFO, "metrics.listening", host=host, port=port)

    def _view(self) -> View:
        from imaprouter.metrics import View

        parts = self._parts
        return View(
            journal_path=self._journal_path,
            folders=tuple(watcher.watched.part for watcher in parts.watchers),
            patience=parts.settings.alerts,
            refresh_every=parts.settings.cache.refresh_every,
            requests_used=parts.portal.requests_used,
        )

    # ── threads ───────────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> list[threading.Thread]:
        parts: dict[str, Callable[[], None]] = {
            "refresher": self._refresh_loop,
            "binder": self._after_first_refresh(self._parts.binder.run),
            "teller": self._parts.teller.run,
        }
        for watcher in self._parts.watchers:
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
            self.stop()

    def _after_first_refresh(self, part: Callable[[], None]) -> Callable[[], None]:
        """Letters are not decided against an index that was never filled; they wait on the server."""

        def run() -> None:
            while not self._parts.stop.is_set():
                if self._index_ready.wait(0.2):
                    return part()
            return None

        return run

    def _end(self, threads: list[threading.Thread]) -> None:
        self._parts.stop.set()
        deadline = time.monotonic() + GRACE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            # Its outcome is unknown; the next start reads before it writes.
            self._parts.portal.abort()
            for thread in threads:
                thread.join(max(0.0, deadline + GRACE - time.monotonic()))
        self._parts.portal.close()

    def _examine_files(self) -> None:
        """Migrate the journal before the parts need it, and say when others can read it all the same.

        A damaged journal is refused; a damaged index makes room for a new one, which a refresh fills.
        """
        refuse_damaged(self._journal_path)
        Journal(self._journal_path).close()
        aside = set_aside_damaged(index_path(self._journal_path))
        if aside:
            event(logger, logging.WARNING, "index.damaged", moved_to=str(aside))
        for path in open_to_others(self._journal_path):
            event(logger, logging.WARNING, "store.open_to_others", path=str(path), advice="chmod 600")

    # ── index ─────────────────────────────────────────────────────────────────────────────────────────

    def _refresh_before_reading(self) -> ImaprouterError | None:
        """Refresh; with an index from before, a refresh that fails is no reason not to read."""
        try:
            with self._parts.index_pulse.failures():
                self._refresh_if_due()
        except (PortalError, StoreError) as error:
            if not self._index_ready.is_set():
                raise
            self._tell_of_error("index.refresh_failed", error)
            return error
        return None

    def _refresh_loop(self) -> None:
        failures = 0
        while not self._parts.stop.is_set():
            try:
                self._refresh_if_due()
                failures = 0
                pause = self._parts.settings.cache.refresh_every.total_seconds()
            except StoreDamaged:
                raise
            except (PortalError, StoreError) as error:
                if self._parts.stop.is_set():
                    return
                failures += 1
                self._parts.index_pulse.fails(error)
                pause = backoff(failures, random=random.random)
                event(
                    logger, logging.ERROR, "index.refresh_failed", error=str(error), again_in=f"{pause:.0f}s"
                )
            self._parts.stop.wait(pause)

    def _refresh_if_due(self) -> None:
        index = Index(index_path(self._journal_path))
        try:
            now = datetime.now(UTC)
            cache = self._parts.settings.cache
            last = index.moment(LAST)
            if last:
                self._index_ready.set()
            wants_full = _is_older(index.moment(LAST_FULL), now - cache.full_every)
            if wants_full and time.monotonic() >= self._no_full_before:
                self._refresh_fully(index)
            # It is the portal's clock that stamps it: ours may be behind, by ten minutes or by a day.
            elif _is_older(last, now - cache.refresh_every + timedelta(seconds=1)) or (last and last > now):
                self._tell(refresh(self._parts.portal, index))
            self._index_ready.set()
        finally:
            index.close()

    def _refresh_fully(self, index: Index) -> None:
        try:
            self._tell(refresh(self._parts.portal, index, full=True))
        except StoreError:
            # It is hard to believe, and will be in five minutes: read changes only, for a while.
            self._no_full_before = time.monotonic() + FULL_AGAIN.total_seconds()
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
        self._parts.index_pulse.works()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one configuration makes; `stop` ends all of it."""

    settings: Settings
    stop: threading.Event
    portal: Portal
    binder: BinderLoop
    index_pulse: PulseWriter
    teller: Teller
    watchers: tuple[Watcher, ...]


def _parts_of(settings: Settings, language: NullTranslations) -> _Parts:
    """Make the parts; no I/O. ConfigError when portal or mailboxes are not configured."""
    stop = threading.Event()
    portal = Portal.configured(settings.require_portal(), stop=stop)
    mailboxes = settings.require_mailboxes()
    folders = list(watched_folders(mailboxes, settings))
    watched = {(folder.mailbox, folder.name): folder for _, folder in folders}
    binder = BinderLoop(
        portal,
        settings.store.path,
        settings.binding,
        mailbox_emails={mailbox.name: portal_names(mailbox) for mailbox in mailboxes},
        watched=lambda mailbox, folder: watched.get((mailbox, folder)),
        language=language,
        stop=stop,
        review=settings.review,
        afterwards=_standing_rules(settings, portal, mailboxes).look,
    )
    teller = Teller(
        portal,
        settings.store.path,
        settings.alerts,
        [folder.part for _, folder in folders],
        silent=settings.binding.mode == "observe",
        language=language,
        stop=stop,
    )
    watchers = tuple(
        Watcher(
            folder,
            account,
            settings.store.path,
            stop,
            header_bytes=settings.limits.header_bytes,
            on_news=binder.wake,
        )
        for account, folder in folders
    )
    index_pulse = PulseWriter(settings.store.path, INDEX, stop)
    return _Parts(settings, stop, portal, binder, index_pulse, teller, watchers)


def _standing_rules(settings: Settings, portal: Portal, mailboxes: tuple[MailboxSettings, ...]) -> Standing:
    """What [[transfer]] says; nothing while we only observe."""
    rules = settings.transfer if settings.binding.mode == "act" else ()
    names = frozenset[str]().union(*map(portal_names, mailboxes))
    return Standing(
        portal, [rule.transfer for rule in rules], mailbox_emails=names, wait=settings.binding.wait
    )


def _is_older(moment: datetime | None, than: datetime) -> bool:
    return moment is None or moment < than


def watched_folders(
    mailboxes: tuple[MailboxSettings, ...], settings: Settings
) -> Iterator[tuple[Account, WatchedFolder]]:
    """Every folder of the configuration, with the account that it is in."""
    house = frozenset(address for mailbox in mailboxes for address in mailbox.addresses)
    for mailbox in mailboxes:
        account = account_of(mailbox)
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


def account_of(mailbox: MailboxSettings) -> Account:
    """How to reach a mailbox, as its session wants it."""
    return Account(
        name=mailbox.name,
        host=mailbox.host,
        port=mailbox.port,
        tls=mailbox.tls,
        username=mailbox.username,
        password=mailbox.password,
        auth=mailbox.auth,
        ca_file=mailbox.ca_file,
    )


def portal_names(mailbox: MailboxSettings) -> frozenset[str]:
    """The portal calls a mailbox by its e-mail address, or by its login (mail-internals 3.4)."""
    return frozenset({*mailbox.addresses, normalise(mailbox.username), mailbox.username.strip().lower()}) - {
        ""
    }


@contextlib.contextmanager
def on_signals(stop: Callable[[], None], reload: Callable[[], None] | None = None) -> Iterator[None]:
    """SIGTERM and SIGINT stop in order; a second one ends at once, as the default handler does.

    SIGHUP reloads, where that is possible and the system has such a signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = (signal.SIGTERM, signal.SIGINT)
    reloading = (signal.SIGHUP,) if reload and hasattr(signal, "SIGHUP") else ()
    before = {number: signal.getsignal(number) for number in (*stopping, *reloading)}

    def on_stop(number: int, frame: FrameType | None) -> None:
        for each in stopping:
            signal.signal(each, before[each])
        stop()

    def on_reload(number: int, frame: FrameType | None) -> None:
        if reload:
            reload()

    for number in stopping:
        signal.signal(number, on_stop)
    for number in reloading:
        signal.signal(number, on_reload)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
