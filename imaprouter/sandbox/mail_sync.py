"""The portal's mail sync: reads connected mailboxes over real IMAP and hands letters to the importer.

Read-only, as the portal's: folders are opened with EXAMINE, bodies fetched with PEEK (mail-internals 1.6).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError

from imaprouter.sandbox.crm import Crm
from imaprouter.sandbox.mail_import import Imported, Importer, MailboxConnection
from imaprouter.sandbox.mail_letter import Letter, read_letter

__all__ = ["Imported", "Letter", "MailSync", "MailboxConnection"]

log = logging.getLogger(__name__)

_CHUNK = 100
_TIMEOUT = 10.0
_SET_ASIDE = {b"\\drafts", b"\\trash", b"\\junk"}
_SET_ASIDE_NAMES = {"drafts", "trash", "junk", "spam", "черновики", "корзина", "спам"}


class MailSync:
    """The sync of one mailbox.

    `delay` holds a letter back after the sync first saw it; `hold(letter)` holds it as long as it is true. A
    held letter is read again at the next sync, flags included, as if the portal had come later.
    """

    def __init__(
        self,
        connection: MailboxConnection,
        crm: Crm,
        *,
        clock: Callable[[], datetime],
        mailboxes: Sequence[MailboxConnection] = (),
    ) -> None:
        self.connection = connection
        self.delay = timedelta(0)
        self.hold: Callable[[Letter], bool] = lambda _: False
        #: What became of each letter, in order.
        self.log: list[Imported] = []
        self._crm = crm
        self._clock = clock
        self._importer = Importer(connection, crm, mailboxes or (connection,))
        self._next_uid: dict[tuple[str, int], int] = {}
        self._held: dict[tuple[str, int], dict[int, datetime]] = {}
        self._running = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def sync_once(self) -> list[int]:
        """Import what is new, return ids of new activities. Raises OSError and IMAPClientError."""
        created = []
        with self._running:
            for letter in self._new_letters():
                with self._crm.lock:
                    imported = self._importer.take(letter)
                self.log.append(imported)
                if imported.activity_id is not None:
                    created.append(imported.activity_id)
        return created

    def start(self, interval: float = 0.2) -> None:
        """Sync every `interval` seconds in a thread until `stop`; the mail server's errors are waited out."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._loop, args=(interval,), name="mail-sync", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, if there is one."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _loop(self, interval: float) -> None:
        while not self._stop.is_set():
            try:
                self.sync_once()
            except (OSError, IMAPClientError) as error:
                log.debug("sync of %s failed: %s", self.connection.email, error)
            self._stop.wait(interval)

    def _new_letters(self) -> Iterator[Letter]:
        box = self.connection
        with IMAPClient(box.host, port=box.port, ssl=False, timeout=_TIMEOUT) as client:
            client.normalise_times = False
            client.login(box.username, box.password)
            for folder, aside in self._folders(client):
                yield from self._letters_of(client, folder, aside)

    def _folders(self, client: IMAPClient) -> list[tuple[str, bool]]:
        """(name, set aside): drafts, trash and spam by SPECIAL-USE or by name (mail-internals 1.3)."""
        found: dict[str, bool] = {}
        for flags, _, name in client.list_folders("", "*" if self.connection.folders else "%"):
            roles = {bytes(flag).lower() for flag in flags}
            if b"\\noselect" not in roles:
                found[str(name)] = bool(roles & _SET_ASIDE) or str(name).lower() in _SET_ASIDE_NAMES
        wanted = self.connection.folders or tuple(name for name, aside in found.items() if not aside)
        return [(name, found[name]) for name in wanted if name in found]

    def _letters_of(self, client: IMAPClient, folder: str, aside: bool) -> Iterator[Letter]:
        key = (folder, int(client.select_folder(folder, readonly=True)[b"UIDVALIDITY"]))
        held = self._held.setdefault(key, {})
        next_uid = self._next_uid.get(key, 1)
        first = min([*held, next_uid])
        # `n:*` also names the last message when all UIDs are below n (RFC 9051 9, sequence sets)
        uids = [uid for uid in client.search(["UID", f"{first}:*"]) if uid >= next_uid or uid in held]
        for start in range(0, len(uids), _CHUNK):
            parts = ["BODY.PEEK[]", "INTERNALDATE", "FLAGS"]
            fetched = client.fetch(uids[start : start + _CHUNK], parts)
            for uid in sorted(fetched):
                letter = self._letter(fetched[uid], folder, uid, aside)
                first_seen = held.setdefault(uid, self._clock())
                self._next_uid[key] = max(self._next_uid.get(key, 1), uid + 1)
                if self._clock() - first_seen < self.delay or self.hold(letter):
                    continue
                del held[uid]
                yield letter

    def _letter(self, data: dict[bytes, object], folder: str, uid: int, aside: bool) -> Letter:
        raw, internal, flags = data.get(b"BODY[]"), data.get(b"INTERNALDATE"), data.get(b"FLAGS")
        names = {bytes(flag).lower() for flag in flags} if isinstance(flags, tuple) else set()
        return read_letter(
            raw if isinstance(raw, bytes) else b"",
            folder=folder,
            uid=uid,
            internal_date=internal if isinstance(internal, datetime) else self._clock(),
            seen=b"\\seen" in names,
            aside=aside or b"\\draft" in names,
            zone=self._crm.zone,
            split_words=self._crm.quirks.split_words,
        )
