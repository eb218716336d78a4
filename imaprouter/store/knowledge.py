"""What the rules may know: the CRM as of the last refresh, and the letters that were decided before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from imaprouter.model import KnownMessage
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal
from imaprouter.store.messages import Messages


class Knowledge(Index):
    """The index, with the journal's messages as further ancestors of a thread."""

    def __init__(self, path: Path | Literal[":memory:"], messages: Messages) -> None:
        super().__init__(path)
        self._messages = messages

    def known_message(self, message_id: str) -> KnownMessage | None:
        return self._messages.known_message(message_id) or super().known_message(message_id)

    def weak_message(self, message_id: str) -> KnownMessage | None:
        if super().known_message(message_id):
            return None
        return self._messages.weak_message(message_id)

    def known_conversation(self, conversation: str) -> KnownMessage | None:
        return self._messages.known_conversation(conversation)


@contextlib.contextmanager
def opened(journal_path: Path) -> Iterator[tuple[Journal, Knowledge]]:
    """The journal and what the rules may know, for the thread that enters; closed when it leaves."""
    journal = Journal(journal_path)
    try:
        knowledge = Knowledge(index_path(journal_path), journal.messages)
        try:
            yield journal, knowledge
        finally:
            knowledge.close()
    finally:
        journal.close()
