"""Subjects as they are written in the wild: RFC 2047 words, raw 8-bit, and what must not come through."""

from __future__ import annotations

import base64
import codecs
import quopri
import sys
import unicodedata
from email.header import Header
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.mail import parse
from imaprouter.mail.charset import _CODECS, _WIDER, codec_for
from imaprouter.text import clean


def b_word(text: str, charset: str) -> str:
    return f"=?{charset}?B?{base64.b64encode(text.encode(charset)).decode()}?="


def q_word(data: bytes, charset: str) -> str:
    return f"=?{charset}?Q?{quopri.encodestring(data, header=True).decode().replace(chr(10), '')}?="


def subject_of(value: str | bytes, *fields: str) -> str:
    raw = value.encode() if isinstance(value, str) else value
    head = "".join(f"{field}\r\n" for field in fields).encode()
    return parse(head + b"Subject: " + raw + b"\r\n\r\n").subject


PLAIN = {
    "ascii": ("Re: [#123] Offer", "Re: [#123] Offer"),
    "folded in the middle of a sentence": ("one\r\n two", "one two"),
    "folded with LF and a tab": ("one\n\ttwo", "one two"),
    "blanks around and runs inside": ("   one \t  two  ", "one two"),
    "no-break space": ("заказ\u00a0№\u00a05".encode(), "заказ № 5"),
    "empty": ("", ""),
    "utf-8 without any word": ("Счёт".encode(), "Счёт"),
    "text that only looks like a word": ("what =? is this ?=", "what =? is this ?="),
    "an unclosed word": ("=?utf-8?Q?abc", "=?utf-8?Q?abc"),
    "an unclosed word before a whole one": ("=?utf-8?Q?abc =?utf-8?Q?def?=", "=?utf-8?Q?abc def"),
}

WORDS = {
    "utf-8 in base64": (b_word("Привет", "utf-8"), "Привет"),
    "koi8-r": (b_word("Привет", "koi8-r"), "Привет"),
    "windows-1251 in Q": (q_word("Привет".encode("cp1251"), "windows-1251"), "Привет"),
    "upper and lower case": ("=?UTF-8?b?0J/RgNC40LLQtdGC?=", "Привет"),
    "a language behind the charset": ("=?utf-8*ru?Q?a_b?=", "a b"),
    "underscores are blanks": ("=?us-ascii?Q?a_b=5Fc?=", "a b_c"),
    "a word beside text without blanks": ("[#5]=?utf-8?B?0JTQsA==?=!", "[#5]Да!"),
    "two words without a blank between": ("=?utf-8?B?0JQ=?==?utf-8?B?0LA=?=", "Да"),
    "two words with a fold between": ("=?utf-8?B?0JQ=?=\r\n =?utf-8?B?0LA=?=", "Да"),
    "text between words keeps its blanks": ("=?utf-8?Q?a?= b =?utf-8?Q?c?=", "a b c"),
    "two charsets side by side": (f"{b_word('Да', 'koi8-r')} {b_word('нет', 'cp1251')}", "Данет"),
    "a character split between two B words": ("=?utf-8?B?0JTQ?= =?utf-8?B?sA==?=", "Да"),
    "a character split between Q words": ("=?utf-8?Q?=D0=94=D0?=\r\n\t=?utf-8?Q?=B0?=", "Да"),
    "a character split between a B and a Q word": ("=?utf-8?B?0JTQ?= =?utf-8?Q?=B0?=", "Да"),
    "the base64 text itself cut": ("=?utf-8?B?0JTQs?= =?utf-8?B?A==?=", "Да"),
    "no padding": ("=?utf-8?B?0JTQsCE?=", "Да!"),
    "no padding in two words": ("=?utf-8?B?0JQ?= =?utf-8?B?0LA?=", "Да"),
    "padding in the middle": ("=?utf-8?B?0JQ=0LA=?=", "Да"),
    "a blank inside base64": ("=?utf-8?B?0JTQ sCE=?=", "Да!"),
    "blanks inside a Q word": ("=?utf-8?Q?=D0=94=D0=B0 =D0=B4=D0=B0?=", "Да да"),
    "question marks inside a Q word": ("=?utf-8?Q?How are you? Fine?=", "How are you? Fine"),
    "a quoted word": ('"=?utf-8?B?0JTQsA==?="', '"Да"'),
    "an empty word": ("=?utf-8?B??=x", "x"),
    "half an escape": ("=?utf-8?Q?100=?=", "100"),
    "an escape that is none": ("=?utf-8?Q?a=ZZb?=", "a=ZZb"),
    "shift_jis": (b_word("見積書", "shift_jis"), "見積書"),
    "iso-2022-jp in two words": (f"{b_word('見積', 'iso-2022-jp')} {b_word('書', 'iso-2022-jp')}", "見積書"),
    "gb2312": (b_word("报价单", "gb2312"), "报价单"),
    "gb2312 that is gbk": (q_word("朱镕基".encode("gbk"), "gb2312"), "朱镕基"),
    "ks_c_5601-1987": (q_word("견적".encode("euc-kr"), "ks_c_5601-1987"), "견적"),
    "iso-8859-2": (b_word("Zażółć", "iso-8859-2"), "Zażółć"),
    "cp866": (b_word("Привет", "cp866"), "Привет"),
    "utf-8 under another name": (q_word("Да".encode(), "us-ascii"), "Да"),
    "unknown charset that is utf-8": (q_word("Да".encode(), "x-foo"), "Да"),
    "unknown charset that is cp1251": (
        q_word("Привет, коллеги".encode("cp1251"), "x-foo"),
        "Привет, коллеги",
    ),
    "raw 8-bit inside a word": ("=?utf-8?Q?Да?=".encode(), "Да"),
    "encoded twice is decoded once": (b_word("=?utf-8?Q?a?=", "utf-8"), "=?utf-8?Q?a?="),
}


@pytest.mark.parametrize(("written", "expected"), (PLAIN | WORDS).values(), ids=(PLAIN | WORDS).keys())
def test_subject_reads_as_a_person_reads_it(written: str | bytes, expected: str) -> None:
    assert subject_of(written) == expected


@pytest.mark.parametrize("charset", ["koi8-r", "windows-1251", "iso-8859-5", "cp866", "utf-8"])
def test_raw_8_bit_is_read_in_the_charset_of_the_message(charset: str) -> None:
    """A header without encoded words uses the charset that Content-Type names, as the portal does."""
    written = "Заявка на поставку".encode(charset)
    assert subject_of(written, f'Content-Type: text/plain; charset="{charset}"') == "Заявка на поставку"


@pytest.mark.parametrize("charset", ["koi8-r", "windows-1251", "cp866"])
def test_raw_8_bit_without_a_charset_is_recognised_and_noted(charset: str) -> None:
    envelope = parse(b"Subject: [#7] " + "Заявка на поставку".encode(charset))
    assert envelope.subject == "[#7] Заявка на поставку"
    assert any("8-bit text in an unnamed charset" in defect for defect in envelope.defects)


def test_utf_8_wins_over_a_wrong_content_type() -> None:
    assert subject_of("Привет".encode(), "Content-Type: text/plain; charset=windows-1251") == "Привет"


def test_unknown_charset_is_named_once() -> None:
    defects = parse(b"Subject: =?x-foo?Q?a?= b =?x-foo?Q?c?=").defects
    assert [defect for defect in defects if "charset" in defect] == ["subject: unknown charset x-foo"]


@pytest.mark.parametrize(
    "codec", ["rot13", "zlib", "unicode_escape", "idna", "punycode", "utf-7", "undefined"]
)
def test_codecs_that_are_no_charsets_are_refused(codec: str) -> None:
    assert codec_for(codec) is None


def test_every_codec_of_the_white_list_exists() -> None:
    for codec in {*_CODECS.values(), *_WIDER.values()}:
        assert codecs.lookup(codec).name


def test_damaged_utf_8_keeps_what_can_be_read() -> None:
    envelope = parse(b"Subject: =?utf-8?Q?=D0=94=D0=B0=D0?=")
    assert envelope.subject == "Да\ufffd"
    assert "subject: text that is not utf-8" in envelope.defects


def test_many_words_are_cut_at_the_cap() -> None:
    envelope = parse(b"Subject: " + b"=?utf-8?Q?a?= " * 600)
    assert envelope.subject.startswith("a" * 500)
    assert "subject: more than 500 encoded words" in envelope.defects


def test_repeated_subject_last_wins_as_in_the_portal() -> None:
    envelope = parse(b"Subject: one\r\nSubject: two\r\n\r\n")
    assert envelope.subject == "two"
    assert "subject: 2 of them, the last is used" in envelope.defects


HIDDEN = {
    "line ends": ("a\r\nBcc: evil@x.ru", "a Bcc: evil@x.ru"),
    "a bidi override": ("[#12\u202e3]", "[#123]"),
    "a zero-width space": ("[#1\u200b23]", "[#123]"),
    "a soft hyphen": ("dis\u00adcount", "discount"),
    "an escape sequence": ("\x1b[31mred", "[31mred"),
    "a tag character": ("a\U000e0041b", "ab"),
    "a Hangul filler": ("a\u3164b", "ab"),
    "a line separator": ("a\u2028b", "a b"),
}


@pytest.mark.parametrize(("hidden", "seen"), HIDDEN.values(), ids=HIDDEN.keys())
def test_hidden_characters_inside_words_are_gone(hidden: str, seen: str) -> None:
    assert subject_of(b_word(hidden, "utf-8")) == seen


def test_nothing_hidden_passes_clean() -> None:
    """Every control, format and surrogate character that this Python knows is removed or becomes a blank."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert clean(f"a{character}b") in ("ab", "a b"), hex(code)


def test_letters_marks_and_emoji_pass_clean() -> None:
    text = "Ж e\u0301 見 ❤\ufe0f \uff03 № 👍🏽"
    assert clean(text) == text


@given(st.text())
def test_clean_is_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def _legible(alphabet: str) -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(alphabet), max_size=120)


RUSSIAN = 'абвгджзиклмнопрстуфхцчшщыьэюяАБВГДЁё ABCabc0123456789#[]().,:;?=_-!"<>@'


@pytest.mark.parametrize("charset", ["utf-8", "koi8-r", "cp1251"])
@given(text=_legible(RUSSIAN))
def test_what_python_encodes_is_read_back(charset: str, text: str) -> None:
    """Any text that `email.header` folds into words comes back as it was, up to blanks."""
    encoded = Header(clean(text), charset, header_name="Subject").encode(linesep="\r\n")
    assert subject_of(encoded) == clean(text)


@given(
    text=st.text(st.characters(codec="utf-8"), max_size=60),
    cuts=st.lists(st.integers(0, 240), max_size=6),
    base=st.lists(st.booleans(), min_size=7, max_size=7),
    gap=st.sampled_from(["", " ", "\r\n ", "\r\n\t"]),
)
def test_words_cut_anywhere_are_joined(text: str, cuts: list[int], base: list[bool], gap: str) -> None:
    """Bytes cut anywhere, in the middle of a character too, and encoded either way, give the text back."""
    data = text.encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[start:end] for start, end in pairwise(places)]
    words = [
        f"=?utf-8?B?{base64.b64encode(part).decode()}?="
        if in_base64
        else "=?utf-8?Q?" + "".join(f"={byte:02X}" for byte in part) + "?="
        for part, in_base64 in zip(parts, base, strict=False)
    ]
    assert subject_of(gap.join(words)) == clean(text)
