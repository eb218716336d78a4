"""The sample company as a running whole: its portal, its mailbox, Bitrix24's mail sync between the two."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaprouter.sandbox.limits import Limits
from imaprouter.sandbox.mail_server import MailServer
from imaprouter.sandbox.mail_sync import MailboxConnection
from imaprouter.sandbox.portal import Portal

EMAIL = "sales@company.ru"


@dataclass(frozen=True, slots=True)
class DemoLetter:
    """A letter of the demonstration and where it belongs."""

    raw: bytes
    folder: str
    story: str
    #: ('deal', 1), or None: it stays where Bitrix24 puts it.
    expect: tuple[str, int] | None


class Rehearsal:
    """Starts and stops portal simulator, embedded mailbox and mail sync; everything listens on 127.0.0.1."""

    def __init__(
        self, fixtures: Path, *, crm: Path | None = None, portal_port: int = 0, imap_port: int = 0
    ) -> None:
        """`fixtures` is the sample company's folder; `crm` another snapshot instead of its own."""
        self._plan: dict[str, Any] = json.loads((fixtures / "demo.json").read_bytes())
        self._letters = fixtures / "mail"
        snapshot = json.loads((crm or fixtures / "crm.json").read_bytes())
        self.mail = MailServer(username=EMAIL, password="sandbox", port=imap_port)
        self.portal = Portal(snapshot, port=portal_port, limits=Limits())
        self._stack = ExitStack()

    def __enter__(self) -> Rehearsal:
        with ExitStack() as starting:
            starting.enter_context(self.mail)
            starting.enter_context(self.portal)
            options = self._plan["bitrix24"]
            self.sync = self.portal.connect_mailbox(
                MailboxConnection(
                    email=EMAIL,
                    host=self.mail.host,
                    port=self.mail.port,
                    username=self.mail.username,
                    password=self.mail.password,
                    owner_user_id=options["owner_user_id"],
                    public=options["public"],
                    create=options["create"],
                )
            )
            self._stack = starting.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    @property
    def letters(self) -> list[DemoLetter]:
        """The letters of the demonstration, in the order in which they arrive."""
        return [
            DemoLetter(
                raw=(self._letters / row["file"]).read_bytes(),
                folder=row["deliver"],
                story=row["story"],
                expect=None if row["expect"] == "unchanged" else (row["expect"]["type"], row["expect"]["id"]),
            )
            for row in self._plan["letters"]
        ]

    def import_mail(self) -> list[tuple[int | None, list[tuple[int, int]]]]:
        """Let Bitrix24 sync now; for each letter its activity and the bindings that Bitrix24 gave it.

        Nobody can change a binding in between.
        """
        with self.portal.crm.lock:
            before = len(self.sync.log)
            self.sync.sync_once()
            new = sorted(self.sync.log[before:], key=lambda imported: imported.letter.uid)
            return [
                (
                    imported.activity_id,
                    [] if imported.activity_id is None else self.portal.crm.bindings(imported.activity_id),
                )
                for imported in new
            ]
