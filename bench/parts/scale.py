"""How the work grows with its input: measures a series of sizes of each kind, and draws docs/scale/*.svg.

`./dev scale` measures everything (about half an hour); names measure only these again, and the others keep
their figures: `./dev scale route memory`. The figures lie in docs/scale/figures.json, with the machine that
they are of, and docs/scale.md tells what they mean. Every series takes what ./dev bench takes, in other
sizes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

BENCH = Path(__file__).parent.parent
ROOT = BENCH.parent
sys.path[:0] = [str(BENCH), str(ROOT / "tests")]

from parts.machine import machine, median, say  # noqa: E402

FOLDER = ROOT / "docs" / "scale"
FIGURES = FOLDER / "figures.json"
PEERS = ROOT / ".dev/peers/bin/python"
RUNS = 3

Points = list[tuple[int, float]]


class Growth(NamedTuple):
    """One plot: what grows on its x axis, and what that costs."""

    title: str
    x: str
    y: str
    measure: Callable[[], Iterator[tuple[str, int, float]]]


# ── what is measured: (line, size, figure) ────────────────────────────────────────────────────────────────


def route() -> Iterator[tuple[str, int, float]]:
    """Processor time of one letter, from its bytes to its decision."""
    from route import Office, per_second

    for deals in (1_000, 10_000, 100_000, 1_000_000):
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.closing(Office(Path(folder), deals)) as office,
        ):
            raws = [sample.raw for sample in office.letters(2_000)]
            with office.journal.transaction():
                yield "imaprouter", deals, 1e6 / per_second(office.route, raws)


def refresh() -> Iterator[tuple[str, int, float]]:
    """A full refresh with the limiter off, reading and storing; and how many requests it takes."""
    from refresh import UNLIMITED, ours

    from parts.company import company
    from parts.processes import Sandbox, alone

    for deals in (1_000, 10_000, 100_000, 400_000):
        with Sandbox(company, deals, deals * 4 // 5, deals // 5, limits=UNLIMITED) as sandbox:
            taken = []
            sandbox.load()
            for _ in range(RUNS if deals < 400_000 else 1):
                with tempfile.TemporaryDirectory() as folder:
                    run = alone(ours, sandbox.webhook_url, folder, False, True)
                if run.error:
                    raise RuntimeError(run.error)
                taken.append((run.seconds, float(sandbox.load().requests), run.peak_mib))
        seconds, requests, peak = (median(column) for column in zip(*taken, strict=True))
        yield "seconds, limiter off", deals, seconds
        yield "requests", deals, requests
        yield "peak memory, MiB", deals, peak


def backlog() -> Iterator[tuple[str, int, float]]:
    """A first start on so many letters, beside imapclient that only reads them."""
    from backlog import FULL, USER, first_start, stock

    from imaprouter.store.index import Index
    from parts.alone import alone
    from parts.mailbox import Dovecot, deliver, fill

    for letters in (1_000, 10_000, 100_000):
        with Dovecot() as server, tempfile.TemporaryDirectory() as folder:
            index = Path(folder) / "index.db"
            with contextlib.closing(Index(index)) as crm:
                fill(crm)
            deliver(server, USER, letters)
            read = [alone(stock, server.port, letters, FULL, False).seconds for _ in range(RUNS)]
            ours = [first_start(server.port, index, False) for _ in range(RUNS)]
        if any(run.result[0] != letters for run in ours):
            raise RuntimeError(f"not every one of {letters} letters was recorded")
        yield "seconds, imapclient only reading", letters, median(read)
        yield "seconds, read, decided and journalled", letters, median([run.seconds for run in ours])
        yield "peak memory, MB", letters, median([run.peak_mb for run in ours])


def binding() -> Iterator[tuple[str, int, float]]:
    """Portal requests for letters whose activities appear within a minute, half of them bound wrong."""
    from binding import measure

    for letters in (10, 100, 1_000):
        asked, right, _ = measure(5, letters)
        if right != letters:
            raise RuntimeError(f"{letters - right} of {letters} letters are not where they belong")
        yield "requests", letters, float(asked)
        yield "requests a letter", letters, asked / letters


def burst() -> Iterator[tuple[str, int, float]]:
    """So many letters delivered at once: seconds until the last is decided."""
    from office import letter

    from parts.offices import office

    for letters in (1, 10, 100, 1_000):
        taken = []
        for _ in range(RUNS):
            with office() as place:
                if place is None:
                    raise RuntimeError("there is no Dovecot")
                with place.service():
                    place.until(lambda place=place: place.heard("folder.opened"))
                    raws = [letter(to="masha@company.ru", cc="sales@company.ru") for _ in range(letters)]
                    began = datetime.now(UTC)
                    for raw in raws:
                        place.deliver(raw)
                    place.until(lambda place=place, wanted=letters: len(place.messages()) == wanted)
                    last = max(message.recorded_at for message in place.messages())
                    taken.append((last - began).total_seconds())
        yield "seconds to the last decision", letters, median(taken)


def memory() -> Iterator[tuple[str, int, float]]:
    """An idle service."""
    from memory import measure

    for mailboxes in (1, 5, 20, 50):
        idle = measure(mailboxes, 20)
        yield "resident, MB", mailboxes, idle.resident
        yield "processor, ms a minute", mailboxes, idle.processor


def journal() -> Iterator[tuple[str, int, float]]:
    """What grows with the years: the journal's file, and what asks it."""
    for letters in (1_000, 10_000, 100_000, 300_000):
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "imaprouter.db"
            _record(store, letters)
            config = Path(folder) / "imaprouter.toml"
            config.write_text(CONFIG.format(store=store))
            yield "file, MB", letters, store.stat().st_size / 1e6
            yield "status, seconds", letters, _seconds(config, "status", "--json")
            month = ("report", "--from", "2026-10-01", "--to", "2026-10-31", "--format", "json")
            yield "a month's report, seconds", letters, _seconds(config, *month)


CONFIG = """\
[portal]
webhook_url = "http://127.0.0.1:9/rest/1/secretcode/"
[store]
path = "{store}"
[[mailboxes]]
name = "sales"
host = "127.0.0.1"
tls = "none"
username = "sales@company.ru"
password = "secret"
"""


def _record(store: Path, letters: int) -> None:
    """Put letters into a new journal, 1,000 a day up to a day in October."""
    from route import OWN, POLICY, Office

    from imaprouter.decide import decide
    from imaprouter.mail import parse
    from imaprouter.model import Direction, Letter, State
    from imaprouter.store.journal import Journal
    from imaprouter.store.messages import NewMessage

    last = datetime(2026, 10, 31, 12, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Office(Path(folder), 1_000)) as office:
        envelopes = [parse(sample.raw) for sample in office.letters(1_000)]
        decided = [(one, decide(Letter(one, OWN, OWN), office.knowledge, POLICY)) for one in envelopes]
    with contextlib.closing(Journal(store)) as journal, journal.transaction():
        watched = journal.folders.start("sales", "INBOX", uidvalidity=1, cursor=0, watch_since=None)
        for number in range(letters):
            envelope, decision = decided[number % len(decided)]
            received = last - timedelta(days=number / 1_000)
            message = NewMessage(
                uid=number + 1,
                direction=Direction.INCOMING,
                envelope=replace(envelope, message_id=f"{number}@scale.example", date=received),
                decision=decision,
                internal_date=received,
                size=3_000,
                seen=True,
                state=State.SETTLED,
            )
            journal.messages.add(watched, message, received)


def replay() -> Iterator[tuple[str, int, float]]:
    """`replay` of a folder of files against the index of the sample company."""
    from route import Office

    for letters in (1, 10, 100, 1_000, 10_000):
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as mails:
            with contextlib.closing(Office(Path(folder), 1_000)) as office:
                for number, sample in enumerate((office.letters(max(letters, 100)))[:letters]):
                    (Path(mails) / f"{number}.eml").write_bytes(sample.raw)
            crm = ("--crm", str(ROOT / "fixtures/crm.json"))
            yield (
                "seconds",
                letters,
                _seconds(ROOT / "fixtures/imaprouter.toml", "replay", mails, "--json", *crm),
            )


def _seconds(config: Path, *words: str) -> float:
    """The median of some runs of a command."""
    program = [sys.executable, "-c", "from imaprouter.cli import main; main()", "--config", str(config)]
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run([*program, *words], stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


GROWTHS = {
    "route": Growth("Header to decision", "deals in the index", "µs of processor a letter", route),
    "refresh": Growth("Full refresh of the index", "deals", "seconds, requests, MiB", refresh),
    "backlog": Growth("First start", "letters in the mailbox", "seconds, MB", backlog),
    "binding": Growth("Binding", "letters within a minute, half bound wrong", "requests", binding),
    "burst": Growth("Letters at once", "letters delivered at once", "seconds", burst),
    "memory": Growth("Idle service", "mailboxes of two folders", "MB, ms", memory),
    "journal": Growth("Journal", "letters on record", "MB, seconds", journal),
    "replay": Growth("Replay", "files", "seconds", replay),
}


# ── figures and pictures ──────────────────────────────────────────────────────────────────────────────────


def slope(points: Points) -> float:
    """The exponent with which a figure grows between the two largest sizes: 0 flat, 1 linear."""
    (less, before), (more, after) = points[-2:]
    return math.log(after / before) / math.log(more / less) if before > 0 and after > 0 else 0.0


def main(names: list[str]) -> int:
    """Measure, write the figures, draw; 2 for a name that does not exist."""
    if unknown := [name for name in names if name not in GROWTHS]:
        sys.stderr.write(f"./dev scale: {', '.join(unknown)}: none of {', '.join(GROWTHS)}\n")
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    for name in names or GROWTHS:
        growth = GROWTHS[name]
        say(f"\n{growth.title}: {growth.y}, by {growth.x}\n")
        lines: dict[str, Points] = {}
        for line, size, figure in growth.measure():
            lines.setdefault(line, []).append((size, figure))
            say(f"  {line:<40}{size:>10,}{figure:>12,.3f}\n")
        for line, points in lines.items():
            say(f"  {line:<40}grows as size^{slope(points):.2f} at the end\n")
        figures[name] = {
            "title": growth.title,
            "x": growth.x,
            "y": growth.y,
            "machine": machine(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "load": f"{os.getloadavg()[0]:.1f}",
            "lines": lines,
        }
        FIGURES.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return subprocess.run([PEERS, BENCH / "parts/plot.py", FIGURES, FOLDER], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
