"""The whole path for tests: a real mailbox, the portal simulator with its mail sync, and the service."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from dovecot import Dovecot

from imaprouter.config import load
from imaprouter.model import Binding, State, deal
from imaprouter.sandbox.limits import UNLIMITED, Limits
from imaprouter.sandbox.mail_sync import MailboxConnection
from imaprouter.sandbox.portal import Portal
from imaprouter.sandbox.quirks import Quirks
from imaprouter.service import Service
from imaprouter.store.journal import Journal
from imaprouter.store.messages import StoredMessage

FIXTURES = Path(__file__).parent.parent / "fixtures"
CODE = "c0de-of-the-webhook"
#: A test that waits longer than this has failed; the machine may be busy.
PATIENCE = 30.0

_numbers = itertools.count(1)


def sample_letter(name: str) -> bytes:
    """A letter of the sample company, as a mail server would get it."""
    return (FIXTURES / "mail" / f"{name}.eml").read_bytes()


def letter(
    sender: str = "sergey@horns.ru",
    to: str = "sales@company.ru",
    *,
    cc: str = "",
    subject: str = "КП",
    message_id: str = "",
    in_reply_to: str = "",
    date: datetime | None = None,
    headers: str = "",
) -> bytes:
    """A plain letter; without an id and a date it gets its own."""
    number = next(_numbers)
    moment = date or datetime(2026, 11, 3, 9, tzinfo=UTC) + timedelta(seconds=number)
    lines = [
        f"From: {sender}",
        f"To: {to}",
        f"Subject: {Header(subject, 'utf-8').encode()}",
        f"Date: {format_datetime(moment)}",
        f"Message-ID: <{message_id or f'letter-{number}@horns.ru'}>",
    ]
    lines += [f"Cc: {cc}"] if cc else []
    lines += [f"In-Reply-To: <{in_reply_to}>"] if in_reply_to else []
    lines += headers.splitlines()
    return "\r\n".join([*lines, "MIME-Version: 1.0", "Content-Type: text/plain", "", "Hello", ""]).encode()


class Office:
    """One mailbox that both Bitrix24 and imaprouter watch."""

    def __init__(
        self,
        folder: Path,
        dovecot: Dovecot,
        user: str,
        *,
        quirks: Quirks | None = None,
        limits: Limits = UNLIMITED,
        snapshot: dict[str, Any] | None = None,
        clock: Callable[[], datetime] | None = None,
        zone: timedelta = timedelta(hours=3),
    ) -> None:
        """`clock` and `zone` are the portal's."""
        self.folder = folder
        self.dovecot = dovecot
        self.user = user
        crm = snapshot or json.loads((FIXTURES / "crm.json").read_bytes())
        self.portal = Portal(crm, quirks=quirks, limits=limits, code=CODE, clock=clock, offset=zone)
        #: TOML values by dotted key; tests change them before the service starts.
        self.options = {
            "portal.requests_per_second": "100.0",
            "portal.timeout": "'5s'",
            "store.path": "'imaprouter.db'",
            "binding.poll_every": "'1s'",
            "routing.address.category": "{ 'support@company.ru' = 3 }",
            "routing.participants.user_aliases": "{ 'masha@company.ru' = ['m.petrova@company.ru'] }",
        }
        self.mailbox_options = {"addresses": "['sales@company.ru']"}
        self.start = "all"
        #: What the portal imports.
        self.synced_folders: tuple[str, ...] = ("INBOX", "Sent")
        #: Further [[mailboxes]] tables.
        self.further_mailboxes = ""
        self.output = folder / "service.log"
        #: What Python runs as the service.
        self.program = ["-m", "imaprouter"]
        #: How many seconds `until` waits.
        self.patience = PATIENCE
        for name in ("INBOX", "Sent"):
            dovecot.maildir(user, name)

    def __enter__(self) -> Office:
        self.portal.start()
        self.sync = self.portal.connect_mailbox(
            MailboxConnection(
                email="sales@company.ru",
                host="127.0.0.1",
                port=self.dovecot.port,
                username=self.user,
                password=self.dovecot.password,
                owner_user_id=4,
                public=True,
                folders=self.synced_folders,
            )
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.portal.stop()

    # ── configuration and service ─────────────────────────────────────────────────────────────────────

    @property
    def config(self) -> Path:
        """The configuration file, written anew from `options`."""
        path = self.folder / "imaprouter.toml"
        path.write_text(
            "\n".join(
                [
                    "portal.webhook_url = " + json.dumps(self.portal.webhook_url),
                    *(f"{key} = {value}" for key, value in self.options.items()),
                    "[[mailboxes]]",
                    "name = 'sales'",
                    "host = '127.0.0.1'",
                    f"port = {self.dovecot.port}",
                    "tls = 'none'",
                    f"username = '{self.user}'",
                    f"password = '{self.dovecot.password}'",
                    f"start = '{self.start}'",
                    *(f"{key} = {value}" for key, value in self.mailbox_options.items()),
                    self.further_mailboxes,
                    "",
                ]
            )
        )
        path.chmod(0o600)
        return path

    def run_once(self) -> int:
        """`run --once` in this process; returns the number of new messages."""
        return Service(load(self.config, {})).run_once()

    @contextlib.contextmanager
    def service(self) -> Iterator[subprocess.Popen[bytes]]:
        """The service as a process of its own; killed at the end if it still runs."""
        command = [
            sys.executable,
            *self.program,
            "--config",
            str(self.config),
            "--log-format",
            "json",
            "run",
        ]
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)},
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """SIGTERM, and the exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE)

    def reload(self, process: subprocess.Popen[bytes]) -> None:
        """Write the configuration anew, let the service read it, and wait until it said what came of it."""
        outcomes = ("config.taken_up", "config.refused")
        before = sum(map(self.times_heard, outcomes))
        assert self.config.exists()
        process.send_signal(signal.SIGHUP)
        self.until(lambda: sum(map(self.times_heard, outcomes)) > before)

    def make_due(self) -> None:
        """Let every next attempt be due now, instead of waiting for its time."""
        with self.journal() as journal:
            for message in journal.messages.in_states(*State):
                for paired in journal.activities.of_message(message.id):
                    if paired.next_attempt_at:
                        journal.activities.schedule(paired.activity.id, message.recorded_at)

    def events(self) -> list[dict[str, Any]]:
        """Everything that services logged so far."""
        return [
            json.loads(line) for line in self.output.read_text("utf-8").splitlines() if line.startswith("{")
        ]

    def heard(self, name: str) -> bool:
        return any(event["event"] == name for event in self.events())

    def times_heard(self, name: str) -> int:
        return sum(event["event"] == name for event in self.events())

    # ── mail and portal ───────────────────────────────────────────────────────────────────────────────

    def deliver(self, *letters: bytes, folder: str = "INBOX") -> None:
        for raw in letters:
            self.dovecot.deliver(self.user, raw, folder)

    def bound(self, activity_id: int) -> list[Binding]:
        """What an activity is bound to now."""
        return [Binding(*pair) for pair in self.portal.crm.bindings(activity_id)]

    def deals(self, activity_id: int) -> list[int]:
        return [binding.entity_id for binding in self.bound(activity_id) if binding.is_deal]

    def binding_writes(self) -> list[str]:
        """The calls that changed bindings, or tried to."""
        return [write.method for write in self.portal.writes if ".binding." in write.method]

    def told(self) -> list[int]:
        """The users whom imaprouter notified, in order."""
        return [notice.user_id for notice in self.portal.notifications if notice.kind == "system"]

    # ── the journal ───────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def journal(self) -> Iterator[Journal]:
        journal = Journal(self.folder / "imaprouter.db")
        try:
            yield journal
        finally:
            journal.close()

    def messages(self) -> list[StoredMessage]:
        """Every message on record, in the order of its UIDs."""
        if not (self.folder / "imaprouter.db").exists():
            return []
        with self.journal() as journal:
            return sorted(journal.messages.in_states(*State), key=lambda found: (found.folder, found.uid))

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for what the service does in its own time."""
        end = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > end:
                log = self.output.read_text("utf-8") if self.output.exists() else ""
                raise AssertionError(f"it did not happen within {self.patience} s; the log:\n{log[-4000:]}")
            time.sleep(0.05)

    def settled(self, count: int) -> bool:
        """Whether so many messages are on record and none of them is under way."""
        found = self.messages()
        return len(found) == count and not any(
            message.state in (State.WAITING, State.PAIRED) for message in found
        )


MASHAS_DEAL, ILYAS_DEAL = deal(1), deal(2)
