"""Dying at a chosen system call: the service under strace, what it wrote, and what a power cut leaves of it.

strace counts the calls of each thread; `run --once` has one. A call at which SIGKILL is injected is not
carried out (imap.md 6, case 1).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dovecot import Dovecot
from office import FIXTURES, Office, letter, sample_letter

from faults.crash_laws import Expected, violations
from faults.laws import SCORE, SEED, Verdict
from imaprouter.errors import ImaprouterError
from imaprouter.model import Result, State

INSTALL_STRACE = "strace is not installed: apt-get install strace"
PLANTED = Path(__file__).parent / "planted"

#: The calls at which the service can be killed with something to lose.
POINTS = ("pwrite64", "fdatasync", "sendto")
_WATCHED = (*POINTS, "fsync", "ftruncate", "unlink")
#: Runs until everything is settled; one would do, were it not for what is refused once.
_MOST_RUNS = 6

_LINE = re.compile(r'(\d+) +(\w+)\((?:\d+<((?:\\x..)*)>)?(?:, )?(?:"((?:\\x..)*)"(?:\.\.\.)?)?(.*)')


# ── the mailbox ───────────────────────────────────────────────────────────────────────────────────────────


def moved(number: int) -> tuple[bytes, Expected]:
    """A letter that Bitrix24 puts into Ilya's deal and that is for Maria."""
    name, subject = f"crash-{number}@horns.ru", f"Offer {number:05}."
    raw = letter(to="masha@company.ru", cc="sales@company.ru", subject=subject, message_id=name)
    return raw, Expected(name, subject, State.SETTLED, Result.MOVED, (1,), told=5)


def right(number: int) -> tuple[bytes, Expected]:
    """A letter that Bitrix24 puts where it belongs."""
    name, subject = f"right-{number}@horns.ru", f"Schedule {number:05}."
    raw = letter(to="ilya@company.ru", cc="sales@company.ru", subject=subject, message_id=name)
    return raw, Expected(name, subject, State.SETTLED, Result.ALREADY_RIGHT, (2,))


def question(number: int) -> tuple[bytes, Expected]:
    """A letter that might belong to two deals."""
    name, subject = f"question-{number}@horns.ru", f"Papers {number:05}."
    raw = letter(to="sales@company.ru", subject=subject, message_id=name)
    return raw, Expected(name, subject, State.REVIEW, None, (2,))


def letters() -> list[tuple[bytes, Expected]]:
    """A few that have to move, one that is right already, one for a person."""
    right = Expected(
        "20261102101818.012F576@mail.horns.ru",
        "Re: График монтажа",
        State.SETTLED,
        Result.ALREADY_RIGHT,
        (2,),
    )
    question = Expected(
        "20261102112531.0131465@mail.horns.ru", "Вопрос по документам", State.REVIEW, None, (2,)
    )
    return [
        moved(1),
        (sample_letter("reply-to-ilya"), right),
        moved(2),
        (sample_letter("to-sales-only"), question),
        moved(3),
    ]


class Stage:
    """One mailbox, read-only for all; each `scene` has a portal and a journal of its own."""

    def __init__(self, dovecot: Dovecot, user: str, folder: Path) -> None:
        self._dovecot = dovecot
        self._user = user
        self._folder = folder
        self._scenes = 0
        written = letters()
        self.expected = [expected for _, expected in written]
        for name in ("INBOX", "Sent"):
            dovecot.maildir(user, name)
        for raw, _ in written:
            dovecot.deliver(user, raw)

    @contextmanager
    def scene(self) -> Iterator[Office]:
        self._scenes += 1
        folder = self._folder / f"scene{self._scenes}"
        folder.mkdir()
        with Office(folder, self._dovecot, self._user) as office:
            office.sync.sync_once()
            yield office
        shutil.rmtree(folder)


# ── strace ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`-th call (from 1) of a system call."""

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} {self.number}"

    def inject(self, what: str) -> str:
        return f"inject={self.call}:{what}:when={self.number}"


@dataclass(frozen=True, slots=True)
class Call:
    """One system call as strace saw it."""

    thread: int
    name: str
    path: str
    data: bytes
    #: Where it wrote, or to which length it cut.
    place: int
    done: bool


def strace() -> str:
    """The path of strace; without it the tests fail and say what to do."""
    found = shutil.which("strace")
    if found is None:
        pytest.fail(INSTALL_STRACE)
    return found


def command(office: Office, *words: str, planted: str = "") -> list[str]:
    """The command line, of the program itself or of one with a planted bug."""
    program = [str(PLANTED / f"{planted}.py")] if planted else ["-m", "imaprouter"]
    return [sys.executable, *program, "--config", str(office.config), *words]


def traced(
    office: Office, inject: str = "", *, planted: str = "", words: Sequence[str] = ("run", "--once")
) -> tuple[subprocess.CompletedProcess[str], list[Call]]:
    """Run under strace, with an injection or none; what came of it, and every call."""
    trace = office.folder / "trace"
    options = ["-f", "-qq", "-y", "-xx", "-s", "200000", "-o", str(trace)]
    options += ["-e", f"trace={','.join(_WATCHED)}"]
    options += ["-e", inject] if inject else []
    done = _run([strace(), *options, *command(office, *words, planted=planted)])
    calls = [call for line in trace.read_text("ascii").splitlines() if (call := _call(line))]
    trace.unlink()
    return done, calls


def plain(
    office: Office, *words: str, planted: str = "", timeout: float = 100
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return _run(command(office, *words, planted=planted), timeout=timeout)


def environment() -> dict[str, str]:
    root = FIXTURES.parent
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}


def _run(words: Sequence[str], timeout: float = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        env=environment(),
        timeout=timeout,
    )


def _call(line: str) -> Call | None:
    match = _LINE.match(line)
    if not match:
        return None
    thread, name, path, data, rest = match.groups()
    text = _bytes(data)
    if name == "unlink":
        path, text = data, b""
    numbers = re.findall(r"-?\d+", rest.partition(")")[0])
    place = int(numbers[-1]) if numbers else 0
    return Call(int(thread), name, os.fsdecode(_bytes(path)), text, place, not rest.endswith("= ?"))


def _bytes(escaped: str | None) -> bytes:
    return bytes.fromhex((escaped or "").replace("\\x", ""))


def points(calls: Iterable[Call]) -> list[Point]:
    """Where the run that made these calls can be killed."""
    counts = Counter(call.name for call in calls)
    return [Point(name, number) for name in POINTS for number in range(1, counts[name] + 1)]


def sample(found: Sequence[Point], size: int) -> list[Point]:
    """Every k-th of each system call, beginning at random."""
    dice = random.Random(SEED)
    step = max(1, len(found) // size)
    return list(found[dice.randrange(step) :: step])


# ── after the crash ───────────────────────────────────────────────────────────────────────────────────────


def go_on(office: Office, expected: Sequence[Expected], *, planted: str = "") -> list[str]:
    """Start again until all is settled, without a fault; the laws that are broken in the end."""
    for _ in range(_MOST_RUNS):
        if planted:
            done = plain(office, "run", "--once", planted=planted)
            if done.returncode:
                return [f"the next start fails: {done.stderr[-500:]}"]
        else:
            try:
                office.run_once()
            except ImaprouterError as error:
                return [f"the next start fails: {error}"]
        if office.settled(len(office.messages())):
            break
        office.make_due()
    return violations(office, expected)


def left_by_power_cut(calls: Iterable[Call], dice: random.Random | None = None) -> dict[Path, bytes]:
    """What stands on the disk when the power goes after these calls.

    What was synced is there. Of what was not, nothing (no `dice`); or any part, in any order and torn at
    sectors of 512 bytes. Making, cutting to length and removing files is kept, as a journalling file system
    does; shared memory is not.
    """
    synced: dict[str, bytearray] = {}
    pending: dict[str, list[Call]] = {}
    for call in calls:
        if not call.done or not call.path or call.path.endswith("-shm"):
            continue
        if call.name == "unlink":
            synced.pop(call.path, None)
            pending.pop(call.path, None)
        elif call.name in ("fdatasync", "fsync"):
            for waiting in pending.pop(call.path, []):
                _apply(synced.setdefault(call.path, bytearray()), waiting)
        elif call.name in ("pwrite64", "ftruncate"):
            synced.setdefault(call.path, bytearray())
            pending.setdefault(call.path, []).append(call)
    for path, waiting_calls in pending.items() if dice else ():
        assert dice
        for waiting in waiting_calls:
            kept = dice.choice([0, 0, len(waiting.data), len(waiting.data), 512 * dice.randrange(9)])
            _apply(synced[path], waiting, kept)
    return {Path(path): bytes(content) for path, content in synced.items()}


def _apply(content: bytearray, call: Call, kept: int | None = None) -> None:
    if call.name == "ftruncate":
        del content[call.place :]
        return
    data = call.data if kept is None else call.data[:kept]
    if not data:
        return
    content.extend(bytes(max(0, call.place - len(content))))
    content[call.place : call.place + len(data)] = data


def restore(folder: Path, left: dict[Path, bytes]) -> None:
    """Put the files of `folder` into the state after a power cut."""
    for path in folder.glob("imaprouter*.db*"):
        path.unlink()
    for path, content in left.items():
        if path.parent == folder:
            path.write_bytes(content)
            path.chmod(0o600)


class Summary:
    """Counts cases, here and for the whole suite; prints one line at the end."""

    def __init__(self, name: str, **facts: Any) -> None:
        self._name = name
        self._facts = facts
        self.cases = 0
        self.broken: list[str] = []

    def add(self, case: object, broken: Sequence[str]) -> None:
        self.cases += 1
        lost = [sentence for sentence in broken if "lost" in sentence]
        doubled = [sentence for sentence in broken if "twice" in sentence or "times" in sentence]
        SCORE.add(Verdict(lost, doubled, [each for each in broken if each not in lost + doubled]))
        self.broken += [f"{case}: {sentence}" for sentence in broken]

    def end(self) -> None:
        """Print, and fail when a law was broken."""
        facts = " ".join(f"{key}={value}" for key, value in {"seed": SEED, **self._facts}.items())
        print(f"\n{self._name}: {self.cases} cases, {len(self.broken)} violations; {facts}")
        assert not self.broken, "\n".join(self.broken)
