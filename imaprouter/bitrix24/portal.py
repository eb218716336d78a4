"""Requests to one Bitrix24 portal: its rate, its errors, retries, batches. The only importer of httpx."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any, Protocol

import httpx
import msgspec
import stamina
from pyrate_limiter import Rate, RateItem, StateBucket
from pyrate_limiter.abstracts.algorithm import TokenBucket

from imaprouter.bitrix24 import commands as batches
from imaprouter.bitrix24.budget import Budgets
from imaprouter.bitrix24.commands import Answer, Command
from imaprouter.bitrix24.failures import failure
from imaprouter.bitrix24.patience import ATTEMPTS, Patience
from imaprouter.bitrix24.webhook import Webhook, host_of, hush_http_loggers
from imaprouter.errors import ConfigError, PortalBusy, PortalError, PortalOutcomeUnknown, PortalUnreachable
from imaprouter.log import mask, register_secret
from imaprouter.model import Target

_log = logging.getLogger(__name__)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LARGEST_REPLY = 64 * 1024 * 1024
#: Raised before a byte of the request has left.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@dataclass(frozen=True, slots=True)
class _V3:
    """A request goes to REST 3."""

    #: Under which the portal knows a repeat of it; '' for none.
    key: str


class PortalChoices(Protocol):
    """What a configuration says of a portal; see `Portal`."""

    @property
    def webhook_url(self) -> str: ...
    @property
    def requests_per_second(self) -> float: ...
    @property
    def burst(self) -> int: ...
    @property
    def timeout(self) -> timedelta: ...
    @property
    def ca_file(self) -> str: ...


class Portal:
    """One portal, reached through an inbound webhook. Threads may share it; making one does no I/O.

    `timeout` bounds one request as a whole; `patience` all attempts at one request with the waits between
    them. Every wait ends within a moment when `stop` is set, and no further request is sent then.
    """

    def __init__(
        self,
        webhook_url: str,
        *,
        requests_per_second: float = 2.0,
        burst: int = 50,
        timeout: timedelta = timedelta(seconds=30),
        ca_file: str = "",
        patience: timedelta = timedelta(minutes=2),
        stop: threading.Event | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """ConfigError when `webhook_url` is none, or `ca_file` no use. `transport` replaces the network."""
        hush_http_loggers()
        self._webhook = Webhook.parse(webhook_url)
        # A portal may repeat it, in errors that end up in the journal.
        register_secret(self._webhook.code)
        self._timeout = timeout.total_seconds()
        self._patience = patience.total_seconds()
        self._stop = stop or threading.Event()
        # Requests per 1,000 seconds, since the library counts in whole numbers. One token stays in reserve:
        # requests may reach the portal closer together than they left.
        self._limits = max(1, round(requests_per_second * 1000)), max(1, burst - 1)
        rate = Rate(self._limits[0], 1_000_000, burst=self._limits[1])
        self._budgets = Budgets()
        self._bucket = StateBucket([rate], TokenBucket())
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        #: HTTP requests sent so far, which is what the portal's bucket counts.
        self.requests_used = 0
        encrypted = self._webhook.origin.startswith("https://")
        self._client = httpx.Client(
            headers={"Accept": "application/json", "User-Agent": f"imaprouter/{_version()}"},
            timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, 10.0)),
            follow_redirects=False,
            # A proxy of the environment is for the outside, not for a sandbox on this machine.
            trust_env=encrypted,
            verify=_tls_context(ca_file) if encrypted and transport is None else True,
            transport=transport,
        )

    @classmethod
    def configured(
        cls, choices: PortalChoices, *, stop: threading.Event | None = None, share: float = 1.0
    ) -> Portal:
        """The portal that a configuration names. ConfigError as for the constructor.

        `share` of its request budget: long work leaves the rest to the service and to others.
        """
        return cls(
            choices.webhook_url,
            requests_per_second=choices.requests_per_second * share,
            burst=max(min(2, choices.burst), round(choices.burst * share)),
            timeout=choices.timeout,
            ca_file=choices.ca_file,
            stop=stop,
        )

    def call(self, method: str, params: Mapping[str, Any] | None = None, *, read: bool) -> Any:
        """The `result` of one method. `read` says that repeating it changes nothing.

        PortalUnreachable, PortalBusy: nothing was executed, also not by the retries. PortalOutcomeUnknown: no
        usable answer; read before repeating a write. PortalDenied, PortalRefused: repeating is useless.
        """
        return self._request(method, params or {}, read=read)["result"]

    def call_v3(self, method: str, params: Mapping[str, Any], *, read: bool, key: str = "") -> Any:
        """The same of REST 3, which has an address of its own (rest.md 1.9).

        With a `key` the portal carries a write out once within 24 hours and answers a repeat as the first.
        """
        return self._request(method, params, read=read, v3=_V3(key))["result"]

    def batch(self, commands: Sequence[Command]) -> list[Answer]:
        """What each command came to, in their order: the value of its result, or its PortalError.

        Fifty commands are one request. There is no transaction, and a failed command stops none behind it;
        when a whole request fails, its commands have that error and those behind it are not sent.
        """
        found: list[Answer] = []
        for start in range(0, len(commands), batches.BATCH_SIZE):
            group = commands[start : start + batches.BATCH_SIZE]
            read = all(command.read for command in group)
            try:
                reply = self._request(batches.BATCH, batches.body(group), read=read)
            except PortalError as error:
                found += [error] * len(group)
                not_sent = PortalUnreachable(f"not sent, since the request before it failed: {error.message}")
                return found + [not_sent] * (len(commands) - len(found))
            found += self._answers(group, reply["result"])
        return found

    def succeed(self, predecessor: Portal) -> None:
        """Go on counting where a client of the same portal left off, if its limits are the same.

        Nobody may use the predecessor from then on.
        """
        if host_of(self._webhook.origin) != host_of(predecessor._webhook.origin):
            return
        self._budgets = predecessor._budgets
        self.requests_used = predecessor.requests_used
        if self._limits == predecessor._limits:
            self._bucket = predecessor._bucket

    @property
    def base_url_masked(self) -> str:
        """The webhook's address with `***` for its code."""
        return self._webhook.masked

    def link(self, target: Target) -> str:
        """The page of a deal, company, contact or lead (rest.md 5.1)."""
        return self._webhook.page(target)

    def pause(self, seconds: float) -> None:
        """Wait. PortalUnreachable when `stop` is set before or meanwhile."""
        if self._stop.wait(seconds):
            raise PortalUnreachable("stopped before the request was sent")

    def abort(self) -> None:
        """Break off the requests that other threads are waiting for; their outcome is unknown."""
        with self._lock:
            connections = list(self._sockets)
        for connection in connections:
            # It may be closed already. SSLSocket's own method takes the TLS state from under its reader.
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give up the connections."""
        self._client.close()

    def __repr__(self) -> str:
        return f"Portal({self.base_url_masked!r})"

    def _request(
        self, method: str, params: Mapping[str, Any], *, read: bool, v3: _V3 | None = None
    ) -> dict[str, Any]:
        """The reply to one request, repeated as far as that is safe and promising."""
        patience = Patience(read=read, seconds=self._patience, stop=self._stop)
        for attempt in stamina.retry_context(on=patience, attempts=ATTEMPTS, timeout=None):
            with attempt:
                try:
                    return self._post(method, params, v3)
                except PortalBusy as error:
                    self._budgets.complete(error, datetime.now(UTC))
                    raise
        raise AssertionError("stamina returns or raises")

    def _post(self, method: str, params: Mapping[str, Any], v3: _V3 | None) -> dict[str, Any]:
        for _ in range(3):
            webhook = self._webhook
            self._wait_for_turn()
            status, location, content = self._exchange(webhook, method, params, v3)
            if status not in _REDIRECTS:
                reply = _reply(method, status, content)
                self._budgets.note(method, reply.get("time"), datetime.now(UTC))
                return reply
            self._follow(webhook, location, method)
        raise PortalUnreachable(f"{method}: redirected again and again", method=method)

    def _answers(self, commands: Sequence[Command], result: Any) -> list[Answer]:
        """The parts of a batch's result; what they tell of limits is remembered."""
        now = datetime.now(UTC)
        for command, spent in zip(commands, batches.times(commands, result), strict=True):
            self._budgets.note(command.method, spent, now)
        found = batches.answers(commands, result, now)
        for answer in found:
            if isinstance(answer, PortalBusy):
                self._budgets.complete(answer, now)
        return found

    def _exchange(
        self, webhook: Webhook, method: str, params: Mapping[str, Any], v3: _V3 | None
    ) -> tuple[int, str, bytes]:
        """Status, Location and body of one POST."""
        url = webhook.url_v3(method) if v3 else webhook.url(method)
        headers = {"Idempotency-Key": v3.key} if v3 and v3.key else {}
        host = host_of(webhook.origin)
        deadline = time.monotonic() + self._timeout
        try:
            with self._client.stream(
                "POST", url, json=params, headers=headers, extensions={"trace": self._watch}
            ) as response:
                content = b"".join(_bounded(response, deadline, method))
                return response.status_code, response.headers.get("location", ""), content
        except _NOT_SENT as error:
            raise PortalUnreachable(
                f"{host} cannot be reached: {_reason(error)}",
                method=method,
                advice=_of_certificate(str(error)),
            ) from None
        except httpx.HTTPError as error:
            message = f"{method}: no answer from {host}: {_reason(error)}"
            raise PortalOutcomeUnknown(message, method=method) from None

    def _wait_for_turn(self) -> None:
        """Take a token of the plan's bucket (rest.md 1.8)."""
        self.pause(0)
        while (wait := self._take_token()) is not None:
            self.pause(wait)

    def _take_token(self) -> float | None:
        """Seconds until there may be a token; None when one was taken."""
        with self._lock:
            item = RateItem("request", time.monotonic_ns() // 1_000_000)
            if self._bucket.put(item) is True:
                self.requests_used += 1
                return None
            wait = self._bucket.waiting(item)
        return max(wait, 1) / 1000 if isinstance(wait, int) else 0.05

    def _follow(self, webhook: Webhook, location: str, method: str) -> None:
        """Go to the portal's new name (rest.md 1.1). PortalUnreachable when that leads nowhere."""
        moved = webhook.moved_to(location)
        if moved is None or moved == webhook:
            whither = host_of(location) or "a page"
            raise PortalUnreachable(
                f"{method}: the portal redirects to {whither}, which is not its REST address",
                method=method,
                advice="check the portal's address in portal.webhook_url",
            )
        _log.warning("the portal is renamed: %s is now %s", webhook.origin, moved.origin)
        self._webhook = moved

    def _watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember the sockets of httpx, which offers no way to break off a request."""
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            with self._lock:
                self._sockets.add(info["return_value"].get_extra_info("socket"))


def _tls_context(ca_file: str) -> ssl.SSLContext:
    """A verifying context; the authorities of `ca_file` replace the usual ones."""
    try:
        context = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()
    except OSError as error:
        raise ConfigError(
            f"cannot use portal.ca_file {ca_file}: {error.strerror}",
            advice="a readable file of PEM certificates is needed",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _bounded(response: httpx.Response, deadline: float, method: str) -> Iterator[bytes]:
    """The body's pieces. httpx bounds the wait for each piece, not their sum, and no size."""
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > _LARGEST_REPLY or time.monotonic() > deadline:
            reason = "too large" if size > _LARGEST_REPLY else "too slow"
            raise PortalOutcomeUnknown(f"{method}: the answer is {reason}", method=method)
        yield piece


def _reply(method: str, status: int, content: bytes) -> dict[str, Any]:
    """The decoded reply, or its error: that may come under status 200, and a page under any (rest.md 1.7)."""
    try:
        reply = _decoded(content)
    except (ValueError, RecursionError):
        reply = None
    known = reply if isinstance(reply, dict) else {}
    if status < 400 and "result" in known and not known.get("error"):
        return known
    if status >= 400 or "error" in known:
        raise failure(method, status, known, datetime.now(UTC))
    raise PortalOutcomeUnknown(f"{method}: the answer is cut off or no JSON", method=method)


def _of_certificate(error: str) -> str:
    """What helps, if it is a certificate that failed; httpx keeps OpenSSL's words only."""
    if "CERTIFICATE_VERIFY_FAILED" not in error:
        return ""
    if "expired" in error or "not yet valid" in error:
        return "renew the portal's certificate, unless this machine's clock is wrong"
    if "mismatch" in error:
        return "give in portal.webhook_url the name that the portal's certificate is made for"
    return "for a portal of your own, name its authority in portal.ca_file"


def _decoded(content: bytes) -> Any:
    """JSON as values. Half a character (a lone surrogate) and NaN are Python's own, which knows them."""
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return json.loads(content)


def _reason(error: httpx.HTTPError) -> str:
    return mask(str(error)) or type(error).__name__


def _version() -> str:
    try:
        return metadata.version("imaprouter")
    except metadata.PackageNotFoundError:
        return "0"
