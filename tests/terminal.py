"""A command on a terminal of its own: what a person types, and what he sees."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from pathlib import Path
from types import TracebackType

PATIENCE = 30.0


class Terminal:
    """`imaprouter` as the foreground of a pseudo-terminal; a context manager that leaves nothing running."""

    def __init__(self, *words: str, folder: Path, environ: dict[str, str] | None = None) -> None:
        self.seen = ""
        self._from = 0
        self._pid, self._line = pty.fork()
        if not self._pid:
            try:
                os.chdir(folder)
                environment = {
                    **os.environ,
                    "PYTHONPATH": str(Path(__file__).parent.parent),
                    **(environ or {}),
                }
                os.execve(sys.executable, [sys.executable, "-m", "imaprouter", *words], environment)
            finally:
                os._exit(127)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._line)

    def expect(self, text: str) -> None:
        """Wait until this is shown, behind what was expected before."""
        end = time.monotonic() + PATIENCE
        while (found := self.seen.find(text, self._from)) < 0:
            if not self._read(end):
                raise AssertionError(f"{text!r} is not shown; seen:\n{self.seen}")
        self._from = found + len(text)

    def answer(self, question: str, text: str = "") -> None:
        """Wait for a question, and type a line."""
        self.expect(question)
        self.expect(": ")
        os.write(self._line, f"{text}\n".encode())

    def interrupted(self) -> int:
        """Press Ctrl-C until the program has ended, and return its exit code.

        One press is not enough for sure: readline overlooks a signal between its prompt and its waiting.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            os.write(self._line, b"\x03")
            while self._read(time.monotonic() + 1.0):
                pass
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"it has not ended; seen:\n{self.seen}")

    def ended(self) -> int:
        """Read to the end, and return the exit code."""
        end = time.monotonic() + PATIENCE
        while self._read(end):
            pass
        pid, self._pid = self._pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _read(self, end: float) -> bool:
        """Take what is shown; False when the program has ended, or time has run out."""
        if not select.select([self._line], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._line, 65_536)
        except OSError:  # the other end is closed
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)
