"""The HTTP side of the portal simulator: addresses, encodings, the rate limit, and faults on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from imaprouter.sandbox.batch import Command, commands, method_name, run_batch
from imaprouter.sandbox.faults import Fault
from imaprouter.sandbox.limits import LeakyBucket
from imaprouter.sandbox.methods_mail import V3
from imaprouter.sandbox.php_query import from_wire, parse_query
from imaprouter.sandbox.replies import Params, Refusal
from imaprouter.sandbox.rest import Rest

_HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>nginx</body></html>"
_PAGES = {
    "http_500_html": (500, "500 Internal Server Error"),
    "http_502_html": (502, "502 Bad Gateway"),
    "http_504_after": (504, "504 Gateway Time-out"),
    "http_403_html": (403, "403 Forbidden"),
}
_REFUSALS = {
    "internal_500": Refusal("INTERNAL_SERVER_ERROR", "Internal server error", 500),
    "limit_503": Refusal("QUERY_LIMIT_EXCEEDED", "Too many requests", 503),
    "operating_429": Refusal("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.", 429),
    "overload_503": Refusal("OVERLOAD_LIMIT", "REST API is blocked due to overload.", 503),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request that reached the portal; `commands` are those of a batch, as they were sent."""

    method: str
    params: Params
    commands: tuple[Command, ...] = ()

    @property
    def call(self) -> tuple[str, Params]:
        return self.method, self.params

    @property
    def calls(self) -> list[tuple[str, Params]]:
        """(method, params) of everything that was asked: the commands of a batch instead of the batch."""
        if self.method == "batch":
            return [(command.method, command.params) for command in self.commands]
        return [(self.method, self.params)]


class HttpApp:
    """Answers `/rest/{user}/{code}/{method}`. `cut` breaks the connection of a request without a word."""

    def __init__(
        self, rest: Rest, code: str, clock: Callable[[], datetime], cut: Callable[[HttpRequest], None]
    ) -> None:
        self.requests: list[Request] = []
        self.stopping = False
        self._rest = rest
        self._code = code
        self._clock = clock
        self._cut = cut
        self._bucket = LeakyBucket(rest.limits)
        #: Of REST 3, by method and key: the parameters, and the answer that they got.
        self._replays: dict[tuple[str, str], tuple[Params, int, dict[str, Any]]] = {}
        self.asgi = Starlette(routes=[Route("/rest/{path:path}", self._handle, methods=["GET", "POST"])])

    async def _handle(self, http: HttpRequest) -> Response:
        parts = http.path_params["path"].split("/")
        if parts[0] == "api":
            return await self._handle_v3(http, parts[1:])
        params = parse_query(http.url.query) | await _body(http)
        request = _logged(method_name(parts[-1]), params)
        names = {request.method, *(name for name, _ in request.calls)}
        fault = self._rest.faults.for_request(names, http.url.netloc)
        if fault is not None:
            if fault.kind == "rename_302":
                return _renamed(http, fault)
            self.requests.append(request)
            return await self._faulty(http, fault, parts, request)
        self.requests.append(request)
        return _json(*self._answer(parts, request))

    async def _handle_v3(self, http: HttpRequest, parts: list[str]) -> Response:
        """REST 3: JSON only, the address's query is not read, and a repeat with its key is answered once."""
        request = Request(method_name(parts[-1]), await _body(http))
        fault = self._rest.faults.for_request({request.method}, http.url.netloc)
        if fault is not None and fault.kind == "rename_302":
            return _renamed(http, fault)
        self.requests.append(request)
        key = http.headers.get("idempotency-key", "")
        if fault is not None:
            return await self._faulty(http, fault, parts, request, v3=True, key=key)
        return self._answer_v3(parts, request, key)

    def _answer_v3(self, parts: list[str], request: Request, key: str) -> Response:
        refusal = self._denied(parts)
        if refusal is not None:
            refusal = Refusal(f"{V3}ACCESSDENIEDEXCEPTION", refusal.text, refusal.status)
        elif not self._bucket.admits(self._clock()):
            refusal = Refusal(f"{V3}RATELIMITEXCEPTION", "Too many requests", 429)
        if refusal is not None:
            return _json(refusal.status, self._rest.error(refusal, v3=True))
        known = self._replays.get((request.method, key)) if key else None
        if known is None:
            known = (request.params, *self._rest.answer(self._rest.execute(*request.call, v3=True), v3=True))
            if key:
                self._replays[request.method, key] = known
        elif known[0] != request.params:
            reuse = Refusal(f"{V3}IDEMPOTENCYKEYREUSEDEXCEPTION", "The key has another body", 422)
            return _json(reuse.status, self._rest.error(reuse, v3=True))
        return _json(*known[1:])

    async def _faulty(
        self,
        http: HttpRequest,
        fault: Fault,
        parts: list[str],
        request: Request,
        *,
        v3: bool = False,
        key: str = "",
    ) -> Response:
        if fault.kind in _REFUSALS:
            refusal = _REFUSALS[fault.kind]
            return _json(refusal.status, self._rest.error(refusal, v3=v3))
        if fault.kind == "error" and v3:
            return _json(fault.status, self._rest.error(Refusal(fault.code, fault.text), v3=True))
        if fault.kind == "error":
            return _json(fault.status, {"error": fault.code, "error_description": fault.text})
        answer = _json(200, {})
        if fault.kind in ("timeout_after", "close_after", "truncated_json", "http_504_after"):
            answer = self._answer_v3(parts, request, key) if v3 else _json(*self._answer(parts, request))
        if fault.kind in _PAGES:
            status, title = _PAGES[fault.kind]
            return Response(_HTML.format(title), status, media_type="text/html")
        if fault.kind == "truncated_json":
            return Response(bytes(answer.body)[: len(answer.body) // 2], 200, media_type="application/json")
        await (self._silence(http) if fault.kind.startswith("timeout") else self._break(http))
        return answer

    async def _silence(self, http: HttpRequest) -> None:
        """Keep the client waiting until he gives up or the portal stops."""
        while not (self.stopping or await http.is_disconnected()):
            await asyncio.sleep(0.02)

    async def _break(self, http: HttpRequest) -> None:
        self._cut(http)
        while not (self.stopping or await http.is_disconnected()):
            await asyncio.sleep(0)

    def _answer(self, parts: list[str], request: Request) -> tuple[int, dict[str, Any]]:
        refusal = self._denied(parts)
        if refusal is None and not self._bucket.admits(self._clock()):
            refusal = _REFUSALS["limit_503"]
        if refusal is not None:
            return refusal.status, self._rest.error(refusal)
        if request.method != "batch":
            return self._rest.answer(self._rest.execute(request.method, request.params))
        began = self._clock()
        result = run_batch(self._rest, request.params)
        time = self._rest.time_block(None, began, (self._clock() - began).total_seconds())
        return 200, {"result": result} | ({"time": time} if time else {})

    def _denied(self, parts: list[str]) -> Refusal | None:
        if len(parts) != 3:
            return Refusal("NO_AUTH_FOUND", "Wrong authorization data", 401)
        right_code = compare_digest(parts[1].encode(), self._code.encode())
        if parts[0] != str(self._rest.user_id) or not right_code:
            return Refusal(
                "INVALID_CREDENTIALS", "Invalid request credentials", self._rest.quirks.denied_status
            )
        return None


def _logged(method: str, params: Params) -> Request:
    return Request(method, params, tuple(commands(params)) if method == "batch" else ())


async def _body(http: HttpRequest) -> Params:
    """Parameters of the body: JSON or a form; what cannot be read is nothing, as in PHP."""
    raw = await http.body()
    if "json" not in http.headers.get("content-type", ""):
        return parse_query(raw.decode("utf-8", "replace"))
    try:
        decoded = json.loads(raw)
    except ValueError:
        return {}
    return {key: from_wire(value) for key, value in decoded.items()} if isinstance(decoded, dict) else {}


def _json(status: int, body: dict[str, Any]) -> Response:
    """JSON as PHP writes it: escaped slashes, nothing beyond ASCII (rest.md 1.4)."""
    text = json.dumps(body, ensure_ascii=True).replace("/", "\\/")
    return Response(text, status, media_type="application/json; charset=utf-8")


def _renamed(http: HttpRequest, fault: Fault) -> Response:
    """The portal has moved: 302, and a body that is no JSON (rest.md 1.1)."""
    location = fault.origin(http.url.netloc) + http.url.path
    return Response("", 302, {"Location": location}, media_type="text/html")
