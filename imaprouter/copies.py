"""One mail in several mailboxes: which messages are copies of each other, and what they say together. Pure.

Each copy gets an activity of its own from Bitrix24 and is corrected by itself; the decision is one, made by
the recipients of all copies: who was addressed does not depend on which mailbox one looks into.
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
    writers = ",".join(sorted({address.email for address in envelope.from_}))
    if not writers or envelope.date is None:
        return ""
    text = f"{writers}|{envelope.date.timestamp():.0f}|{clean(envelope.subject)}"
    return hashlib.sha256(text.encode()).hexdigest()


def together(letter: Letter, copies: Iterable[Envelope]) -> Letter:
    """The letter with the recipients of its copies in other mailboxes."""
    own = letter.envelope
    further = (email for copy in copies for email in copy.recipients)
    delivered = tuple(dict.fromkeys((*own.delivered_to, *further)))
    return replace(letter, envelope=replace(own, delivered_to=delivered))
