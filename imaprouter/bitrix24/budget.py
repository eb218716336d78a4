"""When a method whose running time is used up is free again, as the answers tell (rest.md 1.8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from imaprouter.bitrix24.values import integer, mapping, moment
from imaprouter.errors import PortalBusy

OPERATION_TIME_LIMIT = "operation_time_limit"


class Budgets:
    """The last `operating_reset_at` of each method, since an error need not name it. Threads may share it."""

    def __init__(self) -> None:
        self._free_at: dict[str, datetime] = {}

    def note(self, method: str, time: Any, now: datetime) -> None:
        """Learn from the `time` of an answer."""
        free_at = limit_ends(time, now)
        if free_at is not None:
            self._free_at[method] = free_at

    def complete(self, error: PortalBusy, now: datetime) -> None:
        """Tell an error of a blocked method when the method is free, if that is known and still ahead."""
        free_at = self._free_at.get(error.method)
        if error.retry_at is None and error.code == OPERATION_TIME_LIMIT and free_at and free_at > now:
            error.retry_at = free_at


def limit_ends(time: Any, now: datetime) -> datetime | None:
    """`operating_reset_at` of a `time` block by our clock: the portal's may be ahead or behind."""
    block = mapping(time)
    reset = block.get("operating_reset_at")
    at = moment(reset) or _from_unix(integer(reset))
    if at is None:
        return None
    portals_now = moment(block.get("date_finish")) or _from_unix(integer(block.get("finish")))
    return at if portals_now is None else now + max(at - portals_now, timedelta())


def _from_unix(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < 2**33 else None
