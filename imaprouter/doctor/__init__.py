"""The doctor: looks at everything that the service needs, and changes nothing anywhere.

findings.py   what a check came to
local.py      files, journal, index, disk
mailboxes.py  one mailbox: line, login, capabilities, folders
portal.py     Bitrix24: webhook, scopes, rights, clock
rounds.py     all of them side by side, within a time
"""

from __future__ import annotations

from imaprouter.doctor.findings import Check, State
from imaprouter.doctor.rounds import examine

__all__ = ["Check", "State", "examine"]
