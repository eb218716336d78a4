"""The sample company holds together: letters, goldens, snapshot, configuration and demo fit each other.

What the rules make of the letters is another test's business; nothing here decides anything.
"""

from __future__ import annotations

import json
import re
import tomllib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imaprouter.address import canonical_id, normalise, split_tag

if TYPE_CHECKING:
    from email.message import Message

_ROOT = Path(__file__).parent.parent
_FIXTURES = _ROOT / "fixtures"
_LETTERS = sorted((_FIXTURES / "mail").glob("*.eml"))
_RAW_8BIT = {"marker-koi8-r-raw", "marker-cp1251-raw"}
_MSK = timedelta(hours=3)
#: Deals that are younger than the letters to their client (F25).
_MADE_LATER = {63}
_FIRST_DAY, _LAST_DAY = datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)
_SECTIONS = {"company": "companies", "contact": "contacts", "deal": "deals", "lead": "leads"}
_TYPE_IDS = {"1": "leads", "2": "deals", "3": "contacts", "4": "companies"}
_RULES = {"marker", "thread", "address", "participants", "fallback"}

each_letter = pytest.mark.parametrize("path", _LETTERS, ids=lambda path: path.stem)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


CRM: dict[str, list[dict[str, Any]]] = _json(_FIXTURES / "crm.json")
DEMO = _json(_FIXTURES / "demo.json")
IDS = {section: {int(row["ID"]) for row in rows} for section, rows in CRM.items()}
with (_FIXTURES / "imaprouter.toml").open("rb") as _file:
    CONFIG = tomllib.load(_file)


def _golden(path: Path) -> dict[str, Any]:
    golden: dict[str, Any] = _json(path.with_suffix(".json"))
    return golden


def _message(path: Path) -> Message:
    return message_from_bytes(path.read_bytes())


def _addresses(message: Message, *fields: str) -> list[str]:
    """Normalised addresses of these fields, as they stand in the encoded header."""
    lines = [str(line) for field in fields for line in message.get_all(field, [])]
    return [found for _, address in getaddresses(lines) if (found := normalise(address))]


def _emails(*sections: str) -> set[str]:
    return {normalise(item["VALUE"]) for section in sections for row in CRM[section] for item in row["EMAIL"]}


def _employees() -> set[str]:
    return {normalise(user["EMAIL"]) for user in CRM["users"] if user["ACTIVE"]}


def _own_addresses() -> set[str]:
    return {address for mailbox in CONFIG["mailboxes"] for address in mailbox["addresses"]}


def _clients(message: Message) -> list[str]:
    """Who is looked up in the CRM: the writers, or the recipients of our own letters."""
    writers = _addresses(message, "Reply-To", "From")
    return _addresses(message, "To", "Cc") if _own_addresses() & set(writers) else writers


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value


# The letters


def test_every_letter_has_a_golden_and_every_golden_a_letter() -> None:
    """The folder holds pairs and nothing else."""
    goldens = {path.stem for path in (_FIXTURES / "mail").glob("*.json")}
    assert {path.stem for path in _LETTERS} == goldens
    assert len(list((_FIXTURES / "mail").iterdir())) == 2 * len(goldens) > 60


@each_letter
def test_a_letter_has_a_realistic_header(path: Path) -> None:
    """Ten lines or more, one of each field that counts once, no line that is no field."""
    message = _message(path)
    header = path.read_bytes().partition(b"\n\n")[0]
    assert 10 <= len(header.splitlines()) <= 25
    assert not message.defects
    for field in ("From", "To", "Subject", "Message-ID", "MIME-Version", "Content-Type"):
        assert len(message.get_all(field, [])) == 1, field
    assert path.read_bytes().partition(b"\n\n")[2].strip()


@each_letter
def test_only_the_raw_letters_are_not_seven_bit(path: Path) -> None:
    """Letters are ASCII with plain line feeds, except the two that show raw 8-bit headers."""
    raw = path.read_bytes()
    assert raw.isascii() != (path.stem in _RAW_8BIT)
    assert b"\r" not in raw


@each_letter
def test_the_goldens_subject_is_what_the_standard_library_reads(path: Path) -> None:
    """Encoded words, or raw bytes in the charset of Content-Type."""
    message = _message(path)
    if path.stem in _RAW_8BIT:
        line = re.search(rb"^Subject: (.*)$", path.read_bytes(), re.MULTILINE)
        assert line is not None
        subject = line.group(1).decode(str(message.get_content_charset()))
    else:
        subject = str(make_header(decode_header(str(message["Subject"]).replace("\n", ""))))
    assert " ".join(subject.split()) == _golden(path)["subject"]


@each_letter
def test_a_letters_date_is_of_november_2026_in_moscow(path: Path) -> None:
    """Except in the one letter that has no Date."""
    date = _message(path)["Date"]
    if path.stem == "no-date":
        assert date is None
    else:
        moment = parsedate_to_datetime(str(date))
        assert moment.utcoffset() == _MSK
        assert _FIRST_DAY <= moment < _LAST_DAY


def test_no_two_letters_share_a_message_id_or_a_date() -> None:
    """Pairing and threads would otherwise depend on the order of delivery."""
    messages = [_message(path) for path in _LETTERS]
    ids = [found for message in messages if (found := canonical_id(str(message["Message-ID"])))]
    dates = [str(message["Date"]) for message in messages if message["Date"]]
    assert len(ids) == len(set(ids)) == len(_LETTERS) - 1
    assert len(dates) == len(set(dates)) == len(_LETTERS) - 1


def test_crm_letters_that_are_answered_are_in_the_snapshot() -> None:
    """Only the forged id names a letter that Bitrix24 did not send."""
    sent = {canonical_id(row["SETTINGS"]["MESSAGE_HEADERS"]["Message-Id"]) for row in CRM["activities"]}
    named = re.compile(r"crm\.activity\.[\w-]+@[\w.-]+")
    answered = {
        path.stem: {canonical_id(found) for found in named.findall(path.read_text("latin-1"))}
        for path in _LETTERS
    }
    strangers = {stem for stem, ids in answered.items() if ids - sent}
    assert strangers == {"thread-forged-code"}
    assert set().union(*answered.values()) >= sent


# The goldens


@each_letter
def test_a_golden_is_complete_and_means_one_thing(path: Path) -> None:
    """The keys are the agreed ones; outcome, target, review and candidates do not contradict each other."""
    golden = _golden(path)
    assert set(golden) - {"candidates", "cases"} == {"why", "outcome", "target", "rule", "review", "subject"}
    assert golden["rule"] in _RULES
    outcome, target = golden["outcome"], golden["target"]
    if target is None:
        assert outcome in {"leave", "ignore"}
    else:
        assert outcome == target["type"]
        assert target["id"] in IDS[_SECTIONS[outcome]]
    assert not golden["review"] or (outcome == "leave" and golden["rule"] != "fallback")
    assert golden["review"] == ("candidates" in golden)
    assert set(golden.get("candidates", [])) <= IDS["deals"]
    assert outcome != "ignore" or golden["rule"] == "fallback"


def test_the_goldens_cover_every_rule_and_outcome() -> None:
    """No rule and no outcome of contract section 4 is without a letter."""
    goldens = [_golden(path) for path in _LETTERS]
    assert {golden["rule"] for golden in goldens} == _RULES
    assert {golden["outcome"] for golden in goldens} == {*_SECTIONS, "leave", "ignore"}
    assert any(golden["review"] for golden in goldens)


@each_letter
def test_the_client_of_a_letter_is_known_exactly_where_the_golden_needs_him(path: Path) -> None:
    """Participants speak of a client whom the CRM knows; what is left alone comes from nobody it knows."""
    golden, message = _golden(path), _message(path)
    clients = {spelling for email in _clients(message) for spelling in (email, split_tag(email)[0])}
    known = clients & _emails("companies", "contacts", "leads")
    if golden["rule"] == "participants":
        assert known
    elif golden["outcome"] == "leave" and not golden["review"]:
        assert not known
        assert not clients & _employees()


@pytest.mark.parametrize(
    ("stem", "field", "expected"),
    [
        ("reply-to-masha", "From", ["sergey@horns.ru"]),
        ("reply-to-masha", "Cc", ["masha@company.ru"]),
        ("reply-to-ilya", "Cc", ["ilya@company.ru"]),
        ("to-sales-only", "To", ["sales@company.ru"]),
        ("to-both-managers", "To", ["masha@company.ru", "ilya@company.ru"]),
        ("from-company-address", "From", ["info@horns.ru"]),
        ("delivered-to-masha", "To", []),
        ("delivered-to-masha", "X-Original-To", ["masha@company.ru"]),
        ("alias-of-masha", "To", ["m.petrova@company.ru"]),
        ("support-alias", "To", ["support@company.ru"]),
        ("plus-tag", "To", ["sales+d1@company.ru"]),
        ("record-address-in-cc", "To", ["info@horns.ru"]),
        ("record-address-in-cc", "Cc", ["sales+d1@company.ru"]),
        ("record-address-delivered-to", "Delivered-To", ["sales+d2@company.ru"]),
        ("sender-plus-tag", "From", ["sergey+zakaz@horns.ru"]),
        ("sender-with-dots", "From", ["ser.gey@horns.ru"]),
        ("to-former-manager", "To", ["viktor@company.ru"]),
        ("employee-forward", "From", ["masha@company.ru"]),
        ("employee-forward-nested", "From", ["masha@company.ru"]),
        ("employee-forward-full-of-addresses", "From", ["masha@company.ru"]),
        ("web-form", "From", ["noreply@company.ru"]),
        ("web-form", "Reply-To", ["dmitry@dvor-sample.ru"]),
        ("display-name-of-employee", "From", ["john@sample-trading.com"]),
        ("idn-sender", "From", [normalise("zakaz@пример-опт.com")]),
        ("address-forms", "From", ["sergey@horns.ru"]),
        ("outgoing-in-thread", "From", ["sales@company.ru"]),
        ("outgoing-single-deal", "To", ["dmitry@dvor-sample.ru"]),
    ],
)
def test_the_addresses_of_a_letter_are_as_meant(stem: str, field: str, expected: list[str]) -> None:
    """The letters whose point is one address have it."""
    assert _addresses(_message(_FIXTURES / "mail" / f"{stem}.eml"), field) == expected


def test_encoded_words_of_the_split_letter_cut_characters() -> None:
    """None of the words of that subject can be decoded alone."""
    subject = str(_message(_FIXTURES / "mail/marker-in-split-words.eml")["Subject"])
    words = re.findall(r"=\?UTF-8\?B\?([^?]+)\?=", subject)
    assert len(words) == 3
    for word in words:
        with pytest.raises(UnicodeDecodeError):
            b64decode(word).decode()


# The snapshot


@pytest.mark.parametrize("section", CRM)
def test_ids_of_the_snapshot_are_unique(section: str) -> None:
    assert len(IDS[section]) == len(CRM[section])


def test_references_of_the_snapshot_resolve() -> None:
    """Responsibles, companies, contacts, leads and owners are all in the snapshot."""
    links = {
        "ASSIGNED_BY_ID": "users",
        "COMPANY_ID": "companies",
        "CONTACT_ID": "contacts",
        "LEAD_ID": "leads",
    }
    for row in (row for section in _SECTIONS.values() for row in CRM[section]):
        for key, section in links.items():
            named = [*row.get(f"{key}S", []), *([row[key]] if row.get(key) else [])]
            assert set(named) <= IDS[section], row
        assert row["ASSIGNED_BY_ID"]
    for row in CRM["activities"]:
        assert int(row["OWNER_ID"]) in IDS[_TYPE_IDS[row["OWNER_TYPE_ID"]]]
        assert int(row["RESPONSIBLE_ID"]) in IDS["users"]


def test_the_example_of_two_funnels_is_in_the_snapshot() -> None:
    """Maria's deal 1 and Ilya's deal 2 of one contact; deal 2 is the open deal that was touched last."""
    deals = {deal["ID"]: deal for deal in CRM["deals"]}
    first, second = deals[1], deals[2]
    assert [first["ASSIGNED_BY_ID"], second["ASSIGNED_BY_ID"]] == [5, 6]
    assert [first["CATEGORY_ID"], second["CATEGORY_ID"]] == [0, 1]
    of_sergey = [deal for deal in CRM["deals"] if deal["COMPANY_ID"] == 10 or 20 in deal["CONTACT_IDS"]]
    assert [deal["ID"] for deal in of_sergey if deal["STAGE_SEMANTIC_ID"] == "P"] == [1, 2]
    assert {deal["STAGE_SEMANTIC_ID"] for deal in of_sergey} == {"P", "S", "F"}
    assert datetime.fromisoformat(first["DATE_MODIFY"]) < datetime.fromisoformat(second["DATE_MODIFY"])


def test_stages_and_times_of_the_deals_are_plausible() -> None:
    """CLOSED follows the stage; all deals but one were touched before the letters; zones are the portal's."""
    for deal in CRM["deals"]:
        assert (deal["CLOSED"] == "N") == (deal["STAGE_SEMANTIC_ID"] == "P")
        pipeline = re.match(r"C(\d+):", deal["STAGE_ID"])
        assert deal["CATEGORY_ID"] == (int(pipeline[1]) if pipeline else 0)
        created, modified = (
            datetime.fromisoformat(deal["DATE_CREATE"]),
            datetime.fromisoformat(deal["DATE_MODIFY"]),
        )
        assert created <= modified
        assert (modified < _FIRST_DAY) == (deal["ID"] not in _MADE_LATER)
    for text in _strings(CRM):
        if re.match(r"\d{4}-\d\d-\d\dT", text):
            assert datetime.fromisoformat(text).utcoffset() == _MSK


def test_the_snapshot_has_the_awkward_clients() -> None:
    """A contact of two companies, one without any, an address of two contacts, a dismissed user."""
    owners = [item["VALUE"] for contact in CRM["contacts"] for item in contact["EMAIL"]]
    assert [value for value in set(owners) if owners.count(value) > 1] == ["office@vesna-sample.ru"]
    assert {len(contact["COMPANY_IDS"]) for contact in CRM["contacts"]} == {0, 1, 2}
    assert [user["ID"] for user in CRM["users"] if not user["ACTIVE"]] == [8]
    assert {lead["STATUS_SEMANTIC_ID"] for lead in CRM["leads"]} == {"P", "S"}


# The configuration and the demo


def test_the_configuration_names_no_secret() -> None:
    """No portal is behind it, and its password is the embedded mailbox's, from a file."""
    assert "portal" not in CONFIG
    assert all("password" not in mailbox for mailbox in CONFIG["mailboxes"])
    assert (_FIXTURES / CONFIG["mailboxes"][0]["password_file"]).read_text().strip() == "sandbox"
    assert not any("/rest/" in text for text in _strings(CONFIG))


def test_the_configuration_fits_the_snapshot() -> None:
    """The alias belongs to a user, the pipeline has deals, the mailbox is the one that the letters reach."""
    routing = CONFIG["routing"]
    assert set(routing["participants"]["user_aliases"]) <= _employees()
    pipelines = {deal["CATEGORY_ID"] for deal in CRM["deals"]}
    assert set(routing["address"]["category"].values()) <= pipelines
    assert _own_addresses() == {"sales@company.ru"}
    assert not _own_addresses() & (_employees() | _emails("companies", "contacts", "leads"))


def test_the_demo_tells_of_twelve_letters_that_exist() -> None:
    """Twelve different letters, each with a caption of one line, delivered to a watched folder."""
    letters = DEMO["letters"]
    assert len({letter["file"] for letter in letters}) == len(letters) == 12
    for letter in letters:
        assert set(letter) == {"file", "deliver", "lands", "expect", "story"}
        assert (_FIXTURES / "mail" / letter["file"]).is_file()
        assert letter["deliver"] in CONFIG["mailboxes"][0]["folders"]
        assert "\n" not in letter["story"]


def test_the_demo_expects_what_the_goldens_decide() -> None:
    """A target in the golden is where the activity ends; without one nothing is changed."""
    for letter in DEMO["letters"]:
        golden = _golden(_FIXTURES / "mail" / letter["file"])
        assert letter["expect"] == (golden["target"] or "unchanged"), letter["file"]


def test_most_demo_letters_land_wrongly() -> None:
    """One is right already, one goes to a person, one stays a new lead; the rest have to move."""
    letters = DEMO["letters"]
    moved = [letter for letter in letters if letter["expect"] not in (letter["lands"], "unchanged")]
    right = [letter["file"] for letter in letters if letter["expect"] == letter["lands"]]
    unchanged = [letter["file"] for letter in letters if letter["expect"] == "unchanged"]
    assert len(moved) == 9
    assert right == ["reply-to-ilya.eml"]
    assert unchanged == ["to-sales-only.eml", "unknown-sender.eml"]


def test_git_keeps_letters_as_bytes() -> None:
    """Line ends and raw 8-bit headers survive a checkout on every system."""
    assert "*.eml -text" in (_ROOT / ".gitattributes").read_text(encoding="utf-8").splitlines()
