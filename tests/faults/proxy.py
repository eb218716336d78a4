"""A TCP proxy that falls silent, cuts, resets, splits and mangles: the network around the service."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

_CHUNK = 65_536
_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _Cut:
    """Once the client has said `behind`, that connection ends after `left` more bytes of the server."""

    behind: bytes
    left: int
    #: Falls silent instead.
    silent: bool
    line: _Line | None = None


@dataclass(slots=True, eq=False)
class _Line:
    client: socket.socket
    server: socket.socket

    def close(self, *, reset: bool = False) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
                else:
                    end.shutdown(socket.SHUT_RDWR)
            # A pump may be reading: closing alone would leave it, and the connection, as they are.
            with suppress(OSError):
                end.shutdown(socket.SHUT_RD)
            with suppress(OSError):
                end.close()


class Proxy:
    """A context manager in front of a port of this machine; `port` is where clients connect."""

    def __init__(self, to_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """With `tls` clients speak TLS with the proxy, which speaks clear text with the server."""
        self.to_port = to_port
        self.connections = 0
        #: How many cuts have struck.
        self.cuts = 0
        #: The server's data comes in pieces of so many bytes, so many seconds apart.
        self.split: tuple[int, float] | None = None
        #: What becomes of the server's data, and of the client's.
        self.mangle: Callable[[bytes], bytes] | None = None
        self.mangle_up: Callable[[bytes], bytes] | None = None
        #: New connections end at once.
        self.refusing = False
        self.tls = tls
        self._cut: _Cut | None = None
        self._meanwhile: tuple[bytes, Callable[[], object]] | None = None
        self._lines: set[_Line] = set()
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Closing alone does not end an accept() that waits.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.heal()
        self.fin()

    # ── faults ────────────────────────────────────────────────────────────────────────────────────────

    def pause(self) -> None:
        """Nothing passes any more, in neither direction, and nobody is told."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def fin(self) -> None:
        """End every connection in order."""
        for line in self._all_lines():
            line.close()

    def rst(self) -> None:
        """Break off every connection."""
        for line in self._all_lines():
            line.close(reset=True)

    def cut(self, after: int, *, behind: bytes, silent: bool = False) -> None:
        """End the connection on which the client says `behind`, `after` bytes of the server later; once.

        `silent`: from then on nothing passes any more, as after `pause`.
        """
        self._cut = _Cut(behind, after, silent)

    def meanwhile(self, behind: bytes, action: Callable[[], object]) -> None:
        """Do this when the client says `behind` for the first time, before the server hears it."""
        self._meanwhile = behind, action

    def heal(self) -> None:
        self.split = self.mangle = self.mangle_up = self._cut = self._meanwhile = None
        self.refusing = False
        self._flowing.set()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    def _all_lines(self) -> list[_Line]:
        with self._lock:
            return list(self._lines)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        try:
            if self.refusing:
                raise ConnectionRefusedError
            if self.tls is not None:
                client = self.tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self.to_port), 5)
            server.settimeout(None)
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = _Line(client, server)
        with self._lock:
            self._lines.add(line)
        up = threading.Thread(target=self._pump, args=(line, client, server, self._up), daemon=True)
        up.start()
        self._pump(line, server, client, self._down)
        up.join()
        with self._lock:
            self._lines.discard(line)

    def _pump(
        self,
        line: _Line,
        source: socket.socket,
        sink: socket.socket,
        passes: Callable[[_Line, socket.socket, bytes], bool],
    ) -> None:
        with suppress(OSError, ValueError):
            while data := source.recv(_CHUNK):
                self._flowing.wait()
                if not passes(line, sink, data):
                    break
        self._flowing.wait()  # a black hole swallows the end of a connection, too
        line.close()

    def _up(self, line: _Line, sink: socket.socket, data: bytes) -> bool:
        cut = self._cut
        if cut and cut.line is None and cut.behind in data:
            cut.line = line
        if self._meanwhile and self._meanwhile[0] in data:
            (_, action), self._meanwhile = self._meanwhile, None
            action()
        sink.sendall(self.mangle_up(data) if self.mangle_up else data)
        return True

    def _down(self, line: _Line, sink: socket.socket, data: bytes) -> bool:
        if self.mangle is not None:
            data = self.mangle(data)
        cut = self._cut
        if cut and cut.line is line:
            if len(data) > cut.left:
                sink.sendall(data[: cut.left])
                self._cut = None
                self.cuts += 1
                if not cut.silent:
                    return False
                self.pause()
                self._flowing.wait()
                sink.sendall(data[cut.left :])
                return True
            cut.left -= len(data)
        while data:
            # Healed in the middle of it, the rest goes at once.
            size, pause = self.split or (len(data), 0.0)
            sink.sendall(data[:size])
            data = data[size:]
            time.sleep(pause)
        return True
