"""kill -9 at random moments of a flow of 300 messages; and a copy of the files, taken in such a moment."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from dovecot import Dovecot
from office import Office

from faults.crash import Summary, moved, question, right
from faults.crash_laws import violations
from faults.laws import SEED

MESSAGES = 300
KINDS = (moved, right, moved, question, moved)


def soundness(journal: Path) -> list[str]:
    if not journal.exists():
        return []
    with closing(sqlite3.connect(journal)) as connection:
        found = [line for (line,) in connection.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else found


def put_copy_in_place(folder: Path) -> None:
    """What a copy made while the process stands still holds: journal, index, their -wal and -shm."""
    copy = folder / "copy"
    copy.mkdir()
    for path in folder.glob("imaprouter*.db*"):
        shutil.copy(path, copy / path.name)
    for path in folder.glob("imaprouter*.db*"):
        path.unlink()
    for path in copy.iterdir():
        path.rename(folder / path.name)
    copy.rmdir()


def flow(office: Office, moments: int) -> None:
    dice = random.Random(SEED)
    written = [KINDS[number % len(KINDS)](number) for number in range(MESSAGES)]
    expected = [letter for _, letter in written]
    share = -(-MESSAGES // moments)
    copies, lives = 0, []
    summary = Summary("random moments of a flow", messages=MESSAGES)
    office.options["routing.loop.limit"] = "0"
    office.sync.start(0.1)
    for number in range(moments):
        waiting = written[number * share : (number + 1) * share]
        lives.append(dice.uniform(0.3, 3.0))
        with office.service() as process:
            end = time.monotonic() + lives[-1]
            while (left := end - time.monotonic()) > 0:
                for raw, _ in waiting[:5]:
                    office.deliver(raw)
                del waiting[:5]
                time.sleep(min(left, 0.05))
            if number % 2:
                process.send_signal(signal.SIGSTOP)
                put_copy_in_place(office.folder)
                copies += 1
            process.kill()
            process.wait()
        for raw, _ in waiting:
            office.deliver(raw)
        summary.add(f"moment {number}", soundness(office.folder / "imaprouter.db"))
        if dice.random() < 0.5 and (office.folder / "imaprouter.db").exists():
            office.make_due()
    office.make_due()
    started = office.times_heard("service.started")
    with office.service() as process:
        # All may be settled already: a SIGTERM before it listens for one would just end it.
        office.until(lambda: office.times_heard("service.started") > started and office.settled(MESSAGES))
        assert office.stop(process) == 0
    summary.add("the end", violations(office, expected))
    print(f"\n{copies} copies put in place; lives from {min(lives):.1f} to {max(lives):.1f} s")
    summary.end()


def test_ten_random_moments(tmp_path: Path, dovecot: Dovecot, user: str) -> None:
    """Every other one goes on from a copy of the files."""
    with Office(tmp_path, dovecot, user) as office:
        flow(office, 10)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_random_moments(tmp_path: Path, dovecot: Dovecot, user: str) -> None:
    """Killed again and again before it is done with what came."""
    with Office(tmp_path, dovecot, user) as office:
        flow(office, 100)
