"""All checks side by side: one that hangs hides none of the others, and none lasts for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from imaprouter.config import MailboxSettings, PortalSettings, Settings
from imaprouter.doctor import local, mailboxes, portal
from imaprouter.doctor.findings import Check, failed

# For everything; each step of a check has a shorter time of its own.
PATIENCE = 14.0


@dataclass(slots=True)
class _Round:
    """One group of checks, and what it has found so far."""

    name: str
    subject: str
    checks: Callable[[], Iterable[Check]]
    found: list[Check] = field(default_factory=list)

    def run(self) -> None:
        try:
            for check in self.checks():
                self.found.append(check)
        except Exception as error:
            # A defect of ours in one check must not cost the others.
            what = f"the check itself failed: {type(error).__name__}: {error}"
            self.found.append(failed(self.name, what, "please report it", subject=self.subject))


def examine(
    settings: Settings,
    *,
    portal_settings: PortalSettings | None,
    mailbox_settings: Iterable[MailboxSettings],
    patience: float = PATIENCE,
) -> Iterator[Check]:
    """Everything but the configuration itself; portal and mailboxes only as far as they are given."""
    now = datetime.now(UTC)
    rounds = [
        _Round("files", "", lambda: local.files(settings)),
        _Round("disk", "", lambda: local.disk(settings.store.path)),
        _Round("journal", "", lambda: local.journal(settings.store.path)),
        _Round("index", "", lambda: local.index(settings, now)),
        _Round("metrics", "", lambda: local.metrics(settings)),
    ]
    if portal_settings:
        rounds.append(_Round("portal", "", lambda: portal.checks(portal_settings, settings)))
    for mailbox in mailbox_settings:
        rounds.append(_Round("mailbox", mailbox.name, _of_mailbox(mailbox)))
    threads = [threading.Thread(target=each.run, name=f"check {each.name}", daemon=True) for each in rounds]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for each, thread in zip(rounds, threads, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        late = thread.is_alive()
        yield from tuple(each.found)
        if late:
            advice = "try again; if it stays so, look at the network between here and there"
            yield failed(each.name, f"not done within {patience:.0f} s", advice, subject=each.subject)


def _of_mailbox(mailbox: MailboxSettings) -> Callable[[], Iterable[Check]]:
    return lambda: mailboxes.checks(mailbox)
