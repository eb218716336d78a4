"""`cache doctor`: data of the CRM that bars good routing, each kind found and nothing else."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from company import COMPANIES, CONTACTS, DEALS, USERS, deal_row, snapshot

from imaprouter.cli import cli
from imaprouter.crm_faults import both_in_one, folded, is_address

SOUND = snapshot(
    contacts=[{**row, "LAST_NAME": "Иванов"} for row in CONTACTS],
    users=[*USERS],
)


def doctor(folder: Path, crm: dict[str, Any], *words: str, portal: bool = True) -> Result:
    config = folder / "imaprouter.toml"
    url = "portal.webhook_url = 'https://horns.bitrix24.ru/rest/1/c0deofthewebhook/'\n" if portal else ""
    config.write_text(f"{url}store.path = 'imaprouter.db'\n")
    config.chmod(0o600)
    (folder / "crm.json").write_text(json.dumps(crm, ensure_ascii=False), "utf-8")
    options = ["--config", str(config)]
    runner = CliRunner()
    assert runner.invoke(cli, [*options, "cache", "import", str(folder / "crm.json")]).exit_code == 0
    return runner.invoke(cli, [*options, "cache", "doctor", *words])


def faults(folder: Path, **changes: Any) -> list[tuple[str, str, int, str]]:
    result = doctor(folder, SOUND | changes, "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == bool(found)
    return [(one["fault"], one["type"], one["id"], one["detail"]) for one in found]


def contact(number: int, name: str = "Анна", last: str = "Белова", **fields: Any) -> dict[str, Any]:
    return {"ID": number, "NAME": name, "LAST_NAME": last, "COMPANY_IDS": [], "EMAIL": [], **fields}


def test_a_sound_crm_has_none(tmp_path: Path) -> None:
    result = doctor(tmp_path, SOUND)
    assert (result.exit_code, result.stdout) == (0, "no fault was found\n")


def test_an_address_of_several(tmp_path: Path) -> None:
    """However it is written; a company and its contact may share one."""
    email = [{"VALUE": " Shared@Horns.ru "}]
    found = faults(
        tmp_path,
        contacts=[
            *SOUND["contacts"],
            contact(30, EMAIL=email),
            contact(31, "Олег", EMAIL=[{"VALUE": "shared@horns.ru"}]),
        ],
        companies=[*COMPANIES, {"ID": 12, "TITLE": "Третья", "EMAIL": email}],
    )
    assert found == [
        ("shared_address", "contact", 30, "shared@horns.ru: 31"),
        ("shared_address", "contact", 31, "shared@horns.ru: 30"),
    ]


@pytest.mark.parametrize(
    ("fields", "reachable"),
    [
        ({"COMPANY_ID": None, "CONTACT_IDS": []}, False),
        ({"COMPANY_ID": 11, "CONTACT_IDS": []}, True),
        ({"COMPANY_ID": 13, "CONTACT_IDS": []}, False),
        ({"COMPANY_ID": 13, "CONTACT_IDS": [40]}, False),
        ({"COMPANY_ID": 13, "CONTACT_IDS": [20]}, True),
        ({"COMPANY_ID": None, "CONTACT_IDS": [], "STAGE_SEMANTIC_ID": "S"}, True),
        ({"COMPANY_ID": None, "CONTACT_IDS": [], "IS_RECURRING": "Y"}, True),
    ],
)
def test_a_deal_that_no_letter_can_reach(tmp_path: Path, fields: dict[str, Any], reachable: bool) -> None:
    """Company 11 has no address itself, but a contact of it has."""
    found = faults(
        tmp_path,
        deals=[*DEALS, deal_row(50, 5, **fields)],
        companies=[*COMPANIES, {"ID": 13, "TITLE": "Без адреса", "EMAIL": []}],
        contacts=[*SOUND["contacts"], contact(40)],
    )
    assert found == ([] if reachable else [("deal_without_address", "deal", 50, "")])


def test_a_responsible_whom_nobody_can_write_to(tmp_path: Path) -> None:
    """Of active deals only."""
    found = faults(
        tmp_path,
        users=[*USERS, {"ID": 8, "EMAIL": "", "NAME": "Без", "LAST_NAME": "Почты", "ACTIVE": True}],
        deals=[
            deal_row(1, 5),
            deal_row(2, 7),
            deal_row(3, 8),
            deal_row(4, 99),
            deal_row(5, 7, STAGE_SEMANTIC_ID="F"),
        ],
    )
    assert found == [
        ("responsible_dismissed", "deal", 2, "user 7 Пётр Уволенный"),
        ("responsible_without_email", "deal", 3, "user 8 Без Почты"),
        ("responsible_unknown", "deal", 4, "user 99"),
    ]


def test_contacts_with_a_name_that_is_none(tmp_path: Path) -> None:
    people = [
        contact(60, "Анна Белова", ""),
        contact(61, "", "Анна Белова"),
        contact(62, "anna@romashka.ru", ""),
        contact(63, "Анна", ""),
        contact(64, "Анна Мария", "Белова"),
        contact(65, "", ""),
    ]
    found = faults(tmp_path, contacts=[*SOUND["contacts"], *people])
    assert [(fault, number) for fault, _, number, _ in found] == [
        ("names_in_one_field", 60),
        ("names_in_one_field", 61),
        ("name_is_address", 62),
    ]


def test_doubles_by_format(tmp_path: Path) -> None:
    """Companies by title; contacts by name within one company: there are namesakes elsewhere."""
    companies = [*COMPANIES, {"ID": 14, "TITLE": ' рога  и "копыта" ', "EMAIL": []}]
    people = [
        contact(70, COMPANY_IDS=[10]),
        contact(71, "АННА ", " белова", COMPANY_IDS=[10]),
        contact(72, COMPANY_IDS=[11]),
        contact(73),
        contact(74),
    ]
    renamed = {**COMPANIES[0], "TITLE": "«Рога и Копыта»"}
    found = faults(tmp_path, companies=[renamed, *companies[1:]], contacts=[*SOUND["contacts"], *people])
    assert found == [
        ("double", "company", 10, "14"),
        ("double", "company", 14, "10"),
        ("double", "contact", 70, "71"),
        ("double", "contact", 71, "70"),
    ]


def test_people_see_the_first_of_each_kind_with_links(tmp_path: Path) -> None:
    deals = [deal_row(number, 7) for number in range(1, 10)]
    result = doctor(tmp_path, SOUND | {"deals": deals})
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].strip() == "9  active deals of dismissed employees"
    assert len(lines) == 6
    assert lines[1].endswith("https://horns.bitrix24.ru/crm/deal/details/1/")
    assert "c0deofthewebhook" not in result.output


def test_csv_holds_all_of_them_and_no_formula(tmp_path: Path) -> None:
    deals = [deal_row(number, 7, TITLE="=HYPERLINK(1)") for number in range(1, 10)]
    result = doctor(tmp_path, SOUND | {"deals": deals}, "--csv", portal=False)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 9
    assert rows[0] == {
        "fault": "responsible_dismissed",
        "type": "deal",
        "id": "1",
        "name": "'=HYPERLINK(1)",
        "detail": "user 7 Пётр Уволенный",
        "link": "",
    }
    russian = doctor(tmp_path, SOUND | {"deals": deals}, "--csv", "--dialect", "excel-ru").stdout_bytes
    assert russian.startswith(b"\xef\xbb\xbffault;type;id;name;detail;link\r\n")


@pytest.mark.parametrize("words", [["--json", "--csv"], ["--json", "--dialect", "excel"]])
def test_what_cannot_be_asked(tmp_path: Path, words: list[str]) -> None:
    assert doctor(tmp_path, SOUND, *words).exit_code == 2


@pytest.mark.parametrize(
    ("name", "address"),
    [("a@b.ru", True), (" A@B.ru ", True), ("Анна a@b.ru", False), ("a@b", False), ("", False), ("@", False)],
)
def test_a_name_that_is_an_address(name: str, address: bool) -> None:
    assert is_address(name) is address


@pytest.mark.parametrize(
    ("first", "last", "both"),
    [
        ("Анна Белова", "", True),
        ("", "Белова Анна", True),
        ("Анна", "", False),
        ("Анна Мария", "Белова", False),
        ("", "", False),
    ],
)
def test_both_names_in_one_field(first: str, last: str, both: bool) -> None:
    assert both_in_one(first, last) is both


def test_what_is_folded() -> None:
    assert folded(" ООО  «Рога»\t") == folded('ооо "рога"') == "ооо рога"
