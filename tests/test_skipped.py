"""Why Bitrix24 probably made no activity of a letter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dovecot import Dovecot
from office import Office, letter

from imaprouter.binder.pairs import Pairs
from imaprouter.model import Direction, Outcome, State
from imaprouter.skipped import Skipped, likely_reason

ARRIVED = datetime(2026, 11, 20, 12, tzinfo=UTC)
#: Of a client, in time, while the sync worked.
LETTER = Skipped(
    folder="INBOX",
    direction=Direction.INCOMING,
    written_at=ARRIVED,
    arrived_at=ARRIVED,
    outcome=Outcome.DEAL,
    repeats=False,
    newest_activity=ARRIVED + timedelta(hours=1),
)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"newest_activity": None}, "none of any letter of this mailbox"),
        (
            {"newest_activity": ARRIVED - timedelta(hours=2)},
            "since 2026-11-20 10:00 UTC: its mail sync stands still",
        ),
        ({"folder": "INBOX/Clients"}, "the folder INBOX/Clients lies below another"),
        ({"written_at": ARRIVED - timedelta(days=9)}, "9 days before it arrived"),
        ({"written_at": None, "repeats": True}, "had the same mail before"),
        ({"direction": Direction.OUTGOING}, "everybody it went to is an employee"),
        ({"outcome": Outcome.LEAVE}, "sender is unknown to the CRM"),
        ({}, "exclusion list"),
    ],
)
def test_the_first_that_applies(facts: dict[str, Any], expected: str) -> None:
    assert expected in likely_reason(replace(LETTER, **facts))


def test_a_whole_mailbox_comes_before_a_letter() -> None:
    still = replace(LETTER, newest_activity=None, folder="A/B", repeats=True, outcome=Outcome.LEAVE)
    assert "mailbox" in likely_reason(still)


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


def expired(office: Office) -> list[str]:
    """The notes of what is missing once `binding.wait` is over."""
    office.run_once()
    with office.journal() as journal:
        pairs = Pairs(journal, {"sales": frozenset({"sales@company.ru"})})
        pairs.expire(datetime.now(UTC) + timedelta(hours=37), timedelta(hours=36), 100)
    return [message.note for message in office.messages() if message.state is State.MISSING]


def test_a_missing_message_says_what_is_likely(office: Office) -> None:
    """Bitrix24 has never synced; then it does once, and stops."""
    office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
    [note] = expired(office)
    assert "none of any letter of this mailbox" in note
    office.deliver(letter(subject="Taken", to="masha@company.ru", cc="sales@company.ru"))
    assert office.sync.sync_once()
    office.run_once()
    after = letter(subject="After it", to="masha@company.ru", cc="sales@company.ru")
    office.dovecot.deliver(office.user, after, "INBOX", date=datetime.now(UTC) + timedelta(hours=1))
    assert [each for each in expired(office) if "stands still" in each]
