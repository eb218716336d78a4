"""The embedded IMAP server: pymap's dict backend, in memory, in a thread of this process.

For demonstrations and tests without a mail server. It does IDLE, keeps nothing after `stop`, and has no
SPECIAL-USE, CONDSTORE or keywords (imap.md 1).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from argparse import Namespace
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import uuid4

from imapclient import IMAPClient
from proxyprotocol.sock import SocketInfo
from pymap.backend.dict import Config, Login
from pymap.concurrent import Subsystem
from pymap.imap import IMAPServer
from pymap.user import UserMetadata
from pysasl.hashing import Cleartext

#: pymap is up in some 0.3 s, on a busy machine in a few.
_START_SECONDS = 10.0


class MailServer:
    """An IMAP server with one user on 127.0.0.1. A context manager; `port` 0 takes a free one."""

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        username: str = "sales@company.ru",
        password: str = "sandbox",
        port: int = 0,
        folders: Sequence[str] = ("Sent",),
    ) -> None:
        self.username = username
        self.password = password
        self.port = port
        self._folders = folders
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="embedded IMAP server", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._listens = False
        self._error: OSError | None = None

    def __enter__(self) -> MailServer:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and make its folders; `port` is then the one that it listens on."""
        self._thread.start()
        if not self._started.wait(_START_SECONDS) or not self._listens:
            raise RuntimeError(
                f"the embedded IMAP server does not start on port {self.port}"
            ) from self._error
        with self._connection() as client:
            for folder in self._folders:
                client.create_folder(folder)

    def stop(self) -> None:
        """Disconnect the clients and end the thread; the mail is gone with it."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def append(
        self, raw: bytes, *, folder: str = "INBOX", date: datetime | None = None, flags: Iterable[str] = ()
    ) -> None:
        """Deliver a message over IMAP; `date` becomes its INTERNALDATE (now, when left out)."""
        with self._connection() as client:
            client.append(folder, raw, flags=tuple(flags), msg_time=date or datetime.now(UTC))

    def _connection(self) -> IMAPClient:
        client = IMAPClient(self.host, self.port, ssl=False, timeout=30)
        # A literal follows its command in a second packet: Nagle would hold it back for 40 ms.
        client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.login(self.username, self.password)
        return client

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as exc:  # the port is taken; told by `start`
            self._error = exc
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        config = _Config.from_args(
            _arguments(self.username, self.password),
            hash_context=Cleartext(),
            cpu_subsystem=Subsystem.for_asyncio(),
            ssl_context=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        )
        config.apply_context()
        login = Login(config)
        await login.demo_user_identity.set(UserMetadata(config, self.username, password=self.password))
        imap = IMAPServer(login, config)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Not pymap's own callback: that starts a task which nobody holds, and garbage collection ends it.
            await imap(reader, writer, SocketInfo.get(writer, None, unique_id=uuid4().bytes))

        server = await asyncio.start_server(serve, self.host, self.port)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            self._listens = True
            self._started.set()
            await self._stop.wait()
            server.close()
            await _cancel_others()


class _Config(Config):
    @property
    def greeting(self) -> bytes:
        # pymap's own asks DNS for the name of this machine, at each connection.
        return b"imaprouter's embedded mailbox"


def _arguments(username: str, password: str) -> Namespace:
    """What `pymap dict` would have been given on its command line."""
    return Namespace(
        host=None,
        port=0,
        debug=False,
        cert=None,
        key=None,
        tls=False,
        passlib_cfg=None,
        proxy_protocol=None,
        demo_data=False,
        demo_user=username,
        demo_password=password,
    )


async def _cancel_others() -> None:
    """End the connections' tasks before the loop, so that each can say BYE."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
