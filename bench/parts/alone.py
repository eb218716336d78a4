"""Work in a process of its own, so that time, processor and memory are its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Run:
    """What some work came to; `seconds` and `cpu` are without the start of its process."""

    result: Any
    seconds: float
    cpu: float
    #: The most memory that the process held at once.
    peak_mb: float


def alone(work: Callable[..., object], *arguments: Any) -> Run:
    """Run `work(*arguments)` in a fresh process. RuntimeError when it fails."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_work, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        run: Run = ours.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} failed; see above") from None
    finally:
        process.join()
    return run


def _work(connection: Connection, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    began, used = time.perf_counter(), time.process_time()
    result = work(*arguments)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    connection.send(Run(result, seconds, cpu, memory_mb("VmHWM")))


def memory_mb(name: str, process: int | str = "self") -> float:
    """A figure of /proc/PID/status or smaps_rollup in MB: VmHWM, VmRSS, Pss."""
    folder = Path(f"/proc/{process}")
    for line in (folder / ("smaps_rollup" if name == "Pss" else "status")).read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1000
    return 0.0
