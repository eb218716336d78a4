"""What the journal knows of a batch of letters, asked once for all of them instead of several times for each.

The sets may name too much, never too little: what they name is asked for by itself, what they do not name is
not on record. They hold for one transaction, since nobody else can write meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from imaprouter.address import canonical_id
from imaprouter.copies import letter_key
from imaprouter.model import Envelope
from imaprouter.store.folders import Folder
from imaprouter.store.rows import Tables


@dataclass(frozen=True, slots=True)
class Keys:
    """By what a letter is found in the journal."""

    uid: int
    #: Canonical.
    message_id: str
    fingerprint: str
    #: `copies.letter_key`.
    letter_key: str
    pair_key: str
    parents: tuple[str, ...] = ()


def keys_of(uid: int, envelope: Envelope, pair_key: str) -> Keys:
    return Keys(
        uid=uid,
        message_id=canonical_id(envelope.message_id),
        fingerprint=envelope.fingerprint,
        letter_key=letter_key(envelope),
        pair_key=pair_key,
        parents=envelope.parents,
    )


@dataclass(slots=True)
class OnRecord:
    """What is on record of a batch: before it, and added since."""

    #: The batch itself, by UID.
    letters: dict[int, Keys] = field(default_factory=dict)
    #: UIDs of the folder's epoch.
    uids: set[int] = field(default_factory=set)
    #: Fingerprints in the mailbox.
    fingerprints: set[str] = field(default_factory=set)
    #: Message-IDs and letter keys in other mailboxes.
    elsewhere: set[str] = field(default_factory=set)
    #: Pairs of parties, in any mailbox.
    pairs: set[str] = field(default_factory=set)
    #: Ids under which messages are known, own and further ones.
    ids: set[str] = field(default_factory=set)

    def has_copies(self, keys: Keys) -> bool:
        """Whether another mailbox may hold the same mail."""
        return keys.message_id in self.elsewhere or keys.letter_key in self.elsewhere

    def add(self, keys: Keys, other_ids: Iterable[str]) -> None:
        """This letter is on record now."""
        self.uids.add(keys.uid)
        self.fingerprints.add(keys.fingerprint)
        self.pairs.add(keys.pair_key)
        self.ids.add(keys.message_id)
        self.ids.update(other_ids)


class Batches(Tables):
    """Questions about many letters at once."""

    def on_record(self, folder: Folder, letters: Sequence[Keys]) -> OnRecord:
        """What is on record of these letters of a folder. Call it inside `transaction()`."""
        ids = {letter.message_id for letter in letters}
        named = ids.union(*(letter.parents for letter in letters))
        return OnRecord(
            letters={letter.uid: letter for letter in letters},
            uids=self._found(
                "SELECT uid FROM messages WHERE folder_id = ?2 AND epoch = ?3 AND uid IN",
                (letter.uid for letter in letters),
                (folder.id, folder.epoch),
            ),
            fingerprints=self._found(
                "SELECT fingerprint FROM messages WHERE mailbox = ?2 AND fingerprint IN",
                (letter.fingerprint for letter in letters),
                (folder.mailbox,),
            ),
            elsewhere=self._found(
                "SELECT message_id FROM messages WHERE mailbox <> ?2 AND message_id <> '' AND message_id IN",
                ids,
                (folder.mailbox,),
            )
            | self._found(
                "SELECT letter_key FROM messages WHERE mailbox <> ?2 AND letter_key <> '' AND letter_key IN",
                (letter.letter_key for letter in letters),
                (folder.mailbox,),
            ),
            # Only whether there is a letter: two parties may have written each other thousands.
            pairs=self._found(
                "SELECT key FROM (SELECT value AS key FROM json_each(?1)) WHERE key <> '' AND EXISTS"
                " (SELECT 1 FROM messages WHERE pair_key = key AND pair_key <> '') AND key IN",
                {letter.pair_key for letter in letters},
            ),
            ids=self._found("SELECT message_id FROM messages WHERE message_id <> '' AND message_id IN", named)
            | self._found("SELECT other_id FROM other_ids WHERE other_id IN", named),
        )

    def _found(self, query: str, wanted: Iterable[object], values: Sequence[object] = ()) -> set[Any]:
        """What `query` finds of the `wanted` keys, which stand in it last."""
        keys = msgspec.json.encode(list(wanted)).decode("utf-8")
        rows = self._rows(f"{query} (SELECT value FROM json_each(?1))", (keys, *values))
        return {value for (value,) in rows}
