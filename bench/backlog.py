"""A mailbox of 100,000 letters is watched for the first time with start = "all": letters a second.

The mailbox lies in a Dovecot of its own as one file a letter, read once before anything is measured, so that
every reader finds the server's caches as warm. Beside the program, in the same run, whoever only reads: a raw
socket that throws away what comes, and imapclient as its users get it, with the full header and with eight
fields; once more without the debug lines that it formats though nobody logs them. The program reads, decides
against 20,000 deals, logs and journals, as `imaprouter run` does. Each figure is the median of three runs.

`bench/backlog.py COUNT RUNS` takes another mailbox and other runs.
"""

from __future__ import annotations

import logging
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from imapclient import IMAPClient
from parts.alone import Run, alone
from parts.machine import machine
from parts.mailbox import Dovecot, deliver, fill

from imaprouter import mail, recorder
from imaprouter.arrival import WatchedFolder
from imaprouter.log import setup
from imaprouter.mailbox import Account
from imaprouter.policy import RoutingPolicy
from imaprouter.store.index import Index, index_path
from imaprouter.watcher import Watcher

COUNT, RUNS = 100_000, 3
BATCH = 500
USER = "bench"
OWN = frozenset({"sales@company.ru"})
FULL = "BODY.PEEK[HEADER]"
EIGHT = "BODY.PEEK[HEADER.FIELDS (FROM TO CC DATE SUBJECT MESSAGE-ID IN-REPLY-TO REFERENCES)]"
OURS = f"BODY.PEEK[HEADER.FIELDS ({' '.join(mail.HEADER_FIELDS).upper()})]"

say = sys.stdout.write


# ── who reads ─────────────────────────────────────────────────────────────────────────────────────────────


def raw_socket(port: int, count: int, what: str) -> int:
    """Ask for batch after batch and look for nothing but the end of each answer; returns the bytes."""
    line = socket.create_connection(("127.0.0.1", port))
    total = 0

    def command(number: int, words: str) -> int:
        line.sendall(b"%06d %s\r\n" % (number, words.encode()))
        end, tail, size = b"\r\n%06d OK " % number, b"\r\n", 0
        while end not in tail:
            data = line.recv(262_144)
            if not data:
                raise ConnectionError("the server closed the connection")
            size += len(data)
            tail = tail[-100:] + data
        return size

    command(1, f"LOGIN {USER} {Dovecot.password}")
    command(2, "EXAMINE INBOX")
    for number, first in enumerate(range(1, count + 1, BATCH), 10):
        total += command(number, f"UID FETCH {first}:{min(first + BATCH - 1, count)} ({what})")
    line.close()
    return total


def stock(port: int, count: int, what: str, quiet: bool) -> int:
    """imapclient alone; returns the letters."""
    client = IMAPClient("127.0.0.1", port, ssl=False)
    if quiet:
        client._imap.debug = 0
    client.login(USER, Dovecot.password)
    client.select_folder("INBOX", readonly=True)
    read = 0
    for first in range(1, count + 1, BATCH):
        uids = list(range(first, min(first + BATCH, count + 1)))
        read += len(client.fetch(uids, [what, "INTERNALDATE", "FLAGS", "RFC822.SIZE"]))
    client.logout()
    return read


def imaprouter(port: int, folder: str, split: bool) -> tuple[int, float, float]:
    """The first start on a fresh journal: letters on record, and with `split` seconds of parse and decide."""
    spent = {"parse": 0.0, "decide": 0.0}
    with (Path(folder) / "log").open("w", encoding="utf-8") as log:
        setup("text")
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(log)
        if split:
            _clocked(recorder, "envelope_of", spent, "parse")
            _clocked(sys.modules["imaprouter.arrival"], "decide", spent, "decide")
        watched = WatchedFolder("sales", "INBOX", "incoming", OWN, OWN, "all", RoutingPolicy(), True)
        account = Account("sales", "127.0.0.1", port, "none", USER, Dovecot.password)
        watcher = Watcher(watched, account, Path(folder) / "bench.db", threading.Event())
        return watcher.run_once(), spent["parse"], spent["decide"]


def _clocked(room: object, name: str, spent: dict[str, float], key: str) -> None:
    work: Callable[..., object] = getattr(room, name)

    def timed(*arguments: object, **options: object) -> object:
        began = time.thread_time()
        try:
            return work(*arguments, **options)
        finally:
            spent[key] += time.thread_time() - began

    setattr(room, name, timed)


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────


def first_start(port: int, index: Path, split: bool) -> Run:
    """One run on a journal of its own, beside a copy of the index."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(index, index_path(Path(folder) / "bench.db"))
        return alone(imaprouter, port, folder, split)


def main(count: int, runs: int) -> int:
    """Print the table; 1 when not every letter was recorded."""
    say(f"first start on a mailbox of {count:,} letters; {machine()}; median of {runs} runs\n\n")
    with Dovecot() as server, tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index.db"
        crm = Index(index)
        fill(crm)
        crm.close()
        size = deliver(server, USER, count)
        for what in (FULL, EIGHT, OURS):
            raw_socket(server.port, count, what)
        say(f"a header has {size:,} bytes on average\n\n")
        say(f"{'':<44}{'letters/s':>10}{'µs':>8}{'µs of CPU':>11}{'peak MB':>9}{'of stock':>10}\n")

        def median(work: Callable[[], Run]) -> Run:
            done = sorted((work() for _ in range(runs)), key=lambda run: run.seconds)
            return done[len(done) // 2]

        peers: list[tuple[str, Callable[..., object], tuple[object, ...]]] = [
            ("raw socket, full header", raw_socket, (FULL,)),
            ("raw socket, eight fields", raw_socket, (EIGHT,)),
            ("raw socket, the fields that we read", raw_socket, (OURS,)),
            ("imapclient, full header", stock, (FULL, False)),
            ("imapclient, eight fields", stock, (EIGHT, False)),
            ("imapclient, full header, no debug lines", stock, (FULL, True)),
            ("imapclient, eight fields, no debug lines", stock, (EIGHT, True)),
        ]
        found = {
            name: median(partial(alone, work, server.port, count, *options)) for name, work, options in peers
        }
        ours = median(lambda: first_start(server.port, index, False))
        split = first_start(server.port, index, True)
    stock_seconds = found["imapclient, full header"].seconds
    for name, run in (*found.items(), ("imaprouter: decided, logged, journalled", ours)):
        say(
            f"{name:<44}{count / run.seconds:>10,.0f}{1e6 * run.seconds / count:>8.1f}"
            f"{1e6 * run.cpu / count:>11.1f}{run.peak_mb:>9.0f}{stock_seconds / run.seconds:>10.2f}\n"
        )
    recorded, parse, decide = split.result
    rest = split.cpu - parse - decide
    say("\nwhere its processor time goes (a run of its own), µs a letter\n\n")
    for name, seconds in (("reading the header", parse), ("deciding", decide), ("everything else", rest)):
        say(f"{name:<44}{1e6 * seconds / count:>10.1f}\n")
    return 0 if ours.result[0] == recorded == count else 1


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*given, *(COUNT, RUNS)[len(given) :]))
