"""What one check came to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class State(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """`name` is stable, `subject` says which mailbox, folder or file; `advice` what to do."""

    name: str
    state: State
    found: str
    subject: str = ""
    advice: str = ""


def ok(name: str, found: str, subject: str = "") -> Check:
    return Check(name, State.OK, found, subject)


def warning(name: str, found: str, advice: str = "", *, subject: str = "") -> Check:
    return Check(name, State.WARNING, found, subject, advice)


def failed(name: str, found: str, advice: str = "", *, subject: str = "") -> Check:
    return Check(name, State.FAILED, found, subject, advice)


def span(length: timedelta) -> str:
    """A length of time in its two largest units: `2d 3h`, `5m`, `40s`."""
    seconds = round(abs(length.total_seconds()))
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    parts = []
    for unit, size in units:
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2]) or "0s"
