"""Message-ID, References and the like: ids as they are compared, from fields that gateways mangle."""

from __future__ import annotations

import binascii
import html
import re
import urllib.parse
from collections.abc import Iterable, Iterator

from imaprouter.address import canonical_id
from imaprouter.mail.charset import Note
from imaprouter.mail.words import decode
from imaprouter.text import clean

#: Parents that are kept of one message, the nearest ones (imap.md 5).
MOST_PARENTS = 500
_LONGEST_ID = 1000
# The header block of Outlook's Thread-Index: a reserved 1, five bytes of time, a GUID (MS-OXOMSG 2.2.1.3).
_BLOCK = 22
_BLOCK_TEXT = 32

# A comment hides brackets, and brackets hide a comment: whichever opens first.
_BRACKETED = re.compile(r"\([^()]*+\)|<([^<>]*+)>")
# As nearly all mail has them: what stands in brackets is an id and nothing else, nothing stands beside it.
_PLAIN = re.compile(r"(?:<[!-'*-;=?-~]++>[ \t]*+)*+")
_PLAIN_ID = re.compile(r"<([^>]+)")
_SEPARATOR = re.compile(r"[\s,;<>]+")
_QUOTES = "\"'`“”«»"
_IS_WHOLE = re.compile(r"[^@]+@[^@]+").fullmatch


def message_id(texts: Iterable[str], note: Note) -> str:
    """Return the first id of a Message-ID field as written, without brackets; '' when there is none."""
    return next(_ids(texts, note), "")


def parents(in_reply_to: Iterable[str], references: Iterable[str], own: str, note: Note) -> tuple[str, ...]:
    """Return the canonical ids of what is answered: those of In-Reply-To, then References from its end."""
    nearest = [*_ids(in_reply_to, note), *reversed(list(_ids(references, note)))]
    canonical = dict.fromkeys(canonical_id(written) for written in nearest)
    canonical.pop("", None)
    canonical.pop(canonical_id(own), None)
    if len(canonical) > MOST_PARENTS:
        note(f"more than {MOST_PARENTS} ids, the nearest are kept")
    return tuple(canonical)[:MOST_PARENTS]


def others(written: Iterable[str], own: str) -> tuple[str, ...]:
    """Return further ids of a message, canonical, without its own and without repeats."""
    canonical = dict.fromkeys(map(canonical_id, written))
    canonical.pop("", None)
    canonical.pop(canonical_id(own), None)
    return tuple(canonical)


def conversation(texts: Iterable[str], note: Note) -> str:
    """Return the conversation that a Thread-Index names, in hex; '' when there is none or it is malformed."""
    written = "".join(next(iter(texts), "").split())
    if not written:
        return ""
    start = written[:_BLOCK_TEXT]
    try:
        block = binascii.a2b_base64(start + "=" * (-len(start) % 4), strict_mode=True)[:_BLOCK]
    except ValueError:
        block = b""
    if len(block) < _BLOCK or block[0] != 1:
        note("cannot be understood")
        return ""
    return block.hex()


def _ids(texts: Iterable[str], note: Note) -> Iterator[str]:
    for text in texts:
        quick = _quick(text)
        if quick is not None:
            yield from quick
            continue
        for written in _written(_bare(clean(decode(text, note)))):
            if len(written) > _LONGEST_ID:
                note("an id that is too long")
            elif written:
                yield written


def _quick(text: str) -> list[str] | None:
    """The ids of a plain field; None when anything in it is out of the ordinary."""
    plain = len(text) <= _LONGEST_ID and _PLAIN.fullmatch(text) and "=?" not in text and "&lt;" not in text
    return _PLAIN_ID.findall(text) if plain and "%3c" not in text.lower() else None


def _bare(text: str) -> str:
    """The text with `&lt;a@b&gt;` and `%3Ca%40b%3E`, as web pages pass ids on, written plainly."""
    if "&lt;" in text:
        text = html.unescape(text)
    return urllib.parse.unquote(text) if "%3c" in text.lower() else text


def _written(text: str) -> Iterator[str]:
    """Find ids in brackets, mended where a fold broke them, and outside them the words with an '@'."""
    if not ("<" in text and ">" in text):
        words = _words(text)
        yield from words if len(words) == 1 else (word for word in words if "@" in word)
        return
    start = 0
    for found in _BRACKETED.finditer(text):
        yield from filter(_IS_WHOLE, _words(text[start : found.start()]))
        yield "".join((found[1] or "").split())
        start = found.end()
    yield from filter(_IS_WHOLE, _words(text[start:]))


def _words(text: str) -> list[str]:
    words = (word.strip(_QUOTES) for word in _SEPARATOR.split(text))
    return [word for word in words if word]
