"""A private Dovecot on loopback ports, for tests: started, stopped, killed and damaged at will.

It has its own configuration and mail in a temporary folder, takes any user with one password, and works as
root (mail then belongs to 'nobody', so that an unreadable file is unreadable) or as an ordinary user.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Literal

from imapclient.imap_utf7 import encode as modified_utf7

from imaprouter.mailbox import Account

INSTALL = "Dovecot is not installed: apt-get install dovecot-imapd (./dev test does it)"
PASSWORD = "pw-of-tests"

_CONFIG = """\
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{home}/cert.pem
ssl_key = <{home}/key.pem
disable_plaintext_auth = no
auth_failure_delay = 0
default_login_user = {login_user}
default_internal_user = {internal_user}
default_internal_group = {internal_group}
first_valid_uid = 1
mailbox_list_index = no
mail_location = maildir:{home}/mail/%u
mail_max_userip_connections = 100
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/mail/%u allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Sent {{
    special_use = \\Sent
    auto = subscribe
  }}
  mailbox Junk {{
    special_use = \\Junk
    auto = create
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


class Dovecot:
    """A context manager; the methods may be called from any thread."""

    password = PASSWORD

    def __init__(self, extra_config: str = "") -> None:
        self._extra_config = extra_config
        self.home = Path(tempfile.mkdtemp(prefix="imaprouter-dovecot-"))
        self.home.chmod(0o755)
        self.port, self.tls_port = _free_port(), _free_port()
        self._names = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self._write_certificate()
        self._write_config()
        (self.home / "mail").mkdir()
        self._give_away(self.home / "mail")

    def __enter__(self) -> Dovecot:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        shutil.rmtree(self.home)

    @property
    def ca_file(self) -> Path:
        """The certificate that clients have to trust."""
        return self.home / "cert.pem"

    def account(
        self,
        user: str,
        *,
        name: str = "sales",
        tls: Literal["implicit", "starttls", "none"] = "none",
        port: int = 0,
    ) -> Account:
        """An account for `user` on this server, or on a proxy's `port` before it."""
        return Account(
            name=name,
            host="127.0.0.1",
            port=port or (self.tls_port if tls == "implicit" else self.port),
            tls=tls,
            username=user,
            password=self.password,
            ca_file="" if tls == "none" else str(self.ca_file),
        )

    # ---- the server's life

    def start(self) -> None:
        """Start the master and wait for its greeting."""
        if self._process is not None:
            raise RuntimeError("already running")
        # A process group of its own: `kill` and `stop` reach the children, and nothing but them.
        self._process = subprocess.Popen(
            [_program("dovecot"), "-F", "-c", str(self.home / "dovecot.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while not self._greets():
            if time.monotonic() > deadline or self._process.poll() is not None:
                log = self.home / "dovecot.log"
                raise RuntimeError(f"dovecot does not start: {log.read_text() if log.exists() else ''}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server and end its sessions; without effect when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill -9 of the master and of every process of it."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP for the master and every process of it: connections are still accepted, by the kernel."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def configure(self, extra_config: str) -> None:
        """Other settings behind ours, from the next start on."""
        self._extra_config = extra_config
        self._write_config()

    def kill_auth(self) -> None:
        """Kill -9 of the processes that know the passwords; the master starts new ones."""
        for pid in self._pids_of("dovecot/auth"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze_sessions(self, user: str) -> list[int]:
        """SIGSTOP for the processes that serve a user, and nothing else; their ids."""
        pids = self._session_pids(user)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def kick(self, user: str) -> None:
        """Disconnect a user as an administrator does: BYE, then end of file."""
        self.doveadm("kick", user)

    def kill_sessions(self, user: str) -> None:
        """Kill -9 of the processes that serve a user."""
        for pid in self._session_pids(user):
            os.kill(pid, signal.SIGKILL)

    def connections(self, user: str) -> int:
        """How many IMAP sessions of a user the server has."""
        return len(self._session_pids(user))

    def doveadm(self, *words: str) -> str:
        """Run doveadm against this instance and return what it printed."""
        command = [_program("doveadm"), "-c", str(self.home / "dovecot.conf"), *words]
        return subprocess.run(
            command, check=True, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=20
        ).stdout

    # ---- mail

    def deliver(
        self,
        user: str,
        raw: bytes,
        folder: str = "INBOX",
        *,
        seen: bool = False,
        date: datetime | None = None,
    ) -> str:
        """Drop a message into a folder as a delivery agent does; return the base name of its file."""
        maildir = self.maildir(user, folder)
        name = f"{time.time_ns() // 1_000_000_000}.N{next(self._names):06}P{os.getpid()}.tests"
        draft = maildir / "tmp" / name
        draft.write_bytes(raw)
        self._give_away(draft)
        if date is not None:  # Dovecot takes INTERNALDATE from the file's time
            os.utime(draft, (date.timestamp(), date.timestamp()))
        draft.rename(maildir / "cur" / f"{name}:2,S" if seen else maildir / "new" / name)
        return name

    def maildir(self, user: str, folder: str = "INBOX") -> Path:
        """The Maildir of a folder, made when it is not there yet."""
        root = self.home / "mail" / user
        maildir = (
            root if folder == "INBOX" else root / ("." + modified_utf7(folder.replace("/", ".")).decode())
        )
        if not maildir.exists():
            for path in (maildir, maildir / "cur", maildir / "new", maildir / "tmp"):
                path.mkdir(parents=True)
                self._give_away(path)
            self._give_away(root)
        return maildir

    def file(self, user: str, name: str, folder: str = "INBOX") -> Path:
        """The present path of a delivered message; Dovecot renames files as flags change."""
        return next(self.maildir(user, folder).glob(f"*/{name}*"))

    def vanish(self, user: str, name: str, folder: str = "INBOX") -> None:
        """Remove a message's file behind the server's back."""
        self.file(user, name, folder).unlink()

    def make_unreadable(self, user: str, name: str, folder: str = "INBOX") -> None:
        """Let the server see a message that it cannot read: a FETCH of it ends the session (imap.md 0.10)."""
        self.file(user, name, folder).chmod(0)

    def expunge(self, user: str, uid: int, folder: str = "INBOX") -> None:
        """Delete a message as another client does."""
        self.doveadm("expunge", "-u", user, "mailbox", folder, "uid", str(uid))

    def flags(self, user: str, name: str, folder: str = "INBOX") -> str:
        """The Maildir flags of a message: 'S' is \\Seen."""
        return self.file(user, name, folder).name.partition(":2,")[2]

    # ---- inside

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            # To all of them: after SIGTERM to the master alone, sessions in IDLE live on (imap.md 1).
            os.killpg(process.pid, how)
            process.wait(timeout=3)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        while self._answers():  # children that are not quite dead yet hold the port
            time.sleep(0.01)

    def _signal(self, what: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("not running")
        os.killpg(self._process.pid, what)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _greets(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
            return line.recv(4) == b"* OK"
        return False

    def _pids_of(self, title: str) -> list[int]:
        """The children of this master that call themselves so."""
        if self._process is None:
            raise RuntimeError("not running")
        pids = map(
            int, Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        )
        return [pid for pid in pids if _command_line(pid).startswith(title)]

    def _session_pids(self, user: str) -> list[int]:
        pids = []
        for line in self.doveadm("-f", "tab", "who", user).splitlines()[1:]:
            name, _, protocol, numbers, *_ = line.split("\t")
            if (name, protocol) == (user, "imap"):
                pids += [int(number) for number in numbers.strip("()").split()]
        return pids

    def _give_away(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)

    def _write_config(self) -> None:
        me = self._owner.pw_name
        root = os.geteuid() == 0
        config = _CONFIG.format(
            home=self.home,
            port=self.port,
            tls_port=self.tls_port,
            password=self.password,
            login_user="dovenull" if root else me,
            internal_user="dovecot" if root else me,
            internal_group="dovecot" if root else "",
            uid=self._owner.pw_uid,
            gid=self._owner.pw_gid,
        )
        (self.home / "dovecot.conf").write_text(config + self._extra_config)

    def _write_certificate(self) -> None:
        subprocess.run(
            [
                *(_program("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=tests"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(self.home / "key.pem"), "-out", str(self.home / "cert.pem")),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _command_line(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    return ""


def installed() -> bool:
    """Whether Dovecot can be run here."""
    return all(_find(name) for name in ("dovecot", "doveadm", "openssl"))


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


def _program(name: str) -> str:
    path = _find(name)
    if path is None:
        raise RuntimeError(INSTALL)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
