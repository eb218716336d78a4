"""On the wire: what is not verified is not used, nothing falls back to plain text, and nothing listens."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from certificates import expired_certificate
from dovecot import Dovecot
from imap_peer import QUICK, Peer, server
from office import Office, sample_letter

from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import ConfigError, MailboxError, PortalUnreachable
from imaprouter.mailbox import Account, Session
from imaprouter.mailbox.connection import tls_context

CODE = "c0de-of-the-webhook"
LINUX = Path("/proc/net/tcp").exists()


class _Answering(BaseHTTPRequestHandler):
    """Any call gets the same result; `server.paths` remembers what was asked for."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        paths: list[str] = vars(self.server)["paths"]
        paths.append(self.path)
        body = json.dumps({"result": "2026-11-24T12:00:00+03:00"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class _Quiet(HTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that the client broke off."""


def server_context(dovecot: Dovecot) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(dovecot.home / "cert.pem", dovecot.home / "key.pem")
    return context


def old_context(dovecot: Dovecot) -> ssl.SSLContext:
    """A server that speaks nothing later than TLS 1.1."""
    context = server_context(dovecot)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@contextmanager
def https(context: ssl.SSLContext | None) -> Iterator[tuple[str, list[str]]]:
    """A portal that answers everything: host and port, and the paths that it saw."""
    httpd = _Quiet(("127.0.0.1", 0), _Answering)
    paths: list[str] = []
    vars(httpd)["paths"] = paths
    if context is not None:
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{httpd.server_port}", paths
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def ask(origin: str, ca_file: str = "") -> object:
    portal = Portal(
        f"{origin}/rest/1/{CODE}/", ca_file=ca_file, timeout=timedelta(seconds=5), patience=timedelta(0)
    )
    try:
        return portal.call("server.time", read=True)
    finally:
        portal.close()


# ── the portal ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_portals_certificate_is_verified(dovecot: Dovecot) -> None:
    """Nothing of the request leaves before; the advice names the setting."""
    with https(server_context(dovecot)) as (where, paths), pytest.raises(PortalUnreachable) as caught:
        ask(f"https://{where}")
    assert "certificate verify failed" in str(caught.value)
    assert "portal.ca_file" in caught.value.advice
    assert CODE not in str(caught.value)
    assert paths == []


def test_a_portal_of_ones_own_is_verified_by_its_authority(dovecot: Dovecot) -> None:
    with https(server_context(dovecot)) as (where, paths):
        assert ask(f"https://{where}", str(dovecot.ca_file))
        assert len(paths) == 1


def test_the_portals_name_is_verified(dovecot: Dovecot) -> None:
    """The certificate is for 127.0.0.1."""
    with https(server_context(dovecot)) as (where, paths):
        other = where.replace("127.0.0.1", "localhost")
        with pytest.raises(PortalUnreachable, match="Hostname mismatch") as caught:
            ask(f"https://{other}", str(dovecot.ca_file))
        assert paths == []
    assert "the name that the portal's certificate is made for" in caught.value.advice


def test_what_ended_is_not_believed_though_its_authority_is(tmp_path: Path) -> None:
    """Of a portal, and of a mail server: no other ca_file would help, and none is asked for."""
    with https(expired_certificate(tmp_path)) as (where, paths):
        with pytest.raises(PortalUnreachable, match="certificate has expired") as portals:
            ask(f"https://{where}", str(tmp_path / "expired.pem"))
        assert paths == []
        account = Account(
            "sales", "127.0.0.1", int(where.partition(":")[2]), "implicit", "u", "correct-horse"
        )
        account = replace(account, ca_file=str(tmp_path / "expired.pem"))
        with pytest.raises(MailboxError, match="certificate has expired") as mails:
            Session(account, ["From"], timeouts=QUICK).connect()
    for caught in (portals.value, mails.value):
        assert "renew" in caught.advice
        assert "ca_file" not in caught.advice


def test_a_portal_below_tls_1_2_is_refused(dovecot: Dovecot) -> None:
    with https(old_context(dovecot)) as (where, paths):
        with pytest.raises(PortalUnreachable, match=r"(?i)version|protocol"):
            ask(f"https://{where}", str(dovecot.ca_file))
        assert paths == []


def test_a_portal_without_tls_gets_nothing() -> None:
    """https:// to a server of plain text: no second attempt without encryption."""
    with https(None) as (where, paths):
        with pytest.raises(PortalUnreachable):
            ask(f"https://{where}")
        assert paths == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_used_is_a_mistake(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        Portal(f"https://company.bitrix24.ru/rest/1/{CODE}/", ca_file=str(path))


def test_a_webhook_without_encryption_stays_on_this_machine() -> None:
    with pytest.raises(ConfigError, match="https"):
        Portal(f"http://company.bitrix24.ru/rest/1/{CODE}/")


# ── the mailbox ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_context_for_mail_verifies_and_is_modern(dovecot: Dovecot) -> None:
    context = tls_context(dovecot.account("u", tls="implicit"))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_mail_server_below_tls_1_2_is_refused(dovecot: Dovecot) -> None:
    context = old_context(dovecot)

    def handler(peer: Peer) -> None:
        with suppress(ssl.SSLError, OSError):
            context.wrap_socket(peer.line.dup(), server_side=True)

    with server(handler) as account, pytest.raises(MailboxError, match="TLS failed"):
        Session(modern(account, dovecot, "implicit"), ["From"], timeouts=QUICK).connect()


def test_starttls_is_not_skipped_for_a_session_that_is_logged_in_already(dovecot: Dovecot) -> None:
    """`* PREAUTH` in clear text: whoever stands on the way pretends that nothing has to be encrypted."""
    heard: list[bytes] = []

    def handler(peer: Peer) -> None:
        peer.send(b"* PREAUTH welcome\r\n")
        while line := peer.read():
            tag, command, *_ = line.split()
            heard.append(command)
            said = {b"CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\n"}.get(command, b"")
            # RFC 3501: STARTTLS is not for a session that is logged in.
            peer.send(said + tag + (b" BAD no\r\n" if command == b"STARTTLS" else b" OK .\r\n"))

    with server(handler) as account, pytest.raises(MailboxError):
        Session(modern(account, dovecot, "starttls"), ["From"], timeouts=QUICK).connect()
    assert set(heard) - {b"CAPABILITY", b"LOGOUT"} <= {b"STARTTLS"}


@pytest.mark.parametrize("answer", [b"NO not now", b"BAD what", b"NO [ALERT] use LOGIN"])
def test_a_refused_starttls_sends_no_password(dovecot: Dovecot, answer: bytes) -> None:
    said: list[bytes] = []

    def handler(peer: Peer) -> None:
        peer.capabilities = "IMAP4rev1 STARTTLS AUTH=PLAIN"
        peer.greet()
        tag, _ = peer.until("STARTTLS")
        peer.send(tag + b" " + answer + b"\r\n")
        while line := peer.read():
            said.append(line)
            tag = line.split()[0]
            peer.ok(tag, b"* BYE .\r\n" if b"LOGOUT" in line else b"")

    with server(handler) as account, pytest.raises(MailboxError):
        Session(modern(account, dovecot, "starttls"), ["From"], timeouts=QUICK).connect()
    assert [line for line in said if b"LOGOUT" not in line] == []


def test_implicit_tls_does_not_fall_back_to_plain_text(dovecot: Dovecot, user: str) -> None:
    """The plain port of the same server, which would take the password gladly."""
    account = replace(dovecot.account(user, tls="implicit"), port=dovecot.port)
    with pytest.raises(MailboxError, match="TLS failed"):
        Session(account, ["From"], timeouts=QUICK).connect()


def modern(account: Account, dovecot: Dovecot, tls: str) -> Account:
    return replace(account, tls="implicit" if tls == "implicit" else "starttls", ca_file=str(dovecot.ca_file))


# ── no door ─────────────────────────────────────────────────────────────────────────────────────────────────


def listening(pid: int) -> list[str]:
    """Every socket of a process that waits for connections or datagrams of others: /proc/net's lines."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if found := re.fullmatch(r"socket:\[(\d+)\]", str(fd.readlink())):
                inodes.add(found[1])
    doors = []
    for name, column, states in (
        ("tcp", 9, {"0A"}),
        ("tcp6", 9, {"0A"}),
        # 07 is an unconnected socket; a resolver's are connected (01).
        ("udp", 9, {"07"}),
        ("udp6", 9, {"07"}),
    ):
        table = Path(f"/proc/{pid}/net/{name}")
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            words = line.split()
            if words[column] in inodes and words[3] in states:
                doors.append(f"{name} {line}")
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        # __SO_ACCEPTCON
        if words[6] in inodes and int(words[3], 16) & 0x10000:
            doors.append(line)
    return doors


@pytest.mark.skipif(not LINUX, reason="Linux tells what listens")
def test_a_door_would_be_seen(tmp_path: Path) -> None:
    """The test below would say so: of each kind one, opened here."""
    before = len(listening(os.getpid()))
    with (
        socket.create_server(("127.0.0.1", 0)),
        socket.create_server(("::1", 0), family=socket.AF_INET6),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        assert len(listening(os.getpid())) == before + 4


@pytest.mark.skipif(not LINUX, reason="Linux tells what listens")
def test_the_service_opens_no_port(tmp_path: Path, dovecot: Dovecot, user: str) -> None:
    """Neither at the start nor while it works."""
    with Office(tmp_path, dovecot, user) as office, office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        assert listening(process.pid) == []
        office.deliver(sample_letter("reply-to-masha"))
        office.until(lambda: len(office.messages()) == 1)
        office.sync.sync_once()
        office.until(lambda: office.settled(1))
        assert listening(process.pid) == []
        assert office.stop(process) == 0
