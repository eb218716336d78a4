"""The webhook address: it holds a secret code, so it is never printed whole."""

from __future__ import annotations

import ipaddress
import logging
import re
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, urljoin, urlsplit

from imaprouter.errors import ConfigError
from imaprouter.log import mask
from imaprouter.model import Target

_PATH = re.compile(r"(?P<base>(?:/[^/?#]+)*)/rest/(?P<user>\d+)/(?P<code>[^/?#]+)/?[\w.]*")
_LOGGERS = {
    "httpx": logging.WARNING,
    "httpcore.connection": logging.WARNING,
    "httpcore.http11": logging.WARNING,
    "httpcore.proxy": logging.WARNING,
    "httpcore.socks": logging.WARNING,
    # `patience` says the same, and how long the wait is.
    "stamina": logging.ERROR,
}


def host_of(url: str) -> str:
    """The host name of an address, '' when it has none or is no address."""
    parts = _split(url)
    return (parts.hostname or "") if parts else ""


def _split(url: str, base: str = "") -> SplitResult | None:
    """The parts of an address, relative ones as seen from `base`; None when it names no host, or no port."""
    try:
        parts = urlsplit(urljoin(base, url))
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


@dataclass(frozen=True, slots=True, repr=False)
class Webhook:
    """An inbound webhook, `https://company.bitrix24.ru/rest/1/code/`, taken apart."""

    #: Scheme, host and port, and the folder of an installation that has one: `https://company.bitrix24.ru`.
    origin: str
    user_id: int
    code: str

    @classmethod
    def parse(cls, url: str) -> Webhook:
        """Take an address apart. ConfigError, without the code, when it is no webhook's or not encrypted."""
        parts = _split(url.strip())
        path = _PATH.fullmatch(parts.path) if parts else None
        if parts is None or path is None or parts.username:
            raise ConfigError(
                "portal.webhook_url is not the address of an inbound webhook",
                advice="it looks like https://company.bitrix24.ru/rest/1/secretcode/",
            )
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host_of(url))):
            raise ConfigError(f"portal.webhook_url of {parts.hostname} must start with https://")
        return cls(f"{parts.scheme}://{parts.netloc}{path['base']}", int(path["user"]), path["code"])

    def url(self, method: str) -> str:
        """The address of one method. It is a secret."""
        return f"{self.origin}/rest/{self.user_id}/{self.code}/{method}"

    def url_v3(self, method: str) -> str:
        """The address of one method of REST 3 (rest.md 1.9). It is a secret."""
        return f"{self.origin}/rest/api/{self.user_id}/{self.code}/{method}"

    def page(self, target: Target) -> str:
        """The page of a deal, company, contact or lead (rest.md 5.1)."""
        return f"{self.origin}/crm/{target.type}/details/{target.id}/"

    @property
    def masked(self) -> str:
        return f"{self.origin}/rest/{self.user_id}/***/"

    def moved_to(self, location: str) -> Webhook | None:
        """This webhook at the portal's new name, which a redirect gave; None when that is not its address.

        The location holds the path of the called method too (rest.md 1.1). A step down from https is refused,
        and so is a page that is not REST: the code is not sent there.
        """
        parts = _split(location, self.origin)
        if parts is None:
            return None
        base, rest, _ = parts.path.partition(f"/rest/{self.user_id}/{self.code}/")
        if not rest:
            base, rest, _ = parts.path.partition(f"/rest/api/{self.user_id}/{self.code}/")
        secure = parts.scheme == "https" or (
            self.origin.startswith("http://") and _is_loopback(host_of(location))
        )
        if not rest or not secure:
            return None
        return replace(self, origin=f"{parts.scheme}://{parts.netloc}{base}")

    def __repr__(self) -> str:
        return f"Webhook({self.masked!r})"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Masking(logging.Filter):
    """Masks webhook codes: httpx prints each address at INFO, httpcore the Location header at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = mask(record.getMessage()), None
        return True


_MASKING = _Masking()


def hush_http_loggers() -> None:
    """Mask what the HTTP libraries log; unless a level was set, silence their line per request and retry."""
    for name, level in _LOGGERS.items():
        logger = logging.getLogger(name)
        logger.addFilter(_MASKING)
        if logger.level == logging.NOTSET:
            logger.setLevel(level)
