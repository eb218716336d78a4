"""SIGTERM while it refreshes, fetches, decides and binds: exit 0, nothing half done. And its memory."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from dovecot import Dovecot
from office import Office, letter

from faults.crash import (
    Call,
    Point,
    Stage,
    Summary,
    command,
    environment,
    go_on,
    moved,
    question,
    traced,
)
from faults.laws import SCORE, Verdict
from imaprouter.model import State, deal


@pytest.fixture(scope="module")
def stage(dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(dovecot, "crash-stop", tmp_path_factory.mktemp("stop"))


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        opened.options["routing.loop.limit"] = "0"
        yield opened


def phases(calls: Sequence[Call]) -> dict[str, Point]:
    """A call in the midst of each phase."""
    counts: Counter[str] = Counter()
    numbered = []
    for call in calls:
        counts[call.name] += 1
        numbered.append((call, Point(call.name, counts[call.name])))

    def first(name: str, words: bytes, path: str = "", after: int = 0) -> tuple[int, Point]:
        return next(
            (place, point)
            for place, (call, point) in enumerate(numbered)
            if place >= after and call.name == name and words in call.data and call.path.endswith(path)
        )

    refreshing, _ = first("sendto", b"crm.")
    fetching, _ = first("sendto", b" FETCH ")
    recording = first("fdatasync", b"", "imaprouter.db-wal", fetching)[0]
    return {
        "asking for the clock": first("sendto", b"")[1],
        "refreshing": numbered[refreshing][1],
        "writing the index": first("pwrite64", b"", "-index.db-wal", refreshing)[1],
        "connecting": first("sendto", b"AUTHENTICATE")[1],
        "fetching": numbered[fetching][1],
        "deciding": first("pwrite64", b"", "imaprouter.db-wal", fetching)[1],
        "recording": numbered[recording][1],
        "polling": first("sendto", b"crm.activity.list", "", recording)[1],
        "moving": first("sendto", b"crm.activity.binding.move")[1],
        "telling": first("sendto", b"im.notify")[1],
    }


def test_stopped_in_each_phase_of_a_catch_up(stage: Stage) -> None:
    """`run --once`: it ends with 0, says nothing of errors, and the next start does the rest."""
    with stage.scene() as office:
        _, calls = traced(office)
    summary = Summary("SIGTERM in each phase")
    for name, point in phases(calls).items():
        with stage.scene() as office:
            done, _ = traced(office, point.inject("signal=TERM"))
            broken = [] if done.returncode == 0 else [f"exit code {done.returncode}: {done.stderr[-300:]}"]
            broken += ["an error in the log"] if re.search("ERROR|Traceback", done.stderr) else []
            summary.add(name, broken + go_on(office, stage.expected))
    summary.end()


SERVICE_PHASES = {
    "refreshing": "crm.item.list",
    "reading bindings": "crm.activity.binding.list",
    "moving": "crm.activity.binding.move",
    "stamping": "crm.activity.update",
    "telling": "im.notify.system.add",
}


@pytest.mark.parametrize("phase", SERVICE_PHASES)
def test_the_service_is_stopped_in_each_phase(office: Office, phase: str) -> None:
    """In the moment in which the portal carries out a command of this phase."""
    written = [moved(number) for number in range(3)]
    office.deliver(*(raw for raw, _ in written))
    office.sync.sync_once()
    with office.service() as process:
        office.portal.faults.add("meanwhile", method=SERVICE_PHASES[phase], action=process.terminate)
        assert process.wait(30) == 0
    assert [event["event"] for event in office.events()][-1] == "service.stopped"
    assert not [event for event in office.events() if event["level"] in ("ERROR", "CRITICAL")]
    assert go_on(office, [expected for _, expected in written]) == []


def test_the_service_is_stopped_while_it_reads_many(office: Office) -> None:
    """Between batches: every message is on record with its decision, or not at all."""
    written = [moved(number) for number in range(2000)]
    office.deliver(*(raw for raw, _ in written))
    with office.service() as process:
        office.until(lambda: len(office.messages()) > 0)
        assert office.stop(process) == 0
    assert not [event for event in office.events() if event["level"] in ("ERROR", "CRITICAL")]
    print(f"\nstopped after {len(office.messages())} of {len(written)} messages")
    office.run_once()
    times = Counter(message.envelope.message_id for message in office.messages())
    assert times == Counter(expected.message_id for _, expected in written)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_while_something_runs_once(office: Office, number: signal.Signals) -> None:
    """`run --once`: a hangup is told of and changes nothing; a stop ends it in order."""
    raw, expected = moved(1)
    office.deliver(raw)
    office.sync.sync_once()
    with struck(office, number, "--log-format", "json", "run", "--once") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert ("config.not_read_again" in said) == (number is signal.SIGHUP)
    if number is signal.SIGHUP:
        assert office.settled(1)
    assert go_on(office, [expected]) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_while_an_answer_is_carried_out(office: Office, number: signal.Signals) -> None:
    """`queue assign --now`: the answer is on record, and is carried out once, now or by the next run."""
    raw, _ = question(1)
    office.deliver(raw)
    office.sync.sync_once()
    office.run_once()
    (message,) = office.messages()
    answer = ("queue", "assign", str(message.id), "--deal", "1", "--now")
    with struck(office, number, *answer) as process:
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, f"{message.id}: deal 1\n"), errors
    office.make_due()
    office.run_once()
    (message,) = office.messages()
    assert (message.state, message.person_target) == (State.SETTLED, deal(1))
    assert office.told() == [5]


@contextmanager
def struck(office: Office, number: signal.Signals, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that gets a signal in the moment in which the portal moves an activity."""
    with subprocess.Popen(
        command(office, *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**environment(), "IMAPROUTER_LANG": "en"},
    ) as process:
        office.portal.faults.add(
            "meanwhile", method="crm.activity.binding.move", action=lambda: process.send_signal(number)
        )
        yield process


# ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────


#: Megabytes.
GROWTH = 40
#: Five megabytes, half of them in a field that is asked for.
_HUGE = f"X-Filler: {'x' * 990}\n" * 2500 + "References: " + f"<{'r' * 990}@horns.ru>\n " * 2500


def fill(dovecot: Dovecot, user: str, count: int) -> set[str]:
    """Many letters at once, one of them with a huge header; their Message-IDs."""
    maildir = dovecot.maildir(user)
    owner = maildir.stat()
    for number in range(count):
        path = maildir / "new" / f"1700000000.M{number:06}.tests"
        raw = letter(
            f"client{number % 997}@horns.ru",
            subject=f"Letter {number}",
            message_id=f"many-{number}@horns.ru",
            headers=_HUGE if number == count // 2 else "",
        )
        path.write_bytes(raw)
        os.chown(path, owner.st_uid, owner.st_gid)
    return {f"many-{number}@horns.ru" for number in range(count)}


def resident(process: subprocess.Popen[bytes], what: str) -> int:
    """VmRSS or VmHWM in megabytes; 0 when the process has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    except FileNotFoundError:
        return 0
    found = re.search(rf"{what}:\s+(\d+) kB", status)
    return int(found[1]) // 1024 if found else 0


def catch_up(office: Office, count: int) -> int:
    """Read so many letters, each decided once; how many megabytes the memory grew after the first batch."""
    expected = fill(office.dovecot, office.user, count)
    began = time.monotonic()
    with office.service() as process:
        office.until(lambda: office.heard("message.decided"))
        first = resident(process, "VmHWM")
        shown = itertools.count()
        while (done := recorded(office)) < count:
            assert process.poll() is None
            if next(shown) % 60 == 0:
                print(f"{done:>7} of {count}: {resident(process, 'VmRSS')} MB", flush=True)
            time.sleep(0.5)
        seconds = time.monotonic() - began
        most = resident(process, "VmHWM")
        assert office.stop(process) == 0
    print(
        f"{count} headers, one of 5 MB: {first} MB after the first batch, {most} MB at most; "
        f"{seconds:.0f} s, {count / seconds:.0f} messages/s"
    )
    found = office.messages()
    SCORE.add(
        Verdict(
            lost=sorted(expected - {message.envelope.message_id for message in found}),
            doubled=["more than were delivered"] if len(found) > count else [],
        )
    )
    assert Counter(message.envelope.message_id for message in found) == Counter(expected)
    assert not any(message.state is State.UNREADABLE for message in found)
    (cut,) = [message for message in found if message.envelope.defects]
    assert "cut" in " ".join(cut.envelope.defects)
    return most - first


def recorded(office: Office) -> int:
    with office.journal() as journal:
        return journal.messages.count()


def test_memory_stays_while_5000_headers_come_in(office: Office) -> None:
    """A batch at a time: ten batches take hardly more than the first."""
    assert catch_up(office, 5000) < GROWTH


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_memory_stays_while_100000_headers_come_in(office: Office) -> None:
    """Two hundred batches, too."""
    assert catch_up(office, 100_000) < GROWTH
