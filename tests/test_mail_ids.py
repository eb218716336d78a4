"""Message-ID, In-Reply-To, References and Date, as gateways leave them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.address import canonical_id
from imaprouter.mail import parse

MESSAGE_IDS = {
    "plain": ("<Ab.C@d.ru>", "Ab.C@d.ru"),
    "no brackets": ("Ab.C@d.ru", "Ab.C@d.ru"),
    "no at sign": ("<20260112-17>", "20260112-17"),
    "nothing at all": ("", ""),
    "empty brackets": ("<>", ""),
    "a blank in brackets": ("< >", ""),
    "blanks inside brackets": ("< a@b >", "a@b"),
    "a comment behind": ("<a@b> (added by <postmaster@x.ru>)", "a@b"),
    "a fold before": ("\r\n <a@b>", "a@b"),
    "a fold inside": ("<a-very-long\r\n -id@b>", "a-very-long-id@b"),
    "an encoded word": ("=?utf-8?Q?=3Ca=40b=3E?=", "a@b"),
    "an unclosed bracket": ("<a@b", "a@b"),
    "a zero-width character": ("<a\u200b@b>", "a@b"),
    "two": ("<a@b> <c@d>", "a@b"),
}
PARENTS = {
    "nearest first": ("In-Reply-To: <c@x>\r\nReferences: <a@x> <b@x> <c@x>", ["c@x", "b@x", "a@x"]),
    "references only": ("References: <a@x> <b@x>", ["b@x", "a@x"]),
    "in-reply-to only": ("In-Reply-To: <A@X>", ["a@x"]),
    "in-reply-to that references do not know": ("In-Reply-To: <z@x>\r\nReferences: <a@x>", ["z@x", "a@x"]),
    "folded": ("References: <a@x>\r\n\t<b@x>\r\n <c@x>", ["c@x", "b@x", "a@x"]),
    "a leading fold": ("References:\r\n <a@x>", ["a@x"]),
    "commas": ("References: <a@x>,<b@x>, <c@x>", ["c@x", "b@x", "a@x"]),
    "nothing between": ("References: <a@x><b@x>", ["b@x", "a@x"]),
    "no brackets": ("References: a@x, b@x c@x", ["c@x", "b@x", "a@x"]),
    "several in in-reply-to": ("In-Reply-To: <a@x> <b@x>", ["a@x", "b@x"]),
    "words around": ("In-Reply-To: Message from Ivan of <a@x> (see <b@x>)", ["a@x"]),
    "an obsolete phrase": ('In-Reply-To: "Your message of Monday" <a@x>', ["a@x"]),
    "empty ones": ("References: <> <a@x> < > <b@x>", ["b@x", "a@x"]),
    "twice the same": ("References: <a@x> <A@X> <b@x>", ["b@x", "a@x"]),
    "a fold inside": ("References: <a@x> <b-long\r\n -id@x>", ["b-long-id@x", "a@x"]),
    "cut in the middle": ("References: <a@x> <b@", ["a@x"]),
    "the last bracket lost": ("References: <a@x> <b@y", ["b@y", "a@x"]),
    "the first bracket lost": ("References: a@x> <b@y>", ["b@y", "a@x"]),
    "half of them without brackets": ("References: <a@x> b@y <c@z>", ["c@z", "b@y", "a@x"]),
    "quotes instead of brackets": ('In-Reply-To: "a@x"', ["a@x"]),
    "quotes around brackets": ('In-Reply-To: "<a@x>"', ["a@x"]),
    "an encoded word": ("In-Reply-To: =?us-ascii?Q?=3Ca=40x=3E?=", ["a@x"]),
    "its own id": ("Message-ID: <own@x>\r\nReferences: <a@x> <OWN@x>", ["a@x"]),
    "two fields": ("References: <a@x>\r\nReferences: <b@x>", ["b@x", "a@x"]),
    "a letter of the portal": ("In-Reply-To: <crm.activity.7-AbC@x.ru>", ["crm.activity.7-abc@x.ru"]),
}


@pytest.mark.parametrize(("written", "expected"), MESSAGE_IDS.values(), ids=MESSAGE_IDS.keys())
def test_message_id_is_taken_as_written(written: str, expected: str) -> None:
    assert parse(f"Message-ID: {written}\r\n\r\n".encode()).message_id == expected


@pytest.mark.parametrize(("header", "expected"), PARENTS.values(), ids=PARENTS.keys())
def test_parents_are_nearest_first(header: str, expected: list[str]) -> None:
    assert list(parse(f"{header}\r\n\r\n".encode()).parents) == expected


@pytest.mark.parametrize("field", ["X-Google-Original-Message-ID", "X-Microsoft-Original-Message-ID"])
def test_replaced_message_id_gives_way_to_the_senders_own(field: str) -> None:
    raw = f"Message-ID: <5f3a.SMTPIN_ADDED_BROKEN@mx.google.com>\r\n{field}: <own@b>\r\n\r\n"
    assert parse(raw.encode()).message_id == "own@b"


def test_original_id_does_not_replace_a_sound_one() -> None:
    raw = b"Message-ID: <a@b>\r\nX-Microsoft-Original-Message-ID: <c@d>\r\n\r\n"
    assert parse(raw).message_id == "a@b"


def test_replaced_id_without_an_original_stays() -> None:
    assert parse(b"Message-ID: <1.SMTPIN_ADDED_MISSING@mx.google.com>").message_id.startswith("1.SMTPIN")


def test_long_references_keep_the_nearest() -> None:
    """A field of 100 kB is cut at its old end, and 500 ids are kept."""
    ids = " ".join(f"<{number:06}@x.example.ru>" for number in range(5000))
    envelope = parse(f"References: {ids}\r\n\r\n".encode())
    assert envelope.parents[:2] == ("004999@x.example.ru", "004998@x.example.ru")
    assert len(envelope.parents) == 500
    assert "references: more than 500 ids, the nearest are kept" in envelope.defects


def test_endless_id_is_refused() -> None:
    envelope = parse(b"Message-ID: <" + b"a" * 2000 + b"@b>")
    assert envelope.message_id == ""
    assert "message-id: an id that is too long" in envelope.defects


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9.$=_-]{1,20}@[a-z0-9.]{1,12}", fullmatch=True), max_size=8),
    st.sampled_from([" ", ",", ", ", "\r\n ", "\r\n\t", ""]),
)
def test_ids_survive_any_separator(ids: list[str], separator: str) -> None:
    """What a reply names comes back reversed, canonical and without repeats."""
    written = separator.join(f"<{one}>" for one in ids)
    expected = dict.fromkeys(one.lower() for one in reversed(ids))
    assert parse(f"References: {written}\r\n\r\n".encode()).parents == tuple(expected)


@given(st.binary(max_size=80))
def test_parents_are_canonical_already(value: bytes) -> None:
    for parent in parse(b"References: " + value.replace(b"\n", b" ")).parents:
        assert canonical_id(parent) == parent != ""


MOMENT = datetime(2026, 1, 12, 7, 0, 5, tzinfo=UTC)
DATES = {
    "usual": "Mon, 12 Jan 2026 10:00:05 +0300",
    "with a zone comment": "Mon, 12 Jan 2026 10:00:05 +0300 (MSK)",
    "without a weekday": "12 Jan 2026 10:00:05 +0300",
    "a wrong weekday": "Fri, 12 Jan 2026 10:00:05 +0300",
    "one blank too many": "Mon,  12  Jan 2026  10:00:05  +0300",
    "folded": "Mon, 12 Jan 2026\r\n 10:00:05 +0300",
    "comments in between": "Mon, 12 (twelve) Jan 2026 10:00:05 (noon) +0300",
    "month in capitals and in full": "Mon, 12 JANUARY 2026 10:00:05 +0300",
    "dashes": "Mon, 12-Jan-2026 10:00:05 +0300",
    "two digits of a year": "Mon, 12 Jan 26 10:00:05 +0300",
    "one digit of an hour": "Mon, 12 Jan 2026 7:00:05 +0000",
    "a colon in the zone": "Mon, 12 Jan 2026 10:00:05 +03:00",
    "GMT in words": "Mon, 12 Jan 2026 07:00:05 GMT",
    "UT": "Mon, 12 Jan 2026 07:00:05 UT",
    "GMT and an offset": "Mon, 12 Jan 2026 10:00:05 GMT+0300",
    "obsolete EST": "Mon, 12 Jan 2026 02:00:05 EST",
    "Moscow in words": "Mon, 12 Jan 2026 10:00:05 MSK",
    "minus zero": "Mon, 12 Jan 2026 07:00:05 -0000",
    "west of Greenwich": "Sun, 11 Jan 2026 23:30:05 -0730",
    "asctime with a zone": "Mon Jan 12 10:00:05 MSK 2026",
    "ISO 8601": "2026-01-12T10:00:05+03:00",
    "ISO 8601 with blanks": "2026-01-12 10:00:05 +0300",
}
WITHOUT_A_ZONE = {
    "no zone": "Mon, 12 Jan 2026 07:00:05",
    "an unknown zone": "Mon, 12 Jan 2026 07:00:05 XYZ",
    "asctime": "Mon Jan 12 07:00:05 2026",
    "ISO 8601": "2026-01-12T07:00:05",
}
IMPOSSIBLE = {
    "day": "Mon, 30 Feb 2026 10:00:05 +0300",
    "hour": "Mon, 12 Jan 2026 25:00:05 +0300",
    "second": "Mon, 12 Jan 2026 10:00:75 +0300",
    "zone": "Mon, 12 Jan 2026 10:00:05 +9900",
    "month": "Mon, 12 Foo 2026 10:00:05 +0300",
    "year": "Mon, 12 Jan 9999 10:00:05 +0300",
    "words": "yesterday",
    "Russian words": "Пн, 12 янв 2026 10:00:05 +0300",
    "numbers": "1768201205",
}


@pytest.mark.parametrize("written", DATES.values(), ids=DATES.keys())
def test_date_is_the_same_instant_however_written(written: str) -> None:
    envelope = parse(f"Date: {written}\r\n\r\n".encode())
    assert envelope.date == MOMENT
    assert not [defect for defect in envelope.defects if defect.startswith("date")]


@pytest.mark.parametrize("written", WITHOUT_A_ZONE.values(), ids=WITHOUT_A_ZONE.keys())
def test_date_without_a_zone_is_utc_and_noted(written: str) -> None:
    envelope = parse(f"Date: {written}\r\n\r\n".encode())
    assert envelope.date == MOMENT
    assert "date: no zone that is known, read as UTC" in envelope.defects


@pytest.mark.parametrize("written", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_impossible_date_is_none_and_noted(written: str) -> None:
    envelope = parse(f"Date: {written}\r\n\r\n".encode())
    assert envelope.date is None
    assert any(defect.startswith("date: cannot be understood") for defect in envelope.defects)


def test_missing_date_is_noted() -> None:
    assert "date: missing" in parse(b"Subject: x").defects


def test_leap_second_is_the_next_minute() -> None:
    assert parse(b"Date: Sat, 31 Dec 2016 23:59:60 +0000").date == datetime(2017, 1, 1, tzinfo=UTC)


@given(st.integers(0, 7_226_582_400), st.timezones())
def test_date_round_trip(second: int, zone: tzinfo) -> None:
    """Any date that Python writes in RFC 2822 form is read back to the second."""
    whole = datetime.fromtimestamp(second, zone)
    offset = whole.utcoffset()
    if offset is not None and offset.total_seconds() % 60 == 0:
        assert parse(f"Date: {format_datetime(whole)}".encode()).date == whole.astimezone(UTC)


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_any_date_is_aware_or_none(text: str) -> None:
    date = parse(b"Date: " + text.encode()).date
    assert date is None or date.tzinfo is UTC
