"""The portal client against faults of network and portal: what is repeated, what is said, what is hidden."""

from __future__ import annotations

import json
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import stamina

from imaprouter.bitrix24 import probes, writes
from imaprouter.bitrix24.commands import Command
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import (
    ConfigError,
    ImaprouterError,
    PortalBusy,
    PortalDenied,
    PortalError,
    PortalOutcomeUnknown,
    PortalRefused,
    PortalUnreachable,
)
from imaprouter.model import Binding, EntityType, Target, deal

CODE = "s3cretc0de"
URL = f"https://company.bitrix24.ru/rest/7/{CODE}/"

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    """Retries happen at once; their number stays."""
    with stamina.set_testing(True, attempts=6, cap=True):
        yield


def portal_of(handler: Handler, **options: Any) -> Portal:
    return Portal(URL, transport=httpx.MockTransport(handler), **options)


def replies(*responses: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """A portal that gives these responses in turn, the last one for ever, and what it was asked."""
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        response = responses[min(len(asked), len(responses)) - 1]
        if isinstance(response, Exception):
            raise response
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)

    return handle, asked


def ok(result: Any = True) -> httpx.Response:
    return httpx.Response(200, json={"result": result, "time": {}})


def error(status: int, code: object, description: str = "", **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": code, "error_description": description, **more})


def page(status: int) -> httpx.Response:
    return httpx.Response(status, html=f"<html><body>{status} nginx</body></html>")


def test_call_posts_json_to_the_webhook_and_gives_the_result() -> None:
    handler, asked = replies(ok({"ID": "7"}))
    assert portal_of(handler).call("profile", {"a": [1]}, read=True) == {"ID": "7"}
    assert asked[0].method == "POST"
    assert str(asked[0].url) == f"{URL}profile"
    assert json.loads(asked[0].content) == {"a": [1]}


NOTHING_EXECUTED = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("slow"),
    error(503, "QUERY_LIMIT_EXCEEDED", "Too many requests"),
    error(503, "query_limit_exceeded"),
    error(429, "OPERATION_TIME_LIMIT"),
    error(200, "QUERY_LIMIT_EXCEEDED"),
    error(400, "CONNECTION_ERROR"),
]
OUTCOME_UNKNOWN = [
    httpx.ReadTimeout("slow"),
    httpx.ReadError("reset"),
    httpx.WriteError("broken pipe"),
    httpx.RemoteProtocolError("Server disconnected without sending a response."),
    page(500),
    page(502),
    page(504),
    error(500, "INTERNAL_SERVER_ERROR"),
    error(500, "ERROR_UNEXPECTED_ANSWER"),
    httpx.Response(200, content=b'{"result": {"ID": "7", "TIT'),
    httpx.Response(200, content=b"[" * 200_000),
    httpx.Response(200, json={"time": {}}),
    page(200),
]
FINAL = [
    (error(401, "INVALID_CREDENTIALS"), PortalDenied),
    (error(403, "insufficient_scope"), PortalDenied),
    (error(401, "INSUFFICIENT_SCOPE"), PortalDenied),
    (error(410, "PORTAL_DELETED"), PortalDenied),
    (error(500, "PORTAL_DELETED"), PortalDenied),
    (error(503, "OVERLOAD_LIMIT"), PortalDenied),
    (page(403), PortalDenied),
    (error(400, "", "Zugriff verweigert."), PortalRefused),
    (error(200, "", "Access denied!"), PortalRefused),
    (error(400, 100, "Could not find value for parameter {activityId}"), PortalRefused),
    (error(404, "ERROR_METHOD_NOT_FOUND"), PortalRefused),
    (error(400, {"code": "BITRIX_REST_V3_EXCEPTION", "message": "no"}), PortalRefused),
    (page(404), PortalRefused),
]


@pytest.mark.parametrize("fault", NOTHING_EXECUTED, ids=repr)
def test_what_proves_that_nothing_was_executed_is_repeated_for_writes_too(fault: Any) -> None:
    handler, asked = replies(fault, fault, ok())
    assert portal_of(handler).call("crm.activity.binding.add", read=False) is True
    assert len(asked) == 3


@pytest.mark.parametrize("fault", OUTCOME_UNKNOWN, ids=repr)
def test_an_unknown_outcome_is_repeated_for_reads_and_reported_for_writes(fault: Any) -> None:
    handler, asked = replies(fault, ok("read"))
    assert portal_of(handler).call("crm.deal.get", read=True) == "read"
    handler, asked = replies(fault, ok("written"))
    with pytest.raises(PortalOutcomeUnknown):
        portal_of(handler).call("crm.activity.binding.add", read=False)
    assert len(asked) == 1


@pytest.mark.parametrize(("fault", "kind"), FINAL)
def test_what_no_repetition_can_mend_is_raised_at_once(fault: Any, kind: type[PortalError]) -> None:
    handler, asked = replies(fault, ok())
    with pytest.raises(kind):
        portal_of(handler).call("crm.deal.get", read=True)
    assert len(asked) == 1


def test_attempts_are_bounded_and_each_counts_as_a_request() -> None:
    handler, asked = replies(error(503, "QUERY_LIMIT_EXCEEDED"))
    portal = portal_of(handler)
    with pytest.raises(PortalBusy):
        portal.call("crm.deal.get", read=True)
    assert len(asked) == 6 == portal.requests_used


def test_the_code_of_the_portal_is_kept_in_lower_case_and_its_markup_is_not() -> None:
    handler, _ = replies(error(400, "ACTIVITY_IS_ALREADY_BOUND", "Дело<br>уже\nпривязано"))
    with pytest.raises(PortalRefused, match="Дело уже привязано") as caught:
        portal_of(handler).call("crm.activity.binding.add", read=False)
    assert (caught.value.code, caught.value.method) == (
        "activity_is_already_bound",
        "crm.activity.binding.add",
    )


def test_operation_time_limit_beyond_all_patience_says_when_to_come_back() -> None:
    """The portal's clock is two hours ahead: the wait is counted on it, the answer is on ours."""
    reset = datetime.now(UTC) + timedelta(hours=2, minutes=9)
    finish = (datetime.now(UTC) + timedelta(hours=2)).timestamp()
    limit = {"operating": 481.2, "operating_reset_at": int(reset.timestamp()), "finish": finish}
    handler, asked = replies(error(429, "OPERATION_TIME_LIMIT", time=limit))
    with stamina.set_testing(False), pytest.raises(PortalBusy) as caught:
        portal_of(handler).call("crm.item.list", read=True)
    assert len(asked) == 1
    assert caught.value.retry_at is not None
    ahead = caught.value.retry_at - datetime.now(UTC)
    assert timedelta(minutes=8) < ahead < timedelta(minutes=10)


def test_a_limit_without_its_end_takes_it_from_the_last_answer_of_that_method() -> None:
    reset = int(datetime.now(UTC).timestamp()) + 400
    known = httpx.Response(200, json={"result": [], "time": {"operating_reset_at": reset}})
    handler, _ = replies(known, error(429, "OPERATION_TIME_LIMIT"))
    portal = portal_of(handler)
    portal.call("crm.deal.list", read=True)
    with stamina.set_testing(False), pytest.raises(PortalBusy) as caught:
        portal.call("crm.deal.list", read=True)
    assert caught.value.retry_at == datetime.fromtimestamp(reset, UTC)


def test_operation_time_limit_is_waited_for_when_it_is_near() -> None:
    reset = datetime.now(UTC) + timedelta(seconds=1)
    handler, asked = replies(
        error(429, "OPERATION_TIME_LIMIT", time={"operating_reset_at": reset.timestamp()}), ok()
    )
    with stamina.set_testing(False):
        portal_of(handler).call("crm.item.list", read=True)
    assert len(asked) == 2
    assert datetime.now(UTC) >= reset - timedelta(seconds=1)


def test_a_renamed_portal_is_followed_with_the_whole_post_and_remembered() -> None:
    asked: list[tuple[str, bytes]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append((str(request.url), request.content))
        if request.url.host == "company.bitrix24.ru":
            location = str(request.url.copy_with(host="new-name.bitrix24.ru"))
            return httpx.Response(302, headers={"Location": location}, html="moved")
        return ok()

    portal = portal_of(handle)
    portal.call("crm.activity.update", {"id": 5}, read=False)
    portal.call("crm.activity.update", {"id": 6}, read=False)
    assert [url.replace(CODE, "") for url, _ in asked] == [
        "https://company.bitrix24.ru/rest/7//crm.activity.update",
        "https://new-name.bitrix24.ru/rest/7//crm.activity.update",
        "https://new-name.bitrix24.ru/rest/7//crm.activity.update",
    ]
    assert json.loads(asked[1][1]) == {"id": 5}
    assert portal.base_url_masked == "https://new-name.bitrix24.ru/rest/7/***/"


@pytest.mark.parametrize(
    "location",
    [
        "https://login.example/oauth?code=",
        f"http://company.bitrix24.ru/rest/7/{CODE}/crm.deal.get",
        "https://evil.example/",
        "//[",
        "",
        f"{URL}crm.deal.get",
    ],
)
def test_a_redirect_to_anything_but_this_webhook_under_https_is_not_followed(location: str) -> None:
    hosts: set[str] = set()

    def handle(request: httpx.Request) -> httpx.Response:
        hosts.add(f"{request.url.scheme}://{request.url.host}")
        return httpx.Response(302, headers={"Location": location})

    with pytest.raises(PortalUnreachable, match=r"portal\.webhook_url"):
        portal_of(handle).call("crm.deal.get", read=True)
    assert hosts == {"https://company.bitrix24.ru"}


def batch_reply(**parts: Any) -> httpx.Response:
    """PHP's way: an empty map is a list."""
    empty: dict[str, Any] = {
        "result": [],
        "result_error": [],
        "result_total": [],
        "result_next": [],
        "result_time": [],
    }
    return ok({**empty, **parts})


def test_batch_gives_values_and_errors_in_order() -> None:
    handler, asked = replies(
        batch_reply(
            result={"c0": [], "c2": None},
            result_error={"c1": {"error": "BINDING_NOT_FOUND", "error_description": "no"}},
        )
    )
    commands = [Command("a"), Command("b"), Command("c"), Command("d")]
    first, second, third, fourth = portal_of(handler).batch(commands)
    assert first == []
    assert isinstance(second, PortalRefused)
    assert second.code == "binding_not_found"
    assert third is None
    assert isinstance(fourth, PortalOutcomeUnknown)
    assert json.loads(asked[0].content) == {"halt": 0, "cmd": {"c0": "a", "c1": "b", "c2": "c", "c3": "d"}}


def test_batch_accepts_results_that_arrive_as_a_list() -> None:
    handler, _ = replies(ok({"result": [True, 5]}))
    assert portal_of(handler).batch([Command("a"), Command("b")]) == [True, 5]


def test_a_limit_inside_a_batch_is_busy_for_that_command_only() -> None:
    reset = int(datetime.now(UTC).timestamp()) + 300
    limit = {"error": "OPERATION_TIME_LIMIT", "error_description": "blocked"}
    handler, _ = replies(
        batch_reply(
            result={"c0": 1},
            result_error={"c1": limit, "c2": {"error": "QUERY_LIMIT_EXCEEDED", "error_description": ""}},
            result_time={"c1": {"operating_reset_at": reset}},
        )
    )
    first, second, third = portal_of(handler).batch([Command("a"), Command("b"), Command("c")])
    assert first == 1
    assert isinstance(second, PortalBusy)
    assert second.retry_at == datetime.fromtimestamp(reset, UTC)
    assert isinstance(third, PortalBusy)


def test_more_than_fifty_commands_are_several_requests_and_nothing_is_sent_behind_a_failed_one() -> None:
    full = batch_reply(result={f"c{number}": number for number in range(50)})
    handler, asked = replies(full, page(502))
    answers = portal_of(handler).batch([Command("crm.activity.binding.add", {"n": n}) for n in range(120)])
    assert answers[:50] == list(range(50))
    assert all(isinstance(answer, PortalOutcomeUnknown) for answer in answers[50:100])
    assert all(isinstance(answer, PortalUnreachable) for answer in answers[100:])
    assert len(answers) == 120
    assert [len(json.loads(request.content)["cmd"]) for request in asked] == [50, 50]


def test_a_batch_is_repeated_after_an_unknown_outcome_only_when_all_of_it_reads() -> None:
    good = batch_reply(result={"c0": [1], "c1": [2]})
    handler, asked = replies(httpx.ReadTimeout("slow"), good)
    assert portal_of(handler).batch([Command("a", read=True), Command("b", read=True)]) == [[1], [2]]
    handler, asked = replies(httpx.ReadTimeout("slow"), good)
    answers = portal_of(handler).batch([Command("a", read=True), Command("b")])
    assert all(isinstance(answer, PortalOutcomeUnknown) for answer in answers)
    assert len(asked) == 1


def test_an_empty_batch_costs_no_request() -> None:
    handler, asked = replies(ok())
    assert portal_of(handler).batch([]) == []
    assert asked == []


def test_the_bucket_of_the_plan_holds_back_what_exceeds_it() -> None:
    """One token is kept back: three at once go out, the fourth waits long, until `stop`."""
    stop = threading.Event()
    handler, asked = replies(ok())
    portal = portal_of(handler, requests_per_second=0.001, burst=4, stop=stop)
    for _ in range(3):
        portal.call("profile", read=True)
    failed: list[Exception] = []

    def fourth() -> None:
        try:
            portal.call("profile", read=True)
        except PortalUnreachable as error:
            failed.append(error)

    caller = threading.Thread(target=fourth)
    caller.start()
    caller.join(0.2)
    assert caller.is_alive()
    stop.set()
    caller.join(5)
    assert failed
    assert len(asked) == 3


def test_a_successor_begins_with_the_bucket_that_is_left() -> None:
    """A reload must not give the portal a second burst; of another portal or other limits it is a new one."""
    limits: dict[str, Any] = {"requests_per_second": 0.001, "burst": 3}
    handler, asked = replies(ok())
    first = portal_of(handler, **limits)
    for _ in range(2):
        first.call("profile", read=True)
    same = portal_of(handler, **limits)
    same.succeed(first)
    assert same._take_token() is not None
    assert same.requests_used == 2
    wider = portal_of(handler, requests_per_second=0.001, burst=4)
    wider.succeed(same)
    assert wider._take_token() is None
    other = Portal("https://other.bitrix24.ru/rest/1/c0de/", transport=httpx.MockTransport(handler), **limits)
    other.succeed(first)
    assert other._take_token() is None
    assert (other.requests_used, len(asked)) == (1, 2)


def test_stop_ends_the_wait_between_attempts_and_sends_no_more() -> None:
    stop = threading.Event()
    asked: list[int] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(1)
        stop.set()
        return error(503, "QUERY_LIMIT_EXCEEDED")

    portal = portal_of(handle, stop=stop)
    with stamina.set_testing(False), pytest.raises(PortalBusy):
        portal.call("profile", read=True)
    with pytest.raises(PortalUnreachable):
        portal.call("profile", read=True)
    assert asked == [1]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "company.bitrix24.ru",
        f"http://company.bitrix24.ru/rest/7/{CODE}/",
        f"https://company.bitrix24.ru/{CODE}/",
        f"https://me:{CODE}@company.bitrix24.ru/rest/7/{CODE}/",
        f"https://[broken/rest/7/{CODE}/",
        f"ftp://127.0.0.1/rest/7/{CODE}/",
    ],
)
def test_an_address_that_is_no_encrypted_webhook_is_refused_without_being_printed(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Portal(url)
    assert CODE not in str(caught.value)


@pytest.mark.parametrize(
    "url", [URL, URL.rstrip("/"), f"{URL}profile.json", f"http://127.0.0.1:8080/rest/7/{CODE}/"]
)
def test_the_usual_spellings_of_a_webhook_are_understood(url: str) -> None:
    assert Portal(url).base_url_masked.endswith("/rest/7/***/")


def test_links_lead_to_the_portals_pages() -> None:
    portal = portal_of(lambda _: ok())
    assert portal.link(deal(5)) == "https://company.bitrix24.ru/crm/deal/details/5/"
    assert portal.link(Target(EntityType.COMPANY, 3)) == "https://company.bitrix24.ru/crm/company/details/3/"


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + repr(record.__dict__))


@pytest.fixture
def everything_logged() -> Iterator[_Records]:
    """Every logger at DEBUG, as a user might set them, and what they wrote."""
    records = _Records()
    names = ["", "httpx", "httpcore", "httpcore.connection", "httpcore.http11", "stamina", "pyrate_limiter"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger().addHandler(records)
    yield records
    logging.getLogger().removeHandler(records)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    "fault",
    [
        *NOTHING_EXECUTED,
        *OUTCOME_UNKNOWN,
        *(fault for fault, _ in FINAL),
        httpx.ConnectError(f"cannot reach {URL}profile"),
        httpx.RemoteProtocolError(f"illegal header line: bytearray(b'Location: {URL}profile')"),
        httpx.Response(302, headers={"Location": f"{URL}profile"}),
        httpx.Response(302, headers={"Location": f"http://other.example/rest/7/{CODE}/profile"}),
        error(400, "", f"Wrong address {URL}profile"),
        ok(),
    ],
    ids=repr,
)
def test_the_webhook_code_is_in_no_log_error_or_traceback(fault: Any, everything_logged: _Records) -> None:
    handler, _ = replies(fault)
    portal = portal_of(handler)
    said = [repr(portal), str(portal), portal.base_url_masked]
    for call in (
        lambda: portal.call("profile", read=True),
        lambda: portal.call("im.notify.system.add", read=False),
        lambda: [str(answer) for answer in portal.batch([Command("profile", read=True)])],
    ):
        try:
            said.append(str(call()))
        except ImaprouterError as raised:
            logging.getLogger("test").exception("failed")
            said += [repr(raised), str(raised), *traceback.format_exception(raised)]
    told = "\n".join(said + everything_logged.lines)
    assert "/rest/7/***/" in told
    assert CODE not in told


def test_a_real_redirect_over_http_shows_the_code_to_no_logger(everything_logged: _Records) -> None:
    """httpcore writes the Location header at DEBUG, which a transport without a network cannot show."""

    class Renamed(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            old = self.headers["Host"].startswith("localhost")
            self.send_response(302 if old else 200)
            if old:
                self.send_header(
                    "Location", f"http://{self.headers['Host']}{self.path}".replace("localhost", "127.0.0.1")
                )
            body = (
                b"moved" if old else b'{"result": {"ID": "7", "ADMIN": true, "NAME": "A", "LAST_NAME": "B"}}'
            )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            return

    with served(Renamed) as port:
        portal = Portal(f"http://localhost:{port}/rest/7/{CODE}/")
        assert probes.profile(portal) == probes.Profile(7, "A B", admin=True)
        assert portal.base_url_masked == f"http://127.0.0.1:{port}/rest/7/***/"
        portal.close()
    told = "\n".join(everything_logged.lines)
    assert "Location" in told
    assert CODE not in told


def test_abort_breaks_off_a_request_that_hangs() -> None:
    """The portal takes the request and never answers; another thread ends the wait."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stop = threading.Event()
        portal = Portal(f"http://127.0.0.1:{port}/rest/7/{CODE}/", stop=stop)
        failed: list[Exception] = []

        def call() -> None:
            try:
                portal.call("crm.activity.update", {"id": 5}, read=False)
            except PortalError as error:
                failed.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            stop.set()
            portal.abort()
            caller.join(10)
        portal.close()
    assert [type(error) for error in failed] == [PortalOutcomeUnknown]


def test_a_reply_that_trickles_for_ever_ends_with_the_timeout() -> None:
    """Each piece comes in time, the whole does not."""

    class Trickle(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b" "

    portal = portal_of(lambda _: httpx.Response(200, stream=Trickle()), timeout=timedelta(seconds=0.05))
    with pytest.raises(PortalOutcomeUnknown, match="too slow"):
        portal.call("crm.activity.update", read=False)


def test_the_start_of_a_batch_of_writes_looks_as_the_portal_documents_it() -> None:
    handler, asked = replies(batch_reply(result={"c0": True, "c1": True, "c2": 17}))
    portal_of(handler).batch(
        [
            writes.move(77, Binding(2, 1), Binding(2, 5)),
            writes.stamp(77, "ab+c/d&e=f"),
            writes.notify(5, "Письмо #3: [url=https://a/?b=1&c]сделка[/url] 100%"),
        ]
    )
    move, stamp, notify = json.loads(asked[0].content)["cmd"].values()
    assert move == (
        "crm.activity.binding.move?activityId=77&sourceEntityTypeId=2&sourceEntityId=1"
        "&targetEntityTypeId=2&targetEntityId=5"
    )
    assert "fields%5BORIGIN_ID%5D=ab%2Bc%2Fd%26e%3Df" in stamp
    assert notify.isascii()
    assert not {"#", " ", "+", "["} & set(notify)


class served:
    """A handler on a port of its own, for the length of a `with`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> int:
        self._thread.start()
        return self._server.server_port

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
