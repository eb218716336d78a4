"""A bug for the harness to find: a notification whose outcome is unknown is sent again."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from faults.planted.marking import mark, plant
from imaprouter.cli import main
from imaprouter.store.activities import Traces

_claim_notice, _finish_notice = Traces.claim_notice, Traces.finish_notice


def _claimed_again(self: Traces, message_id: int, user_id: int, now: datetime) -> bool:
    return _claim_notice(self, message_id, user_id, now) or "sending" in self.notices(message_id).values()


def _marked(
    self: Traces, message_id: int, user_id: int, state: Literal["sent", "refused", "unknown"]
) -> None:
    mark()
    _finish_notice(self, message_id, user_id, state)


PLANTS = ((Traces, "claim_notice", _claimed_again), (Traces, "finish_notice", _marked))

if __name__ == "__main__":
    plant(PLANTS)
    main()
