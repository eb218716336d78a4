"""Whole headers: nothing is lost, nothing is raised, nothing hidden comes through."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.mail import HEADER_FIELDS, looks_like_email, parse
from imaprouter.model import Address, Envelope, Nature

LETTER = """\
Return-Path: <sergey@horns.ru>
Delivered-To: sales@company.ru
Received: from mx.horns.ru by mail.company.ru; Mon, 12 Jan 2026 10:00:05 +0300
From: =?UTF-8?B?0KHQtdGA0LPQtdC5?= <Sergey@Horns.ru>
Reply-To: zakaz@horns.ru
Sender: robot@horns.ru
To: "Masha" <masha@company.ru>, sales@company.ru
Cc: boss@horns.ru
Subject: =?UTF-8?B?UmU6INCa0J8=?= [#123]
Date: Mon, 12 Jan 2026 10:00:00 +0300
Message-ID: <CAF8g=Abc@mail.horns.ru>
In-Reply-To: <222@company.ru>
References: <111@company.ru> <222@company.ru>
Content-Type: text/plain; charset=utf-8

Subject: this is body
"""
EXPECTED = Envelope(
    subject="Re: КП [#123]",
    from_=(Address("sergey@horns.ru", "Сергей"),),
    reply_to=(Address("zakaz@horns.ru"),),
    sender=(Address("robot@horns.ru"),),
    to=(Address("masha@company.ru", "Masha"), Address("sales@company.ru")),
    cc=(Address("boss@horns.ru"),),
    delivered_to=("sales@company.ru",),
    message_id="CAF8g=Abc@mail.horns.ru",
    parents=("222@company.ru", "111@company.ru"),
    date=datetime(2026, 1, 12, 7, tzinfo=UTC),
    nature=Nature.CLIENT,
    fingerprint=parse(LETTER.encode()).fingerprint,
)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_letter_is_read_whole(line_end: str) -> None:
    """A whole message of any line ends gives every field, and nothing of its body."""
    assert parse(LETTER.replace("\n", line_end).encode()) == EXPECTED


Change = Callable[[bytes], bytes]

DISTURBED: dict[str, Change] = {
    "an mbox line on top": lambda raw: b"From sergey@horns.ru Mon Jan 12 10:00:00 2026\n" + raw,
    "a byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "blank lines on top": lambda raw: b"\r\n\r\n" + raw,
    "no blank line at the end": lambda raw: raw.partition(b"\n\n")[0],
    "a body of a megabyte": lambda raw: raw + b"x" * 1_000_000,
    "lower-case names": lambda raw: re.sub(rb"(?m)^[A-Z][\w-]+:", lambda name: name[0].lower(), raw),
    "blanks before the colon": lambda raw: raw.replace(b"Subject:", b"Subject \t:").replace(b"To:", b"To :"),
    "no blank behind the colon": lambda raw: raw.replace(b": ", b":", 8),
    "other order": lambda raw: b"\n".join(sorted(raw.partition(b"\n\n")[0].split(b"\n"))) + b"\n\n",
}
DAMAGED: dict[str, Change] = {
    "a line without a colon": lambda raw: raw.replace(b"From:", b"this is no field\nFrom:"),
    "a line without a colon that goes on": lambda raw: raw.replace(
        b"From:", b"no field\n and more: x\nFrom:"
    ),
    "a line that starts with a blank": lambda raw: b" lost: line\n" + raw,
    "a name with a blank": lambda raw: raw.replace(b"From:", b"X Y: z\nFrom:"),
    "NUL bytes": lambda raw: raw.replace(b"Subject: ", b"Sub\0ject: \0").replace(b"<Serg", b"<S\0erg"),
}


@pytest.mark.parametrize("disturb", DISTURBED.values(), ids=DISTURBED.keys())
def test_harmless_oddities_change_nothing(disturb: Change) -> None:
    assert parse(disturb(LETTER.encode())) == EXPECTED


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_costs_no_other_field_and_is_named(damage: Change) -> None:
    envelope = parse(damage(LETTER.encode()))
    assert envelope.defects
    assert all(defect.startswith("header: ") for defect in envelope.defects)
    assert envelope.subject == EXPECTED.subject
    assert envelope.from_ == EXPECTED.from_
    assert envelope.fingerprint == EXPECTED.fingerprint


def test_a_from_field_on_top_is_no_mbox_line() -> None:
    """`From : x` begins no mbox, and hides no second From."""
    envelope = parse(b"From : evil@x.com\r\n" + LETTER.encode())
    assert len(envelope.from_) == 2
    assert not envelope.from_is_clear


def test_line_of_megabytes_is_cut_and_what_stands_before_it_is_read() -> None:
    raw = b"From: a@b.ru\r\nX-Junk: " + b"x" * 3_000_000 + b"\r\nSubject: lost\r\n\r\n"
    envelope = parse(raw)
    assert envelope.from_ == (Address("a@b.ru"),)
    assert "header: cut at 1000000 bytes" in envelope.defects


def test_field_behind_junk_within_the_limit_is_found() -> None:
    envelope = parse(b"X-Junk: " + b"x" * 900_000 + b"\r\nSubject: found\r\n\r\n")
    assert envelope.subject == "found"


def test_endless_subject_is_cut() -> None:
    envelope = parse(b"Subject: " + b"x" * 200_000)
    assert envelope.subject == "x" * 1000
    assert {"subject: cut at 65536 bytes", "subject: cut at 1000 characters"} <= set(envelope.defects)


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"\0", b"\xff\xfe", b"no header at all", b":", b"\n\n\n"])
def test_nothing_gives_an_empty_envelope(raw: bytes) -> None:
    envelope = parse(raw)
    assert (envelope.subject, envelope.from_, envelope.message_id, envelope.date) == ("", (), "", None)


EMAILS = {
    "a letter": LETTER.encode(),
    "only a subject": b"Subject: x\r\n\r\n",
    "an mbox": b"From a@b Mon Jan 12 10:00:00 2026\nReceived: by x\n\n",
    "behind many other fields": b"X-A: b\r\n" * 500 + b"Date: x\r\n",
    "behind a line without a colon": b"junk\nMessage-ID: <a@b>\n\n",
}
NO_EMAILS = {
    "empty": b"",
    "a PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01",
    "JSON": b'{\n  "from": "a@b",\n  "subject": "x"\n}\n',
    "JSON on one line": b'{"subject": "x", "date": "y"}',
    "plain text": b"Dear Sir,\n\nSubject: this stands in the text\n",
    "HTML": b"<html><head><title>Subject: x</title></head></html>\n",
    "random bytes": bytes(range(256)) * 20,
    "an e-mail far below other text": b"line\n" * 20_000 + b"From: a@b\n",
}


@pytest.mark.parametrize("raw", EMAILS.values(), ids=EMAILS.keys())
def test_emails_look_like_one(raw: bytes) -> None:
    assert looks_like_email(raw)


@pytest.mark.parametrize("raw", NO_EMAILS.values(), ids=NO_EMAILS.keys())
def test_other_files_do_not(raw: bytes) -> None:
    assert not looks_like_email(raw)


def test_message_over_imap_reads_like_the_message_from_a_file() -> None:
    """Fields that are not asked for over IMAP change nothing, so a file is decided like a message."""
    wanted = {name.lower() for name in HEADER_FIELDS}
    head = LETTER.partition("\n\n")[0].split("\n")
    fetched = "\r\n".join(line for line in head if line.partition(":")[0].lower() in wanted)
    assert parse(f"{fetched}\r\n\r\n".encode()) == EXPECTED


SAME = {
    "folded anew": LETTER.replace(", sales", ",\n\tsales"),
    "another path": LETTER.replace("mx.horns.ru", "relay.horns.ru").replace(
        "sales@company.ru\nRec", "x@y.ru\nRec"
    ),
    "encoded anew": LETTER.replace("=?UTF-8?B?UmU6INCa0J8=?=", "Re: =?koi8-r?B?6/A=?="),
    "an id in other case": LETTER.replace("CAF8g=Abc", "caf8g=abc"),
}


@pytest.mark.parametrize("letter", SAME.values(), ids=SAME.keys())
def test_fingerprint_is_that_of_the_mail(letter: str) -> None:
    assert letter != LETTER
    assert parse(letter.encode()).fingerprint == EXPECTED.fingerprint


@pytest.mark.parametrize("field", ["From", "To", "Subject", "Date", "Message-ID"])
def test_fingerprint_tells_mails_apart(field: str) -> None:
    other = re.sub(rf"(?m)^{field}: .*$", f"{field}: <another@x.ru>", LETTER)
    assert parse(other.encode()).fingerprint != EXPECTED.fingerprint


def texts(envelope: Envelope) -> list[str]:
    people = (*envelope.from_, *envelope.reply_to, *envelope.sender, *envelope.to, *envelope.cc)
    return [
        envelope.subject,
        envelope.message_id,
        *envelope.parents,
        *envelope.delivered_to,
        *envelope.defects,
        *(text for person in people for text in (person.email, person.name)),
    ]


def assert_safe(envelope: Envelope) -> None:
    for text in texts(envelope):
        assert not any(
            unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text
        )
        text.encode()
    assert re.fullmatch("[0-9a-f]{64}", envelope.fingerprint)
    assert envelope.date is None or envelope.date.tzinfo is UTC
    assert all("@" in address and "\n" not in address for address in envelope.recipients)


@given(st.binary(max_size=400))
def test_no_bytes_raise(raw: bytes) -> None:
    assert_safe(parse(raw))
    looks_like_email(raw)


pieces = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=6).map(str.encode),
    st.sampled_from(
        [
            b"<",
            b">",
            b"@",
            b",",
            b";",
            b":",
            b'"',
            b"(",
            b")",
            b"\\",
            b"[",
            b"]",
            b"\r\n ",
            b"\n\t",
            b"\r",
            b"\0",
        ]
    ),
    st.sampled_from(
        [
            b"=?utf-8?B?",
            b"=?koi8-r?Q?",
            b"=?x-foo?q?",
            b"=?iso-2022-jp?B?GyRC",
            b"?=",
            b"=E2=80=AE",
            b"=0D=0A",
        ]
    ),
    st.sampled_from(
        [b"a@b.ru", b"<c@d.ru>", b"12 Jan 2026 10:00:00", b"+0300", b"\xed\xa0\x80", b"\xcf\xf0\xe8"]
    ),
)
hostile = st.lists(
    st.tuples(st.sampled_from([*HEADER_FIELDS, "Junk line", "X-Other"]), st.lists(pieces, max_size=10)),
    max_size=8,
).map(lambda fields: b"\r\n".join(name.encode() + b": " + b"".join(value) for name, value in fields))


@given(hostile)
def test_no_hostile_header_raises(raw: bytes) -> None:
    assert_safe(parse(raw))


@given(hostile)
def test_parsing_is_repeatable(raw: bytes) -> None:
    assert parse(raw) == parse(raw)


FLOODS = [
    b'To: ' + b'",' * 20_000,
    b"To: " + b"(" * 50_000,
    b"To: " + b"<" * 50_000,
    b"From: " + b"a@b.ru, " * 125_000,
    b"Subject: " + b"=?u?q?" * 150_000,
    b"Subject: " + b"=?utf-8?Q?a?= " * 70_000,
    b"References: " + b"<a@b> " * 160_000,
    b"Date: " + b"(" * 900_000,
    b"a:\n" * 300_000,
    b"From: a@b.ru\n" * 70_000,
]  # fmt: skip


@pytest.mark.parametrize("raw", FLOODS, ids=range(len(FLOODS)))
@pytest.mark.timeout(20)
def test_floods_that_stop_other_parsers_are_read(raw: bytes) -> None:
    """Each of these takes minutes, or overflows the stack, where reading is not linear (imap.md 5)."""
    assert_safe(parse(raw))
