"""The portal's two limits: a leaky bucket of requests, and a budget of seconds per method (rest.md 1.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf

BASKET_SECONDS = 60
BASKETS = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """What the plan allows. `operating_seconds` None: the load limiter is off, as on most own servers."""

    burst: float = 50
    per_second: float = 2.0
    operating_seconds: float | None = 480.0
    #: Seconds charged for one call of a method, for tests; otherwise what the call really took.
    operating_cost: Mapping[str, float] = field(default_factory=dict)


UNLIMITED = Limits(burst=inf, operating_seconds=None)


class LeakyBucket:
    """Counts +1 a request and -Y a second; above X a request is refused and not counted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._level = 0.0
        self._at: datetime | None = None

    def admits(self, now: datetime) -> bool:
        """Count one request at `now`; False when it is one too many."""
        if self._at is not None:
            leaked = max(0.0, (now - self._at).total_seconds()) * self._limits.per_second
            self._level = max(0.0, self._level - leaked)
        self._at = now
        if self._level + 1 > self._limits.burst:
            return False
        self._level += 1
        return True


class OperatingBudget:
    """Execution seconds of each method in the last ten one-minute baskets."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._baskets: dict[str, dict[int, float]] = {}

    @property
    def on(self) -> bool:
        return self._limits.operating_seconds is not None

    def exceeded(self, method: str, now: datetime) -> bool:
        """Whether the method is blocked; asked before the call (rest.md 1.8)."""
        limit = self._limits.operating_seconds
        return limit is not None and self.used(method, now) > limit

    def charge(self, method: str, seconds: float, now: datetime) -> None:
        """Book one call: its price in `operating_cost`, else the seconds that it took."""
        minute = int(now.timestamp()) // BASKET_SECONDS
        baskets = self._current(method, now)
        baskets[minute] = baskets.get(minute, 0.0) + self._limits.operating_cost.get(method, seconds)

    def used(self, method: str, now: datetime) -> float:
        """Seconds used so far: the value of `time.operating`."""
        return sum(self._current(method, now).values())

    def reset_at(self, method: str, now: datetime) -> int | None:
        """Unix time at which the oldest basket falls out; None when nothing has accumulated."""
        baskets = self._current(method, now)
        return (min(baskets) + BASKETS) * BASKET_SECONDS if baskets else None

    def _current(self, method: str, now: datetime) -> dict[int, float]:
        oldest = int(now.timestamp()) // BASKET_SECONDS - BASKETS + 1
        kept = {minute: used for minute, used in self._baskets.get(method, {}).items() if minute >= oldest}
        self._baskets[method] = kept
        return kept
