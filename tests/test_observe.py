"""Observing: everything is decided, paired and on record, nothing is written; what becomes of it later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import Office, letter

from imaprouter.cli import cli
from imaprouter.model import Result as Outcome


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        opened.options["binding.mode"] = "'observe'"
        yield opened


def imaprouter(office: Office, *words: object) -> Result:
    return CliRunner().invoke(cli, ["--config", str(office.config), *map(str, words)])


def test_status_says_what_acting_would_have_changed(office: Office) -> None:
    """Two moves, one letter that is right already, one of an employee for whom no deal is: to the company."""
    office.deliver(
        letter(to="masha@company.ru", cc="sales@company.ru", subject="first"),
        letter(subject="#1 second"),
        letter(to="ilya@company.ru", cc="sales@company.ru", subject="right already"),
        letter(to="elena@company.ru", cc="sales@company.ru", subject="to the company"),
    )
    office.sync.sync_once()
    office.run_once()
    assert office.portal.writes == []
    found = json.loads(imaprouter(office, "status", "--json").stdout)["observed"]
    assert found == {
        "would_move": 2,
        "would_bind": 1,
        "would_unbind": 0,
        "by_rule": {"marker": 1, "participants": 2},
    }
    shown = imaprouter(office, "status").stdout
    assert "acting would have changed 3: 2 moved to another deal, 1 bound to one more object" in shown
    assert "by rule: marker 1, participants 2" in shown
    listed = [
        json.loads(line) for line in imaprouter(office, "status", "--observed", "--json").stdout.splitlines()
    ]
    assert [(one["subject"], one["note"].partition(";")[0]) for one in listed] == [
        ("first", "would move from deal 2 to deal 1"),
        ("#1 second", "would move from deal 2 to deal 1"),
        ("to the company", "would bind to company 10"),
    ]
    assert "would move from deal 2 to deal 1  first" in imaprouter(office, "status", "--observed").stdout


def test_what_was_observed_stays_when_the_mode_changes_and_an_answer_moves_it(office: Office) -> None:
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
    (activity,) = office.sync.sync_once()
    office.run_once()
    office.options["binding.mode"] = "'act'"
    for _ in range(2):
        office.run_once()
    assert office.deals(activity) == [2]
    assert office.messages()[0].result is Outcome.OBSERVED
    assert "they stay as they are" in imaprouter(office, "status").stdout
    imaprouter(office, "queue", "assign", office.messages()[0].id, "--deal", 1, "--now")
    assert office.deals(activity) == [1]
    assert "acting would have" not in imaprouter(office, "status").stdout


def test_without_observing_status_says_nothing_of_it(office: Office) -> None:
    office.run_once()
    assert "observed" not in imaprouter(office, "status").stdout
    assert imaprouter(office, "status", "--observed").stdout == ""
