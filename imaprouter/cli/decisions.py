"""A decision as the contract's JSON and as text for people."""

from __future__ import annotations

import json
from enum import StrEnum
from gettext import NullTranslations
from typing import Any

from imaprouter.model import Candidate, Decision, Envelope, Finding, State, Target
from imaprouter.reasons import ENGLISH, named, sentence


def decision_json(
    source: str, envelope: Envelope, decision: Decision, language: NullTranslations = ENGLISH
) -> dict[str, Any]:
    """The object of the contract's section 4; keys and codes are stable, sentences are in this language."""
    return {
        "source": source,
        "message_id": f"<{envelope.message_id}>" if envelope.message_id else "",
        "subject": envelope.subject,
        "from": envelope.from_[0].email if envelope.from_ else "",
        "outcome": decision.outcome.value,
        "target": target_json(decision.target),
        "rule": decision.rule,
        "review": decision.review,
        "reason": sentence(decision.reasons, language),
        "code": decision.code,
        "codes": [reason.code for reason in decision.reasons],
        "candidates": list(decision.candidates),
        "considered": [_candidate(candidate, language) for candidate in decision.considered],
        "trail": [_finding(finding, language) for finding in decision.trail],
        "defects": list(envelope.defects),
    }


def as_line(value: dict[str, Any]) -> str:
    """One line of JSON Lines, in UTF-8."""
    return json.dumps(value, ensure_ascii=False)


def headline(decision: Decision, language: NullTranslations) -> str:
    """`deal 1`, `review`, `leave`, in this language."""
    if decision.review:
        return word(State.REVIEW, language)
    return named(str(decision.target), language) if decision.target else word(decision.outcome, language)


def word(value: StrEnum, language: NullTranslations) -> str:
    """A state, result, verdict or outcome, for people; tools/catalogues.py has all of them translated."""
    return language.gettext(value.value)


def _finding(finding: Finding, language: NullTranslations) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "rule": finding.rule,
        "verdict": finding.verdict.value,
        "code": finding.code,
        "codes": [reason.code for reason in finding.reasons],
        "detail": sentence(finding.reasons, language),
    }
    if finding.considered:
        shown["considered"] = [
            {
                "type": one.target.type.value,
                "id": one.target.id,
                "standing": one.standing.value,
                "code": one.reason.code,
                "detail": sentence([one.reason], language),
            }
            for one in finding.considered
        ]
    if finding.candidates:
        shown["candidates"] = list(finding.candidates)
    if finding.target:
        shown["target"] = target_json(finding.target)
    return shown


def _candidate(candidate: Candidate, language: NullTranslations) -> dict[str, Any]:
    """One object that the letter might belong to: `standing` is chosen, open or lost, and why."""
    return {
        "type": candidate.target.type.value,
        "id": candidate.target.id,
        "standing": candidate.standing.value,
        "reasons": [
            {"rule": rule, "code": reason.code, "detail": sentence([reason], language)}
            for rule, reason in candidate.reasons
        ],
    }


def target_json(target: Target | None) -> dict[str, Any] | None:
    return {"type": target.type.value, "id": target.id} if target else None
