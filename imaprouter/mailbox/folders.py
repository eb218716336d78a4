"""Which folder holds sent mail, spam, drafts, trash: SPECIAL-USE (RFC 6154), else by common names. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedFolder:
    """One line of LIST: attributes as sent (`\\Sent`), the hierarchy's delimiter, the decoded name."""

    attributes: frozenset[str]
    delimiter: str
    name: str

    @property
    def selectable(self) -> bool:
        return not self._has("\\noselect") and not self._has("\\nonexistent")

    def has_use(self, use: str) -> bool:
        return self._has("\\" + use)

    @property
    def last_name(self) -> str:
        """The name within its parent, as it is compared."""
        name = self.name.rpartition(self.delimiter)[2] if self.delimiter else self.name
        return name.casefold().replace("\N{CYRILLIC SMALL LETTER IO}", "\N{CYRILLIC SMALL LETTER IE}")

    def _has(self, attribute: str) -> bool:
        return attribute in {own.lower() for own in self.attributes}


#: Gmail, Outlook, Apple Mail, Yandex and Mail.ru, the likelier first.
_COMMON_NAMES = {
    "sent": ("sent", "sent items", "sent messages", "sent mail", "отправленные", "отправленные элементы"),
    "junk": ("junk", "spam", "junk e-mail", "junk email", "bulk mail", "спам", "нежелательная почта"),
    "drafts": ("drafts", "draft", "черновики"),
    "trash": ("trash", "deleted items", "deleted messages", "bin", "корзина", "удаленные"),
}


def special_folders(listed: Iterable[ListedFolder]) -> dict[str, str]:
    """Return the names of the folders for 'sent', 'junk', 'drafts' and 'trash', as far as there are any."""
    folders = [folder for folder in listed if folder.selectable]
    found = {}
    for use, names in _COMMON_NAMES.items():
        marked = [folder.name for folder in folders if folder.has_use(use)]
        named = [folder.name for name in names for folder in folders if folder.last_name == name]
        if marked or named:
            found[use] = (marked or named)[0]
    return found
