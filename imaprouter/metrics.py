"""Prometheus metrics at /metrics and how all parts are at /healthz, for those who ask with `metrics.listen`.

What is served is counted from journal and index when it is asked for: figures, and the names of mailboxes and
folders; no address, no subject and no error. One request at a time: whoever holds the line up delays others
who ask, never the service.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from socketserver import TCPServer
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from imaprouter.alerts import Kind, Patience, judged
from imaprouter.errors import ConfigError, StoreError
from imaprouter.log import event
from imaprouter.overview import overview
from imaprouter.standing import Part, Standing, Verdict
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

#: So long a client may take for each piece of its request, in seconds.
_SLOWEST = 5


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at, as the configuration of the moment has it."""

    journal_path: Path
    folders: tuple[Part, ...]
    patience: Patience
    refresh_every: timedelta
    #: HTTP requests that were sent to the portal so far.
    requests_used: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found there."""

    standing: Standing
    verdicts: tuple[Verdict, ...]
    #: Open incidents, by kind.
    incidents: dict[Kind, int]
    #: Messages on record.
    recorded: int
    requests_used: int


def look(view: View) -> Seen:
    """Read journal and index, changing nothing. Raises StoreError."""
    path = index_path(view.journal_path)
    with ExitStack() as stack:
        journal = stack.enter_context(closing(Journal(view.journal_path, readonly=True)))
        index = stack.enter_context(closing(Index(path, readonly=True))) if path.exists() else None
        standing = overview(journal, index, view.folders, view.patience.review_after, datetime.now(UTC))
        going_on = [incident.trouble.kind for incident in journal.incidents.open()]
        recorded = journal.messages.count()
    # Whoever is answered is answered by the service.
    verdicts = judged(standing, view.patience, running=True, refresh_every=view.refresh_every)
    incidents = {kind: going_on.count(kind) for kind in Kind}
    return Seen(standing, tuple(verdicts), incidents, recorded, view.requests_used)


def families(seen: Seen, version: str) -> Iterator[Metric]:
    """Everything that /metrics tells beside the process itself."""
    standing = seen.standing
    yield InfoMetricFamily("imaprouter", "The version that runs", value={"version": version})
    yield _gauge(
        "well",
        "1 when this part is well, as `imaprouter health` says",
        ("part",),
        [((verdict.part,), float(verdict.well)) for verdict in seen.verdicts],
    )
    folders = [((each.part.mailbox, each.part.folder), each) for each in standing.folders]
    yield _gauge(
        "folder_lag_seconds",
        "How long the last message lay in the folder before it was on record",
        ("mailbox", "folder"),
        [(names, each.lag.total_seconds()) for names, each in folders if each.lag is not None],
    )
    yield _moments(
        "folder_heard",
        "When the folder's server was heard last",
        ("mailbox", "folder"),
        [(names, each.pulse.heard_at) for names, each in folders],
    )
    yield _gauge(
        "messages",
        "Messages that are not settled",
        ("state",),
        [((state,), float(tally.count)) for state, tally in standing.tallies],
    )
    yield _moments(
        "oldest_message",
        "When the oldest message of this state was recorded",
        ("state",),
        [((state,), tally.oldest) for state, tally in standing.tallies],
    )
    yield CounterMetricFamily("imaprouter_recorded_messages", "Messages on record", seen.recorded)
    yield _moments("index_refreshed", "When the deal index was refreshed last", (), [((), standing.fresh_at)])
    yield _moments("index_fully_refreshed", "When it was read anew", (), [((), standing.refreshed_fully_at)])
    yield _moments(
        "portal_polled", "When the portal was asked for activities", (), [((), standing.binder.heard_at)]
    )
    yield CounterMetricFamily(
        "imaprouter_portal_requests", "HTTP requests to the portal since the start", seen.requests_used
    )
    yield _gauge(
        "incidents",
        "Incidents that go on, of which alerts.users are told",
        ("kind",),
        [((kind.value,), float(count)) for kind, count in seen.incidents.items()],
    )


def _gauge(
    name: str, meaning: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    family = GaugeMetricFamily(f"imaprouter_{name}", meaning, labels=labels)
    for names, number in values:
        family.add_metric(names, number)
    return family


def _moments(
    name: str,
    meaning: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], datetime | None]],
) -> Metric:
    """Times, in seconds of Unix; what has never been has none."""
    known = [(names, moment.timestamp()) for names, moment in values if moment is not None]
    return _gauge(f"{name}_timestamp_seconds", meaning, labels, known)


class MetricsServer:
    """Listens from its construction on and answers from `start` to `close`, in a thread of its own."""

    def __init__(self, address: tuple[str, int], view: Callable[[], View]) -> None:
        """`view` is called for each request. ConfigError when the address cannot be listened on."""
        self.address = address
        self._view = view
        self._version = metadata.version("imaprouter")
        try:
            self._server = _server(*address)
        except OSError as error:
            raise ConfigError(
                f"metrics.listen: cannot listen on {address[0]} port {address[1]}: {error.strerror or error}",
                advice="choose an address of this machine and a free port",
            ) from error
        self._server.set_app(self._answer)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the port back; a request that is under way does not hold this up."""
        if self._thread:
            # It returns once the request that is under way is answered.
            ending = threading.Thread(target=self._server.shutdown, daemon=True)
            ending.start()
            ending.join(1.0)
        self._server.server_close()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        pages = {"/metrics": self._metrics, "/healthz": self._healthz}
        page = pages.get(environ.get("PATH_INFO", ""))
        if page is None:
            return _said(start_response, "404 Not Found", "/metrics, /healthz")
        if environ["REQUEST_METHOD"] != "GET":
            return _said(start_response, "405 Method Not Allowed", "GET")
        try:
            return page(look(self._view()), environ, start_response)
        except StoreError as error:
            event(logger, logging.WARNING, "metrics.failed", error=str(error))
            return _said(start_response, "503 Service Unavailable", "failed  journal or index")
        except Exception:
            logger.exception("metrics: a request cannot be answered")
            return _said(start_response, "500 Internal Server Error", "the log says more")

    def _metrics(
        self, seen: Seen, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Found(tuple(families(seen, self._version))))
        answer: Iterable[bytes] = make_wsgi_app(registry)(environ, start_response)
        return answer

    def _healthz(
        self, seen: Seen, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """What is said of a part names servers and people; `imaprouter health` tells it."""
        well = all(verdict.well for verdict in seen.verdicts)
        lines = [f"{'ok' if verdict.well else 'failed':<7} {verdict.part}" for verdict in seen.verdicts]
        status = "200 OK" if well else "503 Service Unavailable"
        return _said(start_response, status, "\n".join(lines))


def _said(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]


@dataclass(frozen=True, slots=True, eq=False)
class _Found(Collector):
    """What was counted already, as the library collects it."""

    metrics: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


class _Handler(WSGIRequestHandler):
    timeout = _SLOWEST

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it
        """Nothing: a request every few seconds."""


class _Server(WSGIServer):
    def server_bind(self) -> None:
        """Without the question for this machine's name, which may take a name server's patience."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone or sends no HTTP."""
        logger.debug("metrics: a request broke off", exc_info=True)


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server(host: str, port: int) -> _Server:
    """A server that listens. OSError when it cannot."""
    family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    kind = _Server6 if family is socket.AF_INET6 else _Server
    return kind((str(where[0]), port), _Handler)
