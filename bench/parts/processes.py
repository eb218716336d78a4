"""Work in processes of its own, so that time, memory and processor of each are told apart."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from imaprouter.sandbox.limits import Limits
from imaprouter.sandbox.portal import Portal

_spawn = multiprocessing.get_context("spawn")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run(Generic[T]):
    """What a function came to in a process of its own; `result` None: it failed, `error` says how."""

    result: T | None
    seconds: float
    #: Processor time of the process.
    cpu: float
    #: The most memory that it held at once.
    peak_mib: float
    error: str = ""


def alone(work: Callable[..., T], *arguments: Any) -> Run[T]:
    """Run `work` in a fresh process. The time is that of the work; imports and start-up do not count."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_work, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        run: Run[T] = ours.recv()
    except EOFError:
        run = Run(None, 0.0, 0.0, 0.0, error="the process died")
    process.join()
    return run


def _work(connection: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    began, used = time.perf_counter(), time.process_time()
    try:
        result, error = work(*arguments), ""
    except Exception as failure:
        result, error = None, f"{type(failure).__name__}: {failure}".splitlines()[0][:150]
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    connection.send(Run(result, seconds, cpu, _peak_mib(), error))


def _peak_mib() -> float:
    """By the kernel's high-water mark: getrusage's also counts what the parent held before exec."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """What the portal was asked since the last look."""

    requests: int
    refused: int
    #: Processor time of the portal's process.
    cpu: float


class Sandbox:
    """The sandbox portal as a process; a context manager."""

    def __init__(
        self, snapshot: Callable[..., dict[str, Any]], *arguments: Any, limits: Limits, **options: Any
    ) -> None:
        """`snapshot(*arguments)` is made in the portal's process; `options` are the portal's own."""
        self._connection, self._theirs = _spawn.Pipe()
        self._process = _spawn.Process(
            target=_serve, args=(self._theirs, snapshot, arguments, limits, options), daemon=True
        )
        self.webhook_url = ""

    def __enter__(self) -> Sandbox:
        self._process.start()
        self._theirs.close()
        self.webhook_url = self._connection.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    def do(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work(portal, *arguments)` in the portal's process, and return what it returns."""
        self._connection.send((work, arguments))
        result: T = self._connection.recv()
        if isinstance(result, Exception):
            raise result
        return result

    def load(self) -> Load:
        """What was asked since the last look; the plan's bucket is empty again afterwards."""
        return self.do(_load)


def _serve(
    connection: Connection,
    snapshot: Callable[..., dict[str, Any]],
    arguments: tuple[Any, ...],
    limits: Limits,
    options: dict[str, Any],
) -> None:
    with Portal(snapshot(*arguments), limits=limits, **options) as portal:
        _count_refusals(portal)
        connection.send(portal.webhook_url)
        while (order := connection.recv()) is not None:
            work, values = order
            try:
                connection.send(work(portal, *values))
            except Exception as error:
                connection.send(error)


_refused: list[object] = []
_since = [0, 0, 0.0]


def _count_refusals(portal: Portal) -> None:
    bucket = portal._http._bucket
    admits = bucket.admits

    def counted(now: Any) -> bool:
        admitted = admits(now)
        if not admitted:
            _refused.append(now)
        return admitted

    bucket.admits = counted  # type: ignore[method-assign]


def _load(portal: Portal) -> Load:
    now = [len(portal.requests), len(_refused), time.process_time()]
    before, _since[:] = list(_since), now
    portal._http._bucket._level = 0.0
    return Load(int(now[0] - before[0]), int(now[1] - before[1]), now[2] - before[2])
