"""A first configuration as a file: a commented text out of a few answers, and how it reaches the disk.

`compose` is pure; `write_private` is the one place of this room that writes.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imaprouter.config.settings import MailboxSettings
from imaprouter.errors import ConfigError

PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Answers:
    """What a first configuration consists of."""

    webhook_url: str = field(repr=False)
    mailboxes: tuple[MailboxSettings, ...]
    mode: Literal["observe", "act"] = "observe"
    portal_ca_file: str = ""
    #: The spam folders that were found, by mailbox: named in the file, not watched.
    spam: Mapping[str, str] = field(default_factory=dict)


def compose(answers: Answers, path: Path, *, secret_files: bool) -> dict[Path, str | bytes]:
    """Return the files to write, the configuration at `path` the last of them.

    `secret_files`: secrets stand in files beside it instead of in the configuration.
    """
    files: dict[Path, str | bytes] = {}

    def secret(key: str, value: str, name: str) -> str:
        if not secret_files:
            return f"{key} = {quoted(value)}"
        files[path.with_name(name)] = f"{value}\n"
        return f"{key}_file = {quoted(name)}"

    lines = [
        "# imaprouter's configuration. `imaprouter check` says whether all is well.",
        "# config.example.toml has every key, with its default.",
        "",
        "[portal]",
        "# An inbound webhook; its address is a password.",
        secret("webhook_url", answers.webhook_url, f"{path.stem}.webhook"),
        *([f"ca_file = {quoted(answers.portal_ca_file)}"] if answers.portal_ca_file else []),
        "",
        "[store]",
        f"path = {quoted(f'{path.stem}.db')}  # the journal: back it up",
    ]
    for mailbox in answers.mailboxes:
        password = secret("password", mailbox.password, f"{path.stem}.{mailbox.name}.password")
        lines += ["", *_mailbox(mailbox, password, answers.spam.get(mailbox.name, ""))]
    lines += ["", *_binding(answers.mode), ""]
    files[path] = "\n".join(lines)
    return files


def _mailbox(mailbox: MailboxSettings, password: str, spam: str) -> list[str]:
    plain = ["allow_plaintext = true  # everybody on the way can read the password"]
    lines = [
        "[[mailboxes]]",
        f"name = {quoted(mailbox.name)}  # how commands and logs call it",
        f"host = {quoted(mailbox.host)}",
        f"port = {mailbox.port}",
        f'tls = "{mailbox.tls}"  # implicit | starttls | none',
        *(plain if mailbox.allow_plaintext else []),
        *([f"ca_file = {quoted(mailbox.ca_file)}"] if mailbox.ca_file else []),
        f"username = {quoted(mailbox.username)}",
        password,
        f"folders = {_list(mailbox.folders)}  # incoming mail",
    ]
    if spam:
        lines.append(
            f"# Spam is in {quoted(spam)}: Bitrix24 makes no activities of it, so it is not watched."
        )
    lines += [
        f"sent_folders = {_list(mailbox.sent_folders)}  # learns Message-IDs and routes outgoing mail",
        f"addresses = {_list(mailbox.addresses)}  # all that deliver here",
        'start = "new"  # new | all | a date: what a first connection handles',
    ]
    return lines


def _binding(mode: str) -> list[str]:
    return [
        "[binding]",
        '# "observe" decides and records, and writes nothing to the portal; `imaprouter status --observed`',
        '# lists what it would have done. After the first week write "act", and send the service SIGHUP.',
        f'mode = "{mode}"',
    ]


def quoted(text: str) -> str:
    """A text as a basic string of TOML."""
    # JSON escapes all that TOML forbids, but for this one.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(texts: tuple[str, ...]) -> str:
    return f"[{', '.join(map(quoted, texts))}]"


def write_private(files: Mapping[Path, str | bytes], *, overwrite: bool = False) -> None:
    """Write files of mode 0600, each whole or not at all; nothing is written when one cannot be.

    Raises ConfigError, also for one that is there already unless `overwrite`.
    """
    drafts: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            # Through a link to the file that is meant: the link stays.
            target = path.resolve()
            if target.exists() and not overwrite:
                raise FileExistsError(17, "is there already", str(path))
            drafts[target] = _draft(target, content.encode() if isinstance(content, str) else content)
        for target, draft in drafts.items():
            _place(draft, target, overwrite=overwrite)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _draft(target: Path, content: bytes) -> Path:
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _place(draft: Path, target: Path, *, overwrite: bool) -> None:
    """Give the draft its name; without `overwrite` never that of a file which came meanwhile."""
    if not overwrite:
        try:
            target.hardlink_to(draft)
        except FileExistsError:
            raise
        except OSError:
            # A file system without links, where no moment is safe but this one is short.
            if target.exists():
                raise
        else:
            return
    draft.replace(target)
