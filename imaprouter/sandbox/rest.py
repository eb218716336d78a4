"""The dispatcher of the simulated REST API: from method and parameters to status and JSON. No HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from imaprouter.sandbox import (
    methods_activity,
    methods_binding,
    methods_common,
    methods_item,
    methods_legacy,
    methods_mail,
)
from imaprouter.sandbox.crm import Crm
from imaprouter.sandbox.faults import Faults
from imaprouter.sandbox.limits import Limits, OperatingBudget
from imaprouter.sandbox.quirks import Quirks
from imaprouter.sandbox.replies import Call, Method, Params, Refusal, Reply, legacy_param
from imaprouter.sandbox.values import iso

METHODS: Mapping[str, Method] = (
    methods_activity.METHODS
    | methods_binding.METHODS
    | methods_common.METHODS
    | methods_item.METHODS
    | methods_legacy.METHODS
)
#: Of REST 3, which is another API at another address (rest.md 1.9).
METHODS_V3: Mapping[str, Method] = methods_mail.METHODS
#: Handled here and in `batch`: they need the table itself.
_OWN_METHODS = frozenset({"method.get", "batch"})


@dataclass(frozen=True, slots=True)
class Write:
    """A call of a method that changes state, and whether it was carried out."""

    method: str
    params: Params
    ok: bool


@dataclass(frozen=True, slots=True)
class Executed:
    """What one command gave: a reply or a refusal, and its `time` block."""

    outcome: Reply | Refusal
    time: dict[str, Any] | None


@dataclass(slots=True)
class Rest:
    """Executes methods for one webhook."""

    crm: Crm
    quirks: Quirks
    limits: Limits
    clock: Callable[[], datetime]
    faults: Faults
    user_id: int
    scopes: frozenset[str]
    writes: list[Write] = field(default_factory=list)
    budget: OperatingBudget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = OperatingBudget(self.limits)

    def execute(self, name: str, params: Params, *, v3: bool = False) -> Executed:
        """Run one method, at the top or inside a batch. `name` in lower case; `v3`: of REST 3."""
        began, processor = self.clock(), time.perf_counter()
        try:
            outcome: Reply | Refusal = self._run(name, params, began, v3=v3)
        except Refusal as refusal:
            outcome = refusal
        seconds = time.perf_counter() - processor
        known = name in (METHODS_V3 if v3 else METHODS)
        if known and not (isinstance(outcome, Refusal) and outcome.code == "OPERATION_TIME_LIMIT"):
            self.budget.charge(name, seconds, began)
        return Executed(outcome, self.time_block(name if known else None, began, seconds))

    def _run(self, name: str, params: Params, now: datetime, *, v3: bool) -> Reply:
        method = (METHODS_V3 if v3 else METHODS).get(name)
        if name == "method.get" and not v3:
            return self._method_get(params)
        if method is None:
            raise Refusal("ERROR_METHOD_NOT_FOUND", "Method not found!", 404)
        if method.scopes and not method.scopes & self.scopes:
            if v3:
                raise Refusal(f"{methods_mail.V3}INSUFFICIENTSCOPEEXCEPTION", "Insufficient scope", 403)
            raise Refusal(
                "insufficient_scope",
                "The request requires higher privileges than provided by the webhook token",
                self.quirks.denied_status,
            )
        if self.budget.exceeded(name, now):
            raise Refusal("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.", 429)
        instead = self.faults.before_command(name)
        if instead:
            return instead
        ok = False
        try:
            with self.crm.lock:
                reply = method.run(Call(params, self.crm, self.quirks, self.user_id, self.scopes, now))
            ok = True
        finally:
            if method.writes:
                self.writes.append(Write(name, params, ok))
        return reply

    def _method_get(self, params: Params) -> Reply:
        name = str(legacy_param(params, "name") or "")
        method = METHODS.get(name)
        available = name in _OWN_METHODS or (
            method is not None and (not method.scopes or bool(method.scopes & self.scopes))
        )
        return Reply({"isExisting": method is not None or name in _OWN_METHODS, "isAvailable": available})

    def answer(self, executed: Executed, *, v3: bool = False) -> tuple[int, dict[str, Any]]:
        """Return HTTP status and JSON body of a single call (rest.md 1.4, 1.7)."""
        outcome = executed.outcome
        if isinstance(outcome, Refusal):
            time = executed.time if self.quirks.time_in_errors else None
            return outcome.status, self.error(outcome, v3=v3) | ({"time": time} if time else {})
        body: dict[str, Any] = {"result": outcome.result}
        body |= {name: value for name in ("total", "next") if (value := getattr(outcome, name)) is not None}
        return 200, body | ({"time": executed.time} if executed.time else {})

    def error(self, refusal: Refusal, *, v3: bool = False) -> dict[str, Any]:
        """The error envelope; most texts may be localised and carry HTML (rest.md 1.7)."""
        if v3:
            return {"error": {"code": refusal.code, "message": refusal.text, "validation": []}}
        text = refusal.text
        if self.quirks.localised_texts and text and not refusal.always_english:
            text = "Falha ao executar a solicitação.<br>"
        return {"error": refusal.code, "error_description": text}

    def time_block(self, method: str | None, began: datetime, seconds: float) -> dict[str, Any] | None:
        """`time` of an answer; the load limiter's keys only for a real method, and only while it is on."""
        if self.quirks.time_block == "absent":
            return None
        finished, zone = self.clock(), self.crm.zone
        block: dict[str, Any] = {
            "start": began.timestamp(),
            "finish": finished.timestamp(),
            "duration": (finished - began).total_seconds(),
            "processing": seconds,
            "date_start": iso(began, zone),
            "date_finish": iso(finished, zone),
        }
        if method and self.budget.on and self.quirks.time_block == "full":
            reset_at = self.budget.reset_at(method, finished)
            if reset_at is not None:
                block["operating_reset_at"] = reset_at
            block["operating"] = self.budget.used(method, finished)
        return block
