"""A mailbox and a portal with a past: letters that Bitrix24 bound in its own way before imaprouter came."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from click.testing import CliRunner, Result
from office import FIXTURES, Office, letter

from imaprouter.cli import cli
from imaprouter.store.index import Index, index_path
from imaprouter.store.snapshot import import_snapshot, read_snapshot

#: When the past began; its letters are an hour apart.
BEGIN = datetime(2026, 11, 2, 9, tzinfo=UTC)


class PastOffice(Office):
    """The office of the sample company; `old` letters are in the mailbox before anything runs."""

    def __enter__(self) -> PastOffice:
        super().__enter__()
        self.start = "new"
        self.portal.crm.set_deal(2)  # the last modified one: Bitrix24 binds Sergey's letters to it
        with_index = Index(index_path(self.folder / "imaprouter.db"))
        import_snapshot(with_index, read_snapshot((FIXTURES / "crm.json").read_bytes(), "crm.json"))
        with_index.close()
        return self

    def old(self, hour: int, *, folder: str = "INBOX", **said: str) -> None:
        """A letter that arrived so many hours after the beginning."""
        moment = BEGIN + timedelta(hours=hour)
        raw = letter(date=moment, **said)
        self.dovecot.deliver(self.user, raw, folder, date=moment)

    def imported(self) -> list[int]:
        """Bitrix24 makes its activities; their ids."""
        return self.sync.sync_once()

    def call(self, *words: str) -> Result:
        """One command of imaprouter."""
        return CliRunner().invoke(cli, ["--config", str(self.config), *words])

    def lines(self, *words: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The letters that a command prints as JSON, and its summary."""
        result = self.call(*words, "--json")
        assert result.exit_code == 0, result.output
        *letters, last = [json.loads(line) for line in result.stdout.splitlines()]
        return letters, last["summary"]
