"""When do stored UIDs still mean the same messages?"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from imaprouter.ledger import broken_continuity, mark


def reason(
    *, uidvalidity: int = 7, uidnext: int | None = 41, marks: dict[int, str] | None = None
) -> str | None:
    """The verdict on a folder of which UID 40 was read last, under UIDVALIDITY 7."""
    return broken_continuity(
        known_uidvalidity=7,
        cursor=40,
        anchors={39: "a", 40: "b"},
        uidvalidity=uidvalidity,
        uidnext=uidnext,
        marks={39: "a", 40: "b"} if marks is None else marks,
    )


def test_an_untouched_folder_goes_on() -> None:
    """Same UIDVALIDITY, a UIDNEXT above the cursor and the same marks: read on."""
    assert reason() is None


def test_a_server_without_uidnext_goes_on() -> None:
    """Courier gives no UIDNEXT in SELECT (imap.md 0.14)."""
    assert reason(uidnext=None) is None


def test_expunged_anchors_prove_nothing() -> None:
    """Marks exist only for messages that are still there."""
    assert reason(marks={}) is None


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (reason(uidvalidity=8), "UIDVALIDITY is 8"),
        (reason(uidvalidity=6), "UIDVALIDITY is 6"),
        (reason(uidnext=40), "next UID is 40"),
        (reason(marks={39: "a", 40: "other"}), "UID 40 is another message"),
    ],
)
def test_a_folder_that_is_another_one_is_recognised(found: str | None, says: str) -> None:
    """UIDVALIDITY up or down, UIDNEXT back, other mail under a known UID: a new epoch, with its reason."""
    assert says in str(found)


def test_marks_tell_messages_apart() -> None:
    """A mark depends on the mail, its size and when it arrived."""
    moment = datetime(2026, 11, 2, 10, tzinfo=UTC)
    later = datetime(2026, 11, 2, 11, tzinfo=UTC)
    marks = {mark("f", 1, moment), mark("g", 1, moment), mark("f", 2, moment), mark("f", 1, later)}
    assert len(marks) == 4
