"""A Bitrix24 portal on 127.0.0.1: REST over real HTTP, state in memory, mail sync, faults on demand.

with Portal(load_snapshot("fixtures/crm.json"), limits=UNLIMITED) as portal:
    httpx.post(portal.webhook_url + "crm.deal.list")
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any

import uvicorn
from starlette.requests import Request as HttpRequest
from uvicorn.protocols.http.h11_impl import H11Protocol

from imaprouter.sandbox.crm import Crm, Notification
from imaprouter.sandbox.faults import Faults
from imaprouter.sandbox.http_app import HttpApp, Request
from imaprouter.sandbox.limits import Limits
from imaprouter.sandbox.mail_sync import MailboxConnection, MailSync
from imaprouter.sandbox.quirks import Quirks
from imaprouter.sandbox.rest import Rest, Write

DEFAULT_SCOPES = frozenset({"crm", "im", "user_basic"})
_START_TIMEOUT = 10.0


class Portal:
    """The simulated portal; a context manager.

    `snapshot` is in the shape of contract section 5. `clock` gives aware times and drives everything: stamps,
    limits, delays. `offset` is the server's zone. OSError when the port is taken.
    """

    def __init__(
        self,
        snapshot: Mapping[str, Any] | None = None,
        *,
        quirks: Quirks | None = None,
        limits: Limits | None = None,
        clock: Callable[[], datetime] | None = None,
        port: int = 0,
        code: str = "sandbox-code",
        user_id: int = 1,
        offset: timedelta = timedelta(hours=3),
        scopes: frozenset[str] = DEFAULT_SCOPES,
    ) -> None:
        zone = timezone(offset)
        self.clock = clock or (lambda: datetime.now(zone))
        self.quirks = quirks or Quirks()
        self.crm = Crm(snapshot, quirks=self.quirks, clock=self.clock, zone=zone)
        self.faults = Faults()
        self._rest = Rest(self.crm, self.quirks, limits or Limits(), self.clock, self.faults, user_id, scopes)
        self._http = HttpApp(self._rest, code, self.clock, self._cut)
        self._port = port
        self._path = f"rest/{user_id}/{code}/"
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._syncs: list[MailSync] = []
        self._connections: list[MailboxConnection] = []

    @property
    def url(self) -> str:
        """The portal's address, http://127.0.0.1:PORT, while it runs."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def webhook_url(self) -> str:
        """The incoming webhook of the portal, with its code, as a user copies it from the portal's pages."""
        return f"{self.url}/{self._path}"

    @property
    def requests(self) -> list[Request]:
        """HTTP requests in the order of their arrival."""
        return self._http.requests

    @property
    def writes(self) -> list[Write]:
        """Calls of methods that change state, refused ones too, commands of batches included."""
        return self._rest.writes

    @property
    def notifications(self) -> list[Notification]:
        """Everything that went into users' bells."""
        return self.crm.notifications

    def connect_mailbox(self, connection: MailboxConnection) -> MailSync:
        """Connect a mailbox with the CRM; `sync_once` or `start` of what is returned imports its mail."""
        self._connections.append(connection)
        sync = MailSync(connection, self.crm, clock=self.clock, mailboxes=self._connections)
        self._syncs.append(sync)
        return sync

    def start(self) -> None:
        """Serve requests from a thread. OSError when the port is taken."""
        listener = _listen(self._port)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._http.asgi,
            http="h11",
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            log_level=logging.CRITICAL,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="portal-simulator", daemon=True
        )
        self._thread.start()
        if not self._server.ready.wait(_START_TIMEOUT):
            raise RuntimeError("the portal simulator did not start")

    def stop(self) -> None:
        """Stop mail syncs and the server; requests that hang are let go."""
        for sync in self._syncs:
            sync.stop()
        self._http.stopping = True
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> Portal:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _cut(self, http: HttpRequest) -> None:
        if self._server is not None and http.client is not None:
            self._server.cut((http.client.host, http.client.port))


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named: else each answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn in a thread: tells when it listens, and can break a connection."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        # uvicorn's own looks ten times a second and writes Date headers; tests stop hundreds of portals.
        while not self.should_exit:
            await asyncio.sleep(0.01)

    def cut(self, client: tuple[str, int]) -> None:
        """Reset the connection from this client address."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, H11Protocol) and connection.client == client:
                connection.transport.abort()
