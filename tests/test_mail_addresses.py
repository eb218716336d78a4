"""Address fields: which addresses they hold, in which order, and when a From has two readings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailparser import parse_from_bytes

from imaprouter.address import normalise
from imaprouter.mail import addresses_in, parse
from imaprouter.model import Address

READABLE = {
    "bare": ("a@b.ru", [("", "a@b.ru")]),
    "in brackets": ("<a@b.ru>", [("", "a@b.ru")]),
    "with a name": ("Ivan Ivanov <a@b.ru>", [("Ivan Ivanov", "a@b.ru")]),
    "with a quoted name": ('"Ivanov, Ivan" <a@b.ru>', [("Ivanov, Ivan", "a@b.ru")]),
    "escapes in the name": (r'"A \"B\" C" <a@b.ru>', [('A "B" C', "a@b.ru")]),
    "a dot in the name": ("John Q. Public <a@b.ru>", [("John Q. Public", "a@b.ru")]),
    "name in a comment": ("a@b.ru (Ivan)", [("Ivan", "a@b.ru")]),
    "several": ("A <a@b.ru>, c@d.ru,\r\n <e@f.ru>", [("A", "a@b.ru"), ("", "c@d.ru"), ("", "e@f.ru")]),
    "empty items": ("a@b.ru,, c@d.ru,", [("", "a@b.ru"), ("", "c@d.ru")]),
    "a group": ("Team: a@b.ru, X <c@d.ru>;", [("", "a@b.ru"), ("X", "c@d.ru")]),
    "an empty group": ("undisclosed-recipients:;", []),
    "no address": ("<>", []),
    "only a name": ("MAILER-DAEMON", []),
    "case, plus-tag and trailing dot": ("Sales+D12@Company.RU.", [("", "sales+d12@company.ru")]),
    "IDN": ("иван@почта.рф", [("", "иван@xn--80a1acny.xn--p1ai")]),
    "quoted local part": ('"ivan"@b.ru', [("", "ivan@b.ru")]),
    "quoted local part with a blank": ('"a b"@b.ru', [("", '"a b"@b.ru')]),
    "blanks around the at sign": ("<a @ b.ru>", [("", "a@b.ru")]),
    "two dots": ("a..b@docomo.ne.jp", [("", "a..b@docomo.ne.jp")]),
    "a source route": ("<@relay.ru:a@b.ru>", [("", "a@b.ru")]),
    "an address literal": ("a@[127.0.0.1]", [("", "a@[127.0.0.1]")]),
    "an encoded name": ("=?utf-8?B?0JjQstCw0L0=?= <a@b.ru>", [("Иван", "a@b.ru")]),
    "an encoded name in quotes": ('"=?utf-8?B?0JjQstCw0L0=?=" <a@b.ru>', [("Иван", "a@b.ru")]),
    "an encoded name without a blank": ("=?utf-8?B?0JjQstCw0L0=?=<a@b.ru>", [("Иван", "a@b.ru")]),
    "specials in a Q word": ("=?utf-8?Q?Ivanov,_<x@y>?= <a@b.ru>", [("Ivanov, <x@y>", "a@b.ru")]),
    "a blank in a B word": ("(c) =?utf-8?B?0JjQ stCw0L0=?= <a@b.ru>", [("Иван (c)", "a@b.ru")]),
    "semicolons": ("X <a@b.ru>; c@d.ru", [("X", "a@b.ru"), ("", "c@d.ru")]),
    "an unclosed quote": ('"Ivan <a@b.ru>', [("Ivan", "a@b.ru")]),
    "an unclosed bracket": ("<a@b.ru", [("", "a@b.ru")]),
    "a closing bracket only": ("a@b.ru>", [("", "a@b.ru")]),
    "mailto": ("<mailto:a@b.ru>", [("", "a@b.ru")]),
    "text behind the brackets": ("Sales <a@b.ru> via Portal", [("Sales", "a@b.ru")]),
    "two at signs": ("<a@b@c.ru>", []),
    "no domain": ("<a@.>", []),
}
SPOOFED = {
    "name is an address": ("boss@corp.ru <evil@x.ru>", ["evil@x.ru"]),
    "quoted name is an address": ('"boss@corp.ru" <evil@x.ru>', ["evil@x.ru"]),
    "quoted name has brackets": ('"<boss@corp.ru>" <evil@x.ru>', ["evil@x.ru"]),
    "an encoded name is an address": ("=?utf-8?Q?boss=40corp.ru?= <evil@x.ru>", ["evil@x.ru"]),
    "an encoded word closes the brackets": ("=?utf-8?Q?=3Cboss=40corp.ru=3E?= <evil@x.ru>", ["evil@x.ru"]),
    "only an encoded address": ("=?utf-8?Q?boss=40corp.ru?=", []),
    "an encoded address in brackets": ("<=?utf-8?Q?boss=40corp.ru?=>", []),
    "brackets hold nothing": ("boss@corp.ru <>", []),
    "comment is an address": ("(boss@corp.ru) evil@x.ru", ["evil@x.ru"]),
    "NUL in the middle": ("Boss\0 <ev\0il@x.ru>", ["evil@x.ru"]),
    "a zero-width character in the address": ("<evil\u200b@x.ru>", ["evil@x.ru"]),
}


def read(value: str) -> list[tuple[str, str]]:
    return [(address.name, address.email) for address in parse(f"To: {value}\r\n\r\n".encode()).to]


@pytest.mark.parametrize(("written", "expected"), READABLE.values(), ids=READABLE.keys())
def test_list_is_read_as_a_person_reads_it(written: str, expected: list[tuple[str, str]]) -> None:
    assert read(written) == expected


@pytest.mark.parametrize(("written", "expected"), SPOOFED.values(), ids=SPOOFED.keys())
def test_name_is_never_promoted_to_an_address(written: str, expected: list[str]) -> None:
    envelope = parse(f"From: {written}\r\n\r\n".encode())
    assert [address.email for address in envelope.from_] == expected


UNCLEAR = {
    "two fields": "From: a@x.ru\r\nFrom: b@y.ru",
    "a second field, folded into the first": "From: a@x.ru\r\n From: b@y.ru",
    "two brackets with a colon": "From: <a@x.ru>:<b@y.ru>",
    "two brackets": "From: <a@x.ru> <b@y.ru>",
    "two bare addresses": "From: a@x.ru b@y.ru",
    "an unclosed quote before two": 'From: "<a@x.ru> <b@y.ru>',
}


@pytest.mark.parametrize("header", UNCLEAR.values(), ids=UNCLEAR.keys())
def test_from_with_two_readings_keeps_all_and_says_so(header: str) -> None:
    envelope = parse(header.encode())
    assert [address.email for address in envelope.from_] == ["a@x.ru", "b@y.ru"]
    assert not envelope.from_is_clear
    assert any(defect.startswith("from:") for defect in envelope.defects)


def test_two_authors_in_one_field_are_clear() -> None:
    envelope = parse(b"From: a@x.ru, b@y.ru")
    assert [address.email for address in envelope.from_] == ["a@x.ru", "b@y.ru"]
    assert envelope.from_is_clear


def test_from_in_raw_koi8_r_keeps_its_name() -> None:
    raw = b"Content-Type: text/plain; charset=koi8-r\r\nFrom: " + "Иван".encode("koi8-r") + b" <a@b.ru>"
    assert parse(raw).from_ == (Address("a@b.ru", "Иван"),)


def test_missing_from_is_a_defect() -> None:
    assert "from: no address" in parse(b"Subject: x").defects


def test_delivered_to_gathers_what_servers_write() -> None:
    raw = (
        b"Delivered-To: Masha@Company.ru\r\nDelivered-To: sales@company.ru\r\n"
        b"X-Original-To: <info@company.ru>\r\n"
        b"Envelope-To: masha@company.ru\r\nX-Envelope-To: x@company.ru, y@company.ru\r\n\r\n"
    )
    expected = ("masha", "sales", "info", "x", "y")
    assert parse(raw).delivered_to == tuple(f"{name}@company.ru" for name in expected)


def test_thousands_of_addresses_are_cut() -> None:
    envelope = parse(b"To: " + b"a@b.ru, " * 3000)
    assert len(envelope.to) == 1000
    assert "to: more than 1000 addresses" in envelope.defects


def test_endless_address_is_refused() -> None:
    envelope = parse(b"To: " + b"a" * 400 + b"@b.ru, c@d.ru")
    assert envelope.to == (Address("c@d.ru"),)
    assert "to: an address that is too long" in envelope.defects


def test_line_of_the_portal_that_is_already_decoded() -> None:
    """EMAIL_META shows whole decoded lines; a comma that came out of a word splits the name only."""
    assert [a.email for a in addresses_in("Иванов, Иван <A@b.ru>, c@d.ru")] == ["a@b.ru", "c@d.ru"]


TYPICAL = [
    "a@b.ru",
    "Ivan Ivanov <a@b.ru>",
    '"Ivanov, Ivan" <a@b.ru>, "Sales" <sales@company.ru>',
    "Иван <a@b.ru>",
    "=?utf-8?B?0JjQstCw0L0=?= <a@b.ru>, =?utf-8?Q?=D0=98?= <c@d.ru>",
    "O'Brien <o'brien@b.ie>, x+tag@b.ru,\r\n\t<bare@b.ru>",
    "A.B. <a.b@c-d.co.uk>",
    "root@localhost",
    '"" <a@b.ru>',
    "first_last-x=1/2@sub.domain.example",
]


@pytest.mark.parametrize("value", TYPICAL)
def test_quick_path_agrees_with_mail_parser(value: str) -> None:
    """What the quick path accepts, it reads exactly as mail-parser does."""
    theirs = parse_from_bytes(f"To: {value}\r\n\r\n".encode()).to
    assert read(value) == [(name, email.lower()) for name, email in theirs]


names = st.one_of(
    st.just(""),
    st.text("abc ABC.'-", max_size=12),
    st.text('abc,;:<>@()[] "\\', max_size=12).map(
        lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ),
    st.text("абв ", max_size=8),
    st.text("абв,@<>", min_size=1, max_size=8).map(
        lambda text: "=?utf-8?Q?" + "".join(f"={byte:02X}" for byte in text.encode()) + "?="
    ),
)
emails = st.builds(
    lambda local, domain: f"{local}@{domain}.ru",
    st.from_regex(r"[a-z0-9+_-]{1,8}(\.[a-z0-9]{1,4})?", fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True),
)


@given(st.lists(st.tuples(names, emails), max_size=12), st.sampled_from([",", ", ", ",\r\n ", " ,\t"]))
def test_order_and_number_are_kept(people: list[tuple[str, str]], comma: str) -> None:
    written = comma.join(f"{name} <{email}>" for name, email in people)
    assert [email for _, email in read(written)] == [email for _, email in people]


@given(st.text([*'ab@<>",;:()[]\\.= ?\tйß。', "\ud800", "\u202e"], max_size=40))
def test_addresses_are_canonical_already(text: str) -> None:
    """Whatever is written, what comes out is an address that normalising does not change any more."""
    for address in addresses_in(text):
        assert normalise(address.email) == address.email
        assert address.email.count("@") >= 1
