"""What an idle service costs: memory and processor of one that watches twenty mailboxes of two folders each.

A real Dovecot with a user for each mailbox, some letters in every INBOX, the sample company's portal, the
service as a process of its own with its defaults. It is looked at once it has settled, for two minutes.

`bench/memory.py MAILBOXES SECONDS` takes others.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from parts.alone import memory_mb
from parts.machine import machine
from parts.mailbox import Dovecot, Office, deliver

MAILBOXES, SECONDS = 20, 120
LETTERS = 200
#: After the last folder was opened: what was read is decided and bound by then.
SETTLES = 30.0

say = sys.stdout.write


def mailbox(server: Dovecot, number: int) -> str:
    """One [[mailboxes]] table."""
    return f"""
[[mailboxes]]
name = 'box{number}'
host = '127.0.0.1'
port = {server.port}
tls = 'none'
username = 'box{number}'
password = '{server.password}'
start = 'new'
addresses = ['box{number}@company.ru']
"""


def processor_seconds(process: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Idle(NamedTuple):
    """What an idle service costs."""

    resident: float
    proportional: float
    #: The most memory that it held at once.
    peak: float
    #: Milliseconds a minute.
    processor: float


def measure(mailboxes: int, seconds: int) -> Idle:
    """Look at a service with so many mailboxes for so long."""
    with Dovecot() as server, tempfile.TemporaryDirectory() as folder:
        for number in range(mailboxes):
            deliver(server, f"box{number}", LETTERS)
            server.maildir(f"box{number}", "Sent")
        office = Office(Path(folder), server, "box0")
        office.start = "new"
        office.options["binding.poll_every"] = "'5s'"
        office.further_mailboxes = "".join(mailbox(server, number) for number in range(1, mailboxes))
        office.patience = 300.0
        with office, office.service() as process:
            office.until(lambda: office.times_heard("folder.opened") >= 2 * mailboxes)
            time.sleep(SETTLES)
            used = processor_seconds(process.pid)
            time.sleep(seconds)
            used = processor_seconds(process.pid) - used
            memory = (memory_mb(name, process.pid) for name in ("VmRSS", "Pss", "VmHWM"))
            return Idle(*memory, processor=60_000 * used / seconds)


def main(mailboxes: int, seconds: int) -> int:
    """Print the figures."""
    say(f"an idle service with {mailboxes} mailboxes; {machine()}\n\n")
    idle = measure(mailboxes, seconds)
    for name, figure in (
        ("resident, MB (wanted: < 80)", idle.resident),
        ("proportional, MB", idle.proportional),
        ("most at once, MB", idle.peak),
        (f"processor, ms a minute, over {seconds} s", idle.processor),
    ):
        say(f"{name:<44}{figure:>10.1f}\n")
    return 0


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*given, *(MAILBOXES, SECONDS)[len(given) :]))
