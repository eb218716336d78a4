"""Authentication-Results as servers write them, other ids of a message, and Outlook's conversation."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.mail import parse
from imaprouter.mail.fields import FIELD_BYTES
from imaprouter.model import Authentication, Envelope

HEADERS = {
    "Yandex: smtp.mail and header.i, commas in a comment": (
        "mail-nwsmtp-mxfront-production-main-60.iva.yp-c.yandex.net; spf=pass (iva.yp-c.yandex.net: domain "
        "of horns.ru designates 2a00:1450::530 as permitted sender, rule=[ip6:2a00:1450::/56]) "
        "smtp.mail=sergey@horns.ru; dkim=pass header.i=@horns.ru",
        "mail-nwsmtp-mxfront-production-main-60.iva.yp-c.yandex.net",
        {
            "spf": "pass",
            "spf.smtp.mailfrom": "horns.ru",
            "dkim": "pass",
            "dkim.header.d": "horns.ru",
        },
    ),
    "Mail.ru: whole addresses, a greeting, two signatures": (
        "mxs.mail.ru; spf=none () smtp.mailfrom=sergey@horns.ru smtp.helo=mx.horns.ru;\r\n\t dkim=pass "
        "header.d=horns.ru;\r\n\t dkim=pass header.d=esp.com; dmarc=pass header.from=sergey@horns.ru",
        "mxs.mail.ru",
        {
            "spf": "none",
            "spf.smtp.mailfrom": "horns.ru",
            "dkim": "pass",
            "dkim.header.d": "horns.ru esp.com",
            "dmarc": "pass",
            "dmarc.header.from": "horns.ru",
        },
    ),
    "Google: a policy in a comment": (
        "mx.google.com; dkim=pass header.i=@horns.ru header.s=mail header.b=AbC/1; spf=softfail (google.com: "
        "transitioning x) smtp.mailfrom=a@horns.ru; dmarc=fail (p=NONE dis=NONE) header.from=horns.ru",
        "mx.google.com",
        {
            "dkim": "pass",
            "dkim.header.d": "horns.ru",
            "spf": "softfail",
            "spf.smtp.mailfrom": "horns.ru",
            "dmarc": "fail",
            "dmarc.header.from": "horns.ru",
        },
    ),
    "Microsoft: no name, a line for each recipient": (
        "spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=horns.ru; company.ru; dkim=none (message not "
        "signed)\r\n header.d=none;company.ru; dmarc=bestguesspass action=none header.from=horns.ru;"
        "compauth=pass reason=109",
        "",
        {
            "spf": "pass",
            "spf.smtp.mailfrom": "horns.ru",
            "dkim": "none",
            "dkim.header.d": "none",
            "dmarc": "bestguesspass",
            "dmarc.header.from": "horns.ru",
        },
    ),
    "a version, upper case, blanks around": (
        "MX.Company.RU 1; DMARC/1 = Pass (x (y \\) z) w) Header.From = HORNS.ru.",
        "mx.company.ru",
        {"dmarc": "pass", "dmarc.header.from": "horns.ru"},
    ),
    "no result": ("mx.company.ru; none", "mx.company.ru", {}),
    "only a name": ("mx.company.ru", "mx.company.ru", {}),
    "nothing": ("", "", {}),
    "a Cyrillic domain": (
        "mx.company.ru; dmarc=pass header.from=пример-опт.com",
        "mx.company.ru",
        {"dmarc": "pass", "dmarc.header.from": "xn----itbiqmbfcdx.com"},
    ),
    "a good and a bad signature: the good one counts (RFC 6376 6.1)": (
        "mx; dkim=fail header.d=old.ru; dkim=pass header.d=horns.ru",
        "mx",
        {"dkim": "pass", "dkim.header.d": "horns.ru"},
    ),
    "two bad signatures": (
        "mx; dkim=neutral header.d=a.ru; dkim=fail header.d=b.ru",
        "mx",
        {"dkim": "fail", "dkim.header.d": "b.ru"},
    ),
    "DMARC twice: the worst counts": (
        "mx; dmarc=pass header.from=horns.ru; dmarc=fail header.from=evil.ru",
        "mx",
        {"dmarc": "fail", "dmarc.header.from": "evil.ru"},
    ),
    "SPF of the greeting alone": ("mx; spf=pass smtp.helo=horns.ru", "mx", {}),
    "SPF of greeting and sender": (
        "mx; spf=pass smtp.helo=horns.ru; spf=fail smtp.mailfrom=a@horns.ru",
        "mx",
        {"spf": "fail", "spf.smtp.mailfrom": "horns.ru"},
    ),
    "a result in quotes is text": (
        'mx; dmarc=fail reason="x; dmarc=pass header.from=horns.ru"',
        "mx",
        {"dmarc": "fail"},
    ),
    "a domain in quotes": (
        'mx; dkim=pass header.d="horns.ru"',
        "mx",
        {"dkim": "pass", "dkim.header.d": "horns.ru"},
    ),
    "nothing in quotes": (
        'mx; dmarc=pass reason="" header.from=horns.ru',
        "mx",
        {"dmarc": "pass", "dmarc.header.from": "horns.ru"},
    ),
    "an address that poses as two": (
        'mx; spf=pass smtp.mailfrom="a@horns.ru smtp.mailfrom=b"@evil.ru',
        "mx",
        {"spf": "pass", "spf.smtp.mailfrom": "evil.ru"},
    ),
}
UNREADABLE = {
    "an open bracket": "mx.company.ru; spf=fail (domain of a(b@evil.ru) smtp.mailfrom=evil.ru; dmarc=fail",
    "an open quote": 'mx.company.ru; spf=pass smtp.mailfrom="a@evil.ru; dmarc=fail',
    "an escape at the end": "mx.company.ru; dmarc=pass (x\\",
    "more than 8 KB": "mx.company.ru; " + "dkim=fail header.d=evil.ru; " * 400 + "dmarc=fail",
}


def headers(*values: str) -> Envelope:
    return parse("".join(f"Authentication-Results: {value}\r\n" for value in values).encode())


@pytest.mark.parametrize(("text", "server", "results"), HEADERS.values(), ids=HEADERS.keys())
def test_results_of_a_header(text: str, server: str, results: dict[str, str]) -> None:
    assert headers(text).authentication == (Authentication(server, results),)


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_hides_its_end_says_nothing_good(text: str) -> None:
    """A sender who gets a bracket into a comment would otherwise swallow the failing result behind it."""
    envelope = headers(text)
    assert envelope.authentication == (Authentication("mx.company.ru", {"dmarc": "unreadable"}),)
    assert "authentication-results: cannot be read to its end" in envelope.defects


def test_headers_stay_in_their_order() -> None:
    """The topmost is the one that the last server wrote."""
    found = headers(
        "mx.company.ru; dmarc=fail", "mx.company.ru; dmarc=pass", "other; spf=pass"
    ).authentication
    assert [(one.server, one.results) for one in found] == [
        ("mx.company.ru", {"dmarc": "fail"}),
        ("mx.company.ru", {"dmarc": "pass"}),
        ("other", {"spf": "pass"}),
    ]


def test_a_pile_of_headers_leaves_the_topmost() -> None:
    envelope = headers("mx.company.ru; dmarc=fail", *(["mx.company.ru; dmarc=pass"] * 100))
    assert len(envelope.authentication) == 50
    assert envelope.authentication[0].results == {"dmarc": "fail"}
    assert "authentication-results: more than 50 of them, the topmost are read" in envelope.defects


BITS = [
    "mx",
    ";",
    "=",
    "(",
    ")",
    '"',
    "\\",
    " ",
    "\r\n ",
    "dmarc",
    "dkim",
    "spf",
    "pass",
    "fail",
    "header.from",
    "/1",
]


@given(st.lists(st.one_of(st.sampled_from(BITS), st.text(max_size=3)), max_size=40).map("".join))
def test_no_header_raises_and_nothing_but_results_is_kept(text: str) -> None:
    for found in headers(text).authentication:
        assert set(found.results) <= {
            *("dmarc", "dkim", "spf"),
            *("dmarc.header.from", "dkim.header.d", "spf.smtp.mailfrom"),
        }
        assert all(value and value == value.lower() for value in found.results.values())


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40))
def test_quoted_text_of_a_sender_never_makes_a_result(text: str) -> None:
    """Whatever stands between quotes that the server has escaped, the server's own result is what is read."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    (found,) = headers(f'mx; dmarc=fail reason="{escaped}" header.from=horns.ru').authentication
    assert found == Authentication("mx", {"dmarc": "fail", "dmarc.header.from": "horns.ru"})


FLOODS = ["(" * 60_000, "mx; " + "(a" * 3000 + ")" * 3000, "dkim=pass;" * 6000, "= " * 30_000, '"' * 60_001]


@pytest.mark.parametrize("text", FLOODS, ids=range(len(FLOODS)))
@pytest.mark.timeout(20)
def test_floods_that_overflow_or_slow_other_readers(text: str) -> None:
    """Nested comments overflow the stack of authres, and many results take it seconds (imap.md 5)."""
    found = headers(*[text] * 20).authentication
    # No more than a field may hold; all but the last, maybe a short rest, are too long to say anything.
    assert len(found) == 1 + FIELD_BYTES // len(text)
    assert [each.results for each in found[:-1]] == [{"dmarc": "unreadable"}] * (len(found) - 1)


# Other ids of the same message

OTHERS = {
    "a gateway's": ("Message-ID: <a@b>\r\nX-Google-Original-Message-ID: <Own@C>", ("own@c",)),
    "the replaced one beside the sender's own": (
        "Message-ID: <5f3a.SMTPIN_ADDED_BROKEN@mx.google.com>\r\nX-Google-Original-Message-ID: <own@b>",
        ("5f3a.smtpin_added_broken@mx.google.com",),
    ),
    "both": (
        "Message-ID: <a@b>\r\nX-Google-Original-Message-ID: <g@b>\r\nX-Microsoft-Original-Message-ID: <m@b>",
        ("g@b", "m@b"),
    ),
    "never its own": ("Message-ID: <a@b>\r\nX-Google-Original-Message-ID: <A@B>", ()),
    "never an empty one": ("Message-ID: <a@b>\r\nX-Google-Original-Message-ID: < >", ()),
    "none": ("Message-ID: <a@b>", ()),
}


@pytest.mark.parametrize(("header", "expected"), OTHERS.values(), ids=OTHERS.keys())
def test_other_ids_of_a_message(header: str, expected: tuple[str, ...]) -> None:
    assert parse(f"{header}\r\n\r\n".encode()).other_ids == expected


# Outlook's conversation

BLOCK = bytes([1, 0xD1, 0xE6, 0x58, 0x93, 0xD0, *range(16)])


def thread_index(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "written",
    [
        thread_index(BLOCK),
        thread_index(BLOCK).rstrip("="),
        thread_index(BLOCK + b"reply"),
        thread_index(BLOCK + b"reply" * 400),
        thread_index(BLOCK + b"reply")[:12] + "\r\n " + thread_index(BLOCK + b"reply")[12:],
    ],
    ids=["the first letter", "no padding", "an answer", "a long thread", "folded"],
)
def test_letters_of_a_conversation_share_its_block(written: str) -> None:
    assert parse(f"Thread-Index: {written}\r\n\r\n".encode()).conversation == BLOCK.hex()


@pytest.mark.parametrize(
    "written",
    ["AdHm", "12345", "!" * 40, "я" * 40, thread_index(bytes(22)), thread_index(BLOCK[:21]), "=" * 40],
    ids=["short", "no base64", "punctuation", "letters", "no reserved 1", "21 bytes", "padding"],
)
def test_a_malformed_conversation_is_none(written: str) -> None:
    envelope = parse(f"Thread-Index: {written}\r\n\r\n".encode())
    assert envelope.conversation == ""
    assert "thread-index: cannot be understood" in envelope.defects


@given(st.binary(max_size=60))
def test_any_conversation_is_none_or_its_first_bytes(data: bytes) -> None:
    conversation = parse(f"Thread-Index: {thread_index(data)}\r\n\r\n".encode()).conversation
    assert conversation == (data[:22].hex() if len(data) >= 22 and data[0] == 1 else "")


def test_a_letter_without_these_fields_has_none() -> None:
    envelope = parse(b"Subject: x\r\n\r\n")
    assert (envelope.authentication, envelope.other_ids, envelope.conversation) == ((), (), "")
