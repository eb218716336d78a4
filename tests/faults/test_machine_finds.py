"""The state machine finds planted bugs within its examples, and none where nothing is planted."""

from __future__ import annotations

from types import ModuleType

import pytest
import test_state_machine as machine
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from faults.planted import (
    answer_in_memory,
    blind_retry,
    cursor_first,
    done_before_call,
    told_before_claim,
    unknown_repeated,
)

#: Lives among which a bug must be found, always the same: some need a death in one moment of one letter.
LIVES = settings(
    machine.TestOffice.settings,
    max_examples=200,
    stateful_step_count=25,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)

#: More often than was claimed.
TOLD_TOO_OFTEN = r"was told \d times of"

PLANTED = [
    (cursor_first, "a message was lost"),
    (done_before_call, "it is not where it belongs|a person's choice was undone|nobody tried to tell"),
    (blind_retry, TOLD_TOO_OFTEN),
    (unknown_repeated, TOLD_TOO_OFTEN),
    (told_before_claim, TOLD_TOO_OFTEN),
    (answer_in_memory, "a person's choice was undone"),
]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("bug", "broken"), PLANTED, ids=[bug.__name__.rpartition(".")[2] for bug, _ in PLANTED]
)
def test_a_planted_bug_is_found_by_the_machine(
    bug: ModuleType, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = []

    class Counted(machine.Office):
        def __init__(self) -> None:
            super().__init__()
            lives.append(self.path)

    for owner, name, defect in bug.PLANTS:
        monkeypatch.setattr(owner, name, defect)
    with pytest.raises(AssertionError, match=broken) as found:
        run_state_machine_as_test(Counted, settings=LIVES)
    print(f"\n{bug.__name__}: found after {len(lives)} lives: {str(found.value).splitlines()[0][:200]}")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_in_the_same_lives_no_law_is_broken_without_one() -> None:
    run_state_machine_as_test(machine.Office, settings=LIVES)
