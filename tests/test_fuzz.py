"""./dev fuzz: finds nothing today, and would find a defect."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fuzz
import pytest

from imaprouter.model import DealIndex, Decision, Finding, Letter
from imaprouter.policy import RoutingPolicy
from imaprouter.rules import RULES

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def world() -> Iterator[fuzz.World]:
    opened = fuzz.World()
    yield opened
    opened.close()


def test_a_round_of_letters_breaks_no_law(world: fuzz.World) -> None:
    seen = fuzz.Statistics()
    assert fuzz.fuzz_round(world, 7, seen, examples=60) is None
    assert seen.examples >= 60
    assert len(seen.rules) > 1


def test_the_same_seed_finds_the_same(world: fuzz.World) -> None:
    """The letters of a round depend on its seed alone."""
    first, second = fuzz.Statistics(), fuzz.Statistics()
    fuzz.fuzz_round(world, 11, first, examples=20)
    fuzz.fuzz_round(world, 11, second, examples=20)
    assert first == second


_PLANTED = """
import sys, fuzz
import imaprouter.mail.parse
sys.modules["imaprouter.mail.parse"].clean = lambda text: text
sys.exit(fuzz.main(sys.argv[1:]))
"""


def test_hidden_characters_are_found_shrunk_and_written_down(tmp_path: Path) -> None:
    """A planted defect: a subject is not cleaned any more.

    In a process of its own: hypothesis takes constants out of every module that is loaded.
    """

    def planted(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _PLANTED, *map(str, words)],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tools'}"},
            capture_output=True,
            text=True,
            check=False,
        )

    done = planted("--minutes", 0, "--seed", 1, "--into", tmp_path)
    assert done.returncode == 1, done.stderr
    (found,) = tmp_path.glob("fuzz-*.eml")
    assert str(found) in done.stdout
    assert len(found.read_bytes()) < 600, "it was not shrunk"
    assert planted(found).returncode == 1
    assert fuzz.main([str(found)]) == 0


def test_a_target_that_nobody_chose_is_found(world: fuzz.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted defect: a rule names a target and does not say that it was considered."""
    marker = RULES["marker"]

    def forgetful(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
        found = marker(letter, index, policy)
        return Finding(found.rule, found.verdict, found.reasons, found.candidates, found.target)

    monkeypatch.setitem(RULES, "marker", forgetful)
    letter = b"From: stranger@nowhere.com\r\nTo: sales@company.ru\r\nSubject: #1\r\n\r\n"
    with pytest.raises(AssertionError, match="not the one that was chosen"):
        world.examine(letter)
    monkeypatch.undo()
    assert isinstance(world.examine(letter), Decision)
