"""The office of the fault suite: its service is a process behind two proxies, and every case ends alike.

with site.case():          # the service runs, and has handled the first letters
    site.mail.rst()        # the fault
    site.post()            # three more letters: one to be moved, one that lies right, a question
                           # the end: all healed, the portal's sync done, caught up, idle, stopped, judged
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dovecot import Dovecot
from office import Office, letter

from faults.laws import REVIEW, SEED, Book, Fate, Verdict, judge_failed, uphold, uphold_idle
from faults.proxy import Proxy
from imaprouter.model import deal

Kind = Literal["moved", "right", "question"]
KINDS: tuple[Kind, ...] = ("moved", "right", "question")
#: Kind to the recipient, and where a letter of Sergey's to him must end; Bitrix24 takes deal 2.
_LETTERS: dict[Kind, tuple[str, Fate]] = {
    "moved": ("masha@company.ru", Fate(deal(1))),
    "right": ("ilya@company.ru", Fate(deal(2))),
    "question": ("", REVIEW),
}


class Site(Office):
    """A mailbox and a portal, each behind a proxy, and the service between them."""

    def __init__(
        self,
        folder: Path,
        dovecot: Dovecot,
        user: str,
        *,
        name: str,
        folders: tuple[str, ...] = ("INBOX",),
        **portal: Any,
    ) -> None:
        """`name`: the case's, for its seed. `folders`: what is watched beside Sent. Further: `Office`'s."""
        super().__init__(folder, dovecot, user, **portal)
        self.synced_folders = self.watched = (*folders, "Sent")
        self.mailbox_options["folders"] = json.dumps(folders, ensure_ascii=False)
        for each in folders:
            dovecot.maildir(user, each)
        self.random = random.Random(f"{SEED} {name}")
        #: TOML of the first mailbox: 'none' speaks clear text.
        self.tls = "none"
        #: A piece of the configuration, and what stands there instead.
        self.spoil: tuple[str, str] | None = None
        self.program = [str(Path(__file__).with_name("quick.py"))]
        self.options |= {"routing.loop.limit": "0", "portal.timeout": "'1s'", "portal.burst": "1000"}
        self._number = 0
        #: The service, where it runs through more than one case.
        self.running: subprocess.Popen[bytes] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        #: False while a case runs, and after one that failed.
        self.whole = True
        #: Whether the case's laws have been counted.
        self.judged = False
        self._said_before = 0

    def __enter__(self) -> Site:
        super().__enter__()
        self._proxies = contextlib.ExitStack()
        self.mail = self._proxies.enter_context(Proxy(self.dovecot.port))
        self.rest = self._proxies.enter_context(Proxy(urlsplit(self.portal.webhook_url).port or 0))
        self.book = Book(self, folders=self.watched)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._proxies.close()
        super().__exit__(*exc_info)

    @property
    def config(self) -> Path:
        path = super().config
        text = path.read_text("utf-8")
        text = text.replace(self.portal.url, f"http://127.0.0.1:{self.rest.port}")
        text = text.replace(f"port = {self.dovecot.port}", f"port = {self.mail.port}")
        text = text.replace("tls = 'none'", f"tls = '{self.tls}'")
        path.write_text(text.replace(*self.spoil) if self.spoil else text, "utf-8")
        return path

    # ── letters ───────────────────────────────────────────────────────────────────────────────────────

    def written(self, kind: Kind, *, date: datetime | None = None) -> tuple[bytes, Fate]:
        """A letter of its own, and where it must end."""
        self._number += 1
        to, fate = _LETTERS[kind]
        recipients = {"to": to, "cc": "sales@company.ru"} if to else {}
        return letter(subject=f"{kind} {self._number}", date=date, **recipients), fate

    def post(self, *kinds: Kind, folder: str = "INBOX") -> list[str]:
        """Deliver a letter of each kind, in an order of this case's seed; the base names of their files."""
        wanted = list(kinds or KINDS)
        self.random.shuffle(wanted)
        return [self.book.post(*self.written(kind), folder=folder) for kind in wanted]

    def forget_uids(self) -> None:
        """The portal reads its mailbox anew; what it stored it knows by header, date and size."""
        self.sync._next_uid.clear()

    # ── a case ────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def case(self, *, warm: bool = True, idle: float = 0.3) -> Iterator[subprocess.Popen[bytes]]:
        """Run the service around a fault, heal everything, and hold what is then to the laws.

        `warm`: the service has handled three letters before. `idle`: seconds in which it must be quiet.
        A case that fails on its way is judged all the same, as it stands then.
        """
        self.judged = False
        try:
            with contextlib.ExitStack() as stack:
                process = self.running or stack.enter_context(self.service())
                if warm and not self.running:
                    self.warm_up()
                self.begin(process)
                yield process
                self.end(process, idle=idle)
                if not self.running:
                    assert self.stop(process) == 0
        except BaseException as error:
            if not self.judged:
                self.heal()
                error.add_note(f"judged where it failed: {_told(judge_failed(self.book))}")
            raise

    @property
    def pid(self) -> int:
        """The running service's."""
        assert self.process is not None
        return self.process.pid

    def warm_up(self) -> None:
        self.post()
        self.sync.sync_once()
        self.until(self.book.caught_up)

    def begin(self, process: subprocess.Popen[bytes]) -> None:
        self.whole, self.process = False, process
        self._said_before = len(self.events())

    def end(self, process: subprocess.Popen[bytes], *, idle: float) -> None:
        self.heal()
        self.sync.sync_once()
        self.until(lambda: self.book.caught_up() or process.poll() is not None)
        uphold_idle(process.pid, idle)
        said = self.output.read_text("utf-8")
        assert "Traceback" not in said, said[said.index("Traceback") - 1000 :][:4000]
        self.judged = True
        uphold(self.book)
        self.whole = True

    def set_clock(self, off: timedelta) -> None:
        """Let the service's machine have a clock that is off by so much; see quick.py."""
        draft = self.folder / "clock.new"
        draft.write_text(str(off.total_seconds()))
        draft.rename(self.folder / "clock")

    def heal(self) -> None:
        (self.folder / "clock").unlink(missing_ok=True)
        self.mail.heal()
        self.rest.heal()
        self.portal.faults.clear()

    # ── what a case waits for ─────────────────────────────────────────────────────────────────────────

    def news(self) -> list[dict[str, Any]]:
        """What the service has logged since the case began."""
        return self.events()[self._said_before :]

    def said(self, name: str) -> int:
        """How often the service has logged an event since the case began."""
        return sum(event["event"] == name for event in self.news())

    def until_said(self, name: str, times: int = 1) -> None:
        self.until(lambda: self.said(name) >= times)

    def until_known(self, message_id: str) -> None:
        """Wait until a letter is on record."""
        self.until(lambda: any(m.envelope.message_id == message_id for m in self.messages()))


def _told(verdict: Verdict | None) -> str:
    if verdict is None:
        return "it cannot be judged"
    return str(verdict) if verdict else "no law is broken"


#: What the shared site watches beside Sent; people and faults move mail between them.
CLIENTS, CYRILLIC = "Clients", "Клиенты/Договоры & акты"


class Shared:
    """One site whose service runs through many cases, until one of them goes wrong."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._site: Site | None = None
        self._parts = contextlib.ExitStack()
        self._number = 0

    def take(self, name: str) -> Site:
        """The site, running and whole; a new one after a case that failed."""
        if self._site is None or not self._site.whole:
            self._parts.close()
            self._number += 1
            folder = self._folder / str(self._number)
            folder.mkdir()
            dovecot = self._parts.enter_context(Dovecot())
            site = self._parts.enter_context(
                Site(folder, dovecot, "shared", name=name, folders=("INBOX", CLIENTS, CYRILLIC))
            )
            site.running = self._parts.enter_context(site.service())
            site.warm_up()
            self._site = site
        self._site.random = random.Random(f"{SEED} {name}")
        return self._site

    def close(self) -> None:
        try:
            if self._site and self._site.whole and self._site.running:
                assert self._site.stop(self._site.running) == 0
        finally:
            self._parts.close()


def second(site: Site) -> subprocess.CompletedProcess[str]:
    """Another service on the same journal, to its end."""
    command = [sys.executable, *site.program, "--config", str(site.config), "run"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
