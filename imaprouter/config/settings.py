"""The settings as frozen values, one dataclass for each table of the file; the defaults are the contract's.

Nothing here reads a file. What the values may be is said in `values.LIMITS` and `checks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from imaprouter.errors import ConfigError
from imaprouter.policy import BindingPolicy, ReviewPolicy, RoutingPolicy
from imaprouter.timelines import ActivityKind, Transfer, condition, place

#: Marks a field that `x_file` and `x_env` can give too, and that is never printed.
SECRET = {"secret": True}
REQUIRED = {"required": True}
#: A number of bytes, written as a number or as "64KiB", "1MB".
Size = Annotated[int, "size"]
#: What a first connection handles: mail that arrives from now on, all of it, or what arrived since a day.
Start = Literal["new", "all"] | date

_WEBHOOK_CODE = re.compile(r"/rest/\d+/([^/]+)")


@dataclass(frozen=True, slots=True)
class PortalSettings:
    webhook_url: str = field(default="", repr=False, metadata=SECRET)
    requests_per_second: float = 2.0
    burst: int = 50
    timeout: timedelta = timedelta(seconds=30)
    #: A PEM file of authorities that replaces the usual ones; '' means those.
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    path: Path = Path("imaprouter.db")


@dataclass(frozen=True, slots=True)
class MailboxSettings:
    name: str = field(default="", metadata=REQUIRED)
    host: str = field(default="", metadata=REQUIRED)
    port: int = 0
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    #: A PEM file of authorities that replaces the system's; '' means the system's.
    ca_file: str = ""
    username: str = field(default="", metadata=REQUIRED)
    #: The access token when `auth` is 'xoauth2'.
    password: str = field(default="", repr=False, metadata=SECRET | REQUIRED)
    auth: Literal["login", "xoauth2"] = "login"
    folders: tuple[str, ...] = ("INBOX",)
    sent_folders: tuple[str, ...] = ("Sent",)
    #: Normalised addresses that deliver here.
    addresses: tuple[str, ...] = ()
    start: Start = "new"
    #: Lets `tls = "none"` leave this machine.
    allow_plaintext: bool = False


@dataclass(frozen=True, slots=True)
class CacheSettings:
    refresh_every: timedelta = timedelta(minutes=5)
    full_every: timedelta = timedelta(hours=24)
    live_lookup: bool = True


@dataclass(frozen=True, slots=True)
class LimitSettings:
    header_bytes: Size = 1_000_000


@dataclass(frozen=True, slots=True)
class AlertSettings:
    #: Ids of Bitrix24 users.
    users: tuple[int, ...] = ()
    #: So long a mailbox, or the portal, may fail before that is an incident.
    mailbox_after: timedelta = timedelta(minutes=10)
    #: So long a letter may wait for a person.
    review_after: timedelta = timedelta(hours=4)
    #: So old the deal index may be.
    index_after: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    #: 'host:port'; '' serves nothing.
    listen: str = ""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None for neither. ValueError when `listen` names no such thing."""
        if not self.listen:
            return None
        parts = urlsplit(f"//{self.listen}")
        if not parts.hostname or not parts.port or parts.path or parts.username is not None:
            raise ValueError("no host and port")
        return parts.hostname, parts.port


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """A standing rule: new activities go from these timelines to those."""

    source: str = field(default="", metadata=REQUIRED | {"key": "from"})
    to: str = field(default="", metadata=REQUIRED)
    kind: ActivityKind = "all"
    #: Conditions on the source: 'UF_CRM_FIRED=1'.
    where: tuple[str, ...] = ()
    keep: bool = False

    @property
    def transfer(self) -> Transfer:
        """The rule as a request. ValueError when it is none."""
        where = tuple(map(condition, self.where))
        return Transfer(place(self.source), place(self.to), self.kind, where, self.keep)


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, valid as a whole."""

    portal: PortalSettings | None = None
    store: StoreSettings = field(default_factory=StoreSettings)
    mailboxes: tuple[MailboxSettings, ...] = ()
    cache: CacheSettings = field(default_factory=CacheSettings)
    routing: RoutingPolicy = field(default_factory=RoutingPolicy)
    binding: BindingPolicy = field(default_factory=BindingPolicy)
    review: ReviewPolicy = field(default_factory=ReviewPolicy)
    limits: LimitSettings = field(default_factory=LimitSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    transfer: tuple[TransferSettings, ...] = ()
    #: The file that was read; None when there is none.
    source: Path | None = None
    #: Files through which every user of the machine can learn a secret: sentences for people.
    exposed: tuple[str, ...] = ()
    #: What works and should be changed all the same, `exposed` included: sentences for people.
    warnings: tuple[str, ...] = ()
    #: The files that secrets were read from, the configuration itself where it holds one.
    secret_files: tuple[Path, ...] = ()

    def require_portal(self) -> PortalSettings:
        """Return the portal's settings. ConfigError when the configuration names no portal."""
        if self.portal is None:
            raise self._missing("portal.webhook_url", "the address of an inbound webhook")
        return self.portal

    def require_mailboxes(self) -> tuple[MailboxSettings, ...]:
        """Return the mailboxes, at least one. ConfigError when the configuration names none."""
        if not self.mailboxes:
            raise self._missing("mailboxes", "a [[mailboxes]] table for each mailbox to watch")
        return self.mailboxes

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must appear in no log and no error: every SECRET field; of the webhook's address, its code."""
        return tuple(_secrets_in(self))

    def _missing(self, key: str, meaning: str) -> ConfigError:
        if self.source:
            return ConfigError(f"{self.source} has no {key}", problems=(f"{key}: is missing: {meaning}",))
        return ConfigError(
            "there is no configuration file: neither --config nor $IMAPROUTER_CONFIG, ./imaprouter.toml,"
            " /etc/imaprouter/imaprouter.toml",
            problems=(f"{key}: is missing: {meaning}",),
            advice="'imaprouter init' asks for what is needed and writes one",
        )


def _secrets_in(value: Any) -> Iterator[str]:
    """The non-empty SECRET fields of a settings dataclass and of those in it."""
    if isinstance(value, tuple):
        for each in value:
            yield from _secrets_in(each)
    if not is_dataclass(value):
        return
    for each in fields(value):
        inner = getattr(value, each.name)
        if not each.metadata.get("secret"):
            yield from _secrets_in(inner)
        elif inner:
            code = _WEBHOOK_CODE.search(inner) if each.name == "webhook_url" else None
            yield code[1] if code else inner
