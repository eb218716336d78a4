"""Faults of the mail server, of the line to it and of what lies in the mailbox."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from certificates import certificate, expired_certificate
from dovecot import Dovecot

from faults.harness import CLIENTS, CYRILLIC, Site, second
from faults.laws import Fate, uphold_idle
from imaprouter.model import State

MakeSite = Callable[..., Site]

IDLE, FETCH = b"IDLE\r\n", b"BODY.PEEK[HEADER"
# The folders that the service watches.
FOLDERS = 4


def test_no_fault(site: Site) -> None:
    """The harness itself."""
    with site.case():
        site.post()


# ── the line breaks, or falls silent ───────────────────────────────────────────────────────────────────


def test_fin_in_idle(site: Site) -> None:
    """Stock imapclient spins here (imap.md 0.1)."""
    with site.case(idle=2):
        site.mail.fin()
        site.until_said("folder.failed", FOLDERS)
        site.post()


def test_rst_in_idle(site: Site) -> None:
    with site.case(idle=1):
        site.mail.rst()
        site.until_said("folder.failed", FOLDERS)
        site.post()


@pytest.mark.parametrize("command", ["AUTHENTICATE", "EXAMINE", "SEARCH", "NOOP"])
def test_cut_in_the_answer_to(site: Site, command: str) -> None:
    """The line ends within the first bytes of an answer, during login for AUTHENTICATE."""
    with site.case():
        site.mail.cut(3, behind=command.encode())
        site.mail.fin()
        site.until(lambda: site.mail.cuts)
        site.post()


@pytest.mark.parametrize("after", [1, 150, 700, 1100], ids=lambda after: f"{after}_bytes")
def test_cut_in_a_fetch_literal(site: Site, after: int) -> None:
    """Of a batch that came in part, nothing is recorded twice."""
    with site.case():
        cuts = site.mail.cuts
        site.mail.cut(after, behind=FETCH)
        site.post()
        site.until(lambda: site.mail.cuts > cuts)


def test_half_open_in_idle(site: Site) -> None:
    """Packets are swallowed: found out when IDLE is renewed."""
    with site.case():
        site.mail.pause()
        site.post()
        site.until_said("folder.failed", FOLDERS)


def test_half_open_in_a_fetch(site: Site) -> None:
    with site.case():
        site.mail.cut(200, behind=FETCH, silent=True)
        site.post()
        site.until_said("folder.failed")


def test_answers_that_drip(site: Site) -> None:
    """A byte now and then keeps a read timeout from ever running out (imap.md 0.17)."""
    with site.case():
        site.mail.split = (1, 0.05)
        site.post()
        site.until_said("folder.failed")


def test_idle_line_in_pieces(site: Site) -> None:
    """One announcement, read in one pass, without a new connection."""
    with site.case():
        site.mail.split = (5, 0.0005)
        connections = site.mail.connections
        site.post()
        site.sync.sync_once()
        site.until(site.book.caught_up)
        assert site.mail.connections == connections


def test_exists_before_the_continuation(site: Site) -> None:
    """Exchange announces mail before '+' (imap.md 0.3)."""
    told: list[bytes] = []

    def early(data: bytes) -> bytes:
        if b"+ idling" not in data or told:
            return data
        told.append(data)
        return b"* 999 EXISTS\r\n" + data

    with site.case():
        site.mail.mangle = early
        site.until(lambda: told)
        site.post()


def test_garbage_instead_of_imap(site: Site) -> None:
    with site.case():
        site.mail.mangle = lambda data: b"\xff\x00 garbage \r\n" * 3
        site.mail.fin()
        site.until_said("folder.failed", 2 * FOLDERS)
        site.post()


def test_nothing_listens(site: Site) -> None:
    with site.case():
        site.mail.refusing = True
        site.mail.rst()
        site.until_said("folder.failed", 2 * FOLDERS)
        site.post()


# ── the server dies, hangs, refuses ────────────────────────────────────────────────────────────────────


def test_server_killed(site: Site) -> None:
    with site.case():
        site.dovecot.kill()
        site.post()
        site.until_said("folder.failed", 2 * FOLDERS)
        site.dovecot.start()


def test_server_restarted(site: Site) -> None:
    with site.case():
        site.post()
        site.dovecot.restart()
        site.post()


def test_server_stopped_for_longer_than_every_timeout(site: Site) -> None:
    """SIGSTOP: the kernel still accepts connections, and nobody answers."""
    with site.case():
        site.dovecot.freeze()
        site.post()
        site.until_said("folder.failed", 2 * FOLDERS)
        site.dovecot.thaw()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_server_stopped_for_longer_than_every_real_timeout(make_site: MakeSite, own_dovecot: Dovecot) -> None:
    """The same with the service's own patience: IDLE is renewed after five minutes, a command has one."""
    site = make_site(dovecot=own_dovecot)
    site.program = ["-m", "imaprouter"]
    site.patience = 480.0
    with site.case(idle=5):
        own_dovecot.freeze()
        site.post()
        site.until_said("folder.failed", FOLDERS)
        own_dovecot.thaw()


def test_session_killed(site: Site) -> None:
    """kill -9 of the processes that serve the user."""
    with site.case():
        site.dovecot.kill_sessions(site.user)
        site.post()
        site.until_said("folder.failed")


def test_kicked_in_idle(site: Site) -> None:
    """BYE, then end of file."""
    with site.case(idle=1):
        site.dovecot.kick(site.user)
        site.until_said("folder.failed", FOLDERS)
        site.post()


def test_bye_as_greeting(site: Site) -> None:
    with site.case():
        site.mail.mangle = lambda data: b"* BYE Too many connections\r\n"
        site.mail.fin()
        site.until_said("folder.failed", 2 * FOLDERS)
        site.post()


def test_login_refused_for_a_while(site: Site) -> None:
    """Then accepted: nothing that came meanwhile is lost."""

    def refuse(data: bytes) -> bytes:
        return re.sub(rb"(\w+) OK [^\r]*Logged in", rb"\1 NO [AUTHENTICATIONFAILED] No.", data)

    with site.case():
        site.mail.mangle = refuse
        site.mail.fin()
        site.post()
        site.until(lambda: sum("login refused" in event.get("error", "") for event in site.news()) >= 4)


@pytest.mark.parametrize("how", ["not_offered", "refused"])
def test_server_without_idle(site: Site, how: str) -> None:
    """It is asked again and again, which is no busy loop; with the next connection IDLE may be there."""
    with site.case():
        if how == "refused":
            site.mail.mangle_up = lambda data: data.replace(b" IDLE\r\n", b" IDOL\r\n")
        else:
            site.mail.mangle = lambda data: data.replace(b" IDLE", b"")
        site.mail.fin()
        site.until_said("folder.opened", FOLDERS)
        site.post()
        site.sync.sync_once()
        site.until(site.book.caught_up)
        uphold_idle(site.pid, 1)
        site.mail.heal()
        site.mail.fin()
        site.post()


@pytest.mark.parametrize("what", ["wrong_certificate", "expired_certificate", "plain_text_server"])
def test_tls(make_site: MakeSite, what: str) -> None:
    """Refused, never downgraded; with a right certificate, mail is read."""
    site = make_site()
    folder = site.folder
    site.tls = "implicit"
    site.mailbox_options["ca_file"] = f"'{folder / 'ca.pem'}'"
    right, wrong = certificate(folder, "right"), certificate(folder, "wrong")
    shutil.copy(folder / "right.pem", folder / "ca.pem")
    expired = expired_certificate(folder)
    with (folder / "ca.pem").open("a") as trusted:
        trusted.write((folder / "expired.pem").read_text())
    site.mail.tls = {
        "wrong_certificate": wrong,
        "expired_certificate": expired,
        "plain_text_server": None,
    }[what]
    heard: list[bytes] = []
    site.mail.mangle_up = lambda data: heard.append(data) or data  # type: ignore[func-returns-value]
    with site.case(warm=False):
        site.post()
        site.until_said("folder.failed", 2)
        errors = " ".join(event.get("error", "") for event in site.news())
        assert ("TLS failed" if what == "plain_text_server" else "certificate is not trusted") in errors
        assert not [data for data in heard if b"AUTH" in data.upper()]
        site.mail.tls = right


# ── the mailbox is another one ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [1_999_999_999, 5], ids=["raised", "lowered"])
def test_uidvalidity(site: Site, value: int) -> None:
    """All mail is read again and recognised."""
    with site.case():
        site.dovecot.doveadm("mailbox", "update", "--uid-validity", str(value), "-u", site.user, "INBOX")
        site.post()
        site.until_said("folder.renumbered")


def test_uidvalidity_changed_and_back(site: Site) -> None:
    """The storage is unmounted, an empty mailbox takes its place, the storage comes back (imap.md 6, 33)."""
    home = site.dovecot.maildir(site.user)
    away = home.with_name(f"{site.user}.away")
    with site.case():
        home.rename(away)
        site.dovecot.kick(site.user)
        site.until_said("folder.renumbered")
        site.dovecot.kill()
        shutil.rmtree(home)
        away.rename(home)
        site.dovecot.start()
        site.until_said("folder.renumbered", 2)
        site.post()


def test_uidlist_lost(site: Site) -> None:
    """UIDVALIDITY and every UID are new, and may be lower."""
    home = site.dovecot.maildir(site.user)
    with site.case():
        site.dovecot.kill()
        for path in home.glob("dovecot*"):
            path.unlink()
        site.dovecot.start()
        site.post()
        site.until_said("folder.renumbered")


def test_index_lost_in_idle(site: Site) -> None:
    """The UIDs stay."""
    with site.case():
        for path in site.dovecot.maildir(site.user).glob("dovecot.index*"):
            path.unlink()
        site.post()


@pytest.mark.parametrize("fresh", [1, 4], ids=["fewer", "more"])
def test_restored_from_a_backup(site: Site, fresh: int) -> None:
    """UIDVALIDITY is the same, the last UIDs are given to other mail (imap.md 0.8)."""
    home = site.dovecot.maildir(site.user)
    backup = home.with_name("backup")
    with site.case():
        site.dovecot.stop()
        _copy(home, backup)
        site.dovecot.start()
        site.post("moved", "moved", "right")
        site.sync.sync_once()
        site.until(site.book.caught_up)
        site.dovecot.stop()
        shutil.rmtree(home)
        backup.rename(home)
        for number in range(fresh):
            site.post("moved" if number % 2 else "right")
        site.forget_uids()
        site.dovecot.start()
        site.until_said("folder.renumbered")


def test_an_unreadable_file(site: Site) -> None:
    """It ends every session that asks for it (imap.md 0.10): the others are read, and it when it can be."""
    with site.case():
        site.mail.pause()
        names = site.post()
        site.dovecot.make_unreadable(site.user, names[1])
        site.mail.heal()
        site.until(lambda: [m.state for m in site.messages()].count(State.UNREADABLE) == 1)
        site.until(lambda: len(site.messages()) == len(site.book.fates))
        site.dovecot.file(site.user, names[1]).chmod(0o644)
        site.dovecot.kick(site.user)
        site.until(lambda: not any(m.state is State.UNREADABLE for m in site.messages()))


def test_folder_deleted_and_recreated(site: Site) -> None:
    """The other folders are read meanwhile; what the new one holds is read."""
    adm = site.dovecot.doveadm
    with site.case():
        site.post("moved", "right", folder=CLIENTS)
        site.sync.sync_once()
        site.until(site.book.caught_up)
        adm("mailbox", "delete", "-u", site.user, CLIENTS)
        site.until(lambda: any("cannot open" in event.get("error", "") for event in site.news()))
        site.post()
        site.sync.sync_once()
        site.until(site.book.caught_up)
        adm("mailbox", "create", "-u", site.user, CLIENTS)
        site.post("moved", "right", folder=CLIENTS)


def test_folder_renamed_and_back(site: Site) -> None:
    adm = site.dovecot.doveadm
    with site.case():
        site.post("moved", "right", folder=CLIENTS)
        site.sync.sync_once()
        site.until(site.book.caught_up)
        adm("mailbox", "rename", "-u", site.user, CLIENTS, "Old")
        site.dovecot.kick(site.user)
        site.until(lambda: any("cannot open" in event.get("error", "") for event in site.news()))
        site.post(folder="Old")
        adm("mailbox", "rename", "-u", site.user, "Old", CLIENTS)


def test_folder_emptied(site: Site) -> None:
    """Everything is deleted while the service looks; what comes then has higher UIDs."""
    with site.case():
        site.dovecot.doveadm("expunge", "-u", site.user, "mailbox", "*", "all")
        assert not site.book.mailbox()
        site.dovecot.kick(site.user)
        site.until_said("folder.opened", FOLDERS)
        site.post()


def test_cyrillic_folder(site: Site) -> None:
    with site.case():
        site.post(folder=CYRILLIC)
        site.dovecot.kick(site.user)
        site.post(folder=CYRILLIC)


# ── messages that do not stay as they were ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["expunged", "vanished"])
def test_between_search_and_fetch(site: Site, how: str) -> None:
    """Gone before it could be read: no error, and its neighbours are decided.

    Of an expunged one Dovecot may still have the header; then it is decided, and waits for its activity.
    """
    with site.case():
        site.mail.pause()
        (name,) = site.post("moved")
        site.post("right")
        gone = list(site.book.fates)[-2]
        copies = 1 if how == "expunged" else 0
        site.book.fates[gone] = Fate(known=False, copies=copies, states=frozenset({State.WAITING}))

        def disappear() -> None:
            if how == "vanished":
                site.dovecot.vanish(site.user, name)
            else:
                site.dovecot.doveadm(
                    "expunge", "-u", site.user, "mailbox", "INBOX", "header", "Message-ID", gone
                )

        site.mail.meanwhile(FETCH, disappear)
        site.mail.resume()
        site.until_known(list(site.book.fates)[-1])


@pytest.mark.parametrize("folder", [CLIENTS, "Archive"], ids=["watched", "unwatched"])
def test_moved_away_and_back(site: Site, folder: str) -> None:
    """A new UID, the same mail: one effect."""
    site.dovecot.maildir(site.user, "Archive")
    adm = site.dovecot.doveadm
    with site.case():
        adm("move", "-u", site.user, folder, "mailbox", "INBOX", "all")
        site.until(site.book.caught_up)
        site.sync.sync_once()
        adm("move", "-u", site.user, "INBOX", "mailbox", folder, "all")
        site.post()


def test_moved_before_it_was_bound(site: Site) -> None:
    """Decided in INBOX, moved by a person's filter, only then imported by the portal."""
    with site.case():
        site.post()
        for message_id in list(site.book.fates)[-3:]:
            site.until_known(message_id)
        site.dovecot.doveadm("move", "-u", site.user, CLIENTS, "mailbox", "INBOX", "all")


def test_file_renamed_by_a_backup_tool(site: Site) -> None:
    """The same mail under a new UID."""
    with site.case():
        (name,) = site.post("moved")
        site.sync.sync_once()
        site.until(site.book.caught_up)
        file = site.dovecot.file(site.user, name)
        file.rename(file.with_name(file.name.replace("N", "R", 1)))
        site.post("right")


def test_flags_changed(site: Site) -> None:
    """No error, nothing decided again."""
    with site.case():
        for flags in (r"\Seen", r"\Flagged", r"\Answered"):
            site.dovecot.doveadm("flags", "add", "-u", site.user, flags, "mailbox", "INBOX", "all")
        decided = site.said("message.decided")
        site.dovecot.doveadm("flags", "remove", "-u", site.user, r"\Seen", "mailbox", "INBOX", "all")
        assert site.said("message.decided") == decided
        site.post()


def test_expunge_and_arrival_at_once(site: Site) -> None:
    """The number of messages stays the same (imap.md 6, 37)."""
    with site.case():
        site.mail.pause()
        site.dovecot.doveadm("expunge", "-u", site.user, "mailbox", "INBOX", "1:3")
        site.post()


def test_mail_during_the_renewal_of_idle(site: Site) -> None:
    """Announced in answer to DONE: fifteen letters, some of them just then."""
    with site.case():
        for _ in range(5):
            site.mail.meanwhile(b"DONE\r\n", site.post)
            seen = len(site.book.fates)
            site.until(lambda seen=seen: len(site.book.fates) > seen)  # type: ignore[misc]


def test_clock_of_the_mail_server_is_off(site: Site) -> None:
    """INTERNALDATE ten minutes ahead or behind."""
    with site.case():
        for minutes in (-10, 10):
            raw, fate = site.written("moved")
            site.book.expect(raw, fate)
            moment = datetime.now().astimezone() + timedelta(minutes=minutes)
            site.dovecot.deliver(site.user, raw, date=moment)


def test_two_services_on_one_journal(site: Site) -> None:
    """The second one says so and goes; the first one goes on."""
    with site.case():
        done = second(site)
        assert done.returncode == 75
        assert "another imaprouter service" in done.stderr
        site.post()


def _copy(folder: Path, to: Path) -> None:
    # With owners: the mail server is not root.
    subprocess.run(["cp", "-a", folder, to], check=True)
