"""Every letter of fixtures/mail is decided as the golden decision beside it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imaprouter import mail
from imaprouter.config import load
from imaprouter.decide import decide
from imaprouter.model import Letter
from imaprouter.store.index import Index
from imaprouter.store.snapshot import import_snapshot

FIXTURES = Path(__file__).parent.parent / "fixtures"
LETTERS = sorted((FIXTURES / "mail").glob("*.eml"))


@pytest.fixture(scope="module")
def index() -> Index:
    found = Index(":memory:")
    import_snapshot(found, json.loads((FIXTURES / "crm.json").read_bytes()))
    return found


@pytest.mark.parametrize("path", LETTERS, ids=lambda path: path.stem)
def test_golden_decision(path: Path, index: Index) -> None:
    """Subject, outcome, target, rule, review and candidates are those that a person wrote down."""
    golden: dict[str, Any] = json.loads(path.with_suffix(".json").read_bytes())
    settings = load(FIXTURES / "imaprouter.toml", {})
    own = frozenset(settings.mailboxes[0].addresses)
    envelope = mail.parse(path.read_bytes())
    outgoing = any(address.email in own for address in envelope.writers)
    decision = decide(Letter(envelope, own, own, outgoing), index, settings.routing)
    target = decision.target
    found = {
        "outcome": decision.outcome.value,
        "target": {"type": target.type.value, "id": target.id} if target else None,
        "rule": decision.rule,
        "review": decision.review,
        "candidates": list(decision.candidates),
        "subject": envelope.subject,
    }
    expected = {key: golden[key] for key in found if key in golden}
    assert {key: found[key] for key in expected} == expected, golden["why"]
    assert decision.reason
    assert decision.trail
