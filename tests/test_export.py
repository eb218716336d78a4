"""`export`: tables of the index and the journal, complete, with the columns that were chosen, harmless."""

from __future__ import annotations

import csv
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import Office, letter

from imaprouter.cli import cli
from imaprouter.cli.export import COLUMNS
from imaprouter.cli.tables import csv_lines, guarded, json_lines

EVIL = "=cmd|' /C calc'!A0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CRM with strangers' texts in it; one folder for all tests, which only read."""
    path = tmp_path_factory.mktemp("export")
    crm = {
        "users": [{"ID": 5, "EMAIL": "masha@company.ru", "NAME": "Мария", "LAST_NAME": "Петрова"}],
        "companies": [{"ID": 10, "TITLE": EVIL, "ASSIGNED_BY_ID": 5, "EMAIL": [{"VALUE": "info@horns.ru"}]}],
        "contacts": [
            {
                "ID": 20,
                "NAME": "Сергей",
                "LAST_NAME": "Иванов; он",
                "COMPANY_IDS": [10],
                "EMAIL": ["a@b.ru", "c@d.ru"],
            }
        ],
        "deals": [
            {
                "ID": 1,
                "TITLE": 'Рога "и"\nкопыта',
                "CATEGORY_ID": 3,
                "STAGE_ID": "C3:NEW",
                "STAGE_SEMANTIC_ID": "P",
                "ASSIGNED_BY_ID": 5,
                "COMPANY_ID": 10,
                "CONTACT_IDS": [20],
                "DATE_CREATE": "2026-01-10T10:00:00+03:00",
            }
        ],
        "leads": [],
        "activities": [],
    }
    (path / "crm.json").write_text(json.dumps(crm), "utf-8")
    config = path / "imaprouter.toml"
    config.write_text(
        "store.path = 'imaprouter.db'\nportal.webhook_url = 'https://horns.bitrix24.ru/rest/1/c0de0fthewebh00k/'\n"
    )
    config.chmod(0o600)
    run = CliRunner().invoke(cli, ["--config", str(config), "cache", "import", str(path / "crm.json")])
    assert run.exit_code == 0
    return path


def exported(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(folder / "imaprouter.toml"), "export", *words])


def rows(result: Result) -> list[dict[str, str]]:
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout, newline="")))


def test_contacts_companies_and_deals_of_the_index(folder: Path) -> None:
    (contact,) = rows(exported(folder, "contacts"))
    assert contact["name"] == "Сергей Иванов; он"
    assert (contact["first_name"], contact["last_name"]) == ("Сергей", "Иванов; он")
    assert (contact["emails"], contact["company_ids"]) == ("a@b.ru, c@d.ru", "10")
    assert (contact["responsible"], contact["link"]) == (
        "",
        "https://horns.bitrix24.ru/crm/contact/details/20/",
    )
    (company,) = rows(exported(folder, "companies"))
    assert (company["title"], company["responsible"]) == (f"'{EVIL}", "Мария Петрова")
    (deal,) = rows(exported(folder, "deals"))
    assert deal["title"].replace("\r\n", "\n") == 'Рога "и"\nкопыта'
    assert (deal["pipeline"], deal["stage"], deal["status"], deal["active"]) == (
        "3",
        "C3:NEW",
        "in progress",
        "1",
    )
    assert deal["created"] == "2026-01-10T07:00:00+00:00"
    assert deal["company"] == f"'{EVIL}"
    for what, columns in COLUMNS.items():
        if what in ("contacts", "companies", "deals"):
            (line,) = exported(folder, what, "--format", "json").stdout.splitlines()
            assert tuple(json.loads(line)) == columns


def test_columns_are_chosen_and_ordered(folder: Path) -> None:
    result = exported(folder, "deals", "--columns", "title, id,id", "--format", "json")
    assert json.loads(result.stdout) == {"title": 'Рога "и"\nкопыта', "id": 1}
    assert exported(folder, "contacts", "--columns", "id").stdout == "id\n20\n"


@pytest.mark.parametrize(
    "words",
    [
        ["deals", "--columns", "id,colour"],
        ["deals", "--columns", ","],
        ["deals", "--format", "xlsx"],
        ["deals", "--format", "json", "--dialect", "excel-ru"],
        ["rockets"],
    ],
)
def test_what_cannot_be_exported(folder: Path, words: list[str]) -> None:
    assert exported(folder, *words).exit_code == 2


def test_an_unknown_column_is_told_with_the_known_ones(folder: Path) -> None:
    result = exported(folder, "companies", "--columns", "colour")
    assert "no column colour" in result.stderr
    assert "responsible_id" in result.stderr


def test_a_russian_excel_reads_it(folder: Path) -> None:
    content = exported(folder, "contacts", "--columns", "id,name", "--dialect", "excel-ru").stdout_bytes
    assert content == '\ufeffid;name\r\n20;"Сергей Иванов; он"\r\n'.encode()


def test_a_workbook_holds_texts_and_numbers_and_no_formula(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "companies.xlsx"
    result = exported(folder, "companies", "--format", "xlsx", "--output", str(path))
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(path) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert EVIL in sheet
    assert "<f>" not in sheet
    assert "<hyperlink" not in sheet
    assert "<v>10</v>" in sheet, "a number is a number"
    assert path.stat().st_mode & 0o077 == 0


def test_a_workbook_without_its_package_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    result = exported(folder, "companies", "--format", "xlsx", "--output", str(tmp_path / "x.xlsx"))
    assert result.exit_code == 2
    assert "extra 'xlsx'" in result.stderr


def test_a_file_is_its_owners_alone(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "contacts.csv"
    result = exported(folder, "contacts", "--output", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert path.stat().st_mode & 0o077 == 0
    assert path.read_text("utf-8").startswith("id,name,")
    assert exported(folder, "contacts", "--output", str(tmp_path / "no" / "x.csv")).exit_code == 2


def test_without_an_index_or_a_journal_it_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "imaprouter.toml").write_text("store.path = 'none.db'\n")
    assert "never filled" in exported(tmp_path, "deals").stderr
    assert "no journal" in exported(tmp_path, "decisions").stderr


def test_activities_and_decisions_of_the_journal(tmp_path: Path, dovecot: Dovecot, user: str) -> None:
    with Office(tmp_path, dovecot, user) as office:
        office.deliver(
            letter(to="masha@company.ru", cc="sales@company.ru", subject="@SUM(1)"), letter(subject="asked")
        )
        activities = office.sync.sync_once()
        office.run_once()
        assert office.config.exists()
        decided = rows(exported(tmp_path, "decisions"))
        paired = rows(exported(tmp_path, "activities"))
        webhook = office.portal.webhook_url.partition("/rest/")[0]
    first, second = decided
    assert (first["subject"], first["rule"], first["target_id"]) == ("'@SUM(1)", "participants", "1")
    assert (first["state"], first["result"]) == ("settled", "moved")
    assert first["link"] == f"{webhook}/crm/deal/details/1/"
    assert (second["state"], second["review"], second["target_id"]) == ("review", "1", "")
    assert [int(row["id"]) for row in paired] == activities
    assert (paired[0]["bound_first"], paired[0]["bound_last"]) == ("deal 2, contact 20", "contact 20, deal 1")
    assert set(first) == set(COLUMNS["decisions"])
    assert set(paired[0]) == set(COLUMNS["activities"])


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_formula_is_marked_as_text(start: str) -> None:
    assert guarded(f"{start}1") == f"'{start}1"
    assert guarded(f"x{start}") == f"x{start}"
    assert guarded(-1) == -1


def test_rows_are_written_as_they_come() -> None:
    """No row is asked for before the one in front of it has been handed on."""
    asked: list[int] = []

    def endless() -> Iterator[dict[str, int]]:
        for number in range(10**9):
            asked.append(number)
            yield {"id": number}

    for lines in (csv_lines(["id"], endless()), json_lines(["id"], endless())):
        asked.clear()
        assert [next(lines) for _ in range(3)]
        assert len(asked) <= 3
