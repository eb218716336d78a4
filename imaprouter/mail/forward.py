"""A forwarded message to the header of the letter that it carries as `message/rfc822` (RFC 2046 5.2.1)."""

from __future__ import annotations

import email
import email.errors
import email.message
import email.policy
from collections.abc import Iterator
from dataclasses import replace

from imaprouter.mail.parse import parse
from imaprouter.model import Envelope

#: A forward of a forward of a forward: deeper ones are not looked into.
MOST_DEPTH = 5
#: Nothing beyond this is looked at; an attached letter stands near the top, its own attachments behind it.
MOST_BYTES = 262_144


def with_attached(envelope: Envelope, raw: bytes) -> Envelope:
    """Return the envelope with those of the letters attached to it, a letter before the one attached to that.

    `raw` is the whole message of `envelope`, or its beginning. Never raises.
    """
    try:
        message = email.message_from_bytes(raw[:MOST_BYTES], policy=email.policy.compat32)
        headers = list(_headers(message, MOST_DEPTH))
    except (email.errors.MessageError, LookupError, ValueError, RecursionError):
        headers = []
    return replace(envelope, forwarded=tuple(map(parse, headers)))


def _headers(message: email.message.Message, depth: int) -> Iterator[bytes]:
    if depth == 0:
        return
    for part in _parts(message):
        if part.get_content_type() == "message/rfc822" and part.is_multipart():
            letter = part.get_payload(0)
            if isinstance(letter, email.message.Message):
                lines = (f"{name}: {value}\n" for name, value in letter.raw_items())
                yield "".join(lines).encode("utf-8", "surrogateescape")
                yield from _headers(letter, depth - 1)


def _parts(message: email.message.Message) -> Iterator[email.message.Message]:
    """The message and its parts, not looking into attached letters."""
    yield message
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.get_payload():
            if isinstance(part, email.message.Message):
                yield from _parts(part)
