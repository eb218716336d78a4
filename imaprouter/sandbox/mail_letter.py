"""A letter as the portal's importer reads it (mail-internals 3.2, 3.3).

Its own decoding, on purpose not `imaprouter.mail`: client and simulator must not share their mistakes.
"""

from __future__ import annotations

import email
import html
import re
from base64 import b64decode
from binascii import Error as BadBase64
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_tz
from hashlib import md5
from itertools import groupby
from quopri import decodestring
from typing import Literal

SplitWords = Literal["joined", "separate"]
_WORD = re.compile(rb"=\?([^?*\s]+)(?:\*[^?]*)?\?([bBqQ])\?([^?]*)\?=")
_GAP_BETWEEN_WORDS = re.compile(rb"(\?=)\s+(?==\?)")
_ADDRESS = re.compile(r"[^\s<>,;:\"()\[\]]+@[^\s<>,;:\"()\[\]]+")
_CHARSET = re.compile(rb"charset\s*=\s*\"?([^\";\s]+)", re.IGNORECASE)
#: Codecs of Python that no mail means.
_NO_CHARSET = re.compile(r"escape|idna|punycode|undefined", re.IGNORECASE)
#: Pieces between commas, where quoted ones do not count.
_BETWEEN_COMMAS = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,])+')
_LONGEST_ADDRESS = 1000
_HAS_ZONE = re.compile(r"\d:\d\d(?::\d\d)?\s+\S")


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of a folder. Address fields are whole decoded header lines, as in EMAIL_META."""

    folder: str
    uid: int
    internal_date: datetime
    seen: bool
    #: A draft, or in a folder for drafts, trash or spam (mail-internals 1.3).
    aside: bool
    header_md5: str
    subject: str
    from_: str
    reply_to: str
    to: str
    cc: str
    bcc: str
    message_id: str
    in_reply_to: str
    event_name: str
    date: datetime | None
    body: str

    @property
    def start_time(self) -> datetime:
        """The Date header, else INTERNALDATE (mail-internals 3.3)."""
        return self.date or self.internal_date

    @property
    def senders(self) -> list[str]:
        """Reply-To first, then From (mail-internals 2.4)."""
        return list(dict.fromkeys([*addresses(self.reply_to), *addresses(self.from_)]))

    @property
    def recipients(self) -> list[str]:
        return list(dict.fromkeys([*addresses(self.to), *addresses(self.cc), *addresses(self.bcc)]))


def read_letter(
    raw: bytes,
    *,
    folder: str,
    uid: int,
    internal_date: datetime,
    seen: bool,
    aside: bool,
    zone: tzinfo,
    split_words: SplitWords = "joined",
) -> Letter:
    """Read a whole message. Never raises on what a sender may write."""
    header = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]
    fields = _fields(header)
    charset = _CHARSET.search(fields.get("content-type", b""))
    default = charset.group(1).decode("ascii", "replace") if charset else "utf-8"
    text = {name: decode(value, default, split_words) for name, value in fields.items()}
    bcc = ", ".join(text[name] for name in ("bcc", "x-original-rcpt-to") if text.get(name))
    identity = b":".join((header.strip(), internal_date.isoformat().encode(), str(len(raw)).encode()))
    return Letter(
        folder=folder,
        uid=uid,
        internal_date=internal_date,
        seen=seen,
        aside=aside,
        header_md5=md5(identity, usedforsecurity=False).hexdigest(),
        subject=text.get("subject", ""),
        from_=text.get("from", ""),
        reply_to=text.get("reply-to", ""),
        to=text.get("to", ""),
        cc=text.get("cc", ""),
        bcc=bcc,
        message_id=text.get("message-id", "").strip(" \t<>"),
        in_reply_to=text.get("in-reply-to", "").strip(" \t<>"),
        event_name=text.get("x-event_name", ""),
        date=moment(text.get("date", ""), zone),
        body=_body(raw),
    )


def _fields(header: bytes) -> dict[str, bytes]:
    """Field values by lower-case name: of a fold only the line end goes, of repeats the last one stays."""
    unfolded = re.sub(rb"\r?\n(?=[ \t])", b"", header)
    fields = {}
    for line in unfolded.splitlines():
        name, colon, value = line.partition(b":")
        if colon:
            fields[name.strip().lower().decode("latin-1")] = value.strip()
    return fields


def decode(value: bytes, default: str = "utf-8", split_words: SplitWords = "joined") -> str:
    """Decode a field: encoded words without the blank between, other 8-bit text from the default charset."""
    pieces: list[tuple[str, bytes]] = []
    place = 0
    value = _GAP_BETWEEN_WORDS.sub(rb"\1", value)
    for word in _WORD.finditer(value):
        if word.start() > place:
            pieces.append((default, value[place : word.start()]))
        pieces.append((word.group(1).decode("ascii", "replace").lower(), _word_bytes(word)))
        place = word.end()
    pieces.append((default, value[place:]))
    if split_words == "separate":
        return "".join(_text(data, charset) for charset, data in pieces).strip()
    grouped = groupby(pieces, key=lambda piece: piece[0])
    return "".join(_text(b"".join(data for _, data in run), charset) for charset, run in grouped).strip()


def _word_bytes(word: re.Match[bytes]) -> bytes:
    data = word.group(3)
    if word.group(2) in b"qQ":
        return decodestring(data, header=True)
    try:
        return b64decode(data + b"=" * (-len(data) % 4))
    except BadBase64:
        return data


def _text(data: bytes, charset: str) -> str:
    try:
        return data.decode("utf-8" if _NO_CHARSET.search(charset) else charset, "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")


def addresses(line: str) -> list[str]:
    """Addresses of a decoded line, lower-cased: what is in angle brackets, else what looks like one.

    Of a name that itself holds an address in brackets, `"Maria <m@a.ru>" <x@b.ru>`, the first one counts.
    What the portal makes of that is not known: mail-internals says nothing of it.
    """
    found = []
    for piece in _BETWEEN_COMMAS.findall(line):
        part = piece[:_LONGEST_ADDRESS]
        inner = re.search(r"<\s*([^<>]+@[^<>]+?)\s*>", part)
        match = inner or _ADDRESS.search(part)
        if match:
            found.append((inner.group(1) if inner else match.group(0)).lower())
    return found


def moment(text: str, zone: tzinfo) -> datetime | None:
    """A Date header as strtotime reads it, in the server's zone if it names none; None if it is nonsense."""
    parsed = parsedate_tz(text)
    if parsed is None:
        return None
    try:
        offset = timezone(timedelta(seconds=parsed[9] or 0)) if _HAS_ZONE.search(text) else zone
        return datetime(*parsed[:6], tzinfo=offset)
    except (ValueError, OverflowError):
        return None


def _body(raw: bytes) -> str:
    """The first text part, as HTML; nothing of a message that is nested beyond reason."""
    try:
        parts = list(email.message_from_bytes(raw).walk())
    except RecursionError:
        return ""
    for part in parts:
        if part.get_content_maintype() == "text":
            payload = part.get_payload(decode=True)
            text = _text(payload, part.get_content_charset() or "utf-8") if isinstance(payload, bytes) else ""
            return text if part.get_content_subtype() == "html" else f"<div>{html.escape(text.strip())}</div>"
    return ""
