"""A decision as the contract's JSON and as text for people."""

from __future__ import annotations

import json
from typing import Any

from imaprouter.model import Decision, Envelope, Finding, Target


def decision_json(source: str, envelope: Envelope, decision: Decision) -> dict[str, Any]:
    """The object of the contract's section 4; keys are stable."""
    return {
        "source": source,
        "message_id": f"<{envelope.message_id}>" if envelope.message_id else "",
        "subject": envelope.subject,
        "from": envelope.from_[0].email if envelope.from_ else "",
        "outcome": decision.outcome.value,
        "target": _target(decision.target),
        "rule": decision.rule,
        "review": decision.review,
        "reason": decision.reason,
        "code": decision.code,
        "candidates": list(decision.candidates),
        "trail": [_finding(finding) for finding in decision.trail],
        "defects": list(envelope.defects),
    }


def as_line(value: dict[str, Any]) -> str:
    """One line of JSON Lines, in UTF-8."""
    return json.dumps(value, ensure_ascii=False)


def headline(decision: Decision) -> str:
    """`deal 1`, `review`, `leave`."""
    if decision.review:
        return "review"
    return str(decision.target) if decision.target else decision.outcome.value


def _finding(finding: Finding) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "rule": finding.rule,
        "verdict": finding.verdict.value,
        "code": finding.code,
        "detail": finding.detail,
    }
    if finding.candidates:
        shown["candidates"] = list(finding.candidates)
    if finding.target:
        shown["target"] = _target(finding.target)
    return shown


def _target(target: Target | None) -> dict[str, Any] | None:
    return {"type": target.type.value, "id": target.id} if target else None
