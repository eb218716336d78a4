"""The rules: one file each, one plain function each, `(Letter, DealIndex, RoutingPolicy) -> Finding`.

A rule gives evidence; `decide` concludes. To add a rule: a file here, its name in `policy.RuleName` and in
RULES, one letter with its golden decision in fixtures/mail.
"""

from __future__ import annotations

from collections.abc import Callable

from imaprouter.model import DealIndex, Finding, Letter
from imaprouter.policy import RoutingPolicy, RuleName
from imaprouter.rules.address import address
from imaprouter.rules.marker import marker
from imaprouter.rules.participants import participants
from imaprouter.rules.thread import thread

Rule = Callable[[Letter, DealIndex, RoutingPolicy], Finding]

RULES: dict[RuleName, Rule] = {
    "marker": marker,
    "thread": thread,
    "address": address,
    "participants": participants,
}
