"""The journal's disk is full, its file is locked, damaged, or from the future; the index is damaged."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from dovecot import Dovecot
from office import Office

from faults.crash import PLANTED, moved, plain, question, right
from faults.crash_laws import violations
from imaprouter.model import Result
from imaprouter.store.index import index_path


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        opened.options["routing.loop.limit"] = "0"
        yield opened


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of twelve megabytes."""
    if os.geteuid() != 0:
        pytest.fail("only root may mount the tmpfs that this test fills: run it as root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=0755", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(filler: Path) -> None:
    """Take every byte that is left."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (4096, 512, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    continue


def cursor(office: Office) -> int:
    with closing(sqlite3.connect(office.folder / "imaprouter.db")) as connection:
        return int(connection.execute("SELECT cursor FROM folders WHERE name = 'INBOX'").fetchone()[0])


def test_a_full_disk_stops_reading_and_nothing_else(
    small_disk: Path, tmp_path: Path, dovecot: Dovecot, user: str
) -> None:
    """The cursor stays, the log says why and what to do; with room again all goes on, once."""
    with Office(small_disk, dovecot, user) as office:
        office.output = tmp_path / "service.log"
        office.options["routing.loop.limit"] = "0"
        first = [moved(number) for number in range(4)]
        later = [(moved, right, question)[number % 3](number + 10) for number in range(300)]
        office.sync.hold = lambda _: True
        office.sync.start(0.1)
        with office.service() as process:
            office.deliver(*(raw for raw, _ in first))
            office.until(lambda: len(office.messages()) == len(first))
            stood = cursor(office)
            fill(small_disk / "filler")
            office.deliver(*(raw for raw, _ in later))
            office.until(lambda: office.heard("folder.failed"))
            office.sync.hold = lambda _: False
            office.until(lambda: office.heard("binder.failed"))
            assert (cursor(office), office.told(), office.portal.writes) == (stood, [], [])
            failed = [event for event in office.events() if event["event"].endswith(".failed")]
            assert all("disk is full (make room on the disk" in event["error"] for event in failed)
            assert process.poll() is None
            (small_disk / "filler").unlink()
            office.until(lambda: office.settled(len(first) + len(later)))
            assert office.stop(process) == 0
        assert violations(office, [letter for _, letter in first + later]) == []


# ── locked ──────────────────────────────────────────────────────────────────────────────────────────────────

_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


def test_a_locked_journal_is_waited_for(office: Office) -> None:
    """A backup holds the journal for some seconds while letters and activities come."""
    first, later = [moved(number) for number in range(2)], [moved(number + 10) for number in range(4)]
    office.sync.start(0.1)
    with office.service() as process:
        office.deliver(*(raw for raw, _ in first))
        office.until(lambda: office.settled(len(first)))
        backup = [sys.executable, "-c", _LOCK, str(office.folder / "imaprouter.db"), "4"]
        with subprocess.Popen(backup, stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            assert holder.stdout.readline() == b"locked\n"
            office.deliver(*(raw for raw, _ in later))
            holder.wait()
        office.until(lambda: office.settled(len(first) + len(later)))
        assert office.stop(process) == 0
    assert not [event for event in office.events() if event["event"].endswith("failed")]
    assert violations(office, [letter for _, letter in first + later]) == []


def test_a_journal_that_stays_locked_ends_nothing(office: Office) -> None:
    """Longer than we wait for it: each part says so, tries again, and the service lives on."""
    written = [moved(number) for number in range(3)]
    office.sync.start(0.1)
    office.program = [str(PLANTED / "impatient.py")]
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        backup = [sys.executable, "-c", _LOCK, str(office.folder / "imaprouter.db"), "60"]
        with subprocess.Popen(backup, stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            assert holder.stdout.readline() == b"locked\n"
            office.deliver(*(raw for raw, _ in written))
            office.until(lambda: office.heard("folder.failed"))
            assert process.poll() is None
            holder.kill()
        office.until(lambda: office.settled(len(written)))
        assert office.stop(process) == 0
    assert violations(office, [letter for _, letter in written]) == []


# ── damaged, foreign, from the future ───────────────────────────────────────────────────────────────────────


def journal_with_some_mail(office: Office) -> Path:
    written = [moved(1), right(2), question(3)]
    office.deliver(*(raw for raw, _ in written))
    office.sync.sync_once()
    office.run_once()
    return office.folder / "imaprouter.db"


def spoil(path: Path, *, start: int = 8192) -> None:
    """Overwrite every page behind the first ones, as a failing disk does."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(start, size, 4096):
            file.seek(place)
            file.write(os.urandom(512))


def spoil_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"lost+found")


@pytest.mark.parametrize("damage", [spoil, spoil_header])
@pytest.mark.parametrize("words", [("run",), ("run", "--once")])
def test_a_damaged_journal_is_refused(
    office: Office, damage: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    """With advice and exit code 1, whatever is damaged, before anything is read or written."""
    journal = journal_with_some_mail(office)
    damage(journal)
    content, requests = journal.read_bytes(), len(office.portal.requests)
    done = plain(office, *words)
    assert done.returncode == 1
    assert "the journal is damaged" in done.stderr
    assert "journal check" in done.stderr
    assert "backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert (journal.read_bytes(), len(office.portal.requests)) == (content, requests)
    checked = plain(office, "journal", "check")
    assert checked.returncode == 1
    assert "WRONG integrity" in checked.stdout
    assert "backup" in checked.stdout


def test_a_journal_of_a_later_version_is_refused(office: Office) -> None:
    """With advice; and `journal check` says the same."""
    journal = journal_with_some_mail(office)
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('journal', 'next_year', '2027-01-01')"
        )
    for words in (("run", "--once"), ("queue",)):
        done = plain(office, *words)
        assert done.returncode == 1
        assert "a later version (next_year)" in done.stderr
        assert "update imaprouter" in done.stderr
    checked = plain(office, "journal", "check")
    assert checked.returncode == 1
    assert "WRONG schema" in checked.stdout
    assert "update imaprouter" in checked.stdout


@pytest.mark.parametrize("damage", [spoil, spoil_header])
def test_a_damaged_index_is_rebuilt(office: Office, damage: Callable[[Path], None]) -> None:
    """Moved aside by the next start, and filled by a full refresh."""
    journal_with_some_mail(office)
    index = index_path(office.folder / "imaprouter.db")
    damage(index)
    spoiled = index.read_bytes()
    raw, _ = moved(20)
    office.deliver(raw)
    office.sync.sync_once()
    done = plain(office, "--log-format", "json", "run", "--once")
    assert done.returncode == 0, done.stderr
    assert office.settled(4)
    assert office.messages()[-1].result is Result.MOVED
    aside, *beside = sorted(office.folder.glob("imaprouter-index.db.damaged-*"))
    assert {path.name.removeprefix(aside.name) for path in beside} <= {"-shm", "-wal"}
    assert aside.read_bytes() == spoiled
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["moved_to"] for event in logged if event["event"] == "index.damaged"] == [str(aside)]
    assert [event["full"] for event in logged if event["event"] == "index.refreshed"] == [True]


def test_cache_refresh_rebuilds_a_damaged_index(office: Office) -> None:
    """A person need not know which file to delete."""
    journal = journal_with_some_mail(office)
    spoil(index_path(journal))
    done = plain(office, "cache", "refresh")
    assert done.returncode == 0, done.stderr
    assert "the index was damaged; it is kept as" in done.stderr
    assert "full refresh" in done.stdout
    assert plain(office, "cache", "lookup", "sergey@horns.ru").returncode == 0


@pytest.mark.parametrize("which", ["journal", "index"])
def test_damage_that_shows_while_it_runs_ends_the_service(office: Office, which: str) -> None:
    """Nothing goes on from a file that cannot be believed; the next start deals with it."""
    journal = journal_with_some_mail(office)
    file = journal if which == "journal" else index_path(journal)
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        with file.open("r+b") as spoiled:
            spoiled.write(bytes(file.stat().st_size))
        for wal in file.parent.glob(f"{file.name}-wal"):
            os.truncate(wal, 0)
        # What SQLite still holds in memory it does not read again: begin anew, if it has not seen it already.
        with suppress(subprocess.CalledProcessError):
            office.dovecot.kick(office.user)
        assert process.wait(30) == 1
    assert office.heard("service.part_failed")
    assert plain(office, "run", "--once").returncode == (1 if which == "journal" else 0)


def test_a_lost_journal_changes_nothing_in_the_portal(office: Office) -> None:
    """Deleted, and all mail read anew: what is right stays as it is, and nobody is told again."""
    journal = journal_with_some_mail(office)
    writes, told = len(office.portal.writes), office.told()
    for path in office.folder.glob("imaprouter*.db*"):
        path.unlink()
    office.run_once()
    assert office.settled(3)
    assert (len(office.portal.writes), office.told()) == (writes, told)
    assert journal.exists()


# ── journal check ───────────────────────────────────────────────────────────────────────────────────────────


def checks(office: Office) -> dict[str, dict[str, Any]]:
    done = plain(office, "journal", "check", "--json")
    found = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == (0 if all(row["ok"] for row in found.values()) else 1), done.stderr
    assert all(bool(row["advice"]) is not row["ok"] for row in found.values())
    return found


def test_journal_check_of_a_sound_journal(office: Office) -> None:
    """Also while the service runs; nothing is changed."""
    journal = journal_with_some_mail(office)
    content = journal.read_bytes()
    assert list(checks(office)) == ["mode", "schema", "integrity", "references", "values"]
    assert journal.read_bytes() == content
    with office.service():
        office.until(lambda: office.heard("folder.opened"))
        assert all(row["ok"] for row in checks(office).values())


WRONG = {
    "references": [
        "UPDATE activities SET message_id = 4711 WHERE id = (SELECT min(id) FROM activities)",
        "UPDATE folders SET cursor = 0",
        "UPDATE messages SET state = 'paired'; UPDATE activities SET message_id = NULL",
    ],
    "values": [
        "UPDATE messages SET decision = '{}' WHERE id = 1",
        "UPDATE activities SET activity = 'x'",
    ],
    "schema": ["PRAGMA application_id = 4711", "DELETE FROM _sqlite_migrations WHERE name <> 'first'"],
}


@pytest.mark.parametrize(
    ("name", "statement"),
    [(name, statement) for name, statements in WRONG.items() for statement in statements],
)
def test_journal_check_finds(office: Office, name: str, statement: str) -> None:
    """What points nowhere, what cannot be read, what another program or version wrote."""
    journal = journal_with_some_mail(office)
    with closing(sqlite3.connect(journal)) as connection:
        connection.executescript(statement)
    found = checks(office)
    assert [each for each, row in found.items() if not row["ok"]] == [name]


def test_journal_check_finds_a_file_that_others_may_read(office: Office) -> None:
    """And one that is not there; neither is made by looking."""
    journal = journal_with_some_mail(office)
    journal.chmod(0o644)
    found = checks(office)
    assert "chmod 600" in str(found["mode"]["advice"])
    for path in office.folder.glob("imaprouter*.db*"):
        path.unlink()
    assert [row["ok"] for row in checks(office).values()] == [False]
    assert not journal.exists()
