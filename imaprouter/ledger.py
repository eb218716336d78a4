"""Is this folder still the one that was read, and which of its messages are ours? Pure.

(UIDVALIDITY, UID) is not enough: a server restored from a backup keeps UIDVALIDITY and gives the same UIDs
to other mail (imap.md 0.8), and a lost index lowers it (0.9). So the marks of the last messages are compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime


def mark(fingerprint: str, size: int, internal_date: datetime | None) -> str:
    """What proves that a UID still names the same message."""
    moment = internal_date.timestamp() if internal_date else 0
    return hashlib.sha256(f"{fingerprint}|{size}|{moment:.0f}".encode()).hexdigest()[:24]


def broken_continuity(
    *,
    known_uidvalidity: int,
    cursor: int,
    anchors: Mapping[int, str],
    uidvalidity: int,
    uidnext: int | None,
    marks: Mapping[int, str],
) -> str | None:
    """Why the stored UIDs mean nothing any more, or None when reading can go on after the cursor.

    `marks` are those of the anchors that the server still has; an expunged anchor proves nothing.
    """
    if uidvalidity != known_uidvalidity:
        return f"UIDVALIDITY is {uidvalidity} instead of {known_uidvalidity}"
    if uidnext is not None and uidnext <= cursor:
        return f"the next UID is {uidnext}, but UID {cursor} was read before"
    for uid, found in sorted(marks.items()):
        if anchors.get(uid, found) != found:
            return f"UID {uid} is another message than before"
    return None
