"""Header bytes to `Envelope`: reads each field on its own, so that a broken one costs no other."""

from __future__ import annotations

import hashlib
from functools import partial

from imaprouter.address import canonical_id
from imaprouter.mail import addresses, authentication, dates, ids
from imaprouter.mail.charset import Note, declared, to_text
from imaprouter.mail.defects import Defects
from imaprouter.mail.fields import Fields, split
from imaprouter.mail.nature import nature_of
from imaprouter.mail.words import decode
from imaprouter.model import Address, Authentication, Envelope
from imaprouter.text import clean

_DELIVERED_TO = (
    "delivered-to",
    "x-delivered-to",
    "x-original-to",
    "x-original-rcpt-to",
    "envelope-to",
    "x-envelope-to",
)
_RESENT = ("resent-from", "resent-sender", "resent-to", "resent-cc")
#: A subject is a line that people read. The portal keeps 255 characters of it, and whoever reads numbers out
#: of one looks at its words again for each of them.
LONGEST_SUBJECT = 1000
#: What Google writes instead of a Message-ID that it finds broken; the sender's own goes to another field.
_REPLACED_ID = "smtpin_added_"
_ORIGINAL_IDS = ("x-google-original-message-id", "x-microsoft-original-message-id")


def parse(raw: bytes, *, limit: int = 1_000_000) -> Envelope:
    """Return what a header says. `raw` is a header or a whole message, of which only the header is read.

    Never raises, whatever the bytes are: what cannot be read is named in `defects`. At most `limit`
    bytes are looked at. No text in the answer holds control, bidi, zero-width or surrogate characters.
    """
    defects = Defects()
    header = _Header(split(raw, limit, defects), defects)
    subject, date = header.last("subject"), header.last("date")
    writer, to = header.joined("from"), header.joined("to")
    from_, from_is_clear = header.from_()
    message_id = header.message_id()
    return Envelope(
        subject=header.shortened("subject", subject, LONGEST_SUBJECT),
        from_=from_,
        from_is_clear=from_is_clear,
        reply_to=header.addresses("reply-to"),
        sender=header.addresses("sender"),
        to=header.addresses("to"),
        cc=header.addresses("cc"),
        delivered_to=header.delivered_to(),
        resent=header.resent(),
        message_id=message_id,
        parents=header.parents(message_id),
        date=dates.instant(date, header.note("date")),
        nature=nature_of(header.fields, writer, subject),
        other_ids=header.other_ids(message_id),
        conversation=ids.conversation(header.texts("thread-index"), header.note("thread-index")),
        authentication=header.authentication(),
        fingerprint=_fingerprint(canonical_id(message_id), date, writer, to, subject),
        defects=defects.as_tuple(),  # last: all the others add to them
    )


def _fingerprint(*parts: str) -> str:
    """Return the SHA-256 of what names a message; blanks do not count, since relays fold anew."""
    text = "\n".join("".join(part.split()) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


class _Header:
    """The fields of one message as text and values; notes what it cannot read."""

    def __init__(self, fields: Fields, defects: Defects) -> None:
        self.fields = fields
        self._defects = defects
        self._content_type = fields.last("content-type")
        self._texts: dict[str, list[str]] = {}

    def note(self, name: str) -> Note:
        return partial(self._defects.add, name)

    def texts(self, name: str, *, keep_end: bool = False) -> list[str]:
        """Return all occurrences of a field with its encoded words still in place."""
        if name not in self.fields:
            return []
        if name not in self._texts:
            values = self.fields.all(name, keep_end=keep_end)
            self._texts[name] = [self._text(value, name) for value in values]
        return self._texts[name]

    def _text(self, value: bytes, name: str) -> str:
        if value.isascii():
            return value.decode("ascii")
        return to_text(value, declared(self._content_type), self.note(name))

    def joined(self, name: str) -> str:
        """Return all occurrences of a field decoded, as one text."""
        return ", ".join(self._decoded(text, name) for text in self.texts(name))

    def last(self, name: str) -> str:
        """Return the last occurrence of a field decoded."""
        return self._decoded(self._text(self.fields.last(name), name), name)

    def shortened(self, name: str, text: str, most: int) -> str:
        """Return no more than the first characters of a text."""
        if len(text) > most:
            self._defects.add(name, f"cut at {most} characters")
        return text[:most].rstrip(" ")

    def addresses(self, name: str) -> tuple[Address, ...]:
        if name not in self.fields:
            return ()
        return addresses.read(self.texts(name), self.note(name))[0]

    def from_(self) -> tuple[tuple[Address, ...], bool]:
        """Return the addresses of From, and whether they can be read in one way only."""
        found, clear = addresses.read(self.texts("from"), self.note("from"))
        fields = len(self.texts("from"))
        if fields > 1:
            self._defects.add("from", f"{fields} of them")
        if not found:
            self._defects.add("from", "no address")
        return found, clear and fields < 2

    def delivered_to(self) -> tuple[str, ...]:
        named = [name for name in _DELIVERED_TO if name in self.fields]
        return tuple(dict.fromkeys(address.email for name in named for address in self.addresses(name)))

    def resent(self) -> tuple[Address, ...]:
        named = [name for name in _RESENT if name in self.fields]
        return tuple(dict.fromkeys(person for name in named for person in self.addresses(name)))

    def message_id(self) -> str:
        """Return the sender's own Message-ID, also where a gateway has replaced it (peers.md F4)."""
        written = self._message_id("message-id")
        if written and _REPLACED_ID not in written.lower():
            return written
        originals = (self._message_id(name) for name in _ORIGINAL_IDS)
        return next(filter(None, originals), written)

    def other_ids(self, own: str) -> tuple[str, ...]:
        """Return the ids under which others may know this message: a gateway's, or the one it replaced."""
        if self.fields.names.isdisjoint(_ORIGINAL_IDS) and own:
            return ()  # the one id there is
        return ids.others(map(self._message_id, ("message-id", *_ORIGINAL_IDS)), own)

    def authentication(self) -> tuple[Authentication, ...]:
        name = "authentication-results"
        if name not in self.fields:
            return ()
        return authentication.read(self.texts(name), self.note(name))

    def parents(self, own: str) -> tuple[str, ...]:
        references = self.texts("references", keep_end=True)
        return ids.parents(self.texts("in-reply-to"), references, own, self.note("references"))

    def _message_id(self, name: str) -> str:
        return ids.message_id(self.texts(name), self.note(name))

    def _decoded(self, text: str, name: str) -> str:
        return clean(decode(text, self.note(name)) if "=?" in text else text)
