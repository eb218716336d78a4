"""Every letter of fixtures/mail and fixtures/threads is decided as the golden decision beside it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imaprouter import mail
from imaprouter.config import load
from imaprouter.decide import decide
from imaprouter.model import DealIndex, Decision, Direction, Letter, State
from imaprouter.store.index import Index
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge
from imaprouter.store.messages import NewMessage
from imaprouter.store.snapshot import import_snapshot

FIXTURES = Path(__file__).parent.parent / "fixtures"
LETTERS = sorted((FIXTURES / "mail").glob("*.eml"))
THREADS = sorted((FIXTURES / "threads").iterdir())


@pytest.fixture(scope="module")
def index() -> Index:
    found = Index(":memory:")
    import_snapshot(found, json.loads((FIXTURES / "crm.json").read_bytes()))
    return found


@pytest.mark.parametrize("path", LETTERS, ids=lambda path: path.stem)
def test_golden_decision(path: Path, index: Index) -> None:
    """Subject, outcome, target, rule, review and candidates are those that a person wrote down."""
    check(path, decided(path, index))


@pytest.mark.parametrize("folder", THREADS, ids=lambda folder: folder.name)
def test_golden_thread(folder: Path) -> None:
    """Letters that arrive one after the other, each on record before the next is decided."""
    journal = Journal(":memory:")
    knowledge = Knowledge(":memory:", journal.messages)
    import_snapshot(knowledge, json.loads((FIXTURES / "crm.json").read_bytes()))
    inbox = journal.folders.start("sales", "INBOX", uidvalidity=1, cursor=0, watch_since=None)
    letters = sorted(folder.glob("*.eml"))
    for uid, path in enumerate(letters, 1):
        letter, decision = decided(path, knowledge)
        check(path, (letter, decision))
        message = NewMessage(
            uid=uid,
            direction=Direction.INCOMING,
            envelope=letter.envelope,
            decision=decision,
            internal_date=letter.envelope.date or datetime.now(UTC),
            size=1000,
            seen=False,
            state=State.WAITING,
        )
        with journal.transaction():
            journal.messages.add(inbox, message, message.internal_date)
    assert len(letters) > 1
    knowledge.close()
    journal.close()


def decided(path: Path, index: DealIndex) -> tuple[Letter, Decision]:
    settings = load(FIXTURES / "imaprouter.toml", {})
    own = frozenset(settings.mailboxes[0].addresses)
    envelope = mail.parse(path.read_bytes())
    outgoing = any(address.email in own for address in envelope.writers)
    letter = Letter(envelope, own, own, outgoing)
    return letter, decide(letter, index, settings.routing)


def check(path: Path, answer: tuple[Letter, Decision]) -> None:
    golden: dict[str, Any] = json.loads(path.with_suffix(".json").read_bytes())
    letter, decision = answer
    target = decision.target
    found = {
        "outcome": decision.outcome.value,
        "target": {"type": target.type.value, "id": target.id} if target else None,
        "rule": decision.rule,
        "review": decision.review,
        "candidates": list(decision.candidates),
        "subject": letter.envelope.subject,
    }
    expected = {key: golden[key] for key in found if key in golden}
    assert {key: found[key] for key in expected} == expected, golden["why"]
    assert decision.reason
    assert decision.trail
