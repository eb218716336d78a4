"""A mail server that can do less than others, has run out of something, or lost a part of itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dovecot import Dovecot

from faults.harness import CLIENTS, Site
from faults.laws import Fate
from imaprouter.model import deal

MakeSite = Callable[..., Site]

FOLDERS = 4


def refresh_watch(site: Site, times: int = FOLDERS) -> None:
    """Break the line, and wait until so many folders are open again."""
    before = site.said("folder.opened")
    site.mail.fin()
    site.until_said("folder.opened", before + times)


def handled(site: Site) -> None:
    site.sync.sync_once()
    site.until(site.book.caught_up)


# ── it can do less ─────────────────────────────────────────────────────────────────────────────────────


def test_server_without_uidplus(site: Site) -> None:
    with site.case():
        site.mail.mangle = lambda data: data.replace(b" UIDPLUS", b"")
        refresh_watch(site)
        site.post()
        site.dovecot.doveadm("move", "-u", site.user, CLIENTS, "mailbox", "INBOX", "all")
        handled(site)
        site.post()


def test_server_that_can_do_nothing_but_imap4rev1(make_site: MakeSite, own_dovecot: Dovecot) -> None:
    """Neither UIDPLUS, IDLE, SPECIAL-USE nor any other extension; what it says so itself."""
    own_dovecot.configure("imap_capability = IMAP4rev1\n")
    own_dovecot.restart()
    site = make_site(dovecot=own_dovecot)
    with site.case():
        site.post()
        own_dovecot.kick(site.user)
        site.post()


@pytest.mark.parametrize("limit", [1024, 2048])
def test_server_with_a_tiny_line_limit(make_site: MakeSite, own_dovecot: Dovecot, limit: int) -> None:
    """Five hundred UIDs with gaps between them do not fit: they are asked for in smaller portions."""
    site = make_site(dovecot=own_dovecot)
    names = [site.post("right")[0] for _ in range(700)]
    own_dovecot.doveadm("search", "-u", site.user, "mailbox", "INBOX", "all")
    for name in names[::2]:
        own_dovecot.vanish(site.user, name)
    for message_id in list(site.book.fates)[::2]:
        site.book.fates[message_id] = Fate(deal(2), known=False, copies=0)
    own_dovecot.configure(f"protocol imap {{\n  imap_max_line_length = {limit}\n}}\n")
    own_dovecot.restart()
    site.patience = 90
    with site.case(warm=False):
        site.until(lambda: len(site.messages()) == 350)
        site.post()
        site.until(lambda: len(site.messages()) == 353)
        assert not site.said("folder.failed")
        # The tests read the mailbox too, in one command.
        own_dovecot.configure("")
        own_dovecot.restart()


# ── it has run out ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [1, 2])
def test_more_folders_than_connections(make_site: MakeSite, own_dovecot: Dovecot, limit: int) -> None:
    """Those that get none say why, and have the next one that is free; those that have one are read."""
    site = make_site(dovecot=own_dovecot, folders=("INBOX", CLIENTS, "Orders", "Invoices"))
    with site.case():
        own_dovecot.configure(f"mail_max_userip_connections = {limit}\n")
        own_dovecot.restart()
        site.until(
            lambda: sum("Maximum number of connections" in e.get("error", "") for e in site.news()) > 3
        )
        assert not [event for event in site.news() if "login refused" in event.get("error", "")]
        site.post()
        site.post(folder=CLIENTS)
        own_dovecot.configure("")
        own_dovecot.restart()


@pytest.fixture
def small_disk(own_dovecot: Dovecot) -> Iterator[Path]:
    """A file system of two megabytes for what the server knows of its mailboxes: UIDs, flags, indexes."""
    if os.geteuid() != 0:
        pytest.fail("only root may mount the tmpfs that this test fills: run it as root")
    folder = own_dovecot.home / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        own_dovecot.kill()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_disk_of_the_mail_server_is_full(make_site: MakeSite, own_dovecot: Dovecot, small_disk: Path) -> None:
    """What it can still show is read; with room again, the rest."""
    place = f"{small_disk}/%u"
    own_dovecot.configure(
        f"mail_location = maildir:{own_dovecot.home}/mail/%u:INDEX={place}:CONTROL={place}\n"
    )
    own_dovecot.restart()
    site = make_site(dovecot=own_dovecot)
    with site.case():
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                continue
        assert os.statvfs(small_disk).f_bavail == 0
        assert list(small_disk.rglob("dovecot-uidlist"))
        own_dovecot.kick(site.user)
        site.post()
        site.until(lambda: site.said("folder.opened") or site.said("folder.failed"))
        site.post()
        site.until(lambda: site.said("message.decided"))
        filler.unlink()
        own_dovecot.kick(site.user)


# ── a part of it is lost ───────────────────────────────────────────────────────────────────────────────


def test_auth_killed_while_the_service_waits(site: Site) -> None:
    """Who is logged in stays so; the next login finds a new one."""
    with site.case():
        site.dovecot.kill_auth()
        site.post()
        site.dovecot.kick(site.user)
        site.post()


def test_auth_killed_during_the_login(site: Site) -> None:
    with site.case():
        killed: list[bool] = []

        def kill() -> None:
            site.dovecot.kill_auth()
            killed.append(True)

        site.mail.meanwhile(b"AUTHENTICATE", kill)
        site.mail.fin()
        site.until(lambda: killed)
        site.post()


def test_sessions_stopped(site: Site) -> None:
    """SIGSTOP of the processes that serve the user: the server itself answers, a new login works."""
    with site.case():
        pids = site.dovecot.freeze_sessions(site.user)
        site.post()
        site.until_said("folder.failed", FOLDERS)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_service_stopped_for_a_while(site: Site) -> None:
    """SIGSTOP of ours, for longer than the server's line lives: it catches up."""
    with site.case():
        os.kill(site.pid, signal.SIGSTOP)
        try:
            site.post()
            site.dovecot.restart()
            site.post()
            site.sync.sync_once()
        finally:
            os.kill(site.pid, signal.SIGCONT)


@pytest.mark.parametrize("greeting", [b"220 smtp ready\r\n", b""], ids=["smtp", "nothing"])
def test_another_greeting(site: Site, greeting: bytes) -> None:
    with site.case():
        site.mail.mangle = lambda data: greeting
        site.mail.fin()
        site.until_said("folder.failed", 2 * FOLDERS)
        site.post()


@pytest.mark.parametrize("answer", [b"* 1 FETCH (BODY[] {3000000000}\r\n", b"* OK " + b"x" * 40_000_000])
def test_an_answer_beyond_all_measure(site: Site, answer: bytes) -> None:
    """A literal of 3 GB, a line without end: the line is given up, the memory stays."""
    told: list[bool] = []

    def flood(data: bytes) -> bytes:
        if b"FETCH (" not in data or told:
            return data
        told.append(True)
        return answer

    with site.case():
        before = _resident(site.pid)
        site.mail.mangle = flood
        site.post()
        handled(site)
        assert told
        assert _resident(site.pid) < before + 60


# ── what it tells, and does not tell ───────────────────────────────────────────────────────────────────


def test_announcements_lost(site: Site) -> None:
    """No EXISTS comes through, in IDLE or when it is renewed: IDLE is a hint, and the folder is searched."""
    lost: list[bytes] = []

    def swallow(data: bytes) -> bytes:
        if b"FLAGS (" in data:  # the answer to EXAMINE cannot do without
            return data
        lost.extend(re.findall(rb"\* \d+ EXISTS\r\n", data))
        return re.sub(rb"\* \d+ (EXISTS|RECENT)\r\n", b"", data)

    with site.case():
        site.mail.mangle = swallow
        site.post()
        site.mail.meanwhile(b"DONE\r\n", site.post)
        seen = len(site.book.fates)
        site.until(lambda: len(site.book.fates) > seen)
        handled(site)
        assert lost


def test_flags_and_expunges_of_many_in_idle(make_site: MakeSite) -> None:
    """Hundreds of lines that announce nothing new: no error, nothing read again."""
    site = make_site()
    for _ in range(200):
        site.post("right")
    adm = site.dovecot.doveadm
    with site.case():
        decided = site.said("message.decided")
        adm("flags", "add", "-u", site.user, r"\Seen \Flagged", "mailbox", "INBOX", "all")
        adm("expunge", "-u", site.user, "mailbox", "INBOX", "1:100")
        site.post()
        handled(site)
        assert site.said("message.decided") == decided + 3
        assert not site.said("folder.failed")


# ── what a person gets wrong ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["password", "host"])
def test_a_configuration_that_was_wrong_is_mended(make_site: MakeSite, what: str) -> None:
    """A wrong password, a name that does not resolve: the error says so; SIGHUP takes the right one up."""
    site = make_site()
    wrong = {
        "password": ("password = '", "password = 'not-"),
        "host": ("host = '127.0.0.1'", "allow_plaintext = true\nhost = 'nobody.invalid'"),
    }
    said = {"password": "login refused", "host": "host name"}
    site.spoil = wrong[what]
    with site.case(warm=False) as process:
        site.post()
        site.until(lambda: any(said[what] in event.get("error", "") for event in site.news()))
        site.spoil = None
        site.reload(process)


def test_reloaded_good_and_bad(site: Site) -> None:
    """A bad configuration keeps the old one; a good one goes on where the old one was."""
    with site.case() as process:
        site.spoil = ("username = ", "user_name = ")
        site.post()
        site.reload(process)
        assert site.said("config.refused") == 1
        site.post()
        site.spoil = None
        site.reload(process)
        assert site.said("config.taken_up") == 1
        site.post()


def _resident(pid: int) -> int:
    """Megabytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found
    return int(found[1]) // 1024
