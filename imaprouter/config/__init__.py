"""The configuration: TOML and environment variables into frozen settings, all mistakes told at once.

`find_config` looks where the contract says, `load` reads and checks. Relative paths in the file mean the
file's own folder; only `store.path` prefers systemd's $STATE_DIRECTORY. The environment outranks the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from imaprouter.address import normalise
from imaprouter.config.checks import (
    mailbox_problems,
    mailboxes_problems,
    metrics_problems,
    portal_problems,
    routing_problems,
    transfer_problems,
    without_effect,
)
from imaprouter.config.environment import PREFIX, overlay
from imaprouter.config.reader import FORMS, Reader, open_to_all
from imaprouter.config.settings import (
    AlertSettings,
    CacheSettings,
    LimitSettings,
    MailboxSettings,
    MetricsSettings,
    PortalSettings,
    Settings,
    StoreSettings,
    TransferSettings,
)
from imaprouter.errors import ConfigError
from imaprouter.policy import BindingPolicy, ReviewPolicy, RoutingPolicy

__all__ = [
    "NOT_SECTIONS",
    "AlertSettings",
    "CacheSettings",
    "Draft",
    "LimitSettings",
    "MailboxSettings",
    "MetricsSettings",
    "PortalSettings",
    "Settings",
    "StoreSettings",
    "TransferSettings",
    "draft",
    "find_config",
    "load",
    "open_to_all",
]

#: Fields of Settings that no table of the file fills.
NOT_SECTIONS = frozenset({"source", "exposed", "warnings", "secret_files"})
_SECTIONS = [item.name for item in fields(Settings) if item.name not in NOT_SECTIONS]
_OAUTH = ("client_id", "client_secret", "refresh_token", "endpoint")
_PORTS = {"implicit": 993, "starttls": 143, "none": 143}


def find_config(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read, None when there is none.

    --config and $IMAPROUTER_CONFIG are taken at their word, even when there is no such file; then come
    ./imaprouter.toml and /etc/imaprouter/imaprouter.toml.
    """
    if explicit is not None:
        return explicit
    if environ.get("IMAPROUTER_CONFIG"):
        return Path(environ["IMAPROUTER_CONFIG"])
    usual = (Path("imaprouter.toml"), Path("/etc/imaprouter/imaprouter.toml"))
    return next((path for path in usual if _is_there(path)), None)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        # A folder that only the service may enter: reading the file will tell the user.
        return True


@dataclass(frozen=True, slots=True)
class Draft:
    """A configuration with its mistakes; what is wrong has its default in `settings`."""

    settings: Settings
    #: Sentences that begin by a key, or by the variable that gave it.
    problems: tuple[str, ...]

    def is_sound(self, section: str, number: int | None = None) -> bool:
        """Whether no mistake is in this section; with `number`, in that table of it or in all of them."""
        begins = [f"{section}.", f"{section}:", f"{section}[", f"{PREFIX}{section.upper()}_"]
        if number is not None:
            begins = [f"{section}[{number}]", f"{section}:", f"{PREFIX}{section.upper()}__{number}__"]
        return not any(problem.startswith(tuple(begins)) for problem in self.problems)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read a file, None for none, and the environment. Raises ConfigError with every problem at once."""
    read = draft(path, environ)
    if read.problems:
        what = f"{path}" if path else "the configuration (there is no file, only the environment)"
        many = "1 mistake" if len(read.problems) == 1 else f"{len(read.problems)} mistakes"
        raise ConfigError(f"{what}: {many}", problems=read.problems)
    return read.settings


def draft(path: Path | None, environ: Mapping[str, str]) -> Draft:
    """As `load`, with the problems beside what is right. ConfigError for a file that cannot be read."""
    document, mode = _document(path) if path else ({}, 0)
    reader = Reader(path.absolute().parent if path else Path.cwd(), environ)
    reader.problems += overlay(document, environ)
    for name in document:
        if name not in _SECTIONS:
            reader.unknown(name, name, _SECTIONS)
    settings = _settings(document, reader, environ)
    if path and reader.inline_secrets:
        reader.secret_files.append(path)
    reader.exposed += _exposure(path, mode, reader.inline_secrets)
    reader.warnings += [*reader.exposed, *without_effect(settings)]
    settings = replace(
        settings,
        source=path,
        exposed=tuple(reader.exposed),
        warnings=tuple(reader.warnings),
        secret_files=tuple(reader.secret_files),
    )
    return Draft(settings, tuple(reader.problems))


def _exposure(path: Path | None, mode: int, inline_secrets: list[str]) -> Iterator[str]:
    """Reading gives away what stands in the file; writing gives away every secret, to a host of one's own."""
    keys = ", ".join(inline_secrets)
    if path is None:
        return
    if open_to_all(path, mode) == "read" and keys:
        yield f"every user of this machine can read {path}, which holds {keys}: chmod 600 {path}"
    elif open_to_all(path, mode & ~0o004) == "change":
        yield f"every user of this machine can change {path}, and so learn its secrets: chmod 600 {path}"


def _document(path: Path) -> tuple[dict[str, Any], int]:
    """Read the file as TOML, and its mode."""
    try:
        # Editors of Windows begin UTF-8 files with a byte order mark.
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        return document, path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML: its values are nested too deeply") from None


def _settings(document: dict[str, Any], reader: Reader, environ: Mapping[str, str]) -> Settings:
    def section(name: str) -> Any:
        return document.get(name, {})

    settings = Settings(
        portal=_portal(section("portal"), reader),
        store=_store(reader.table(StoreSettings, section("store"), "store"), reader, environ),
        mailboxes=_mailboxes(document.get("mailboxes", []), reader),
        cache=reader.table(CacheSettings, section("cache"), "cache"),
        routing=_routing(reader.table(RoutingPolicy, section("routing"), "routing"), reader),
        binding=reader.table(BindingPolicy, section("binding"), "binding"),
        review=reader.table(ReviewPolicy, section("review"), "review"),
        limits=reader.table(LimitSettings, section("limits"), "limits"),
        alerts=reader.table(AlertSettings, section("alerts"), "alerts"),
        metrics=reader.table(MetricsSettings, section("metrics"), "metrics"),
        transfer=_transfers(document.get("transfer", []), reader),
    )
    wrong = list(metrics_problems(settings.metrics))
    reader.problems += wrong
    return replace(settings, metrics=MetricsSettings()) if wrong else settings


def _portal(raw: Any, reader: Reader) -> PortalSettings | None:
    """Read [portal]; None when it names no portal."""
    if isinstance(raw, dict):
        oauth = [key for name in _OAUTH for form in FORMS if (key := f"{name}{form}") in raw]
        for key in oauth:
            reader.problem(
                f"portal.{key}", "OAuth is not supported by this version; give a webhook_url instead"
            )
        raw = {key: value for key, value in raw.items() if key not in oauth}
    portal = reader.table(PortalSettings, raw, "portal")
    portal = replace(
        portal,
        webhook_url=portal.webhook_url.strip(),
        ca_file=reader.authorities(portal.ca_file, "portal.ca_file"),
    )
    reader.problems += portal_problems(portal)
    return portal if portal.webhook_url else None


def _store(store: StoreSettings, reader: Reader, environ: Mapping[str, str]) -> StoreSettings:
    states = environ.get("STATE_DIRECTORY", "").split(":")[0]
    return StoreSettings((Path(states) if states else reader.folder) / store.path)


def _mailboxes(raw: Any, reader: Reader) -> tuple[MailboxSettings, ...]:
    if not isinstance(raw, list):
        reader.problem("mailboxes", "expected [[mailboxes]], with two brackets, once for each mailbox")
        return ()
    mailboxes = []
    for number, table in enumerate(raw):
        where = f"mailboxes[{number}]"
        mailbox = reader.table(MailboxSettings, table, where)
        addresses = mailbox.addresses or ((mailbox.username,) if normalise(mailbox.username) else ())
        mailbox = replace(
            mailbox,
            port=mailbox.port or _PORTS[mailbox.tls],
            ca_file=reader.authorities(mailbox.ca_file, f"{where}.ca_file"),
            addresses=addresses,
        )
        reader.problems += mailbox_problems(mailbox, where)
        mailboxes.append(replace(mailbox, addresses=tuple(map(normalise, addresses))))
    reader.problems += mailboxes_problems(mailboxes)
    return tuple(mailboxes)


def _transfers(raw: Any, reader: Reader) -> tuple[TransferSettings, ...]:
    """The standing rules that have no mistake."""
    if not isinstance(raw, list):
        reader.problem("transfer", "expected [[transfer]], with two brackets, once for each rule")
        return ()
    rules = []
    for number, table in enumerate(raw):
        where, before = f"transfer[{number}]", len(reader.problems)
        rule = reader.table(TransferSettings, table, where)
        if len(reader.problems) == before:
            reader.problems += transfer_problems(rule, where)
        if len(reader.problems) == before:
            rules.append(rule)
    return tuple(rules)


def _routing(routing: RoutingPolicy, reader: Reader) -> RoutingPolicy:
    """Check the rules' policies, and write the addresses in them as they are compared."""
    reader.problems += routing_problems(routing)
    category = {normalise(alias): pipeline for alias, pipeline in routing.address.category.items()}
    aliases = {
        normalise(user): tuple(map(normalise, others))
        for user, others in routing.participants.user_aliases.items()
    }
    return replace(
        routing,
        address=replace(routing.address, category=category),
        participants=replace(routing.participants, user_aliases=aliases),
    )
