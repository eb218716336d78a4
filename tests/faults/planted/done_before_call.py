"""A bug for the harness to find: a message is noted as moved before the portal was asked to move it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from faults.planted.marking import mark, plant
from imaprouter.binder.correction import Correction
from imaprouter.binder.orders import Job
from imaprouter.cli import main
from imaprouter.model import Activity, Result

_change = Correction._change


def _done_before_call(
    self: Correction, jobs: Sequence[Job], shown: dict[int, Activity], now: datetime
) -> list[Job]:
    for job in jobs:
        self._settle(job, Result.MOVED, now)
    if jobs:
        mark()
    return _change(self, jobs, shown, now)


PLANTS = ((Correction, "_change", _done_before_call),)

if __name__ == "__main__":
    plant(PLANTS)
    main()
