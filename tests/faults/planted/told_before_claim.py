"""A bug for the state machine to find: a notification is claimed when its outcome is known, not before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from imaprouter.store.activities import Traces

_claim_notice, _finish_notice = Traces.claim_notice, Traces.finish_notice


def _only_looked_up(self: Traces, message_id: int, user_id: int, now: datetime) -> bool:
    return user_id not in self.notices(message_id)


def _claimed_late(
    self: Traces, message_id: int, user_id: int, state: Literal["sent", "refused", "unknown"]
) -> None:
    _claim_notice(self, message_id, user_id, datetime.now(UTC))
    _finish_notice(self, message_id, user_id, state)


PLANTS = ((Traces, "claim_notice", _only_looked_up), (Traces, "finish_notice", _claimed_late))
