"""RFC 2047 encoded words as people write them."""

from __future__ import annotations

import binascii
import re
from itertools import groupby
from typing import NamedTuple

from imaprouter.mail.charset import Note, codec_for, strictly, word_text

#: Encoded words that are decoded in one field (imap.md 5).
MOST_WORDS = 500

# Words stand beside text without blanks and hold blanks and question marks in practice. The payload ends at
# '?=' and cannot run over the start of another word, which keeps the scan linear.
_WORD = re.compile(r"=\?([A-Za-z0-9_.:*+-]{1,80}+)\?([bBqQ])\?((?:[^?=]++|\?(?!=)|=(?!\?(?!=)))*+)\?=")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")
_NOT_BASE64_OR_PAD = re.compile(r"[^A-Za-z0-9+/=]+")
_NOT_IN_A_PHRASE = re.compile(r"[^\w!*+/=?-]", re.ASCII)


class _Word(NamedTuple):
    charset: str
    is_base64: bool
    payload: str


def decode(text: str, note: Note) -> str:
    """Decode every encoded word in a text; neighbours with nothing but blanks between them are joined."""
    if "=?" not in text:
        return text
    pieces: list[str] = []
    run: list[_Word] = []
    end = 0
    for count, found in enumerate(_WORD.finditer(text)):
        if count == MOST_WORDS:
            note(f"more than {MOST_WORDS} encoded words")
            break
        gap = text[end : found.start()]
        if not run:
            pieces.append(gap)
        elif gap.strip():
            pieces += (_run_text(run, note), gap)
            run = []
        charset, encoding, payload = found.groups()
        run.append(_Word(charset.lower(), encoding in "bB", payload))
        end = found.end()
    return "".join((*pieces, _run_text(run, note), text[end:]))


def shield(text: str) -> str:
    """Write commas, angles and the like inside encoded words as =XX, so that they cannot split a list.

    RFC 2047 5 (3) forbids them in a display name; mailers put them there all the same.
    """
    return _WORD.sub(_shielded, text) if "=?" in text else text


def _shielded(found: re.Match[str]) -> str:
    charset, encoding, payload = found.groups()
    if encoding in "bB":
        return f"=?{charset}?B?{_NOT_BASE64_OR_PAD.sub('', payload)}?="
    codec = codec_for(charset) or "utf-8"
    hexed = _NOT_IN_A_PHRASE.sub(
        lambda character: "".join(f"={byte:02X}" for byte in character[0].encode(codec, "replace")),
        payload.replace(" ", "_").replace("?", "=3F"),
    )
    return f"=?{charset}?Q?{hexed}?="


def _run_text(run: list[_Word], note: Note) -> str:
    """Decode neighbouring words: those of one charset as one, since a character may be split between them."""
    if len(run) == 1:
        return _joined_text(run[0].charset, run, note)
    return "".join(
        _joined_text(charset, list(words), note)
        for charset, words in groupby(run, key=lambda word: word.charset)
    )


def _joined_text(charset: str, words: list[_Word], note: Note) -> str:
    codec = codec_for(charset)
    if codec is None:
        note(f"unknown charset {charset}")
    data = b"".join([_data(word, codec) for word in words]) if len(words) > 1 else _data(words[0], codec)
    if len(words) > 1 and codec and strictly(data, codec) is None and all(word.is_base64 for word in words):
        # Some mailers cut the base64 text itself, in the middle of a group of four.
        whole = _base64("".join(word.payload for word in words))
        data = data if strictly(whole, codec) is None else whole
    return word_text(data, codec, note)


def _data(word: _Word, codec: str | None) -> bytes:
    if word.is_base64:
        return _base64(word.payload)
    return binascii.a2b_qp(word.payload.encode(codec or "utf-8", "replace"), header=True)


def _base64(payload: str) -> bytes:
    """Decode base64 that may lack padding, have it in the middle, or hold blanks."""
    try:
        return binascii.a2b_base64(payload, strict_mode=True)
    except ValueError:
        parts = (_NOT_BASE64.sub("", part) for part in payload.split("="))
        return b"".join(_unpadded(part) for part in parts if part)


def _unpadded(part: str) -> bytes:
    whole = part[:-1] if len(part) % 4 == 1 else part
    return binascii.a2b_base64(whole + "=" * (-len(whole) % 4))
