"""Bytes of a header to text: charsets from a white list, raw 8-bit by the most plausible reading.

Python runs any codec that a header names (rot13, zlib, unicode_escape; imap.md 5), hence the list. UTF-7 is
left out on purpose: it hides markup from everyone who looks at the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Note = Callable[[str], None]

_ASCII = "us-ascii"
_CODECS = {
    **dict.fromkeys(("utf8", "unicode11utf8"), "utf-8"),
    **dict.fromkeys(("usascii", "ascii", "ansix341968", "iso646us"), _ASCII),
    **dict.fromkeys(("koi8r", "koi8"), "koi8-r"),
    **dict.fromkeys(("koi8u", "koi8ru"), "koi8-u"),
    **{f"{vendor}{page}": f"cp{page}" for vendor in ("windows", "cp", "win") for page in range(1250, 1259)},
    **{f"{vendor}{page}": f"cp{page}" for vendor in ("cp", "ibm", "") for page in (437, 850, 852, 855, 866)},
    **{f"iso8859{part}": f"iso8859-{part}" for part in range(1, 17) if part != 12},
    **dict.fromkeys(("iso88598i", "iso88598e"), "iso8859-8"),
    **dict.fromkeys(("latin1", "l1"), "iso8859-1"),
    **dict.fromkeys(("latin2", "l2"), "iso8859-2"),
    **dict.fromkeys(("macintosh", "macroman"), "mac_roman"),
    "maccyrillic": "mac_cyrillic",
    "iso2022jp": "iso2022_jp",
    "iso2022jp1": "iso2022_jp_1",
    "iso2022jp2": "iso2022_jp_2",
    "iso2022jp3": "iso2022_jp_3",
    "iso2022kr": "iso2022_kr",
    **dict.fromkeys(("shiftjis", "sjis", "mskanji"), "shift_jis"),
    **dict.fromkeys(("windows31j", "cp932", "ms932"), "cp932"),
    **dict.fromkeys(("eucjp", "ujis"), "euc_jp"),
    **dict.fromkeys(("euckr", "ksc56011987", "ksc56011989", "ksc5601"), "euc_kr"),
    **dict.fromkeys(("cp949", "uhc", "ms949", "windows949"), "cp949"),
    **dict.fromkeys(("gb2312", "euccn", "gbk", "cp936", "windows936", "gb18030"), "gb18030"),
    "hzgb2312": "hz",
    "big5": "big5",
    **dict.fromkeys(("cp950", "windows950"), "cp950"),
    "big5hkscs": "big5hkscs",
    "tis620": "tis_620",
    "windows874": "cp874",
}
#: Supersets that mailers write under the name of the smaller set.
_WIDER = {"shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs", "iso2022_jp": "iso2022_jp_3"}
_PLAUSIBLE = (
    "windows-1251",
    "koi8-r",
    "koi8-u",
    "cp866",
    "windows-1250",
    "iso-8859-2",
    "windows-1252",
)
_GUESS_BYTES = 4096

_LANGUAGE_OR_YEAR = re.compile(r"\*.*|:\d{4}$", re.DOTALL)
_PUNCTUATION = re.compile(r"[^a-z0-9]")
_CHARSET_PARAMETER = re.compile(r"charset\s*=\s*[\"']?([\w.:+-]{1,40})", re.IGNORECASE | re.ASCII)


@lru_cache(maxsize=256)
def codec_for(name: str) -> str | None:
    """Return Python's codec for a charset as mail names it ('ks_c_5601-1987'); None when not allowed."""
    key = _PUNCTUATION.sub("", _LANGUAGE_OR_YEAR.sub("", name.lower()))
    return _CODECS.get(key) or _CODECS.get(key.removeprefix("x")) or _CODECS.get(key.removeprefix("cs"))


def declared(content_type: bytes) -> str | None:
    """Return the codec that a Content-Type field names, None when it names none that is allowed."""
    found = _CHARSET_PARAMETER.search(content_type.decode("latin-1"))
    return codec_for(found[1]) if found else None


def to_text(value: bytes, codec: str | None, note: Note) -> str:
    """Decode a raw field: UTF-8 if it is, else the message's own charset, else the likeliest one."""
    if value.isascii():
        return value.decode("ascii")
    text = strictly(value, "utf-8")
    if text is None and codec:
        text = strictly(value, codec) or strictly(value, _WIDER.get(codec, codec))
    return _guess(value, note) if text is None else text


def word_text(data: bytes, codec: str | None, note: Note) -> str:
    """Decode the bytes of encoded words; text in another charset than the named one is recognised."""
    if codec:
        text = strictly(data, codec)
        if text is None:
            text = strictly(data, _WIDER.get(codec, "utf-8"))
        if text is not None:
            return text
    text = strictly(data, "utf-8")
    if text is not None:
        return text
    if codec is None or codec == _ASCII:
        return _guess(data, note)
    note(f"text that is not {codec}")
    return data.decode(codec, "replace")


def strictly(data: bytes, codec: str) -> str | None:
    """Decode without tolerance; None when the bytes are not in this charset."""
    try:
        return data.decode(codec)
    except UnicodeError:
        return None


def _guess(data: bytes, note: Note) -> str:
    # Imported here: loading its models costs 140 ms that few messages need.
    import chardet

    found = chardet.detect(data[:_GUESS_BYTES], include_encodings=_PLAUSIBLE)
    codec = codec_for(found["encoding"] or "") or "cp1251"
    note(f"8-bit text in an unnamed charset, read as {codec}")
    return data.decode(codec, "replace")
