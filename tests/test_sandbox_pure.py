"""The pure parts of the portal simulator: PHP arrays, owner rule, bucket, the importer's own decoding."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from email.header import Header
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.sandbox.bindings import owner_after
from imaprouter.sandbox.fields import Kind, item_name
from imaprouter.sandbox.filters import legacy_conditions
from imaprouter.sandbox.limits import LeakyBucket, Limits
from imaprouter.sandbox.listing import passing
from imaprouter.sandbox.mail_letter import addresses, decode, moment, read_letter
from imaprouter.sandbox.php_query import from_wire, parse_query, to_wire
from imaprouter.sandbox.rows import load_snapshot
from imaprouter.sandbox.tables import Table

MOSCOW = timezone(timedelta(hours=3))
_KEYS = st.text(
    st.characters(codec="utf-8", exclude_characters="[]. \0", exclude_categories=["Cs"]), min_size=1
)
_TREES = st.recursive(
    st.text(st.characters(codec="utf-8")),
    lambda below: (
        st.lists(below, min_size=1, max_size=3) | st.dictionaries(_KEYS, below, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


def _pairs(prefix: str, value: Any) -> list[str]:
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [pair for key, item in items for pair in _pairs(f"{prefix}[{key}]", item)]
    return [f"{quote(prefix, safe='')}={quote(value, safe='')}"]


@given(_TREES)
def test_bracket_encoding_comes_back_as_it_went(tree: Any) -> None:
    """What a client encodes with brackets is what the portal sees; keys 0, 1 ... are a list (rest.md 1.3)."""
    assert parse_query("&".join(_pairs("p", tree))) == {"p": from_wire(tree)}


@pytest.mark.parametrize(
    ("query", "parsed"),
    [
        ("filter[>ID]=5&start=-1", {"filter": {">ID": "5"}, "start": "-1"}),
        ("select[]=ID&select[]=TITLE", {"select": ["ID", "TITLE"]}),
        ("a[1]=x", {"a": {"1": "x"}}),
        ("a=1&a=2", {"a": "2"}),
        ("a=1&a[b]=2", {"a": {"b": "2"}}),
        ("a.b=1", {"a_b": "1"}),
        ("a[b=1", {"a_b": "1"}),
        ("f[B][0][T]=2&f[B][0][I]=5", {"f": {"B": [{"T": "2", "I": "5"}]}}),
        ("x=%D0%AF+1", {"x": "Я 1"}),
        ("", {}),
    ],
)
def test_php_query(query: str, parsed: dict[str, Any]) -> None:
    assert parse_query(query) == parsed


def test_php_arrays_on_the_wire() -> None:
    """rest.md 1.6."""
    assert to_wire({}) == []
    assert to_wire({"0": "a", "1": "b"}) == ["a", "b"]
    assert to_wire({"0": "a", "2": "b"}) == {"0": "a", "2": "b"}
    assert to_wire({"1": "a", "0": "b"}) == {"1": "a", "0": "b"}


_PAIRS = st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 128]), st.integers(1, 9)), min_size=1, unique=True)


@given(_PAIRS)
def test_an_owner_is_bound_and_no_client_while_there_is_business(bindings: list[tuple[int, int]]) -> None:
    """rest.md 2.7."""
    owner = owner_after(bindings, None)
    assert owner in bindings
    business = [pair for pair in bindings if pair[0] not in (3, 4)]
    assert owner == (business[-1] if business else bindings[0])


@given(_PAIRS, st.data())
def test_a_sticky_owner_stays_while_bound(bindings: list[tuple[int, int]], data: st.DataObject) -> None:
    before = data.draw(st.sampled_from(bindings))
    assert owner_after(bindings, before, "sticks_until_unbound") == before
    gone = [pair for pair in bindings if pair != before]
    assert owner_after(gone, before, "sticks_until_unbound") == owner_after(gone, None)


@given(st.lists(st.floats(0, 30), max_size=200))
def test_the_bucket_never_admits_more_than_the_plan(pauses: list[float]) -> None:
    """At most X + Y * seconds requests pass in any stretch from the beginning (rest.md 1.8)."""
    bucket, now, admitted, elapsed = LeakyBucket(Limits()), datetime(2026, 1, 1, tzinfo=UTC), 0, 0.0
    for pause in pauses:
        elapsed += pause
        admitted += bucket.admits(now + timedelta(seconds=elapsed))
        assert admitted <= 50 + 2 * elapsed + 1


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("ASSIGNED_BY_ID", "assignedById"),
        ("STAGE_SEMANTIC_ID", "stageSemanticId"),
        ("DATE_MODIFY", "updatedTime"),
        ("LAST_ACTIVITY_TIME", "lastActivityTime"),
        ("UF_CRM_17", "ufCrm_17"),
        ("UF_CRM_COLOR", "ufCrmColor"),
    ],
)
def test_item_names(column: str, name: str) -> None:
    assert item_name(column) == name


_ID_FILTERS = st.dictionaries(
    st.sampled_from(["ID", "=ID", "@ID", "!ID", "!@ID", ">ID", ">=ID", "<ID", "<=ID", "%ID", "NAME"]),
    st.integers(-2, 12) | st.just("") | st.lists(st.integers(-2, 12), min_size=1, max_size=3),
    max_size=4,
)


@given(st.lists(st.integers(1, 10), unique=True), st.sets(st.integers(1, 10)), _ID_FILTERS)
def test_the_way_by_ids_finds_what_a_look_at_every_row_finds(
    ids: list[int], deleted: set[int], filter_: dict[str, Any]
) -> None:
    table = Table()
    for number in ids:
        table[number] = {"ID": number, "NAME": str(number)}
    for number in deleted & set(ids):
        del table[number]
    conditions = legacy_conditions(filter_, {"ID": Kind.INT, "NAME": Kind.TEXT}, MOSCOW)
    every = [table[number] for number in sorted(set(ids) - deleted)]
    assert list(table.ascending()) == every
    found = list(passing(table.candidates(conditions), conditions))
    assert found == list(passing(every, conditions))
    assert table.next_id == max(ids, default=0) + 1


# Decoding, mail-internals 3.2 and 3.3


@given(st.text(st.characters(codec="utf-8", categories=["L", "N"], include_characters=" "), max_size=200))
def test_subjects_of_ordinary_programs_are_read(text: str) -> None:
    wanted = " ".join(text.split())
    encoded = Header(wanted, "utf-8", header_name="Subject").encode().replace("\n", "").encode()
    assert decode(encoded) == wanted


def test_a_character_split_between_two_words() -> None:
    """Whether the portal joins neighbouring words before it decodes them is not known."""
    halves = b"=?utf-8?B?0J/R?= =?utf-8?B?gNC40LI=?="
    assert decode(halves) == "Прив"
    assert "\ufffd" in decode(halves, split_words="separate")


def test_raw_letters_follow_the_content_type() -> None:
    assert decode("Привет".encode("koi8-r"), "koi8-r") == "Привет"
    assert decode(b"a =?no-such?Q?b=20c?= d", "utf-8") == "a b c d"


def _read(header: str, body: str = "x", **options: Any) -> Any:
    given: dict[str, Any] = {
        "folder": "INBOX",
        "uid": 1,
        "internal_date": datetime(2026, 3, 2, 9, 0, 5, tzinfo=UTC),
        "seen": False,
        "aside": False,
        "zone": MOSCOW,
        **options,
    }
    return read_letter(f"{header}\r\n\r\n{body}".encode(), **given)


def test_of_a_repeated_field_the_last_one_counts_and_a_fold_keeps_its_blank() -> None:
    letter = _read("Subject: one\r\nSUBJECT: two\r\n\tthree\r\nno colon here\r\nTo: a@b.ru")
    assert (letter.subject, letter.to) == ("two\tthree", "a@b.ru")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Mon, 02 Mar 2026 12:00:00 +0300", datetime(2026, 3, 2, 9, 0, tzinfo=UTC)),
        ("Mon, 02 Mar 2026 12:00:00 UT", datetime(2026, 3, 2, 12, 0, tzinfo=UTC)),
        ("Mon, 02 Mar 2026 12:00:00", datetime(2026, 3, 2, 9, 0, tzinfo=UTC)),
        ("Mon, 32 Mar 2026 12:00:00 +0300", None),
        ("Mon, 02 Mar 2026 12:00:00 +9999", None),
        ("yesterday", None),
    ],
)
def test_dates(text: str, wanted: datetime | None) -> None:
    assert moment(text, MOSCOW) == wanted


def test_without_a_date_the_internal_date_counts() -> None:
    assert _read("Subject: x").start_time == datetime(2026, 3, 2, 9, 0, 5, tzinfo=UTC)


def test_addresses_of_a_line() -> None:
    line = '"Иванов, Сергей" <Sergey@Horns.ru>, anna@lutik.ru (Анна), "x@fake.ru" <real@y.ru>, nobody'
    assert addresses(line) == ["sergey@horns.ru", "anna@lutik.ru", "real@y.ru"]


def test_senders_start_with_reply_to() -> None:
    letter = _read("From: A <a@x.ru>\r\nReply-To: b@x.ru, a@x.ru")
    assert letter.senders == ["b@x.ru", "a@x.ru"]


def test_the_same_message_has_the_same_header_md5_wherever_it_lies() -> None:
    """A move keeps header, INTERNALDATE and size; a redelivery does not (mail-internals 1.4)."""
    first = _read("Subject: x")
    assert _read("Subject: x", folder="Archive", uid=7).header_md5 == first.header_md5
    assert _read("Received: y\r\nSubject: x").header_md5 != first.header_md5
    assert _read("Subject: x", internal_date=datetime(2026, 3, 3, tzinfo=UTC)).header_md5 != first.header_md5


def test_body_is_html() -> None:
    assert _read("Subject: x", "a < b").body == "<div>a &lt; b</div>"
    assert _read("Content-Type: text/html", "<b>x</b>").body == "<b>x</b>"


_PIECES = [
    b"=?",
    b"utf-8",
    b"?B?",
    b"?q?",
    b"?=",
    b"Date: ",
    b"From: ",
    b'"',
    b"<a@b.ru>",
    b"\r\n",
    b" +9999",
    b"\0",
]
_PIECES += [
    b"Content-Type: text/plain; charset=",
    b"unicode_escape",
    b"12:00",
    b"1 Jan 2026",
    b"\\",
    b",",
    b"\xff",
]


@given(st.binary(max_size=400) | st.lists(st.sampled_from(_PIECES)).map(b"".join))
def test_reading_never_raises(raw: bytes) -> None:
    read_letter(
        raw,
        folder="",
        uid=1,
        internal_date=datetime(2026, 1, 1, tzinfo=UTC),
        seen=False,
        aside=False,
        zone=UTC,
    )


def test_snapshots_are_json_files(tmp_path: Any) -> None:
    path = tmp_path / "crm.json"
    path.write_text(json.dumps({"deals": [{"ID": 1, "TITLE": "Сделка"}]}), encoding="utf-8")
    assert load_snapshot(path)["deals"][0]["TITLE"] == "Сделка"
