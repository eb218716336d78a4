"""The labelled set of natures, and what a bounce's body says of the message that came back."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.mail import parse, returned_ids
from imaprouter.mail.report import MOST_IDS
from imaprouter.model import Nature

ROOT = Path(__file__).parent.parent
SET = ROOT / "fixtures" / "natures"
LETTERS = sorted(SET.glob("*/*.eml"))

#: What is misread, and why that stays so.
MISREAD = {
    "auto_reply/custom-text-no-header": "only its text, which is never read, says that a machine wrote it",
    "auto_reply/read-receipt-tnef": "people begin subjects with 'Read:' too, and TNEF is in many letters",
    "bounce/gateway-names-nobody": "neither sender nor form nor return path is a bounce's",
    "client/php-script-with-a-null-sender": "nothing speaks against the empty return path of a bounce",
}


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def body_of(path: str) -> bytes:
    return (SET / f"{path}.eml").read_bytes().partition(b"\n\n")[2]


# ── the labelled set ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", LETTERS, ids=name_of)
def test_a_labelled_letter_is_read_as_its_label_says(path: Path) -> None:
    """But for those that cannot be told from their header, each for a reason that still holds."""
    right = parse(path.read_bytes()).nature is Nature(path.parent.name)
    assert right is (name_of(path) not in MISREAD)


def test_the_set_has_every_nature_and_no_letter_twice() -> None:
    """Sixty letters or more, a dozen people's at least, each with an id and a date of its own."""
    envelopes = [parse(path.read_bytes()) for path in LETTERS]
    count = Counter(path.parent.name for path in LETTERS)
    assert set(count) == {nature.value for nature in Nature}
    assert count["client"] + count["list"] > 30
    assert count["bounce"] > 30
    assert count["auto_reply"] > 30
    assert len({envelope.message_id for envelope in envelopes} - {""}) == len(LETTERS)
    assert len({envelope.fingerprint for envelope in envelopes}) == len(LETTERS)
    assert all(envelope.date for envelope in envelopes)
    assert {f"{name_of(path)}" for path in LETTERS} >= set(MISREAD)


def test_the_bench_prints_recall_and_false_alarms() -> None:
    """`./dev bench` runs it: a line per nature, and what was misread."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "natures.py")],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    bounces = sum(path.parent.name == "bounce" for path in LETTERS)
    assert lines["bounce"][1:3] == [str(bounces), str(bounces - 1)]
    assert lines["bounce"][5:8] == ["1", "of", str(len(LETTERS) - bounces)]
    assert {f"{name}.eml" for name in MISREAD} <= lines.keys()


# ── what tells them apart ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("From: postmaster@b.ru\nReturn-Path: <postmaster@b.ru>", Nature.CLIENT),
        ("From: postmaster@b.ru\nReturn-Path: <>", Nature.BOUNCE),
        ("From: postmaster@b.ru\nReturn-Path: <postmaster@b.ru>\nSubject: Undeliverable: x", Nature.BOUNCE),
        ("From: postmaster@b.ru\nIn-Reply-To: <a@b>\nSubject: Re: Undeliverable: x", Nature.CLIENT),
        ("From: mailer-daemon-fan@b.ru", Nature.CLIENT),
        ("From: x.mdaemon@b.ru", Nature.CLIENT),
        ("From: Mailer-Daemon <noreply@b.ru>", Nature.BOUNCE),
        ("Return-Path: <>\nIn-Reply-To: <a@b>", Nature.AUTO_REPLY),
        ("Return-Path: <>\nIn-Reply-To: <a@b>\nSubject: Undeliverable: x", Nature.BOUNCE),
        ("Return-Path: <>\nList-Id: <a.b>", Nature.LIST),
        ("Return-Path: <>\nPrecedence: bulk", Nature.AUTO_REPLY),
        ("Subject: Automatic reply: x", Nature.AUTO_REPLY),
        ("Subject: Re: Automatic reply: x", Nature.CLIENT),
        ("Subject: Out of office: x", Nature.CLIENT),
        ("Subject: Out of office: x\nIn-Reply-To: <a@b>", Nature.AUTO_REPLY),
        ("Content-Type: multipart/mixed; report-type=delivery-status", Nature.BOUNCE),
        ("Content-Type: text/plain; report-type=delivery-status", Nature.CLIENT),
    ],
)
def test_one_field_makes_the_difference(header: str, expected: Nature) -> None:
    """Postmasters are people now and then, an answer is no bounce, and a list needs no return path."""
    assert parse(f"{header}\n\n".encode()).nature is expected


# ── what came back ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("postfix-unknown-user", ("kp-1@company.ru",)),
        ("postfix-headers-only", ("kp-2@company.ru", "ask-2@horns.ru", "first-2@horns.ru")),
        ("postfix-smtputf8", ("kp-4@company.ru",)),
        ("exim-plain-copy", ("kp-5@company.ru", "ask-5@horns.ru")),
        ("exim-report", ("kp-6@company.ru",)),
        ("qmail-failure-notice", ("kp-7@company.ru",)),
        ("sendmail-returned", ("kp-8@company.ru",)),
        ("exchange-online-ndr", ("kp-9@company.ru",)),
        ("gmail-address-not-found", ("kp-12@company.ru",)),
        ("report-in-base64", ("kp-14@company.ru",)),
        ("exim-frozen-warning", ()),
        ("gateway-names-nobody", ()),
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_the_ids_of_the_returned_message(name: str, ids: tuple[str, ...], line_end: bytes) -> None:
    """The message's own id first, then what it answered; from every form in which servers return it."""
    assert returned_ids(body_of(f"bounce/{name}").replace(b"\n", line_end)) == ids


def test_a_copy_below_a_line_of_dashes_is_found() -> None:
    """Notes, Zoho and mail filters copy the header without a blank line before it, or after the colon."""
    copied = b"Sorry.\n\n---- Returned --\nReceived: from x\nMessage-ID:<A@b>\nIn-Reply-To: <c@d>\n\nHello\n"
    assert returned_ids(copied) == ("a@b", "c@d")


def test_a_report_that_was_cut_still_names_what_it_holds() -> None:
    """Only the beginning of a body is fetched."""
    body = body_of("bounce/postfix-headers-only")
    assert returned_ids(body[: body.index(b"\nReferences")]) == ("kp-2@company.ru", "ask-2@horns.ru")
    assert returned_ids(body[: body.index(b"text/rfc822-headers") + 19]) == ()


def test_a_quoted_printable_part_is_decoded() -> None:
    """An id with '=' in it would be another one."""
    part = b"--x\nContent-Type: text/rfc822-headers\nContent-Transfer-Encoding: quoted-printable\n\n"
    assert returned_ids(part + b"Message-ID: <a=3Db@=\nc.ru>\n\n--x--\n") == ("a=b@c.ru",)


def test_an_encoding_of_the_part_before_is_not_this_parts() -> None:
    """Each part has a header of its own."""
    before = b"--x\nContent-Type: text/html\nContent-Transfer-Encoding: base64\nPGI+PC9iPg==\n"
    part = b"--x\nContent-Type: message/rfc822\n\nMessage-ID: <a@b>\n\n--x--\n"
    assert returned_ids(before + part) == ("a@b",)


def test_a_text_that_talks_of_ids_is_no_report() -> None:
    """Only whole header lines count."""
    assert returned_ids(b"Your Message-ID: <a@b> was fine\nIn-Reply-To: <c@d>\n") == ()


def test_of_a_thousand_references_the_nearest_are_kept() -> None:
    """A forged report costs no more than an honest one."""
    many = b" ".join(b"<%d@x>" % number for number in range(1000))
    body = b"Content-Type: message/rfc822\n\nMessage-ID: <own@x>\nReferences: " + many + b"\n\n"
    found = returned_ids(body)
    assert len(found) == MOST_IDS
    assert found[:2] == ("own@x", "999@x")


_pieces = st.sampled_from(
    [
        b"--x\n",
        b"\n",
        b"\r\n",
        b"Content-Type: message/rfc822\n",
        b"Content-Type:\n text/rfc822-headers\n",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: quoted-printable\n",
        b"Message-ID: <a@b>\n",
        b"X-Original-Message-ID: <c@d>\n",
        b"References: <e@f> <",
        b"TWVzc2FnZS1JRA",
        b"=3",
        b"\xff\0",
    ]
)


@given(st.lists(_pieces | st.binary(max_size=20), max_size=30).map(b"".join))
def test_no_body_raises(body: bytes) -> None:
    """Whatever a stranger puts into a bounce: canonical ids or none."""
    assert all(one and one == one.strip().lower() for one in returned_ids(body))
