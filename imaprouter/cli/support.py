"""`support-bundle`: one archive for asking for help, without secrets, letters, addresses and subjects."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from imaprouter.cli.app import App, opened_journal, pass_app
from imaprouter.errors import ConfigError, ImaprouterError
from imaprouter.log import MASK, mask

# Whatever stands around an @, as far as it is written without quotation.
_ADDRESS = re.compile(r"[^\s\"'<>,;:()\[\]{}|\\=/]+@[^\s\"'<>,;:()\[\]{}|\\=/]+")
_CREDENTIALS = re.compile(r"(\w://)[^/\s\"'@]*@")
_PARAMETER = re.compile(
    r"([?&](?:access_token|refresh_token|auth|client_secret|code|key|password|secret|sid|token)=)[^&\s\"']+",
    re.IGNORECASE,
)

_INSIDE = {
    "versions.json": "imaprouter, Python, SQLite, system and packages",
    "configuration.json": "every setting as it is in force, secrets as ***; mistakes and warnings",
    "status.json": "`imaprouter status --json`: folders, waiting messages, incidents, last errors",
    "counts.json": "rows of the index, messages of the journal, sizes of the files",
    "journal.json": "`imaprouter journal check`",
    "check.json": "`imaprouter check`",
}


@click.command("support-bundle")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--check", "with_check", is_flag=True, help="Ask mail servers and portal, too, as `check` does."
)
@click.option("--with-addresses", is_flag=True, help="Keep e-mail addresses and logins as they are.")
@pass_app
def support_bundle(app: App, file: Path | None, with_check: bool, with_addresses: bool) -> None:
    """Put what a helper needs to know into one archive (zip), and list what is in it.

    No secret is in it, and no letter: neither body nor subject. E-mail addresses and logins are numbered
    instead, one number for each, unless --with-addresses. Works with a broken configuration or journal, too,
    and changes nothing.

    \b
    Example:
        imaprouter support-bundle
        imaprouter support-bundle --check help.zip
    """
    from imaprouter.config.written import write_private

    app.start_log(default=-2)
    now = datetime.now(UTC)
    path = file or Path(f"imaprouter-support-{now:%Y%m%d-%H%M%S}.zip")
    scrubber = Scrubber(keep_addresses=with_addresses)
    parts: dict[str, Callable[[], object]] = {
        "versions.json": _versions,
        # Before the rest: it says which texts are secrets and logins.
        "configuration.json": lambda: _configuration(app, scrubber),
        "status.json": lambda: _status(app),
        "counts.json": lambda: _counts(app),
        "journal.json": lambda: _journal(app),
    }
    if with_check:
        parts["check.json"] = lambda: _check(app)
    texts = {name: _text(scrubber.scrubbed(_tried(part))) for name, part in parts.items()}
    texts["README.txt"] = _readme(texts, now, with_addresses=with_addresses)
    write_private({path: _archive(texts)})
    for name, text in texts.items():
        click.echo(f"{name:<20}{len(text.encode()):>8}  {_INSIDE.get(name, 'this list')}")
    click.echo(f"written: {path}, mode 0600; look into it before you send it", err=True)


class Scrubber:
    """Takes out of values what nobody else shall read; the same address has the same number everywhere."""

    def __init__(self, *, keep_addresses: bool) -> None:
        self._keep = keep_addresses
        self._numbers: dict[str, int] = {}
        self._logins: list[str] = []

    def note_login(self, login: str) -> None:
        """A login that is no address cannot be told from other words, unless one knows it."""
        if len(login) > 2 and login not in self._logins:
            self._logins.append(login)

    def scrubbed(self, value: object) -> object:
        """The value as JSON can hold it, without secrets and, unless they are kept, addresses."""
        match value:
            case None | bool() | int() | float():
                return value
            case Mapping():
                return {self._text(str(key)): self.scrubbed(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.scrubbed(item) for item in value]
            case _:
                return self._text(str(value))

    def _text(self, text: str) -> str:
        text = _PARAMETER.sub(rf"\1{MASK}", _CREDENTIALS.sub(rf"\1{MASK}@", mask(text)))
        if self._keep:
            return text
        text = _ADDRESS.sub(lambda found: self._named(found[0]), text)
        for login in sorted(self._logins, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(login)}(?!\w)", lambda found: self._named(found[0]), text)
        return text

    def _named(self, address: str) -> str:
        if address.startswith(MASK):
            return address
        number = self._numbers.setdefault(address.strip(".").casefold(), len(self._numbers) + 1)
        return f"address-{number}"


def _tried(part: Callable[[], object]) -> object:
    """What a part says; where it cannot, why: that is what help is asked for."""
    try:
        return part()
    except ImaprouterError as error:
        problems = error.problems if isinstance(error, ConfigError) else ()
        return {"error": error.message, "advice": error.advice, "problems": problems}
    except Exception as error:
        # A defect of ours in one part is worth telling, and must not cost the others.
        return {"error": f"{type(error).__name__}: {error}"}


def _versions() -> dict[str, object]:
    from imaprouter.store.database import SQLITE_VERSION

    packages = sorted({(found.name, found.version) for found in metadata.distributions()})
    return {
        "imaprouter": metadata.version("imaprouter"),
        "python": sys.version,
        "sqlite": SQLITE_VERSION,
        "system": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "packages": dict(packages),
    }


def _configuration(app: App, scrubber: Scrubber) -> dict[str, object]:
    draft = app.draft()
    for mailbox in draft.settings.mailboxes:
        scrubber.note_login(mailbox.username)
    return {"settings": shown(draft.settings), "problems": draft.problems}


def shown(value: object) -> object:
    """Settings as values of JSON; a secret that is set is `***`."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: _shown_secret(getattr(value, each.name))
            if each.metadata.get("secret")
            else shown(getattr(value, each.name))
            for each in fields(value)
        }
    match value:
        case None | bool() | int() | float() | str():
            return value
        case timedelta():
            return f"{value.total_seconds():g}s"
        case date():
            return value.isoformat()
        case Mapping():
            return {str(key): shown(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [shown(item) for item in value]
        case _:
            return str(value)


def _shown_secret(value: object) -> str:
    return MASK if value else ""


def _status(app: App) -> object:
    from imaprouter.cli.status import as_values, standing_of
    from imaprouter.store.lock import is_held

    standing, incidents = standing_of(app)
    return as_values(standing, incidents, is_held(app.settings.store.path))


def _counts(app: App) -> dict[str, object]:
    from imaprouter.store.index import Index, index_path

    path = app.settings.store.path
    counts: dict[str, object] = {
        "bytes": {each.name: each.stat().st_size for each in (path, index_path(path)) if each.exists()}
    }
    if index_path(path).exists():
        with closing(Index(index_path(path), readonly=True)) as index:
            counts["index"] = index.counts()
    with opened_journal(app, readonly=True) as journal:
        counts["messages"] = journal.messages.count()
    return counts


def _journal(app: App) -> list[dict[str, object]]:
    from imaprouter.store.soundness import examine

    return [
        {"check": found.name, "ok": found.ok, "detail": found.detail, "advice": found.advice}
        for found in examine(app.settings.store.path)
    ]


def _check(app: App) -> list[dict[str, str]]:
    from imaprouter.cli.check import all_checks, as_values

    return [as_values(found) for found in all_checks(app)]


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _readme(names: Mapping[str, Any], now: datetime, *, with_addresses: bool) -> str:
    kept = "as they are" if with_addresses else "replaced by numbers"
    lines = [f"Made by `imaprouter support-bundle` at {now.isoformat(timespec='seconds')}.", ""]
    lines += [f"{name:<20}{_INSIDE[name]}" for name in names]
    lines += [
        "",
        "No secrets; no bodies and no subjects of letters.",
        f"Addresses and logins are {kept}.",
        "",
    ]
    return "\n".join(lines)


def _archive(texts: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return file.getvalue()
