"""What the rules may know: the CRM as of the last refresh, and the letters that were decided before."""

from __future__ import annotations

from pathlib import Path

from imaprouter.model import KnownMessage
from imaprouter.store.index import Index
from imaprouter.store.messages import Messages


class Knowledge(Index):
    """The index, with the journal's messages as further ancestors of a thread."""

    def __init__(self, path: Path, messages: Messages) -> None:
        super().__init__(path)
        self._messages = messages

    def known_message(self, message_id: str) -> KnownMessage | None:
        return self._messages.known_message(message_id) or super().known_message(message_id)
