"""One mail in several mailboxes: which messages are copies of each other, and what they say together. Pure.

Each copy gets an activity of its own from Bitrix24 and is corrected by itself; the decision is one, made by
the recipients of all copies: who was addressed does not depend on which mailbox one looks into. A copy that
comes when the others are settled changes nothing for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from imaprouter.model import Envelope, Letter
from imaprouter.text import clean


def letter_key(envelope: Envelope) -> str:
    """The same for all copies, even where a relay rewrote the Message-ID: From, Date and Subject as one hash.

    '' when the letter says too little to be recognised.
    """
    by = writers(envelope)
    if not by or envelope.date is None:
        return ""
    text = f"{','.join(sorted(by))}|{envelope.date.timestamp():.0f}|{clean(envelope.subject)}"
    return hashlib.sha256(text.encode()).hexdigest()


def are_copies(one: Envelope, other: Envelope) -> bool:
    """Whether two envelopes with one Message-ID, or one key, are of one mail: same writer, same Date."""
    dates = {each.date.timestamp() // 1 for each in (one, other) if each.date}
    return len(dates) < 2 and writers(one) == writers(other)


def writers(envelope: Envelope) -> frozenset[str]:
    """Who stands in From."""
    return frozenset(address.email for address in envelope.from_)


def together(letter: Letter, copies: Iterable[Envelope]) -> Letter:
    """The letter with the recipients of its copies in other mailboxes, the same for each of them.

    What lies in several mailboxes is not by that alone for one of them: no address of the letter is the
    mailbox's own any more, and whoever is named among the recipients was addressed.
    """
    copies = tuple(copies)
    if not copies:
        return letter
    own = letter.envelope
    further = (email for copy in copies for email in copy.recipients)
    delivered = tuple(dict.fromkeys((*own.delivered_to, *further)))
    return replace(letter, envelope=replace(own, delivered_to=delivered), own_addresses=frozenset())
