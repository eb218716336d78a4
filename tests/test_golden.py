"""Every letter of fixtures/mail and fixtures/threads is decided as the golden decision beside it says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cases
import pytest
from cases import CASES, FIXTURES, Golden, correspondences, replay

CORRESPONDENCES = correspondences()
GOLDENS = [golden for goldens in CORRESPONDENCES.values() for golden in goldens]
REQUIRED = {"why", "outcome", "target", "rule", "review", "subject"}


@pytest.mark.parametrize("goldens", CORRESPONDENCES.values(), ids=CORRESPONDENCES)
def test_golden_decisions(goldens: list[Golden]) -> None:
    """Subject, outcome, target, rule, review and candidates are those that a person wrote down."""
    for golden, message in replay(goldens):
        assert golden.found(message) == golden.expected(), golden.says["why"]
        assert message.decision.reason
        assert message.decision.trail


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_a_golden(case: str) -> None:
    """The catalogue of what other programs get wrong is F1 to F25."""
    assert any(case in golden.cases for golden in GOLDENS)


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_a_golden_names_cases_and_says_why(golden: Golden) -> None:
    """Cases stand in `cases` alone, each once; only threads have mailboxes and repeats."""
    of_threads = {"repeat", "mailbox"} if golden.name.startswith("threads/") else set()
    assert REQUIRED <= set(golden.says) <= REQUIRED | {"cases", "candidates"} | of_threads
    assert golden.says["review"] == ("candidates" in golden.says)
    assert len(golden.says["why"]) > (60 if golden.cases else 10)
    assert not re.search(r"\bF\d", golden.says["why"])
    assert set(golden.cases) <= set(CASES)
    assert len(set(golden.cases)) == len(golden.cases) > 0 or "cases" not in golden.says


def test_a_thread_has_several_letters_and_nothing_else() -> None:
    for folder in (FIXTURES / "threads").iterdir():
        goldens = CORRESPONDENCES[folder.name]
        assert [golden.letter.stem for golden in goldens] == [str(n + 1) for n in range(len(goldens))]
        assert len(list(folder.iterdir())) == 2 * len(goldens) > 2
    assert len(GOLDENS) == len(list(FIXTURES.glob("mail/*.json"))) + len(
        list(FIXTURES.glob("threads/*/*.json"))
    )


def test_the_copy_and_the_loop_need_what_is_on_record() -> None:
    """Alone, the letters whose golden depends on others are decided otherwise."""
    for name, number in [("two-mailboxes", 0), ("two-mailboxes-blind-copies", 1), ("loop", 2)]:
        golden = CORRESPONDENCES[name][number]
        ((_, message),) = replay([golden])
        assert golden.found(message) != golden.expected(), golden.name


def test_cases_are_printed_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row for each case of each letter; one that is not as expected makes it 1."""
    for name in ("crm.json", "imaprouter.toml", "sales.password"):
        shutil.copy(FIXTURES / name, tmp_path)
    shutil.copytree(FIXTURES / "threads" / "loop", tmp_path / "threads" / "loop")
    (tmp_path / "mail").mkdir()
    for name in ("plus-tag", "single-active-deal"):
        for end in ("eml", "json"):
            shutil.copy(FIXTURES / "mail" / f"{name}.{end}", tmp_path / "mail")
    monkeypatch.setattr(cases, "FIXTURES", tmp_path)
    assert cases.main() == 0
    rows = [[cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["case", "fixture", "expected", "got", "ok"]
    assert [row[0] for row in rows[1:-1]] == ["F16"] * 5 + ["F20", "F21", "-"]
    assert rows[3] == ["F16", "threads/loop/3", "a person: 7 by loop", "a person: 7 by loop", "yes"]
    assert rows[-1] == ["8 rows, 0 not as expected"]
    path = tmp_path / "mail" / "plus-tag.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "subject": "Другое"}))
    assert cases.main() == 1
    row = capsys.readouterr().out.splitlines()[-2]
    assert [cell.strip() for cell in row.split("|")][3:] == [
        "deal 1 by address; subject: Паспорт качества",
        "no",
    ]
