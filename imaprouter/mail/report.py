"""A bounce's body to the ids of the message that came back. Reads no text of anybody, only header lines."""

from __future__ import annotations

import binascii
import quopri
import re

from imaprouter.address import canonical_id
from imaprouter.mail.parse import parse

#: Ids that are kept of one report.
MOST_IDS = 50

# The part that holds what came back: RFC 6522 3, RFC 6533 for addresses beyond ASCII.
_RETURNED = re.compile(
    rb"^content-type:[ \t]*(?:\n[ \t]+)?(?:text/rfc822-headers|message/rfc822|message/global(?:-headers)?)\b",
    re.IGNORECASE | re.MULTILINE,
)
_ENCODING = re.compile(
    rb"^content-transfer-encoding:[ \t]*(base64|quoted-printable)\b", re.IGNORECASE | re.MULTILINE
)
_BOUNDARY = re.compile(rb"^--[^\n]{1,200}$", re.MULTILINE)
# In the report itself: Gmail, Exchange; receipts (RFC 8098 3.2.5).
_ORIGINAL_ID = re.compile(rb"^(?:x-)?original-message-id:([^\n]{1,1000})$", re.IGNORECASE | re.MULTILINE)
# Servers older than RFC 3464 copy the message below a line of dashes.
_COPIED_ID = re.compile(rb"^message-id:[ \t]*(?:\n[ \t]+)?<[^<>\n]{1,1000}>", re.IGNORECASE | re.MULTILINE)
_HEADER_LIMIT = 65_536


def returned_ids(body: bytes) -> tuple[str, ...]:
    """Return the canonical ids that the returned header holds: its own before those of what it answers.

    `body` is the beginning of a bounce's body, as the server hands it over. Never raises; empty when
    nothing that looks like a returned header is in it.
    """
    text = body.replace(b"\r\n", b"\n")
    header = _returned_part(text) or _copied(text)
    envelope = parse(header, limit=_HEADER_LIMIT)
    named = (found[1].decode("latin-1") for found in _ORIGINAL_ID.finditer(text))
    own = (canonical_id(written) for written in (envelope.message_id, *envelope.other_ids, *named))
    ids = dict.fromkeys((*own, *envelope.parents))
    ids.pop("", None)
    return tuple(ids)[:MOST_IDS]


def _returned_part(text: bytes) -> bytes:
    """Return what the first part with a returned message or header holds."""
    found = _RETURNED.search(text)
    if not found:
        return b""
    # The part's own header: from the boundary before its Content-Type to the blank line behind it.
    above = max(text.rfind(line, 0, found.start()) for line in (b"\n--", b"\n\n")) + 1
    start = text.find(b"\n\n", found.start()) + 2
    if start < 2:
        return b""
    encoding = _ENCODING.search(text, above, start)
    end = _BOUNDARY.search(text, start)
    content = text[start : end.start() if end else len(text)]
    return _decoded(content, encoding[1].lower()) if encoding else content


def _decoded(content: bytes, encoding: bytes) -> bytes:
    """Decode a part; RFC 2046 5.2.1 forbids it to be encoded, and some servers encode it all the same."""
    if encoding == b"quoted-printable":
        return quopri.decodestring(content)
    packed = re.sub(rb"[^A-Za-z0-9+/]", b"", content)
    return binascii.a2b_base64(packed[: len(packed) // 4 * 4])


def _copied(text: bytes) -> bytes:
    """Return the block of lines around the first Message-ID line, for reports that are plain text."""
    found = _COPIED_ID.search(text)
    if not found:
        return b""
    end = text.find(b"\n\n", found.end())
    return text[text.rfind(b"\n\n", 0, found.start()) + 1 : end if end >= 0 else len(text)]
