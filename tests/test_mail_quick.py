"""A quick look reads what the careful reader reads, over the fixtures and over generated headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter import text
from imaprouter.mail import addresses, authentication, dates, fields, ids, parse
from imaprouter.model import Envelope

FIXTURES = Path(__file__).parent.parent / "fixtures"
LETTERS = sorted(
    path for folder in ("mail", "threads", "natures") for path in (FIXTURES / folder).rglob("*.eml")
)
QUICK_LOOKS = ((fields, "_quick"), (ids, "_quick"), (dates, "_quick"), (authentication, "_quick_parts"))


def nothing(*asked: Any) -> None:
    """A quick look that leaves everything to the careful reader."""


@contextmanager
def careful() -> Iterator[None]:
    """Without any of the quick looks."""
    with pytest.MonkeyPatch.context() as patched:
        for module, name in QUICK_LOOKS:
            patched.setattr(module, name, nothing)
        patched.setattr(addresses, "_plain_addresses", addresses._addresses)
        patched.setattr(text, "_PLAIN", re.compile("(?!)"))
        yield


def carefully(raw: bytes) -> Envelope:
    with careful():
        return parse(raw)


@pytest.mark.parametrize("path", LETTERS, ids=lambda path: str(path.relative_to(FIXTURES)))
def test_quick_and_careful_agree_on_a_fixture(path: Path) -> None:
    raw = path.read_bytes()
    assert parse(raw) == carefully(raw)


def test_the_quick_looks_read_an_ordinary_header() -> None:
    """Each of them is asked and answers: the comparison compares something."""
    answered = set()

    def watched(name: str, look: Any) -> Any:
        def told(*asked: Any) -> Any:
            answer = look(*asked)
            if answer is not None:
                answered.add(name)
            return answer

        return told

    with pytest.MonkeyPatch.context() as patched:
        for module, name in QUICK_LOOKS:
            patched.setattr(module, name, watched(module.__name__, getattr(module, name)))
        envelope = parse(ORDINARY)
    assert answered == {module.__name__ for module, _ in QUICK_LOOKS}
    assert envelope == carefully(ORDINARY)
    assert envelope.defects == ()


ORDINARY = (
    b"Received: from a (b [10.0.0.1])\r\n\tby c; Fri, 20 Nov 2026 14:41:00 +0300\r\n"
    b"Authentication-Results: mx.company.ru; dkim=pass (2048-bit key) header.d=horns.ru;\r\n"
    b" spf=softfail smtp.mailfrom=a@horns.ru; dmarc=pass (p=none) header.from=horns.ru\r\n"
    b"From: =?UTF-8?B?0KHQtdGA0LPQtdC5?= <Sergey@Horns.ru>\r\nTo: sales@company.ru\r\n"
    b"Date: Fri, 20 Nov 2026 14:41:00 +0300\r\nMessage-ID: <a.b@horns.ru>\r\n"
    b"In-Reply-To: <c@d>\r\nReferences: <a@b>\r\n <c@d>\r\nSubject: x\r\n\r\n"
)

PIECES = {
    "Date": [
        *("Fri, ", "Fri,", "20", "31", "0", " ", "  ", "Nov", "nov", "Feb", "2026", "26", "1999", "14:41:00"),
        *("24:00:00", "14:41:60", "14:41", "+0300", "-0000", "+2399", "+2400", "+03:00", "GMT", "(MSK)", "("),
    ],
    "Authentication-Results": [
        *("mx.company.ru", ";", "; ", "dkim", "spf", "dmarc", "DKIM", "=", " = ", "pass", "fail", "softfail"),
        *(
            " ",
            "header.d=",
            "header.i=@",
            "header.from=",
            "smtp.mailfrom=",
            "smtp.helo=",
            "horns.ru",
            "a@b.ru",
        ),
        *("(", ")", "(x)", '"', "\\", "/1", "Ä", "\x1f"),
    ],
    "References": [
        *(
            "<a@b>",
            "<c@d>",
            "<",
            ">",
            " ",
            ",",
            "\t",
            "\r\n ",
            "a@b",
            "<>",
            "(x)",
            "&lt;e@f&gt;",
            "%3Cg%40h%3E",
        ),
        *("=?utf-8?Q?<i@j>?=", '"', "<" + "k" * 1200 + "@l>", "ё", "\x7f"),
    ],
    "From": [
        *(
            "a@b.ru",
            "<A@B.ru>",
            "A <a@b.ru>",
            '"A, B" <a@b.ru>',
            ", ",
            ",",
            " ",
            ";",
            ":",
            "(x)",
            "@",
            ".",
            "+d1",
        ),
        *(
            "=?utf-8?B?0JA=?=",
            "=?koi8-r?B?8NLJ18XU?=",
            "ё",
            "\u200b",
            "  ",
            '"',
            "<",
            ">",
            "a" * 330 + "@b.ru",
        ),
    ],
    "Subject": [
        *(
            "Re: ",
            "=?utf-8?B?0JrQnw==?=",
            "=?utf-8?B?0Jo=?= =?utf-8?B?0J8=?=",
            "=?UTF-8?Q?=D0=9A_x?=",
            "#1",
            " ",
        ),
        *(
            "=?utf-8?B?0A==?==?utf-8?B?mg==?=",
            "=?x-foo?B?YQ==?=",
            "КП",
            "\u00a0",
            "\u200b",
            "\u0301",
            "  ",
            "\x07",
        ),
    ],
}
values = st.one_of(
    *(
        st.tuples(st.just(name), st.lists(st.sampled_from(pieces), max_size=9).map("".join))
        for name, pieces in PIECES.items()
    )
)
lines = st.sampled_from(["no field", " lost", "X-A : b", "X-A:b", "", "List-Id: <x>", "Precedence: bulk"])
headers = st.lists(st.one_of(values.map(": ".join), values.map(":".join), lines), max_size=8)


@given(headers, st.sampled_from(["\r\n", "\n"]))
def test_quick_and_careful_agree_on_any_header(header: list[str], line_end: str) -> None:
    raw = line_end.join(header).encode("utf-8", "surrogateescape") + b"\r\n\r\n"
    assert parse(raw) == carefully(raw)


@given(st.binary(max_size=300), st.integers(min_value=0))
def test_quick_and_careful_agree_on_a_damaged_header(junk: bytes, place: int) -> None:
    place %= len(ORDINARY)
    raw = ORDINARY[:place] + junk + ORDINARY[place:]
    assert parse(raw) == carefully(raw)
