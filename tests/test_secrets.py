"""No secret in any output: many faults, then a search of all that was printed, logged or stored."""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from dovecot import Dovecot
from imap_peer import Peer, server
from office import CODE, FIXTURES, PATIENCE, Office, letter, sample_letter

from imaprouter.mailbox import Account
from imaprouter.model import State
from imaprouter.sandbox.faults import Kind

WRONG = "wr0ng/pass+wörd"
KEY = "k3y of/the=m+rks"
ENV_CODE = "0ther-c0de"


def forms(secret: str, user: str) -> set[bytes]:
    """What a secret looks like on its way through addresses, JSON, Python and SASL."""
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    texts |= {json.dumps(secret)[1:-1], json.dumps(secret)[1:-1].replace("/", "\\/"), repr(secret)[1:-1]}
    texts |= {text.lower() for text in texts}
    raw = secret.encode()
    codes = {base64.b64encode(each) for each in (raw, f"\0{user}\0{secret}".encode(), b":" + raw)}
    codes |= {code.replace(b"+", b"-").replace(b"/", b"_") for code in codes}
    # In one piece or in the middle: the ends depend on what stands beside it.
    codes = {code.rstrip(b"=")[:-2][-12:] for code in codes}
    return {text.encode() for text in texts} | codes


class Search:
    """Collects what was said and stored, and looks for secrets in it."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self.printed: list[bytes] = []
        secrets = (CODE, office.dovecot.password, WRONG, KEY, ENV_CODE)
        self._forms = {form for secret in secrets for form in forms(secret, office.user)}

    def run(
        self, *words: str, config: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        """A command as a process; what it prints is searched in the end."""
        command = [sys.executable, "-m", "imaprouter", "--config", str(config or self._office.config), *words]
        done = subprocess.run(
            command,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(FIXTURES.parent), **environ},
            timeout=100,
        )
        self.printed += [done.stdout, done.stderr]
        return done

    def found(self) -> list[bytes]:
        """Where a secret stands, with what surrounds it."""
        texts = [*self.printed, *self._stored()]
        if self._office.output.exists():
            texts.append(self._office.output.read_bytes())
        hits = ((text, text.find(form)) for text in texts for form in self._forms)
        return [text[max(0, at - 80) : at + 60] for text, at in hits if at >= 0]

    def _stored(self) -> Iterator[bytes]:
        """The files as they are, and the rows: a long text is spread over pages."""
        for path in self._office.folder.glob("*.db*"):
            yield path.read_bytes()
            if path.suffix == ".db":
                with closing(sqlite3.connect(path)) as database:
                    yield "\n".join(database.iterdump()).encode("utf-8", "surrogateescape")


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        key = tmp_path / "marker.key"
        key.write_text(KEY)
        key.chmod(0o600)
        opened.options |= {"routing.marker.secret_file": f"'{key}'", "portal.timeout": "'1s'"}
        yield opened


@pytest.fixture
def search(office: Office) -> Search:
    return Search(office)


def told(office: Office) -> list[str]:
    """What a portal may say that repeats the address it was called at."""
    url = f"{office.portal.webhook_url}crm.deal.list"
    return [
        f"cannot call {url}",
        f"cannot call {quote(url, safe='')}",
        f"the code {CODE} is wrong",
        "see " + json.dumps(url).replace("/", "\\/"),
        "token " + base64.b64encode(CODE.encode()).decode(),
    ]


def test_a_secret_would_be_found(office: Office, search: Search) -> None:
    """In every form, in what is printed and in what is stored."""
    said = [secret.encode() for secret in (CODE, quote_plus(KEY), repr(WRONG))]
    said.append(base64.b64encode(f"\0{office.user}\0{WRONG}".encode()))
    for each in said:
        search.printed = [b"before " + each + b" after"]
        assert search.found(), each
    search.printed = []
    assert search.found() == []
    with closing(sqlite3.connect(office.folder / "a.db")) as database, database:
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (?)", ("x" * 5000 + CODE,))
    assert search.found()


def test_a_portal_that_repeats_the_code_puts_it_nowhere(office: Office, search: Search) -> None:
    """In errors of requests and of single commands; those of commands are kept in the journal."""
    answers = ((401, "INVALID_CREDENTIALS"), (400, CODE), (403, f"see {CODE}"))
    for text, (status, code) in zip(told(office), cycle(answers), strict=False):
        office.portal.faults.add("error", status=status, code=code, text=text)
        assert search.run("-vv", "cache", "refresh", "--json").returncode in (1, 77)
    office.portal.faults.clear()
    for number, text in enumerate(told(office)):
        office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
        office.portal.faults.add(
            "command_error",
            method="crm.activity.binding.move",
            code=f"ERROR {CODE}",
            text=text,
            skip=number,
        )
    office.sync.sync_once()
    search.run("-vv", "--log-format", "json", "run", "--once")
    messages = office.messages()
    assert len(messages) == len(told(office))
    for message in messages:
        assert message.state is State.FAILED
        assert "***" in message.note
    for words in (("explain", "1"), ("queue", "--json")):
        assert search.run("-vv", *words).returncode == 0
    assert search.found() == []


def test_the_service_says_no_secret_under_any_fault(office: Office, search: Search) -> None:
    """As a process: wrong password, faults of the portal, bad configurations by SIGHUP."""
    kinds: tuple[Kind, ...] = (
        "http_500_html",
        "close_after",
        "timeout_before",
        "timeout_after",
        "truncated_json",
        "rename_302",
        "internal_500",
        "http_403_html",
        "limit_503",
    )
    right = office.dovecot.password
    office.deliver(sample_letter("reply-to-masha"), sample_letter("to-sales-only"))
    office.sync.sync_once()
    with office.service() as process:
        office.until(lambda: office.heard("folder.opened"))
        office.dovecot.password = WRONG
        office.reload(process)
        office.until(lambda: office.heard("folder.failed"))
        office.dovecot.password = right
        good = office.config.read_text("utf-8")
        for bad in (
            good.replace("127.0.0.1", "portal.example", 1),
            good.replace(f"/{CODE}/", f"/{CODE}/x/y?z={CODE}"),
            good.replace("password = ", "pasword = "),
            good.replace("password = ", "password_env = "),
            good.replace("password = ", "password_file = "),
            good.replace("webhook_url = ", "webhook_url_file = "),
            good.replace("webhook_url = ", "webhook_url = 5 #"),
            good.replace("password = '", "password = "),
            good.replace("password = ", "password = [") + "\n]",
        ):
            assert bad != good
            refused = office.times_heard("config.refused")
            office.folder.joinpath("imaprouter.toml").write_text(bad, "utf-8")
            process.send_signal(signal.SIGHUP)
            end = time.monotonic() + PATIENCE
            while office.times_heard("config.refused") == refused:
                assert time.monotonic() < end, bad
                time.sleep(0.05)
        # What was wrong last is wrong for a command, too.
        assert search.run("-vv", "queue", config=office.folder / "imaprouter.toml").returncode == 2
        office.reload(process)
        for kind in kinds:
            office.portal.faults.add(kind)
        office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
        office.sync.sync_once()
        office.until(lambda: len(office.messages()) == 3)
        search.run("-vv", "queue", "assign", "2", "--deal", "1", "--now")
        assert office.stop(process) == 0
    for kind in kinds[:5]:
        office.portal.faults.add(kind)
    search.run("-vv", "run", "--once")
    assert office.heard("config.problem")
    assert search.found() == []


def test_commands_say_no_secret(office: Office, search: Search) -> None:
    """Their results, their errors, and their tracebacks by -v."""
    office.deliver(sample_letter("reply-to-masha"), sample_letter("to-sales-only"))
    office.sync.sync_once()
    assert search.run("-vv", "run", "--once").returncode == 0
    for words in (
        ("explain", "1", "--json"),
        ("explain", "99"),
        ("queue", "--json"),
        ("queue", "assign", "99", "--leave"),
        ("replay", str(FIXTURES / "mail"), "--json"),
        ("replay", str(office.folder / "imaprouter.toml"), "--json"),
        ("replay", str(office.folder / "marker.key")),
        ("check",),
        ("check", "--json"),
        ("status",),
        ("status", "--json"),
        ("health",),
        ("report", "--format", "csv"),
        ("journal", "check"),
        ("cache", "status", "--json"),
        ("cache", "lookup", "sergey@horns.ru", "--json"),
        ("cache", "export"),
        ("cache", "import", str(office.folder / "imaprouter.toml")),
        ("marker", "1", "--sign"),
        ("marker", "1", "--write-field", "UF_CRM_MARKER"),
        ("run", "--help"),
        ("--help",),
    ):
        search.run("-vv", *words)
    assert search.found() == []


def test_secrets_of_the_environment_are_not_said(office: Office, search: Search) -> None:
    """Given as keys, by x_env, and where they do not belong."""
    config = office.config
    url = office.portal.webhook_url.replace(CODE, ENV_CODE)
    for status, environ in (
        (77, {"IMAPROUTER_PORTAL__WEBHOOK_URL": url}),
        (2, {"IMAPROUTER_PORTAL__WEBHOOK_URL": url + "/a/b"}),
        (2, {"IMAPROUTER_PORTAL__WEBHOOK_URL": url.replace("http://127.0.0.1", "ftp://x.example")}),
        (77, {"IMAPROUTER_MAILBOXES__0__PASSWORD_ENV": "SALES_PW", "SALES_PW": WRONG}),
        (2, {"IMAPROUTER_MAILBOXES__0__PASSWORD_FILE": WRONG}),
        (2, {"IMAPROUTER_MAILBOXES__0__PASSWORD_ENV": WRONG}),
        (2, {"IMAPROUTER_MAILBOXES__PASSWORD": WRONG}),
        (2, {"IMAPROUTER_PASSWORD__": WRONG}),
        (0, {"IMAPROUTER_ROUTING__MARKER__SECRET": KEY}),
    ):
        done = search.run("-vv", "run", "--once", config=config, **environ)
        assert done.returncode == status, done.stderr.decode()
    assert search.found() == []


def test_failures_of_encryption_say_no_secret(office: Office, search: Search) -> None:
    """Certificates that nobody vouches for, and servers of plain text where TLS is spoken."""
    number, host = office.dovecot.tls_port, "127.0.0.1"
    text = office.config.read_text("utf-8")
    plain = f"port = {office.dovecot.port}\ntls = 'none'"
    assert plain in text
    for changed in (
        text.replace(office.portal.webhook_url, f"https://{host}:{number}/rest/1/{CODE}/"),
        text.replace(plain, f"port = {number}\ntls = 'implicit'"),
        text.replace(plain, f"port = {office.dovecot.port}\ntls = 'starttls'"),
        text.replace(plain, f"port = {office.dovecot.port}\ntls = 'implicit'"),
    ):
        assert changed != text
        path = office.folder / "changed.toml"
        path.write_text(changed, "utf-8")
        path.chmod(0o600)
        done = search.run("-vv", "run", "--once", config=path)
        assert done.returncode == 69, done.stderr.decode()
    assert search.found() == []


def test_a_mail_server_that_repeats_the_login_is_not_quoted(office: Office, search: Search) -> None:
    """The password as it is, and the line of AUTHENTICATE in which it stands."""
    search.run("-q", "cache", "refresh")

    def repeating(peer: Peer) -> None:
        peer.greet()
        tag, _ = peer.until("AUTHENTICATE")
        peer.send(b"+ \r\n")
        line = peer.read().strip()
        password = base64.b64decode(line).split(b"\0")[-1]
        peer.send(tag + b" NO what is " + line + b" or " + password + b"\r\n")

    office.dovecot.password, right = WRONG, office.dovecot.password
    text = office.config.read_text("utf-8")
    office.dovecot.password = right
    with server(repeating, repeating) as account:
        assert isinstance(account, Account)
        path = office.folder / "changed.toml"
        path.write_text(text.replace(f"port = {office.dovecot.port}", f"port = {account.port}"), "utf-8")
        path.chmod(0o600)
        done = search.run("-vv", "run", "--once", config=path)
    assert done.returncode == 77, done.stderr.decode()
    assert b"what is" in done.stderr
    assert search.found() == []


def test_a_crash_that_nobody_foresaw_says_no_secret(office: Office, search: Search) -> None:
    """Its traceback is shown, of the main thread and of others, with the secret masked."""
    crash = """
import sys, threading
from imaprouter import service
from imaprouter.cli import main
def crash(self):
    secret = self._parts.settings.portal.webhook_url
    thread = threading.Thread(target=lambda: int("thread " + secret))
    thread.start(); thread.join()
    raise RuntimeError("main " + secret)
service.Service.run = crash
sys.argv[1:] = ["--config", sys.argv[1], "run"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", crash, str(office.config)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)},
    )
    search.printed += [done.stdout, done.stderr]
    assert done.returncode == 1
    assert b"RuntimeError: main http" in done.stderr
    assert b"'thread http" in done.stderr
    assert search.found() == []
