"""Faults on demand: what a test wants to go wrong with the next requests that contain a method."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from imaprouter.sandbox.replies import Refusal, Reply

Kind = Literal[
    "timeout_before",  # nothing is executed, no answer comes
    "timeout_after",  # executed, no answer comes
    "close_before",  # the connection breaks before anything is executed
    "close_after",  # executed, then the connection breaks
    "http_500_html",  # a page of the balancer, nothing executed
    "http_502_html",
    "http_504_after",  # executed, but the balancer lost patience
    "http_403_html",
    "truncated_json",  # executed, half of the answer arrives
    "internal_500",  # INTERNAL_SERVER_ERROR as JSON, nothing executed
    "limit_503",
    "operating_429",
    "overload_503",
    "rename_302",  # the portal has a new name
    "error",  # any error body for the whole request: `status`, `code`, `text`
    "command_error",  # the command itself is refused, inside a batch as one of its errors
    "wrong_result",  # the command is not executed, and `result` stands where its own would
    "meanwhile",  # `action` runs just before the command: what a person does in that moment
]
#: Kinds that strike a command when it runs; the others strike the HTTP request that carries it.
_AT_COMMAND = ("command_error", "wrong_result", "meanwhile")


@dataclass(slots=True)
class Fault:
    """A rule: which method it waits for, what it does, and how often it still will."""

    kind: Kind
    method: str | None
    times: int | None
    skip: int
    status: int
    code: str
    text: str
    location: str
    result: object
    action: Callable[[], object] | None

    def strikes(self, methods: Iterable[str], host: str = "") -> bool:
        """Whether this rule applies now; counts the hit."""
        if self.times == 0 or (self.method is not None and self.method not in methods):
            return False
        if self.kind == "rename_302" and urlsplit(self.origin(host)).netloc == host:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def origin(self, host: str) -> str:
        """Where a renamed portal lives now; by default on the same port of localhost."""
        return self.location.rstrip("/") or f"http://localhost:{host.rpartition(':')[2]}"


class Faults:
    """The queue of rules. The first one that fits strikes."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []
        self._lock = threading.Lock()

    def add(
        self,
        kind: Kind,
        *,
        method: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        status: int = 400,
        code: str = "",
        text: str = "",
        location: str = "",
        result: object = None,
        action: Callable[[], object] | None = None,
    ) -> None:
        """Add a rule for `method` (None: any request): after `skip` matches, `times` times (None: always).

        `location` is the new origin for 'rename_302', such as http://127.0.0.1:8000; by default this server
        under the name localhost. An `action` may use the CRM, not the portal's HTTP.
        """
        if kind not in get_args(Kind):
            raise ValueError(f"unknown fault {kind!r}")
        name = method.lower() if method else None
        with self._lock:
            self._rules.append(Fault(kind, name, times, skip, status, code, text, location, result, action))

    def clear(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def for_request(self, methods: Iterable[str], host: str) -> Fault | None:
        """The rule that strikes a request with these methods, batch commands included, to this host."""
        names = set(methods)
        with self._lock:
            return next(
                (rule for rule in self._rules if rule.kind not in _AT_COMMAND and rule.strikes(names, host)),
                None,
            )

    def before_command(self, method: str) -> Reply | None:
        """Let the rules for one command strike; returns what it answers instead of being executed.

        Raises Refusal for 'command_error'.
        """
        with self._lock:
            struck = [rule for rule in self._rules if rule.kind in _AT_COMMAND and rule.strikes({method})]
        for rule in struck:
            if rule.kind == "command_error":
                raise Refusal(rule.code, rule.text, rule.status)
            if rule.kind == "wrong_result":
                return Reply(rule.result)
            if rule.action is not None:
                rule.action()
        return None
