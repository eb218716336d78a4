"""What the type of a setting cannot say: patterns, addresses, encryption, names. Pure; yields problems."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urlsplit

from imaprouter.address import normalise
from imaprouter.config.settings import (
    MailboxSettings,
    MetricsSettings,
    PortalSettings,
    Settings,
    TransferSettings,
)
from imaprouter.policy import RoutingPolicy
from imaprouter.timelines import condition, place, problem

# What stands in front of the first semicolon; `*.yandex.net` where each machine has a name of its own.
_SERVER_NAME = re.compile(r"(?:\*\.[\w-]+\.)?[\w.-]+")
_WEBHOOK_PATH = re.compile(r"(/[^/?#]+)*/rest/\d+/[^/?#]+/?")


def portal_problems(portal: PortalSettings) -> Iterator[str]:
    """The address must be an inbound webhook's, encrypted; its code is not repeated."""
    if not portal.webhook_url:
        return
    key = "portal.webhook_url"
    try:
        parts = urlsplit(portal.webhook_url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or parts.query or parts.fragment or parts.username or not _WEBHOOK_PATH.fullmatch(parts.path):
        yield f"{key}: expected the address of an inbound webhook, https://company.bitrix24.ru/rest/1/secretcode/"
    elif parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        yield f"{key}: must start with https://, or its code can be read on the way to {host}"


def mailbox_problems(mailbox: MailboxSettings, where: str) -> Iterator[str]:
    """What one [[mailboxes]] table must not hold."""
    if (
        mailbox.tls == "none"
        and not mailbox.allow_plaintext
        and mailbox.host
        and not is_loopback(mailbox.host)
    ):
        yield (
            f'{where}.tls: "none" lets everybody on the way to {mailbox.host} read the password; '
            "allow_plaintext = true accepts that"
        )
    if not mailbox.folders and not mailbox.sent_folders:
        yield f"{where}.folders: is empty, and so is sent_folders: there is nothing to watch"
    folders = mailbox.folders + mailbox.sent_folders
    yield from (f"{where}.folders: {name!r} is named twice" for name in _repeated(folders))
    if "" in folders:
        yield f"{where}.folders: a folder without a name"
    if mailbox.username and not mailbox.addresses:
        yield f"{where}.addresses: is missing, and the username is no address: name those that deliver here"
    yield from _address_problems(mailbox.addresses, f"{where}.addresses")


def mailboxes_problems(mailboxes: Iterable[MailboxSettings]) -> Iterator[str]:
    """Mailboxes are told apart by their names."""
    names = [mailbox.name for mailbox in mailboxes if mailbox.name]
    yield from (f"mailboxes: two of them are named {name!r}" for name in _repeated(names))


def routing_problems(routing: RoutingPolicy) -> Iterator[str]:
    """Rules once each, patterns that find a deal, addresses that are addresses."""
    yield from (f"routing.rules: {name!r} is named twice" for name in _repeated(routing.rules))
    for number, pattern in enumerate(routing.marker.patterns):
        yield from _pattern_problems(pattern, f"routing.marker.patterns[{number}]")
    if routing.address.plus_tag:
        yield from _pattern_problems(routing.address.plus_tag, "routing.address.plus_tag")
    yield from _address_problems(routing.address.category, "routing.address.category")
    for user, aliases in routing.participants.user_aliases.items():
        yield from _address_problems((user, *aliases), "routing.participants.user_aliases")
    if routing.trust.authentication != "off" and not routing.trust.authserv_ids:
        yield (
            f'routing.trust.authserv_ids: is empty, but authentication = "{routing.trust.authentication}" '
            "believes only the servers that are named here"
        )
    yield from (
        f"routing.trust.authserv_ids: {name!r} is no name of a server"
        for name in routing.trust.authserv_ids
        if not _SERVER_NAME.fullmatch(name)
    )


def metrics_problems(metrics: MetricsSettings) -> Iterator[str]:
    """An address to listen on is a host and a port."""
    try:
        _ = metrics.address
    except ValueError:
        yield f'metrics.listen: expected host and port such as "127.0.0.1:9108", not "{metrics.listen}"'


def transfer_problems(rule: TransferSettings, where: str) -> Iterator[str]:
    """Places and conditions that can be read, and a way that there is."""
    parts: list[tuple[str, Callable[[str], object], str]] = [
        ("from", place, rule.source),
        ("to", place, rule.to),
        *(("where", condition, each) for each in rule.where),
    ]
    unread = False
    for name, read, text in parts:
        try:
            read(text)
        except ValueError as error:
            unread = True
            yield f'{where}.{name}: {error}, not "{text}"'
    if not unread and (wrong := problem(rule.transfer)):
        yield f"{where}: {wrong}"


def is_loopback(host: str) -> bool:
    """Say whether a host name or address means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _pattern_problems(pattern: str, key: str) -> Iterator[str]:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        yield f"{key}: {pattern!r} is no regular expression: {error}"
        return
    if "deal" not in groups:
        yield f"{key}: {pattern!r} has no group named deal: (?P<deal>\\d+)"


def _address_problems(addresses: Iterable[str], key: str) -> Iterator[str]:
    yield from (f"{key}: {text!r} is no e-mail address" for text in addresses if not normalise(text))


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def without_effect(settings: Settings) -> Iterator[str]:
    """What may be written and does nothing beside another setting."""
    if settings.binding.create_missing and settings.binding.mode == "observe":
        yield 'binding.create_missing: nothing is saved while binding.mode is "observe"'
    if settings.alerts.users and settings.binding.mode == "observe":
        yield 'alerts.users: nobody is told anything while binding.mode is "observe"'
    if settings.review.notify and settings.binding.mode == "observe":
        yield 'review.notify: nobody is asked while binding.mode is "observe"'
    if settings.transfer and settings.binding.mode == "observe":
        yield 'transfer: nothing is moved while binding.mode is "observe"'
    if settings.review.users and not settings.review.notify:
        yield "review.users: nobody is asked without review.notify = true"
